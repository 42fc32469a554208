//! Whether an image may be used, and the signatures that say so; and who can read its layers ([`encryption`]).
//!
//! A [`Policy`] names requirements for an image of a given place ([`Subject`]); [`verify()`] decides from a manifest and
//! the signatures found beside it. The bytes come from the caller, as do the time and the key files' content: nothing
//! here opens a file, asks a server or starts a program. Signatures of OpenPGP are therefore checked, but not made.

mod claim;
pub mod encryption;
mod id_token;
mod identity;
mod openpgp;
mod pem;
mod policy;
mod signature;
mod sigstore;
mod strict_json;
mod subject;
mod verify;

pub use claim::{Claim, ClaimError, ClaimKind, Made};
pub use id_token::{Expected, IdToken, IdTokenError};
pub use identity::IdentityRule;
pub use openpgp::{Keyring, OpenPgpError};
pub use pem::PemError;
pub use policy::{
    Fulcio, KeyType, Material, POLICY_MAX, Pki, Policy, PolicyError, Requirement, SignedBy,
    SigstoreSigned, SigstoreTrust,
};
pub use signature::{
    SIGNATURE_MAX, SIGNATURES_MAX, SIGSTORE_BUNDLE, SIGSTORE_CERTIFICATE, SIGSTORE_CHAIN,
    SIGSTORE_MEDIA_TYPE, SIGSTORE_SIGNATURE, Signature, SignatureError, Sigstore,
};
pub use sigstore::{
    Draft, IssuedCertificate, PrivateKeyError, RekorError, SigstoreError, SigstoreKey,
};
pub use strict_json::JsonError;
pub use subject::{StoreScope, Subject, docker_scopes};
pub use verify::{Circumstances, Image, ReadKey, Reasons, Rejection, verify};
