//! Finding the image of a store that a user means by a text: libimage's `LookupImage`.
//!
//! Texts are tried in a fixed order, which is part of the interface: identifiers, candidate names, identifiers'
//! beginnings, and for short names the ends of all names.

use std::fmt;
use std::sync::Arc;

use model::{Digest, Document, ImageConfig, ImageId, Platform, RawIndex, Reference};
use store::{ImageRecord, Images, Store, StoreError};

use crate::short_name::{NameRules, ShortNameError};
use crate::transport::TransportRef;

/// The names and identifiers that were tried, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried(pub Vec<String>);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tried {}", self.0.join(", "))
    }
}

impl std::error::Error for Tried {}

/// Why no image of the store is meant.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// A place outside the store.
    #[error("unsupported transport \"{transport}\" for looking up local images")]
    Transport {
        /// Its name.
        transport: &'static str,
    },
    /// `sha256:` without 64 digits.
    #[error("{text}: invalid format: no 64-byte hexadecimal value")]
    IdFormat {
        /// The text.
        text: String,
    },
    /// The text is no name.
    #[error(transparent)]
    Name(#[from] ShortNameError),
    /// Nothing has this name.
    #[error("{wanted}: image not known")]
    NotFound {
        /// The text.
        wanted: String,
        /// What was tried.
        source: Tried,
    },
    /// A list has an entry for the machine, but its image is not in the store.
    #[error(
        "could not find image instance {instance} of manifest list {list} in local containers storage: image not known"
    )]
    NoInstance {
        /// The entry.
        instance: Digest,
        /// The list.
        list: ImageId,
    },
    /// A list has no entry for the machine.
    #[error(
        "no image found in image index for architecture \"{}\", variant \"{}\", OS \"{}\": image not known",
        platform.architecture, platform.variant.as_deref().unwrap_or_default(), platform.os
    )]
    NoPlatform {
        /// What was wanted.
        platform: Box<Platform>,
    },
    /// The image is for another machine than asked for.
    #[error("image platform ({found}) does not match the expected platform ({expected})")]
    WrongPlatform {
        /// The image's.
        found: Box<Platform>,
        /// What was asked for.
        expected: Box<Platform>,
    },
    /// The store cannot be read.
    #[error("cannot look up `{wanted}` in the store")]
    Store {
        /// The text.
        wanted: String,
        /// The cause.
        source: StoreError,
    },
}

impl LookupError {
    /// Returns whether the store was readable but has no such image.
    pub fn is_not_found(&self) -> bool {
        !matches!(self, LookupError::Store { .. })
    }
}

/// An image that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The image.
    pub image: Arc<ImageRecord>,
    /// The full name that led to it; none when it was an identifier.
    pub name: Option<Reference>,
}

/// Finds the image or manifest list that `text` means.
///
/// # Errors
/// See [`LookupError`].
pub fn lookup_image(images: &Images, text: &str, rules: &NameRules) -> Result<Found, LookupError> {
    let mut tried = Vec::new();
    match TransportRef::parse(text) {
        Ok(TransportRef::Storage(place)) => {
            let found = match (&place.id, &place.name) {
                (Some(id), _) => images.by_prefix(id).ok().flatten().cloned(),
                (None, Some(name)) => by_reference(images, name),
                (None, None) => None,
            };
            tried.extend(place.name.iter().map(ToString::to_string).chain(place.id));
            return found
                .map(|image| Found {
                    image,
                    name: place.name,
                })
                .ok_or_else(|| not_found(text, tried));
        }
        Ok(other) => {
            return Err(LookupError::Transport {
                transport: other.transport(),
            });
        }
        Err(_) => {}
    }
    if let Some(id) = full_id(text)? {
        return match images.get(&id) {
            Some(image) => Ok(Found {
                image: Arc::clone(image),
                name: None,
            }),
            None => Err(not_found(text, vec![id.to_string()])),
        };
    }
    for candidate in rules.for_store(text)? {
        if let Some(image) = by_reference(images, &candidate) {
            return Ok(Found {
                image,
                name: Some(candidate),
            });
        }
        tried.push(candidate.to_string());
    }
    // Several images with this beginning count as none.
    if let Ok(Some(image)) = images.find(text) {
        return Ok(Found {
            image: Arc::clone(image),
            name: None,
        });
    }
    match by_ending(images, text) {
        Some((image, name)) => Ok(Found {
            image,
            name: Some(name),
        }),
        None => Err(not_found(text, tried)),
    }
}

/// Finds the image that `text` means; of a manifest list the instance for `platform`, or for this machine if none is
/// asked for.
///
/// # Errors
/// See [`LookupError`].
pub fn lookup(
    store: &Store,
    text: &str,
    rules: &NameRules,
    platform: Option<&Platform>,
) -> Result<Found, LookupError> {
    let images = store.images().map_err(|source| store_error(text, source))?;
    let found = lookup_image(&images, text, rules)?;
    let image = instance_of(store, &found.image, platform)?;
    if let Some(expected) = platform
        && found.name.is_some()
    {
        check_platform(store, &image, expected, text)?;
    }
    Ok(Found {
        image,
        name: found.name,
    })
}

fn store_error(wanted: &str, source: StoreError) -> LookupError {
    LookupError::Store {
        wanted: wanted.to_owned(),
        source,
    }
}

fn not_found(text: &str, tried: Vec<String>) -> LookupError {
    LookupError::NotFound {
        wanted: text.to_owned(),
        source: Tried(tried),
    }
}

/// Reads `sha256:` and 64 digits, or the digits alone.
fn full_id(text: &str) -> Result<Option<ImageId>, LookupError> {
    match text.strip_prefix("sha256:") {
        Some(hex) => match ImageId::parse(hex) {
            Ok(id) => Ok(Some(id)),
            Err(_) => Err(LookupError::IdFormat {
                text: text.to_owned(),
            }),
        },
        None => Ok(ImageId::parse(text).ok()),
    }
}

/// Finds the image with exactly this name, or for a name by digest one that has the digest and any name in the same
/// repository.
pub(crate) fn by_reference(images: &Images, name: &Reference) -> Option<Arc<ImageRecord>> {
    if let Some(image) = images.by_name(&name.to_string()) {
        return Some(Arc::clone(image));
    }
    let digest = name.digest()?;
    images
        .by_digest(digest)
        .find(|image| {
            image.names.iter().any(|known| {
                Reference::parse_normalized(known).is_ok_and(|known| known.same_repository(name))
            })
        })
        .cloned()
}

/// Finds an image one of whose names ends in a short name, on the boundary of a component.
fn by_ending(images: &Images, text: &str) -> Option<(Arc<ImageRecord>, Reference)> {
    if !Reference::is_short(text) {
        return None;
    }
    let typed = Reference::parse_normalized(&format!("localhost/{text}"))
        .ok()?
        .prefer_digest()
        .with_default_tag();
    let ending = format!("/{}", typed.path());
    for image in images.iter() {
        for known in &image.names {
            let Ok(known) = Reference::parse_normalized(known) else {
                continue;
            };
            let same = match typed.digest() {
                Some(digest) => image.digests().any(|known| known == digest),
                None => known.tag() == typed.tag(),
            };
            if same && format!("/{}", known.path()).ends_with(&ending) {
                return Some((Arc::clone(image), known));
            }
        }
    }
    None
}

/// Returns the image itself or, of a manifest list, the instance for `platform` or for this machine.
///
/// # Errors
/// [`LookupError::NoPlatform`], [`LookupError::NoInstance`]; [`LookupError::Store`].
pub fn instance_of(
    store: &Store,
    image: &Arc<ImageRecord>,
    platform: Option<&Platform>,
) -> Result<Arc<ImageRecord>, LookupError> {
    let Some(list) = list_of(store, image)? else {
        return Ok(Arc::clone(image));
    };
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    let entry = list
        .index()
        .choose(&platform)
        .ok_or_else(|| LookupError::NoPlatform {
            platform: Box::new(platform.clone()),
        })?;
    let images = store
        .images()
        .map_err(|source| store_error(image.id.as_str(), source))?;
    images
        .by_digest(&entry.digest)
        .find(|found| found.id != image.id && found.layer.is_some())
        .cloned()
        .ok_or_else(|| LookupError::NoInstance {
            instance: entry.digest.clone(),
            list: image.id.clone(),
        })
}

/// Returns the list that a record without a layer may be.
fn list_of(store: &Store, image: &Arc<ImageRecord>) -> Result<Option<RawIndex>, LookupError> {
    if image.layer.is_some() {
        return Ok(None);
    }
    let bytes = match store.image_manifest(&image.id) {
        Ok(bytes) => bytes,
        Err(StoreError::ItemUnknown { .. }) => return Ok(None),
        Err(source) => return Err(store_error(image.id.as_str(), source)),
    };
    Ok(match Document::parse(bytes) {
        Ok(Document::Index(index)) => Some(index),
        _ => None,
    })
}

fn check_platform(
    store: &Store,
    image: &ImageRecord,
    expected: &Platform,
    text: &str,
) -> Result<(), LookupError> {
    let config = store
        .image_config(&image.id)
        .map_err(|source| store_error(text, source))?;
    let Ok(config) = ImageConfig::parse(&config) else {
        return Ok(());
    };
    let found = config.platform();
    let normal = found.clone().normalized();
    let fits = expected
        .clone()
        .normalized()
        .wanted()
        .iter()
        .any(|wanted| wanted.same_machine(&normal));
    // A variant in the config of the image is no obstacle when none was asked for.
    let loose = expected.variant.is_none()
        && normal.os == expected.os
        && normal.architecture == expected.architecture;
    if fits || loose {
        return Ok(());
    }
    Err(LookupError::WrongPlatform {
        found: Box::new(found),
        expected: Box::new(expected.clone()),
    })
}
