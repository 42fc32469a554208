//! `static-registry:`: a tree of files that a plain web server serves as a read-only registry.
//!
//! Lines of configuration for nginx, Apache and Caddy are written beside the images; with them `docker pull` and all
//! others find what a registry would tell them. Without any, as from `python3 -m http.server`, the media types are
//! missing, which Cooper does without. Nothing is ever deleted: tags move, and what they led to stays.

mod name;
mod tree;

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use archive::Compression;
use model::event::BlobOutcome;
use model::manifest::MANIFEST_MAX;
use model::{Descriptor, Digest, ImageId, RawIndex, Reference};

use crate::error::Result;
use crate::files::{open_stream, parent, read_limited, spool};
use crate::signatures::Guard;
use crate::sink::{
    Accept, Finished, Incoming, Landed, Lanes, Role, Sink, Wish, declared_compression,
};
use crate::source::{Blobs, Library, Offered, Promised, check_document, parse};
use crate::unfinished;
pub use name::{StaticName, StaticNameError};
use tree::{Tree, make_directory};

/// The most names that an error enumerates.
const SHOWN_MAX: usize = 20;

/// Why a registry tree cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StaticError {
    /// There is none.
    #[error("there is no registry tree")]
    NoTree,
    /// A newer one than we know of.
    #[error("it has a form that is not supported yet")]
    Form,
    /// A file of somebody else's would be overwritten.
    #[error("`{name}` is there already and belongs to something else")]
    Foreign {
        /// The file.
        name: &'static str,
    },
    /// It has to be said what the image is called.
    #[error("the image needs a name there: static-registry:DIRECTORY:NAME[:TAG]")]
    NoName,
    /// The image's own name will not do.
    #[error("the name `{name}` cannot be served")]
    Name {
        /// The name.
        name: String,
        /// The cause.
        source: StaticNameError,
    },
    /// It has to be said which image.
    #[error("it has {count} images, choose one of them: {known}")]
    Several {
        /// How many there are.
        count: usize,
        /// Their names.
        known: Names,
    },
    /// There is no such image.
    #[error("it has no image `{name}`, but {known}")]
    NoSuchImage {
        /// The name.
        name: String,
        /// The names that there are.
        known: Names,
    },
}

/// Names for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            0 => f.write_str("none at all"),
            count if count > SHOWN_MAX => {
                write!(f, "{}, …", self.0[..SHOWN_MAX].join(", "))
            }
            _ => f.write_str(&self.0.join(", ")),
        }
    }
}

/// Opens an image of a tree, or the list that the name leads to.
pub(crate) fn open(
    label: &str,
    path: &Path,
    name: Option<&StaticName>,
) -> Result<Library<'static>> {
    let tree = Tree::new(path);
    tree.check()?;
    let name = match name {
        Some(name) => name.clone(),
        None => only(&tree)?,
    };
    let file = tree.manifest(name.repository(), name.version());
    if !file.is_file() {
        return Err(tree.trouble(StaticError::NoSuchImage {
            name: name.to_string(),
            known: Names(all(&tree)),
        }));
    }
    let bytes = read_limited(&file, MANIFEST_MAX as u64)?;
    if let Some(digest) = name.digest() {
        let described = Descriptor::new("", digest.clone(), bytes.len() as u64);
        check_document("manifest", &bytes, &described)?;
    }
    let local = name
        .tag()
        .map(|_| Reference::parse_local(&name.to_string()));
    let names = match local {
        Some(Ok(name)) => vec![name.to_string()],
        _ => Vec::new(),
    };
    Ok(Library {
        place: label.to_owned(),
        guard: Guard::Unasked,
        top: parse(label, bytes)?,
        names,
        blobs: Arc::new(Files {
            tree,
            repository: name.repository().to_owned(),
        }),
    })
}

fn all(tree: &Tree) -> Vec<String> {
    let tagged = |repository: String| {
        let tags = tree.tags(&repository).unwrap_or_default();
        let named = move |tag| format!("{repository}:{tag}");
        tags.into_iter().map(named)
    };
    tree.repositories().into_iter().flat_map(tagged).collect()
}

fn only(tree: &Tree) -> Result<StaticName> {
    let known = all(tree);
    if let [one] = known.as_slice()
        && let Ok(name) = StaticName::parse(one)
    {
        return Ok(name);
    }
    Err(tree.trouble(StaticError::Several {
        count: known.len(),
        known: Names(known),
    }))
}

/// One repository's files.
struct Files {
    tree: Tree,
    repository: String,
}

impl Blobs for Files {
    fn manifest(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.tree.manifest(&self.repository, digest.as_str());
        read_limited(&path, limit)
    }

    fn config(&self, config: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        read_limited(&self.tree.blob(&self.repository, &config.digest), limit)
    }

    fn layer(&self, layer: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let path = self.tree.blob(&self.repository, &layer.digest);
        Ok(Box::new(open_stream(&path)?))
    }
}

/// A tree being written to.
pub(crate) struct StaticSink {
    tree: Tree,
    name: StaticName,
}

impl StaticSink {
    /// Prepares for an image; without a name it gets `suggested`, which is the one it has elsewhere.
    pub(crate) fn create(
        path: &Path,
        name: Option<&StaticName>,
        suggested: Option<&Reference>,
    ) -> Result<Self> {
        let tree = Tree::new(path);
        let name = match (name, suggested) {
            (Some(name), _) => name.clone(),
            (None, None) => return Err(tree.trouble(StaticError::NoName)),
            (None, Some(known)) => StaticName::of(known).map_err(|source| {
                tree.trouble(StaticError::Name {
                    name: known.to_string(),
                    source,
                })
            })?,
        };
        tree.prepare()?;
        unfinished::reap(&tree.incoming());
        Ok(Self { tree, name })
    }

    fn landed(&self, digest: &Digest, size: u64, compression: Compression) -> Option<Landed> {
        let landed = || Landed::new(digest.clone(), size, compression);
        let there = self.tree.has(digest, size);
        there.then(|| landed().by(BlobOutcome::AlreadyThere))
    }
}

impl Sink for StaticSink {
    fn wish(&self) -> Wish {
        Wish::Compress
    }

    fn lanes(&self) -> Lanes {
        Lanes::Many
    }

    fn takes_artifacts(&self) -> bool {
        true
    }

    fn leaves_foreign(&self) -> bool {
        true
    }

    fn fixed_digest(&self) -> Option<&Digest> {
        self.name.digest()
    }

    fn reuse(&self, _index: usize, offered: &Offered) -> Result<Option<Landed>> {
        if offered.promised != Promised::Blob {
            return Ok(None);
        }
        let layer = &offered.descriptor;
        let compression = declared_compression(&layer.media_type);
        Ok(self.landed(&layer.digest, layer.size, compression))
    }

    fn reuse_content(&self, _offered: &Offered, accept: &Accept<'_>) -> Result<Option<Landed>> {
        let form = accept.recorded.as_ref();
        Ok(form
            .filter(|form| (accept.compression)(form.compression))
            .and_then(|form| {
                let mut landed = self.landed(&form.blob, form.size?, form.compression)?;
                landed.annotations = form.annotations.clone();
                Some(landed)
            }))
    }

    fn put_layer(&self, _index: usize, layer: Incoming<'_>) -> Result<Landed> {
        let compression = layer.landing();
        let directory = self.tree.incoming();
        make_directory(&directory)?;
        let spooled = spool(&mut *layer.reader, layer.packing, &directory)?;
        layer.check(&spooled.digest, spooled.size)?;
        let (digest, size) = layer
            .blob
            .unwrap_or_else(|| (spooled.digest.clone(), spooled.size));
        let mut landed = Landed::new(digest, size, compression);
        landed.annotations = spooled.annotations.clone();
        // What is there already has other names, which are to stay the same file.
        if !self.tree.has(&landed.digest, size) {
            let path = self.tree.pool(&landed.digest);
            make_directory(parent(&path))?;
            spooled.publish(&path)?;
        }
        Ok(landed)
    }

    fn finish(&self, finished: &Finished<'_>) -> Result<Option<ImageId>> {
        let (tree, repository) = (&self.tree, self.name.repository());
        let manifest = finished.manifest;
        let config = &manifest.manifest().config.digest;
        tree.keep(config, finished.config)?;
        tree.link_blob(repository, config)?;
        let moved = |layer: &&Landed| layer.outcome != BlobOutcome::Foreign;
        for layer in finished.landed.iter().filter(moved) {
            tree.link_blob(repository, &layer.digest)?;
        }
        let (digest, kind) = (manifest.digest(), manifest.format().manifest_type());
        tree.put_manifest(repository, &digest, kind, manifest.bytes())?;
        if finished.role == Role::Single {
            tree.publish(&self.name, &digest, kind)?;
        }
        Ok(None)
    }

    fn finish_list(&self, list: &RawIndex, _signatures: &[trust::Signature]) -> Result<()> {
        let (digest, kind) = (list.digest(), list.index().format().index_type());
        let repository = self.name.repository();
        self.tree
            .put_manifest(repository, &digest, kind, list.bytes())?;
        self.tree.publish(&self.name, &digest, kind)
    }
}
