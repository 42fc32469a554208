//! Contexts and Containerfiles that are elsewhere: on standard input, on the web, in a git repository.
//!
//! They are brought into a folder of the host's temporary space that goes with the value. Repositories are read by the
//! host's `git`, as with Buildah; what a repository holds (hooks, settings) is not run.

use std::fs::File;
use std::io::{Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::downloads::Downloads;
use crate::world::World;

/// The most bytes that a Containerfile or an ignore file may have, here or elsewhere.
pub const MAX_FILE: u64 = 16 << 20;

/// Where the web or a repository has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file: an archive or a Containerfile.
    Web(String),
    /// A repository.
    Git {
        /// Its address.
        url: String,
        /// A branch, tag or commit; the repository's own choice without it.
        reference: Option<String>,
        /// The folder in it that is the context.
        folder: Option<String>,
    },
}

/// A context that was brought here, for as long as this lives.
#[derive(Debug)]
pub struct Brought {
    /// The context; empty for a Containerfile alone.
    pub context: PathBuf,
    /// The Containerfile, if that is all there is.
    pub containerfile: Option<Vec<u8>>,
    /// The folder that goes with this.
    pub folder: TempDir,
}

impl Address {
    /// Reads an address; `None` for what is a path of the host.
    pub fn parse(text: &str) -> Option<Self> {
        let starts = |schemes: &[&str]| schemes.iter().any(|scheme| text.starts_with(scheme));
        let is_web = starts(&["http://", "https://"]);
        let (bare, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_repository = Path::new(bare)
            .extension()
            .is_some_and(|ending| ending == "git");
        let is_git = starts(&["git://", "git@", "ssh://", "github.com/"])
            || is_repository && (is_web || starts(&["file://"]));
        if !is_git {
            return is_web.then(|| Self::Web(text.to_owned()));
        }
        let some = |word: &str| Some(word.to_owned()).filter(|word| !word.is_empty());
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        Some(Self::Git {
            url: match bare.strip_prefix("github.com/") {
                Some(_) => format!("https://{bare}"),
                None => bare.to_owned(),
            },
            reference: some(reference),
            folder: some(folder),
        })
    }

    /// Brings what is there.
    pub fn bring(&self, world: &World) -> Result<Brought> {
        match self {
            Self::Web(url) => {
                let folder = folder(world)?;
                let file = download(url, &folder, world);
                let file = file.context("prepping temporary context directory")?;
                unpack(file, folder).with_context(|| format!("using {url} as the context"))
            }
            Self::Git {
                url,
                reference,
                folder: inside,
            } => {
                let folder = folder(world)?;
                clone(url, reference.as_deref(), folder.path())
                    .with_context(|| format!("cloning {url:?}"))?;
                let context = match inside {
                    None => folder.path().to_owned(),
                    Some(inside) => within(folder.path(), inside)?,
                };
                Ok(Brought {
                    context,
                    containerfile: None,
                    folder,
                })
            }
        }
    }
}

/// Takes standard input: an archive is a context, everything else a Containerfile.
pub fn standard_input(world: &World) -> Result<Brought> {
    let folder = folder(world)?;
    let mut file = scratch_file(&folder)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("cannot read standard input")?;
    file.rewind()?;
    unpack(file, folder).context("using standard input as the context")
}

/// Fetches a Containerfile of at most `limit` bytes.
pub fn containerfile(url: &str, limit: u64, world: &World) -> Result<Vec<u8>> {
    let folder = folder(world)?;
    read(&mut download(url, &folder, world)?, limit).with_context(|| format!("reading {url}"))
}

fn folder(world: &World) -> Result<TempDir> {
    let place = world.big_temporary();
    let made = tempfile::Builder::new()
        .prefix("cooper-context-")
        .tempdir_in(&place);
    made.with_context(|| format!("cannot make a folder in {}", place.display()))
}

/// A file beside the context that has no name any more.
fn scratch_file(folder: &TempDir) -> Result<File> {
    Ok(tempfile::tempfile_in(folder.path())?)
}

fn download(url: &str, folder: &TempDir, world: &World) -> Result<File> {
    let mut file = scratch_file(folder)?;
    Downloads::new(world).fetch(url, &mut file)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

fn unpack(mut file: File, folder: TempDir) -> Result<Brought> {
    let context = folder.path().to_owned();
    let is_archive = archive::is_archive(&file)?;
    file.rewind()?;
    if !is_archive {
        let text = read(&mut file, MAX_FILE)?;
        return Ok(Brought {
            context,
            containerfile: Some(text),
            folder,
        });
    }
    let options = archive::ArchiveOptions {
        owner: None,
        modes: archive::Modes::Kept,
        privilege: super::archive_privilege(),
        limits: archive::Limits::default(),
    };
    let root = sys::Root::open(folder.path())?;
    archive::extract_archive(file, &root, Path::new("/"), &options)?;
    Ok(Brought {
        context,
        containerfile: None,
        folder,
    })
}

fn read(file: &mut File, limit: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(limit + 1).read_to_end(&mut text)?;
    if text.len() as u64 > limit {
        bail!("a Containerfile may have {limit} bytes");
    }
    Ok(text)
}

/// Makes a work tree of one commit in `folder`, with its submodules.
fn clone(url: &str, reference: Option<&str>, folder: &Path) -> Result<()> {
    let wanted = reference.unwrap_or("HEAD");
    if wanted.starts_with('-') || url.starts_with('-') {
        bail!("{wanted:?} is no name of a commit");
    }
    git(folder, &["init", "-q"])?;
    // Not every server can leave out what came before, and not every one hands out a commit by its name alone.
    let ways: [&[&str]; 2] = [&["--depth=1"], &[]];
    let fetch = |way: &&[&str]| {
        let words = [&["fetch", "-q"], *way, &["--", url, wanted]].concat();
        git(folder, &words)
    };
    if ways.iter().any(|way| fetch(way).is_ok()) {
        git(folder, &["checkout", "-q", "FETCH_HEAD"])?;
    } else {
        let all = [
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        ];
        git(folder, &["fetch", "-q", "--", url, all[0], all[1]])?;
        git(folder, &["checkout", "-q", "--detach", wanted, "--"])?;
    }
    if folder.join(".gitmodules").exists() {
        git(folder, &["remote", "add", "origin", url])?;
        let submodules = ["submodule", "--quiet", "update", "--init", "--recursive"];
        git(folder, &submodules)?;
    }
    Ok(())
}

fn git(folder: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    // Nothing of the repository is run, and no program by the name of a transport.
    command.args([
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "protocol.ext.allow=never",
    ]);
    command.args(words).env("GIT_TERMINAL_PROMPT", "0");
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("git cannot be started: contexts in repositories need it")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("git {}: {}: {}", words[0], output.status, said.trim())
}

/// Returns a folder of the work tree; links do not lead out of it.
fn within(tree: &Path, inside: &str) -> Result<PathBuf> {
    let failed = || format!("the folder {inside:?} of the repository");
    let tree = tree.canonicalize()?;
    let found = tree.join(inside.trim_start_matches('/'));
    let found = found.canonicalize().with_context(failed)?;
    if !found.starts_with(&tree) || !found.is_dir() {
        bail!("{} is none in it", failed());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let web = |url: &str| Some(Address::Web(url.to_owned()));
        let git = |url: &str, reference: &str, folder: &str| {
            let some = |word: &str| Some(word.to_owned()).filter(|word| !word.is_empty());
            Some(Address::Git {
                url: url.to_owned(),
                reference: some(reference),
                folder: some(folder),
            })
        };
        for (text, expected) in [
            (".", None),
            ("dir.git", None),
            ("http://h/c.tar", web("http://h/c.tar")),
            ("https://h/Dockerfile", web("https://h/Dockerfile")),
            ("https://h/x.git", git("https://h/x.git", "", "")),
            (
                "https://h/x.git#v1:sub",
                git("https://h/x.git", "v1", "sub"),
            ),
            ("git://h/x#:sub/d", git("git://h/x", "", "sub/d")),
            ("git@h:x.git#main", git("git@h:x.git", "main", "")),
            ("github.com/o/n", git("https://github.com/o/n", "", "")),
            ("file:///r.git", git("file:///r.git", "", "")),
        ] {
            assert_eq!(Address::parse(text), expected, "{text}");
        }
    }
}
