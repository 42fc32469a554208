//! Which layers of an image are encrypted or decrypted on their way.
//!
//! A layer goes either way in the one pass that moves it: what comes is verified, decrypted, packed anew where that is
//! wanted, and encrypted last. The config stays readable, and so do the digests of the layers' contents in it.

use std::sync::Arc;

use model::media_type::{LayerCompression, LayerType, Secrecy};
use model::{Descriptor, Digest, Event};
use trust::encryption::{DecryptError, EncryptError, LayerKey, OpenedLayer, Recipients};

use crate::compression::CompressionFormat;
use crate::copy::CopyOptions;
use crate::error::{Result, TransferError};
use crate::mover::Mover;
use crate::packing::Seal;
use crate::plan::Keep;
use crate::sink::Landed;
use crate::source::{Offered, Opened, Promised};

/// Why layers cannot be encrypted or decrypted on their way.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// Layers would have to be both decrypted and encrypted.
    #[error("Unable to support both decryption and encryption in the same copy")]
    BothWays,
    /// A layer that is to be encrypted is none of the image's.
    #[error(
        "when choosing layers to encrypt, layer index {layer} out of range ({count} layers exist)"
    )]
    NoSuchLayer {
        /// The position that was asked for.
        layer: i64,
        /// How many layers there are.
        count: usize,
    },
    /// A store keeps layers unpacked.
    #[error("layers in containers-storage cannot be encrypted")]
    EncryptedStore,
    /// A layer is encrypted, and has to be unpacked.
    #[error(
        "layer {index} (blob \"{blob}\"/\"\"/\"{blob}\") does not match config's DiffID \"{expected}\": it is encrypted, and no key to decrypt it is given"
    )]
    StaysEncrypted {
        /// Its position from the base, from 0.
        index: usize,
        /// Its digest at the source.
        blob: Digest,
        /// The digest of its content.
        expected: Digest,
    },
    /// A layer cannot be encrypted.
    #[error("encrypting blob {layer}")]
    Encrypt {
        /// Its digest at the source.
        layer: Digest,
        /// The cause.
        source: EncryptError,
    },
    /// A layer was encrypted, and its key cannot be given to the recipients.
    #[error("Unable to finalize encryption")]
    FinishEncryption(#[source] EncryptError),
    /// A layer cannot be decrypted.
    #[error("decrypting layer {layer}")]
    Decrypt {
        /// Its digest at the source.
        layer: Digest,
        /// The cause.
        source: DecryptError,
    },
}

/// Who is to be able to read the layers at the destination.
#[derive(Clone, Debug)]
pub struct LayerEncryption {
    /// Those who are.
    pub recipients: Arc<Recipients>,
    /// The layers that are encrypted, from the base, from 0; negative ones count from the top. None at all are all.
    pub layers: Vec<i64>,
}

impl LayerEncryption {
    /// Tells for each of `count` layers whether it is encrypted.
    fn chosen(&self, count: usize) -> Result<Vec<bool>> {
        let mut chosen = vec![self.layers.is_empty(); count];
        for &layer in &self.layers {
            let from_top = usize::try_from(layer.unsigned_abs()).ok();
            let at = match layer {
                0.. => from_top,
                _ => from_top.and_then(|back| count.checked_sub(back)),
            };
            match at.and_then(|at| chosen.get_mut(at)) {
                Some(one) => *one = true,
                None => return Err(EncryptionError::NoSuchLayer { layer, count }.into()),
            }
        }
        Ok(chosen)
    }
}

/// How a layer gets over.
pub(crate) enum Crossing {
    /// Readable by whoever could read it before.
    AsItIs,
    /// Encrypted anew.
    Encrypted(Box<Seal>, Arc<Recipients>),
    /// Decrypted; with what is known of the bytes then.
    Decrypted(Box<OpenedLayer>, Box<Offered>),
}

impl Crossing {
    /// What is known of the layer once its source was read.
    pub(crate) fn offered<'b>(&'b self, offered: &'b Offered) -> &'b Offered {
        match self {
            Self::Decrypted(_, decrypted) => decrypted,
            Self::AsItIs | Self::Encrypted(..) => offered,
        }
    }

    pub(crate) fn seal(&self) -> Option<&Seal> {
        match self {
            Self::Encrypted(seal, _) => Some(seal),
            Self::AsItIs | Self::Decrypted(..) => None,
        }
    }

    /// Adds what a layer's descriptor says of its encryption.
    pub(crate) fn label(&self, landed: &mut Landed) -> Result<()> {
        let Self::Encrypted(seal, recipients) = self else {
            return Ok(());
        };
        let encrypted = seal.done().ok_or(TransferError::GivenUp)?;
        let wrapped = recipients.annotations(&seal.key, &encrypted);
        let annotations = wrapped.map_err(EncryptionError::FinishEncryption)?;
        landed.annotations.extend(annotations);
        landed.secrecy = Secrecy::Encrypted;
        Ok(())
    }
}

/// Whether a descriptor is that of an encrypted layer.
pub(crate) fn is_encrypted(layer: &Descriptor) -> bool {
    LayerType::parse(&layer.media_type).is_some_and(LayerType::is_encrypted)
}

/// Whether some layers will be encrypted at the destination.
pub(crate) fn arrives_encrypted(opened: &Opened<'_>, options: &CopyOptions) -> bool {
    let stays = || {
        let mut layers = opened.offered.iter();
        options.decryption.is_none() && layers.any(|offered| is_encrypted(&offered.descriptor))
    };
    options.encryption.is_some() || stays()
}

impl Mover<'_> {
    /// Decides how each layer gets over, and unwraps the keys of those that are decrypted.
    pub(crate) fn crossings(&mut self, names: &[String]) -> Result<Vec<Crossing>> {
        let offered = &self.opened.offered;
        if let Some(encryption) = &self.options.encryption {
            if self.sink.checks_content() {
                return Err(EncryptionError::EncryptedStore.into());
            }
            if self.options.compression == Some(CompressionFormat::ZstdChunked) {
                let text = "Compression using zstd:chunked is not beneficial for encrypted layers, using plain zstd instead";
                let text = text.to_owned();
                self.reporter.event(Event::Warning { text });
            }
            let chosen = encryption.chosen(offered.len())?;
            let layers = offered.iter().zip(chosen);
            return layers
                .map(|(offered, chosen)| self.encrypted(encryption, offered, chosen))
                .collect();
        }
        let crossings = offered
            .iter()
            .enumerate()
            .map(|(index, offered)| self.decrypted(index, offered))
            .collect::<Result<Vec<_>>>()?;
        let decrypts = |one: &Crossing| matches!(one, Crossing::Decrypted(..));
        if crossings.iter().any(decrypts) {
            // The manifest will be another one.
            if names.iter().any(|name| name.contains('@')) {
                self.plan.keep(Keep::Digest)?;
            }
            self.refuse_to_change()?;
        }
        Ok(crossings)
    }

    fn refuse_to_change(&self) -> Result<()> {
        match self.plan.kept() {
            Some(why) => Err(TransferError::MustNotChange { why }),
            None => Ok(()),
        }
    }

    fn encrypted(
        &self,
        encryption: &LayerEncryption,
        offered: &Offered,
        chosen: bool,
    ) -> Result<Crossing> {
        // What is encrypted already stays as it is for those who could read it.
        let is_open_layer = LayerType::parse(&offered.descriptor.media_type)
            .is_some_and(|kind| !kind.is_encrypted());
        if !chosen || !is_open_layer {
            return Ok(Crossing::AsItIs);
        }
        self.refuse_to_change()?;
        let key = LayerKey::generate().map_err(|source| EncryptionError::Encrypt {
            layer: offered.descriptor.digest.clone(),
            source,
        })?;
        let recipients = Arc::clone(&encryption.recipients);
        Ok(Crossing::Encrypted(Box::new(Seal::new(key)), recipients))
    }

    fn decrypted(&self, index: usize, offered: &Offered) -> Result<Crossing> {
        let descriptor = &offered.descriptor;
        let (Some(kind), Some(diff_id)) =
            (LayerType::parse(&descriptor.media_type), &offered.diff_id)
        else {
            return Ok(Crossing::AsItIs);
        };
        let keys = match &self.options.decryption {
            _ if !kind.is_encrypted() => return Ok(Crossing::AsItIs),
            Some(keys) => keys,
            None if self.sink.checks_content() => {
                return Err(EncryptionError::StaysEncrypted {
                    index,
                    blob: descriptor.digest.clone(),
                    expected: diff_id.0.clone(),
                }
                .into());
            }
            None => return Ok(Crossing::AsItIs),
        };
        let opened = keys.open(&descriptor.annotations);
        let opened = opened.map_err(|source| EncryptionError::Decrypt {
            layer: descriptor.digest.clone(),
            source,
        })?;
        let plain = LayerType {
            compression: LayerCompression::None,
            secrecy: Secrecy::Open,
            ..kind
        };
        let decrypted = Offered {
            descriptor: Descriptor::new(plain.oci(), diff_id.0.clone(), 0),
            promised: Promised::Content,
            diff_id: Some(diff_id.clone()),
        };
        Ok(Crossing::Decrypted(Box::new(opened), Box::new(decrypted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_chosen_from_both_ends() {
        let check = |layers: &[i64], expected: std::result::Result<&[bool], &str>| {
            let encryption = LayerEncryption {
                recipients: Arc::default(),
                layers: layers.to_vec(),
            };
            let chosen = encryption.chosen(3).map_err(|err| err.to_string());
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected);
        };
        check(&[], Ok(&[true, true, true]));
        check(&[0], Ok(&[true, false, false]));
        check(&[-1, 1], Ok(&[false, true, true]));
        check(&[-3, -3], Ok(&[true, false, false]));
        let outside = |layer: i64| {
            format!(
                "when choosing layers to encrypt, layer index {layer} out of range (3 layers exist)"
            )
        };
        for layer in [3, -4, i64::MAX, i64::MIN] {
            check(&[layer], Err(&outside(layer)));
        }
    }
}
