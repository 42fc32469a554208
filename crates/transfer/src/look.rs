//! Looking at a place without moving a layer.

use model::{Document, Platform, RawManifest, Reference};
use store::Store;

use crate::copy::{CopyOptions, CopyScope, open_behind, retrying};
use crate::error::{Result, TransferError};
use crate::registries::Purpose;
use crate::signatures::Guard;
use crate::source::{Library, Source};
use crate::transport::TransportRef;

/// What a place holds.
#[derive(Clone, Debug)]
pub struct Looked {
    /// What its name leads to, with the bytes as they came.
    pub top: Document,
    /// The image for the wanted platform. None for what is no image, for a list without one if all of its images are
    /// wanted, and if no images are wanted at all.
    pub image: Option<LookedImage>,
}

/// An image that was looked at.
#[derive(Clone, Debug)]
pub struct LookedImage {
    /// Its manifest.
    pub manifest: RawManifest,
    /// The bytes of its config, verified.
    pub config: Vec<u8>,
}

/// Reads the documents of a place: mirrors, credentials and retries are those of a copy.
///
/// # Errors
/// See [`TransferError`].
pub fn look(source: &TransportRef, store: Option<&Store>, options: &CopyOptions) -> Result<Looked> {
    retrying(options, &model::event::Silent, || {
        Ok(
            match open_behind(&Guard::Unasked, source, store, options)? {
                Source::Image(image) => Looked {
                    top: Document::Manifest(image.manifest.clone()),
                    image: Some(LookedImage {
                        manifest: image.manifest,
                        config: image.config,
                    }),
                },
                Source::Library(library) => Looked {
                    image: image_of(&library, &options.platform, &options.scope)?,
                    top: library.top,
                },
            },
        )
    })
}

fn image_of(
    library: &Library<'_>,
    platform: &Platform,
    scope: &CopyScope,
) -> Result<Option<LookedImage>> {
    if *scope == CopyScope::Instances(Vec::new()) {
        return Ok(None);
    }
    if let Document::Manifest(manifest) = &library.top
        && !manifest.manifest().is_image()
    {
        return Ok(None);
    }
    match library.choose(platform) {
        Ok(image) => Ok(Some(LookedImage {
            manifest: image.manifest,
            config: image.config,
        })),
        Err(TransferError::NoPlatform { .. }) if *scope != CopyScope::System => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists the tags of a repository in the registry itself, in the registry's order.
///
/// # Errors
/// See [`TransferError`].
pub fn tags(name: &Reference, options: &CopyOptions) -> Result<Vec<String>> {
    let registries = options.registries(&format!("docker://{name}"))?;
    retrying(options, &model::event::Silent, || {
        let mut routes = registries.routes(name, Purpose::Tags)?;
        let route = routes.pop().ok_or_else(|| TransferError::NoEndpoint {
            name: name.to_string(),
        })?;
        let list = route.repository.tags()?;
        Ok(list.tags)
    })
}
