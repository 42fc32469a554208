//! What steps read: the files of copies, and what mounts show.

use crate::bound::{BoundCopy, BoundMount, CopySource, CopyWord, Input, Link, Parents};
use crate::download::{self, Downloaded, literal};
use crate::engine::{Engine, Tree};
use crate::error::StepError;
use crate::mounts::source_path;
use crate::result::NodeResult;
use crate::scheduler::Needs;
use builder::copy::{CopyKind, CopyRequest, Destination, Gathered, Ignore, Layout};
use builder::copy::{Source, SourceTree, Times};
use containerfile::{Chmod, IgnoreRules};
use std::path::PathBuf;
use std::sync::Arc;

/// The files of a copy, while it is not known yet whether it must be performed.
pub(crate) struct Files {
    pub(crate) gathered: Gathered,
    /// What they are read from, if it is there for this copy only.
    pub(crate) downloaded: Option<Arc<Downloaded>>,
}

impl Engine<'_> {
    /// Reads what a copy would bring, so far as its files are here.
    pub(crate) fn gather(
        &self,
        copy: &BoundCopy,
        needs: &Needs<NodeResult>,
    ) -> Result<Files, StepError> {
        let tree = if is_download(copy) {
            let (store, downloads) = (self.store, self.request.downloads);
            Tree::Downloaded(Arc::new(Downloaded::fetch(copy, store, downloads)?))
        } else {
            self.tree(copy.from, needs)?
        };
        let memo = match &tree {
            Tree::Context { context, .. } => Some(&context.memo),
            Tree::Layer { .. } | Tree::Live(_) | Tree::Downloaded(_) => None,
        };
        let request = self.copy_request(copy, &tree)?;
        let gathered = builder::copy::gather(&request, memo)?;
        let downloaded = match tree {
            Tree::Downloaded(files) => Some(files),
            Tree::Context { .. } | Tree::Layer { .. } | Tree::Live(_) => None,
        };
        Ok(Files {
            gathered,
            downloaded,
        })
    }

    /// Returns the digest of what a bind mount or the first content of a cache shows.
    pub(crate) fn mount_content(
        &self,
        mount: &BoundMount,
        needs: &Needs<NodeResult>,
    ) -> Result<String, StepError> {
        let Some(from) = mount.from else {
            return Ok(String::new());
        };
        if let Some(layer) = self.layer_of(from, needs) {
            return Ok(layer.map_or_else(|| "scratch".to_owned(), |layer| layer.to_string()));
        }
        if !matches!(from, Input::Directory(_)) {
            // A stage without layers: nothing is looked up then.
            return Ok(String::new());
        }
        let tree = self.tree(from, needs)?;
        let Tree::Context { context, .. } = &tree else {
            return Ok(String::new());
        };
        let request = CopyRequest {
            kind: CopyKind::Copy,
            tree: Some(SourceTree {
                root: tree.root(),
                shown: tree.shown(),
                // Owners and set-ID bits are seen by the process as they are.
                origin: builder::copy::Origin::Image,
                ignore: None,
            }),
            sources: vec![Source::Path(literal(source_path(&mount.mount)).into())],
            destination: "/".into(),
            cwd: PathBuf::from("/"),
            excludes: IgnoreRules::default(),
            chown: None,
            chmod: None,
            layout: Layout::Flat,
            onto: Destination::Existing,
            times: Times::Fixed(0),
            privilege: self.privilege(),
        };
        let gathered = builder::copy::gather(&request, Some(&context.memo))?;
        Ok(gathered.digest().to_string())
    }

    fn copy_request<'r>(
        &self,
        copy: &'r BoundCopy,
        tree: &'r Tree<'r>,
    ) -> Result<CopyRequest<'r>, StepError> {
        let ignore = match tree {
            Tree::Context { directory, .. } => directory
                .ignore
                .as_ref()
                .map(|(file, rules)| Ignore { rules, file }),
            Tree::Layer { .. } | Tree::Live(_) | Tree::Downloaded(_) => None,
        };
        let sources = copy
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| match source {
                CopySource::Path(path) => Source::Path(path.into()),
                CopySource::Url { url, .. } => {
                    Source::Path(download::web_source(index, url).into())
                }
                CopySource::Inline(file) => Source::Inline {
                    name: file.name.clone().into(),
                    content: file.body.as_bytes(),
                },
            });
        Ok(CopyRequest {
            kind: match copy.word {
                CopyWord::Copy => CopyKind::Copy,
                CopyWord::Add => CopyKind::Add,
                CopyWord::AddPacked => CopyKind::AddPacked,
            },
            tree: Some(SourceTree {
                root: tree.root(),
                shown: tree.shown(),
                origin: tree.origin(),
                ignore,
            }),
            sources: sources.collect(),
            destination: copy.destination.clone().into(),
            cwd: PathBuf::from(&copy.workdir),
            excludes: IgnoreRules::from_excludes(copy.excludes.iter().map(String::as_str))?,
            chown: copy.chown.as_ref().map(|text| text.parse()).transpose()?,
            chmod: chmod(copy)?,
            layout: match copy.parents {
                Parents::Dropped => Layout::Flat,
                Parents::Kept => Layout::Parents,
            },
            onto: match copy.link {
                Link::Below => Destination::Existing,
                Link::Own => Destination::Fresh,
            },
            privilege: self.privilege(),
            times: match self.request.times.files {
                archive::Times::Fixed(seconds) => Times::Fixed(seconds),
                archive::Times::Keep | archive::Times::Clamp(_) => Times::Kept {
                    now: self.system_now(),
                },
            },
        })
    }
}

/// Says whether a copy takes files of the web.
pub(crate) fn is_download(copy: &BoundCopy) -> bool {
    let mut sources = copy.sources.iter();
    sources.any(|source| matches!(source, CopySource::Url { .. }))
}

/// The sources of a copy in one word, for saying which of them changed.
pub(crate) fn source_names(copy: &BoundCopy) -> String {
    let name = |source: &CopySource| match source {
        CopySource::Path(path) => path.clone(),
        CopySource::Inline(file) => file.name.clone(),
        CopySource::Url { url, .. } => url.clone(),
    };
    let names: Vec<String> = copy.sources.iter().map(name).collect();
    names.join(" ")
}

fn chmod(copy: &BoundCopy) -> Result<Option<Chmod>, StepError> {
    Ok(copy.chmod.as_deref().map(Chmod::parse).transpose()?)
}
