//! What a step's result depends on, as one digest.
//!
//! A key covers content, never only the words of the instruction: equal keys mean that
//! performing the step again would give an equal change. It is not the line that `history`
//! shows; that is rendered apart ([`crate::history`]).
//!
//! | Value | RUN | COPY, ADD | made directories | Why |
//! |---|---|---|---|---|
//! | version of this table | yes | yes | yes | a new meaning must not find old entries |
//! | parent: layer of the base, then the key of each step that touched files | yes | yes, but not with `--link` | yes | the change is relative to it; a linked copy is not |
//! | platform | yes | no | no | a process can ask for it; copied bytes are the same |
//! | expanded words, shell, here-documents | yes | destination | paths | they are what is done |
//! | environment: ENV and the ARGs in scope, expanded | yes, by name | no, words are expanded | no | a process can read each of them |
//! | predefined proxies | no | no | no | they change between hosts, not results; declared ones are ARGs |
//! | working directory | yes | when the destination is relative | in the paths | an absolute path is joined to nothing |
//! | user | yes | no, `--chown` instead | owner of the directory | |
//! | network mode | yes | no | no | what a process can reach |
//! | content of sources: names, bytes, modes, owners, links, extended attributes | - | yes, after ignore rules | - | the words alone say nothing about them |
//! | times of sources | - | no | - | a fresh checkout has new ones |
//! | bind mount: options, and the content of its source (directory), or the layer of it (stage, image) | yes | - | - | a process can read it |
//! | cache, tmpfs, secret, ssh mounts | the flag only | - | - | content is not reproducible, or must not leave a trace |
//! | `--volume`, capabilities, groups, devices, security options of the build | yes | no | no | a process sees them |
//! | volumes of the image, `--compat-volumes` | yes | no | no | changes in them may be dropped |
//! | hosts, DNS, ulimits, `--shm-size` | no | no | no | the limits of a run, not its input |
//! | fixed times for files | yes | yes | yes | they are written into the layer |
//! | format, labels, annotations, names | no | no | no | they never reach a layer; see [`ImageKey`] |
//!
//! [`ImageKey`]: crate::key::image_key

use crate::bound::{BoundCopy, BoundDirs, BoundMount, BoundRun, CopySource, Input, Link};
use containerfile::RunForm;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Digest over all that a result depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey([u8; 32]);

impl StepKey {
    /// Makes a key from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepKey({self})")
    }
}

/// The named parts of a key, so that a miss can say which one differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// What lies below.
    Parent,
    /// The instruction after expansion, with all that belongs to its words.
    Words,
    /// One variable of the environment.
    Variable(String),
    /// One source of files.
    Source(String),
    /// Platform, network, security and other settings of the build.
    Setting(String),
}

/// A key with what it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: StepKey,
    /// Its parts with a short digest of each, in the order in which they were put.
    pub parts: Vec<(Part, u64)>,
}

/// Collects the parts of a key. Names and values are written with their lengths, so no two
/// lists of parts give the same bytes.
#[derive(Debug)]
pub struct KeyWriter {
    whole: blake3::Hasher,
    parts: Vec<(Part, u64)>,
}

impl KeyWriter {
    /// Starts a key; `kind` names the sort of key and its version (`run/1`).
    #[must_use]
    pub fn new(kind: &str) -> Self {
        let mut whole = blake3::Hasher::new();
        put(&mut whole, kind.as_bytes());
        Self {
            whole,
            parts: Vec::new(),
        }
    }

    /// Adds a part of any number of values.
    #[must_use]
    pub fn put<V: AsRef<[u8]>>(mut self, part: Part, values: impl IntoIterator<Item = V>) -> Self {
        let mut one = blake3::Hasher::new();
        for value in values {
            put(&mut one, value.as_ref());
        }
        let digest = one.finalize();
        match &part {
            Part::Parent => put(&mut self.whole, b"parent"),
            Part::Words => put(&mut self.whole, b"words"),
            Part::Variable(name) => {
                put(&mut self.whole, b"variable");
                put(&mut self.whole, name.as_bytes());
            }
            Part::Source(name) => {
                put(&mut self.whole, b"source");
                put(&mut self.whole, name.as_bytes());
            }
            Part::Setting(name) => {
                put(&mut self.whole, b"setting");
                put(&mut self.whole, name.as_bytes());
            }
        }
        self.whole.update(digest.as_bytes());
        let mut short = [0; 8];
        short.copy_from_slice(&digest.as_bytes()[..8]);
        self.parts.push((part, u64::from_le_bytes(short)));
        self
    }

    /// Ends the key.
    #[must_use]
    pub fn finish(self) -> Keyed {
        Keyed {
            key: StepKey(*self.whole.finalize().as_bytes()),
            parts: self.parts,
        }
    }
}

fn put(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// What is the same for all steps of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyContext {
    /// The platform, as text.
    pub platform: String,
    /// The time that is written into layers: `force N`, `clamp N` or nothing.
    pub times: String,
    /// Settings of the build that a process sees, by name.
    pub run_settings: Vec<(String, String)>,
}

/// Returns the key of the tree that a stage starts from.
#[must_use]
pub fn base_key(top_layer: Option<&str>) -> StepKey {
    let values = top_layer.into_iter();
    KeyWriter::new("base/1")
        .put(Part::Parent, values)
        .finish()
        .key
}

/// Returns the key of a RUN. `content` holds for each mount the digest of what it shows, empty
/// for those whose content does not count.
#[must_use]
pub fn run_key(
    run: &BoundRun,
    parent: &StepKey,
    content: &[String],
    context: &KeyContext,
) -> Keyed {
    let BoundRun {
        form,
        shell,
        env,
        args,
        proxies: _, // differ between hosts; what is declared is in `env`
        workdir,
        user,
        network,
        mounts,
        volumes,
    } = run;
    let KeyContext {
        platform,
        times,
        run_settings,
    } = context;
    let mut writer = KeyWriter::new("run/1")
        .put(Part::Parent, [parent.as_bytes()])
        .put(Part::Words, form_words(form, shell))
        .put(Part::Setting("workdir".to_owned()), [workdir])
        .put(Part::Setting("user".to_owned()), [user])
        .put(
            Part::Setting("network".to_owned()),
            [format!("{network:?}")],
        )
        .put(Part::Setting("platform".to_owned()), [platform])
        .put(Part::Setting("times".to_owned()), [times]);
    let mut sorted: Vec<_> = env.iter().chain(args).collect();
    sorted.sort();
    for (name, value) in sorted {
        writer = writer.put(Part::Variable(name.clone()), [value]);
    }
    let none = String::new();
    for (index, mount) in mounts.iter().enumerate() {
        let BoundMount {
            text,
            mount: _, // decoded from the text
            from: _,  // its content is what counts
        } = mount;
        let content = content.get(index).unwrap_or(&none);
        writer = writer.put(Part::Source(mount_name(mount)), [text, content]);
    }
    if !volumes.is_empty() {
        writer = writer.put(Part::Setting("places of volumes".to_owned()), volumes);
    }
    for (name, value) in run_settings {
        writer = writer.put(Part::Setting(name.clone()), [value]);
    }
    writer.finish()
}

/// Returns the key of a COPY or ADD. `content` holds for each source its name for messages and
/// the digest of what is copied.
#[must_use]
pub fn copy_key(
    copy: &BoundCopy,
    parent: &StepKey,
    content: &[(String, String)],
    context: &KeyContext,
) -> Keyed {
    let BoundCopy {
        word,
        from: _,    // its content is what counts
        sources: _, // likewise; their names are in the content's digest
        destination,
        workdir,
        chown,
        chmod,
        link,
        parents,
        excludes,
    } = copy;
    let KeyContext {
        platform: _,     // bytes are copied, whatever they are for
        run_settings: _, // nothing runs
        times,
    } = context;
    let mut writer = KeyWriter::new("copy/1");
    if *link == Link::Below {
        writer = writer.put(Part::Parent, [parent.as_bytes()]);
    }
    // An absolute destination is not joined to anything.
    let joined_to = if destination.starts_with('/') {
        ""
    } else {
        workdir
    };
    let words = [
        format!("{word:?} {link:?} {parents:?}"),
        destination.clone(),
        joined_to.to_owned(),
        chown.clone().unwrap_or_default(),
        chmod.clone().unwrap_or_default(),
    ];
    writer = writer
        .put(Part::Words, words.iter().chain(excludes))
        .put(Part::Setting("times".to_owned()), [times]);
    for (name, digest) in content {
        writer = writer.put(Part::Source(name.clone()), [digest]);
    }
    writer.finish()
}

/// Returns the key of directories that are made where they are missing.
#[must_use]
pub fn dirs_key(dirs: &BoundDirs, parent: &StepKey, context: &KeyContext) -> Keyed {
    let BoundDirs { paths, owner } = dirs;
    let KeyContext {
        platform: _,     // a directory is a directory
        run_settings: _, // nothing runs
        times,
    } = context;
    KeyWriter::new("dirs/1")
        .put(Part::Parent, [parent.as_bytes()])
        .put(Part::Words, paths.iter().chain([owner]))
        .put(Part::Setting("times".to_owned()), [times])
        .finish()
}

/// Returns the key under which the content digest of files in an unchanging tree is remembered.
#[must_use]
pub fn input_key(copy: &BoundCopy, layer: &str, context: &KeyContext) -> StepKey {
    let BoundCopy {
        word,
        from: _, // the layer says which tree
        sources,
        destination: _, // not in the content's digest
        workdir: _,
        chown,
        chmod,
        link: _,
        parents,
        excludes,
    } = copy;
    let KeyContext {
        platform: _,     // bytes are read, whatever they are for
        run_settings: _, // nothing runs
        times,
    } = context;
    let words = [
        format!("{word:?} {parents:?} {times}"),
        layer.to_owned(),
        chown.clone().unwrap_or_default(),
        chmod.clone().unwrap_or_default(),
        excludes.len().to_string(),
    ];
    let sources = sources.iter().flat_map(|source| match source {
        CopySource::Path(path) => ["path".to_owned(), path.clone(), String::new()],
        CopySource::Inline(file) => ["inline".to_owned(), file.name.clone(), file.body.clone()],
        CopySource::Url { url, .. } => ["url".to_owned(), url.clone(), String::new()],
    });
    KeyWriter::new("input/1")
        .put(
            Part::Words,
            words
                .into_iter()
                .chain(excludes.iter().cloned())
                .chain(sources),
        )
        .finish()
        .key
}

/// Returns the key of a whole image: its top layer and its config without times.
#[must_use]
pub fn image_key(
    top_layer: Option<&str>,
    config_without_times: &[u8],
    manifest_words: &[String],
) -> StepKey {
    KeyWriter::new("image/1")
        .put(Part::Parent, top_layer)
        .put(Part::Words, [config_without_times])
        .put(Part::Setting("manifest".to_owned()), manifest_words)
        .finish()
        .key
}

fn form_words(form: &RunForm, shell: &[String]) -> Vec<String> {
    let mut words = match form {
        RunForm::Exec(words) => return [vec!["exec".to_owned()], words.clone()].concat(),
        RunForm::Shell(text) => vec!["shell".to_owned(), text.clone()],
        RunForm::Script(heredoc) => {
            vec!["script".to_owned(), heredoc.name.clone(), heredoc.content()]
        }
    };
    words.extend_from_slice(shell);
    words
}

fn mount_name(mount: &BoundMount) -> String {
    match mount.from {
        Some(Input::Directory(_)) => format!("--mount={}", mount.text),
        _ => mount.text.clone(),
    }
}
