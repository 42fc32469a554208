//! Flags about signatures: those that images have, and those that are made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use model::Secret;
use transfer::{CopyOptions, Existing, Gpg, Signer, SigningParameters};
use trust::SigstoreKey;

use crate::world::World;

/// The most bytes that a key or a file of parameters may have.
const FILE_MAX: u64 = 1 << 20;

/// What becomes of the signatures that an image has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SignatureArgs {
    /// Leave signatures behind
    #[arg(long)]
    remove_signatures: bool,
}

impl SignatureArgs {
    /// Lays the flags over `options`.
    pub fn apply(&self, options: &mut CopyOptions) {
        if self.remove_signatures {
            options.signatures.existing = Existing::Remove;
        }
    }
}

/// Who signs what is pushed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SigningArgs {
    /// Sign with the key of gpg that has this fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    sign_by: Option<String>,
    /// Sign as this file of parameters for sigstore says
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore: Option<PathBuf>,
    /// Sign as sigstore does with the private key in this file
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore_private_key: Option<PathBuf>,
    /// Read the key's passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    sign_passphrase_file: Option<PathBuf>,
}

impl SigningArgs {
    /// Lays the flags over `options`.
    pub fn apply(&self, options: &mut CopyOptions, world: &World) -> Result<()> {
        let passphrase = self
            .sign_passphrase_file
            .as_ref()
            .map(|file| world.cwd.join(file));
        let signers = &mut options.signatures.signers;
        if let Some(key) = &self.sign_by {
            signers.push(gpg(key, passphrase.clone(), world));
        }
        if let Some(file) = &self.sign_by_sigstore_private_key {
            let file = world.cwd.join(file);
            signers.push(sigstore(&file, passphrase.as_deref())?);
        }
        if let Some(file) = &self.sign_by_sigstore {
            let path = world.cwd.join(file);
            let parameters = SigningParameters::parse(&read(&path)?)
                .with_context(|| format!("reading signing parameters {}", path.display()))?;
            let beside = |file: &Path| world.cwd.join(file);
            let passphrase = parameters.passphrase.as_deref().map(beside);
            signers.push(sigstore(
                &beside(&parameters.private_key),
                passphrase.as_deref(),
            )?);
        }
        if signers.is_empty() && self.sign_passphrase_file.is_some() {
            bail!("--sign-passphrase-file requires a key to sign with");
        }
        Ok(())
    }
}

/// Signs with the key of gpg that has this fingerprint.
pub fn gpg(fingerprint: &str, passphrase_file: Option<PathBuf>, world: &World) -> Arc<Signer> {
    Arc::new(Signer::Simple(Gpg {
        home: world.var("GNUPGHOME").map(PathBuf::from),
        passphrase_file,
        ..Gpg::new(fingerprint)
    }))
}

fn sigstore(file: &Path, passphrase: Option<&Path>) -> Result<Arc<Signer>> {
    let secret = match passphrase {
        None => None,
        Some(path) => {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
            Some(Secret::new(text.lines().next().unwrap_or_default()))
        }
    };
    let key = SigstoreKey::load(&read(file)?, secret.as_ref())
        .with_context(|| format!("loading the private key {}", file.display()))?;
    Ok(Arc::new(Signer::Sigstore(key)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    super::read_limited(path, FILE_MAX)
}
