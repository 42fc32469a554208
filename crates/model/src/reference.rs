//! Names of images: the grammar of docker/distribution, its normalisation, and the rules for local names.
//!
//! Which registries a short name may mean is a matter of configuration and not decided here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, DigestError, is_lower_hex};

/// The most bytes a name may have, domain included, without tag and digest.
pub const NAME_MAX: usize = 255;
/// The most bytes a tag may have.
pub const TAG_MAX: usize = 128;
/// The domain of names that have none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The domain of names that were made here.
pub const LOCAL_DOMAIN: &str = "localhost";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// Why a text is no reference. The texts are those of Buildah.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text is empty.
    #[error("repository name must have at least one component")]
    Empty,
    /// The name is longer than [`NAME_MAX`].
    #[error("repository name must not be more than {NAME_MAX} characters")]
    TooLong,
    /// The text would be a reference in lower case.
    #[error("repository name must be lowercase")]
    UpperCase,
    /// The normalised name has upper-case letters.
    #[error("invalid reference format: repository name must be lowercase")]
    UpperCasePath,
    /// The text does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The text could be confused with an identifier.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId {
        /// The text as given.
        name: String,
    },
    /// The part behind `@` is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A local name could not be made of the text.
    #[error("normalizing name \"{name}\"")]
    Local {
        /// The text as given.
        name: String,
        /// What the grammar says.
        source: Box<ReferenceError>,
    },
}

/// A normalised name: domain, path, and a tag or digest or both or neither.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses a name and fills in what Docker leaves out: `alpine` is `docker.io/library/alpine`.
    ///
    /// # Errors
    /// See [`ReferenceError`]. An empty text is [`ReferenceError::Empty`].
    pub fn parse_normalized(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() == 64 && is_lower_hex(text) {
            return Err(ReferenceError::LooksLikeId {
                name: text.to_owned(),
            });
        }
        let (domain, remainder) = split_domain(text);
        let name = remainder
            .split_once(':')
            .map_or(&*remainder, |(name, _)| name);
        if name.chars().any(char::is_uppercase) {
            return Err(ReferenceError::UpperCasePath);
        }
        let parts = Parts::split(&format!("{domain}/{remainder}"))?;
        Ok(Self {
            path: parts.name[domain.len() + 1..].to_owned(),
            domain: domain.to_owned(),
            tag: parts.tag,
            digest: parts.digest,
        })
    }

    /// Parses the name of something that is made here: a short name gets the domain `localhost`, and `latest` is the tag
    /// when there is neither tag nor digest.
    ///
    /// # Errors
    /// [`ReferenceError::Local`] around the reason.
    pub fn parse_local(text: &str) -> Result<Self, ReferenceError> {
        let local = |source| ReferenceError::Local {
            name: text.to_owned(),
            source: Box::new(source),
        };
        Parts::split(text).map_err(local)?;
        let named = if is_short(text) {
            Self::parse_normalized(&format!("{LOCAL_DOMAIN}/{text}"))
        } else {
            Self::parse_normalized(text)
        };
        named.map(Self::with_default_tag).map_err(local)
    }

    /// Adds the tag `latest` when there is neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// Drops the tag when there is also a digest, which is how everything that reads an image understands both.
    #[must_use]
    pub fn prefer_digest(mut self) -> Self {
        if self.digest.is_some() {
            self.tag = None;
        }
        self
    }

    /// Returns the same name with neither tag nor digest.
    #[must_use]
    pub fn repository(&self) -> Self {
        Self {
            domain: self.domain.clone(),
            path: self.path.clone(),
            tag: None,
            digest: None,
        }
    }

    /// Returns the same repository with this tag and no digest.
    ///
    /// # Errors
    /// When `tag` does not follow the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            ..self.repository()
        })
    }

    /// Returns the same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.repository()
        }
    }

    /// Returns the registry's host, with its port if any.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns domain and path: the repository's full name.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns whether both name the same repository.
    pub fn same_repository(&self, other: &Reference) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    /// Returns the form without `docker.io/library/` or `docker.io/`, where that can be read back.
    pub fn familiar(&self) -> String {
        let mut text = self.to_string();
        // A path such as `a.b/c` would be taken for a registry and its repository.
        if self.domain == DEFAULT_DOMAIN && is_short(&self.path) {
            text.drain(..=DEFAULT_DOMAIN.len());
            if self
                .path
                .strip_prefix(OFFICIAL_PREFIX)
                .is_some_and(|rest| !rest.contains('/'))
            {
                text.drain(..OFFICIAL_PREFIX.len());
            }
        }
        text
    }

    /// Returns whether a typed text names no registry, so that configuration decides which are meant.
    pub fn is_short(text: &str) -> bool {
        is_short(text)
    }
}

/// Splits a typed text into domain and remainder as the normaliser does.
fn split_domain(text: &str) -> (&str, std::borrow::Cow<'_, str>) {
    let (domain, remainder) = match text.split_once('/') {
        Some((domain, remainder)) if is_domain(domain) => (domain, remainder),
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DOMAIN {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain, format!("{OFFICIAL_PREFIX}{remainder}").into())
    } else {
        (domain, remainder.into())
    }
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == LOCAL_DOMAIN
}

fn is_short(text: &str) -> bool {
    !text
        .split_once('/')
        .is_some_and(|(first, _)| is_domain(first))
}

/// A text cut by the grammar, before any normalisation.
struct Parts {
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Parts {
    fn split(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let Some((name, tag, digest)) = cut(text) else {
            return Err(if cut(&text.to_lowercase()).is_some() {
                ReferenceError::UpperCase
            } else {
                ReferenceError::Format
            });
        };
        if name.len() > NAME_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self {
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(Digest::parse).transpose()?,
        })
    }
}

/// Cuts at the places where the grammar allows it; `None` when the text does not follow the grammar. The digest is
/// checked only as loosely as the grammar does.
fn cut(text: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let valid = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest_shaped);
    valid.then_some((name, tag, digest))
}

fn is_name(name: &str) -> bool {
    let path = |text: &str| text.split('/').all(is_component);
    match name.split_once('/') {
        Some((first, rest)) => (is_host(first) && path(rest)) || path(name),
        None => is_component(name),
    }
}

/// `[a-z0-9]+` joined by one dot, one or two underscores, or any number of hyphens.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let length = bytes[at..].iter().take_while(|b| word(**b)).count();
        if length == 0 {
            return false;
        }
        at += length;
        if at == bytes.len() {
            return true;
        }
        let separator = bytes[at..].iter().take_while(|b| !word(**b)).count();
        match &bytes[at..at + separator] {
            b"." | b"_" | b"__" => {}
            hyphens if hyphens.iter().all(|b| *b == b'-') => {}
            _ => return false,
        }
        at += separator;
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest_shaped(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let component = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(component)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_normalized(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_normalized(&text).map_err(serde::de::Error::custom)
    }
}
