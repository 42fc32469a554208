//! Whether the documents of an image agree with each other and with the rules of their format.
//!
//! Layers are judged by what is said of them; their bytes are checked where they are read.

use crate::digest::Digest;
use crate::image_config::{ConfigError, ImageConfig};
use crate::manifest::{ManifestFormat, RawManifest};
use crate::media_type::{LayerCompression, LayerType};

/// Something wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The config cannot be read.
    #[error("the config is unreadable")]
    Config(#[from] ConfigError),
    /// The config's bytes are others than the manifest promises.
    #[error("the config has digest {actual}, the manifest says {expected}")]
    ConfigDigest {
        /// Of the manifest.
        expected: Digest,
        /// Of the bytes.
        actual: Digest,
    },
    /// The config has another size than the manifest promises.
    #[error("the config has {actual} bytes, the manifest says {expected}")]
    ConfigSize {
        /// Of the manifest.
        expected: u64,
        /// Of the bytes.
        actual: u64,
    },
    /// A media type does not belong to the manifest's format.
    #[error(
        "media type `{media_type}` of {what} does not belong in a manifest of type `{manifest}`"
    )]
    MediaType {
        /// `the config` or `layer N`.
        what: String,
        /// The type.
        media_type: String,
        /// The manifest's.
        manifest: &'static str,
    },
    /// Manifest and config have different numbers of layers.
    #[error("the manifest has {layers} layers, the config {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// The history tells of another number of layers.
    #[error("the history has {history} entries with a layer, the config {diff_ids} layers")]
    HistoryCount {
        /// Entries that are not empty.
        history: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// An uncompressed layer whose digest is not its DiffID.
    #[error("layer {index} is uncompressed with digest {digest}, but its DiffID is {diff_id}")]
    UncompressedDigest {
        /// From the base, from 0.
        index: usize,
        /// In the manifest.
        digest: Digest,
        /// In the config.
        diff_id: Digest,
    },
    /// `rootfs.type` is not `layers`.
    #[error("rootfs has type `{kind}`, not `layers`")]
    RootFsType {
        /// The type.
        kind: String,
    },
    /// The config does not name its operating system or processor.
    #[error("the config has no `{field}`")]
    NoPlatform {
        /// The member.
        field: &'static str,
    },
    /// A variable of the environment without a name.
    #[error("environment entry `{entry}` is not NAME=value")]
    Env {
        /// The entry.
        entry: String,
    },
}

/// Checks an image's manifest and config against each other; an empty list means that they agree.
pub fn image(manifest: &RawManifest, config_bytes: &[u8]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let format = manifest.format();
    let parsed = manifest.manifest();
    let (expected, actual) = (parsed.config.size, config_bytes.len() as u64);
    if expected != actual {
        findings.push(Finding::ConfigSize { expected, actual });
    }
    if !parsed.config.digest.verify(config_bytes) {
        let (expected, actual) = (parsed.config.digest.clone(), Digest::sha256(config_bytes));
        findings.push(Finding::ConfigDigest { expected, actual });
    }
    check_media_types(manifest, format, &mut findings);
    let config = match ImageConfig::parse(config_bytes) {
        Ok(config) => config,
        Err(err) => {
            findings.push(err.into());
            return findings;
        }
    };
    check_layers(manifest, &config, &mut findings);
    check_config(&config, &mut findings);
    findings
}

fn check_media_types(manifest: &RawManifest, format: ManifestFormat, findings: &mut Vec<Finding>) {
    let parsed = manifest.manifest();
    let mut wrong = |what: String, media_type: &str| {
        findings.push(Finding::MediaType {
            what,
            media_type: media_type.to_owned(),
            manifest: format.manifest_type(),
        });
    };
    if parsed.config.media_type != format.config_type() {
        wrong("the config".to_owned(), &parsed.config.media_type);
    }
    for (index, layer) in parsed.layers.iter().enumerate() {
        let right = LayerType::parse(&layer.media_type).and_then(|kind| match format {
            ManifestFormat::Oci => Some(kind.oci()),
            ManifestFormat::Docker => kind.docker(),
        });
        if right != Some(layer.media_type.as_str()) {
            wrong(format!("layer {index}"), &layer.media_type);
        }
    }
}

fn check_layers(manifest: &RawManifest, config: &ImageConfig, findings: &mut Vec<Finding>) {
    let layers = &manifest.manifest().layers;
    let diff_ids = &config.rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        findings.push(Finding::LayerCount {
            layers: layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let history = config.layers_in_history();
    if !config.history.is_empty() && history != diff_ids.len() {
        findings.push(Finding::HistoryCount {
            history,
            diff_ids: diff_ids.len(),
        });
    }
    for (index, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let plain = LayerType::parse(&layer.media_type)
            .is_some_and(|kind| kind.compression == LayerCompression::None);
        if plain && layer.digest != diff_id.0 {
            let (digest, diff_id) = (layer.digest.clone(), diff_id.0.clone());
            findings.push(Finding::UncompressedDigest {
                index,
                digest,
                diff_id,
            });
        }
    }
}

fn check_config(config: &ImageConfig, findings: &mut Vec<Finding>) {
    if config.rootfs.kind != "layers" {
        findings.push(Finding::RootFsType {
            kind: config.rootfs.kind.clone(),
        });
    }
    for (field, value) in [("architecture", &config.architecture), ("os", &config.os)] {
        if value.is_empty() {
            findings.push(Finding::NoPlatform { field });
        }
    }
    for entry in &config.config.env {
        if entry
            .split_once('=')
            .is_none_or(|(name, _)| name.is_empty())
        {
            findings.push(Finding::Env {
                entry: entry.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::edit::store_manifest;
    use crate::id::DiffId;
    use crate::image_config::History;
    use crate::platform::Platform;

    fn sample() -> (ImageConfig, DiffId) {
        let diff = DiffId(Digest::sha256(b"tar"));
        let mut config = ImageConfig::for_platform(&Platform::new("linux", "amd64"));
        config.append_layer(diff.clone(), History::default());
        config.append_empty(History::default());
        (config, diff)
    }

    #[test]
    fn what_we_make_is_right() {
        let (config, diff) = sample();
        for format in [ManifestFormat::Oci, ManifestFormat::Docker] {
            let bytes = config.to_bytes(format);
            let manifest = store_manifest(format, &bytes, &[(diff.clone(), 3)], &BTreeMap::new());
            assert!(image(&manifest, &bytes).is_empty());
        }
    }

    #[test]
    fn each_disagreement_is_found() {
        let (mut config, diff) = sample();
        config.append_layer(DiffId(Digest::sha256(b"other")), History::default());
        config.append_layer(DiffId(Digest::sha256(b"third")), History::default());
        config.history.pop();
        config.os.clear();
        config.config.env.push("=x".to_owned());
        let bytes = config.to_bytes(ManifestFormat::Oci);
        let layers = [(DiffId(Digest::sha256(b"wrong")), 3), (diff, 3)];
        let manifest = store_manifest(ManifestFormat::Docker, b"other", &layers, &BTreeMap::new());
        let found: Vec<String> = image(&manifest, &bytes)
            .iter()
            .map(ToString::to_string)
            .collect();
        let starts = [
            "the config has ",
            "the config has digest",
            "the manifest has 2 layers, the config 3",
            "the history has 2 entries",
            "layer 0 is uncompressed",
            "layer 1 is uncompressed",
            "the config has no `os`",
            "environment entry `=x`",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
    }
}
