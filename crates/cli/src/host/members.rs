//! What an image contributes to a manifest list: an entry, or several if it is a list itself, and where they are.

use anyhow::{Context as _, Result};
use model::{Descriptor, Digest, Document, ImageConfig, ImageId, Platform, RawManifest, list};
use store::{Artifacts, List, Store};
use transfer::{CopyOptions, CopyScope, NameRules, TransportRef};

use super::pulling::other_place;

/// Which images of a list are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one for the platform.
    Preferred,
    /// All.
    All,
}

/// Where members are looked for.
pub struct Sources<'a> {
    /// The store.
    pub store: &'a Store,
    /// What names without a registry mean.
    pub rules: &'a NameRules,
    /// How registries and other places are read; the platform is the one to choose from lists.
    pub options: &'a CopyOptions,
}

/// An image or list as members of another list.
#[derive(Debug, Default)]
pub struct Member {
    /// Entries with the places that their images are copied from later.
    pub entries: Vec<(Descriptor, String)>,
    /// Those that are made of files.
    pub artifacts: Artifacts,
}

impl Member {
    /// Adds everything to a list and returns the first entry's digest.
    pub fn join(self, list: &mut List) -> Result<Digest> {
        let first = self.entries.first().context("there is no image")?;
        let digest = first.0.digest.clone();
        for (entry, place) in self.entries {
            if !place.is_empty() {
                list.places.entry(entry.digest.clone()).or_insert(place);
            }
            list.index.put(entry);
        }
        let ours = &mut list.artifacts;
        let Artifacts {
            manifests,
            files,
            config,
            layers,
            detached,
            blobs,
            extra: _,
        } = self.artifacts;
        ours.manifests.extend(manifests);
        ours.files.extend(files);
        ours.config.extend(config);
        ours.layers.extend(layers);
        ours.detached.extend(detached);
        ours.blobs.extend(blobs);
        Ok(digest)
    }
}

impl Sources<'_> {
    /// Examines what `text` names: a transport and its words, an image of the store, or else one of a registry.
    pub fn member(&self, text: &str, which: Which) -> Result<Member> {
        if let Some(place) = other_place(text)? {
            return self.at(&place, which);
        }
        match transfer::lookup_image(&*self.store.images()?, text, self.rules) {
            Ok(found) => self.stored(&found.image.id, which),
            Err(error) if error.is_not_found() => {
                let place = TransportRef::parse(&format!("docker://{text}"))?;
                self.at(&place, which)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn stored(&self, id: &ImageId, which: Which) -> Result<Member> {
        if let Some(list) = self.store.list(id)? {
            return self.of_list(id, list, which);
        }
        of_image(self.store, id)
    }

    fn of_list(&self, id: &ImageId, list: List, which: Which) -> Result<Member> {
        let List {
            index,
            mut places,
            artifacts,
        } = list;
        let chosen = match which {
            Which::All => index.manifests,
            Which::Preferred => {
                let entry = index.choose(&self.options.platform);
                vec![
                    entry
                        .with_context(|| {
                            no_platform(&place(self.store, id), &self.options.platform)
                        })?
                        .clone(),
                ]
            }
        };
        let entries = chosen
            .into_iter()
            .map(|entry| {
                let place = places.remove(&entry.digest).unwrap_or_default();
                (entry, place)
            })
            .collect();
        Ok(Member { entries, artifacts })
    }

    fn at(&self, place: &TransportRef, which: Which) -> Result<Member> {
        let options = CopyOptions {
            scope: match which {
                Which::Preferred => CopyScope::System,
                Which::All => CopyScope::All,
            },
            ..self.options.clone()
        };
        let looked = transfer::look(place, Some(self.store), &options)
            .with_context(|| format!("reading image {:?}", place.to_string()))?;
        let place = place.to_string();
        let entries = match &looked.top {
            Document::Manifest(manifest) => {
                let image = looked.image.as_ref();
                let config = image.and_then(|image| config(&image.config));
                vec![list::entry_of(manifest, config.as_ref())]
            }
            Document::Index(index) => match which {
                Which::All => index.index().manifests.clone(),
                Which::Preferred => {
                    let platform = &self.options.platform;
                    let entry = index.index().choose(platform);
                    vec![
                        entry
                            .with_context(|| no_platform(&place, platform))?
                            .clone(),
                    ]
                }
            },
        };
        Ok(Member {
            entries: entries
                .into_iter()
                .map(|entry| (entry, place.clone()))
                .collect(),
            artifacts: Artifacts::default(),
        })
    }
}

/// Describes one image of the store as a member.
pub fn of_image(store: &Store, id: &ImageId) -> Result<Member> {
    let manifest = RawManifest::parse(store.image_manifest(id)?)
        .with_context(|| format!("reading manifest of {id}"))?;
    let config = config(&store.image_config(id)?);
    Ok(Member {
        entries: vec![(list::entry_of(&manifest, config.as_ref()), place(store, id))],
        artifacts: Artifacts::default(),
    })
}

/// An artifact's config is none of an image.
fn config(bytes: &[u8]) -> Option<ImageConfig> {
    ImageConfig::parse(bytes).ok()
}

/// The place of an image of the store, as every tool writes and reads it.
fn place(store: &Store, id: &ImageId) -> String {
    format!(
        "containers-storage:[{}@{}+{}]@{id}",
        store.driver(),
        store.graph_root().display(),
        store.run_root().display()
    )
}

fn no_platform(place: &str, platform: &Platform) -> String {
    format!(
        "selecting image from manifest list in {place:?}: no image found in manifest list for architecture \"{}\", variant \"{}\", OS \"{}\"",
        platform.architecture,
        platform.variant.as_deref().unwrap_or_default(),
        platform.os
    )
}
