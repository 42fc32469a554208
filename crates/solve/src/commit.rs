//! From a stage's results to an image: history, config, annotations, record and names.
//!
//! A stage whose every step was found leads to the image that was made then, with the same
//! identifier and without writing anything: the index knows it under the top layer and the
//! config without its times.

use crate::bound::{BoundBase, Input};
use crate::cache::ImageEntry;
use crate::engine::Engine;
use crate::error::StepError;
use crate::graph::Node;
use crate::key::{StepKey, image_key};
use crate::offers::Offer;
use crate::request::{LookUp, StageImages};
use crate::result::{NodeResult, StepOutcome};
use crate::scheduler::Needs;
use crate::stage::{HasLayer, Shared, StepResult};
use crate::target::{CreatedAnnotation, HistoryKept, ImageSettings, Inherit, Squash};
use archive::Times;
use builder::image::{BASE_DIGEST, BASE_NAME, CREATED, IDENTITY_LABEL, ImageParts};
use model::{DiffId, History, ImageConfig, ImageId, LayerId, ManifestFormat, Timestamp};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use store::StoreError;

/// The label with a stage's name, or its number.
const STAGE_NAME: &str = "io.buildah.stage.name";

/// The label with what a stage stands on.
const STAGE_BASE: &str = "io.buildah.stage.base";

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) id: ImageId,
    pub(crate) names: Vec<String>,
    /// Times of the draft's own history entries as they are in the image.
    pub(crate) times: Vec<Timestamp>,
    /// What other machines have to do with it.
    pub(crate) shared: Shared,
}

/// Whether an image stays when the build is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It does.
    Always,
    /// It only holds layers while the build runs.
    DuringBuild,
}

/// What is written around a tree.
#[derive(Clone)]
pub(crate) struct Draft<'a> {
    pub(crate) node: &'a Node,
    pub(crate) settings: &'a ImageSettings,
    pub(crate) layer: Option<LayerId>,
    /// Entries of the base, then those of the node.
    pub(crate) history: Vec<History>,
    /// How many of them are the node's.
    pub(crate) own: usize,
    /// Whether any of the node's steps had to be performed.
    pub(crate) performed: bool,
    pub(crate) keep: Keep,
}

impl Engine<'_> {
    /// Returns the history entries of a node's own steps.
    pub(crate) fn own_history(&self, node: &Node, outcome: &StepOutcome) -> Vec<History> {
        let steps = &node.stage.steps;
        let last = steps.len().saturating_sub(1);
        let per_step = self.per_step();
        // The entry of the commit that stands on the base.
        let commented = if per_step { 0 } else { last };
        let suffix = match self.request.times.files {
            Times::Keep => String::new(),
            Times::Fixed(seconds) => format!("|force-mtime={seconds}"),
            Times::Clamp(seconds) => format!("|clamp-mtime={seconds}"),
        };
        let entry = |(index, result): (usize, &StepResult)| {
            let step = &steps[index];
            let has_layer = if per_step {
                result.layer == HasLayer::Yes
            } else {
                index == last
            };
            let author = if per_step || index == last {
                step.author.clone().unwrap_or_default()
            } else {
                String::new()
            };
            History {
                created: Some(self.request.times.created.unwrap_or(result.created)),
                created_by: format!("{}{suffix}", step.history.render(&result.word)),
                author,
                comment: if index == commented {
                    node.comment.clone()
                } else {
                    String::new()
                },
                empty_layer: !has_layer,
                ..History::default()
            }
        };
        let mut own: Vec<History> = outcome.steps.iter().enumerate().map(entry).collect();
        if own.is_empty() && !per_step {
            own.push(self.untouched(node));
        }
        own
    }

    /// The entry of a commit of nothing, which still has its layer.
    fn untouched(&self, node: &Node) -> History {
        History {
            created: Some(self.now()),
            created_by: "/bin/sh".to_owned(),
            comment: node.comment.clone(),
            ..History::default()
        }
    }

    /// Returns the history that a node goes on from.
    pub(crate) fn base_history(
        &self,
        node: &Node,
        needs: &Needs<NodeResult>,
    ) -> Result<Vec<History>, StepError> {
        match node.stage.base {
            BoundBase::From(Input::Image(index)) => {
                let image = &self.graph.images[index].image;
                let layers = match &image.top_layer {
                    Some(layer) => self.store.chain(layer)?.len(),
                    None => 0,
                };
                Ok(padded(&image.config.history, layers))
            }
            BoundBase::From(Input::Stage(below)) => Ok(needs
                .get(&below)
                .map(|r| r.history.clone())
                .unwrap_or_default()),
            BoundBase::Scratch | BoundBase::From(Input::Directory(_)) => Ok(Vec::new()),
        }
    }

    /// Makes an image of a draft, or finds the one that was made of an equal one.
    pub(crate) fn commit(&self, mut draft: Draft<'_>) -> Result<Committed, StepError> {
        if draft.settings.squash == Squash::One {
            self.squash(&mut draft)?;
        }
        let layers = builder::commit::layers_of(self.store, draft.layer.as_ref())?;
        let zero = Timestamp::UNIX_EPOCH;
        let timeless = self.parts(&draft, &layers, zero, Some(&vec![zero; draft.own]), None);
        let timeless = timeless.assemble()?;
        let manifest = timeless.manifest.manifest();
        let words: Vec<String> = manifest
            .annotations
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let layer = draft.layer.as_ref().map(LayerId::as_str);
        let key = image_key(layer, &timeless.config, &words);
        let known = match self.look_up() {
            Some(LookUp::Use { .. }) => self.cache.get::<ImageEntry>(&key),
            _ => None,
        };
        let elsewhere = match &known {
            None => self.made_elsewhere(&draft, &layers, &key),
            Some(_) => None,
        };
        let shared = match &elsewhere {
            Some((_, repository)) => Shared::Pulled(format!("{repository}:{key}")),
            None if self.is_shared() => Shared::Pushed(key),
            None => Shared::No,
        };
        let known = known.or(elsewhere.map(|(entry, _)| entry));
        if let Some(entry) = &known
            && let Some(mut found) = self.existing(&draft, &entry.image)?
        {
            found.times = entry.created.iter().skip(1).copied().collect();
            self.offer_image(&found, &shared);
            found.shared = shared;
            return Ok(found);
        }
        let parts = match known.as_ref().map(|entry| entry.created.split_first()) {
            Some(Some((image, own))) if own.len() == draft.own => {
                self.parts(&draft, &layers, *image, Some(own), Some(&key))
            }
            _ => self.parts(&draft, &layers, self.now(), None, Some(&key)),
        };
        let own = parts.history.len().saturating_sub(draft.own);
        let times = parts.history[own..]
            .iter()
            .filter_map(|entry| entry.created);
        let created: Vec<Timestamp> = std::iter::once(parts.created).chain(times).collect();
        let mut committed = self.put(&draft, parts)?;
        committed.times.extend(created.iter().skip(1));
        if self.look_up().is_some() {
            let entry = ImageEntry {
                image: committed.id.clone(),
                created,
            };
            self.cache.put(&key, &entry)?;
        }
        self.offer_image(&committed, &shared);
        committed.shared = shared;
        Ok(committed)
    }

    /// Says whether results are put where other machines find them.
    fn is_shared(&self) -> bool {
        self.look_up().is_some() && !self.request.caches.to.is_empty()
    }

    fn offer_image(&self, image: &Committed, shared: &Shared) {
        if let Shared::Pushed(key) = shared {
            self.offers.send(vec![Offer::Image {
                key: *key,
                image: image.id.clone(),
            }]);
        }
    }

    /// Returns the times of an equal image that another machine has made, with the repository where it is. It is equal when
    /// ours has its identifier with these times.
    fn made_elsewhere(
        &self,
        draft: &Draft<'_>,
        layers: &[(DiffId, u64)],
        key: &StepKey,
    ) -> Option<(ImageEntry, String)> {
        if draft.performed || !matches!(self.look_up(), Some(LookUp::Use { .. })) {
            return None;
        }
        let (image, repository) = self.sources.image(key)?;
        let created = image.config.created?;
        let history = &image.config.history;
        let own = match history.len().checked_sub(draft.own) {
            Some(start) => history[start..].iter().map(|entry| entry.created).collect(),
            // It has none.
            None => Some(vec![created; draft.own]),
        }?;
        let ours = self.parts(draft, layers, created, Some(&own), Some(key));
        if ours.assemble().ok()?.id != image.id {
            return None;
        }
        let entry = ImageEntry {
            image: image.id,
            created: std::iter::once(created).chain(own).collect(),
        };
        Some((entry, repository))
    }

    /// Gives an image that needs no commit its names; it stays when the build is over.
    pub(crate) fn tag(&self, id: &ImageId, names: &[String]) -> Result<Committed, StepError> {
        let mut temporary = self
            .temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        temporary.retain(|image| image != id);
        drop(temporary);
        let images = self.store.images()?;
        let record = images.get(id);
        if !record.is_some_and(|record| record.names.starts_with(names)) {
            self.store.add_names(id, names)?;
        }
        let images = self.store.images()?;
        let names = images.get(id).map(|record| record.names.clone());
        Ok(Committed {
            id: id.clone(),
            names: names.unwrap_or_default(),
            times: Vec::new(),
            shared: Shared::No,
        })
    }

    /// Returns an image that is still there, with the draft's names on it.
    fn existing(&self, draft: &Draft<'_>, id: &ImageId) -> Result<Option<Committed>, StepError> {
        let images = self.store.images()?;
        match images.get(id) {
            Some(record) if record.layer == draft.layer => {
                match self.tag(id, &names(draft.settings)) {
                    // Somebody has removed it since.
                    Err(StepError::Store(error))
                        if matches!(*error, StoreError::ImageUnknown { .. }) =>
                    {
                        Ok(None)
                    }
                    tagged => tagged.map(Some),
                }
            }
            _ => Ok(None),
        }
    }

    fn put(&self, draft: &Draft<'_>, parts: ImageParts<'_>) -> Result<Committed, StepError> {
        let before = self.store.images()?;
        let top = draft.layer.as_ref();
        let made = builder::commit::put_image(self.store, parts, top, names(draft.settings))?;
        if draft.keep == Keep::DuringBuild && before.get(&made.id).is_none() {
            self.temporary
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(made.id.clone());
        }
        let images = self.store.images()?;
        let names = images.get(&made.id).map(|record| record.names.clone());
        Ok(Committed {
            id: made.id,
            names: names.unwrap_or_default(),
            times: Vec::new(),
            shared: Shared::No,
        })
    }

    /// Puts config and manifest together. `own` replaces the times of the node's entries.
    fn parts<'p>(
        &'p self,
        draft: &Draft<'_>,
        layers: &'p [(DiffId, u64)],
        created: Timestamp,
        own: Option<&[Timestamp]>,
        key: Option<&StepKey>,
    ) -> ImageParts<'p> {
        let Draft { node, settings, .. } = draft;
        let base = match node.stage.base {
            BoundBase::From(Input::Image(index)) => Some(&self.graph.images[index].image),
            _ => None,
        };
        let mut config = match base {
            Some(image) => image.config.clone().inherit(),
            None => ImageConfig::for_platform(&node.stage.platform),
        };
        config.config = node.stage.config.clone();
        config.author = node.stage.author.clone().unwrap_or_default();
        for (name, value) in self.stage_labels(node) {
            let inherited = base.and_then(|image| image.config.config.labels.get(name));
            // A LABEL of the stage itself stays.
            if config.config.labels.get(name) == inherited {
                config.config.set_label(name, &value);
            }
        }
        for name in &settings.unset_env {
            config.config.unset_env(name);
        }
        for name in &settings.unset_labels {
            config.config.unset_label(name);
        }
        for (name, value) in &settings.layer_labels {
            config.config.set_label(name, value);
        }
        if let Some(version) = &settings.os_version {
            version.clone_into(&mut config.os_version);
        }
        for feature in &settings.os_features {
            let taken = feature.strip_suffix('-');
            config
                .os_features
                .retain(|has| has != taken.unwrap_or(feature));
            if taken.is_none() {
                config.os_features.push(feature.clone());
            }
        }
        if let Some(version) = &settings.identity {
            config.config.set_label(IDENTITY_LABEL, version);
        }
        if settings.format == ManifestFormat::Docker {
            config.config.hostname = match (self.request.times.created, key) {
                (Some(_), _) => "sandbox".to_owned(),
                (None, Some(key)) => key.to_string()[..12].to_owned(),
                (None, None) => String::new(),
            };
        }
        let mut history = draft.history.clone();
        if let Some(times) = own {
            let start = history.len() - draft.own;
            for (entry, time) in history[start..].iter_mut().zip(times) {
                entry.created = Some(*time);
            }
        }
        if settings.history == HistoryKept::Omitted {
            history.clear();
        }
        ImageParts {
            config,
            layers,
            history,
            created,
            annotations: annotations(node, settings, created),
            format: settings.format,
            container: None,
            parent: base.map(|image| &image.id),
        }
    }

    /// Returns the labels that say which stage an image is. A stage without steps is what it stands on, without labels.
    fn stage_labels(&self, node: &Node) -> Vec<(&'static str, String)> {
        if self.request.stages != StageImages::Labelled || node.stage.steps.is_empty() {
            return Vec::new();
        }
        let origin = &node.origin;
        let name = origin.name.clone();
        let below = match node.stage.base {
            BoundBase::From(Input::Stage(below)) => self.stage_image(below),
            _ => None,
        };
        let base = match below {
            Some(image) => image.to_string(),
            None => base_word(&origin.from_text).to_owned(),
        };
        vec![
            (STAGE_NAME, name.unwrap_or_else(|| origin.index.to_string())),
            (STAGE_BASE, base),
        ]
    }

    /// Replaces the draft's layers by one with all their content.
    fn squash(&self, draft: &mut Draft<'_>) -> Result<(), StepError> {
        let own = draft.history.split_off(draft.history.len() - draft.own);
        let mut history = if self.per_step() {
            own.into_iter().last().into_iter().collect()
        } else {
            own
        };
        if history.is_empty() {
            // A stage without steps.
            history.push(self.untouched(draft.node));
        }
        if let Some(last) = history.last_mut() {
            last.empty_layer = false;
        }
        draft.own = history.len();
        draft.history = history;
        let chain = match &draft.layer {
            Some(layer) => self.store.chain(layer)?.len(),
            None => 0,
        };
        if chain != 1 {
            let root = self.store.read_only_root(draft.layer.as_ref())?;
            let times = self.request.times.files;
            draft.layer = Some(builder::commit::squash_layer(self.store, &root, times)?);
        }
        Ok(())
    }

    /// Removes the images that only held layers during the build.
    pub(crate) fn remove_temporary(&self) -> Vec<store::StoreError> {
        let mut images = std::mem::take(
            &mut *self
                .temporary
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut errors = Vec::new();
        while let Some(image) = images.pop() {
            let named = self.store.images().is_ok_and(|images| {
                images
                    .get(&image)
                    .is_none_or(|record| !record.names.is_empty())
            });
            if !named {
                errors.extend(self.store.delete_image(&image).err());
            }
        }
        errors
    }
}

/// The names as the record of the image has them: Buildah adds one after the other, each before the earlier ones.
pub(crate) fn names(settings: &ImageSettings) -> Vec<String> {
    let names = settings.names.iter().rev();
    names.map(ToString::to_string).collect()
}

fn annotations(
    node: &Node,
    settings: &ImageSettings,
    created: Timestamp,
) -> BTreeMap<String, String> {
    let mut all = match settings.inherit_annotations {
        Inherit::Yes => node.ancestor.annotations.clone(),
        Inherit::No => BTreeMap::new(),
    };
    all.insert(BASE_DIGEST.to_owned(), node.ancestor.digest.clone());
    all.insert(BASE_NAME.to_owned(), node.ancestor.name.clone());
    match settings.created_annotation {
        CreatedAnnotation::Written => {
            all.insert(CREATED.to_owned(), created.to_string());
        }
        CreatedAnnotation::LeftOut => {
            all.remove(CREATED);
        }
    }
    for name in &settings.unset_annotations {
        all.remove(name);
    }
    all.extend(settings.annotations.clone());
    all
}

/// Returns what a FROM stands on, as it is written there.
fn base_word(from: &str) -> &str {
    let mut words = from.split_whitespace().skip(1);
    words.find(|word| !word.starts_with("--")).unwrap_or("")
}

/// The base's entries, made to fit its layers: other builders refuse an image in which the
/// two differ.
fn padded(history: &[History], layers: usize) -> Vec<History> {
    let listed = history.iter().filter(|entry| !entry.empty_layer).count();
    let mut all = vec![History::default(); layers.saturating_sub(listed)];
    all.extend_from_slice(history);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_first_word_of_from_that_is_no_flag() {
        for (from, expected) in [
            ("FROM a", "a"),
            (
                "FROM --platform=linux/amd64 docker.io/a:1 AS b",
                "docker.io/a:1",
            ),
            ("FROM scratch AS b", "scratch"),
        ] {
            assert_eq!(base_word(from), expected);
        }
    }

    #[test]
    fn a_base_without_history_gets_an_entry_for_each_layer() {
        let entry = |empty_layer| History {
            empty_layer,
            ..History::default()
        };
        for (history, layers, expected) in [
            (vec![], 2, 2),
            (vec![entry(false), entry(true)], 1, 2),
            (vec![entry(true)], 1, 2),
        ] {
            assert_eq!(padded(&history, layers).len(), expected);
        }
    }
}
