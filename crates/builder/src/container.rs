//! A working container: a writable layer on an image, and what it will become when committed.
//!
//! Its record and its `buildah.json` are shared with Buildah: either tool can take over what the
//! other began. What it runs and copies is in [`crate::run`] and [`crate::copy`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use model::{
    ContainerId, Digest, History, ImageConfig, ImageId, LayerId, ManifestFormat, Platform,
    Timestamp,
};
use store::{ContainerRecord, NewContainer, RootMount, Store, StoreError, WhenMounted};

use crate::change::{ChangeError, ChangeWarning, ConfigChange, Settings};
use crate::image::{BASE_DIGEST, BASE_NAME};
use crate::inspect::{ImageFacts, Inspection};
use crate::namespaces::{IdMappingOptions, NamespaceOptions};
use crate::run::Isolation;
use crate::state::{BuilderState, RunOptions, STATE_TYPE, StateError};

/// Name of the file in the container's own directory.
pub const STATE_FILE: &str = "buildah.json";
/// Letters of the host name that Docker's format wants.
const HOSTNAME_LENGTH: usize = 12;
/// How many numbers are tried behind a name that is in use.
const MAX_NAME_NUMBER: u32 = 1 << 20;

/// Why something could not be done with a working container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No such container. Scripts match this text.
    #[error("{attempt} {wanted:?}: container not known")]
    Unknown {
        /// What was attempted.
        attempt: &'static str,
        /// What was looked up.
        wanted: String,
    },
    /// The container belongs to another engine.
    #[error("container {wanted:?} was not made by a builder")]
    NotABuilder {
        /// What was looked up.
        wanted: String,
    },
    /// The wanted name is taken. Scripts match this text.
    #[error(
        "creating container: the container name {name:?} is already in use by {by}. You have to remove that container to be able to reuse that name: that name is already in use"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// The container that has it.
        by: String,
    },
    /// The name wanted in place of another is taken. Scripts match this text.
    #[error("The container name {name:?} is already in use by container {by:?}")]
    NewNameInUse {
        /// The name.
        name: String,
        /// The container that has it.
        by: String,
    },
    /// The name wanted in place of another is the same. Scripts match this text.
    #[error("renaming a container with the same name as its current name")]
    SameName,
    /// The name wanted in place of another is none.
    #[error("the new name of a container cannot be empty")]
    NoName,
    /// Every number behind the name is taken.
    #[error("no free name for a container was found behind `{name}-{MAX_NAME_NUMBER}`")]
    NoFreeName {
        /// The name without a number.
        name: String,
    },
    /// The base image's config is not one.
    #[error("the config of image {image} cannot be used")]
    BaseConfig {
        /// The image.
        image: ImageId,
        /// The cause.
        source: model::ConfigError,
    },
    /// The base is not a single image.
    #[error("the manifest of image {image} cannot be used")]
    BaseManifest {
        /// The image.
        image: ImageId,
        /// The cause.
        source: model::ManifestError,
    },
    /// The base image is not in the store.
    #[error(transparent)]
    Lookup(#[from] transfer::LookupError),
    /// The remembered state cannot be used.
    #[error("cannot use the state of the container")]
    State(#[from] StateError),
    /// There is no place for the files of a layer to be.
    #[error("cannot make the directory {:?} for a layer", path.display())]
    LinkedTree {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The configuration cannot be changed as asked.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An image of the store to start from.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// Its ID.
    pub id: ImageId,
    /// The name by which it was found.
    pub name: String,
    /// Its top layer; none for an image without layers.
    pub layer: Option<LayerId>,
    /// Bytes of its config.
    pub config: Vec<u8>,
    /// Bytes of its manifest.
    pub manifest: Vec<u8>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

impl BaseImage {
    /// Reads what is known of the image `id`, found by the text `wanted`. The name becomes the first
    /// of its names that contains the text, else its first one, else the text itself.
    ///
    /// # Errors
    /// When the image is unknown, or its manifest is not that of one image.
    pub fn load(store: &Store, id: &ImageId, wanted: &str) -> Result<Self, ContainerError> {
        let images = store.images()?;
        let record = images.get(id).ok_or_else(|| StoreError::ImageUnknown {
            wanted: wanted.to_owned(),
        })?;
        let manifest = store.image_manifest(id)?;
        let parsed = model::RawManifest::parse(manifest.clone()).map_err(|source| {
            ContainerError::BaseManifest {
                image: id.clone(),
                source,
            }
        })?;
        Ok(Self {
            id: id.clone(),
            name: name_found(&record.names, wanted),
            layer: record.layer.clone(),
            config: store.image_config(id)?,
            digest: parsed.digest(),
            annotations: parsed.manifest().annotations.clone(),
            manifest,
        })
    }

    /// Looks up the image that `text` means in the store, see [`transfer::lookup`], and reads it.
    ///
    /// # Errors
    /// When there is none, or it is not that of one image.
    pub fn lookup(
        store: &Store,
        text: &str,
        rules: &transfer::NameRules,
        platform: Option<&Platform>,
    ) -> Result<Self, ContainerError> {
        let found = transfer::lookup(store, text, rules, platform)?;
        let mut base = Self::load(store, &found.image.id, text)?;
        if let Some(name) = found.name {
            base.name = name.to_string();
        }
        Ok(base)
    }

    /// Returns the configuration that a container of this image starts with.
    ///
    /// # Errors
    /// When the config is not one.
    pub fn inherited(&self) -> Result<ImageConfig, ContainerError> {
        let config =
            ImageConfig::parse(&self.config).map_err(|source| ContainerError::BaseConfig {
                image: self.id.clone(),
                source,
            })?;
        Ok(config.inherit())
    }

    /// Returns what `inspect` shows of the image.
    ///
    /// # Errors
    /// When the config is not one.
    pub fn inspect(&self) -> Result<Inspection, ContainerError> {
        Ok(Inspection::of_image(&ImageFacts {
            name: &self.name,
            id: self.id.as_str(),
            digest: self.digest.as_str(),
            config: &self.config,
            manifest: &self.manifest,
            annotations: &self.annotations,
        })?)
    }
}

fn name_found(names: &[String], wanted: &str) -> String {
    names
        .iter()
        .find(|name| name.contains(wanted))
        .or(names.first())
        .cloned()
        .unwrap_or_else(|| wanted.to_owned())
}

/// What `from` is asked to do.
#[derive(Debug, Clone)]
pub struct FromRequest {
    /// The image; none for `scratch`.
    pub base: Option<BaseImage>,
    /// The name wanted; none for one made from the image's name.
    pub name: Option<String>,
    /// What follows the image's name; `working-container` unless given.
    pub suffix: Option<String>,
    /// The format that the image is to have.
    pub format: ManifestFormat,
    /// The platform of an image from scratch.
    pub platform: Platform,
    /// Settings for later `run`s.
    pub run_options: RunOptions,
    /// How processes of later `run`s are kept apart.
    pub isolation: Isolation,
    /// Namespaces of later `run`s.
    pub namespaces: NamespaceOptions,
    /// Their network, if one was asked for.
    pub network: Option<runtime::network::Mode>,
    /// Their users and groups.
    pub id_mapping: IdMappingOptions,
    /// Capabilities of later `run`s, as `CAP_…`.
    pub capabilities: Vec<String>,
    /// Groups for the user of later `run`s.
    pub group_add: Vec<String>,
    /// The present time.
    pub now: Timestamp,
}

/// A container of the store, with its state if a builder made it.
#[derive(Debug)]
pub struct ContainerEntry {
    /// The store's record.
    pub record: Arc<ContainerRecord>,
    /// The builder's state.
    pub state: Option<BuilderState>,
}

/// A working container, open.
#[derive(Debug)]
pub struct WorkingContainer {
    store: Store,
    id: ContainerId,
    layer: LayerId,
    /// What is remembered; changes are kept by [`WorkingContainer::save`].
    pub state: BuilderState,
    /// The image's configuration, saved with the state.
    pub config: ImageConfig,
}

impl WorkingContainer {
    /// Makes a container.
    ///
    /// # Errors
    /// When the name is taken, the base unusable, or the store refuses.
    pub fn create(store: &Store, request: &FromRequest) -> Result<Self, ContainerError> {
        let mut config = match &request.base {
            Some(base) => base.inherited()?,
            None => ImageConfig {
                created: Some(request.now),
                ..ImageConfig::for_platform(&request.platform)
            },
        };
        if config.config.working_dir.is_empty() {
            "/".clone_into(&mut config.config.working_dir);
        }
        let new = |name: &str| NewContainer {
            names: vec![name.to_owned()],
            image: request.base.as_ref().map(|base| base.id.clone()),
            parent: request.base.as_ref().and_then(|base| base.layer.clone()),
            ids: request.id_mapping.maps(),
            ..NewContainer::default()
        };
        let wanted = request.name.as_ref().filter(|name| !name.is_empty());
        let record = if let Some(name) = wanted {
            store
                .create_container(new(name))
                .map_err(|error| match error {
                    StoreError::NameInUse { name, by } => ContainerError::NameInUse { name, by },
                    other => other.into(),
                })?
        } else {
            create_numbered(store, request, new)?
        };
        if request.format == ManifestFormat::Docker && config.config.hostname.is_empty() {
            // Any random word does; the identifier of the layer is one.
            record.layer.as_str()[..HOSTNAME_LENGTH].clone_into(&mut config.config.hostname);
        }
        let mut container = Self {
            store: store.clone(),
            id: record.id.clone(),
            layer: record.layer.clone(),
            state: new_state(request, &record),
            config,
        };
        if let Err(error) = container.save() {
            // Without its state nobody would find it again as a working container.
            let _ = store.delete_container(&record.id, WhenMounted::Unmount);
            return Err(error);
        }
        Ok(container)
    }

    /// Opens the container that `wanted` means: ID, name, or a unique beginning of the ID.
    ///
    /// # Errors
    /// When there is none, or it belongs to another engine.
    pub fn open(store: &Store, wanted: &str) -> Result<Self, ContainerError> {
        let containers = store.containers()?;
        let record = containers
            .find(wanted)?
            .ok_or_else(|| ContainerError::Unknown {
                attempt: "reading build container",
                wanted: wanted.to_owned(),
            })?;
        let Some(bytes) = store.container_file(&record.id, STATE_FILE)? else {
            return Err(ContainerError::NotABuilder {
                wanted: wanted.to_owned(),
            });
        };
        let state = BuilderState::parse(&bytes, record.id.as_str())?;
        Ok(Self {
            store: store.clone(),
            id: record.id.clone(),
            layer: record.layer.clone(),
            config: state.image_config()?,
            state,
        })
    }

    /// Returns every container of the store, in the order of its records.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(store: &Store) -> Result<Vec<ContainerEntry>, ContainerError> {
        let mut entries = Vec::new();
        for record in store.containers()?.iter() {
            // One that vanishes meanwhile, or that another engine writes, is no error.
            let bytes = store.container_file(&record.id, STATE_FILE)?;
            let state =
                bytes.and_then(|bytes| BuilderState::parse(&bytes, record.id.as_str()).ok());
            entries.push(ContainerEntry {
                record: Arc::clone(record),
                state,
            });
        }
        Ok(entries)
    }

    /// The format that an image of this container has unless a commit names another.
    #[must_use]
    pub fn format(&self) -> model::ManifestFormat {
        self.state.manifest_format()
    }

    /// Returns the container's ID.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Returns the container's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.container_name
    }

    /// Returns the container's writable layer.
    #[must_use]
    pub fn layer(&self) -> &LayerId {
        &self.layer
    }

    /// Returns the store that it is in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes the state.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<(), ContainerError> {
        self.state.set_image_config(&self.config)?;
        self.store
            .put_container_file(&self.id, STATE_FILE, &self.state.to_bytes()?)?;
        Ok(())
    }

    /// Gives the container another name.
    ///
    /// # Errors
    /// When it has the name already, or another container has it, or the state cannot be written.
    pub fn rename(&mut self, name: &str) -> Result<(), ContainerError> {
        let before = self.state.container_name.clone();
        if name == before {
            return Err(ContainerError::SameName);
        }
        if name.is_empty() {
            return Err(ContainerError::NoName);
        }
        let renamed = |error| match error {
            StoreError::NameInUse { name, by } => ContainerError::NewNameInUse { name, by },
            other => other.into(),
        };
        self.store
            .rename_container(&self.id, &[name.to_owned()])
            .map_err(renamed)?;
        name.clone_into(&mut self.state.container_name);
        if let Err(error) = self.save() {
            self.store.rename_container(&self.id, &[before])?;
            return Err(error);
        }
        Ok(())
    }

    /// Changes the configuration and saves it. Returns what takes no effect.
    ///
    /// # Errors
    /// When a value cannot be read, or the state not be written; then nothing is changed.
    pub fn configure(
        &mut self,
        change: &ConfigChange,
        now: Timestamp,
    ) -> Result<Vec<ChangeWarning>, ContainerError> {
        let (state, config) = (self.state.clone(), self.config.clone());
        let format = self.state.manifest_format();
        let mut settings = Settings {
            config: &mut self.config,
            annotations: &mut self.state.annotations,
            created_by: &mut self.state.created_by,
            history_comment: &mut self.state.history_comment,
            prepended: &mut self.state.prepended,
            format,
            now,
        };
        let done = change.apply(&mut settings).map_err(ContainerError::from);
        let done = done.and_then(|warnings| self.save().map(|()| warnings));
        if done.is_err() {
            (self.state, self.config) = (state, config);
        }
        done
    }

    /// Adds an entry without a layer to the history, before the entry of the layer to be, and saves
    /// it: what `--add-history` does. `created_by` is the whole text, such as that of
    /// [`run_history`].
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn add_history(&mut self, created_by: &str, now: Timestamp) -> Result<(), ContainerError> {
        self.state.prepended.push(History {
            created: Some(now),
            created_by: created_by.to_owned(),
            empty_layer: true,
            ..History::default()
        });
        self.save()
    }

    /// Returns the root file system for reading and writing, see [`Store::container_root`].
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn root(&self) -> Result<RootMount, ContainerError> {
        Ok(self.store.container_root(&self.id)?)
    }

    /// Returns the root file system for a process, whose owners are those that it has on the host, see
    /// [`Store::container_process_root`].
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn process_root(&self) -> Result<RootMount, ContainerError> {
        Ok(self.store.container_process_root(&self.id)?)
    }

    /// Mounts the container where everybody sees it and returns the place.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(&mut self) -> Result<PathBuf, ContainerError> {
        let path = self.store.mount_container(&self.id)?;
        self.state.mount_point = path.display().to_string();
        self.save()?;
        Ok(path)
    }

    /// Takes one visible mount back.
    ///
    /// # Errors
    /// When it cannot be unmounted.
    pub fn unmount(&mut self) -> Result<(), ContainerError> {
        if !self.store.unmount_container(&self.id)? {
            self.state.mount_point.clear();
            self.save()?;
        }
        Ok(())
    }

    /// Returns where the container is visibly mounted, if it is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn mounted_at(&self) -> Result<Option<PathBuf>, ContainerError> {
        Ok(self
            .store
            .container_mount(&self.id)?
            .map(|(path, _count)| path))
    }

    /// Removes the container with all that is in it, also when it is mounted.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn delete(self) -> Result<(), ContainerError> {
        self.store
            .delete_container(&self.id, WhenMounted::Unmount)?;
        Ok(())
    }

    /// Returns what `inspect` shows of the container.
    ///
    /// # Errors
    /// When the configuration cannot be written as JSON.
    pub fn inspect(&self) -> Result<Inspection, ContainerError> {
        Ok(Inspection::of_container(&self.state)?)
    }
}

/// Returns what the history says of a `run`: the image's shell, then the words.
#[must_use]
pub fn run_history(shell: &[String], arguments: &[String]) -> String {
    let shell = if shell.is_empty() {
        "/bin/sh -c".to_owned()
    } else {
        shell.join(" ")
    };
    format!("{shell} {}", arguments.join(" "))
}

/// Removes the working container that `wanted` means and returns its ID. One whose state cannot be
/// read is removed as well.
///
/// # Errors
/// When there is none, or the store refuses.
pub fn remove_container(store: &Store, wanted: &str) -> Result<ContainerId, ContainerError> {
    let containers = store.containers()?;
    let record = containers
        .find(wanted)?
        .ok_or_else(|| ContainerError::Unknown {
            attempt: "removing container",
            wanted: wanted.to_owned(),
        })?;
    if store.container_file(&record.id, STATE_FILE)?.is_none() {
        return Err(ContainerError::NotABuilder {
            wanted: wanted.to_owned(),
        });
    }
    store.delete_container(&record.id, WhenMounted::Unmount)?;
    Ok(record.id.clone())
}

fn create_numbered(
    store: &Store,
    request: &FromRequest,
    new: impl Fn(&str) -> NewContainer,
) -> Result<Arc<ContainerRecord>, ContainerError> {
    let plain = container_name(
        request.base.as_ref().map(|base| base.name.as_str()),
        request.suffix.as_deref().unwrap_or("working-container"),
    );
    let mut number = 0;
    while number < MAX_NAME_NUMBER {
        let containers = store.containers()?;
        let mut name = numbered(&plain, number);
        while containers.by_name(&name).is_some() {
            number += 1;
            name = numbered(&plain, number);
        }
        match store.create_container(new(&name)) {
            // Another process was faster.
            Err(StoreError::NameInUse { .. }) => number += 1,
            other => return Ok(other?),
        }
    }
    Err(ContainerError::NoFreeName { name: plain })
}

fn numbered(name: &str, number: u32) -> String {
    if number == 0 {
        name.to_owned()
    } else {
        format!("{name}-{number}")
    }
}

/// Makes the name of a container from its image's, as Buildah does: the cut is at the first colon,
/// which leaves only the host of a registry that has a port.
#[must_use]
pub fn container_name(image: Option<&str>, suffix: &str) -> String {
    let Some(image) = image.filter(|image| !image.is_empty()) else {
        return suffix.to_owned();
    };
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    if hex.len() == model::id::ID_LEN && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return format!("{}-{suffix}", &hex[..12]);
    }
    let name = image.split(':').next().unwrap_or(image);
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split('@').next().unwrap_or(name);
    format!("{name}-{suffix}")
}

fn new_state(request: &FromRequest, record: &ContainerRecord) -> BuilderState {
    let base = request.base.as_ref();
    let mut annotations = base
        .map(|base| base.annotations.clone())
        .unwrap_or_default();
    let name = base.map(|base| base.name.clone()).unwrap_or_default();
    let digest = base.map(|base| base.digest.to_string()).unwrap_or_default();
    annotations.insert(BASE_NAME.to_owned(), name.clone());
    annotations.insert(BASE_DIGEST.to_owned(), digest.clone());
    let layer = base.and_then(|base| base.layer.as_ref());
    let mut extra = BuilderState::new_extra();
    extra.insert("Isolation".to_owned(), request.isolation.number().into());
    let mut state = BuilderState {
        kind: STATE_TYPE.to_owned(),
        image: name,
        image_id: base.map(|base| base.id.to_string()).unwrap_or_default(),
        image_digest: digest,
        base_config: base.map(|base| base.config.clone()).unwrap_or_default(),
        base_manifest: base.map(|base| base.manifest.clone()).unwrap_or_default(),
        container_name: record.names.first().cloned().unwrap_or_default(),
        container_id: record.id.to_string(),
        mount_point: String::new(),
        annotations,
        created_by: String::new(),
        history_comment: String::new(),
        ociv1: serde_json::Value::Null,
        docker: serde_json::Value::Null,
        prepended: Vec::new(),
        appended: Vec::new(),
        appended_layers: Vec::new(),
        run_options: request.run_options.clone(),
        capabilities: request.capabilities.clone(),
        group_add: request.group_add.clone(),
        namespaces: request.namespaces.clone(),
        id_mapping: request.id_mapping.clone(),
        top_layer: layer.map(ToString::to_string).unwrap_or_default(),
        format: request.format.manifest_type().to_owned(),
        extra,
    };
    if let Some(mode) = &request.network {
        state.set_network(mode);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_a_run_has_the_shell_in_front() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let check = |shell: &str, arguments: &str, expected: &str| {
            assert_eq!(run_history(&words(shell), &words(arguments)), expected);
        };
        check("", "sh -c true", "/bin/sh -c sh -c true");
        check("/bin/ash -c", "ls", "/bin/ash -c ls");
    }

    #[test]
    fn names_follow_the_image() {
        let check = |image: Option<&str>, expected: &str| {
            assert_eq!(container_name(image, "working-container"), expected);
        };
        check(None, "working-container");
        check(
            Some("docker.io/library/alpine:latest"),
            "alpine-working-container",
        );
        check(Some("localhost/bb:1"), "bb-working-container");
        check(Some("127.0.0.1:5000/a/b:1"), "127.0.0.1-working-container");
        check(Some("localhost/b@sha256:00"), "b-working-container");
        let hex = "c8f2715eab2861d96632d4d995a546c4447edb26eeae840b89215c43a4a0c5b5";
        check(Some(hex), "c8f2715eab28-working-container");
        check(
            Some(&format!("sha256:{hex}")),
            "c8f2715eab28-working-container",
        );
    }

    #[test]
    fn the_name_found_is_the_one_typed_if_possible() {
        let names = ["localhost/a:1".to_owned(), "localhost/b:2".to_owned()];
        let check = |wanted: &str, expected: &str| assert_eq!(name_found(&names, wanted), expected);
        check("b", "localhost/b:2");
        check("c8f2", "localhost/a:1");
        assert_eq!(name_found(&[], "c8f2"), "c8f2");
    }
}
