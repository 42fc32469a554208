//! Artifacts for lists: files are described where they lie; their content is read again when the list is pushed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use model::artifact::{Artifact, EMPTY_CONTENT, TITLE, empty};
use model::digest::Algorithm;
use model::{Descriptor, Digest, Hasher, RawManifest, content_type, list};
use store::Artifacts;
use transfer::{CopyOptions, CopyScope, TransportRef};

use super::annotations;
use crate::host::members::{Member, Sources};
use crate::world::World;

const CHUNK: usize = 256 << 10;

/// Flags of `manifest add` about artifacts.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArtifactArgs {
    /// Add an artifact made of files instead of an image
    #[arg(long)]
    pub artifact: bool,
    /// Add a remark to the artifact's manifest
    #[arg(long, value_name = "NAME=VALUE")]
    artifact_annotation: Vec<String>,
    /// The file that is the artifact's config
    #[arg(long, value_name = "FILE")]
    artifact_config: Option<PathBuf>,
    /// The media type of the config (default: that of an empty one)
    #[arg(long, value_name = "TYPE")]
    artifact_config_type: Option<String>,
    /// Do not record the files' names
    #[arg(long)]
    artifact_exclude_titles: bool,
    /// The media type of the files
    #[arg(long, value_name = "TYPE")]
    artifact_layer_type: Option<String>,
    /// The image that the artifact is about
    #[arg(long, value_name = "IMAGE")]
    artifact_subject: Option<String>,
    /// What the artifact is
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
}

impl ArtifactArgs {
    /// Refuses flags for artifacts where none is added.
    pub fn check(&self) -> Result<()> {
        if self.artifact {
            return Ok(());
        }
        let flags = [
            ("--artifact-type", self.artifact_type.is_some()),
            ("--artifact-config", self.artifact_config.is_some()),
            (
                "--artifact-config-type",
                self.artifact_config_type.is_some(),
            ),
            ("--artifact-layer-type", self.artifact_layer_type.is_some()),
            ("--artifact-exclude-titles", self.artifact_exclude_titles),
            ("--artifact-subject", self.artifact_subject.is_some()),
            (
                "--artifact-annotation",
                !self.artifact_annotation.is_empty(),
            ),
        ];
        let given: Vec<_> = flags
            .into_iter()
            .filter_map(|(flag, given)| given.then_some(flag))
            .collect();
        match given.as_slice() {
            [] => Ok(()),
            [one] => bail!("{one} requires --artifact"),
            several => bail!("{} require --artifact", several.join("/")),
        }
    }
}

/// Describes files as an artifact.
pub fn member(
    args: &ArtifactArgs,
    files: &[String],
    sources: &Sources<'_>,
    world: &World,
) -> Result<Member> {
    let subject = match &args.artifact_subject {
        Some(text) => Some(subject(text, sources)?),
        None => None,
    };
    let mut made = Artifacts::default();
    let mut paths = Vec::new();
    let mut layers = Vec::new();
    for file in files {
        let path = world.cwd.join(file);
        let read = ReadFile::read(&path)
            .with_context(|| format!("reading {file:?} to determine its digest"))?;
        let title = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let media_type = match &args.artifact_layer_type {
            Some(given) => given,
            None => content_type::of_file(&title, &read.beginning),
        };
        let mut layer = Descriptor::new(media_type, read.digest.clone(), read.size);
        if !args.artifact_exclude_titles {
            layer.annotations.insert(TITLE.to_owned(), title);
        }
        layers.push(layer);
        paths.push((read.digest, path));
    }
    let (config, config_path) = config(args, world)?;
    if let Some(path) = config_path.clone() {
        paths.insert(0, (config.digest.clone(), path));
    } else {
        made.put_blob(&config.digest, EMPTY_CONTENT);
    }
    let manifest = Artifact {
        kind: args.artifact_type.clone(),
        config: Some(config.clone()),
        layers: layers.clone(),
        annotations: annotations(&args.artifact_annotation)?,
        subject,
    }
    .into_manifest();
    record(&manifest, &paths, &mut made)?;
    let key = manifest.digest().to_string();
    made.config.insert(key.clone(), config.digest.to_string());
    let digests = layers.iter().map(|layer| layer.digest.to_string());
    made.layers.insert(key, digests.collect());
    Ok(Member {
        entries: vec![(list::entry_of(&manifest, None), String::new())],
        artifacts: made,
    })
}

/// Notes the manifest, and where the files are.
fn record(manifest: &RawManifest, paths: &[(Digest, PathBuf)], made: &mut Artifacts) -> Result<()> {
    let key = manifest.digest().to_string();
    let text = String::from_utf8(manifest.bytes().to_vec())?;
    made.manifests.insert(key.clone(), text);
    let mut shown = Vec::new();
    for (digest, path) in paths {
        let path = path
            .to_str()
            .with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
        made.detached.insert(digest.to_string(), path.to_owned());
        shown.push(path.to_owned());
    }
    made.files.insert(key, shown);
    Ok(())
}

fn config(args: &ArtifactArgs, world: &World) -> Result<(Descriptor, Option<PathBuf>)> {
    let mut config = empty();
    if let Some(given) = &args.artifact_config_type {
        config.media_type.clone_from(given);
    }
    let Some(file) = &args.artifact_config else {
        return Ok((config, None));
    };
    let path = world.cwd.join(file);
    let read = ReadFile::read(&path)
        .with_context(|| format!("reading artifact config data file {:?}", file.display()))?;
    config.data = None;
    config.digest = read.digest;
    config.size = read.size;
    Ok((config, Some(path)))
}

/// Describes the image that an artifact or list is about.
pub fn subject(text: &str, sources: &Sources<'_>) -> Result<Descriptor> {
    let member = match TransportRef::parse(text) {
        Ok(place) => looked_at(&place, sources),
        Err(_) => match transfer::lookup_image(&*sources.store.images()?, text, sources.rules) {
            Ok(found) => {
                let bytes = sources.store.image_manifest(&found.image.id)?;
                let document = model::Document::parse(bytes)?;
                Ok(described(&document))
            }
            Err(_) => looked_at(&TransportRef::parse(&format!("docker://{text}"))?, sources),
        },
    };
    member.with_context(|| format!("reading manifest from subject {text:?}"))
}

fn looked_at(place: &TransportRef, sources: &Sources<'_>) -> Result<Descriptor> {
    let options = CopyOptions {
        scope: CopyScope::Instances(Vec::new()),
        ..sources.options.clone()
    };
    let looked = transfer::look(place, Some(sources.store), &options)?;
    Ok(described(&looked.top))
}

fn described(document: &model::Document) -> Descriptor {
    match document {
        model::Document::Manifest(manifest) => Descriptor {
            platform: None,
            ..list::entry_of(manifest, None)
        },
        model::Document::Index(index) => Descriptor::new(
            index.index().format().index_type(),
            index.digest(),
            index.bytes().len() as u64,
        ),
    }
}

/// A file as far as a descriptor goes.
struct ReadFile {
    digest: Digest,
    size: u64,
    beginning: Vec<u8>,
}

impl ReadFile {
    fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let (mut size, mut beginning) = (0u64, Vec::new());
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("read {}", path.display()));
                }
            };
            if beginning.len() < content_type::SNIFF_LEN {
                let wanted = content_type::SNIFF_LEN - beginning.len();
                beginning.extend_from_slice(&chunk[..count.min(wanted)]);
            }
            hasher.update(&chunk[..count]);
            size += count as u64;
        }
        Ok(Self {
            digest: hasher.finish(),
            size,
            beginning,
        })
    }
}

/// The files of each artifact of a list, for display.
pub fn files(artifacts: &Artifacts) -> BTreeMap<Digest, Vec<String>> {
    artifacts
        .files
        .iter()
        .filter_map(|(digest, files)| Some((Digest::parse(digest).ok()?, files.clone())))
        .collect()
}
