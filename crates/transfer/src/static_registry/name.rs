//! The name of an image in a registry tree.

use std::fmt;

use model::{Digest, Reference, ReferenceError};

/// Stands for whichever host will serve the tree.
const ANY_HOST: &str = "any.invalid";
/// Components of a path that lead to something else than a repository.
const RESERVED: [&str; 3] = ["blobs", "manifests", "tags"];

/// Why a text cannot be an image's name in a registry tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaticNameError {
    /// It does not follow the grammar.
    #[error(transparent)]
    Grammar(#[from] ReferenceError),
    /// A server could not tell it from something else.
    #[error("`{word}` has a meaning of its own in a registry")]
    Reserved {
        /// The component.
        word: String,
    },
    /// It says too much.
    #[error("it has both a tag and a digest")]
    TagAndDigest,
}

/// An image in a registry tree: the repository, which has no host, and a tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticName {
    repository: String,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Tag(String),
    Digest(Digest),
}

impl StaticName {
    /// Reads `repository[:tag]` or `repository@digest`; without either the tag is `latest`.
    ///
    /// # Errors
    /// See [`StaticNameError`].
    pub fn parse(text: &str) -> Result<Self, StaticNameError> {
        let name = Reference::parse_normalized(&format!("{ANY_HOST}/{text}"))?;
        Self::of(&name)
    }

    /// Takes over a name without its host.
    pub(crate) fn of(name: &Reference) -> Result<Self, StaticNameError> {
        let name = name.clone().with_default_tag();
        let repository = name.path().to_owned();
        if let Some(word) = repository.split('/').find(|word| RESERVED.contains(word)) {
            return Err(StaticNameError::Reserved {
                word: word.to_owned(),
            });
        }
        let version = match (name.tag(), name.digest()) {
            (Some(_), Some(_)) => return Err(StaticNameError::TagAndDigest),
            (_, Some(digest)) => Version::Digest(digest.clone()),
            (tag, None) => Version::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self {
            repository,
            version,
        })
    }

    /// The repository's path.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, unless it is by digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// The digest, unless it is by tag.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.version {
            Version::Tag(_) => None,
            Version::Digest(digest) => Some(digest),
        }
    }

    /// What stands for the image behind `manifests/`.
    pub(crate) fn version(&self) -> &str {
        match &self.version {
            Version::Tag(tag) => tag,
            Version::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for StaticName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}
