//! Bases and sources out of the store: what the names in FROM, `--from` and contexts lead to.
//!
//! Names are looked up as every command does it; archives and layouts are copied into the store
//! first. Registries are not here yet: a name that only one of them could know is refused with
//! the names that were tried.

use crate::target::{BaseImage, Images};
use builder::container::ContainerError;
use model::{ImageConfig, ImageId, Platform, Reporter};
use std::path::PathBuf;
use store::Store;
use transfer::{
    CopyOptions, LookupError, NameRules, ShortNameError, TransferError, TransportError,
    TransportRef,
};

/// `--pull`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// A registry is asked when the store has no such image.
    #[default]
    Missing,
    /// No registry is asked.
    Never,
    /// A registry is asked for a newer one.
    Newer,
    /// A registry is asked.
    Always,
}

/// Why an image is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// It is not in the store, and nobody else can be asked.
    #[error(transparent)]
    NotHere(Box<LookupError>),
    /// A registry would have to be asked.
    #[error("pulling {} from a registry is not supported yet", names.join(" or "))]
    Registry {
        /// The full names that would be asked for, in order.
        names: Vec<String>,
        /// What the store was asked for.
        source: Option<Box<LookupError>>,
    },
    /// The name may mean nothing.
    #[error(transparent)]
    Name(Box<ShortNameError>),
    /// The place after a transport cannot be understood.
    #[error(transparent)]
    Transport(Box<TransportError>),
    /// A transport that cannot be read yet.
    #[error("images from `{transport}:` are not supported yet")]
    Foreign {
        /// Its name.
        transport: &'static str,
    },
    /// An archive or layout could not be copied into the store.
    #[error("cannot copy `{place}` into the store")]
    Copy {
        /// Where it is.
        place: String,
        /// What went wrong.
        source: Box<TransferError>,
    },
    /// There was no image in it.
    #[error("`{place}` holds no image")]
    Empty {
        /// Where it is.
        place: String,
    },
    /// What the store has cannot be read.
    #[error(transparent)]
    Read(Box<ContainerError>),
    /// The config is none.
    #[error("cannot read the config of image {image}")]
    Config {
        /// The image.
        image: ImageId,
        /// What is wrong.
        source: model::ConfigError,
    },
}

macro_rules! boxed {
    ($($variant:ident of $error:ty,)*) => {$(
        impl From<$error> for ImagesError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}

boxed! {
    NotHere of LookupError,
    Name of ShortNameError,
    Transport of TransportError,
    Read of ContainerError,
}

/// Finds images in a store.
pub struct StoreImages<'a> {
    /// The store.
    pub store: &'a Store,
    /// How short names are completed.
    pub rules: &'a NameRules,
    /// When a registry would be asked.
    pub pull: PullPolicy,
    /// The directory that relative places after a transport start from.
    pub relative_to: PathBuf,
    /// A directory for large files that are needed only meanwhile.
    pub temporary: PathBuf,
    /// Takes the progress of copies.
    pub reporter: &'a dyn Reporter,
}

impl Images for StoreImages<'_> {
    type Error = ImagesError;

    fn image(&self, name: &str, platform: &Platform) -> Result<BaseImage, ImagesError> {
        let name = strip_scheme(name);
        let layout = name.strip_prefix("oci-layout://");
        let text = layout.map_or_else(|| name.to_owned(), |path| format!("oci:{path}"));
        let has_transport = text
            .split_once(':')
            .is_some_and(|(transport, _)| transfer::is_transport(transport));
        let id = if has_transport {
            match TransportRef::parse(&text)? {
                TransportRef::Docker(name) => self.named(&name.to_string(), platform)?,
                TransportRef::Storage(_) => self.find(&text, platform)?,
                TransportRef::Foreign { transport, .. } => {
                    return Err(ImagesError::Foreign { transport });
                }
                place => self.copied(&self.anchored(place), platform)?,
            }
        } else {
            self.named(&text, platform)?
        };
        self.read(&id, &text)
    }
}

impl StoreImages<'_> {
    fn find(&self, text: &str, platform: &Platform) -> Result<ImageId, LookupError> {
        let found = transfer::lookup(self.store, text, self.rules, Some(platform))?;
        Ok(found.image.id.clone())
    }

    /// Finds a name in the store, unless a registry must be asked.
    fn named(&self, name: &str, platform: &Platform) -> Result<ImageId, ImagesError> {
        let registry = |source| {
            let candidates = self.rules.for_pull(name)?.candidates;
            Err(ImagesError::Registry {
                names: candidates.iter().map(ToString::to_string).collect(),
                source,
            })
        };
        match (self.find(name, platform), self.pull) {
            (Ok(id), PullPolicy::Missing | PullPolicy::Never) => Ok(id),
            (Ok(_), PullPolicy::Newer | PullPolicy::Always) => registry(None),
            (Err(error), PullPolicy::Never) => Err(error.into()),
            (Err(error), _) if !error.is_not_found() => Err(error.into()),
            // Only what could be the name of an image elsewhere is worth asking for.
            (Err(error), _) if self.rules.for_pull(name).is_err() => Err(error.into()),
            (Err(error), _) => registry(Some(Box::new(error))),
        }
    }

    fn read(&self, id: &ImageId, wanted: &str) -> Result<BaseImage, ImagesError> {
        let image = builder::container::BaseImage::load(self.store, id, wanted)?;
        let config = ImageConfig::parse(&image.config).map_err(|source| ImagesError::Config {
            image: id.clone(),
            source,
        })?;
        Ok(BaseImage {
            id: image.id,
            name: image.name,
            digest: Some(image.digest),
            config,
            annotations: image.annotations,
            top_layer: image.layer,
        })
    }

    /// Copies what is outside into the store.
    fn copied(&self, place: &TransportRef, platform: &Platform) -> Result<ImageId, ImagesError> {
        let options = CopyOptions {
            platform: platform.clone(),
            temporary: self.temporary.clone(),
            ..CopyOptions::default()
        };
        let shown = place.to_string();
        let copied = transfer::pull(place, self.store, &options, self.reporter);
        let copied = copied.map_err(|source| ImagesError::Copy {
            place: shown.clone(),
            source: Box::new(source),
        })?;
        let first = copied.into_iter().find_map(|one| one.image);
        first.ok_or(ImagesError::Empty { place: shown })
    }

    /// Makes a relative path start from our directory.
    fn anchored(&self, place: TransportRef) -> TransportRef {
        let anchor = |path: PathBuf| self.relative_to.join(path);
        match place {
            TransportRef::Dir(path) => TransportRef::Dir(anchor(path)),
            TransportRef::Oci { path, pick } => TransportRef::Oci {
                path: anchor(path),
                pick,
            },
            TransportRef::OciArchive { path, pick } => TransportRef::OciArchive {
                path: anchor(path),
                pick,
            },
            TransportRef::DockerArchive { path, pick } => TransportRef::DockerArchive {
                path: anchor(path),
                pick,
            },
            other => other,
        }
    }
}

/// Takes off what says no more than "an image".
fn strip_scheme(name: &str) -> &str {
    ["docker-image://", "container-image://"]
        .iter()
        .find_map(|scheme| name.strip_prefix(scheme))
        .unwrap_or(name)
}
