//! Edits on lists of manifests: entries come, go and change, and the list picks the format that can say it all.
//!
//! Where the members of a list are is not known here; see the store's record of a list.

use std::collections::BTreeMap;

use serde::ser::{Serialize, Serializer};

use crate::digest::Digest;
use crate::go_json;
use crate::go_order::Fields;
use crate::image_config::ImageConfig;
use crate::manifest::{Descriptor, Index, ManifestFormat, RawManifest};
use crate::platform::Platform;

/// What is to be different in an entry; what is empty here stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryChange {
    /// The operating system.
    pub os: String,
    /// The processor.
    pub architecture: String,
    /// The processor's variant.
    pub variant: String,
    /// The operating system's version.
    pub os_version: String,
    /// What the image asks of the operating system.
    pub os_features: Vec<String>,
    /// What the image asks of the processor; Docker's list only.
    pub features: Vec<String>,
    /// Remarks to add or replace.
    pub annotations: BTreeMap<String, String>,
}

impl EntryChange {
    /// Changes an entry.
    pub fn apply(&self, entry: &mut Descriptor) {
        entry.annotations.extend(self.annotations.clone());
        let of_platform = [
            &self.os,
            &self.architecture,
            &self.variant,
            &self.os_version,
        ]
        .iter()
        .any(|word| !word.is_empty())
            || !self.os_features.is_empty()
            || !self.features.is_empty();
        if !of_platform {
            return;
        }
        let platform = entry.platform.get_or_insert_default();
        let replace = |slot: &mut String, word: &String| {
            if !word.is_empty() {
                slot.clone_from(word);
            }
        };
        replace(&mut platform.os, &self.os);
        replace(&mut platform.architecture, &self.architecture);
        let replace = |slot: &mut Option<String>, word: &String| {
            if !word.is_empty() {
                *slot = Some(word.clone());
            }
        };
        replace(&mut platform.variant, &self.variant);
        replace(&mut platform.os_version, &self.os_version);
        let replace = |slot: &mut Vec<String>, words: &Vec<String>| {
            if !words.is_empty() {
                slot.clone_from(words);
            }
        };
        replace(&mut platform.os_features, &self.os_features);
        replace(&mut platform.features, &self.features);
    }
}

/// Describes an image or artifact as an entry of a list; the platform is the one in the config, if that is an image's.
pub fn entry_of(manifest: &RawManifest, config: Option<&ImageConfig>) -> Descriptor {
    let parsed = manifest.manifest();
    let media_type = if parsed.media_type.is_empty() {
        manifest.format().manifest_type()
    } else {
        &parsed.media_type
    };
    let size = manifest.bytes().len() as u64;
    let mut entry = Descriptor::new(media_type, manifest.digest(), size);
    entry.artifact_type = parsed.artifact_type.clone().filter(|kind| !kind.is_empty());
    if entry.artifact_type.is_none() && parsed.is_image() {
        entry.platform = config.map(ImageConfig::platform).filter(is_said);
    }
    entry
}

fn is_said(platform: &Platform) -> bool {
    *platform != Platform::default()
}

impl Index {
    /// Makes a list without entries, in the format that says so explicitly.
    pub fn empty() -> Self {
        Self::new(ManifestFormat::Docker, Vec::new())
    }

    /// Adds an entry at the end; one of the same digest goes.
    pub fn put(&mut self, entry: Descriptor) {
        self.take(&entry.digest.clone());
        self.manifests.push(entry);
    }

    /// Removes the entry of a digest; `None` if there is none.
    pub fn take(&mut self, digest: &Digest) -> Option<Descriptor> {
        let at = self
            .manifests
            .iter()
            .position(|entry| entry.digest == *digest)?;
        let taken = self.manifests.remove(at);
        self.manifests.retain(|entry| entry.digest != *digest);
        Some(taken)
    }

    /// Returns the entry of a digest.
    pub fn entry_mut(&mut self, digest: &Digest) -> Option<&mut Descriptor> {
        self.manifests
            .iter_mut()
            .find(|entry| entry.digest == *digest)
    }

    /// Chooses the format after an edit, as containers/common does: OCI if something needs it, Docker if something needs
    /// that or there are no entries, otherwise OCI. What only the other format can say goes.
    pub fn settle(&mut self) {
        let format = self.settled();
        format.index_type().clone_into(&mut self.media_type);
        for entry in &mut self.manifests {
            match format {
                ManifestFormat::Oci => {
                    if let Some(platform) = &mut entry.platform {
                        platform.features.clear();
                    }
                    entry.platform = entry.platform.take().filter(is_said);
                }
                // Docker's entries always have a platform, even if it says nothing.
                ManifestFormat::Docker => drop(entry.platform.get_or_insert_default()),
            }
        }
    }

    fn settled(&self) -> ManifestFormat {
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let of_oci = |entry: &Descriptor| {
            filled(&entry.artifact_type) || !entry.annotations.is_empty() || filled(&entry.data)
        };
        let of_docker = |entry: &Descriptor| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|platform| !platform.features.is_empty())
        };
        if filled(&self.artifact_type)
            || self.subject.is_some()
            || !self.annotations.is_empty()
            || self.manifests.iter().any(of_oci)
        {
            ManifestFormat::Oci
        } else if self.manifests.is_empty() || self.manifests.iter().any(of_docker) {
            ManifestFormat::Docker
        } else {
            ManifestFormat::Oci
        }
    }

    /// Writes the list for people, as `manifest inspect` shows one of the store: fields as in Docker's form with what OCI
    /// adds to it, under the list's own type, and with the files that artifacts are made of.
    pub fn display(&self, files: &BTreeMap<Digest, Vec<String>>) -> Vec<u8> {
        go_json::to_vec_indent(&Displayed { index: self, files }, "    ")
            .expect("all keys are strings and all values plain")
    }
}

struct Displayed<'a> {
    index: &'a Index,
    files: &'a BTreeMap<Digest, Vec<String>>,
}

impl Serialize for Displayed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries: Vec<_> = self
            .index
            .manifests
            .iter()
            .map(|entry| DisplayedEntry {
                entry,
                files: self.files.get(&entry.digest).cloned().unwrap_or_default(),
            })
            .collect();
        let subject = self.index.subject.as_ref().map(|entry| DisplayedEntry {
            entry,
            files: Vec::new(),
        });
        let mut fields = Fields::new(serializer);
        fields
            .always("schemaVersion", &self.index.schema_version)
            .always("mediaType", &self.index.media_type)
            .filled("artifactType", &self.index.artifact_type)
            .always(
                "manifests",
                &Some(entries).filter(|entries| !entries.is_empty()),
            )
            .filled("subject", &subject)
            .filled("annotations", &self.index.annotations);
        fields.end()
    }
}

struct DisplayedEntry<'a> {
    entry: &'a Descriptor,
    files: Vec<String>,
}

impl Serialize for DisplayedEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.entry;
        let platform = entry.platform.clone().unwrap_or_default();
        let mut fields = Fields::new(serializer);
        fields
            .always("mediaType", &entry.media_type)
            .always("size", &entry.size)
            .always("digest", &entry.digest)
            .filled("urls", &entry.urls)
            .always("platform", &platform)
            .filled("annotations", &entry.annotations)
            .filled("artifactType", &entry.artifact_type)
            .filled("data", &entry.data)
            .filled("files", &self.files);
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;

    fn entry(content: &str) -> Descriptor {
        Descriptor {
            platform: Some(Platform::new("linux", "amd64")),
            ..Descriptor::new(
                media_type::OCI_MANIFEST,
                Digest::sha256(content.as_bytes()),
                7,
            )
        }
    }

    #[test]
    fn the_format_follows_the_content() {
        let check = |edit: fn(&mut Index), expected: &str| {
            let mut index = Index::empty();
            edit(&mut index);
            index.settle();
            assert_eq!(index.media_type, expected);
            let bytes = index.to_bytes();
            assert!(
                !String::from_utf8(bytes)
                    .unwrap()
                    .contains("\"features\":[]")
            );
        };
        let annotate = |index: &mut Index| {
            index.annotations.insert("a".to_owned(), "b".to_owned());
        };
        check(|_| {}, media_type::DOCKER_LIST);
        check(annotate, media_type::OCI_INDEX);
        check(|index| index.put(entry("a")), media_type::OCI_INDEX);
        check(
            |index| {
                index.put(entry("a"));
                let platform = index.manifests[0].platform.as_mut().unwrap();
                platform.features.push("sse".to_owned());
            },
            media_type::DOCKER_LIST,
        );
        check(
            |index| {
                index.put(entry("a"));
                index.manifests[0].artifact_type = Some("x/y".to_owned());
                let platform = index.manifests[0].platform.as_mut().unwrap();
                platform.features.push("sse".to_owned());
            },
            media_type::OCI_INDEX,
        );
        check(
            |index| index.subject = Some(entry("s")),
            media_type::OCI_INDEX,
        );
    }

    #[test]
    fn an_entry_is_there_once_and_last() {
        let mut index = Index::empty();
        for name in ["a", "b", "a"] {
            index.put(entry(name));
        }
        let digests: Vec<_> = index.manifests.iter().map(|e| e.digest.clone()).collect();
        assert_eq!(digests, [entry("b").digest, entry("a").digest]);
        assert_eq!(index.take(&entry("b").digest), Some(entry("b")));
        assert_eq!(index.take(&entry("b").digest), None);
        assert!(index.entry_mut(&entry("a").digest).is_some());
    }

    #[test]
    fn only_what_is_given_changes() {
        let check = |change: EntryChange, expected: &str| {
            let mut changed = entry("a");
            changed.digest = Digest::sha256(b"");
            change.apply(&mut changed);
            let text = serde_json::to_string(&changed.platform).unwrap();
            assert_eq!(text, expected);
        };
        let plain = r#"{"architecture":"amd64","os":"linux"}"#;
        check(EntryChange::default(), plain);
        let change = EntryChange {
            architecture: "arm".to_owned(),
            variant: "v7".to_owned(),
            os_version: "7".to_owned(),
            os_features: vec!["c".to_owned()],
            features: vec!["a".to_owned(), "b".to_owned()],
            ..EntryChange::default()
        };
        check(
            change,
            r#"{"architecture":"arm","os":"linux","os.version":"7","os.features":["c"],"variant":"v7","features":["a","b"]}"#,
        );
    }

    #[test]
    fn a_list_is_shown_with_the_fields_of_docker() {
        let mut index = Index::empty();
        let mut artifact = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"x"), 3);
        artifact.artifact_type = Some("a/b".to_owned());
        artifact
            .annotations
            .insert("k".to_owned(), "<v>".to_owned());
        let files = BTreeMap::from([(artifact.digest.clone(), vec!["/f".to_owned()])]);
        index.put(artifact);
        index.settle();
        let shown = String::from_utf8(index.display(&files)).unwrap();
        let expected = format!(
            r#"{{
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 3,
            "digest": "{}",
            "platform": {{
                "architecture": "",
                "os": ""
            }},
            "annotations": {{
                "k": "\u003cv\u003e"
            }},
            "artifactType": "a/b",
            "files": [
                "/f"
            ]
        }}
    ]
}}"#,
            Digest::sha256(b"x")
        );
        assert_eq!(shown, expected);
        let shown = String::from_utf8(Index::empty().display(&BTreeMap::new())).unwrap();
        assert!(shown.contains("\"manifests\": null"), "{shown}");
    }
}
