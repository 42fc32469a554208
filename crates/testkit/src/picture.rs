//! An image as plain values: its merged tree, its configuration, its history, its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use archive::tar::{Entry, Kind, Reader};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Where builders mount files of their own for a step. Buildah 1.28 leaves an empty file there when
/// the image had none, which says nothing about the image.
const MOUNT_POINTS: [&[u8]; 3] = [b"etc/hosts", b"etc/resolv.conf", b"etc/hostname"];

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image read from an OCI layout.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Every path of the merged tree, without leading or trailing slash.
    pub tree: BTreeMap<Vec<u8>, Node>,
    /// `config` of the image's configuration, and its platform.
    pub config: BTreeMap<String, Value>,
    /// `created_by` and `empty_layer` of each entry.
    pub history: Vec<(String, bool)>,
    /// How many layers there are.
    pub layers: usize,
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is, in a word.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Size of a file; zero for the rest.
    pub size: u64,
    /// Target of a symbolic link, or the device's numbers.
    pub link: String,
    /// The other names of the same file, this one included, when there are several.
    pub names: BTreeSet<Vec<u8>>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// SHA-256 of a file's content.
    pub content: String,
    /// Seconds since 1970 of the last change; compared only when asked.
    pub mtime: i64,
}

/// One thing that two pictures have differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Where: `/path`, `config.Env`, `history 3`, `layers`.
    pub place: String,
    /// What, as `ours` and `theirs`.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Picture {
    /// Reads the only image of an OCI layout.
    pub fn of_layout(layout: &Path) -> Result<Self> {
        let index: Value = json(&layout.join("index.json"))?;
        let descriptors = index["manifests"]
            .as_array()
            .context("an index without manifests")?;
        let [descriptor] = descriptors.as_slice() else {
            bail!(
                "{} holds {} images, one is wanted",
                layout.display(),
                descriptors.len()
            );
        };
        let manifest: Value = json(&blob(layout, &descriptor["digest"])?)?;
        let config: Value = json(&blob(layout, &manifest["config"]["digest"])?)?;
        let layers = manifest["layers"]
            .as_array()
            .context("a manifest without layers")?;
        let mut tree = BTreeMap::new();
        for layer in layers {
            let path = blob(layout, &layer["digest"])?;
            apply(&path, &mut tree)
                .with_context(|| format!("cannot read layer {}", layer["digest"]))?;
        }
        join_hard_links(&mut tree);
        tree.retain(|path, node| !(node.size == 0 && MOUNT_POINTS.contains(&path.as_slice())));
        Ok(Self {
            tree,
            config: settings(&config),
            history: history(&config),
            layers: layers.len(),
        })
    }

    /// Lists what differs. Times are not compared: no two builds have the same.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut say = |place: String, ours: String, theirs: String| {
            if ours != theirs {
                found.push(Difference {
                    place,
                    what: format!("{ours} ≠ {theirs}"),
                });
            }
        };
        say(
            "layers".to_owned(),
            self.layers.to_string(),
            other.layers.to_string(),
        );
        let keys: BTreeSet<&String> = self.config.keys().chain(other.config.keys()).collect();
        for key in keys {
            let show = |side: &Self| {
                side.config
                    .get(key)
                    .map_or_else(|| "nothing".into(), Value::to_string)
            };
            say(format!("config.{key}"), show(self), show(other));
        }
        for at in 0..self.history.len().max(other.history.len()) {
            let show = |side: &Self| {
                side.history
                    .get(at)
                    .map_or_else(|| "nothing".into(), |entry| format!("{entry:?}"))
            };
            say(format!("history {at}"), show(self), show(other));
        }
        let paths: BTreeSet<&Vec<u8>> = self.tree.keys().chain(other.tree.keys()).collect();
        for path in paths {
            let place = format!("/{}", String::from_utf8_lossy(path));
            match (self.tree.get(path), other.tree.get(path)) {
                (Some(ours), Some(theirs)) => {
                    for (field, ours, theirs) in ours
                        .fields()
                        .into_iter()
                        .zip(theirs.fields())
                        .map(|((field, a), (_, b))| (field, a, b))
                    {
                        say(format!("{place} {field}"), ours, theirs);
                    }
                }
                (ours, _) => {
                    let (ours, theirs) = if ours.is_some() {
                        ("there", "missing")
                    } else {
                        ("missing", "there")
                    };
                    say(place, ours.to_owned(), theirs.to_owned());
                }
            }
        }
        found
    }
}

/// Removes from `found` the places that also differ between two runs of one builder: what
/// package managers log and cache, and what they compile.
pub fn without_noise(found: Vec<Difference>, noise: &[Difference]) -> Vec<Difference> {
    let path_of = |difference: &Difference| {
        difference
            .place
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let noisy: BTreeSet<String> = noise.iter().map(path_of).collect();
    found
        .into_iter()
        .filter(|difference| !noisy.contains(&path_of(difference)))
        .collect()
}

impl Node {
    fn fields(&self) -> [(&'static str, String); 8] {
        let names: Vec<_> = self
            .names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        [
            ("type", self.kind.to_owned()),
            ("mode", format!("{:04o}", self.mode)),
            ("owner", format!("{}:{}", self.owner.0, self.owner.1)),
            ("size", self.size.to_string()),
            ("link", self.link.clone()),
            ("names", names.join(" ")),
            ("xattrs", format!("{:?}", self.xattrs)),
            ("content", self.content.clone()),
        ]
    }
}

fn json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

fn blob(layout: &Path, digest: &Value) -> Result<PathBuf> {
    let digest = digest.as_str().context("a descriptor without a digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

fn settings(config: &Value) -> BTreeMap<String, Value> {
    let mut settings = BTreeMap::new();
    for key in ["os", "architecture", "variant", "author"] {
        settings.insert(key.to_owned(), config[key].clone());
    }
    for (key, value) in config["config"].as_object().into_iter().flatten() {
        settings.insert(key.clone(), value.clone());
    }
    // Each builder names itself here.
    if let Some(labels) = settings.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.remove("io.buildah.version");
    }
    if let Some(env) = settings.get_mut("Env").and_then(Value::as_array_mut) {
        // Names are unique, so their order says nothing; a process gets this path without an entry.
        env.retain(|entry| entry != DEFAULT_PATH);
        env.sort_by_key(Value::to_string);
    }
    // Without a working directory, processes start in the root; releases differ in which they write.
    settings.retain(|key, value| !is_empty(value) && (key != "WorkingDir" || value != "/"));
    settings
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn history(config: &Value) -> Vec<(String, bool)> {
    let entry = |entry: &Value| {
        let by = entry["created_by"].as_str().unwrap_or_default();
        (
            by.split_whitespace()
                .filter(|word| *word != "--link")
                .map(without_digest)
                .collect::<Vec<_>>()
                .join(" "),
            entry["empty_layer"].as_bool().unwrap_or(false),
        )
    };
    config["history"]
        .as_array()
        .into_iter()
        .flatten()
        .map(entry)
        .collect()
}

/// The digest of what was copied is each builder's own, and releases differ in their blanks.
fn without_digest(word: &str) -> &str {
    for kind in ["file:", "dir:", "multi:"] {
        if word.starts_with(kind) && word.len() == kind.len() + 64 {
            return kind;
        }
    }
    word
}

fn apply(layer: &Path, tree: &mut BTreeMap<Vec<u8>, Node>) -> Result<()> {
    let file = File::open(layer)?;
    let (_, decoded) = archive::decode(BufReader::with_capacity(1 << 18, file))?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 18, decoded));
    // A layer's whiteouts concern what was there before the layer, not its own entries.
    let mut added = BTreeSet::new();
    while let Some(entry) = reader.next_entry()? {
        let name = trimmed(&entry.header.name);
        let (parent, base) = match name.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (name[..at].to_vec(), name[at + 1..].to_vec()),
            None => (Vec::new(), name.clone()),
        };
        if base == b".wh..wh..opq" {
            remove_below(tree, &parent, &added);
            continue;
        }
        if let Some(hidden) = base.strip_prefix(b".wh.") {
            let path = joined(&parent, hidden);
            tree.remove(&path);
            remove_below(tree, &path, &added);
            continue;
        }
        if name.is_empty() {
            continue; // the root's own attributes are not part of a layer
        }
        let node = node(&mut reader, &entry, tree)?;
        if node.kind != "directory" {
            remove_below(tree, &name, &BTreeSet::new());
        }
        added.insert(name.clone());
        tree.insert(name, node);
    }
    Ok(())
}

fn node<R: std::io::BufRead>(
    reader: &mut Reader<R>,
    entry: &Entry,
    tree: &BTreeMap<Vec<u8>, Node>,
) -> Result<Node> {
    let header = &entry.header;
    let link = String::from_utf8_lossy(&header.link).into_owned();
    if header.kind == Kind::HardLink {
        let target = trimmed(&header.link);
        let mut node = tree
            .get(&target)
            .with_context(|| format!("a hard link to a missing {link}"))?
            .clone();
        node.names.insert(target);
        return Ok(node);
    }
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            break;
        }
        hasher.update(chunk);
        let length = chunk.len();
        size += length as u64;
        reader.consume(length);
    }
    let is_file = matches!(header.kind, Kind::File | Kind::GnuSparse);
    let device = format!("{}:{}", header.dev_major, header.dev_minor);
    let (kind, link) = match header.kind {
        Kind::File | Kind::GnuSparse => ("file", String::new()),
        Kind::Directory => ("directory", String::new()),
        Kind::Symlink => ("symlink", link),
        Kind::CharDevice => ("character device", device),
        Kind::BlockDevice => ("block device", device),
        Kind::Fifo => ("fifo", String::new()),
        Kind::HardLink | Kind::Other(_) => bail!("an entry of type {:?}", header.kind),
    };
    Ok(Node {
        kind,
        mode: u32::try_from(header.mode & 0o7777)?,
        owner: (u32::try_from(header.uid)?, u32::try_from(header.gid)?),
        size,
        link,
        names: BTreeSet::new(),
        xattrs: header.xattrs.iter().cloned().collect(),
        content: if is_file {
            hex(&hasher.finalize())
        } else {
            String::new()
        },
        mtime: header.mtime.seconds,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes every name of one file list all its names.
fn join_hard_links(tree: &mut BTreeMap<Vec<u8>, Node>) {
    let mut groups: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        if let Some(first) = node.names.first() {
            let group = groups.entry(first.clone()).or_default();
            group.insert(path.clone());
            group.insert(first.clone());
        }
    }
    for group in groups.values() {
        for path in group {
            if let Some(node) = tree.get_mut(path) {
                node.names.clone_from(group);
            }
        }
    }
}

fn trimmed(name: &[u8]) -> Vec<u8> {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")) {
        name = rest;
    }
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if name == b"." {
        Vec::new()
    } else {
        name.to_vec()
    }
}

fn joined(parent: &[u8], base: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        base.to_vec()
    } else {
        [parent, b"/", base].concat()
    }
}

fn remove_below(tree: &mut BTreeMap<Vec<u8>, Node>, path: &[u8], spared: &BTreeSet<Vec<u8>>) {
    // `0` is the byte after `/`: the range holds what begins with `path/`, and all when empty.
    let (from, to) = if path.is_empty() {
        (Vec::new(), vec![0xff])
    } else {
        ([path, b"/"].concat(), [path, b"0"].concat())
    };
    let below: Vec<Vec<u8>> = tree
        .range(from..to)
        .map(|(name, _)| name.clone())
        .filter(|name| !spared.contains(name))
        .collect();
    for name in below {
        tree.remove(&name);
    }
}
