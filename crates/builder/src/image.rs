//! Putting an image together: config, history and manifest from what a container or a stage knows.
//!
//! Pure: bytes come out, nothing is stored. The members and their order are those that Buildah
//! writes, since other builders compare whole configs.

use std::collections::BTreeMap;

use model::edit::DialectLoss;
use model::{DiffId, History, ImageConfig, ImageId, ManifestFormat, RawManifest, Timestamp};

/// Name of the label that says which builder made the image.
pub const IDENTITY_LABEL: &str = "io.buildah.version";
/// Annotation with the name of the base image.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Annotation with the digest of the base image's manifest.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Annotation with the time of the image.
pub const CREATED: &str = "org.opencontainers.image.created";

/// Everything that an image consists of besides the content of its layers.
#[derive(Debug, Clone)]
pub struct ImageParts<'a> {
    /// The configuration; its `rootfs`, `history` and `created` are replaced.
    pub config: ImageConfig,
    /// The layers from the base up: content and size of the tar in bytes.
    pub layers: &'a [(DiffId, u64)],
    /// The whole history, the base image's entries included.
    pub history: Vec<History>,
    /// When the image is said to be made.
    pub created: Timestamp,
    /// Annotations of the manifest; the Docker format has none.
    pub annotations: BTreeMap<String, String>,
    /// The format.
    pub format: ManifestFormat,
    /// The container that was committed; only the Docker format says it.
    pub container: Option<&'a str>,
    /// The image below; only the Docker format says it.
    pub parent: Option<&'a ImageId>,
}

/// An image ready for the store.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The ID: digest of the config.
    pub id: ImageId,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: RawManifest,
    /// What the format could not hold.
    pub losses: Vec<DialectLoss>,
}

/// Why the parts make no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// History and layers do not belong together.
    #[error("history lists {history} non-empty layers, but there are {layers} layers on disk")]
    LayerCount {
        /// Entries of the history that stand for a layer.
        history: usize,
        /// Layers.
        layers: usize,
    },
    /// Nobody could read such an image again.
    #[error("the image would have {layers} layers; at most {limit} are possible", limit = model::manifest::LAYERS_MAX)]
    TooManyLayers {
        /// Layers.
        layers: usize,
    },
}

impl ImageParts<'_> {
    /// Makes the bytes of config and manifest.
    ///
    /// An empty history says nothing about the layers and is always accepted.
    ///
    /// # Errors
    /// When the history's entries with a layer are not as many as the layers.
    pub fn assemble(self) -> Result<Assembled, ImageError> {
        let with_layer = self
            .history
            .iter()
            .filter(|entry| !entry.empty_layer)
            .count();
        if !self.history.is_empty() && with_layer != self.layers.len() {
            return Err(ImageError::LayerCount {
                history: with_layer,
                layers: self.layers.len(),
            });
        }
        if self.layers.len() > model::manifest::LAYERS_MAX {
            return Err(ImageError::TooManyLayers {
                layers: self.layers.len(),
            });
        }
        let mut config = self.config.clone();
        config.created = Some(self.created);
        config.history = self.history;
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = self.layers.iter().map(|(diff, _)| diff.clone()).collect();
        let (mut config, losses) = model::edit::into_dialect(config, self.format);
        if self.format == ManifestFormat::Docker {
            config.container = self.container.unwrap_or_default().to_owned();
            config.container_config = None;
            if let Some(parent) = self.parent {
                let digest = parent.to_config_digest().to_string();
                config.extra.insert("parent".to_owned(), digest.into());
            }
        }
        let config = config.to_bytes(self.format);
        let manifest =
            model::edit::store_manifest(self.format, &config, self.layers, &self.annotations);
        let id = ImageId::from_config_digest(&manifest.manifest().config.digest)
            .expect("the manifest names the config by its sha256");
        Ok(Assembled {
            id,
            config,
            manifest,
            losses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> (DiffId, u64) {
        (
            DiffId(model::Digest::sha256(text.as_bytes())),
            text.len() as u64,
        )
    }

    fn entry(created_by: &str, empty_layer: bool) -> History {
        History {
            created: Some(Timestamp::UNIX_EPOCH),
            created_by: created_by.to_owned(),
            empty_layer,
            ..History::default()
        }
    }

    fn parts(layers: &[(DiffId, u64)], format: ManifestFormat) -> ImageParts<'_> {
        let mut config = ImageConfig {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            ..ImageConfig::default()
        };
        config.config.shell = vec!["/bin/ash".to_owned(), "-c".to_owned()];
        ImageParts {
            config,
            layers,
            history: vec![entry("a", false), entry("b", true), entry("c", false)],
            created: Timestamp::UNIX_EPOCH,
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            format,
            container: Some("7544"),
            parent: None,
        }
    }

    #[test]
    fn each_format_has_its_own_members() {
        let layers = [layer("one"), layer("two")];
        let oci = parts(&layers, ManifestFormat::Oci).assemble().expect("oci");
        let text = String::from_utf8(oci.config).expect("text");
        assert!(!text.contains("Shell") && !text.contains("7544"), "{text}");
        assert!(
            oci.losses
                .iter()
                .any(|loss| matches!(loss, DialectLoss::Shell(_)))
        );
        assert_eq!(oci.manifest.manifest().annotations.len(), 1);
        let docker = parts(&layers, ManifestFormat::Docker)
            .assemble()
            .expect("docker");
        let text = String::from_utf8(docker.config).expect("text");
        assert!(text.contains("\"Shell\":[\"/bin/ash\",\"-c\"]"), "{text}");
        assert!(text.contains("\"container\":\"7544\""), "{text}");
        assert!(docker.losses.is_empty());
        assert!(docker.manifest.manifest().annotations.is_empty());
    }

    #[test]
    fn history_must_fit_the_layers() {
        let layers = [layer("one")];
        let error = parts(&layers, ManifestFormat::Oci)
            .assemble()
            .expect_err("two entries");
        assert_eq!(
            error.to_string(),
            "history lists 2 non-empty layers, but there are 1 layers on disk"
        );
        let mut without = parts(&layers, ManifestFormat::Oci);
        without.history.clear();
        assert!(without.assemble().is_ok());
    }
}
