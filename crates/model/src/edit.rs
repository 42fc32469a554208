//! Pure edits on configs and manifests, shared by the `config` command, Containerfile steps and commit.
//!
//! Callers bring parsed values: no instruction is read here, no variable expanded, nothing looked up on a disk.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Map;

use crate::digest::Digest;
use crate::id::DiffId;
use crate::image_config::{ContainerConfig, Healthcheck, History, ImageConfig};
use crate::manifest::{Descriptor, Manifest, ManifestFormat, RawManifest};

/// Where the arguments (`Cmd`) of a config come from, which decides whether a new entrypoint clears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CmdOrigin {
    /// From the image below, or from another stage.
    Inherited,
    /// From the same stage, or from the same command line.
    SetHere,
}

impl ContainerConfig {
    /// Sets a variable of the environment. One that exists keeps its position; of doubled ones only the first stays.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let mut found = false;
        self.env.retain_mut(|existing| {
            if env_name(existing) != name {
                return true;
            }
            if found {
                return false;
            }
            found = true;
            existing.clone_from(&entry);
            true
        });
        if !found {
            self.env.push(entry);
        }
    }

    /// Lays `over` on this: what it has takes the place of what is here; variables, labels, ports
    /// and volumes are added one by one.
    pub fn overlay(&mut self, over: Self) {
        fn replace<T: Default + PartialEq>(field: &mut T, over: T) {
            if over != T::default() {
                *field = over;
            }
        }
        for entry in &over.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.set_env(name, value);
        }
        self.labels.extend(over.labels);
        self.exposed_ports.extend(over.exposed_ports);
        self.volumes.extend(over.volumes);
        replace(&mut self.hostname, over.hostname);
        replace(&mut self.domainname, over.domainname);
        replace(&mut self.user, over.user);
        replace(&mut self.attach_stdin, over.attach_stdin);
        replace(&mut self.attach_stdout, over.attach_stdout);
        replace(&mut self.attach_stderr, over.attach_stderr);
        replace(&mut self.tty, over.tty);
        replace(&mut self.open_stdin, over.open_stdin);
        replace(&mut self.stdin_once, over.stdin_once);
        replace(&mut self.cmd, over.cmd);
        replace(&mut self.healthcheck, over.healthcheck);
        replace(&mut self.args_escaped, over.args_escaped);
        replace(&mut self.image, over.image);
        replace(&mut self.working_dir, over.working_dir);
        replace(&mut self.entrypoint, over.entrypoint);
        replace(&mut self.network_disabled, over.network_disabled);
        replace(&mut self.mac_address, over.mac_address);
        replace(&mut self.on_build, over.on_build);
        replace(&mut self.stop_signal, over.stop_signal);
        replace(&mut self.stop_timeout, over.stop_timeout);
        replace(&mut self.shell, over.shell);
    }

    /// Removes a variable of the environment.
    pub fn unset_env(&mut self, name: &str) {
        self.env.retain(|entry| env_name(entry) != name);
    }

    /// Returns the value of a variable.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|entry| env_name(entry) == name)
            .map(|entry| entry.get(name.len() + 1..).unwrap_or_default())
    }

    /// Sets a label.
    pub fn set_label(&mut self, name: &str, value: &str) {
        self.labels.insert(name.to_owned(), value.to_owned());
    }

    /// Removes a label.
    pub fn unset_label(&mut self, name: &str) {
        self.labels.remove(name);
    }

    /// Sets the arguments; none clears them.
    pub fn set_cmd(&mut self, words: Vec<String>) {
        self.cmd = words;
    }

    /// Sets the entrypoint; none clears it. Arguments that were inherited belonged to another entrypoint and go.
    pub fn set_entrypoint(&mut self, words: Vec<String>, cmd: CmdOrigin) {
        self.entrypoint = words;
        if cmd == CmdOrigin::Inherited {
            self.cmd.clear();
        }
    }

    /// Changes the working directory: a relative path starts from the former one; the result is absolute and clean.
    pub fn set_working_dir(&mut self, path: &str) {
        self.working_dir = join_working_dir(&self.working_dir, path);
    }

    /// Adds a port. Without protocol it is TCP; the text is stored otherwise unchanged.
    pub fn expose(&mut self, port: &str) {
        self.exposed_ports.insert(with_protocol(port));
    }

    /// Removes a port, with the same rule for its protocol.
    pub fn unexpose(&mut self, port: &str) {
        self.exposed_ports.remove(&with_protocol(port));
    }

    /// Sets the question for health; one without a test is none.
    pub fn set_healthcheck(&mut self, healthcheck: Healthcheck) {
        self.healthcheck = Some(healthcheck).filter(|healthcheck| !healthcheck.test.is_empty());
    }
}

fn env_name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn with_protocol(port: &str) -> String {
    if port.contains('/') {
        port.to_owned()
    } else {
        format!("{port}/tcp")
    }
}

/// Joins a working directory and cleans the result as Go's `path.Clean` does, without looking at any file.
pub fn join_working_dir(current: &str, next: &str) -> String {
    let start = if next.starts_with('/') { "" } else { current };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(next.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl ImageConfig {
    /// Returns what a new image on top of this one starts from: everything but the facts that are only about this one's
    /// own making, and members that we do not know.
    #[must_use]
    pub fn inherit(mut self) -> Self {
        self.comment.clear();
        self.container.clear();
        self.container_config = None;
        self.docker_version.clear();
        self.forget_unknown();
        self
    }

    /// Appends a layer and the entry of the history that made it.
    pub fn append_layer(&mut self, diff: DiffId, entry: History) {
        self.rootfs.diff_ids.push(diff);
        self.history.push(History {
            empty_layer: false,
            ..entry
        });
    }

    /// Appends an entry of the history that made no layer.
    pub fn append_empty(&mut self, entry: History) {
        self.history.push(History {
            empty_layer: true,
            ..entry
        });
    }

    /// Removes all members that this crate has no field for.
    fn forget_unknown(&mut self) {
        self.extra = Map::new();
        self.rootfs.extra = Map::new();
        self.config.extra = Map::new();
        if let Some(healthcheck) = &mut self.config.healthcheck {
            healthcheck.extra = Map::new();
        }
        for entry in &mut self.history {
            entry.extra = Map::new();
        }
    }
}

/// Something set in a config that the dialect it is written in does not have. Displays as Buildah's warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialectLoss {
    /// A question for health.
    Healthcheck,
    /// Instructions for builds on top.
    OnBuild(Vec<String>),
    /// The words in front of the shell form.
    Shell(Vec<String>),
    /// A host name.
    Hostname(String),
    /// A domain name.
    Domainname(String),
    /// A remark.
    Comment(String),
    /// Annotations of the manifest.
    Annotations,
}

impl fmt::Display for DialectLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialectLoss::Healthcheck => f.write_str(
                "HEALTHCHECK is not supported for OCI image format and will be ignored. Must use `docker` format",
            ),
            DialectLoss::OnBuild(triggers) => write!(
                f,
                "ONBUILD is not supported for OCI image format, [{}] will be ignored. Must use `docker` format",
                triggers.join(" ")
            ),
            DialectLoss::Shell(words) => write!(
                f,
                "SHELL is not persisted in the OCI image format, [{}] will be used for RUN subsequent instructions to build \
                 this image but will not be present in saved image which may affect any images that use this as a base. \
                 Must use `docker` format to persist in saved image",
                words.join(" ")
            ),
            DialectLoss::Hostname(name) => write!(
                f,
                "HOSTNAME is not supported for OCI V1 image format, hostname {name} will be ignored. Must use `docker` format"
            ),
            DialectLoss::Domainname(name) => write!(
                f,
                "DOMAINNAME is not supported for OCI image format, domainname {name} will be ignored. Must use `docker` format"
            ),
            DialectLoss::Comment(text) => write!(
                f,
                "COMMENT is not supported for OCI image format, comment {text} will be ignored. Must use `docker` format"
            ),
            DialectLoss::Annotations => f.write_str("annotations are not supported for the docker image format and will be ignored"),
        }
    }
}

/// Removes what a dialect does not have, as reading into that dialect's structs and writing them again would, and returns
/// what a user should hear about. Docker's dialect has everything.
pub fn into_dialect(
    mut image: ImageConfig,
    format: ManifestFormat,
) -> (ImageConfig, Vec<DialectLoss>) {
    image.forget_unknown();
    if format == ManifestFormat::Docker {
        return (image, Vec::new());
    }
    let config = std::mem::take(&mut image.config);
    let mut losses = Vec::new();
    let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    losses.extend(filled(&image.comment).map(DialectLoss::Comment));
    losses.extend(filled(&config.hostname).map(DialectLoss::Hostname));
    losses.extend(filled(&config.domainname).map(DialectLoss::Domainname));
    losses.extend(
        config
            .healthcheck
            .as_ref()
            .map(|_| DialectLoss::Healthcheck),
    );
    losses.extend(
        Some(config.on_build)
            .filter(|list| !list.is_empty())
            .map(DialectLoss::OnBuild),
    );
    losses.extend(
        Some(config.shell)
            .filter(|list| !list.is_empty())
            .map(DialectLoss::Shell),
    );
    image.comment.clear();
    image.container.clear();
    image.container_config = None;
    image.docker_version.clear();
    image.config = ContainerConfig {
        user: config.user,
        exposed_ports: config.exposed_ports,
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes,
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        ..ContainerConfig::default()
    };
    (image, losses)
}

/// Makes the manifest of an image in the store, whose layers are described uncompressed: from the base up, each layer's
/// content and its size in bytes as a tar. Docker's format has no annotations; they are left out.
pub fn store_manifest(
    format: ManifestFormat,
    config: &[u8],
    layers: &[(DiffId, u64)],
    annotations: &BTreeMap<String, String>,
) -> RawManifest {
    let config = Descriptor::new(
        format.config_type(),
        Digest::sha256(config),
        config.len() as u64,
    );
    let layers = layers
        .iter()
        .map(|(diff, size)| Descriptor::new(format.layer_type(), diff.0.clone(), *size))
        .collect();
    let mut manifest = Manifest::new(format, config, layers);
    if format == ManifestFormat::Oci {
        manifest.annotations.clone_from(annotations);
    }
    RawManifest::from_manifest(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_variable_keeps_its_position() {
        let mut config = ContainerConfig {
            env: words("A=1 B=2 A=3 C"),
            ..ContainerConfig::default()
        };
        config.set_env("A", "x");
        assert_eq!(config.env, words("A=x B=2 C"));
        config.set_env("D", "4");
        config.unset_env("B");
        assert_eq!(config.env, words("A=x C D=4"));
        assert_eq!(config.env_value("D"), Some("4"));
        assert_eq!(config.env_value("C"), Some(""));
        assert_eq!(config.env_value("B"), None);
    }

    #[test]
    fn an_entrypoint_clears_inherited_arguments_only() {
        let check = |origin, expected: &str| {
            let mut config = ContainerConfig {
                cmd: words("a b"),
                ..ContainerConfig::default()
            };
            config.set_entrypoint(words("/e"), origin);
            assert_eq!(
                (config.entrypoint, config.cmd),
                (words("/e"), words(expected))
            );
        };
        check(CmdOrigin::Inherited, "");
        check(CmdOrigin::SetHere, "a b");
    }

    #[test]
    fn working_directories_join_and_are_clean() {
        let check = |current: &str, next: &str, expected: &str| {
            assert_eq!(join_working_dir(current, next), expected);
        };
        check("", "/a", "/a");
        check("/a", "b/", "/a/b");
        check("/a", "/b", "/b");
        check("/a/b", "../../../c", "/c");
        check("", "x", "/x");
        check("/x", "", "/x");
        check("/", "/a/../b//c", "/b/c");
    }

    #[test]
    fn ports_get_a_protocol() {
        let mut config = ContainerConfig::default();
        for port in ["80", "53/udp", "9000-9002/tcp"] {
            config.expose(port);
        }
        config.unexpose("80/tcp");
        assert_eq!(
            config.exposed_ports.into_iter().collect::<Vec<_>>(),
            ["53/udp", "9000-9002/tcp"]
        );
    }

    #[test]
    fn oci_drops_what_only_docker_has_and_says_so() {
        let mut image = ImageConfig {
            comment: "c".to_owned(),
            ..ImageConfig::default()
        };
        image.config.on_build = vec!["RUN x".to_owned()];
        image.config.shell = words("/bin/bash -c");
        image.config.hostname = "h".to_owned();
        image.config.set_healthcheck(Healthcheck {
            test: words("NONE"),
            ..Healthcheck::default()
        });
        image.extra.insert("id".to_owned(), "x".into());
        let (docker, losses) = into_dialect(image.clone(), ManifestFormat::Docker);
        assert!(losses.is_empty() && docker.config == image.config);
        let (oci, losses) = into_dialect(image, ManifestFormat::Oci);
        assert_eq!(oci, ImageConfig::default());
        assert_eq!(losses.len(), 5);
        assert_eq!(
            losses[3].to_string(),
            "ONBUILD is not supported for OCI image format, [RUN x] will be ignored. Must use `docker` format"
        );
    }

    #[test]
    fn docker_manifests_have_no_annotations() {
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let layer: DiffId = Digest::sha256(b"tar").to_string().parse().unwrap();
        let oci = store_manifest(
            ManifestFormat::Oci,
            b"{}",
            &[(layer.clone(), 3)],
            &annotations,
        );
        assert_eq!(oci.manifest().annotations, annotations);
        let docker = store_manifest(ManifestFormat::Docker, b"{}", &[(layer, 3)], &annotations);
        assert!(docker.manifest().annotations.is_empty());
        assert!(docker.bytes().starts_with(br#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":2,"digest":"#));
    }
}
