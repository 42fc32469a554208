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
mod origin;
mod policy;
mod remote;
mod sign_stored;
mod signer;
mod sigstore;
mod stored;

use std::sync::Arc;

pub use clock::ClockError;
pub use error::{NoRoom, SignaturesError};
pub use gpg::{Gpg, GpgError, public_keys as gpg_public_keys};
pub use lookaside::{NoPlaces, SignaturePlace, SignaturePlaces};
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

/// What becomes of the signatures that an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They go along, and the image must not change.
    #[default]
    Carry,
    /// They stay behind.
    Remove,
}

/// How copies deal with signatures.
#[derive(Clone, Debug)]
pub struct SignatureOptions {
    /// What images have to meet.
    pub policy: Arc<PolicySource>,
    /// What becomes of signatures that are there.
    pub existing: Existing,
    /// Who signs what arrives.
    pub signers: Vec<Arc<Signer>>,
    /// Where signatures of images in registries are.
    pub places: Arc<dyn SignaturePlaces>,
    /// What new signatures say of who made them: the program and its version.
    pub creator: String,
}

impl SignatureOptions {
    /// No requirements, and no place for signatures beside registries.
    pub fn unchecked() -> Self {
        Self {
            policy: Arc::new(PolicySource::accepting()),
            existing: Existing::Carry,
            signers: Vec::new(),
            places: Arc::new(NoPlaces),
            creator: concat!("cooper ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
