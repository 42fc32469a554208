//! Bills of materials: what scanners find in a root file system and in contexts, put together into one document.
//!
//! Scanners run one after the other in a container of the scanner's image that is gone afterwards; they see what they
//! look at read-only. How the image came into the store, and what becomes of the documents, is the caller's.

mod error;
mod merge;
mod preset;

use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use runtime::network::Pool;
use runtime::{Output, Stdin, Stop, Stream};
use store::{RootMount, RootSource, Store};
use sys::Root;

pub use error::ScanError;
pub use merge::{MergeError, Strategy};
pub use preset::preset;

use crate::container::BaseImage;
use crate::run::{
    Access, BindMount, Command, Environment, MountSource, RunMount, RunPlace, RunRequest,
    VolumeMount,
};
use crate::words;

/// Where scanners see the root file system.
const ROOT: &str = "/.rootfs";
/// Where they see contexts, each with its number behind.
const CONTEXT: &str = "/.context";
/// Where they write.
const OUTPUT: &str = "/.scans";
/// The most bytes that a scanner may write.
const DOCUMENT_MAX: u64 = 512 << 20;
/// What makes a shell of a command line more than words.
const SHELL_SYNTAX: &[char] = &['<', '>', '|', '&', ';', '(', ')', '`'];

/// Which scanner runs, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    /// The name of its image.
    pub image: String,
    /// Command lines with `{ROOTFS}` or `{CONTEXT}`, and `{OUTPUT}`.
    pub commands: Vec<String>,
    /// How the documents are put together that the commands write.
    pub strategy: Strategy,
}

/// What a scanner looks at, and where it runs.
#[derive(Debug, Clone, Copy)]
pub struct ScanPlace<'a> {
    /// The store.
    pub store: &'a Store,
    /// The scanner's image.
    pub image: &'a BaseImage,
    /// The root file system.
    pub root: &'a RootMount,
    /// Build contexts.
    pub contexts: &'a [Root],
    /// A directory for what scanners write meanwhile.
    pub temporary: &'a Path,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The document.
    pub document: Vec<u8>,
    /// The package URLs in it, as a JSON document.
    pub packages: Vec<u8>,
}

/// Runs a scanner's commands and puts together what they write; what they say goes to `said`.
///
/// # Errors
/// See [`ScanError`].
pub fn scan(
    scanner: &Scanner,
    place: ScanPlace<'_>,
    said: &mut dyn FnMut(Stream, &[u8]),
    stop: &Stop,
) -> Result<Bill, ScanError> {
    let written = tempfile::Builder::new()
        .prefix("scans")
        .tempdir_in(place.temporary)
        .map_err(|source| ScanError::Temporary {
            path: place.temporary.to_owned(),
            source,
        })?;
    // The scanner's user may be any.
    std::fs::set_permissions(written.path(), Permissions::from_mode(0o777)).map_err(|source| {
        ScanError::Temporary {
            path: written.path().to_owned(),
            source,
        }
    })?;
    let config = place.image.inherited().map_err(ScanError::Image)?.config;
    let commands = resolved(scanner, &config.shell, place.contexts.len());
    if commands.is_empty() {
        return Err(ScanError::NothingToScan);
    }
    let mut stack = place.store.stack(place.image.layer.as_ref())?;
    for (command, _) in &commands {
        let run_place = RunPlace {
            root: stack.root()?,
            store: place.store,
            caches: place.temporary,
            networks: &Pool::default(),
        };
        let request = RunRequest {
            environment: Environment {
                image: config.env.clone(),
                ..Environment::default()
            },
            user: config.user.clone(),
            working_dir: Path::new("/").join(&config.working_dir),
            mounts: mounts(&place, written.path()),
            ..RunRequest::new(Command::Exec(command.clone()))
        };
        let output = Output::Relay(&mut *said);
        crate::run::run(run_place, &request, Stdin::Null, output, stop).map_err(|source| {
            ScanError::Command {
                command: command.join(" "),
                source,
            }
        })?;
    }
    let documents = commands
        .iter()
        .map(|(_, name)| read(&written.path().join(name)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(scanner.strategy.merge(&documents)?)
}

/// The commands to run, each with the name of the file that it writes.
fn resolved(scanner: &Scanner, shell: &[String], contexts: usize) -> Vec<(Vec<String>, String)> {
    let mut all = Vec::new();
    for line in &scanner.commands {
        let words = command_words(line, shell);
        let has = |name: &str| words.iter().any(|word| word.contains(name));
        let seen: Vec<(&str, String)> = if has("{CONTEXT}") && contexts > 0 {
            (0..contexts)
                .map(|number| ("{CONTEXT}", format!("{CONTEXT}{number}")))
                .collect()
        } else if has("{ROOTFS}") {
            vec![("{ROOTFS}", ROOT.to_owned())]
        } else {
            Vec::new()
        };
        for (name, place) in seen {
            let file = format!("scan{}.json", all.len());
            let output = format!("{OUTPUT}/{file}");
            let words = words
                .iter()
                .map(|word| word.replace(name, &place).replace("{OUTPUT}", &output));
            all.push((words.collect(), file));
        }
    }
    all
}

/// Splits a command line here where that is enough: images of scanners may lack a shell.
fn command_words(line: &str, shell: &[String]) -> Vec<String> {
    match words::split(line) {
        Ok(words) if !line.contains(SHELL_SYNTAX) => words,
        _ => Command::Shell {
            shell: shell.to_vec(),
            script: line.to_owned(),
        }
        .arguments(),
    }
}

fn mounts<'a>(place: &ScanPlace<'a>, written: &Path) -> Vec<RunMount<'a>> {
    let seen = |source, target: PathBuf| {
        RunMount::Bind(BindMount::new(source, PathBuf::from("/"), target))
    };
    let root = match place.root.source() {
        RootSource::Detached(_) => MountSource::Detached(place.root.root()),
        RootSource::Directory(_) => MountSource::Host(place.root.root()),
    };
    let mut mounts = vec![
        RunMount::Volume(VolumeMount {
            source: written.to_owned(),
            target: PathBuf::from(OUTPUT),
            access: Access::ReadWrite,
            ..VolumeMount::default()
        }),
        seen(root, PathBuf::from(ROOT)),
    ];
    for (number, context) in place.contexts.iter().enumerate() {
        let target = PathBuf::from(format!("{CONTEXT}{number}"));
        mounts.push(seen(MountSource::Host(context), target));
    }
    mounts
}

/// Reads what a scanner has written, which a link must not lead elsewhere.
fn read(path: &Path) -> Result<Vec<u8>, ScanError> {
    let failed = |source| ScanError::Document {
        path: path.to_owned(),
        source,
    };
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::NONBLOCK
        | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(DOCUMENT_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(ScanError::TooLarge {
            limit: DOCUMENT_MAX,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(commands: &[&str], contexts: usize) -> Vec<String> {
        let scanner = Scanner {
            image: "x".to_owned(),
            commands: commands.iter().map(|&line| line.to_owned()).collect(),
            strategy: Strategy::Cat,
        };
        resolved(&scanner, &[], contexts)
            .into_iter()
            .map(|(words, file)| format!("{} > {file}", words.join("|")))
            .collect()
    }

    #[test]
    fn commands_name_what_they_look_at() {
        let check = |commands: &[&str], contexts, expected: &[&str]| {
            assert_eq!(lines(commands, contexts), expected, "{commands:?}");
        };
        check(
            &["scan 'dir:{ROOTFS}' -o={OUTPUT}", "scan {CONTEXT} {OUTPUT}"],
            2,
            &[
                "scan|dir:/.rootfs|-o=/.scans/scan0.json > scan0.json",
                "scan|/.context0|/.scans/scan1.json > scan1.json",
                "scan|/.context1|/.scans/scan2.json > scan2.json",
            ],
        );
        check(&["scan {CONTEXT} {OUTPUT}", "scan {OUTPUT}"], 0, &[]);
        check(
            &["scan {ROOTFS} > {OUTPUT}"],
            1,
            &["/bin/sh|-c|scan /.rootfs > /.scans/scan0.json > scan0.json"],
        );
    }
}
