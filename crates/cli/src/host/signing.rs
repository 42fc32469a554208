//! Flags about signatures: those that images have, and those that are made.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use model::Secret;
use model::event::OutputStream;
use transfer::{
    CopyOptions, Existing, Fulcio, Gpg, Rekor, SignatureOptions, Signer, SigningKey,
    SigningParameters, SigstoreSigner,
};
use trust::{PrivateKeyError, SigstoreKey};

use super::conversation::AtTerminal;
use super::{prompt, registries};
use crate::ui::Ui;
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
    pub fn apply(&self, options: &mut CopyOptions, world: &World, ui: &Ui) -> Result<()> {
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
            let key = sigstore_key(&file, passphrase.as_deref(), ui)?;
            signers.push(sigstore(SigstoreSigner::by_key(key)));
        }
        if let Some(file) = &self.sign_by_sigstore {
            let path = world.cwd.join(file);
            let parameters = SigningParameters::parse(&read(&path)?)
                .with_context(|| format!("reading signing parameters {}", path.display()))?;
            let signer = signer(parameters, (world, ui))?;
            signer.prepare().with_context(|| {
                format!(
                    "setting up signing using parameter file {:?}",
                    path.display().to_string()
                )
            })?;
            signers.push(sigstore(signer));
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

/// What images that are made in the store are signed by: the key of gpg that has this fingerprint.
pub fn by_gpg(fingerprint: &str, world: &World) -> SignatureOptions {
    SignatureOptions {
        signers: vec![gpg(fingerprint, None, world)],
        ..SignatureOptions::unchecked()
    }
}

/// Who signs as a file of parameters says.
fn signer(parameters: SigningParameters, (world, ui): (&World, &Ui)) -> Result<SigstoreSigner> {
    let services = registries::http(world).services();
    let signer = match parameters.key {
        SigningKey::File { path, passphrase } => {
            let passphrase = passphrase.map(|file| world.cwd.join(file));
            let key = sigstore_key(&world.cwd.join(path), passphrase.as_deref(), ui)?;
            SigstoreSigner::by_key(key)
        }
        SigningKey::Fulcio(fulcio) => {
            let person = Arc::new(AtTerminal(ui.clone()));
            SigstoreSigner::by_fulcio(Fulcio::new(services.clone(), fulcio, person))
        }
    };
    Ok(match parameters.rekor {
        Some(url) => signer.recorded_by(Rekor::new(services, &url)),
        None => signer,
    })
}

fn sigstore(signer: SigstoreSigner) -> Arc<Signer> {
    Arc::new(Signer::Sigstore(signer))
}

/// Reads a key; the passphrase is asked for when it is needed and in no file.
fn sigstore_key(file: &Path, passphrase: Option<&Path>, ui: &Ui) -> Result<SigstoreKey> {
    let secret = match passphrase {
        None => None,
        Some(path) => {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
            Some(Secret::new(text.lines().next().unwrap_or_default()))
        }
    };
    let bytes = read(file)?;
    let loaded = match SigstoreKey::load(&bytes, secret.as_ref()) {
        Err(PrivateKeyError::NoPassphrase) if std::io::stdin().is_terminal() => {
            let ask = || ui.pass(OutputStream::Stderr, b"Passphrase for the private key: ");
            let typed = prompt::password(ask).context("reading the passphrase")?;
            ui.note("");
            SigstoreKey::load(&bytes, Some(&typed))
        }
        loaded => loaded,
    };
    loaded.with_context(|| format!("loading the private key {}", file.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    super::read_limited(path, FILE_MAX)
}
