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
/// OCI layer, uncompressed, encrypted.
pub const OCI_LAYER_ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+encrypted";
/// OCI layer, gzip, encrypted.
pub const OCI_LAYER_GZIP_ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
/// OCI layer, zstd, encrypted.
pub const OCI_LAYER_ZSTD_ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+zstd+encrypted";
/// OCI layer that may not be distributed, uncompressed, encrypted.
pub const OCI_LAYER_NONDISTRIBUTABLE_ENCRYPTED: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+encrypted";
/// OCI layer that may not be distributed, gzip, encrypted.
pub const OCI_LAYER_NONDISTRIBUTABLE_GZIP_ENCRYPTED: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted";
/// OCI layer that may not be distributed, zstd, encrypted.
pub const OCI_LAYER_NONDISTRIBUTABLE_ZSTD_ENCRYPTED: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd+encrypted";
/// The config of an artifact that has none.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The config of a source image, as Buildah's `source` makes it.
pub const OCI_SOURCE_CONFIG: &str = "application/vnd.oci.source.image.config.v1+json";
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

/// Whether everybody can read a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Secrecy {
    /// The usual.
    Open,
    /// Only those who have a key can.
    Encrypted,
}

/// A layer media type taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerType {
    /// The compression, below the encryption.
    pub compression: LayerCompression,
    /// Where it may be had.
    pub distribution: Distribution,
    /// Whether it is encrypted.
    pub secrecy: Secrecy,
}

/// How the types of encrypted layers end.
const ENCRYPTED: &str = "+encrypted";

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

/// What encrypted layers are called, in the order of [`LAYER_TYPES`]; Docker has no names for them.
const ENCRYPTED_TYPES: [&str; 6] = [
    OCI_LAYER_ENCRYPTED,
    OCI_LAYER_GZIP_ENCRYPTED,
    OCI_LAYER_ZSTD_ENCRYPTED,
    OCI_LAYER_NONDISTRIBUTABLE_ENCRYPTED,
    OCI_LAYER_NONDISTRIBUTABLE_GZIP_ENCRYPTED,
    OCI_LAYER_NONDISTRIBUTABLE_ZSTD_ENCRYPTED,
];

impl LayerType {
    /// Takes a layer media type apart; `None` for anything that is no layer of an image.
    pub fn parse(media_type: &str) -> Option<Self> {
        let (name, secrecy) = match media_type.strip_suffix(ENCRYPTED) {
            Some(name) => (name, Secrecy::Encrypted),
            None => (media_type, Secrecy::Open),
        };
        LAYER_TYPES.iter().find(|(known, ..)| *known == name).map(
            |&(_, compression, distribution)| Self {
                compression,
                distribution,
                secrecy,
            },
        )
    }

    /// Returns the OCI name.
    pub fn oci(self) -> &'static str {
        let at = self
            .place_among(&LAYER_TYPES[..ENCRYPTED_TYPES.len()])
            .expect("OCI names every combination");
        match self.secrecy {
            Secrecy::Open => LAYER_TYPES[at].0,
            Secrecy::Encrypted => ENCRYPTED_TYPES[at],
        }
    }

    /// Returns Docker's name; `None` for zstd and for what is encrypted, which Docker schema 2 does not have.
    pub fn docker(self) -> Option<&'static str> {
        let docker = &LAYER_TYPES[ENCRYPTED_TYPES.len()..];
        let at = self.place_among(docker)?;
        (self.secrecy == Secrecy::Open).then_some(docker[at].0)
    }

    /// Returns whether it is encrypted.
    pub fn is_encrypted(self) -> bool {
        self.secrecy == Secrecy::Encrypted
    }

    fn place_among(
        self,
        names: &[(&'static str, LayerCompression, Distribution)],
    ) -> Option<usize> {
        names.iter().position(|(_, compression, distribution)| {
            *compression == self.compression && *distribution == self.distribution
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_type_is_named_back() {
        let open = LAYER_TYPES.map(|(name, ..)| name);
        for name in open.into_iter().chain(ENCRYPTED_TYPES) {
            let parsed = LayerType::parse(name).unwrap();
            assert!(
                parsed.oci() == name || parsed.docker() == Some(name),
                "{name}"
            );
        }
        assert_eq!(LayerType::parse(OCI_LAYER_ZSTD).unwrap().docker(), None);
        assert_eq!(LayerType::parse(OCI_CONFIG), None);
        // An old name that nobody writes any more.
        let encrypted = LayerType::parse(&format!("{DOCKER_LAYER_GZIP}{ENCRYPTED}")).unwrap();
        assert_eq!(encrypted.docker(), None);
        assert_eq!(encrypted.oci(), OCI_LAYER_GZIP_ENCRYPTED);
    }
}
