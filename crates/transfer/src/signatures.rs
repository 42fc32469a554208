//! Signatures of images on their way: what the host's policy says of them, and carrying them along.
//!
//! Whether an image may be used is decided by `trust`; here is where its signatures are found and put: beside a registry
//! ("lookaside"), in it, in a directory, in a store. Signing itself is done by `gpg`, or by `trust` with a key of
//! sigstore, which may first have to be certified.

mod attachments;
mod carry;
mod clock;
mod directory;
mod error;
mod extension;
mod gpg;
mod guard;
mod lookaside;
mod options;
mod origin;
mod policy;
mod remote;
mod sign_stored;
mod signer;
mod sigstore;
mod stored;

pub use clock::ClockError;
pub use error::{NoRoom, SignaturesError};
pub use gpg::{Gpg, GpgError, public_keys as gpg_public_keys};
pub use lookaside::{NoPlaces, SignaturePlace, SignaturePlaces};
pub use options::{Existing, SignatureOptions};
pub use policy::PolicySource;
pub use sign_stored::sign_stored;
pub use signer::Signer;
pub use sigstore::{
    Conversation, Fulcio, FulcioParameters, IdentitySource, OidcClient, OidcError, ParameterError,
    Rekor, ServiceError, SigningKey, SigningParameters, SigningServiceError, SigstoreSigner,
};

pub(crate) use carry::{Carried, Target, admit};
pub(crate) use directory::{SignatureFiles, read_files};
pub(crate) use guard::{Candidate, Guard, Permit};
pub(crate) use origin::{Origin, origin_of};
pub(crate) use remote::Remote;
pub(crate) use stored::{read_stored, stored_items};
