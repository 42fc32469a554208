//! One node on the real machine: [`Work`] on a store's stack.
//!
//! ```text
//! hits:    current = recorded layer          (no stack, nothing mounted)
//! misses:  stack on current ── perform ── freeze ──▶ hashing thread
//!                    ▲                      │
//!                    └──── next step ◀──────┘        end: join, publish, index
//! ```
//! The next step starts on the frozen tree while the thread still hashes it. Dropping a worker
//! drops its stack, and with it everything that was not published.

use crate::bound::{BoundCopy, BoundDirs, BoundMount, BoundOp, BoundRun, Input};
use crate::cache::{InputEntry, StepEntry, Trace};
use crate::engine::Engine;
use crate::error::StepError;
use crate::hashing::Hashing;
use crate::inputs::{Files, is_download, source_names};
use crate::key::{Keyed, StepKey};
use crate::lower::RunHere;
use crate::offers::{Offer, StepOffer};
use crate::reason::{Asked, reason};
use crate::remote::{Listed, Listing};
use crate::request::LookUp;
use crate::result::{Live, NodeResult};
use crate::scheduler::{Claim, Claims, Needs, Waited};
use crate::stage::{Change, Content, Found, HasLayer, Shared, Stands, Work};
use builder::copy::Gathered;
use builder::passwd::Accounts;
use model::event::StepPosition;
use model::{DiffId, LayerId, MissReason, Platform, Timestamp};
use runtime::UserNamespace;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use store::{Layers, Stack, StoreError};

/// Performs the steps of one node.
pub(crate) struct StageWork<'e> {
    pub(crate) engine: &'e Engine<'e>,
    needs: &'e Needs<NodeResult>,
    claims: &'e Claims,
    /// The layer that the first step stands on.
    base: Option<LayerId>,
    /// The published layer below all that was performed.
    current: Option<LayerId>,
    stack: Option<Stack>,
    hashing: Option<Hashing>,
    /// Trees that were frozen: which of the stack's layers a step is.
    frozen: usize,
    performed: bool,
    /// Directories were made that no frozen tree holds.
    made: bool,
    gathered: Option<Files>,
    /// What was read before the first step.
    kept: VecDeque<Kept>,
    /// Whether other machines were asked.
    asked: Asked,
    /// The steps that have keys, in order.
    records: Vec<Record>,
    /// What the stage is built for.
    platform: Platform,
    trace_key: StepKey,
    last: Option<Option<Trace>>,
    trace: Trace,
    /// Key of the step that is looked up now.
    key: String,
    /// Where the step that runs now is, for its output.
    at: &'e RefCell<StepPosition>,
    ends: LayerEnd,
    /// Images that steps read from and that nobody may have asked for yet.
    unasked: Vec<usize>,
}

/// What a step reads, when it was read before its turn.
pub(crate) struct Kept {
    content: Content,
    files: Option<Files>,
}

/// When what a stage wrote becomes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerEnd {
    /// After every step.
    EachStep,
    /// After so many more steps that run or copy something.
    After(usize),
    /// Never: the tree is kept as it is.
    Never,
}

impl LayerEnd {
    /// Counts a step, and returns whether a layer ends with it.
    fn count(&mut self) -> bool {
        match self {
            Self::EachStep => true,
            Self::After(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Self::Never => false,
        }
    }
}

/// What a step came to.
struct Record {
    key: StepKey,
    came_to: CameTo,
    created: Timestamp,
    shared: Shared,
}

/// The layer of a step.
enum CameTo {
    /// One that was found.
    Found(Option<(LayerId, DiffId)>),
    /// A frozen tree that has no name yet.
    Made(Option<usize>),
}

impl<'e> StageWork<'e> {
    pub(crate) fn new(
        engine: &'e Engine<'e>,
        needs: &'e Needs<NodeResult>,
        claims: &'e Claims,
        base: Option<LayerId>,
        trace_key: StepKey,
        at: &'e RefCell<StepPosition>,
    ) -> Self {
        Self {
            engine,
            needs,
            claims,
            base: base.clone(),
            current: base,
            stack: None,
            hashing: None,
            frozen: 0,
            performed: false,
            made: false,
            gathered: None,
            kept: VecDeque::new(),
            asked: Asked::Nobody,
            records: Vec::new(),
            platform: Platform::default(),
            trace_key,
            last: None,
            trace: Trace::default(),
            key: String::new(),
            at,
            ends: LayerEnd::EachStep,
            unasked: Vec::new(),
        }
    }

    /// Says when layers end, if not after every step.
    pub(crate) fn ending(mut self, ends: LayerEnd) -> Self {
        self.ends = ends;
        self
    }

    /// Says what the stage is built for.
    pub(crate) fn on_platform(mut self, platform: &Platform) -> Self {
        self.platform = platform.clone();
        self
    }

    /// Says whether any step had to be performed.
    pub(crate) fn has_performed(&self) -> bool {
        self.performed
    }

    /// Says which images have to come if any step is performed.
    pub(crate) fn reading(mut self, images: Vec<usize>) -> Self {
        self.unasked = images;
        self
    }

    /// Waits for the image that an input is, if it is not in the store yet.
    fn wait_for(&self, input: Input) -> Result<(), StepError> {
        let node = self.engine.coming(input);
        match node.map(|node| self.claims.wait_for(node)) {
            None | Some(Waited::Done) => Ok(()),
            Some(Waited::Cancelled) => Err(StepError::Cancelled),
        }
    }

    /// Joins the digests, publishes the layers and writes the index. Returns the top layer.
    pub(crate) fn publish(mut self) -> Result<Option<LayerId>, StepError> {
        let layers = self.publish_layers()?;
        self.record_all(&layers)?;
        if self.engine.per_step() {
            let last = self.last.take().flatten();
            if last.as_ref() != Some(&self.trace) {
                self.engine.cache.put(&self.trace_key, &self.trace)?;
            }
        }
        Ok(layers.last().map(|(id, _)| id.clone()).or(self.current))
    }

    /// Enters what was made into the index, and offers to other machines what they are to have.
    fn record_all(&self, made: &[(LayerId, DiffId)]) -> Result<(), StepError> {
        let mut listing = Listing {
            base: self.base.clone(),
            steps: Vec::new(),
        };
        let mut top = self.base.as_ref();
        let mut offered = Vec::new();
        for record in &self.records {
            let layer = match &record.came_to {
                CameTo::Found(layer) => layer.as_ref(),
                CameTo::Made(at) => {
                    let layer = at.and_then(|at| made.get(at));
                    let entry = StepEntry {
                        layer: layer.map(|(id, _)| id.clone()),
                        diff_id: layer.map(|(_, diff)| diff.clone()),
                        created: record.created,
                    };
                    self.engine.cache.put(&record.key, &entry)?;
                    self.engine.mark_fresh(record.key);
                    layer
                }
            };
            top = layer.map(|(id, _)| id).or(top);
            listing.steps.push(Listed {
                key: record.key.to_string(),
                diff_id: layer.map(|(_, diff)| diff.clone()),
                created: record.created,
            });
            if let (Shared::Pushed(key), Some(top)) = (&record.shared, top) {
                offered.push((*key, top.clone(), listing.steps.len()));
            }
        }
        let listing = Arc::new(listing);
        let offer = |(key, layer, steps)| {
            Offer::Step(Box::new(StepOffer {
                key,
                layer,
                platform: self.platform.clone(),
                listing: Arc::clone(&listing),
                steps,
            }))
        };
        self.engine
            .offers
            .send(offered.into_iter().map(offer).collect());
        Ok(())
    }

    fn publish_layers(&mut self) -> Result<Vec<(LayerId, DiffId)>, StepError> {
        let Some(stack) = self.stack.take() else {
            return Ok(Vec::new());
        };
        if self.frozen == 0 {
            return Ok(Vec::new());
        }
        let digests = match self.hashing.take() {
            Some(hashing) => hashing.finish()?,
            None => Vec::new(),
        };
        let diffs: Vec<DiffId> = digests.iter().map(|d| d.diff_id().clone()).collect();
        let ids = self.engine.store.publish_stack(stack, digests)?;
        Ok(ids.into_iter().zip(diffs).collect())
    }

    /// Makes one layer of everything since the base, for stages without a layer for each step.
    pub(crate) fn freeze_whole(&mut self) -> Result<(), StepError> {
        self.freeze()
    }

    /// Keeps the root as it is, without a layer.
    pub(crate) fn keep_live(mut self) -> Result<Live, StepError> {
        let mut stack = match self.stack.take() {
            Some(stack) => stack,
            None => self.engine.store.stack(self.current.as_ref())?,
        };
        let root = stack.root()?.root().try_clone();
        let root = root.map_err(StepError::Root)?;
        Ok(Live {
            root: Arc::new(root),
            _stack: std::sync::Mutex::new(stack),
        })
    }

    fn stack(&mut self) -> Result<&mut Stack, StepError> {
        if self.stack.is_none() {
            self.stack = Some(self.engine.store.stack(self.current.as_ref())?);
        }
        self.stack.as_mut().ok_or(StepError::Cancelled)
    }

    fn freeze(&mut self) -> Result<(), StepError> {
        let tree = self.stack()?.freeze()?;
        let times = self.engine.request.times.files;
        let hashing = self.hashing.get_or_insert_with(|| Hashing::start(times));
        hashing.push(tree);
        self.frozen += 1;
        self.made = false;
        Ok(())
    }

    /// Ends a step: its layer begins to be hashed, if steps have layers.
    fn finish_step(&mut self) -> Result<Change, StepError> {
        self.performed = true;
        let layer = if self.engine.per_step() {
            self.freeze()?;
            HasLayer::Yes
        } else {
            HasLayer::No
        };
        Ok(Change {
            created: self.engine.now(),
            layer,
        })
    }

    fn last_trace(&mut self) -> Option<&Trace> {
        let (cache, key) = (&self.engine.cache, &self.trace_key);
        self.last.get_or_insert_with(|| cache.get(key)).as_ref()
    }

    /// Takes an entry of the index on, when its layer is there and stands where we are.
    fn adopt(&mut self, entry: &StepEntry, stands: Stands) -> Result<Adopted, StepError> {
        let layers = self.engine.store.layers()?;
        let wanted = match find(&layers, self.current.as_ref(), entry, stands) {
            Ok(Some(wanted)) => wanted,
            Ok(None) => return Ok(Adopted::Yes),
            Err(not) => return Ok(not),
        };
        if let Some(stack) = &mut self.stack {
            match stack.adopt(&wanted) {
                Err(StoreError::LayerUnknown { .. }) => return Ok(Adopted::Gone),
                other => other?,
            }
        }
        self.current = Some(wanted);
        Ok(Adopted::Yes)
    }

    /// Returns how many of these steps, from the first on, the index knows and the store has.
    pub(crate) fn count_known(&self, wanted: &[(StepKey, Stands)]) -> Result<usize, StepError> {
        let layers = self.engine.store.layers()?;
        let Some(look_up) = self.engine.look_up() else {
            return Ok(0);
        };
        let mut current = self.current.clone();
        let is_known = |(key, stands): &&(StepKey, Stands)| {
            let entry = self.engine.cache.get::<StepEntry>(key);
            let Some(entry) = entry.filter(|entry| !self.is_expired(entry, look_up)) else {
                return false;
            };
            match find(&layers, current.as_ref(), &entry, *stands) {
                Ok(layer) => {
                    current = layer.or(current.take());
                    true
                }
                Err(_) => false,
            }
        };
        Ok(wanted.iter().take_while(is_known).count())
    }

    /// Takes what the step that was looked at last has read.
    pub(crate) fn kept(&mut self, content: Content) -> Kept {
        Kept {
            content,
            files: self.gathered.take(),
        }
    }

    /// Gives back what steps have read, in their order.
    pub(crate) fn keep_contents(&mut self, kept: VecDeque<Kept>) {
        self.kept = kept;
    }

    /// Notes that other machines were asked.
    pub(crate) fn asked_elsewhere(&mut self) {
        self.asked = Asked::Elsewhere;
    }

    fn is_expired(&self, entry: &StepEntry, look_up: LookUp) -> bool {
        let LookUp::Use { max_age: Some(age) } = look_up else {
            return false;
        };
        let oldest = Timestamp::from_system_time(self.engine.system_now() - age);
        oldest.is_ok_and(|oldest| entry.created.unix_seconds() <= oldest.unix_seconds())
    }

    /// Puts gathered files into the stage's tree.
    fn copy(&mut self, gathered: &Gathered) -> Result<(), StepError> {
        let root = self.stack()?.root()?.root();
        builder::copy::apply(gathered, root)?;
        Ok(())
    }

    /// Puts gathered files into the stage's tree, and has the layer that ends with them hashed
    /// meanwhile.
    fn copy_and_hash(&mut self, gathered: &Gathered) -> Result<(), StepError> {
        let times = self.engine.request.times.files;
        let stack = self.stack()?;
        let root = stack.root()?.root().try_clone().map_err(StepError::Root)?;
        let mut outcome = Ok(false);
        builder::copy::apply_digesting(gathered, &root, &mut |supply| {
            outcome = stack.digest_arriving(times, supply);
        })?;
        outcome?;
        Ok(())
    }

    fn gather(&self, copy: &BoundCopy) -> Result<Files, StepError> {
        if !is_download(copy) {
            self.wait_for(copy.from)?;
        }
        self.engine.gather(copy, self.needs)
    }
}

/// Returns the layer that an entry of the index means above `current`, if it is about one.
fn find(
    layers: &Layers,
    current: Option<&LayerId>,
    entry: &StepEntry,
    stands: Stands,
) -> Result<Option<LayerId>, Adopted> {
    let Some(layer) = &entry.layer else {
        return Ok(None);
    };
    let wanted = match (stands, &entry.diff_id) {
        (Stands::Alone, Some(diff)) => LayerId::chain(current, diff),
        _ => layer.clone(),
    };
    let Some(record) = layers.get(&wanted) else {
        return Err(match stands {
            Stands::OnParent => Adopted::Gone,
            Stands::Alone => Adopted::Elsewhere,
        });
    };
    if record.parent.as_ref() != current {
        return Err(Adopted::Elsewhere);
    }
    Ok(Some(wanted))
}

/// What became of an entry of the index.
#[derive(PartialEq, Eq)]
enum Adopted {
    /// The stage stands on its layer now.
    Yes,
    /// The layer is not in the store any more.
    Gone,
    /// The layer stands on another one.
    Elsewhere,
}

impl Work for StageWork<'_> {
    fn run_content(&mut self, run: &BoundRun) -> Result<Content, StepError> {
        if !self.engine.per_step() {
            return Ok(Content::default());
        }
        if let Some(kept) = self.kept.pop_front() {
            return Ok(kept.content);
        }
        let digest = |mount: &BoundMount| {
            Ok((
                mount.text.clone(),
                self.engine.mount_content(mount, self.needs)?,
            ))
        };
        Ok(Content {
            digests: run
                .mounts
                .iter()
                .map(digest)
                .collect::<Result<_, StepError>>()?,
            word: String::new(),
        })
    }

    fn copy_content(&mut self, copy: &BoundCopy) -> Result<Content, StepError> {
        self.gathered = None;
        if let Some(kept) = self.kept.pop_front() {
            self.gathered = kept.files;
            return Ok(kept.content);
        }
        let name = source_names(copy);
        let layer = self.engine.layer_of(copy.from, self.needs);
        let memo_key = layer.and_then(|layer| self.engine.content_key(copy, layer.as_ref()));
        if let Some(known) = memo_key.and_then(|key| self.engine.cache.get::<InputEntry>(&key)) {
            return Ok(Content {
                digests: vec![(name, known.digest)],
                word: known.history,
            });
        }
        let files = self.gather(copy)?;
        let word = files.gathered.history_word();
        let entry = InputEntry {
            digest: files.gathered.digest().to_string(),
            // Buildah has the kind of what is local only.
            history: match (&files.downloaded, word.split_once(':')) {
                (Some(_), Some((_, digest))) => digest.to_owned(),
                _ => word,
            },
        };
        self.gathered = Some(files);
        if let Some(key) = memo_key {
            self.engine.cache.put(&key, &entry)?;
        }
        Ok(Content {
            digests: vec![(name, entry.digest)],
            word: entry.history,
        })
    }

    fn look_up(&mut self, keyed: &Keyed, stands: Stands) -> Result<Found, StepError> {
        self.key = keyed.key.to_string();
        let Some(look_up) = self.engine.look_up() else {
            return Ok(Found::Miss(None));
        };
        let index = self.trace.steps.len();
        self.trace.steps.push(keyed.parts.clone());
        if self.performed {
            // What was just made has no name yet, so no recorded layer can stand on it.
            let why = reason(self.last_trace(), Asked::Nobody, index, &keyed.parts);
            let why = match (look_up, why) {
                (LookUp::Refresh, _) => MissReason::Forced,
                (LookUp::Use { .. }, MissReason::NeverBuilt) => MissReason::ParentChanged,
                (LookUp::Use { .. }, why) => why,
            };
            return Ok(Found::Miss(Some(why)));
        }
        loop {
            let allowed = look_up != LookUp::Refresh || self.engine.is_fresh(&keyed.key);
            let entry = self.engine.cache.get::<StepEntry>(&keyed.key);
            let why = match entry.filter(|_| allowed) {
                Some(entry) if self.is_expired(&entry, look_up) => MissReason::Expired,
                Some(entry) => match self.adopt(&entry, stands)? {
                    Adopted::Yes => {
                        let layer = self.current.clone().zip(entry.diff_id);
                        self.records.push(Record {
                            key: keyed.key,
                            came_to: CameTo::Found(layer.filter(|_| entry.layer.is_some())),
                            created: entry.created,
                            shared: Shared::No,
                        });
                        return Ok(Found::Hit(Change {
                            created: entry.created,
                            layer: match entry.layer {
                                Some(_) => HasLayer::Yes,
                                None => HasLayer::No,
                            },
                        }));
                    }
                    Adopted::Gone => MissReason::LayerGone,
                    Adopted::Elsewhere => MissReason::ParentChanged,
                },
                None if look_up == LookUp::Refresh => MissReason::Forced,
                None => {
                    let asked = self.asked;
                    reason(self.last_trace(), asked, index, &keyed.parts)
                }
            };
            if stands == Stands::Alone {
                return Ok(Found::Miss(Some(why)));
            }
            match self.claims.claim(keyed.key) {
                Claim::Yours => return Ok(Found::Miss(Some(why))),
                Claim::LookAgain => {}
                Claim::Cancelled => return Err(StepError::Cancelled),
            }
        }
    }

    fn make_dirs(&mut self, dirs: &BoundDirs) -> Result<(), StepError> {
        let root = self.stack()?.root()?.root();
        let mut any = false;
        for path in &dirs.paths {
            any |= make_dir(root, Path::new(path), &dirs.owner)?;
        }
        self.made |= any;
        Ok(())
    }

    fn perform(&mut self, op: &BoundOp) -> Result<Change, StepError> {
        if self.engine.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        for image in std::mem::take(&mut self.unasked) {
            // Every later step is performed, too: what it reads may come meanwhile.
            self.claims.begin(image);
        }
        let ends_layer = self.ends.count();
        match op {
            BoundOp::Config => {}
            BoundOp::Dirs(dirs) => self.make_dirs(dirs)?,
            BoundOp::Copy(copy) => {
                let files = match self.gathered.take() {
                    Some(files) => files,
                    None => self.gather(copy)?,
                };
                if ends_layer {
                    self.copy_and_hash(&files.gathered)?;
                } else {
                    self.copy(&files.gathered)?;
                }
            }
            BoundOp::Run(run) => {
                for input in run.mounts.iter().filter_map(|mount| mount.from) {
                    self.wait_for(input)?;
                }
                let (engine, needs, at) = (self.engine, self.needs, self.at.borrow().clone());
                let key = self.key.clone();
                let users = engine.request.run.users.clone();
                let users = users.map(UserNamespace::new).transpose();
                let users = users.map_err(StepError::UserNamespace)?;
                let shifted;
                let root = match &users {
                    None => self.stack()?.root()?,
                    Some(users) => {
                        let root = users.maps.outside((0, 0));
                        let handle = users.handle.as_fd();
                        shifted = self.stack()?.shifted_root(handle, root)?;
                        &shifted
                    }
                };
                let here = RunHere {
                    engine,
                    needs,
                    at: &at,
                    key: &key,
                };
                here.run(run, root, users)?;
            }
        }
        self.finish_step()
    }

    fn end_dirs(&mut self) -> Result<Change, StepError> {
        if self.made {
            return self.finish_step();
        }
        Ok(Change {
            created: self.engine.now(),
            layer: HasLayer::No,
        })
    }

    fn record(&mut self, keyed: &Keyed, change: &Change) -> Result<(), StepError> {
        if self.engine.per_step() {
            let frozen = (change.layer == HasLayer::Yes).then(|| self.frozen - 1);
            self.records.push(Record {
                key: keyed.key,
                came_to: CameTo::Made(frozen),
                created: change.created,
                shared: Shared::No,
            });
        }
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        self.engine.now()
    }

    fn was_there(&mut self, shown: StepKey) -> bool {
        let Some(look_up) = self.engine.look_up() else {
            return false;
        };
        let mut first = [0; 8];
        first.copy_from_slice(&shown.as_bytes()[..8]);
        let shown = u64::from_le_bytes(first);
        self.trace.shown.push(shown);
        look_up != LookUp::Refresh
            && !self.performed
            && self
                .last_trace()
                .is_some_and(|last| last.shown.contains(&shown))
    }

    fn shared(&mut self, keyed: &Keyed) -> Shared {
        let Some(record) = self.records.last_mut() else {
            return Shared::No;
        };
        let found = matches!(record.came_to, CameTo::Found(_));
        let place = self.engine.sources.place_of(&keyed.key);
        record.shared = match place.filter(|_| found) {
            Some(place) => Shared::Pulled(place),
            None if self.engine.request.caches.to.is_empty() => Shared::No,
            None => Shared::Pushed(keyed.key),
        };
        record.shared.clone()
    }
}

/// Makes a directory that is missing, and says whether it was. The parents that it brings
/// belong to root.
fn make_dir(root: &sys::Root, path: &Path, owner: &str) -> Result<bool, StepError> {
    let fail = |source| StepError::MakeDir {
        path: path.to_owned(),
        source,
    };
    let mut made = Vec::new();
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    root.make_dirs_listed(path, mode, &mut made).map_err(fail)?;
    let Some(last) = made.last() else {
        return Ok(false);
    };
    if !owner.is_empty() {
        let user = Accounts::read(root)?.run_user(owner)?;
        rustix::fs::chownat(
            &last.parent,
            &last.name,
            Some(rustix::fs::Uid::from_raw(user.uid)),
            Some(rustix::fs::Gid::from_raw(user.gid)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|error| fail(error.into()))?;
    }
    Ok(true)
}
