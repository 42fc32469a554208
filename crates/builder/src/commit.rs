//! `commit`: a container, or the layers of a build stage, becomes an image of the store.
//!
//! Order: the layer, then the image's items, then its record with its names. A crash in between
//! leaves layers without an image and nothing else. Other places than the store get a copy of an
//! image that is in the store only meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeWriter, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use archive::tar::{Header, Kind, TarError, Time, Writer};
use archive::{Flavour, Times, TreeError, TreeOptions};
use model::edit::DialectLoss;
use model::{
    ContainerId, DiffId, Digest, History, IdError, ImageId, LayerId, ManifestFormat, RawManifest,
    Reference, ReferenceError, Reporter, Timestamp,
};
use store::{NewImage, RecordTime, RootMount, Store, StoreError, WhenMounted};
use transfer::{Copied, CopyOptions, SignatureOptions, StorageRef, TransportRef};

use crate::container::{ContainerError, WorkingContainer};
use crate::image::{CREATED, IDENTITY_LABEL, ImageError, ImageParts};
use crate::linked;

/// `created_by` of a commit that nothing else is said about.
pub const DEFAULT_CREATED_BY: &str = "/bin/sh";

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The parts do not fit together.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The container cannot be used.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The base image's ID in the container's state is none.
    #[error("the state of container {container} names a base image that cannot be")]
    BaseId {
        /// The container.
        container: ContainerId,
        /// The cause.
        source: IdError,
    },
    /// A layer has no digest or no size: the image could not be described.
    #[error("layer {layer} has no recorded digest and size")]
    Unmeasured {
        /// The layer.
        layer: LayerId,
    },
    /// The tree that is to be a layer cannot be read.
    #[error("cannot pack a file system into a layer")]
    Squash {
        /// The cause.
        source: TreeError,
    },
    /// A file that is to be added cannot be read.
    #[error("reading {:?} to add it to the image", path.display())]
    Add {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file that is to be added cannot be packed.
    #[error("packing {:?} to add it to the image", path.display())]
    Pack {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: TarError,
    },
    /// The files of a layer that was made with `--link` cannot be read.
    #[error("reading {:?} to add it to the image", path.display())]
    Linked {
        /// The directory or archive.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another tool has made layers that go below the container's own.
    #[error("committing layers below that of container {container} is not supported yet")]
    LayersBelow {
        /// The container.
        container: ContainerId,
    },
    /// No pipe or thread could be had.
    #[error("cannot pack files into a layer")]
    Pipe {
        /// The cause.
        source: io::Error,
    },
    /// A name cannot be signed for.
    #[error("parsing the name {name:?}")]
    Name {
        /// The name.
        name: String,
        /// The cause.
        source: ReferenceError,
    },
    /// The image could not be signed, or not be copied to where it was wanted.
    #[error(transparent)]
    Copy(#[from] transfer::TransferError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether the image gets one layer in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Squash {
    /// The base image's layers stay.
    #[default]
    No,
    /// One layer with everything; the base image's history goes.
    Yes,
}

/// Whether the image has a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeepHistory {
    /// It has.
    #[default]
    Yes,
    /// It has none at all.
    No,
}

/// Whether a moment is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CreatedAnnotation {
    /// As annotation too.
    Yes,
    /// Only in the config.
    #[default]
    No,
}

/// What becomes of the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AfterCommit {
    /// It goes on.
    #[default]
    Keep,
    /// It is removed.
    Remove,
}

/// A file of the host that an image has in a layer of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// The file.
    pub source: PathBuf,
    /// Where the image has it, absolute.
    pub target: PathBuf,
}

/// How a container is committed.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Fully qualified names of the image; they are taken from other images.
    pub names: Vec<String>,
    /// The format; the container's own unless given.
    pub format: Option<ManifestFormat>,
    /// When image and new history entries are made.
    pub created: Timestamp,
    /// What becomes of the times of files.
    pub times: Times,
    /// Whether there is one layer.
    pub squash: Squash,
    /// Whether there is a history.
    pub history: KeepHistory,
    /// Value of the label [`IDENTITY_LABEL`]; no label without.
    pub identity: Option<String>,
    /// Whether the moment becomes an annotation.
    pub created_annotation: CreatedAnnotation,
    /// Annotations to add.
    pub annotations: BTreeMap<String, String>,
    /// Annotations to leave out.
    pub unset_annotations: Vec<String>,
    /// Variables to leave out.
    pub unset_env: Vec<String>,
    /// Files in a further layer.
    pub added: Vec<AddedFile>,
    /// What becomes of the container.
    pub after: AfterCommit,
}

impl CommitRequest {
    /// Returns the request without flags: the container's format, no label, times as they are.
    #[must_use]
    pub fn new(names: Vec<String>, created: Timestamp) -> Self {
        Self {
            names,
            format: None,
            created,
            times: Times::Keep,
            squash: Squash::No,
            history: KeepHistory::Yes,
            identity: None,
            created_annotation: CreatedAnnotation::No,
            annotations: BTreeMap::new(),
            unset_annotations: Vec::new(),
            unset_env: Vec::new(),
            added: Vec::new(),
            after: AfterCommit::Keep,
        }
    }
}

/// An image that was made.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its ID.
    pub id: ImageId,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: RawManifest,
    /// Its config.
    pub config: Vec<u8>,
    /// What the format could not hold.
    pub losses: Vec<DialectLoss>,
}

/// Returns content and size of a layer and all below it, from the base up, as an image lists them.
///
/// # Errors
/// When a layer is missing or has no recorded digest.
pub fn layers_of(store: &Store, top: Option<&LayerId>) -> Result<Vec<(DiffId, u64)>, CommitError> {
    let Some(top) = top else {
        return Ok(Vec::new());
    };
    let mut layers = Vec::new();
    for record in store.chain(top)?.iter().rev() {
        let size = record.diff_size.and_then(|size| u64::try_from(size).ok());
        match (&record.diff_digest, size) {
            (Some(diff), Some(size)) => layers.push((diff.clone(), size)),
            _ => {
                return Err(CommitError::Unmeasured {
                    layer: record.id.clone(),
                });
            }
        }
    }
    Ok(layers)
}

/// Puts an image on the layer `top` into the store. The layers of `parts` are those of
/// [`layers_of`].
///
/// # Errors
/// When the parts do not fit together, or the store refuses.
pub fn put_image(
    store: &Store,
    parts: ImageParts<'_>,
    top: Option<&LayerId>,
    names: Vec<String>,
) -> Result<Committed, CommitError> {
    let created = RecordTime::from_timestamp(&parts.created);
    let image = parts.assemble()?;
    let new = NewImage::new(top.cloned(), image.manifest.bytes(), &image.config)
        .with_names(names)
        .with_created(created);
    store.put_image(new)?;
    Ok(Committed {
        id: image.id,
        digest: image.manifest.digest(),
        manifest: image.manifest,
        config: image.config,
        losses: image.losses,
    })
}

/// Makes one layer of everything in `root` and returns it.
///
/// # Errors
/// When the tree cannot be read, or the store refuses.
pub fn squash_layer(store: &Store, root: &RootMount, times: Times) -> Result<LayerId, CommitError> {
    let tree = root.root().open_dir(Path::new("/"));
    let tree = tree.map_err(|source| CommitError::Pipe { source })?;
    let options = TreeOptions {
        times,
        ..TreeOptions::new(Flavour::Plain)
    };
    let (packed, imported) = import_written(store, None, move |writer| {
        archive::write_tree(&tree, &[], &options, writer)
    })?;
    linked::packed_layer(packed, imported)
}

/// Makes a layer on `parent` of the files, of which there is one at least, and returns it.
///
/// # Errors
/// When a file cannot be read, or the store refuses.
pub fn add_files(
    store: &Store,
    parent: Option<&LayerId>,
    files: &[AddedFile],
    times: Times,
) -> Result<LayerId, CommitError> {
    let (packed, imported) = import_written(store, parent, |writer| {
        let mut writer = Writer::new(writer);
        for file in files {
            add_file(&mut writer, file, times)?;
        }
        writer
            .finish()
            .map(drop)
            .map_err(|source| CommitError::Pack {
                path: files[0].source.clone(),
                source,
            })
    })?;
    match (packed, imported) {
        (
            Err(CommitError::Pack {
                source: TarError::Write(_),
                ..
            }),
            Err(source),
        ) => Err(source.into()),
        (Err(source), _) => Err(source),
        (Ok(()), imported) => Ok(imported?),
    }
}

fn add_file(
    writer: &mut Writer<PipeWriter>,
    added: &AddedFile,
    times: Times,
) -> Result<(), CommitError> {
    let read = |source| CommitError::Add {
        path: added.source.clone(),
        source,
    };
    let pack = |source| CommitError::Pack {
        path: added.source.clone(),
        source,
    };
    let mut file = File::open(&added.source).map_err(read)?;
    let facts = file.metadata().map_err(read)?;
    let target = added.target.strip_prefix("/").unwrap_or(&added.target);
    let seconds = match times {
        Times::Keep => facts.mtime(),
        Times::Fixed(seconds) => seconds,
        Times::Clamp(latest) => facts.mtime().min(latest),
    };
    writer
        .start(&Header {
            size: facts.len(),
            mode: i64::from(facts.mode() & 0o7777),
            mtime: Time {
                seconds,
                nanoseconds: 0,
            },
            ..Header::new(target.as_os_str().as_bytes(), Kind::File)
        })
        .map_err(pack)?;
    // A file that grows meanwhile is cut, one that shrinks is an error of the writer.
    let mut rest = (&mut file).take(facts.len());
    let mut chunk = vec![0; 1 << 16];
    loop {
        match rest.read(&mut chunk).map_err(read)? {
            0 => return Ok(()),
            length => writer.data(&chunk[..length]).map_err(pack)?,
        }
    }
}

/// How the writer of a layer ended, and how its import.
pub(crate) type Ends<E> = (Result<(), E>, Result<LayerId, StoreError>);

/// Imports what `write` writes, as it comes, and returns how both sides ended.
pub(crate) fn import_written<E: Send>(
    store: &Store,
    parent: Option<&LayerId>,
    write: impl FnOnce(PipeWriter) -> Result<(), E> + Send,
) -> Result<Ends<E>, CommitError> {
    let pipe = |source| CommitError::Pipe { source };
    let (reader, writer) = io::pipe().map_err(pipe)?;
    std::thread::scope(|scope| {
        let packer = std::thread::Builder::new()
            .name("pack".to_owned())
            .spawn_scoped(scope, move || write(writer))
            .map_err(pipe)?;
        let imported = store.import_layer(parent, reader, None);
        let packed = packer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((packed, imported.map(|layer| layer.id.clone())))
    })
}

/// Commits a container. It goes on afterwards as it was, unless asked otherwise: then its content
/// is moved into the layer.
///
/// # Errors
/// When the container cannot be read, or the store refuses. The container is then as before, or
/// already on top of the new layer, with nothing lost.
pub fn commit(
    container: WorkingContainer,
    request: &CommitRequest,
) -> Result<(Committed, Option<WorkingContainer>), CommitError> {
    let mut container = container;
    let store = container.store().clone();
    linked::check(&container)?;
    let (mut top, moved) = commit_layer(&container, request)?;
    let mut layers = layers_of(&store, Some(&top))?;
    let mut history = match request.history {
        KeepHistory::Yes => history(&container, request, layers.len()),
        KeepHistory::No => Vec::new(),
    };
    if moved == Moved::Yes {
        // What the container stands on now is described before the image is made: should that
        // fail, a later commit still finds a history that fits its layers.
        continue_on(&mut container, request, &layers)?;
    }
    if request.squash == Squash::No && has_further_layers(&container, request) {
        let told;
        (top, told) = put_on_top(&container, request, top)?;
        layers = layers_of(&store, Some(&top))?;
        if request.history == KeepHistory::Yes {
            history.extend(told);
        }
    }
    let committed = put_image(
        &store,
        ImageParts {
            config: image_config(&container, request),
            layers: &layers,
            history,
            created: request.created,
            annotations: annotations(&container, request),
            format: request
                .format
                .unwrap_or_else(|| container.state.manifest_format()),
            container: Some(container.id().as_str()),
            parent: base_id(&container)?.as_ref(),
        },
        Some(&top),
        request.names.clone(),
    )?;
    if request.after == AfterCommit::Remove {
        store.delete_container(container.id(), WhenMounted::Unmount)?;
        return Ok((committed, None));
    }
    Ok((committed, Some(container)))
}

/// Commits a container, and signs the image before it gets its names, for the first of them. Returns as [`commit`] does.
/// `made` hears of the image before it is signed.
///
/// # Errors
/// As [`commit`], or when the image cannot be signed; the container goes on then, and there is no image but one that was
/// there before.
pub fn commit_signed(
    container: WorkingContainer,
    request: &CommitRequest,
    options: &SignatureOptions,
    reporter: &dyn Reporter,
    made: impl FnOnce(&Committed),
) -> Result<(Committed, Option<WorkingContainer>), CommitError> {
    let name = request.names.first();
    let name = name.map(|name| Reference::parse_normalized(name));
    let name = name.transpose().map_err(|source| CommitError::Name {
        name: request.names.first().cloned().unwrap_or_default(),
        source,
    })?;
    let mut draft = Draft::make(container, request)?;
    made(&draft.committed);
    let id = &draft.committed.id;
    if let Err(error) = transfer::sign_stored(&draft.store, id, name.as_ref(), options, reporter) {
        draft.take_back()?;
        return Err(CommitError::Copy(error.into()));
    }
    draft.store.add_names(id, &request.names)?;
    draft.end_container(request.after)?;
    Ok((draft.committed, draft.container))
}

/// An image without names, and the container that it was made of: both can still be as they were before.
struct Draft {
    store: Store,
    committed: Committed,
    container: Option<WorkingContainer>,
    /// Whether the image was in the store before.
    old: bool,
}

impl Draft {
    fn make(container: WorkingContainer, request: &CommitRequest) -> Result<Self, CommitError> {
        let store = container.store().clone();
        let before = store.images()?;
        let unnamed = CommitRequest {
            names: Vec::new(),
            after: AfterCommit::Keep,
            ..request.clone()
        };
        let (committed, container) = commit(container, &unnamed)?;
        Ok(Self {
            old: before.get(&committed.id).is_some(),
            store,
            committed,
            container,
        })
    }

    /// Deletes the image unless it was there before.
    fn take_back(&self) -> Result<(), CommitError> {
        if !self.old {
            self.store.delete_image(&self.committed.id)?;
        }
        Ok(())
    }

    /// Deletes the container if it is not to go on.
    fn end_container(&mut self, after: AfterCommit) -> Result<(), CommitError> {
        if after == AfterCommit::Remove
            && let Some(container) = self.container.take()
        {
            self.store
                .delete_container(container.id(), WhenMounted::Unmount)?;
        }
        Ok(())
    }
}

/// What a commit to a place outside the store has made.
#[derive(Debug)]
pub struct CommittedTo {
    /// The image as it was made in the store.
    pub committed: Committed,
    /// The image at its place.
    pub copied: Copied,
    /// The container, unless it was to be removed.
    pub container: Option<WorkingContainer>,
}

/// Commits a container to a place outside the store. The image is in the store only meanwhile,
/// unless it was there before.
///
/// # Errors
/// As [`commit`], or when the image cannot be copied; the container goes on then.
pub fn commit_to(
    container: WorkingContainer,
    request: &CommitRequest,
    destination: &TransportRef,
    options: &CopyOptions,
    reporter: &dyn Reporter,
) -> Result<CommittedTo, CommitError> {
    let mut draft = Draft::make(container, request)?;
    let id = draft.committed.id.to_string();
    let source = TransportRef::Storage(StorageRef {
        store: None,
        name: None,
        id: Some(id.clone()),
        text: id,
    });
    let copied = transfer::copy(&source, destination, Some(&draft.store), options, reporter);
    if copied.is_ok() {
        draft.end_container(request.after)?;
    }
    draft.take_back()?;
    Ok(CommittedTo {
        committed: draft.committed,
        copied: copied?,
        container: draft.container,
    })
}

/// Whether the container now stands on the committed layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    No,
}

fn commit_layer(
    container: &WorkingContainer,
    request: &CommitRequest,
) -> Result<(LayerId, Moved), CommitError> {
    let store = container.store();
    if request.squash == Squash::Yes && has_further_layers(container, request) {
        return Ok((squash_with_further_layers(container, request)?, Moved::No));
    }
    if request.squash == Squash::Yes {
        let root = container.root()?;
        return Ok((squash_layer(store, &root, request.times)?, Moved::No));
    }
    // A container that goes on stays on its base, and content cannot be moved away below a mount
    // that others look through.
    if request.after == AfterCommit::Keep || container.mounted_at()?.is_some() {
        return Ok((
            store.copy_container(container.id(), request.times)?.id,
            Moved::No,
        ));
    }
    Ok((
        store
            .commit_container_layer(container.id(), request.times)?
            .id,
        Moved::Yes,
    ))
}

/// Whether the image gets more than the container's own layer on top of its base.
fn has_further_layers(container: &WorkingContainer, request: &CommitRequest) -> bool {
    !container.state.appended_layers.is_empty() || !request.added.is_empty()
}

/// Makes further layers on `top`. Returns the last one, and what the history says of each.
fn put_on_top(
    container: &WorkingContainer,
    request: &CommitRequest,
    top: LayerId,
) -> Result<(LayerId, Vec<History>), CommitError> {
    let store = container.store();
    let mut top = top;
    let mut told = Vec::new();
    for linked in &container.state.appended_layers {
        top = linked::import(store, &top, linked, request.times)?;
        told.push(linked.history.clone());
    }
    if !request.added.is_empty() {
        top = add_files(store, Some(&top), &request.added, request.times)?;
        let layers = layers_of(store, Some(&top))?;
        told.extend(
            layers
                .last()
                .map(|(diff, _)| addition(diff, request.created)),
        );
    }
    Ok((top, told))
}

/// Makes one layer of everything, further layers included. They are in the store only meanwhile.
fn squash_with_further_layers(
    container: &WorkingContainer,
    request: &CommitRequest,
) -> Result<LayerId, CommitError> {
    let store = container.store();
    let before = store.layers()?;
    let own = store.copy_container(container.id(), request.times)?.id;
    let (top, _) = put_on_top(container, request, own)?;
    let root = store.read_only_root(Some(&top))?;
    let squashed = squash_layer(store, &root, request.times)?;
    drop(root);
    for layer in store.chain(&top)? {
        if before.get(&layer.id).is_none() && layer.id != squashed {
            store.delete_layer(&layer.id)?;
        }
    }
    Ok(squashed)
}

fn base_id(container: &WorkingContainer) -> Result<Option<ImageId>, CommitError> {
    let text = container.state.image_id.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    let id = ImageId::parse(text).map_err(|source| CommitError::BaseId {
        container: container.id().clone(),
        source,
    })?;
    Ok(Some(id))
}

/// The whole history of the image to be: the base's, then what was said by hand, then the layer.
fn history(container: &WorkingContainer, request: &CommitRequest, layers: usize) -> Vec<History> {
    let state = &container.state;
    let from = if state.image.is_empty() {
        String::new()
    } else {
        format!("FROM {}", state.image)
    };
    let shell = container.config.config.shell.join(" ");
    let created_by = [state.created_by.as_str(), &shell]
        .into_iter()
        .find(|text| !text.is_empty());
    let comment = &state.history_comment;
    let needs_blank = !from.is_empty() && !comment.is_empty() && !comment.ends_with(' ');
    let blank = if needs_blank { " " } else { "" };
    let entry = History {
        created: Some(request.created),
        created_by: created_by.unwrap_or(DEFAULT_CREATED_BY).to_owned(),
        author: container.config.author.clone(),
        comment: format!("{comment}{blank}{from}"),
        ..History::default()
    };
    let mut history = match request.squash {
        Squash::Yes => Vec::new(),
        Squash::No => padded(&container.config.history, layers - 1, request.created),
    };
    history.extend(state.prepended.iter().cloned());
    history.push(entry);
    history.extend(state.appended.iter().cloned());
    history
}

/// The entry of the layer with added files.
pub fn addition(diff: &DiffId, created: Timestamp) -> History {
    let content = diff.digest().hex();
    History {
        created: Some(created),
        created_by: format!("{DEFAULT_CREATED_BY} -c #(nop) ADD dir:{content} in /"),
        ..History::default()
    }
}

/// Gives layers that the history does not tell of an entry each, as for a base image without one:
/// entries and layers are counted against each other by everybody who reads the image.
fn padded(history: &[History], layers: usize, created: Timestamp) -> Vec<History> {
    let mut history = history.to_vec();
    let known = history.iter().filter(|entry| !entry.empty_layer).count();
    let missing = History {
        created: Some(created),
        ..History::default()
    };
    history.extend(std::iter::repeat_n(missing, layers.saturating_sub(known)));
    history
}

fn image_config(container: &WorkingContainer, request: &CommitRequest) -> model::ImageConfig {
    let mut config = container.config.clone();
    for name in &request.unset_env {
        config.config.unset_env(name);
    }
    if let Some(identity) = &request.identity {
        config.config.set_label(IDENTITY_LABEL, identity);
    }
    config
}

fn annotations(container: &WorkingContainer, request: &CommitRequest) -> BTreeMap<String, String> {
    let mut annotations = container.state.annotations.clone();
    if request.created_annotation == CreatedAnnotation::Yes {
        annotations.insert(CREATED.to_owned(), request.created.to_string());
    }
    annotations.extend(request.annotations.clone());
    for name in &request.unset_annotations {
        annotations.remove(name);
    }
    annotations
}

/// Describes what the container stands on now, so that its next commit, ours or another tool's,
/// has as many history entries as layers.
fn continue_on(
    container: &mut WorkingContainer,
    request: &CommitRequest,
    layers: &[(DiffId, u64)],
) -> Result<(), CommitError> {
    container.config.history = history(container, request, layers.len());
    container.config.rootfs.diff_ids = layers.iter().map(|(diff, _)| diff.clone()).collect();
    container.state.prepended.clear();
    container.state.appended.clear();
    container.save()?;
    Ok(())
}
