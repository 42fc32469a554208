//! What a build reads: the context, the Containerfiles, the ignore file, named contexts, secrets.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use builder::run::SecretBytes;
use containerfile::{IgnoreRules, Input, Parsed};
use solve::mounts::Given;
use solve::{Directory, NamedContext};

use tempfile::TempDir;

use super::preprocess;
use super::remote::{self, Address, Brought, MAX_FILE};
use crate::ui::Ui;
use crate::world::World;

/// A context with its Containerfiles, in memory.
#[derive(Debug)]
pub struct BuildInput {
    /// The context.
    pub context: PathBuf,
    /// The files' names and bytes, in order.
    pub files: Vec<(String, Vec<u8>)>,
    /// The first file, when it is one of the host: its ignore file lies beside it.
    first: Option<PathBuf>,
    /// The folder of a context from elsewhere.
    _temporary: Option<TempDir>,
}

/// What flags say of the Containerfiles.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// `--file`.
    pub files: &'a [String],
    /// `--cpp-flag`.
    pub cpp_flags: &'a [String],
}

impl BuildInput {
    /// Reads the context argument and the Containerfiles.
    pub fn read(
        context: Option<&str>,
        reading: &Reading<'_>,
        outside: (&World, &Ui),
    ) -> Result<Self> {
        let mut input = Self::find(context, reading.files, outside.0)?;
        for (name, text) in &mut input.files {
            if preprocess::is_wanted(name) {
                let flags = reading.cpp_flags;
                *text = preprocess::run(name, text, &input.context, flags, outside)?;
            }
        }
        Ok(input)
    }

    fn find(context: Option<&str>, files: &[String], world: &World) -> Result<Self> {
        if let Some(address) = context.and_then(Address::parse) {
            return Self::elsewhere(address.bring(world)?, files, world);
        }
        match context {
            Some("-") => Self::elsewhere(remote::standard_input(world)?, files, world),
            other => {
                let given = world.cwd.join(other.unwrap_or("."));
                let facts = std::fs::metadata(&given).with_context(|| {
                    format!("discovering Containerfile: stat {}", given.display())
                })?;
                if facts.is_file() && files.is_empty() {
                    let folder = given.parent().unwrap_or(Path::new("/")).to_owned();
                    let bytes = read_limited(&given)?;
                    let name = given
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    return Ok(Self {
                        context: folder,
                        files: vec![(name, bytes)],
                        first: Some(given),
                        _temporary: None,
                    });
                }
                let context = given
                    .canonicalize()
                    .with_context(|| format!("opening the build context {}", given.display()))?;
                Self::in_folder(context, files, world)
            }
        }
    }

    fn in_folder(context: PathBuf, names: &[String], world: &World) -> Result<Self> {
        if names.is_empty() {
            let candidates = ["Containerfile", "Dockerfile"].map(|name| context.join(name));
            let Some(found) = candidates.iter().find(|path| path.is_file()) else {
                bail!(
                    "cannot find Containerfile or Dockerfile in context directory: stat {}: no such file or directory",
                    candidates[1].display()
                );
            };
            let bytes = read_limited(found)?;
            let name = found
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            check_contents(&found.to_string_lossy(), &bytes)?;
            return Ok(Self {
                context,
                files: vec![(name, bytes)],
                first: Some(found.clone()),
                _temporary: None,
            });
        }
        let mut files = Vec::new();
        let mut first = None;
        for name in names {
            let (path, bytes) = if name == "-" || name == "/dev/stdin" {
                (None, read_stdin()?)
            } else if let Some(Address::Web(url)) = Address::parse(name) {
                (None, remote::containerfile(&url, MAX_FILE, world)?)
            } else {
                let path = find_file(name, &context, world)?;
                let bytes = read_limited(&path)?;
                (Some(path), bytes)
            };
            check_contents(name, &bytes)?;
            if files.is_empty() {
                first = path;
            }
            files.push((name.clone(), bytes));
        }
        Ok(Self {
            context,
            files,
            first,
            _temporary: None,
        })
    }

    /// Takes a context that was brought here.
    fn elsewhere(brought: Brought, names: &[String], world: &World) -> Result<Self> {
        let Brought {
            context,
            containerfile,
            folder,
        } = brought;
        let Some(text) = containerfile else {
            let input = Self::in_folder(context, names, world)?;
            return Ok(Self {
                _temporary: Some(folder),
                ..input
            });
        };
        if !names.is_empty() {
            bail!("the context is a Containerfile, and --file names another");
        }
        check_contents("Dockerfile", &text)?;
        Ok(Self {
            context,
            files: vec![("Dockerfile".to_owned(), text)],
            first: None,
            _temporary: Some(folder),
        })
    }

    /// Parses the files, joined.
    pub fn parse(&self) -> Parsed {
        let inputs: Vec<Input<'_>> = self
            .files
            .iter()
            .map(|(name, text)| Input { name, text })
            .collect();
        containerfile::parse(&inputs)
    }

    /// The context with its ignore rules: those that a flag names, else those beside the first
    /// Containerfile, else the context's own.
    pub fn directory(&self, ignore_file: Option<&Path>, world: &World) -> Result<Directory> {
        if let Some(given) = ignore_file {
            let path = world.cwd.join(given);
            std::fs::metadata(&path).with_context(|| format!("open {}", given.display()))?;
            return with_rules(self.context.clone(), Some(path));
        }
        if let Some(first) = &self.first {
            // Of two files beside the Containerfile the second is used.
            for ending in [".dockerignore", ".containerignore"] {
                let mut beside = first.clone().into_os_string();
                beside.push(ending);
                let beside = PathBuf::from(beside);
                if beside.is_file() {
                    return with_rules(self.context.clone(), Some(beside));
                }
            }
        }
        directory(self.context.clone())
    }
}

fn find_file(name: &str, context: &Path, world: &World) -> Result<PathBuf> {
    let mut path = world.cwd.join(name);
    if !path.exists() && !Path::new(name).is_absolute() && context.join(name).exists() {
        path = context.join(name);
    }
    let facts = std::fs::metadata(&path).with_context(|| format!("stat {}", path.display()))?;
    if facts.is_dir() {
        bail!("containerfile: {name:?} cannot be path to a directory");
    }
    Ok(path)
}

fn check_contents(name: &str, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        bail!("no contents in {name:?}");
    }
    Ok(())
}

fn read_limited(path: &Path) -> Result<Vec<u8>> {
    super::read_limited(path, MAX_FILE)
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .context("cannot read standard input")?;
    Ok(bytes)
}

/// A folder with the ignore rules that lie in it.
fn directory(path: PathBuf) -> Result<Directory> {
    let file = [".containerignore", ".dockerignore"]
        .map(|name| path.join(name))
        .into_iter()
        .find(|file| file.is_file());
    with_rules(path, file)
}

fn with_rules(path: PathBuf, file: Option<PathBuf>) -> Result<Directory> {
    let ignore = match file {
        None => None,
        Some(file) => {
            let rules = IgnoreRules::parse(&read_limited(&file)?)
                .with_context(|| format!("in {}", file.display()))?;
            Some((file, Arc::new(rules)))
        }
    };
    Ok(Directory { path, ignore })
}

/// The named contexts, with the folders of those that come from elsewhere.
#[derive(Debug, Default)]
pub struct NamedContexts {
    /// By name.
    pub all: BTreeMap<String, NamedContext>,
    folders: Vec<TempDir>,
}

/// Reads the `--build-context` flags.
pub fn named_contexts(flags: &[String], world: &World) -> Result<NamedContexts> {
    let mut contexts = NamedContexts::default();
    for flag in flags {
        let Some((name, value)) = flag
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            bail!(
                "while parsing additional build context: [{flag:?}], accepts value in the form of key=value"
            );
        };
        let context = named_context(value, &mut contexts.folders, world);
        let context = context.with_context(|| format!("the build context {name:?}"))?;
        contexts.all.insert(name.to_owned(), context);
    }
    Ok(contexts)
}

fn named_context(value: &str, folders: &mut Vec<TempDir>, world: &World) -> Result<NamedContext> {
    for scheme in ["docker-image://", "container-image://", "docker://"] {
        if let Some(name) = value.strip_prefix(scheme) {
            return Ok(NamedContext::Image(name.to_owned()));
        }
    }
    if let Some(path) = value.strip_prefix("oci-layout://") {
        return Ok(NamedContext::Image(format!("oci:{path}")));
    }
    if value
        .split_once(':')
        .is_some_and(|(transport, _)| transfer::is_transport(transport))
    {
        return Ok(NamedContext::Image(value.to_owned()));
    }
    if let Some(address) = Address::parse(value) {
        let brought = address.bring(world)?;
        if brought.containerfile.is_some() {
            bail!("{value:?} is no archive");
        }
        folders.push(brought.folder);
        return Ok(NamedContext::Directory(directory(brought.context)?));
    }
    let path = world.cwd.join(value);
    let path = path
        .canonicalize()
        .with_context(|| format!("opening {}", path.display()))?;
    if !path.is_dir() {
        bail!("{} is not a directory", path.display());
    }
    Ok(NamedContext::Directory(directory(path)?))
}

/// Reads the `--build-arg-file` files and the `--build-arg` flags, which are stronger.
pub fn build_args(
    files: &[PathBuf],
    flags: &[String],
    world: &World,
) -> Result<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    for file in files {
        let path = world.cwd.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            put_arg(line, &mut given, world);
        }
    }
    for flag in flags {
        put_arg(flag, &mut given, world);
    }
    Ok(given)
}

fn put_arg(text: &str, given: &mut BTreeMap<String, String>, world: &World) {
    match text.split_once('=') {
        Some((name, value)) => drop(given.insert(name.to_owned(), value.to_owned())),
        None => match world.env.get(text) {
            Some(value) => drop(given.insert(text.to_owned(), value.clone())),
            None => drop(given.remove(text)),
        },
    }
}

/// Reads what mounts can ask for: the `--secret` and the `--ssh` flags.
pub fn given(secrets: &[String], agents: &[String], world: &World) -> Result<Given> {
    Ok(Given {
        secrets: self::secrets(secrets, world)?,
        agents: self::agents(agents, world)?,
    })
}

/// Reads the `--ssh` flags: `ID[=SOCKET]`, and finds the sockets of agents.
fn agents(flags: &[String], world: &World) -> Result<BTreeMap<String, PathBuf>> {
    let mut agents = BTreeMap::new();
    for flag in flags {
        let (id, given) = match flag.split_once('=') {
            Some((id, given)) => (id, Some(given)),
            None => (flag.as_str(), None),
        };
        let socket = given.or_else(|| world.var("SSH_AUTH_SOCK"));
        let socket = socket.filter(|socket| !socket.is_empty());
        let socket = socket.context("SSH_AUTH_SOCK not set in environment");
        let path = world.cwd.join(socket?);
        let facts = std::fs::metadata(&path).with_context(|| format!("stat {}", path.display()))?;
        if !facts.file_type().is_socket() {
            bail!(
                "--ssh {flag}: {} is no socket of an agent; keys from files are not supported yet",
                path.display()
            );
        }
        if agents.insert(id.to_owned(), path).is_some() {
            bail!("--ssh {flag}: the id {id:?} is given twice");
        }
    }
    Ok(agents)
}

/// Reads the `--secret` flags and what they point to.
fn secrets(flags: &[String], world: &World) -> Result<BTreeMap<String, SecretBytes>> {
    const FORM: &str =
        "incorrect secret flag format: should be --secret id=foo,src=bar[,env=ENV][,type=file|env]";
    let mut secrets = BTreeMap::new();
    for flag in flags {
        let mut fields = BTreeMap::new();
        for field in flag.split(',') {
            let (key, value) = field.split_once('=').context(FORM)?;
            fields.insert(key, value);
        }
        let id = fields
            .remove("id")
            .filter(|id| !id.is_empty())
            .context(FORM)?;
        let kind = fields.remove("type");
        let source = fields.remove("src").or(fields.remove("source"));
        let variable = fields.remove("env");
        if !fields.is_empty() || !matches!(kind, None | Some("file" | "env")) {
            bail!(FORM);
        }
        let bytes = match (source, variable) {
            (Some(path), _) if kind != Some("env") => {
                let path = world.cwd.join(path);
                std::fs::read(&path).with_context(|| {
                    format!("could not parse secrets: faccessat {}", path.display())
                })?
            }
            (source, variable) => {
                let name = variable.or(source).unwrap_or(id);
                let value = world.env.get(name);
                value
                    .with_context(|| format!("secret {id:?}: the variable {name} is not set"))?
                    .clone()
                    .into_bytes()
            }
        };
        secrets.insert(id.to_owned(), SecretBytes(bytes));
    }
    Ok(secrets)
}
