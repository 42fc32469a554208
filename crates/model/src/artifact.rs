//! Artifacts: OCI manifests that carry files of any kind instead of an image (OCI "Guidelines for Artifact Usage").
//!
//! Files are only described here; nothing reads them.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, ManifestFormat, RawManifest};
use crate::media_type;

/// What an artifact is when nobody says it.
pub const UNKNOWN_TYPE: &str = "application/vnd.unknown.artifact.v1";
/// The annotation of a layer that names its file.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The content of the empty config, and of the layer of an artifact without files.
pub const EMPTY_CONTENT: &[u8] = b"{}";
/// [`EMPTY_CONTENT`] in base64.
const EMPTY_DATA: &str = "e30=";

/// An artifact to be described by a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Artifact {
    /// What it is; [`UNKNOWN_TYPE`] without.
    pub kind: Option<String>,
    /// Its config; the [empty one](empty) without.
    pub config: Option<Descriptor>,
    /// Its files in order; a placeholder takes their place when there are none.
    pub layers: Vec<Descriptor>,
    /// Remarks on the whole.
    pub annotations: BTreeMap<String, String>,
    /// What it is about.
    pub subject: Option<Descriptor>,
}

/// Describes the empty JSON object, with its content in place.
pub fn empty() -> Descriptor {
    let mut empty = Descriptor::new(
        media_type::OCI_EMPTY,
        Digest::sha256(EMPTY_CONTENT),
        EMPTY_CONTENT.len() as u64,
    );
    empty.data = Some(EMPTY_DATA.to_owned());
    empty
}

impl Artifact {
    /// Writes the manifest.
    pub fn into_manifest(self) -> RawManifest {
        let layers = if self.layers.is_empty() {
            vec![empty()]
        } else {
            self.layers
        };
        let config = self.config.unwrap_or_else(empty);
        let mut manifest = Manifest::new(ManifestFormat::Oci, config, layers);
        manifest.artifact_type = Some(self.kind.unwrap_or_else(|| UNKNOWN_TYPE.to_owned()));
        manifest.subject = self.subject;
        manifest.annotations = self.annotations;
        RawManifest::from_manifest(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    #[test]
    fn manifests_have_what_readers_expect() {
        let check = |artifact: Artifact, expected: &str| {
            let manifest = artifact.into_manifest();
            assert_eq!(std::str::from_utf8(manifest.bytes()).unwrap(), expected);
        };
        const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}"#;
        let head = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.unknown.artifact.v1""#;
        check(
            Artifact::default(),
            &format!(r#"{head},"config":{EMPTY},"layers":[{EMPTY}]}}"#),
        );
        let mut layer = Descriptor::new("text/plain", Digest::sha256(b"f"), 1);
        layer.annotations.insert(TITLE.to_owned(), "f".to_owned());
        let digest = layer.digest.clone();
        let artifact = Artifact {
            layers: vec![layer],
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ..Artifact::default()
        };
        check(
            artifact.clone(),
            &format!(
                r#"{head},"config":{EMPTY},"layers":[{{"mediaType":"text/plain","digest":"{digest}","size":1,"annotations":{{"org.opencontainers.image.title":"f"}}}}],"annotations":{{"k":"v"}}}}"#
            ),
        );
        let entry = list::entry_of(&artifact.into_manifest(), None);
        assert_eq!(entry.platform, None);
        assert_eq!(entry.artifact_type.as_deref(), Some(UNKNOWN_TYPE));
    }
}
