//! From the words of a request to paths that exist: cleaning, patterns, and the `/./` pivot.
//!
//! Paths are bytes without a leading slash, relative to the source tree's root. `..` is resolved in
//! the text and stops at the root. Directories on the way may be links; they are followed inside
//! the root, by the kernel.

use std::io;
use std::path::Path;

use containerfile::Glob;
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::path::{join, os, shown};
use super::{CopyError, SourceTree};

/// Most paths that one pattern may match.
const MAX_MATCHES: usize = 1 << 20;
/// Most directories that `**` looks into.
const MAX_DIRECTORIES: usize = 1 << 20;

/// One thing that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub path: Vec<u8>,
    /// From this byte of `path` on, directories are kept by `--parents`.
    pub kept_from: usize,
}

#[derive(Debug)]
enum Step {
    Name(Vec<u8>),
    Pattern(Glob),
    /// `**`: this directory and all below it.
    AnyDepth,
}

/// A source, taken apart.
#[derive(Debug)]
pub(super) struct SourcePath {
    steps: Vec<Step>,
    /// Number of steps before the pivot.
    pivot: usize,
    /// The cleaned text, for messages.
    pub text: String,
}

/// Whether any text is special in a pattern.
fn is_pattern(word: &[u8]) -> bool {
    word.iter().any(|b| b"*?[\\".contains(b))
}

/// Cleans a path: no empty parts, no `.`, and `..` takes away what is before it.
pub(super) fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

impl SourcePath {
    pub fn parse(word: &[u8]) -> Result<Self, CopyError> {
        let pivot = word.windows(3).position(|part| part == b"/./");
        let before = pivot.map_or(0, |at| clean(&word[..at]).len());
        let parts = clean(word);
        let text = shown(&parts.join(&b'/'));
        let step = |part: &&[u8]| match *part {
            b"**" => Ok(Step::AnyDepth),
            part if is_pattern(part) => {
                Glob::parse(&shown(part))
                    .map(Step::Pattern)
                    .map_err(|source| CopyError::BadPattern {
                        pattern: shown(word),
                        source,
                    })
            }
            part => Ok(Step::Name(part.to_vec())),
        };
        let steps = parts.iter().map(step).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            pivot: before.min(steps.len()),
            steps,
            text,
        })
    }

    pub fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Name(_)))
    }

    /// Returns what the source names in `tree`, sorted within each directory.
    pub fn matches(&self, tree: &SourceTree<'_>) -> Result<Vec<Match>, CopyError> {
        let mut found = vec![Match {
            path: Vec::new(),
            kept_from: 0,
        }];
        for (index, step) in self.steps.iter().enumerate() {
            if index == self.pivot {
                mark_pivot(&mut found);
            }
            found = self.advance(tree, found, step)?;
        }
        if self.pivot == self.steps.len() {
            mark_pivot(&mut found);
        }
        if !self.is_plain() {
            // Names behind a pattern were only joined.
            found.retain(|item| {
                tree.root
                    .resolve_nofollow(Path::new(os(&item.path)))
                    .is_ok()
            });
        }
        Ok(found)
    }

    fn advance(
        &self,
        tree: &SourceTree<'_>,
        from: Vec<Match>,
        step: &Step,
    ) -> Result<Vec<Match>, CopyError> {
        let mut next: Vec<Match> = Vec::with_capacity(from.len());
        for item in from {
            let into = |path| Match {
                path,
                kept_from: item.kept_from,
            };
            match step {
                Step::Name(name) => next.push(into(join(&item.path, name))),
                Step::Pattern(pattern) => {
                    let mut names = names_of(tree, &item.path)?;
                    names.retain(|(name, _)| pattern.matches(&String::from_utf8_lossy(name)));
                    next.extend(
                        names
                            .into_iter()
                            .map(|(name, _)| into(join(&item.path, &name))),
                    );
                }
                Step::AnyDepth => {
                    next.extend(directories(tree, item.path)?.into_iter().map(into));
                }
            }
            self.limit(next.len(), MAX_MATCHES)?;
        }
        let mut seen = std::collections::HashSet::new();
        if matches!(step, Step::AnyDepth) {
            next.retain(|item| seen.insert(item.path.clone()));
        }
        Ok(next)
    }

    fn limit(&self, count: usize, limit: usize) -> Result<(), CopyError> {
        if count <= limit {
            return Ok(());
        }
        Err(CopyError::TooMany {
            path: self.text.clone(),
            what: "matches",
            limit,
        })
    }
}

fn mark_pivot(found: &mut [Match]) {
    for item in found {
        item.kept_from = if item.path.is_empty() {
            0
        } else {
            item.path.len() + 1
        };
    }
}

/// Returns the sorted names in a directory; none when it is not one.
fn names_of(tree: &SourceTree<'_>, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, CopyError> {
    let failed = |source: io::Error| CopyError::Source {
        action: "read",
        path: format!("/{}", shown(path)),
        source,
    };
    let fd = match tree.root.open_dir(Path::new(os(path))) {
        Ok(fd) => fd,
        Err(err) => {
            return match err.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(Vec::new()),
                _ => Err(failed(err)),
            };
        }
    };
    let mut names = Vec::new();
    for entry in Dir::new(fd).map_err(|err| failed(err.into()))? {
        let entry = entry.map_err(|err| failed(err.into()))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// Returns `path` and all directories below it, parents first; links are not followed.
fn directories(tree: &SourceTree<'_>, path: Vec<u8>) -> Result<Vec<Vec<u8>>, CopyError> {
    let mut found = Vec::new();
    let mut stack = vec![path];
    while let Some(path) = stack.pop() {
        let names = names_of(tree, &path)?;
        let is_dir = |name: &[u8], kind: FileType| match kind {
            FileType::Directory => true,
            FileType::Unknown => tree
                .root
                .stat_nofollow(Path::new(os(&join(&path, name))))
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            _ => false,
        };
        let below: Vec<Vec<u8>> = names
            .iter()
            .rev()
            .filter(|(name, kind)| is_dir(name, *kind))
            .map(|(name, _)| join(&path, name))
            .collect();
        found.push(path);
        stack.extend(below);
        if found.len() + stack.len() > MAX_DIRECTORIES {
            let path = shown(&found[0]);
            return Err(CopyError::TooMany {
                path,
                what: "directories",
                limit: MAX_DIRECTORIES,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_inside_the_root() {
        for (text, expected) in [
            ("a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("../../a", "a"),
            ("a/../../b", "b"),
            (".", ""),
            ("/", ""),
            ("..", ""),
        ] {
            assert_eq!(
                clean(text.as_bytes()).join(&b'/'),
                expected.as_bytes(),
                "{text}"
            );
        }
    }

    #[test]
    fn the_pivot_counts_parts() {
        for (text, pivot) in [
            ("a/b", 0),
            ("a/./b", 1),
            ("a/b/./c/./d", 2),
            ("/./a", 0),
            ("a/../b/./c", 1),
        ] {
            assert_eq!(
                SourcePath::parse(text.as_bytes()).unwrap().pivot,
                pivot,
                "{text}"
            );
        }
    }
}
