//! What is settled before a byte moves: the formats to try, what becomes of each layer, and what must not change.
//!
//! The rules are those of containers/image, with one difference: a layer that is there already in another compression
//! than this copy would make is taken only if the caller has named a compression and does not insist on it. The peers
//! take any, and thereby turn a Docker image into an OCI one because it was once pushed with zstd.

use std::fmt;

use archive::Compression;
use model::{ManifestFormat, edit, media_type};

use crate::compression::CompressionFormat;
use crate::copy::{Compress, CopyOptions};
use crate::encryption::arrives_encrypted;
use crate::error::{Result, TransferError};
use crate::files::Encoding;
use crate::sink::{Sink, Wish};
use crate::source::{Offered, Opened, Promised, parse_config};

/// Why a manifest has to stay as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Keep {
    /// It is signed, and its signatures are copied.
    #[error("Would invalidate signatures")]
    Signatures,
    /// The destination's name is by digest.
    #[error("Destination specifies a digest")]
    Digest,
    /// The caller wants it so.
    #[error("Instructed to preserve digests")]
    Instructed,
}

/// What only some formats of manifests can say of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The compression of this name.
    Compression(CompressionFormat),
    /// That they are encrypted.
    Encryption,
    /// Both.
    Both(CompressionFormat),
}

impl Requirement {
    fn of(options: &CopyOptions, encrypted: bool) -> Option<Self> {
        let compression = options
            .compression
            .filter(|one| *one != CompressionFormat::Gzip);
        match (compression, encrypted) {
            (None, false) => None,
            (Some(compression), false) => Some(Self::Compression(compression)),
            (None, true) => Some(Self::Encryption),
            (Some(compression), true) => Some(Self::Both(compression)),
        }
    }

    fn is_met_by(self, format: ManifestFormat) -> bool {
        match self {
            // No media type names the others.
            Self::Compression(compression) | Self::Both(compression) => {
                use CompressionFormat::{Bzip2, Xz};
                format == ManifestFormat::Oci && !matches!(compression, Bzip2 | Xz)
            }
            Self::Encryption => format == ManifestFormat::Oci,
        }
    }

    /// It again, at the end of a sentence.
    pub(crate) fn again(self) -> &'static str {
        match self {
            Self::Compression(_) => "it",
            Self::Encryption => "encryption",
            Self::Both(_) => "both",
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compression(one) => write!(f, "compression using {}", one.name()),
            Self::Encryption => f.write_str("encryption"),
            Self::Both(one) => write!(f, "compression using {}, and encryption,", one.name()),
        }
    }
}

/// Which manifests a kind of destination takes.
pub(crate) struct Abilities {
    /// Formats of images, preferred ones first.
    pub(crate) formats: &'static [ManifestFormat],
    /// Formats that go there only when they are asked for by name.
    pub(crate) on_request: &'static [ManifestFormat],
    /// The media types as error messages name them.
    pub(crate) named: &'static [&'static str],
    /// Whether lists of images go there.
    pub(crate) lists: bool,
}

/// What becomes of a layer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// They go as they are.
    Pass,
    /// They are decompressed.
    Decode,
    /// They are compressed.
    Encode(Encoding),
    /// They are decompressed and compressed otherwise.
    Recode(Encoding),
}

impl Action {
    /// How the destination compresses what it gets.
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Action::Encode(encoding) | Action::Recode(encoding) => encoding,
            Action::Pass | Action::Decode => Encoding::PLAIN,
        }
    }
}

/// What is settled for one image.
pub(crate) struct Plan<'a> {
    opened: &'a Opened<'a>,
    options: &'a CopyOptions,
    // Never empty.
    formats: Vec<ManifestFormat>,
    keep: Option<Keep>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        opened: &'a Opened<'a>,
        abilities: &Abilities,
        place: &str,
        options: &'a CopyOptions,
    ) -> Result<Self> {
        let from = opened.manifest.format();
        let required = Requirement::of(options, arrives_encrypted(opened, options));
        let formats = formats((from, required), abilities, place, options)?;
        if formats[0] != from && !opened.manifest.manifest().is_image() {
            return Err(artifact(opened));
        }
        Ok(Self {
            opened,
            options,
            formats,
            keep: options.preserve_digests.then_some(Keep::Instructed),
        })
    }

    /// Says why nothing may change, unless there is a reason already.
    pub(crate) fn keep(&mut self, why: Keep) -> Result<()> {
        let why = *self.keep.get_or_insert(why);
        let format = self.opened.manifest.format();
        if let Some(wanted) = self.options.format.filter(|wanted| *wanted != format) {
            let manifest = wanted.manifest_type();
            return Err(TransferError::MustNotConvert { manifest, why });
        }
        // What must not change can only be tried as it is.
        self.formats = vec![format];
        Ok(())
    }

    /// Why nothing may change.
    pub(crate) fn kept(&self) -> Option<Keep> {
        self.keep
    }

    /// The formats to try, in order.
    pub(crate) fn formats(&self) -> &[ManifestFormat] {
        &self.formats
    }

    /// The image's config in a format.
    pub(crate) fn config(&self, format: ManifestFormat) -> Result<Vec<u8>> {
        let opened = self.opened;
        match (opened.manifest.format(), format) {
            (from, to) if from != to && !opened.manifest.manifest().is_image() => {
                Err(artifact(opened))
            }
            (ManifestFormat::Docker, ManifestFormat::Oci) => {
                let config = parse_config(&opened.place, &opened.config)?;
                Ok(edit::into_dialect(config, format).0.to_bytes(format))
            }
            _ => Ok(opened.config.clone()),
        }
    }

    /// Decides what becomes of a layer that is found to be compressed in some way.
    pub(crate) fn action(
        &self,
        sink: &dyn Sink,
        offered: &Offered,
        found: Compression,
    ) -> Result<Action> {
        let action = self.wanted(sink, offered, found);
        match (self.keep, action) {
            (None, action) | (_, action @ Action::Pass) => Ok(action),
            // The destination only prefers it otherwise.
            (Some(_), Action::Encode(_)) if self.is_as_described(offered) => Ok(Action::Pass),
            (Some(why), _) => Err(TransferError::MustNotChange { why }),
        }
    }

    /// Whether a layer's bytes are those of the manifest, and nobody has asked for others.
    fn is_as_described(&self, offered: &Offered) -> bool {
        let digest = &offered.descriptor.digest;
        let mut described = self.opened.manifest.manifest().layers.iter();
        offered.promised == Promised::Blob
            && self.options.compression.is_none()
            && described.any(|layer| layer.digest == *digest)
    }

    fn wanted(&self, sink: &dyn Sink, offered: &Offered, found: Compression) -> Action {
        let kind = media_type::LayerType::parse(&offered.descriptor.media_type);
        if kind.is_none_or(media_type::LayerType::is_encrypted) {
            return Action::Pass;
        }
        let wish = match (sink.wish(), self.options.compress) {
            (Wish::Compress, Compress::Never) => Wish::Preserve,
            (wish, _) => wish,
        };
        let encoding = self.encoding();
        let docker = self.formats[0] == ManifestFormat::Docker;
        let unsure = offered.promised == Promised::Content && !sink.checks_content();
        match (wish, found) {
            // Only what was decompressed can be compared with the one digest that is known.
            (Wish::Preserve, other) if unsure && other != Compression::None => Action::Decode,
            (Wish::Compress, other) if unsure && other != Compression::None => {
                Action::Recode(encoding)
            }
            (Wish::Decompress, Compression::None) => Action::Pass,
            (Wish::Decompress, _) => Action::Decode,
            (Wish::Compress, Compression::None) => Action::Encode(encoding),
            // No media type names these.
            (Wish::Compress, Compression::Bzip2 | Compression::Xz) if self.keep.is_none() => {
                Action::Recode(encoding)
            }
            (Wish::Compress, other)
                if self.options.compression.is_some() && other != encoding.compression =>
            {
                Action::Recode(encoding)
            }
            (_, Compression::Zstd) if docker && !self.keeps_format() => Action::Recode(Encoding {
                compression: Compression::Gzip,
                ..encoding
            }),
            _ => Action::Pass,
        }
    }

    /// How layers are compressed that have to be.
    pub(crate) fn encoding(&self) -> Encoding {
        let compression = match self.options.compression {
            // Nobody can fetch parts of what is encrypted as a whole.
            Some(CompressionFormat::ZstdChunked) if self.options.encryption.is_some() => {
                CompressionFormat::Zstd
            }
            other => other.unwrap_or(CompressionFormat::Gzip),
        };
        compression.encoding(self.options.level)
    }

    /// Whether a layer that is there with some compression will do.
    pub(crate) fn accepts(&self, compression: Compression) -> bool {
        let wanted = self.encoding().compression;
        let lenient = self.options.compression.is_some() && !self.options.force_compression;
        match compression {
            Compression::None => self.options.compress == Compress::Never,
            Compression::Bzip2 | Compression::Xz => false,
            Compression::Gzip => wanted == Compression::Gzip || lenient,
            Compression::Zstd => {
                self.formats[0] == ManifestFormat::Oci && (wanted == Compression::Zstd || lenient)
            }
        }
    }

    /// Whether the manifest's own format is kept, so that what is in it may stay.
    fn keeps_format(&self) -> bool {
        self.formats[0] == self.opened.manifest.format()
    }
}

/// The error for something that is no image and was to become one.
pub(crate) fn artifact(opened: &Opened<'_>) -> TransferError {
    let manifest = opened.manifest.manifest();
    let kind = manifest
        .artifact_type
        .clone()
        .unwrap_or_else(|| manifest.config.media_type.clone());
    TransferError::Artifact { kind }
}

/// The formats to try: the source's own first, then Docker's, then what else the destination takes.
fn formats(
    (from, required): (ManifestFormat, Option<Requirement>),
    abilities: &Abilities,
    place: &str,
    options: &CopyOptions,
) -> Result<Vec<ManifestFormat>> {
    if let Some(format) = options.format {
        let manifest = format.manifest_type();
        let taken = [abilities.formats, abilities.on_request].concat();
        return match taken.contains(&format) {
            false => Err(TransferError::FormatRefused {
                place: place.to_owned(),
                manifest,
            }),
            true => match required.filter(|required| !required.is_met_by(format)) {
                Some(required) => Err(TransferError::FormatUnable { required, manifest }),
                None => Ok(vec![format]),
            },
        };
    }
    let mut formats = Vec::new();
    for format in [from, ManifestFormat::Docker]
        .iter()
        .chain(abilities.formats)
    {
        let able = required.is_none_or(|required| required.is_met_by(*format));
        if abilities.formats.contains(format) && able && !formats.contains(format) {
            formats.push(*format);
        }
    }
    match required {
        Some(required) if formats.is_empty() => Err(TransferError::PlaceUnable {
            required,
            named: abilities.named.join(", "),
        }),
        _ => Ok(formats),
    }
}
