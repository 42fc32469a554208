//! `--mount` of `run`: what is mounted, opened before the request that borrows it is made.

use anyhow::{Context as _, Result, bail};
use builder::run::{Access, BindMount, CacheMount, MountSource, RunMount, TmpfsMount};
use containerfile::RunMount as Words;
use store::{RootMount, Store};
use sys::Root;

use super::pulling;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// The flags of one `run`, decoded, with the trees that they read.
pub struct MountSources {
    mounts: Vec<(Words, Option<Tree>)>,
}

enum Tree {
    /// A folder of the host.
    Host(Root),
    /// An image, mounted read-only and attached nowhere.
    Image(RootMount),
}

impl MountSources {
    /// Decodes the flags and opens images and folders.
    pub fn open(
        flags: &[String],
        store: &Store,
        outside: (&GlobalArgs, &World, &Ui),
    ) -> Result<Self, Failure> {
        let world = outside.1;
        let open = |flag: &String| -> Result<_, Failure> {
            let words = Words::parse(flag).with_context(|| format!("parsing --mount {flag:?}"))?;
            let tree = match (&words, words.from()) {
                (Words::Bind(_) | Words::Cache(_), Some(image)) => {
                    Some(Tree::Image(image_root(store, image, outside)?))
                }
                (Words::Bind(_), None) => Some(Tree::Host(Root::open(&world.cwd)?)),
                _ => None,
            };
            Ok((words, tree))
        };
        Ok(Self {
            mounts: flags.iter().map(open).collect::<Result<_, Failure>>()?,
        })
    }

    /// The mounts as the library takes them.
    pub fn mounts(&self) -> Result<Vec<RunMount<'_>>> {
        self.mounts
            .iter()
            .map(|(words, tree)| convert(words, tree.as_ref()))
            .collect()
    }
}

fn image_root(
    store: &Store,
    image: &str,
    outside: (&GlobalArgs, &World, &Ui),
) -> Result<RootMount, Failure> {
    let pulled = pulling::bring(store, image, outside)?;
    let images = store.images()?;
    let layer = images
        .get(&pulled.id)
        .and_then(|image| image.layer.as_ref());
    Ok(store.read_only_root(layer)?)
}

fn convert<'a>(words: &Words, tree: Option<&'a Tree>) -> Result<RunMount<'a>> {
    let source = tree.map(|tree| match tree {
        Tree::Host(root) => MountSource::Host(root),
        Tree::Image(mount) => MountSource::Detached(mount.root()),
    });
    Ok(match words {
        Words::Bind(bind) => RunMount::Bind(BindMount {
            source: source.context("a bind mount has a source")?,
            path: bind.source.clone().unwrap_or_default().into(),
            target: bind.target.clone().into(),
            access: match (bind.access, tree) {
                (containerfile::Access::ReadOnly, _) => Access::ReadOnly,
                (containerfile::Access::ReadWrite, Some(Tree::Image(_))) => Access::ThrowAway,
                (containerfile::Access::ReadWrite, _) => Access::ReadWrite,
            },
        }),
        Words::Cache(cache) => RunMount::Cache(CacheMount {
            id: cache.id.clone(),
            target: cache.target.clone().into(),
            sharing: cache.sharing.into(),
            mode: cache.mode,
            uid: cache.uid,
            gid: cache.gid,
            access: written(cache.access),
            from: source.map(|source| (source, cache.source.clone().unwrap_or_default().into())),
        }),
        Words::Tmpfs(tmpfs) => RunMount::Tmpfs(TmpfsMount {
            target: tmpfs.target.clone().into(),
            size: tmpfs.size,
            mode: tmpfs.mode,
            access: written(tmpfs.access),
        }),
        Words::Secret(_) => bail!("--mount type=secret is not supported yet in `run`"),
        Words::Ssh(_) => bail!("--mount type=ssh is not supported yet"),
    })
}

fn written(access: containerfile::Access) -> Access {
    match access {
        containerfile::Access::ReadOnly => Access::ReadOnly,
        containerfile::Access::ReadWrite => Access::ReadWrite,
    }
}
