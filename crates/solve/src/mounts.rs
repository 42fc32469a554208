//! From the words of a `--mount` to the mount that `builder` makes, for the steps of a build and for a single process.
//!
//! Which tree a source lies in is found by the caller, who opens it; what must be given besides trees (secrets, agents)
//! is looked up here. What is refused is said by [`unsupported`], so that a build says it before anything runs.

use crate::bound::{BoundMount, Input};
use builder::run::{
    Access, AgentMount, BindMount, CacheMount, Depth, MountSource, Ownership, Propagation,
    Restrict, RunMount, SecretBytes, SecretMount, TmpfsMount,
};
use containerfile::{BindOption, RunMount as Words};
use std::collections::BTreeMap;
use std::path::PathBuf;
use store::{RootMount, RootSource};

/// Where the sockets of agents are seen that have no target (Buildah's place).
const AGENTS: &str = "/run/buildkit/ssh_agent";

/// What mounts can ask for besides trees.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--secret`, by name.
    pub secrets: BTreeMap<String, SecretBytes>,
    /// `--ssh`: sockets of agents, by name.
    pub agents: BTreeMap<String, PathBuf>,
}

/// A mount that says that it is required, of something that was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} required but no {what} with id \"{id}\" found")]
pub struct NotGiven {
    /// `secret` or `ssh`.
    pub what: &'static str,
    /// Its name.
    pub id: String,
}

impl Given {
    /// Checks that what a mount requires is there.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, words: &Words) -> Result<(), NotGiven> {
        let (what, id, there) = match words {
            Words::Secret(secret) if secret.required => {
                ("secret", &secret.id, self.secrets.contains_key(&secret.id))
            }
            Words::Ssh(ssh) if ssh.required => ("ssh", &ssh.id, self.agents.contains_key(&ssh.id)),
            _ => return Ok(()),
        };
        if there {
            return Ok(());
        }
        let id = id.clone();
        Err(NotGiven { what, id })
    }
}

/// Names what of a mount cannot be carried out. Relabelling can: without SELinux, which no part of this program knows,
/// there is nothing to do.
#[must_use]
pub fn unsupported(words: &Words) -> Option<&'static str> {
    match words {
        Words::Bind(bind) if bind.options.contains(&BindOption::NoDereference) => {
            Some("type=bind,no-dereference")
        }
        _ => None,
    }
}

/// The path of a mount's source in its tree.
pub(crate) fn source_path(words: &Words) -> &str {
    let source = match words {
        Words::Bind(bind) => bind.source.as_deref(),
        Words::Cache(cache) => cache.source.as_deref(),
        _ => None,
    };
    source.unwrap_or("/")
}

/// Says whether something is written into the tree that is mounted: by the process, or new owners.
#[must_use]
pub fn is_writable_bind(words: &Words) -> bool {
    matches!(words, Words::Bind(bind) if bind.access == containerfile::Access::ReadWrite || bind.chown)
}

/// Says whether a step may write into a stage or an image, which is dropped afterwards.
pub(crate) fn writes_into_layers(mount: &BoundMount) -> bool {
    is_writable_bind(&mount.mount) && !matches!(mount.from, Some(Input::Directory(_)))
}

/// Returns a store's root as the source of a mount.
#[must_use]
pub fn root_source(root: &RootMount) -> MountSource<'_> {
    match root.source() {
        RootSource::Detached(_) => MountSource::Detached(root.root()),
        RootSource::Directory(_) => MountSource::Host(root.root()),
    }
}

/// Makes the mounts of one process, in the order of their words. A secret or agent that was not given makes none.
#[derive(Debug)]
pub struct Mounts<'a> {
    given: &'a Given,
    agents: usize,
}

impl<'a> Mounts<'a> {
    /// Begins with what is given.
    #[must_use]
    pub fn new(given: &'a Given) -> Self {
        Self { given, agents: 0 }
    }

    /// Makes one mount. `writes` is what writing means for a bind mount that allows it.
    pub fn make<'m>(
        &mut self,
        words: &Words,
        source: Option<MountSource<'m>>,
        writes: Access,
    ) -> Option<RunMount<'m>> {
        let path = PathBuf::from(source_path(words));
        match words {
            Words::Bind(bind) => Some(RunMount::Bind(BindMount {
                source: source?,
                path,
                target: PathBuf::from(&bind.target),
                access: match bind.access {
                    // New owners are written, too.
                    _ if bind.chown && writes == Access::ThrowAway => writes,
                    containerfile::Access::ReadOnly => Access::ReadOnly,
                    containerfile::Access::ReadWrite => writes,
                },
                depth: if bind.options.contains(&BindOption::NonRecursive) {
                    Depth::One
                } else {
                    Depth::Recursive
                },
                propagation: bind
                    .propagation
                    .as_deref()
                    .map_or(Propagation::Private, propagation),
                ownership: ownership(bind.chown),
                restrict: Restrict {
                    nosuid: bind.options.contains(&BindOption::NoSuid),
                    nodev: bind.options.contains(&BindOption::NoDev),
                    noexec: bind.options.contains(&BindOption::NoExec),
                },
            })),
            Words::Cache(cache) => Some(RunMount::Cache(CacheMount {
                id: cache.id.clone(),
                target: PathBuf::from(&cache.target),
                sharing: cache.sharing.into(),
                mode: cache.mode,
                uid: cache.uid,
                gid: cache.gid,
                access: kept(cache.access),
                ownership: ownership(cache.chown),
                from: source.map(|source| (source, path)),
            })),
            Words::Tmpfs(tmpfs) => Some(RunMount::Tmpfs(TmpfsMount {
                target: PathBuf::from(&tmpfs.target),
                size: tmpfs.size,
                mode: tmpfs.mode,
                access: kept(tmpfs.access),
                copy_up: tmpfs.copy_up,
            })),
            Words::Secret(secret) => Some(RunMount::Secret(SecretMount {
                value: self.given.secrets.get(&secret.id)?.clone(),
                target: secret.target.as_ref().map(PathBuf::from),
                env: secret.env.clone(),
                mode: secret.mode,
                uid: secret.uid,
                gid: secret.gid,
            })),
            Words::Ssh(ssh) => {
                let agent = self.given.agents.get(&ssh.id)?.clone();
                let number = self.agents;
                self.agents += 1;
                let target = ssh.target.clone();
                Some(RunMount::Agent(AgentMount {
                    agent,
                    target: target
                        .unwrap_or_else(|| format!("{AGENTS}.{number}"))
                        .into(),
                    mode: ssh.mode,
                    uid: ssh.uid,
                    gid: ssh.gid,
                }))
            }
        }
    }
}

/// Says whether a word is about how mounts spread.
#[must_use]
pub fn is_propagation(word: &str) -> bool {
    let word = word.strip_prefix('r').unwrap_or(word);
    ["private", "shared", "slave", "unbindable"].contains(&word)
}

/// How the words of `-v` and `--mount` have mounts spread.
#[must_use]
pub fn propagation(word: &str) -> Propagation {
    match word.strip_prefix('r').unwrap_or(word) {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "unbindable" => Propagation::Unbindable,
        _ => Propagation::Private,
    }
}

fn ownership(chown: bool) -> Ownership {
    if chown {
        Ownership::OfUser
    } else {
        Ownership::Kept
    }
}

fn kept(access: containerfile::Access) -> Access {
    match access {
        containerfile::Access::ReadOnly => Access::ReadOnly,
        containerfile::Access::ReadWrite => Access::ReadWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_must_be_given() {
        let mut given = Given::default();
        given
            .secrets
            .insert("s".to_owned(), SecretBytes(Vec::new()));
        let check = |text: &str, expected: &str| {
            let words = Words::parse(text).expect(text);
            let said = given.check(&words).err().map(|error| error.to_string());
            assert_eq!(said.unwrap_or_default(), expected, "{text}");
        };
        check("type=secret,id=s,required=true", "");
        check("type=secret,id=t", "");
        check(
            "type=secret,id=t,required=true",
            "secret required but no secret with id \"t\" found",
        );
        check(
            "type=ssh,required=true",
            "ssh required but no ssh with id \"default\" found",
        );
        check("type=tmpfs,target=/t", "");
    }

    #[test]
    fn agents_are_numbered_and_what_is_not_given_makes_nothing() {
        let mut given = Given::default();
        given.agents.insert("default".to_owned(), "/a".into());
        let mut mounts = Mounts::new(&given);
        let mut target = |text: &str| {
            let words = Words::parse(text).expect(text);
            match mounts.make(&words, None, Access::ThrowAway) {
                Some(RunMount::Agent(agent)) => Some(agent.target),
                None => None,
                Some(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(target("type=ssh"), Some("/run/buildkit/ssh_agent.0".into()));
        assert_eq!(target("type=ssh,id=other"), None);
        assert_eq!(target("type=secret,id=other"), None);
        assert_eq!(target("type=ssh,target=/s"), Some("/s".into()));
        assert_eq!(target("type=ssh"), Some("/run/buildkit/ssh_agent.2".into()));
    }
}
