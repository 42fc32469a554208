//! What `copy` and `add` share: their flags and their work.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use builder::container::WorkingContainer;
pub use builder::copy::Layout as Parents;
use builder::copy::{
    Chown, CopyKind, CopyRequest, Destination, Gathered, Ignore, Origin, Source, SourceTree, Times,
    apply, apply_with_accounts, gather,
};
use builder::linked::LinkedTree;
use containerfile::{Chmod, IgnoreRules};
use model::{Digest, History, Timestamp};
use solve::{Downloaded, WebFile, web_source};
use store::{RootMount, Store};
use sys::Root;

use crate::args::GlobalArgs;
use crate::args::access::{AccessArgs, RetryArgs};
use crate::failure::Failure;
use crate::host::downloads::Downloads;
use crate::host::encryption::DecryptionArgs;
use crate::host::pulling::{Puller, Ways};
use crate::host::signing::SignatureArgs;
use crate::host::{self, copying};
use crate::progress::{CopyLines, Told};
use crate::ui::Ui;
use crate::world::World;

/// What is copied, and how.
#[derive(Debug, clap::Args)]
pub struct CopyFlags {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    signatures: SignatureArgs,
    #[command(flatten)]
    decryption: DecryptionArgs,
    /// The digest that content from the web must have
    #[arg(long, value_name = "DIGEST")]
    checksum: Option<String>,
    /// Set the owner: USER[:GROUP], names or numbers of the container
    #[arg(long, value_name = "OWNER")]
    pub chown: Option<String>,
    /// Set the mode, in digits or symbols
    #[arg(long, value_name = "MODE")]
    pub chmod: Option<String>,
    /// The directory that sources are looked up in, and that bounds them
    #[arg(long, value_name = "DIR")]
    pub contextdir: Option<PathBuf>,
    /// A working container or image to copy from
    #[arg(long, value_name = "CONTAINER|IMAGE")]
    pub from: Option<String>,
    /// Leave out what matches
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// A file of patterns to leave out
    #[arg(long, value_name = "FILE")]
    pub ignorefile: Option<PathBuf>,
    /// Put the content into a layer of its own on top of the container's, which does not show it
    #[arg(long)]
    pub link: bool,
    /// Set the times of the content to this one, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: Option<String>,
    /// Add an entry to the history (default: $BUILDAH_HISTORY)
    #[arg(long)]
    pub add_history: bool,
    /// Print nothing
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// The working container, the sources and the destination
    #[arg(value_name = "CONTAINER SOURCE… [DESTINATION]")]
    pub words: Vec<String>,
}

/// Copies what the flags say, and prints the digest of what was copied.
pub fn run(
    flags: &CopyFlags,
    kind: CopyKind,
    layout: Parents,
    (global, world, ui): (&GlobalArgs, &World, &Ui),
) -> Result<(), Failure> {
    let (container, sources, destination) = arguments(flags)?;
    let store = host::open_store_to_write(global, world, ui)?;
    let mut container = host::open_container(&store, container)?;
    let attempt = format!("adding content to container {:?}", container.name());
    let chmod = chmod(flags).with_context(|| attempt.clone())?;
    let checksum = checksum(flags, sources).with_context(|| attempt.clone())?;
    flags.retry.delay()?;
    let timestamp = timestamp(flags)?;
    let cwd = PathBuf::from("/").join(&container.config.config.working_dir);
    let root = container.root()?;
    let destination = meant(destination, flags, &cwd, root.root());
    let from = if sources.iter().any(|source| is_from_web(source)) {
        From::fetch(flags, sources, checksum.as_ref(), (&store, world)).context(attempt.clone())?
    } else {
        From::open(flags, &store, (global, world, ui))?
    };
    let rules = flags
        .ignorefile
        .as_deref()
        .map(|file| read_rules(world.cwd.join(file)))
        .transpose()?;
    let ignore = rules.as_ref().map(|(file, rules)| Ignore { rules, file });
    let sources = from.sources(sources, world);
    let request = CopyRequest {
        kind: match &from {
            // What comes from the web stays packed.
            From::Web { .. } => CopyKind::Copy,
            _ => kind,
        },
        tree: Some(from.tree(ignore)),
        sources: sources
            .into_iter()
            .map(|path| Source::Path(path.into()))
            .collect(),
        destination: destination.clone().into(),
        cwd,
        excludes: IgnoreRules::from_excludes(flags.exclude.iter().map(String::as_str))?,
        chown: chown(flags)?,
        chmod,
        layout,
        onto: if flags.link {
            Destination::Fresh
        } else {
            Destination::Existing
        },
        times: match timestamp {
            Some(seconds) => Times::Fixed(seconds),
            None => Times::Kept {
                now: std::time::SystemTime::now(),
            },
        },
        privilege: host::archive_privilege(),
    };
    let gathered = gather(&request, None).with_context(|| attempt.clone())?;
    let word = if kind == CopyKind::Copy {
        "COPY"
    } else {
        "ADD"
    };
    let content = gathered.history_word();
    if flags.link {
        let created = timestamp.map(Timestamp::from_unix).transpose()?;
        let history = History {
            created: Some(created.unwrap_or_else(|| world.now())),
            created_by: format!("/bin/sh -c #(nop) {word} --link {content} in {destination} "),
            ..History::default()
        };
        link(&mut container, &gathered, root.root(), history).with_context(|| attempt)?;
    } else {
        apply(&gathered, root.root()).with_context(|| attempt)?;
    }
    drop(root);
    if flags.add_history || world.flag("BUILDAH_HISTORY") {
        let created_by = format!("/bin/sh -c #(nop) {word} {content}");
        container.add_history(&created_by, world.now())?;
    }
    if !flags.quiet {
        ui.line(gathered.digest());
    }
    Ok(())
}

/// Returns the destination that is meant by the one that is written.
fn meant(written: &str, flags: &CopyFlags, cwd: &Path, root: &Root) -> String {
    if written.is_empty() {
        format!("{}/", cwd.display())
    } else if flags.link && root.open_dir(&cwd.join(written)).is_ok() {
        // The layer knows nothing of the directory that is below it.
        format!("{written}/")
    } else {
        written.to_owned()
    }
}

/// Puts the content into a layer of its own; names of owners are those that the container knows.
fn link(
    container: &mut WorkingContainer,
    gathered: &Gathered,
    accounts: &Root,
    history: History,
) -> Result<()> {
    let tree = LinkedTree::create(container)?;
    apply_with_accounts(gathered, &Root::open(tree.path())?, accounts)?;
    tree.keep(container, history)?;
    Ok(())
}

/// Reads the value of `--timestamp`, with an error in Go's words.
fn timestamp(flags: &CopyFlags) -> Result<Option<i64>> {
    let Some(text) = flags.timestamp.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = crate::args::go_int(text).map_err(anyhow::Error::msg);
    Ok(Some(seconds.with_context(|| {
        format!("parsing timestamp value {text:?}")
    })?))
}

/// The container, the sources and the destination, which may be empty.
fn arguments(flags: &CopyFlags) -> Result<(&str, &[String], &str)> {
    let Some((container, words)) = flags.words.split_first() else {
        anyhow::bail!("requires at least 1 arg(s), only received 0");
    };
    if flags.ignorefile.is_some() && flags.contextdir.is_none() {
        anyhow::bail!(
            "--ignorefile option requires that you specify a context dir using --contextdir"
        );
    }
    match words {
        [] => anyhow::bail!("src must be specified"),
        [one] => Ok((container, std::slice::from_ref(one), "")),
        [sources @ .., destination] => Ok((container, sources, destination)),
    }
}

fn is_from_web(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

fn are_all_from_web(sources: &[String]) -> bool {
    sources.iter().all(|source| is_from_web(source))
}

/// Reads the value of `--chown`.
fn chown(flags: &CopyFlags) -> Result<Option<Chown>> {
    let owner = flags.chown.as_deref().filter(|owner| !owner.is_empty());
    Ok(owner.map(str::parse::<Chown>).transpose()?)
}

/// Reads the value of `--checksum`.
fn checksum(flags: &CopyFlags, sources: &[String]) -> Result<Option<Digest>> {
    let Some(text) = flags.checksum.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if !are_all_from_web(sources) {
        anyhow::bail!("checksum flag is not supported for local sources");
    }
    Ok(Some(Digest::parse(text).context("invalid checksum flag")?))
}

/// Reads the value of `--chmod`, with an error in Go's words.
fn chmod(flags: &CopyFlags) -> Result<Option<Chmod>> {
    let Some(text) = &flags.chmod else {
        return Ok(None);
    };
    Chmod::parse(text).map(Some).map_err(|_| {
        anyhow::anyhow!(
            "parsing chmod {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        )
    })
}

fn read_rules(file: PathBuf) -> Result<(PathBuf, Arc<IgnoreRules>)> {
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let rules = IgnoreRules::parse(&bytes).with_context(|| format!("in {}", file.display()))?;
    Ok((file, Arc::new(rules)))
}

/// Where sources are read from.
enum From {
    /// A folder of the host that bounds them.
    Context { root: Root, shown: PathBuf },
    /// The whole host: a user may name any file.
    Host { root: Root },
    /// A container or an image.
    Image { mount: RootMount },
    /// Files of the web.
    Web { files: Downloaded },
}

impl From {
    fn fetch(
        flags: &CopyFlags,
        urls: &[String],
        checksum: Option<&Digest>,
        (store, world): (&Store, &World),
    ) -> Result<Self> {
        if !are_all_from_web(urls) {
            anyhow::bail!("copying local files and files of the web at once is not supported yet");
        }
        let downloads = Downloads::with_access(&flags.access, world)?;
        let files = urls.iter().map(|url| WebFile { url, checksum });
        let files = Downloaded::fetch_files(files.enumerate(), store, &downloads)?;
        Ok(Self::Web { files })
    }

    fn open(
        flags: &CopyFlags,
        store: &Store,
        outside: (&GlobalArgs, &World, &Ui),
    ) -> Result<Self, Failure> {
        let world = outside.1;
        if let Some(name) = &flags.from {
            let mount = match host::open_container(store, name) {
                Ok(container) => container.root()?,
                Err(_) => {
                    let (global, world, ui) = outside;
                    let mut ways = Ways::read(&flags.access, global, world, ui)?;
                    ways.options.retry = copying::retry(&flags.retry, ways.options.retry)?;
                    flags.signatures.apply(&mut ways.options);
                    let decryption = flags.decryption.apply(&mut ways.options, world);
                    decryption.context("unable to obtain decryption config")?;
                    let puller = Puller {
                        store,
                        ways: &ways,
                        reporter: &CopyLines::new(ui, Told::All),
                    };
                    let pulled = puller.pull_one(name).with_context(|| {
                        format!(
                            "no container named {name:?}, error copying content from image {name:?}"
                        )
                    })?;
                    let images = store.images()?;
                    let layer = images
                        .get(&pulled.id)
                        .and_then(|image| image.layer.as_ref());
                    store.read_only_root(layer)?
                }
            };
            return Ok(Self::Image { mount });
        }
        if let Some(folder) = &flags.contextdir {
            let shown = world.cwd.join(folder);
            let root =
                Root::open(&shown).with_context(|| format!("cannot open {}", shown.display()))?;
            return Ok(Self::Context { root, shown });
        }
        Ok(Self::Host {
            root: Root::open(Path::new("/")).context("cannot open /")?,
        })
    }

    /// Without a bounding folder, relative words start at the working directory.
    fn sources(&self, words: &[String], world: &World) -> Vec<String> {
        let absolute = |word: &String| {
            // Joining would drop a trailing slash and mangle a URL.
            let is_plain = !word.starts_with('/') && !word.contains("://");
            if is_plain {
                format!("{}/{word}", world.cwd.display())
            } else {
                word.clone()
            }
        };
        match self {
            Self::Host { .. } => words.iter().map(absolute).collect(),
            Self::Context { .. } | Self::Image { .. } => words.to_vec(),
            Self::Web { .. } => {
                let place = |(index, url): (usize, &String)| web_source(index, url);
                words.iter().enumerate().map(place).collect()
            }
        }
    }

    fn tree<'a>(&'a self, ignore: Option<Ignore<'a>>) -> SourceTree<'a> {
        let (root, shown, origin) = match self {
            Self::Context { root, shown } => (root, shown.as_path(), Origin::Host),
            Self::Host { root } => (root, Path::new("/"), Origin::Host),
            Self::Image { mount } => (mount.root(), Path::new("/"), Origin::Image),
            Self::Web { files } => (&files.root, Path::new("/"), Origin::Host),
        };
        SourceTree {
            root,
            shown,
            origin,
            ignore,
        }
    }
}
