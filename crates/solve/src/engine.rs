//! What the nodes of one build share: the store, the index, open trees.
//!
//! Everything here may be used by several nodes at once. What one node builds is in `work`.

use crate::bound::{BoundCopy, Input};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::download::Downloaded;
use crate::error::StepError;
use crate::graph::{Graph, Node, UsedAs};
use crate::key::{KeyContext, StepKey, input_key};
use crate::offers::Offers;
use crate::remote::Sources;
use crate::request::{BuildRequest, Layering, LookUp, StageImages};
use crate::result::NodeResult;
use crate::scheduler::Needs;
use crate::target::{Fetch, Target};
use builder::copy::{Memo, Origin};
use model::{ImageId, LayerId, Reporter, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use store::{RootMount, Store};
use sys::Root;

/// How long processes have to end when the build is cancelled.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// POSIX number of the signal that asks a process to end.
pub(crate) const SIGTERM: i32 = 15;

/// The shared part of a build.
pub(crate) struct Engine<'a> {
    pub(crate) store: &'a Store,
    pub(crate) request: &'a BuildRequest<'a>,
    pub(crate) graph: &'a Graph,
    pub(crate) reporter: &'a dyn Reporter,
    /// Brings images that are not in the store.
    pub(crate) fetch: &'a Fetch<'a>,
    pub(crate) cache: Cache,
    pub(crate) state_dir: PathBuf,
    /// Ends this build: turned by its first failure, and from outside.
    pub(crate) cancel: Cancel,
    /// Ends the processes of this build.
    pub(crate) stop: runtime::Stop,
    /// Keys recorded by this very build: they count even when nothing older does.
    fresh: Mutex<BTreeSet<StepKey>>,
    /// What stages have become, by their number in the graph.
    stage_images: Mutex<BTreeMap<usize, ImageId>>,
    /// Images that only exist for the time of the build.
    pub(crate) temporary: Mutex<Vec<ImageId>>,
    /// Where other machines' results are looked for.
    pub(crate) sources: Sources<'a>,
    /// What other machines are to have.
    pub(crate) offers: Offers,
    contexts: Vec<OnceLock<Context>>,
    roots: Mutex<BTreeMap<Option<LayerId>, Arc<RootMount>>>,
}

/// An open directory of the host.
pub(crate) struct Context {
    pub(crate) root: Root,
    pub(crate) memo: Memo,
}

/// An input, open for reading.
#[derive(Clone)]
pub(crate) enum Tree<'a> {
    /// A directory of the host.
    Context {
        context: &'a Context,
        directory: &'a crate::target::Directory,
    },
    /// A layer with all below it.
    Layer { mount: Arc<RootMount> },
    /// A stage that has no layer.
    Live(Arc<Root>),
    /// Files of the web.
    Downloaded(Arc<Downloaded>),
}

impl Tree<'_> {
    pub(crate) fn root(&self) -> &Root {
        match self {
            Self::Context { context, .. } => &context.root,
            Self::Layer { mount, .. } => mount.root(),
            Self::Live(root) => root,
            Self::Downloaded(files) => &files.root,
        }
    }

    /// How messages name it.
    pub(crate) fn shown(&self) -> &Path {
        match self {
            Self::Context { directory, .. } => &directory.path,
            Self::Layer { .. } | Self::Live(_) | Self::Downloaded(_) => Path::new("/"),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Context { .. } | Self::Downloaded(_) => Origin::Context,
            Self::Layer { .. } | Self::Live(_) => Origin::Image,
        }
    }
}

impl<'a> Engine<'a> {
    pub(crate) fn new(
        store: &'a Store,
        request: &'a BuildRequest<'a>,
        graph: &'a Graph,
        reporter: &'a dyn Reporter,
        fetch: &'a Fetch<'a>,
    ) -> Result<Self, StepError> {
        let state_dir = store.state_dir()?;
        Ok(Self {
            store,
            request,
            graph,
            reporter,
            fetch,
            cache: Cache::new(&state_dir),
            state_dir,
            cancel: Cancel::new(),
            stop: runtime::Stop::new().map_err(StepError::Stop)?,
            fresh: Mutex::default(),
            stage_images: Mutex::default(),
            temporary: Mutex::default(),
            sources: Sources::new(&request.caches.from, reporter),
            offers: Offers::default(),
            contexts: graph.directories.iter().map(|_| OnceLock::new()).collect(),
            roots: Mutex::default(),
        })
    }

    /// Returns the target that brought a node.
    pub(crate) fn target_of(&self, node: &Node) -> &Target {
        &self.request.targets[node.origin.target_index]
    }

    /// Returns the present time, as it may enter an image.
    pub(crate) fn now(&self) -> Timestamp {
        self.request.times.created.unwrap_or_else(|| {
            Timestamp::from_system_time((self.request.clock)()).unwrap_or(Timestamp::UNIX_EPOCH)
        })
    }

    pub(crate) fn system_now(&self) -> SystemTime {
        (self.request.clock)()
    }

    /// Returns what this process may do to files.
    pub(crate) fn privilege(&self) -> archive::Privilege {
        match self.store.flavour() {
            sys::overlay::XattrFlavour::Trusted => archive::Privilege::Full,
            sys::overlay::XattrFlavour::User => archive::Privilege::Rootless,
        }
    }

    pub(crate) fn per_step(&self) -> bool {
        matches!(self.request.layers, Layering::PerStep { .. })
    }

    /// Says whether every stage becomes an image that stays.
    pub(crate) fn saves_stages(&self) -> bool {
        self.request.stages != StageImages::AsNeeded
    }

    /// Says whether a stage is only a root that others read from while the build runs.
    pub(crate) fn is_root_only(&self, node: &Node) -> bool {
        !self.per_step() && !self.saves_stages() && node.used_as == UsedAs::Files
    }

    pub(crate) fn look_up(&self) -> Option<LookUp> {
        match self.request.layers {
            Layering::AtEnd => None,
            Layering::PerStep { look_up } => Some(look_up),
        }
    }

    /// Says whether a key was recorded by this build.
    pub(crate) fn is_fresh(&self, key: &StepKey) -> bool {
        self.fresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }

    pub(crate) fn mark_fresh(&self, key: StepKey) {
        self.fresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
    }

    /// Notes what a stage has become.
    pub(crate) fn add_stage_image(&self, node: usize, image: ImageId) {
        let mut images = self
            .stage_images
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        images.insert(node, image);
    }

    /// Returns what a stage has become.
    pub(crate) fn stage_image(&self, node: usize) -> Option<ImageId> {
        let images = self
            .stage_images
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        images.get(&node).cloned()
    }

    /// Notes an image that goes when the build is over.
    pub(crate) fn add_temporary(&self, image: ImageId) {
        let mut temporary = self
            .temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        temporary.push(image);
    }

    pub(crate) fn key_context(&self, platform: String) -> KeyContext {
        KeyContext {
            platform,
            times: format!("{:?}", self.request.times.files),
            run_settings: self.request.run.counted(),
        }
    }

    /// Returns the key under which the content of a copy out of a layer is remembered, if it is.
    pub(crate) fn content_key(&self, copy: &BoundCopy, layer: Option<&LayerId>) -> Option<StepKey> {
        let layer = layer.map_or("scratch", LayerId::as_str);
        self.per_step()
            .then(|| input_key(copy, layer, &self.key_context(String::new())))
    }

    /// Opens the directory with this number.
    pub(crate) fn context(&self, index: usize) -> Result<&Context, StepError> {
        if let Some(context) = self.contexts[index].get() {
            return Ok(context);
        }
        let path = &self.graph.directories[index].path;
        let root = Root::open(path).map_err(|source| StepError::Context {
            path: path.clone(),
            source,
        })?;
        let memo = Memo::for_context(&self.state_dir, path);
        Ok(self.contexts[index].get_or_init(|| Context { root, memo }))
    }

    /// Keeps what was learnt about the files of contexts. Losing it costs time only.
    pub(crate) fn save_memos(&self) {
        for context in self.contexts.iter().filter_map(OnceLock::get) {
            if let Err(error) = context.memo.save() {
                self.reporter.event(model::Event::Detail {
                    text: format!("digests of files are not kept: {error}"),
                });
            }
        }
    }

    /// Bounds the index. Failing to costs space only.
    pub(crate) fn tidy_cache(&self) {
        let tidied = || -> Result<usize, StepError> {
            let now = self.system_now();
            if !self.cache.is_due(now)? {
                return Ok(0);
            }
            let (layers, images) = (self.store.layers()?, self.store.images()?);
            let layer = |id: &LayerId| layers.get(id).is_some();
            let image = |id: &ImageId| images.get(id).is_some();
            Ok(self.cache.tidy(now, &layer, &image)?)
        };
        if let Err(error) = tidied() {
            self.reporter.event(model::Event::Detail {
                text: format!("the build cache is not tidied: {error}"),
            });
        }
    }

    /// Returns the layer that an input is, when it is one: outer none for directories and
    /// stages without layers.
    pub(crate) fn layer_of(
        &self,
        input: Input,
        needs: &Needs<NodeResult>,
    ) -> Option<Option<LayerId>> {
        match input {
            Input::Directory(_) => None,
            Input::Image(index) => Some(self.graph.images[index].image.top_layer.clone()),
            Input::Stage(node) => {
                let result = needs.get(&node)?;
                result.live.is_none().then(|| result.layer.clone())
            }
        }
    }

    /// Opens an input for reading.
    pub(crate) fn tree(
        &self,
        input: Input,
        needs: &Needs<NodeResult>,
    ) -> Result<Tree<'_>, StepError> {
        if let Input::Directory(index) = input {
            return Ok(Tree::Context {
                context: self.context(index)?,
                directory: &self.graph.directories[index],
            });
        }
        if let Input::Stage(node) = input
            && let Some(live) = needs.get(&node).and_then(|result| result.live.as_ref())
        {
            return Ok(Tree::Live(Arc::clone(&live.root)));
        }
        let layer = self.layer_of(input, needs).flatten();
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mount) = roots.get(&layer) {
            return Ok(Tree::Layer {
                mount: Arc::clone(mount),
            });
        }
        let mount = Arc::new(self.store.read_only_root(layer.as_ref())?);
        roots.insert(layer, Arc::clone(&mount));
        Ok(Tree::Layer { mount })
    }
}
