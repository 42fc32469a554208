//! What a copy is told about signatures.

use std::sync::Arc;

use super::lookaside::{NoPlaces, SignaturePlaces};
use super::policy::PolicySource;
use super::signer::Signer;

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
