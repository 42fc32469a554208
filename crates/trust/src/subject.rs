//! An image as a policy sees it: which transport it comes from, and the scopes that it belongs to, most specific first.
//!
//! Paths come resolved; nothing here asks the file system.

use model::{Digest, Reference};

/// An image that a policy is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    transport: &'static str,
    label: String,
    scopes: Vec<String>,
    reference: Option<Reference>,
}

impl Subject {
    /// An image in a registry. The name has a tag or a digest, not both; without, no scope names it exactly.
    pub fn docker(label: impl Into<String>, name: &Reference) -> Self {
        Self {
            transport: "docker",
            label: label.into(),
            scopes: docker_scopes(name),
            reference: Some(name.clone()),
        }
    }

    /// An image of a daemon, which may be without a name.
    pub fn daemon(label: impl Into<String>, name: Option<&Reference>) -> Self {
        Self {
            transport: "docker-daemon",
            label: label.into(),
            scopes: name.map(docker_scopes).unwrap_or_default(),
            reference: name.cloned(),
        }
    }

    /// An image in a directory, archive or file, by the absolute path without symbolic links: `dir`, `oci`,
    /// `oci-archive`, `sif`.
    pub fn path(transport: &'static str, label: impl Into<String>, path: &str) -> Self {
        let mut scopes = Vec::new();
        let mut rest = path;
        // "/" itself is what the transport's "" is for.
        while !rest.is_empty() && rest != "/" {
            scopes.push(rest.to_owned());
            let Some(slash) = rest.rfind('/') else { break };
            rest = &rest[..slash];
        }
        Self {
            transport,
            label: label.into(),
            scopes,
            reference: None,
        }
    }

    /// An image of a transport that has no scopes: `docker-archive`, `tarball`.
    pub fn unscoped(
        transport: &'static str,
        label: impl Into<String>,
        name: Option<Reference>,
    ) -> Self {
        Self {
            transport,
            label: label.into(),
            scopes: Vec::new(),
            reference: name,
        }
    }

    /// An image in a store: by name, by identifier, or by both.
    pub fn storage(
        label: impl Into<String>,
        store: &StoreScope<'_>,
        name: Option<&Reference>,
        id: Option<&str>,
    ) -> Self {
        let place = format!("[{}@{}]", store.driver, store.graph_root);
        let mut scopes = Vec::new();
        if let Some(id) = id {
            let named = name.map(ToString::to_string).unwrap_or_default();
            scopes.push(format!("{place}{named}@{id}"));
        }
        if let Some(name) = name {
            scopes.push(format!("{place}{name}"));
            if let (Some(tag), Some(_)) = (name.tag(), name.digest()) {
                scopes.push(format!("{place}{}:{tag}", name.name()));
            }
            scopes.extend(parents(&name.name()).map(|parent| format!("{place}{parent}")));
        }
        scopes.push(place);
        scopes.push(format!("[{}]", store.graph_root));
        Self {
            transport: "containers-storage",
            label: label.into(),
            scopes,
            reference: name.cloned(),
        }
    }

    /// Returns the transport's name.
    pub fn transport(&self) -> &'static str {
        self.transport
    }

    /// Returns the image's place as messages have it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the scopes that the image belongs to, the most specific first: its identity and its namespaces.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Returns the name that the image is asked for by, where its transport has one.
    pub fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }
}

/// The store that an image is in.
#[derive(Clone, Copy, Debug)]
pub struct StoreScope<'a> {
    /// The driver's name.
    pub driver: &'a str,
    /// The root directory of its images and layers.
    pub graph_root: &'a str,
}

/// A path and what it lies in, up to its first component.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        path.rfind('/').map(|slash| &path[..slash])
    })
}

/// Returns the scopes of a name in a registry: itself, its repository, what that lies in, the host, and the wildcards
/// for the domains of the host (without its port).
pub fn docker_scopes(name: &Reference) -> Vec<String> {
    let repository = name.name();
    let mut scopes = Vec::new();
    if name.tag().is_some() || name.digest().is_some() {
        scopes.push(name.to_string());
    }
    scopes.extend(parents(&repository).map(str::to_owned));
    let mut host = name.domain().split(':').next().unwrap_or_default();
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes
}

/// Returns whether a policy may have this scope for this transport; any is good for one that is not known.
pub(crate) fn is_scope(transport: &str, scope: &str) -> bool {
    match transport {
        "dir" | "sif" => is_clean_path(scope),
        "oci" | "oci-archive" => {
            let (path, name) = scope.split_once(':').unwrap_or((scope, ""));
            is_clean_path(path) && !name.contains(':')
        }
        "docker-archive" | "tarball" => false,
        "docker-daemon" => Digest::parse(scope).is_err(),
        "containers-storage" => is_store_scope(scope),
        _ => true,
    }
}

fn is_clean_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|name| !matches!(name, "" | "." | "..")))
}

fn is_store_scope(scope: &str) -> bool {
    let Some((place, name)) = scope
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    else {
        return false;
    };
    let root = match place.split_once('@') {
        Some(("", _)) => return false,
        Some((_, root)) => root,
        None => place,
    };
    if !root.starts_with('/') {
        return false;
    }
    match *name.splitn(3, '@').collect::<Vec<_>>() {
        [_, id] => is_id(id) || Digest::parse(id).is_ok(),
        [_, digest, id] => Digest::parse(digest).is_ok() && is_id(id),
        _ => true,
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_scopes() {
        let check = |name: &str, expected: &[&str]| {
            let name = Reference::parse_normalized(name).unwrap();
            assert_eq!(Subject::docker("x", &name).scopes(), expected, "{name}");
        };
        check(
            "x.ex.com:5/a/b:t",
            &[
                "x.ex.com:5/a/b:t",
                "x.ex.com:5/a/b",
                "x.ex.com:5/a",
                "x.ex.com:5",
                "*.ex.com",
                "*.com",
            ],
        );
        check(
            "busybox:1",
            &[
                "docker.io/library/busybox:1",
                "docker.io/library/busybox",
                "docker.io/library",
                "docker.io",
                "*.io",
            ],
        );
        check(
            "localhost/a:1",
            &["localhost/a:1", "localhost/a", "localhost"],
        );
    }

    #[test]
    fn paths_belong_to_their_directories() {
        let check = |path: &str, expected: &[&str]| {
            assert_eq!(Subject::path("dir", "x", path).scopes(), expected, "{path}");
        };
        check("/a/b/c", &["/a/b/c", "/a/b", "/a"]);
        check("/a", &["/a"]);
        check("/", &[]);
    }

    #[test]
    fn stored_images_belong_to_their_store() {
        let store = StoreScope {
            driver: "overlay",
            graph_root: "/g",
        };
        let name = Reference::parse_normalized("localhost/a/b:1").unwrap();
        let id = "a".repeat(64);
        assert_eq!(
            Subject::storage("x", &store, Some(&name), Some(&id)).scopes(),
            [
                format!("[overlay@/g]localhost/a/b:1@{id}").as_str(),
                "[overlay@/g]localhost/a/b:1",
                "[overlay@/g]localhost/a/b",
                "[overlay@/g]localhost/a",
                "[overlay@/g]localhost",
                "[overlay@/g]",
                "[/g]",
            ]
        );
        assert_eq!(
            Subject::storage("x", &store, None, Some(&id)).scopes(),
            [
                format!("[overlay@/g]@{id}").as_str(),
                "[overlay@/g]",
                "[/g]"
            ]
        );
    }

    #[test]
    fn scopes_are_checked_where_the_transport_is_known() {
        let check = |transport: &str, scope: &str, expected: bool| {
            assert_eq!(is_scope(transport, scope), expected, "{transport} {scope}");
        };
        let hex = "0".repeat(64);
        check("docker", "any thing", true);
        check("new-transport", "/..", true);
        check("dir", "/a/b", true);
        check("dir", "a", false);
        check("dir", "/", false);
        check("dir", "/a/../b", false);
        check("dir", "/a/", false);
        check("oci", "/a/b:name", true);
        check("oci", "/a/b:na:me", false);
        check("docker-archive", "/a.tar", false);
        check("docker-daemon", "docker.io/a", true);
        check("docker-daemon", &format!("sha256:{hex}"), false);
        check("containers-storage", "[/g]", true);
        check("containers-storage", "[overlay@/g]docker.io/a:1", true);
        check("containers-storage", &format!("[overlay@/g]a@{hex}"), true);
        check("containers-storage", "[overlay@/g]a@b", false);
        check("containers-storage", "[g]", false);
        check("containers-storage", "[@/g]", false);
        check("containers-storage", "docker.io", false);
    }
}
