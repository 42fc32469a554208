//! From a stage's results to an image: history, config, annotations, record and names.
//!
//! A stage whose every step was found leads to the image that was made then, with the same
//! identifier and without writing anything: the index knows it under the top layer and the
//! config without its times.

use crate::bound::{BoundBase, Input};
use crate::build::{NodeResult, StepOutcome};
use crate::cache::ImageEntry;
use crate::engine::Engine;
use crate::error::StepError;
use crate::graph::Node;
use crate::key::{StepKey, image_key};
use crate::request::LookUp;
use crate::scheduler::Needs;
use crate::stage::{HasLayer, StepResult};
use crate::target::{CreatedAnnotation, HistoryKept, ImageSettings, Inherit, Squash};
use archive::Times;
use builder::image::{Assembled, BASE_DIGEST, BASE_NAME, CREATED, IDENTITY_LABEL, ImageParts};
use model::{DiffId, History, ImageConfig, ImageId, LayerId, ManifestFormat, Timestamp};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use store::{NewImage, RecordTime};

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) id: ImageId,
    pub(crate) names: Vec<String>,
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
pub(crate) struct Draft<'a> {
    pub(crate) node: &'a Node,
    pub(crate) settings: &'a ImageSettings,
    pub(crate) layer: Option<LayerId>,
    /// Entries of the base, then those of the node.
    pub(crate) history: Vec<History>,
    /// How many of them are the node's.
    pub(crate) own: usize,
    pub(crate) keep: Keep,
}

impl Engine<'_> {
    /// Returns the history entries of a node's own steps.
    pub(crate) fn own_history(&self, node: &Node, outcome: &StepOutcome) -> Vec<History> {
        let steps = &node.stage.steps;
        let last = steps.len().saturating_sub(1);
        let per_step = self.per_step();
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
                comment: if index == 0 { node.comment.clone() } else { String::new() },
                empty_layer: !has_layer,
                ..History::default()
            }
        };
        let mut own: Vec<History> = outcome.steps.iter().enumerate().map(entry).collect();
        if own.is_empty() && !per_step {
            // A commit of nothing still has its layer.
            own.push(History {
                created: Some(self.now()),
                created_by: "/bin/sh".to_owned(),
                comment: node.comment.clone(),
                ..History::default()
            });
        }
        own
    }

    /// Returns the history that a node goes on from.
    pub(crate) fn base_history(
        &self,
        node: &Node,
        needs: &Needs<NodeResult>,
    ) -> Result<Vec<History>, StepError> {
        match node.stage.base {
            BoundBase::From(Input::Image(index)) => {
                let image = &self.graph.images[index];
                let layers = match &image.top_layer {
                    Some(layer) => self.store.chain(layer)?.len(),
                    None => 0,
                };
                Ok(padded(&image.config.history, layers))
            }
            BoundBase::From(Input::Stage(below)) => {
                Ok(needs.get(&below).map(|r| r.history.clone()).unwrap_or_default())
            }
            BoundBase::Scratch | BoundBase::From(Input::Directory(_)) => Ok(Vec::new()),
        }
    }

    /// Makes an image of a draft, or finds the one that was made of an equal one.
    pub(crate) fn commit(&self, mut draft: Draft<'_>) -> Result<Committed, StepError> {
        if draft.settings.squash == Squash::One {
            self.squash(&mut draft)?;
        }
        let layers = self.layer_list(draft.layer.as_ref())?;
        let zero = Timestamp::UNIX_EPOCH;
        let timeless = self.assemble(&draft, &layers, zero, Some(&vec![zero; draft.own]), None)?;
        let manifest: Vec<String> = timeless
            .manifest
            .manifest()
            .annotations
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let layer = draft.layer.as_ref().map(LayerId::as_str);
        let key = image_key(layer, &timeless.config, &manifest);
        let known = match self.look_up() {
            Some(LookUp::Use { .. }) => self.cache.get::<ImageEntry>(&key),
            _ => None,
        };
        if let Some(entry) = &known
            && let Some(found) = self.existing(&draft, &entry.image)?
        {
            return Ok(found);
        }
        let assembled = match known.as_ref().map(|entry| entry.created.split_first()) {
            Some(Some((image, own))) if own.len() == draft.own => {
                self.assemble(&draft, &layers, *image, Some(own), Some(&key))?
            }
            _ => self.assemble(&draft, &layers, self.now(), None, Some(&key))?,
        };
        let committed = self.put(&draft, &assembled)?;
        if self.look_up().is_some() {
            let config = ImageConfig::parse(&assembled.config).ok();
            let own = draft.history.len() - draft.own;
            let created = config.map(|config| {
                let times = config.history.iter().skip(own).filter_map(|entry| entry.created);
                config.created.into_iter().chain(times).collect()
            });
            let entry = ImageEntry {
                image: assembled.id.clone(),
                created: created.unwrap_or_default(),
            };
            self.cache.put(&key, &entry)?;
        }
        Ok(committed)
    }

    /// Gives an image that needs no commit its names.
    pub(crate) fn tag(&self, id: &ImageId, names: &[String]) -> Result<Committed, StepError> {
        let images = self.store.images()?;
        let record = images.get(id);
        let has = |name: &String| record.is_some_and(|record| record.names.contains(name));
        if !names.iter().all(has) {
            self.store.add_names(id, names)?;
        }
        let images = self.store.images()?;
        let names = images.get(id).map(|record| record.names.clone());
        Ok(Committed {
            id: id.clone(),
            names: names.unwrap_or_default(),
        })
    }

    /// Returns an image that is still there, with the draft's names on it.
    fn existing(&self, draft: &Draft<'_>, id: &ImageId) -> Result<Option<Committed>, StepError> {
        let images = self.store.images()?;
        match images.get(id) {
            Some(record) if record.layer == draft.layer => {
                Ok(Some(self.tag(id, &names(draft.settings))?))
            }
            _ => Ok(None),
        }
    }

    fn put(&self, draft: &Draft<'_>, assembled: &Assembled) -> Result<Committed, StepError> {
        let was_there = self.store.images()?.get(&assembled.id).is_some();
        let manifest = assembled.manifest.bytes();
        let created = ImageConfig::parse(&assembled.config).ok().and_then(|c| c.created);
        let mut image = NewImage::new(draft.layer.clone(), manifest, &assembled.config)
            .with_names(names(draft.settings));
        if let Some(created) = created {
            image = image.with_created(RecordTime::from_timestamp(&created));
        }
        let record = self.store.put_image(image)?;
        if draft.keep == Keep::DuringBuild && !was_there {
            self.temporary
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(assembled.id.clone());
        }
        Ok(Committed {
            id: record.id.clone(),
            names: record.names.clone(),
        })
    }

    /// Returns contents and sizes of a layer and all below it, from the base up.
    fn layer_list(&self, layer: Option<&LayerId>) -> Result<Vec<(DiffId, u64)>, StepError> {
        let Some(layer) = layer else {
            return Ok(Vec::new());
        };
        let chain = self.store.chain(layer)?;
        chain
            .iter()
            .rev()
            .map(|record| {
                let diff = record.diff_digest.clone();
                let size = record.diff_size.and_then(|size| u64::try_from(size).ok());
                diff.zip(size).ok_or_else(|| StepError::NoDigest {
                    layer: record.id.clone(),
                })
            })
            .collect()
    }

    /// Puts config and manifest together. `own` replaces the times of the node's entries.
    fn assemble(
        &self,
        draft: &Draft<'_>,
        layers: &[(DiffId, u64)],
        created: Timestamp,
        own: Option<&[Timestamp]>,
        key: Option<&StepKey>,
    ) -> Result<Assembled, StepError> {
        let Draft { node, settings, .. } = draft;
        let base = match node.stage.base {
            BoundBase::From(Input::Image(index)) => Some(&self.graph.images[index]),
            _ => None,
        };
        let mut config = match base {
            Some(image) => image.config.clone().inherit(),
            None => ImageConfig::for_platform(&node.stage.platform),
        };
        config.config = node.stage.config.clone();
        config.author = node.stage.author.clone().unwrap_or_default();
        for name in &settings.unset_env {
            config.config.unset_env(name);
        }
        for name in &settings.unset_labels {
            config.config.unset_label(name);
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
        let parts = ImageParts {
            config,
            layers,
            history,
            created,
            annotations: annotations(node, settings, created),
            format: settings.format,
            container: None,
            parent: base.map(|image| &image.id),
        };
        Ok(parts.assemble()?)
    }

    /// Replaces the draft's layers by one with all their content.
    fn squash(&self, draft: &mut Draft<'_>) -> Result<(), StepError> {
        let own = draft.history.split_off(draft.history.len() - draft.own);
        let mut history = if self.per_step() {
            own.into_iter().last().into_iter().collect()
        } else {
            own
        };
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
            draft.layer = Some(self.flatten(draft.layer.as_ref())?);
        }
        Ok(())
    }

    /// Makes one layer of a layer and all below it. The archive only passes through a pipe.
    fn flatten(&self, layer: Option<&LayerId>) -> Result<LayerId, StepError> {
        let mount = self.store.read_only_root(layer)?;
        let options = archive::TreeOptions {
            flavour: archive::Flavour::Plain,
            times: self.request.times.files,
            excludes: Vec::new(),
        };
        let (reader, writer) = std::io::pipe().map_err(StepError::Root)?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let out = std::io::BufWriter::new(writer);
                archive::write_tree(std::os::fd::AsFd::as_fd(mount.root()), &[], &options, out)
            });
            let record = self.store.import_layer(None, reader, None);
            let written = writing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            written.map_err(StepError::Flatten)?;
            Ok(record?.id.clone())
        })
    }

    /// Removes the images that only held layers during the build.
    pub(crate) fn remove_temporary(&self) -> Vec<store::StoreError> {
        let mut images =
            std::mem::take(&mut *self.temporary.lock().unwrap_or_else(PoisonError::into_inner));
        let mut errors = Vec::new();
        while let Some(image) = images.pop() {
            let named = self.store.images().is_ok_and(|images| {
                images.get(&image).is_none_or(|record| !record.names.is_empty())
            });
            if !named {
                errors.extend(self.store.delete_image(&image).err());
            }
        }
        errors
    }
}

fn names(settings: &ImageSettings) -> Vec<String> {
    settings.names.iter().map(ToString::to_string).collect()
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
    all.extend(settings.annotations.clone());
    all
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
