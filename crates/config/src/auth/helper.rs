//! Programs that keep credentials: `docker-credential-NAME`, which read a word's subject on standard input and answer on
//! standard output. No secret is ever a word of a command line.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Secret;
use serde::{Deserialize, Serialize};

/// Longest answer of a helper, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// What helpers say when they have nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a helper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// It is not installed.
    #[error("err: exec: \"docker-credential-{name}\": executable file not found in $PATH, out: ``")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Its name is a path.
    #[error("err: the name of a credential helper cannot be {name:?}")]
    Name {
        /// The name.
        name: String,
    },
    /// It cannot be started or spoken to.
    #[error("err: docker-credential-{name}: {source}")]
    Run {
        /// Its name.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("err: {status}, out: `{output}`")]
    Failed {
        /// How it ended.
        status: String,
        /// What it says.
        output: String,
    },
    /// Its answer is not in the form that is agreed on.
    #[error("err: docker-credential-{name} answered {problem}")]
    Answer {
        /// Its name.
        name: String,
        /// What is wrong, without what it said.
        problem: &'static str,
    },
}

impl HelperError {
    /// Tells whether the helper has nothing for what it was asked.
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { output, .. } if output == NOT_FOUND)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    user: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

/// The directories in which helpers are.
#[derive(Clone, Debug, Default)]
pub(super) struct Helpers {
    dirs: Vec<PathBuf>,
}

impl Helpers {
    /// Those of a `$PATH`. An empty entry in it, which means the working directory to a shell, means nothing here.
    pub(super) fn new(path: &str) -> Self {
        let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        Self {
            dirs: dirs.collect(),
        }
    }

    /// Asks for the user and the secret of a server; `None` if the helper has none.
    pub(super) fn get(
        &self,
        name: &str,
        server: &str,
    ) -> Result<Option<(String, Secret)>, HelperError> {
        let output = match self.run(name, "get", server.as_bytes()) {
            Ok(output) => output,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        // The parser's own message could show what it read.
        let answer: Answer = serde_json::from_slice(&output).map_err(|_| HelperError::Answer {
            name: name.to_owned(),
            problem: "something else than Username and Secret in JSON",
        })?;
        Ok(Some((answer.user, Secret::new(answer.secret))))
    }

    /// Gives a user and a secret to the helper.
    pub(super) fn store(
        &self,
        name: &str,
        server: &str,
        user: &str,
        secret: &Secret,
    ) -> Result<(), HelperError> {
        let question = Question {
            server,
            user,
            secret: secret.expose(),
        };
        let question =
            serde_json::to_vec(&question).expect("an object of three texts can be written");
        self.run(name, "store", &question).map(drop)
    }

    /// Makes the helper forget a server. Returns whether it knew it.
    pub(super) fn erase(&self, name: &str, server: &str) -> Result<bool, HelperError> {
        match self.run(name, "erase", server.as_bytes()) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The servers that the helper knows.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, HelperError> {
        let output = self.run(name, "list", b"unused")?;
        let servers: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(&output)
            .map_err(|_| HelperError::Answer {
                name: name.to_owned(),
                problem: "something else than servers in JSON",
            })?;
        Ok(servers.into_keys().collect())
    }

    fn find(&self, name: &str) -> Result<PathBuf, HelperError> {
        if name.is_empty() || name.contains('/') {
            return Err(HelperError::Name {
                name: name.to_owned(),
            });
        }
        let program = format!("docker-credential-{name}");
        let mut places = self.dirs.iter().map(|dir| dir.join(&program));
        places
            .find(|path| is_program(path))
            .ok_or_else(|| HelperError::Missing {
                name: name.to_owned(),
            })
    }

    fn run(&self, name: &str, word: &str, input: &[u8]) -> Result<Vec<u8>, HelperError> {
        let failed = |source| HelperError::Run {
            name: name.to_owned(),
            source,
        };
        let mut child = Command::new(self.find(name)?)
            .arg(word)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // One that fails at once does not read what it is given; what counts is its answer.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input);
        }
        let mut output = Vec::new();
        let mut reading = Ok(0);
        if let Some(stdout) = child.stdout.take() {
            reading = stdout.take(MAX_ANSWER + 1).read_to_end(&mut output);
        }
        if output.len() as u64 > MAX_ANSWER {
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        reading.map_err(failed)?;
        if output.len() as u64 > MAX_ANSWER {
            return Err(HelperError::Answer {
                name: name.to_owned(),
                problem: "more than a mebibyte",
            });
        }
        if status.success() {
            return Ok(output);
        }
        Err(HelperError::Failed {
            status: status.to_string().replace("exit status: ", "exit status "),
            output: String::from_utf8_lossy(&output).trim().to_owned(),
        })
    }
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
