//! `/etc/subuid` and `/etc/subgid`: the ids that a user may map into user namespaces.
//!
//! What other sources a host has for them (`subid` in nsswitch.conf) is not asked.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Longest file, in bytes: a line for each of a hundred thousand users.
const MAX_FILE: u64 = 4 << 20;

/// Ids that belong to somebody, in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubIdRange {
    /// The first one.
    pub start: u32,
    /// How many there are, the first included; never 0.
    pub count: u32,
}

/// Which of the two files is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubIdKind {
    /// Users.
    Users,
    /// Groups.
    Groups,
}

/// Why it is not known which ids somebody has. The words are those of the Go tools.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubIdError {
    /// The file cannot be read.
    #[error("open {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is too long.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A line has not three fields.
    #[error("cannot parse subuid/gid information: Format not correct for {} file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A field of somebody's line is no number, or one that no id has.
    #[error("string to int conversion failed during subuid/gid parsing of {}: strconv.Atoi: parsing {text:?}: {problem}", path.display())]
    Number {
        /// The file.
        path: PathBuf,
        /// The field.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is nothing for a user.
    #[error("no subuid ranges found for user {name:?} in {}", path.display())]
    NoUsers {
        /// The user.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// There is nothing for a group, which is looked up by the name of its user.
    #[error("no subgid ranges found for group {name:?} in {}", path.display())]
    NoGroups {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

/// The ids of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubIds {
    /// Users, sorted.
    pub users: Vec<SubIdRange>,
    /// Groups, sorted.
    pub groups: Vec<SubIdRange>,
}

impl SubIds {
    /// Reads what `name`, who has the number `uid`, is given in the two files. Both are keyed by the user.
    ///
    /// # Errors
    /// [`SubIdError`]; having nothing is one.
    pub fn load(users: &Path, groups: &Path, name: &str, uid: u32) -> Result<Self, SubIdError> {
        Ok(Self {
            users: load_ranges(SubIdKind::Users, users, name, uid)?,
            groups: load_ranges(SubIdKind::Groups, groups, name, uid)?,
        })
    }
}

/// Reads what the file `path` has for a user, or a group that is called as one; there is something, or it is an
/// error.
///
/// # Errors
/// As [`SubIds::load`].
pub fn load_ranges(
    kind: SubIdKind,
    path: &Path,
    name: &str,
    uid: u32,
) -> Result<Vec<SubIdRange>, SubIdError> {
    let failed = |source| SubIdError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(SubIdError::TooLong {
            path: path.to_owned(),
            limit: MAX_FILE,
        });
    }
    let found = parse(&String::from_utf8_lossy(&bytes), path, name, uid)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let (name, path) = (name.to_owned(), path.to_owned());
    Err(match kind {
        SubIdKind::Users => SubIdError::NoUsers { name, path },
        SubIdKind::Groups => SubIdError::NoGroups { name, path },
    })
}

/// Takes the lines `NAME:START:COUNT` of a user, by name or number, and sorts them. `path` is for messages.
///
/// # Errors
/// [`SubIdError::Format`] and [`SubIdError::Number`]; the latter only for lines of this user.
pub fn parse(text: &str, path: &Path, name: &str, uid: u32) -> Result<Vec<SubIdRange>, SubIdError> {
    let number = uid.to_string();
    let mut found = Vec::new();
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut fields = line.split(':');
        let (Some(owner), Some(start), Some(count), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(SubIdError::Format {
                path: path.to_owned(),
            });
        };
        if owner.is_empty() || (owner != name && owner != number) {
            continue;
        }
        let range = SubIdRange {
            start: id(start, path)?,
            count: id(count, path)?,
        };
        // The highest number is "no id".
        if range.start.checked_add(range.count).is_none() {
            return Err(not_a_number(count, path, "value out of range"));
        }
        if range.count > 0 {
            found.push(range);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn id(text: &str, path: &Path) -> Result<u32, SubIdError> {
    text.parse().map_err(|_| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let problem = if is_number {
            "value out of range"
        } else {
            "invalid syntax"
        };
        not_a_number(text, path, problem)
    })
}

fn not_a_number(text: &str, path: &Path, problem: &'static str) -> SubIdError {
    SubIdError::Number {
        path: path.to_owned(),
        text: text.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Result<Vec<(u32, u32)>, String> {
        let found = parse(text, Path::new("/etc/subuid"), "u", 7);
        let pairs = |ranges: Vec<SubIdRange>| {
            let pair = |range: SubIdRange| (range.start, range.count);
            ranges.into_iter().map(pair).collect()
        };
        found.map(pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_of_one_user() {
        let check = |text: &str, expected: Result<&[(u32, u32)], &str>| {
            let expected = expected.map(<[_]>::to_vec).map_err(str::to_owned);
            assert_eq!(lines(text), expected, "{text:?}");
        };
        check("", Ok(&[]));
        check("# c\n\n  u:100:5  \n", Ok(&[(100, 5)]));
        check(
            "v:1:1\n7:900:3\nu:100:5\nu:50:2",
            Ok(&[(50, 2), (100, 5), (900, 3)]),
        );
        check("u:100:0\n", Ok(&[]));
        check(":1:1\n", Ok(&[]));
        check("v:x:y\n", Ok(&[]));
        check("u:4294967295:0\n", Ok(&[]));
        let format = "cannot parse subuid/gid information: Format not correct for /etc/subuid file";
        check("u:1\n", Err(format));
        check("v:1:1:1\n", Err(format));
        let number = "string to int conversion failed during subuid/gid parsing of /etc/subuid: \
                      strconv.Atoi: parsing ";
        let number = |text: &str| format!("{number}{text}");
        check("u:1:x\n", Err(&number("\"x\": invalid syntax")));
        check("u::1\n", Err(&number("\"\": invalid syntax")));
        check("u:-1:1\n", Err(&number("\"-1\": value out of range")));
        check(
            "u:4294967290:6\n",
            Err(&number("\"6\": value out of range")),
        );
    }

    #[test]
    fn having_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let [users, groups] = ["subuid", "subgid"].map(|name| dir.path().join(name));
        let load = || SubIds::load(&users, &groups, "u", 7).map_err(|error| error.to_string());
        assert_eq!(load(), Err(format!("open {}", users.display())));
        std::fs::write(&users, "u:5:1\n").unwrap();
        std::fs::write(&groups, "v:5:1\n").unwrap();
        let nothing = format!(
            "no subgid ranges found for group \"u\" in {}",
            groups.display()
        );
        assert_eq!(load(), Err(nothing));
        std::fs::write(&groups, "7:6:2\n").unwrap();
        let expected = SubIds {
            users: vec![SubIdRange { start: 5, count: 1 }],
            groups: vec![SubIdRange { start: 6, count: 2 }],
        };
        assert_eq!(load(), Ok(expected));
    }

    proptest! {
        #[test]
        fn ranges_hold_ids_only(text in "([u7v]:[0-9]{0,10}:[0-9]{0,10}\n|#.{0,3}\n|.{0,8}\n){0,6}") {
            if let Ok(found) = lines(&text) {
                prop_assert!(found.is_sorted());
                for (start, count) in found {
                    prop_assert!(count > 0 && start.checked_add(count).is_some());
                }
            }
        }
    }
}
