//! What a manifest becomes when its layers, its config or its format have changed on the way.
//!
//! A manifest that need not change keeps its bytes.

use archive::Compression;
use model::media_type::{LayerCompression, LayerType};
use model::{Descriptor, Digest, Manifest, ManifestFormat, RawManifest};
use trust::encryption::ENCRYPTION_PREFIX;

use crate::error::{Result, TransferError};
use crate::sink::Landed;

/// How the names of annotations begin that say where in a zstd:chunked blob its table of contents is.
pub(crate) const CHUNKED_PREFIX: &str = "io.github.containers.zstd-chunked.";

/// Returns the manifest for layers that landed and a config.
pub(crate) fn updated(
    raw: &RawManifest,
    format: ManifestFormat,
    config: &[u8],
    landed: &[Landed],
) -> Result<RawManifest> {
    let old = raw.manifest();
    let layers = old
        .layers
        .iter()
        .zip(landed)
        .enumerate()
        .map(|(index, (layer, landed))| updated_layer(index, layer, format, landed))
        .collect::<Result<Vec<Descriptor>>>()?;
    if format == raw.format() && layers == old.layers && old.config.digest.verify(config) {
        return Ok(raw.clone());
    }
    let mut manifest = if format == raw.format() {
        Manifest {
            layers,
            ..old.clone()
        }
    } else {
        Manifest::new(format, old.config.clone(), layers)
    };
    if !old.config.digest.verify(config) {
        manifest.config = Descriptor::new(
            format.config_type(),
            Digest::sha256(config),
            config.len() as u64,
        );
    }
    if format != raw.format() {
        format
            .config_type()
            .clone_into(&mut manifest.config.media_type);
    }
    Ok(RawManifest::from_manifest(manifest))
}

fn updated_layer(
    index: usize,
    old: &Descriptor,
    format: ManifestFormat,
    landed: &Landed,
) -> Result<Descriptor> {
    let mut new = Descriptor {
        digest: landed.digest.clone(),
        size: landed.size,
        ..old.clone()
    };
    let refused = || TransferError::LayerType {
        index,
        media_type: old.media_type.clone(),
        manifest: format.manifest_type(),
    };
    let unchanged = new.digest == old.digest;
    if !unchanged {
        // They describe the inside of another blob, or say how it is decrypted.
        let others = [CHUNKED_PREFIX, ENCRYPTION_PREFIX];
        new.annotations
            .retain(|key, _| !others.iter().any(|other| key.starts_with(other)));
    }
    let annotations = landed.annotations.clone();
    new.annotations.extend(annotations);
    let Some(kind) = LayerType::parse(&old.media_type) else {
        // Something that we do not understand may be handed on, but not changed or renamed.
        return if new == *old { Ok(new) } else { Err(refused()) };
    };
    let compression = match landed.compression {
        Compression::None => LayerCompression::None,
        Compression::Gzip => LayerCompression::Gzip,
        Compression::Zstd => LayerCompression::Zstd,
        Compression::Bzip2 | Compression::Xz => kind.compression,
    };
    // A type that misstates unchanged bytes is somebody else's, and part of a digest.
    let kind = if unchanged {
        kind
    } else {
        LayerType {
            compression,
            secrecy: landed.secrecy,
            ..kind
        }
    };
    let media_type = match format {
        ManifestFormat::Oci => kind.oci(),
        ManifestFormat::Docker => kind.docker().ok_or_else(refused)?,
    };
    media_type.clone_into(&mut new.media_type);
    if format == ManifestFormat::Docker {
        new.annotations.clear();
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::media_type::{self, Secrecy};

    fn raw(format: ManifestFormat, layer_type: &str) -> RawManifest {
        let config = Descriptor::new(format.config_type(), Digest::sha256(b"{}"), 2);
        let mut layer = Descriptor::new(layer_type, Digest::sha256(b"old"), 3);
        layer.annotations.insert("a".to_owned(), "b".to_owned());
        RawManifest::from_manifest(Manifest::new(format, config, vec![layer]))
    }

    fn landed(content: &str, compression: Compression) -> Landed {
        Landed::new(
            Digest::sha256(content.as_bytes()),
            content.len() as u64,
            compression,
        )
    }

    #[test]
    fn types_follow_what_happened() {
        use ManifestFormat::{Docker, Oci};
        let check = |from: (ManifestFormat, &str),
                     to: ManifestFormat,
                     landed: Landed,
                     expected: Option<&str>| {
            let result = updated(&raw(from.0, from.1), to, b"{}", &[landed]);
            let found = result
                .as_ref()
                .ok()
                .map(|raw| raw.manifest().layers[0].media_type.as_str());
            assert_eq!(found, expected);
        };
        let gzip = || landed("new", Compression::Gzip);
        let plain = || landed("new", Compression::None);
        check(
            (Oci, media_type::OCI_LAYER),
            Oci,
            gzip(),
            Some(media_type::OCI_LAYER_GZIP),
        );
        check(
            (Oci, media_type::OCI_LAYER_GZIP),
            Docker,
            plain(),
            Some(media_type::DOCKER_LAYER),
        );
        check(
            (Docker, media_type::DOCKER_FOREIGN),
            Oci,
            gzip(),
            Some(media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP),
        );
        check(
            (Oci, media_type::OCI_LAYER),
            Docker,
            landed("new", Compression::Zstd),
            None,
        );
        check(
            (Oci, "application/x+encrypted"),
            Oci,
            landed("old", Compression::None),
            Some("application/x+encrypted"),
        );
        check((Oci, "application/x+encrypted"), Oci, gzip(), None);
        let encrypted = media_type::OCI_LAYER_GZIP_ENCRYPTED;
        let old = || landed("old", Compression::None);
        check((Oci, encrypted), Oci, old(), Some(encrypted));
        check((Oci, encrypted), Docker, old(), None);
        check((Oci, encrypted), Oci, plain(), Some(media_type::OCI_LAYER));
        let sealed = || Landed {
            secrecy: Secrecy::Encrypted,
            ..gzip()
        };
        check((Oci, media_type::OCI_LAYER), Oci, sealed(), Some(encrypted));
        check(
            (Docker, media_type::DOCKER_LAYER_GZIP),
            Oci,
            sealed(),
            Some(encrypted),
        );
        check((Oci, media_type::OCI_LAYER), Docker, sealed(), None);
    }

    #[test]
    fn what_was_decrypted_is_not_described_as_encrypted() {
        let mut old = raw(ManifestFormat::Oci, media_type::OCI_LAYER_GZIP_ENCRYPTED);
        let mut manifest = old.manifest().clone();
        let key = format!("{ENCRYPTION_PREFIX}pubopts");
        manifest.layers[0].annotations.insert(key, "x".to_owned());
        old = RawManifest::from_manifest(manifest);
        let landed = landed("new", Compression::None);
        let new = updated(&old, ManifestFormat::Oci, b"{}", &[landed]).unwrap();
        let keys: Vec<&String> = new.manifest().layers[0].annotations.keys().collect();
        assert_eq!(keys, ["a"]);
    }

    #[test]
    fn unchanged_manifests_keep_their_bytes() {
        let old = raw(ManifestFormat::Oci, media_type::OCI_LAYER);
        let new = updated(
            &old,
            ManifestFormat::Oci,
            b"{}",
            &[landed("old", Compression::None)],
        )
        .unwrap();
        assert_eq!(old, new);
        let docker = updated(
            &old,
            ManifestFormat::Docker,
            b"{}",
            &[landed("old", Compression::None)],
        )
        .unwrap();
        assert!(docker.manifest().layers[0].annotations.is_empty());
        assert_eq!(
            docker.manifest().config.media_type,
            media_type::DOCKER_CONFIG
        );
        assert_eq!(
            docker.manifest().config.digest,
            old.manifest().config.digest
        );
    }
}
