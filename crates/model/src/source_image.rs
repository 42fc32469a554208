//! Source images: artifacts whose layers are what an image was built from, as Buildah's `source` makes them.

use serde::{Deserialize, Serialize};

use crate::go_json;
use crate::manifest::{Descriptor, Document, ManifestFormat, RawManifest};
use crate::media_type;
use crate::time::Timestamp;

/// The config of a source image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceConfig {
    /// When the source image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
}

impl SourceConfig {
    /// Writes the config as Buildah writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_vec(self).expect("all keys are strings and all values plain")
    }
}

/// Why something is no source image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSourceImage {
    /// It is no manifest of OCI.
    #[error("image {name:?} is of type {actual:?} (expected: {expected:?})", expected = media_type::OCI_MANIFEST)]
    Manifest {
        /// Its name.
        name: String,
        /// What it is.
        actual: String,
    },
    /// It is an image, or an artifact of another kind.
    #[error("invalid media type of image config {actual:?} (expected: {expected:?})", expected = media_type::OCI_SOURCE_CONFIG)]
    Config {
        /// The type of its config.
        actual: String,
    },
}

/// The manifest of a source image that has nothing yet.
///
/// A missing list of layers is `null` here: Buildah writes it so, and equal source images have the same digest.
pub fn empty_manifest(config: &Descriptor) -> RawManifest {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Empty<'a> {
        schema_version: i64,
        media_type: &'static str,
        config: &'a Descriptor,
        layers: Option<()>,
    }
    let bytes = go_json::to_vec(&Empty {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        config,
        layers: None,
    });
    RawManifest::parse(bytes.expect("all keys are strings and all values plain"))
        .expect("it is a manifest")
}

/// Checks that what `name` leads to is a source image.
///
/// # Errors
/// See [`NotSourceImage`].
pub fn check(name: &str, top: &Document) -> Result<(), NotSourceImage> {
    let other = |actual: &str| {
        Err(NotSourceImage::Manifest {
            name: name.to_owned(),
            actual: actual.to_owned(),
        })
    };
    match top {
        Document::Index(index) => other(index.index().format().index_type()),
        Document::Manifest(manifest) if manifest.format() != ManifestFormat::Oci => {
            other(manifest.format().manifest_type())
        }
        Document::Manifest(manifest) => {
            let config = &manifest.manifest().config;
            if config.media_type == media_type::OCI_SOURCE_CONFIG {
                Ok(())
            } else {
                Err(NotSourceImage::Config {
                    actual: config.media_type.clone(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::manifest::{Index, Manifest, RawIndex};

    #[test]
    fn documents_are_buildah_s() {
        // What Debian's Buildah 1.39 has written.
        let config = SourceConfig {
            author: "me".to_owned(),
            created: None,
        };
        assert_eq!(config.to_bytes(), br#"{"author":"me"}"#);
        let bytes = config.to_bytes();
        let config = Descriptor::new(
            media_type::OCI_SOURCE_CONFIG,
            Digest::sha256(&bytes),
            bytes.len() as u64,
        );
        let manifest = empty_manifest(&config);
        assert_eq!(
            manifest.digest().hex(),
            "f3075ba3f9dfc78905f3876d98c770a4d86e41c71d4c4a33d758cfad4259581a"
        );
        assert!(manifest.manifest().layers.is_empty());
        let dated: SourceConfig =
            serde_json::from_str(r#"{"created":"2026-11-21T20:42:23.192952897Z"}"#).unwrap();
        assert_eq!(
            dated.to_bytes(),
            br#"{"created":"2026-11-21T20:42:23.192952897Z"}"#
        );
    }

    #[test]
    fn other_documents_are_refused() {
        let manifest = |format: ManifestFormat, kind: &str| {
            let config = Descriptor::new(kind, Digest::sha256(b"{}"), 2);
            Document::Manifest(RawManifest::from_manifest(Manifest::new(
                format,
                config,
                Vec::new(),
            )))
        };
        let list = Document::Index(RawIndex::from_index(Index::new(
            ManifestFormat::Oci,
            Vec::new(),
        )));
        let check = |document: Document, expected: Option<&str>| {
            let found = check("h/n:t", &document)
                .err()
                .map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check(
            manifest(ManifestFormat::Oci, media_type::OCI_SOURCE_CONFIG),
            None,
        );
        check(
            manifest(ManifestFormat::Oci, media_type::OCI_CONFIG),
            Some(
                r#"invalid media type of image config "application/vnd.oci.image.config.v1+json" (expected: "application/vnd.oci.source.image.config.v1+json")"#,
            ),
        );
        check(
            manifest(ManifestFormat::Docker, media_type::DOCKER_CONFIG),
            Some(
                r#"image "h/n:t" is of type "application/vnd.docker.distribution.manifest.v2+json" (expected: "application/vnd.oci.image.manifest.v1+json")"#,
            ),
        );
        check(
            list,
            Some(
                r#"image "h/n:t" is of type "application/vnd.oci.image.index.v1+json" (expected: "application/vnd.oci.image.manifest.v1+json")"#,
            ),
        );
    }
}
