//! From a request to a plan: what the sources are, what each contributes, and the digest of it all.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use containerfile::{Chmod, ChmodTarget};
use rustix::fs::FileType;
use rustix::io::Errno;
use sys::Root;

use super::archived::is_archive;
use super::filter::{Decision, Filter};
use super::path::{base_of, dir_of, os, shown};
use super::plan::{self, FileTime, Listing, Locate, ParentDir, Part, Rules, Shape};
use super::source::{Match, SourcePath};
use super::walk::Walker;
use super::{
    Chown, ContentDigest, CopyError, CopyKind, CopyRequest, Destination, Layout, Memo, Origin,
    Source, SourceTree, Times,
};

/// Mode of a heredoc's file.
const INLINE_MODE: u32 = 0o644;

/// Sources that were read: the plan of a copy, and its digest.
#[derive(Debug)]
pub struct Gathered {
    pub(super) parts: Vec<Part>,
    /// How many files, directories and heredocs the sources name.
    pub(super) items: usize,
    pub(super) destination: Vec<u8>,
    pub(super) cwd: Vec<u8>,
    pub(super) chown: Option<Chown>,
    pub(super) chmod: Option<Chmod>,
    pub(super) layout: Layout,
    pub(super) onto: Destination,
    pub(super) times: Times,
    pub(super) privilege: archive::Privilege,
    digest: ContentDigest,
}

impl Gathered {
    /// Returns the digest of the sources as they will be made: names, types, contents, modes,
    /// owners, links, attributes, and how they are treated; not times, not the destination, and
    /// not whether it is made fresh.
    ///
    /// A `--chown` with names counts by its words: what they mean is a matter of the root.
    #[must_use]
    pub fn digest(&self) -> ContentDigest {
        self.digest
    }

    /// Returns the latest time of what the sources name; a heredoc has none.
    pub(super) fn latest(&self) -> Option<FileTime> {
        let listings = self.parts.iter().flat_map(|part| match part {
            Part::Tree { listings, .. } => listings.as_slice(),
            Part::Archive { listing, .. } => std::slice::from_ref(listing),
            Part::Inline { .. } => &[],
        });
        let entries = listings.flat_map(|listing| &listing.entries);
        entries.map(|entry| entry.stamp.mtime).max()
    }

    /// Returns the word that stands for the sources in an image's history: `file:`, `dir:` or
    /// `multi:` with 64 hexadecimal digits (containerfile-semantics 13.2).
    #[must_use]
    pub fn history_word(&self) -> String {
        let kind = match self.parts.as_slice() {
            [
                Part::Tree {
                    shape: Shape::Contents,
                    ..
                },
            ] if self.items == 1 => "dir",
            [_] if self.items == 1 => "file",
            _ => "multi",
        };
        format!("{kind}:{}", self.digest)
    }

    /// Returns the number of entries that will be made, directories included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Tree { listings, .. } => listings.iter().map(|list| list.entries.len()).sum(),
                Part::Inline { .. } | Part::Archive { .. } => 1,
            })
            .sum()
    }
}

/// Reads the sources of a request.
///
/// # Errors
/// When a source is missing, excluded, of a kind that cannot be copied, breaks a limit, or changes
/// while it is read.
pub fn gather(request: &CopyRequest<'_>, memo: Option<&Memo>) -> Result<Gathered, CopyError> {
    if request.sources.is_empty() {
        return Err(CopyError::NoSource);
    }
    let settled_before = FileTime::settled_before(SystemTime::now());
    let mut collected = Collected {
        parts: Vec::new(),
        items: 0,
    };
    let below_tree = match &request.tree {
        Some(tree) => Some(BelowTree::new(request, tree, memo, settled_before)?),
        None => None,
    };
    for source in &request.sources {
        match source {
            Source::Inline { name, content } => {
                let rules = Rules {
                    chown: request.chown.as_ref(),
                    chmod: request.chmod.as_ref(),
                    origin: Origin::Context,
                };
                let (uid, gid) = rules.owner(0, 0);
                collected.items += 1;
                collected.parts.push(Part::Inline {
                    name: name.as_encoded_bytes().to_vec(),
                    content: content.to_vec(),
                    mode: rules.mode(INLINE_MODE, ChmodTarget::File),
                    uid,
                    gid,
                });
            }
            Source::Path(word) => {
                let word = word.as_encoded_bytes();
                refuse_remote(request.kind, word)?;
                let below = below_tree.as_ref().ok_or_else(|| CopyError::NoTree {
                    pattern: shown(word),
                })?;
                below.add(word, &mut collected)?;
            }
        }
    }
    let digest = plan::digest(
        &words(request).iter().map(Vec::as_slice).collect::<Vec<_>>(),
        &collected.parts,
    );
    Ok(Gathered {
        parts: collected.parts,
        items: collected.items,
        destination: request.destination.as_encoded_bytes().to_vec(),
        cwd: request.cwd.as_os_str().as_encoded_bytes().to_vec(),
        chown: request.chown.clone(),
        chmod: request.chmod.clone(),
        layout: request.layout,
        onto: request.onto,
        times: request.times,
        privilege: request.privilege,
        digest,
    })
}

/// The words of a request that change what is made, beside the entries themselves.
fn words(request: &CopyRequest<'_>) -> Vec<Vec<u8>> {
    let CopyRequest {
        kind,
        chown,
        chmod,
        layout,
        times,
        // Counted by what they left in the plan.
        tree: _,
        sources: _,
        excludes: _,
        // The caller's: words, not content.
        destination: _,
        cwd: _,
        onto: _,
        // What cannot be made is left out or an error, never something else.
        privilege: _,
    } = request;
    let kind: &[u8] = match kind {
        CopyKind::Add => b"unpack",
        CopyKind::Copy | CopyKind::AddPacked => b"copy",
    };
    let layout: &[u8] = match layout {
        Layout::Flat => b"flat",
        Layout::Parents => b"parents",
    };
    let time = match times {
        Times::Kept { .. } => b"kept".to_vec(),
        Times::Fixed(seconds) => seconds.to_string().into_bytes(),
    };
    vec![
        kind.to_vec(),
        layout.to_vec(),
        time,
        format!("{chown:?}").into_bytes(),
        format!("{chmod:?}").into_bytes(),
    ]
}

fn refuse_remote(kind: CopyKind, word: &[u8]) -> Result<(), CopyError> {
    let is_url = [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| word.starts_with(scheme));
    let is_git = [&b"git@"[..], b"git://", b"ssh://"]
        .iter()
        .any(|scheme| word.starts_with(scheme));
    match (kind, is_url, is_git) {
        (_, false, false) => Ok(()),
        (CopyKind::Copy, true, _) => Err(CopyError::UrlInCopy),
        (CopyKind::Copy, false, true) => Ok(()),
        (_, is_url, _) => Err(CopyError::RemoteSource {
            source_text: shown(word),
            what: if is_url && !word.ends_with(b".git") {
                "URL"
            } else {
                "git"
            },
        }),
    }
}

struct Collected {
    parts: Vec<Part>,
    items: usize,
}

/// The sources of one tree.
struct BelowTree<'a> {
    request: &'a CopyRequest<'a>,
    tree: &'a SourceTree<'a>,
    root: Arc<Root>,
    memo: Option<&'a Memo>,
    filter: Filter<'a>,
    rules: Rules<'a>,
    settled_before: FileTime,
}

impl<'a> BelowTree<'a> {
    fn new(
        request: &'a CopyRequest<'a>,
        tree: &'a SourceTree<'a>,
        memo: Option<&'a Memo>,
        settled_before: FileTime,
    ) -> Result<Self, CopyError> {
        let root = tree.root.try_clone().map_err(|source| CopyError::Source {
            action: "open",
            path: "/".to_owned(),
            source,
        })?;
        Ok(Self {
            request,
            tree,
            root: Arc::new(root),
            memo,
            filter: Filter::new(tree.ignore.map(|ignore| ignore.rules), &request.excludes),
            rules: Rules {
                chown: request.chown.as_ref(),
                chmod: request.chmod.as_ref(),
                origin: tree.origin,
            },
            settled_before,
        })
    }

    fn walker(&self) -> Walker<'_> {
        Walker {
            root: self.tree.root,
            rules: self.rules,
            filter: &self.filter,
            memo: self.memo,
            settled_before: self.settled_before,
        }
    }

    fn add(&self, word: &[u8], collected: &mut Collected) -> Result<(), CopyError> {
        let source = SourcePath::parse(word)?;
        let matches = source.matches(self.tree)?;
        if matches.is_empty() {
            return Err(CopyError::NoMatch {
                tree: self.tree.shown.to_owned(),
                pattern: source.text,
            });
        }
        let count = matches.len();
        let mut named: Vec<Match> = Vec::new();
        let mut copied = 0;
        for item in matches {
            let decision = self.filter.decide_named(&item.path);
            if decision == Decision::Exclude || decision == Decision::Ignore {
                continue;
            }
            match self.kind_of(&item, &source)? {
                Kind::Directory => {
                    self.flush(&mut named, collected)?;
                    copied += usize::from(self.directory(&item, decision, collected)?);
                }
                // Only a directory can hold something that is kept although it is excluded itself.
                _ if decision == Decision::Descend => {}
                Kind::Link => {
                    self.flush(&mut named, collected)?;
                    let name = base_of(&item.path);
                    let listing = self.walker().followed(&item.path, name)?;
                    self.push_named(&item, listing, Locate::Path(item.path.clone()), collected)?;
                    copied += 1;
                }
                Kind::Other => {
                    let in_group = |first: &Match| {
                        dir_of(&first.path) == dir_of(&item.path)
                            && first.kept_from == item.kept_from
                    };
                    if !named.last().is_none_or(in_group) {
                        self.flush(&mut named, collected)?;
                    }
                    named.push(item);
                    copied += 1;
                }
            }
        }
        self.flush(&mut named, collected)?;
        if copied == 0 {
            return Err(CopyError::AllFiltered {
                tree: self.tree.shown.to_owned(),
                pattern: source.text,
                count,
                rules: self.tree.ignore.map(|ignore| ignore.file.to_owned()),
            });
        }
        collected.items += copied;
        Ok(())
    }

    fn kind_of(&self, item: &Match, source: &SourcePath) -> Result<Kind, CopyError> {
        let path = Path::new(os(&item.path));
        let kind = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
        let own = self.tree.root.stat_nofollow(path).map(kind);
        let end = match own {
            Ok(FileType::Symlink) => self
                .tree
                .root
                .resolve(path)
                .and_then(|handle| Ok(rustix::fs::fstat(handle)?))
                .map(kind)
                .map(|end| {
                    if end == FileType::Directory {
                        Kind::Directory
                    } else {
                        Kind::Link
                    }
                }),
            Ok(FileType::Directory) => Ok(Kind::Directory),
            Ok(_) => Ok(Kind::Other),
            Err(err) => Err(err),
        };
        end.map_err(
            |err| match err.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::NOTDIR) => CopyError::MissingSource {
                    tree: self.tree.shown.to_owned(),
                    pattern: if source.is_plain() {
                        source.text.clone()
                    } else {
                        shown(&item.path)
                    },
                },
                _ => CopyError::Source {
                    action: "resolve",
                    path: format!("/{}", shown(&item.path)),
                    source: err,
                },
            },
        )
    }

    /// Adds the contents of a directory; returns whether anything was copied.
    fn directory(
        &self,
        item: &Match,
        decision: Decision,
        collected: &mut Collected,
    ) -> Result<bool, CopyError> {
        let walked = self.walker().contents(&item.path)?;
        let mut listings = walked.listings;
        let is_empty = listings.first().is_none_or(|top| top.entries.is_empty());
        if is_empty && (decision == Decision::Descend || walked.excluded > 0) {
            return Ok(false);
        }
        plan::link_names(&mut listings);
        let mut parents = self.parents(dir_of(&item.path), item.kept_from)?;
        if self.request.layout == Layout::Parents && item.path.len() >= item.kept_from.max(1) {
            parents.push(self.parent(&item.path, item.kept_from)?);
        }
        collected.parts.push(Part::Tree {
            root: Arc::clone(&self.root),
            parents,
            listings,
            locate: Locate::Name,
            shape: Shape::Contents,
        });
        Ok(true)
    }

    /// Adds neighbouring files of one directory as one part, or each archive as its own.
    fn flush(&self, named: &mut Vec<Match>, collected: &mut Collected) -> Result<(), CopyError> {
        let group = std::mem::take(named);
        let Some(first) = group.first() else {
            return Ok(());
        };
        let unpack = self.request.kind == CopyKind::Add;
        let names: Vec<&[u8]> = group.iter().map(|item| base_of(&item.path)).collect();
        let singly = unpack || !names.is_sorted_by(|a, b| a < b);
        for names in names.chunks(if singly { 1 } else { names.len() }) {
            let listing = self.walker().named(dir_of(&first.path), names)?;
            if listing.entries.len() < names.len() {
                return Err(CopyError::Changed {
                    path: format!("/{}", shown(&first.path)),
                });
            }
            self.push_named(first, listing, Locate::Name, collected)?;
        }
        Ok(())
    }

    fn push_named(
        &self,
        item: &Match,
        listing: Listing,
        locate: Locate,
        collected: &mut Collected,
    ) -> Result<(), CopyError> {
        let root = Arc::clone(&self.root);
        if self.request.kind == CopyKind::Add && is_archive(&root, &listing, &locate)? {
            collected.parts.push(Part::Archive {
                root,
                listing,
                locate,
            });
            return Ok(());
        }
        let mut listings = vec![listing];
        plan::link_names(&mut listings);
        let parents = self.parents(dir_of(&item.path), item.kept_from)?;
        collected.parts.push(Part::Tree {
            root,
            parents,
            listings,
            locate,
            shape: Shape::Named,
        });
        Ok(())
    }

    /// Returns the directories that `--parents` makes for something in `dir`.
    fn parents(&self, dir: &[u8], kept_from: usize) -> Result<Vec<ParentDir>, CopyError> {
        if self.request.layout == Layout::Flat || dir.len() <= kept_from {
            return Ok(Vec::new());
        }
        let ends = (kept_from..dir.len())
            .filter(|at| dir[*at] == b'/')
            .chain([dir.len()]);
        ends.map(|end| self.parent(&dir[..end], kept_from))
            .collect()
    }

    fn parent(&self, path: &[u8], kept_from: usize) -> Result<ParentDir, CopyError> {
        let stat = self
            .tree
            .root
            .resolve(Path::new(os(path)))
            .and_then(|handle| super::walk::stat_fd(std::os::fd::AsFd::as_fd(&handle)))
            .map_err(|source| CopyError::Source {
                action: "read the metadata of",
                path: format!("/{}", shown(path)),
                source,
            })?;
        let (uid, gid) = self.rules.owner(stat.stx_uid, stat.stx_gid);
        Ok(ParentDir {
            below: path[kept_from..].to_vec(),
            mode: self
                .rules
                .mode(stat.stx_mode.into(), ChmodTarget::Directory),
            uid,
            gid,
            mtime: FileTime {
                seconds: stat.stx_mtime.tv_sec,
                nanos: stat.stx_mtime.tv_nsec,
            },
        })
    }
}

enum Kind {
    Directory,
    /// A link to something else than a directory.
    Link,
    Other,
}
