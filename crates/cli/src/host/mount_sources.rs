//! `--mount` of `run`: what is mounted, opened before the request that borrows it is made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use builder::run::{Access, MountSource, RunMount};
use containerfile::RunMount as Words;
use solve::mounts::{self, Given, Mounts};
use store::{RootMount, Stack, Store};
use sys::Root;

use super::pulling;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// The flags of one `run`, decoded, with the trees that they read.
pub struct MountSources {
    mounts: Vec<(Words, Option<Tree>)>,
    /// Nothing: `run` has no flags for secrets and agents, as in Buildah.
    given: Given,
}

enum Tree {
    /// A folder of the host.
    Host(Root),
    /// An image.
    Image(RootMount),
    /// An image with an upper layer that is dropped.
    Scratch(Box<Stack>),
}

impl Tree {
    /// Opens what a mount without `from` takes: of the folder that bounds sources, if there is one,
    /// else of the whole host, where what is not absolute starts at the working directory.
    fn of_host(
        words: &Words,
        context: Option<&Path>,
        world: &World,
    ) -> Result<Option<Self>, Failure> {
        let Words::Bind(bind) = words else {
            return Ok(None);
        };
        let is_absolute = bind
            .source
            .as_deref()
            .is_some_and(|path| path.starts_with('/'));
        let root = match context {
            Some(folder) => world.cwd.join(folder),
            None if is_absolute => PathBuf::from("/"),
            None => world.cwd.clone(),
        };
        let root = Root::open(&root).with_context(|| format!("cannot open {}", root.display()))?;
        Ok(Some(Self::Host(root)))
    }

    fn of_image(
        words: &Words,
        image: &str,
        store: &Store,
        outside: (&GlobalArgs, &World, &Ui),
    ) -> Result<Self, Failure> {
        let pulled = pulling::bring(store, image, outside)?;
        let images = store.images()?;
        let layer = images
            .get(&pulled.id)
            .and_then(|image| image.layer.as_ref());
        Ok(if mounts::is_writable_bind(words) {
            Self::Scratch(Box::new(store.stack(layer)?))
        } else {
            Self::Image(store.read_only_root(layer)?)
        })
    }

    /// Returns the tree, and what writing into it means.
    fn source(&mut self) -> Result<(MountSource<'_>, Access)> {
        Ok(match self {
            Self::Host(root) => (MountSource::Host(root), Access::ReadWrite),
            Self::Image(root) => (mounts::root_source(root), Access::ThrowAway),
            Self::Scratch(stack) => (mounts::root_source(stack.root()?), Access::ThrowAway),
        })
    }
}

impl MountSources {
    /// Decodes the flags and opens images and folders; `context` bounds sources on the host.
    pub fn open(
        flags: &[String],
        context: Option<&Path>,
        store: &Store,
        outside: (&GlobalArgs, &World, &Ui),
    ) -> Result<Self, Failure> {
        let given = Given::default();
        let open = |flag: &String| -> Result<_, Failure> {
            let words = Words::parse(flag).with_context(|| format!("parsing --mount {flag:?}"))?;
            if let Some(what) = mounts::unsupported(&words) {
                return Err(anyhow::anyhow!("--mount={what} is not supported yet").into());
            }
            given.check(&words)?;
            let tree = match words.from() {
                Some(image) => Some(Tree::of_image(&words, image, store, outside)?),
                None => Tree::of_host(&words, context, outside.1)?,
            };
            Ok((words, tree))
        };
        let mounts = flags.iter().map(open).collect::<Result<_, Failure>>()?;
        Ok(Self { mounts, given })
    }

    /// The places of the mounts that have one.
    pub fn targets(&self) -> impl Iterator<Item = &Path> {
        let targets = self.mounts.iter().filter_map(|(words, _)| words.target());
        targets.map(Path::new)
    }

    /// The mounts as the library takes them.
    pub fn mounts(&mut self) -> Result<Vec<RunMount<'_>>> {
        let mut making = Mounts::new(&self.given);
        let mut made = Vec::new();
        for (words, tree) in &mut self.mounts {
            let (source, writes) = match tree {
                Some(tree) => {
                    let (source, writes) = tree.source()?;
                    (Some(source), writes)
                }
                None => (None, Access::ReadOnly),
            };
            made.extend(making.make(words, source, writes));
        }
        Ok(made)
    }
}
