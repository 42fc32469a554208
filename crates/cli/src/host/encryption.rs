//! Flags about layers that only some can read: whom they are encrypted for, and the keys that decrypt them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use model::Secret;
use transfer::{CopyOptions, LayerEncryption};
use trust::encryption::{DecryptionKeys, Recipients};

use crate::world::World;

/// The most bytes that a file with keys may have.
const FILE_MAX: u64 = 16 << 20;
/// The most bytes that a password may have.
const PASSWORD_MAX: u64 = 4096;

/// Who can read the layers of what is written.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct EncryptionArgs {
    /// Encrypt layers for whoever has the key to jwe:PUBLIC-KEY-FILE, pkcs7:CERTIFICATE-FILE or pgp:NAME-OR-ADDRESS
    #[arg(long, value_name = "PROTOCOL:KEY", value_delimiter = ',')]
    encryption_key: Vec<String>,
    /// Encrypt only this layer, counted from the base, from 0, or negative from the top
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true, value_parser = crate::args::go_int)]
    encrypt_layer: Vec<i64>,
}

impl EncryptionArgs {
    /// Whether anything is to be encrypted.
    pub fn are_given(&self) -> bool {
        !self.encryption_key.is_empty()
    }

    /// Lays the flags over `options`.
    pub fn apply(&self, options: &mut CopyOptions, world: &World) -> Result<()> {
        if !self.are_given() {
            if !self.encrypt_layer.is_empty() {
                // What somebody wants to be secret is not handed out as it is.
                bail!("--encrypt-layer requires --encryption-key");
            }
            return Ok(());
        }
        let recipients = recipients(&self.encryption_key, world)
            .context("invalid encryption keys")
            .context("unable to obtain encryption config")?;
        options.encryption = Some(LayerEncryption {
            recipients: Arc::new(recipients),
            layers: self.encrypt_layer.clone(),
        });
        Ok(())
    }
}

fn recipients(words: &[String], world: &World) -> Result<Recipients> {
    let mut recipients = Recipients::default();
    let mut people = Vec::new();
    for word in words {
        let Some((protocol, value)) = word.split_once(':') else {
            bail!("Invalid recipient format");
        };
        let file = || read(value, world).context("Unable to read file");
        match protocol {
            "jwe" => recipients.add_jwe(&file()?)?,
            "pkcs7" => recipients.add_pkcs7(&file()?)?,
            "pgp" => people.push(value.to_owned()),
            "pkcs11" | "provider" => bail!("keys of {protocol}: are not supported yet"),
            _ => bail!("Provided protocol not recognized"),
        }
    }
    if !people.is_empty() {
        let home = world.var("GNUPGHOME").map(Path::new);
        let keyring = transfer::gpg_public_keys(home)?;
        recipients.add_pgp(&people, &keyring, world.now().unix_seconds())?;
    }
    Ok(recipients)
}

/// What encrypted layers are read with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DecryptionArgs {
    /// Decrypt layers with this private key or keyring: FILE, FILE:PASSWORD, FILE:pass=PASSWORD, FILE:file=FILE or FILE:fd=N
    #[arg(long, value_name = "KEY[:PASSWORD]", value_delimiter = ',')]
    decryption_key: Vec<String>,
}

impl DecryptionArgs {
    /// Lays the flags over `options`.
    pub fn apply(&self, options: &mut CopyOptions, world: &World) -> Result<()> {
        if !self.decryption_key.is_empty() {
            let keys = keys(&self.decryption_key, world).context("invalid decryption keys")?;
            options.decryption = Some(Arc::new(keys));
        }
        Ok(())
    }
}

fn keys(words: &[String], world: &World) -> Result<DecryptionKeys> {
    let mut keys = DecryptionKeys::default();
    for word in words {
        if word.starts_with("provider:") {
            bail!("keys of provider: are not supported yet");
        }
        let (file, password) = match word.split_once(':') {
            Some((file, password)) => (file, Some(self::password(password, world)?)),
            None => (word.as_str(), None),
        };
        keys.add(&read(file, world)?, password.as_ref())
            .with_context(|| file.to_owned())?;
    }
    Ok(keys)
}

/// Reads a password: the word itself, or where the word says that it is.
fn password(word: &str, world: &World) -> Result<Secret> {
    let bytes = match word.split_once('=') {
        Some(("pass", password)) => return Ok(Secret::new(password)),
        Some(("file", file)) => read_limited(file, &world.cwd.join(file), PASSWORD_MAX)?,
        Some(("fd", number)) => {
            let number: u32 = number
                .parse()
                .with_context(|| format!("could not parse file descriptor {number}"))?;
            let path = format!("/proc/self/fd/{number}");
            read_limited(&path, Path::new(&path), PASSWORD_MAX)?
        }
        _ => return Ok(Secret::new(word)),
    };
    let text = String::from_utf8(bytes).context("the password is not UTF-8")?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn read(file: &str, world: &World) -> Result<Vec<u8>> {
    read_limited(file, &world.cwd.join(file), FILE_MAX)
}

fn read_limited(shown: &str, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("open {shown}"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {shown}"))?;
    if bytes.len() as u64 > limit {
        bail!("{shown} is larger than {limit} bytes");
    }
    Ok(bytes)
}
