//! Files of the web as sources of ADD: fetched into a directory of the store, and copied from there like others.

use crate::bound::{BoundCopy, CopySource};
use crate::error::{DownloadError, StepError};
use model::Digest;
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;
use store::{Scratch, Store};
use sys::Root;

/// How many bytes are hashed at once.
const PIECE: usize = 128 << 10;

/// Mode of a file that comes from the web.
const MODE: u32 = 0o600;

/// Fetches files of the web.
pub trait Downloads: Sync {
    /// Writes what `url` stands for to `out`, and returns when it was last changed, if that is known.
    ///
    /// # Errors
    /// When it cannot be had.
    fn fetch(&self, url: &str, out: &mut File) -> Result<Option<SystemTime>, DownloadError>;
}

/// A file of the web that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct WebFile<'a> {
    /// Its address.
    pub url: &'a str,
    /// The digest that it must have.
    pub checksum: Option<&'a Digest>,
}

/// The files of one copy. They are gone with this.
#[derive(Debug)]
pub struct Downloaded {
    /// The directory that [`web_source`] is a source of.
    pub root: Root,
    _scratch: Scratch,
}

impl Downloaded {
    /// Fetches the files that a copy names.
    pub(crate) fn fetch(
        copy: &BoundCopy,
        store: &Store,
        downloads: &dyn Downloads,
    ) -> Result<Self, StepError> {
        let numbered = copy.sources.iter().enumerate();
        let files = numbered.filter_map(|(index, source)| match source {
            CopySource::Url { url, checksum } => {
                let checksum = checksum.as_ref();
                Some((index, WebFile { url, checksum }))
            }
            CopySource::Path(_) | CopySource::Inline(_) => None,
        });
        Self::fetch_files(files, store, downloads)
    }

    /// Fetches files by their numbers, each into a directory of its own, so that equal names do not meet.
    ///
    /// # Errors
    /// When one cannot be had or kept, or has another digest.
    pub fn fetch_files<'f>(
        files: impl IntoIterator<Item = (usize, WebFile<'f>)>,
        store: &Store,
        downloads: &dyn Downloads,
    ) -> Result<Self, StepError> {
        let scratch = store.scratch()?;
        for (index, WebFile { url, checksum }) in files {
            let place = scratch.path().join(path(index, url));
            let kept = |source| StepError::KeepDownload {
                url: url.to_owned(),
                source,
            };
            let parent = place.parent().unwrap_or(scratch.path());
            std::fs::create_dir(parent).map_err(kept)?;
            let mut file = File::create_new(&place).map_err(kept)?;
            let fetched = downloads.fetch(url, &mut file);
            let modified = fetched.map_err(|source| StepError::Download {
                url: url.to_owned(),
                source,
            })?;
            if let Some(wanted) = checksum {
                check(url, &place, wanted)?;
            }
            let time = modified.unwrap_or(SystemTime::UNIX_EPOCH);
            file.set_modified(time).map_err(kept)?;
            let mode = Permissions::from_mode(MODE);
            file.set_permissions(mode).map_err(kept)?;
        }
        let root = Root::open(scratch.path()).map_err(StepError::Root)?;
        Ok(Self {
            root,
            _scratch: scratch,
        })
    }
}

/// The source of a copy that the file of this number and address is.
pub fn web_source(index: usize, url: &str) -> String {
    literal(&path(index, url))
}

/// Where a file lies: its name is the last part of the address.
fn path(index: usize, url: &str) -> String {
    format!("{index}/{}", name(url).unwrap_or("download"))
}

/// Returns the last part of an address without query and fragment.
pub(crate) fn name(url: &str) -> Option<&str> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let (_, path) = url[after_scheme..end].split_once('/')?;
    let name = path.rsplit('/').next().unwrap_or(path);
    (!matches!(name, "" | "." | "..")).then_some(name)
}

fn check(url: &str, place: &Path, wanted: &Digest) -> Result<(), StepError> {
    let kept = |source| StepError::KeepDownload {
        url: url.to_owned(),
        source,
    };
    let mut file = File::open(place).map_err(kept)?;
    let mut hasher = model::Hasher::new(wanted.algorithm());
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece).map_err(kept)?;
        if count == 0 {
            break;
        }
        hasher.update(&piece[..count]);
    }
    let found = hasher.finish();
    if found == *wanted {
        return Ok(());
    }
    Err(StepError::Checksum {
        url: url.to_owned(),
        found,
        wanted: wanted.clone(),
    })
}

/// A source that is no pattern, whatever it is called.
pub(crate) fn literal(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (url, expected) in [
            ("http://h/a/b.tar?x=1/2", Some("b.tar")),
            ("https://h:1/f#g", Some("f")),
            ("http://h/a/", None),
            ("http://h", None),
            ("http://h/..", None),
        ] {
            assert_eq!(name(url), expected, "{url}");
        }
    }
}
