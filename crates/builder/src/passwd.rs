//! Users and groups of an image: its `/etc/passwd` and `/etc/group`, read by our own parser.
//!
//! The files belong to a stranger: they are opened inside the image's root, never through a
//! name service, and both have a limit of size and of line length. A line that is not well
//! formed is skipped, as the C library does. Nothing here knows the host's accounts.

use std::io::{self, Read};

use sys::Root;

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes.
pub const MAX_ACCOUNT_FILE: u64 = 8 << 20;
/// Longest line of `/etc/passwd` or `/etc/group` that is accepted, in bytes.
pub const MAX_ACCOUNT_LINE: usize = 256 << 10;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Why a user or a group could not be found.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No account has this name. Scripts match this text.
    #[error("determining run uid: user: unknown user error looking up user \"{name}\"")]
    UnknownUser {
        /// The name as written.
        name: String,
    },
    /// No group has this name. Scripts match this text.
    #[error("determining run gid: group: unknown group error looking up group \"{name}\"")]
    UnknownGroup {
        /// The name as written.
        name: String,
    },
    /// Neither a user nor a group was given.
    #[error("can't find uid for user {spec}")]
    Empty {
        /// The specification as written.
        spec: String,
    },
    /// The file exists and cannot be read.
    #[error("cannot read `{path}` of the image")]
    Read {
        /// The path inside the image.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is larger than [`MAX_ACCOUNT_FILE`].
    #[error("`{path}` of the image is larger than {MAX_ACCOUNT_FILE} bytes")]
    TooLarge {
        /// The path inside the image.
        path: &'static str,
    },
    /// A line is longer than [`MAX_ACCOUNT_LINE`].
    #[error("line {line} of `{path}` of the image is longer than {MAX_ACCOUNT_LINE} bytes")]
    LineTooLong {
        /// The path inside the image.
        path: &'static str,
        /// Number of the line, from 1.
        line: usize,
    },
}

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// One line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The numbers that a process of a container runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunUser {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups: the group itself first, as Buildah has it, then the others that the
    /// user is a member of, sorted; those only when the specification names no group.
    pub groups: Vec<u32>,
    /// The home directory, `/` for a user without an account.
    pub home: String,
}

/// The accounts of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads the accounts below `root`. A missing file counts as empty.
    ///
    /// # Errors
    /// When a file exists and cannot be read, or breaks a limit.
    pub fn read(root: &Root) -> Result<Self, AccountError> {
        Self::parse(&read_limited(root, PASSWD)?, &read_limited(root, GROUP)?)
    }

    /// Parses the bytes of the two files.
    ///
    /// # Errors
    /// When a line is longer than [`MAX_ACCOUNT_LINE`].
    pub fn parse(passwd: &[u8], group: &[u8]) -> Result<Self, AccountError> {
        let mut accounts = Self::default();
        for line in lines(passwd, PASSWD)? {
            accounts.users.extend(parse_user(&line));
        }
        for line in lines(group, GROUP)? {
            accounts.groups.extend(parse_group(&line));
        }
        Ok(accounts)
    }

    /// Resolves `USER` of an image or `--user`: `name`, `uid`, `name:group`, `uid:gid`, empty.
    ///
    /// # Errors
    /// When a name, not a number, is unknown.
    pub fn run_user(&self, spec: &str) -> Result<RunUser, AccountError> {
        let (user_text, group_text) = split(spec);
        let user_text = if user_text.is_empty() { "0" } else { user_text };
        let (uid, account) = match user_text.parse::<u32>() {
            Ok(uid) => (uid, self.users.iter().find(|user| user.uid == uid)),
            Err(_) => {
                let account = self.named_user(user_text)?;
                (account.uid, Some(account))
            }
        };
        let home = account
            .map(|user| user.home.clone())
            .filter(|home| !home.is_empty())
            .unwrap_or_else(|| "/".to_owned());
        if !group_text.is_empty() {
            let gid = self.group_number(group_text)?;
            return Ok(RunUser {
                uid,
                gid,
                groups: vec![gid],
                home,
            });
        }
        let gid = account.map_or(0, |user| user.gid);
        let mut groups = vec![gid];
        if let Some(user) = account {
            groups.extend(
                self.memberships(&user.name)
                    .into_iter()
                    .filter(|&one| one != gid),
            );
        }
        Ok(RunUser {
            uid,
            gid,
            groups,
            home,
        })
    }

    /// Resolves `--chown`: `name`, `uid`, `name:group`, `uid:gid`, `:group`, `name:`. A number
    /// alone is its own group, a name alone brings its primary group.
    ///
    /// # Errors
    /// When a name is unknown, or nothing is given.
    pub fn owner(&self, spec: &str) -> Result<(u32, u32), AccountError> {
        let (user_text, group_text) = split(spec);
        if user_text.is_empty() && group_text.is_empty() {
            return Err(AccountError::Empty {
                spec: spec.to_owned(),
            });
        }
        let (uid, primary) = if user_text.is_empty() {
            (0, 0)
        } else if let Ok(uid) = user_text.parse::<u32>() {
            (uid, uid)
        } else {
            let account = self.named_user(user_text)?;
            (account.uid, account.gid)
        };
        let gid = if group_text.is_empty() {
            primary
        } else {
            self.group_number(group_text)?
        };
        Ok((uid, gid))
    }

    /// Returns the number of a group that is given by name or number.
    ///
    /// # Errors
    /// When the name is unknown.
    pub fn group_number(&self, text: &str) -> Result<u32, AccountError> {
        if let Ok(gid) = text.parse() {
            return Ok(gid);
        }
        self.groups
            .iter()
            .find(|group| group.name == text)
            .map(|group| group.gid)
            .ok_or_else(|| AccountError::UnknownGroup {
                name: text.to_owned(),
            })
    }

    fn named_user(&self, name: &str) -> Result<&User, AccountError> {
        self.users
            .iter()
            .find(|user| user.name == name)
            .ok_or_else(|| AccountError::UnknownUser {
                name: name.to_owned(),
            })
    }

    fn memberships(&self, name: &str) -> Vec<u32> {
        let mut groups: Vec<u32> = self
            .groups
            .iter()
            .filter(|group| group.members.iter().any(|member| member == name))
            .map(|group| group.gid)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

fn split(spec: &str) -> (&str, &str) {
    spec.split_once(':').unwrap_or((spec, ""))
}

fn read_limited(root: &Root, path: &'static str) -> Result<Vec<u8>, AccountError> {
    let file = match root.open_file(path.as_ref()) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(AccountError::Read { path, source }),
    };
    let mut bytes = Vec::new();
    file.take(MAX_ACCOUNT_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| AccountError::Read { path, source })?;
    if bytes.len() as u64 > MAX_ACCOUNT_FILE {
        return Err(AccountError::TooLarge { path });
    }
    Ok(bytes)
}

/// `ENOTDIR`: `/etc` is a file; there are no accounts either.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn lines(bytes: &[u8], path: &'static str) -> Result<Vec<String>, AccountError> {
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.len() > MAX_ACCOUNT_LINE {
            return Err(AccountError::LineTooLong {
                path,
                line: index + 1,
            });
        }
        lines.push(
            String::from_utf8_lossy(line)
                .trim_end_matches('\r')
                .to_owned(),
        );
    }
    Ok(lines)
}

fn parse_user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _password, uid, gid, _comment, home, ..] = fields.as_slice() else {
        return None;
    };
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    Some(User {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: (*home).to_owned(),
    })
}

fn parse_group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields
        .next()
        .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or("");
    Some(Group {
        name: name.to_owned(),
        gid,
        members: members
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse(
            b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001:App:/home/app:/bin/sh\nnohome:x:5:6:::\n",
            b"root:x:0:\napp:x:1001:\nextra:x:2000:app,root\nlate:x:1500: app \n12x:bad\n",
        )
        .expect("short lines")
    }

    fn check_run(spec: &str, expected: &str) {
        let text = match accounts().run_user(spec) {
            Ok(user) => format!("{}:{} {:?} {}", user.uid, user.gid, user.groups, user.home),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{spec}");
    }

    #[test]
    fn user_specifications_resolve_as_buildah_has_it() {
        check_run("", "0:0 [0, 2000] /root");
        check_run("root", "0:0 [0, 2000] /root");
        check_run("app", "1000:1001 [1001, 1500, 2000] /home/app");
        check_run("1000", "1000:1001 [1001, 1500, 2000] /home/app");
        check_run("app:extra", "1000:2000 [2000] /home/app");
        check_run("app:7", "1000:7 [7] /home/app");
        check_run("77", "77:0 [0] /");
        check_run("77:88", "77:88 [88] /");
        check_run("nohome", "5:6 [6] /");
        check_run(
            "nosuch",
            "determining run uid: user: unknown user error looking up user \"nosuch\"",
        );
        check_run(
            "app:nog",
            "determining run gid: group: unknown group error looking up group \"nog\"",
        );
        check_run(
            "-1",
            "determining run uid: user: unknown user error looking up user \"-1\"",
        );
    }

    fn check_owner(spec: &str, expected: &str) {
        let text = match accounts().owner(spec) {
            Ok((uid, gid)) => format!("{uid}:{gid}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{spec}");
    }

    #[test]
    fn owner_specifications_resolve() {
        check_owner("app", "1000:1001");
        check_owner("app:", "1000:1001");
        check_owner("1000", "1000:1000");
        check_owner("1:2", "1:2");
        check_owner(":extra", "0:2000");
        check_owner("app:extra", "1000:2000");
        check_owner(":", "can't find uid for user :");
        check_owner(
            "x:1",
            "determining run uid: user: unknown user error looking up user \"x\"",
        );
    }

    #[test]
    fn a_long_line_is_refused() {
        let long = vec![b'a'; MAX_ACCOUNT_LINE + 1];
        let error = Accounts::parse(&long, b"").expect_err("too long");
        assert!(
            error.to_string().starts_with("line 1 of `/etc/passwd`"),
            "{error}"
        );
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(passwd: Vec<u8>, group: Vec<u8>, spec: String) {
            let accounts = Accounts::parse(&passwd, &group).expect("short");
            let _ = accounts.run_user(&spec);
            let _ = accounts.owner(&spec);
        }
    }
}
