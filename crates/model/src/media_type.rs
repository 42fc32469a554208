//! The media types of manifests, configs and layers, and what follows from them.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI layer that may not be distributed, uncompressed.
pub const OCI_LAYER_NONDISTRIBUTABLE: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// OCI layer that may not be distributed, gzip.
pub const OCI_LAYER_NONDISTRIBUTABLE_GZIP: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
/// OCI layer that may not be distributed, zstd.
pub const OCI_LAYER_NONDISTRIBUTABLE_ZSTD: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
/// The config of an artifact that has none.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 1.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker manifest, schema 1, signed.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, uncompressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer kept elsewhere, uncompressed.
pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker layer kept elsewhere, gzip.
pub const DOCKER_FOREIGN_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// How a layer's bytes are compressed, as far as a media type can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// A plain tar.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// Whether a layer is fetched from where the image is, or from its `urls` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// The usual.
    Normal,
    /// "Foreign" with Docker, "nondistributable" with OCI.
    Foreign,
}

/// A layer media type taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerType {
    /// The compression.
    pub compression: LayerCompression,
    /// Where it may be had.
    pub distribution: Distribution,
}

const LAYER_TYPES: [(&str, LayerCompression, Distribution); 10] = {
    use Distribution::{Foreign, Normal};
    use LayerCompression::{Gzip, None, Zstd};
    [
        (OCI_LAYER, None, Normal),
        (OCI_LAYER_GZIP, Gzip, Normal),
        (OCI_LAYER_ZSTD, Zstd, Normal),
        (OCI_LAYER_NONDISTRIBUTABLE, None, Foreign),
        (OCI_LAYER_NONDISTRIBUTABLE_GZIP, Gzip, Foreign),
        (OCI_LAYER_NONDISTRIBUTABLE_ZSTD, Zstd, Foreign),
        (DOCKER_LAYER, None, Normal),
        (DOCKER_LAYER_GZIP, Gzip, Normal),
        (DOCKER_FOREIGN, None, Foreign),
        (DOCKER_FOREIGN_GZIP, Gzip, Foreign),
    ]
};

impl LayerType {
    /// Takes a layer media type apart; `None` for anything that is no layer of an image.
    pub fn parse(media_type: &str) -> Option<Self> {
        LAYER_TYPES
            .iter()
            .find(|(name, ..)| *name == media_type)
            .map(|&(_, compression, distribution)| Self {
                compression,
                distribution,
            })
    }

    /// Returns the OCI name.
    pub fn oci(self) -> &'static str {
        self.name_among(&LAYER_TYPES[..6])
            .expect("OCI names every combination")
    }

    /// Returns Docker's name; `None` for zstd, which Docker schema 2 does not have.
    pub fn docker(self) -> Option<&'static str> {
        self.name_among(&LAYER_TYPES[6..])
    }

    fn name_among(
        self,
        names: &[(&'static str, LayerCompression, Distribution)],
    ) -> Option<&'static str> {
        names
            .iter()
            .find(|(_, compression, distribution)| {
                *compression == self.compression && *distribution == self.distribution
            })
            .map(|(name, ..)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_type_is_named_back() {
        for (name, ..) in LAYER_TYPES {
            let parsed = LayerType::parse(name).unwrap();
            assert!(
                parsed.oci() == name || parsed.docker() == Some(name),
                "{name}"
            );
        }
        assert_eq!(LayerType::parse(OCI_LAYER_ZSTD).unwrap().docker(), None);
        assert_eq!(LayerType::parse(OCI_CONFIG), None);
    }
}
