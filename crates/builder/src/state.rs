//! `buildah.json`: what a working container remembers between commands.
//!
//! The file is shared with Buildah (`storage-format.md` §2.6): every field that it writes is kept,
//! the ones that are not read here as raw JSON. Reading follows Go: a missing field, `null` and the
//! empty value are the same thing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::{ContainerId, History, ImageConfig, ManifestFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use runtime::Namespace;
use runtime::network::Mode;

use crate::namespaces::{IdMappingOptions, NamespaceKind, NamespaceOptions};
use crate::run::Isolation;

/// Field that says whether networks are configured (`define.NetworkConfigurationPolicy` of Buildah).
const NETWORK_POLICY: &str = "ConfigureNetwork";
const NETWORK_DISABLED: i64 = 1;
const NETWORK_ENABLED: i64 = 2;

/// Value of `type` in every file that Buildah accepts.
pub const STATE_TYPE: &str = "buildah 0.0.1";

/// A layer to be, and what the history says of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkedLayer {
    /// The entry of the history.
    #[serde(rename = "History", default)]
    pub history: History,
    /// A directory with the files, or an archive of them that is not compressed.
    #[serde(rename = "BlobPath", default)]
    pub blob_path: PathBuf,
}

/// The remembered state of a working container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuilderState {
    /// [`STATE_TYPE`].
    #[serde(rename = "type", default, deserialize_with = "null_default")]
    pub kind: String,
    /// Name of the base image as resolved; empty for `scratch`.
    #[serde(
        rename = "image",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub image: String,
    /// ID of the base image; empty for `scratch`.
    #[serde(rename = "image-id", default, deserialize_with = "null_default")]
    pub image_id: String,
    /// Digest of the base image's manifest; empty for `scratch`.
    #[serde(rename = "image-digest", default, deserialize_with = "null_default")]
    pub image_digest: String,
    /// The base image's config, byte for byte.
    #[serde(
        rename = "config",
        default,
        with = "bytes",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub base_config: Vec<u8>,
    /// The base image's manifest, byte for byte.
    #[serde(
        rename = "manifest",
        default,
        with = "bytes",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub base_manifest: Vec<u8>,
    /// Name of the container.
    #[serde(rename = "container-name", default, deserialize_with = "null_default")]
    pub container_name: String,
    /// ID of the container.
    #[serde(rename = "container-id", default, deserialize_with = "null_default")]
    pub container_id: String,
    /// Where it was mounted last; empty when it is not.
    #[serde(
        rename = "mountpoint",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub mount_point: String,
    /// Annotations of the image to be.
    #[serde(
        rename = "annotations",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// `created_by` of the history entry to be; empty means `/bin/sh`.
    #[serde(
        rename = "created-by",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// Comment of the history entry to be.
    #[serde(
        rename = "history-comment",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub history_comment: String,
    /// The image configuration in the OCI dialect.
    #[serde(default)]
    pub ociv1: Value,
    /// The image configuration in Docker's dialect, which can hold all that the other can.
    #[serde(default)]
    pub docker: Value,
    /// Entries that go into the history before the layer's.
    #[serde(
        rename = "PrependedEmptyLayers",
        default,
        deserialize_with = "null_default"
    )]
    pub prepended: Vec<History>,
    /// Entries that go into the history after the layer's.
    #[serde(
        rename = "AppendedEmptyLayers",
        default,
        deserialize_with = "null_default"
    )]
    pub appended: Vec<History>,
    /// Layers that go on top of the container's own.
    #[serde(
        rename = "AppendedLinkedLayers",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub appended_layers: Vec<LinkedLayer>,
    /// Settings for every `run`.
    #[serde(rename = "CommonBuildOpts", default, deserialize_with = "null_default")]
    pub run_options: RunOptions,
    /// Capabilities of the processes of `run`.
    #[serde(rename = "Capabilities", default, deserialize_with = "null_default")]
    pub capabilities: Vec<String>,
    /// Namespaces of the processes of `run`.
    #[serde(rename = "NamespaceOptions", default = "NamespaceOptions::empty")]
    pub namespaces: NamespaceOptions,
    /// Maps of their user and group IDs.
    #[serde(
        rename = "IDMappingOptions",
        default,
        deserialize_with = "null_default"
    )]
    pub id_mapping: IdMappingOptions,
    /// Groups that the user of a process is in besides those of the image (`--group-add`).
    #[serde(
        rename = "GroupAdd",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub group_add: Vec<String>,
    /// The base image's top layer; empty for `scratch`.
    #[serde(rename = "TopLayer", default, deserialize_with = "null_default")]
    pub top_layer: String,
    /// Media type of the manifest to be.
    #[serde(rename = "Format", default, deserialize_with = "null_default")]
    pub format: String,
    /// Whatever else the file holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `CommonBuildOpts`: what `from` was told about later `run`s.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// `HOST:ADDRESS` entries for `/etc/hosts`.
    #[serde(rename = "AddHost", default, deserialize_with = "null_default")]
    pub add_host: Vec<String>,
    /// Whether the proxy variables of the host reach the processes.
    #[serde(rename = "HTTPProxy", default, deserialize_with = "null_default")]
    pub http_proxy: bool,
    /// `search` domains for `/etc/resolv.conf`.
    #[serde(rename = "DNSSearch", default, deserialize_with = "null_default")]
    pub dns_search: Vec<String>,
    /// Name servers for `/etc/resolv.conf`.
    #[serde(rename = "DNSServers", default, deserialize_with = "null_default")]
    pub dns_servers: Vec<String>,
    /// `options` for `/etc/resolv.conf`.
    #[serde(rename = "DNSOptions", default, deserialize_with = "null_default")]
    pub dns_options: Vec<String>,
    /// Whether `/etc/hosts` of the image stays visible.
    #[serde(rename = "NoHosts", default, deserialize_with = "null_default")]
    pub no_hosts: bool,
    /// Size of `/dev/shm`, `65536k` as default.
    #[serde(rename = "ShmSize", default, deserialize_with = "null_default")]
    pub shm_size: String,
    /// `NAME=SOFT[:HARD]` limits.
    #[serde(rename = "Ulimit", default, deserialize_with = "null_default")]
    pub ulimit: Vec<String>,
    /// `SOURCE:TARGET[:OPTIONS]` volumes.
    #[serde(rename = "Volumes", default, deserialize_with = "null_default")]
    pub volumes: Vec<String>,
    /// The control group below which that of a process is made; empty for the usual place.
    #[serde(rename = "CgroupParent", default, deserialize_with = "null_default")]
    pub cgroup_parent: String,
    /// Microseconds; 0 is not limited, here and below.
    #[serde(rename = "CPUPeriod", default, deserialize_with = "null_default")]
    pub cpu_period: u64,
    /// Microseconds in each period.
    #[serde(rename = "CPUQuota", default, deserialize_with = "null_default")]
    pub cpu_quota: i64,
    /// Weight against others.
    #[serde(rename = "CPUShares", default, deserialize_with = "null_default")]
    pub cpu_shares: u64,
    /// Processors; empty for all.
    #[serde(rename = "CPUSetCPUs", default, deserialize_with = "null_default")]
    pub cpuset_cpus: String,
    /// Memory nodes; empty for all.
    #[serde(rename = "CPUSetMems", default, deserialize_with = "null_default")]
    pub cpuset_mems: String,
    /// Bytes.
    #[serde(rename = "Memory", default, deserialize_with = "null_default")]
    pub memory: i64,
    /// Bytes, of memory and swap together; -1 is unlimited.
    #[serde(rename = "MemorySwap", default, deserialize_with = "null_default")]
    pub memory_swap: i64,
    /// Whatever else the object holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not JSON of this shape.
    #[error("`buildah.json` of container {container} is not a builder's state")]
    Parse {
        /// ID of the container.
        container: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// JSON of another program or version.
    #[error(
        "`buildah.json` of container {container} has the type `{found}` instead of `{STATE_TYPE}`"
    )]
    Type {
        /// ID of the container.
        container: String,
        /// What it says.
        found: String,
    },
    /// The state could not be written as JSON.
    #[error("cannot encode the state of container {container}")]
    Encode {
        /// ID of the container.
        container: String,
        /// The cause.
        source: serde_json::Error,
    },
}

impl BuilderState {
    /// Parses the file of the container `container`.
    ///
    /// # Errors
    /// When it is not JSON, or of another type.
    pub fn parse(bytes: &[u8], container: &str) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(bytes).map_err(|source| StateError::Parse {
            container: container.to_owned(),
            source,
        })?;
        if state.kind == STATE_TYPE {
            Ok(state)
        } else {
            Err(StateError::Type {
                container: container.to_owned(),
                found: state.kind,
            })
        }
    }

    /// Returns the bytes of the file.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        serde_json::to_vec(self).map_err(|source| StateError::Encode {
            container: self.container_id.clone(),
            source,
        })
    }

    /// Returns the image configuration: what Docker's dialect holds, or what OCI's does in a file
    /// that lacks the former.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn image_config(&self) -> Result<ImageConfig, StateError> {
        let value = if self.docker.is_object() {
            &self.docker
        } else {
            &self.ociv1
        };
        if value.is_null() {
            return Ok(ImageConfig::default());
        }
        let mut config: ImageConfig =
            serde_json::from_value(value.clone()).map_err(|source| StateError::Parse {
                container: self.container_id.clone(),
                source,
            })?;
        // It is written anew as a copy of `config`; a stale one would come back.
        config.container_config = None;
        Ok(config)
    }

    /// Stores the image configuration in both dialects.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn set_image_config(&mut self, config: &ImageConfig) -> Result<(), StateError> {
        let encode = |bytes: Vec<u8>, container: &str| {
            serde_json::from_slice(&bytes).map_err(|source| StateError::Encode {
                container: container.to_owned(),
                source,
            })
        };
        let (oci, _losses) = model::edit::into_dialect(config.clone(), ManifestFormat::Oci);
        self.ociv1 = encode(oci.to_bytes(ManifestFormat::Oci), &self.container_id)?;
        self.docker = encode(config.to_bytes(ManifestFormat::Docker), &self.container_id)?;
        Ok(())
    }

    /// Returns the format that the image is to have.
    #[must_use]
    pub fn manifest_format(&self) -> ManifestFormat {
        if self.format == model::media_type::DOCKER_MANIFEST {
            ManifestFormat::Docker
        } else {
            ManifestFormat::Oci
        }
    }

    /// Returns the ID of the container.
    ///
    /// # Errors
    /// When the file names none.
    pub fn id(&self) -> Result<ContainerId, model::IdError> {
        ContainerId::parse(&self.container_id)
    }

    /// Returns how the container's processes are kept apart unless asked otherwise.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        Isolation::from_number(self.extra.get("Isolation").and_then(Value::as_i64))
    }

    /// Returns the network of the container's processes; `None` where nobody has asked for one.
    #[must_use]
    pub fn network(&self) -> Option<Mode> {
        let policy = self.extra.get(NETWORK_POLICY).and_then(Value::as_i64);
        if policy == Some(NETWORK_DISABLED) {
            return Some(Mode::None);
        }
        match self.namespaces.get(NamespaceKind::Network)? {
            Namespace::Host => Some(Mode::Host),
            Namespace::Path(text) => text.to_string_lossy().parse().ok(),
            Namespace::Private => (policy == Some(NETWORK_ENABLED)).then_some(Mode::Private),
        }
    }

    /// Remembers a network that was asked for.
    pub fn set_network(&mut self, mode: &Mode) {
        let choice = match mode {
            Mode::Host => Namespace::Host,
            Mode::None | Mode::Private => Namespace::Private,
            other => Namespace::Path(other.to_string().into()),
        };
        self.namespaces.set(NamespaceKind::Network, &choice);
        let policy = match mode {
            Mode::None => NETWORK_DISABLED,
            _ => NETWORK_ENABLED,
        };
        self.extra.insert(NETWORK_POLICY.to_owned(), json!(policy));
    }

    /// Returns what a new container of Buildah has in the fields that are not ours to choose.
    #[must_use]
    pub fn new_extra() -> Map<String, Value> {
        object(json!({
            "Args": {},
            "Isolation": Isolation::default().number(),
            NETWORK_POLICY: 0,
            "CNIPluginPath": "",
            "CNIConfigDir": "",
            "TempVolumes": {},
            "ContentDigester": {},
            "Devices": [],
        }))
    }
}

impl RunOptions {
    /// Returns what `from` without flags writes.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            http_proxy: true,
            shm_size: "65536k".to_owned(),
            extra: object(json!({
                "OmitHistory": false,
                // types.OptionalBoolFalse, as `from` has no such flag.
                "IdentityLabel": 2,
                "LabelOpts": null,
                "OmitTimestamp": false,
                "SeccompProfilePath": "",
                "ApparmorProfile": "",
                "Secrets": [],
                "SSHSources": [],
                "OCIHooksDir": [],
            })),
            ..Self::default()
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go's `[]byte`: base64 with padding.
mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Vec::new()),
            Some(text) => STANDARD.decode(text).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Debian's Buildah 1.28 writes, with a field that no version has.
    const FROM_BUILDAH: &str = r#"{
        "Args": null, "type": "buildah 0.0.1", "image": "localhost/bb:1",
        "image-id": "c8f2715eab2861d96632d4d995a546c4447edb26eeae840b89215c43a4a0c5b5",
        "config": "e30=", "container-name": "bb", "container-id": "7544",
        "annotations": {"a": "b"}, "created-by": "cb",
        "ociv1": {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "", "diff_ids": null}},
        "docker": {"created": "2026-11-21T11:36:05.117043996Z", "config": {"User": "app", "OnBuild": [], "Env": null},
            "container_config": {"User": "old"}, "architecture": "amd64", "os": "linux"},
        "PrependedEmptyLayers": null, "AppendedEmptyLayers": null,
        "CommonBuildOpts": {"AddHost": null, "HTTPProxy": true, "ShmSize": "65536k", "Memory": 5},
        "TopLayer": "1c61", "Format": "application/vnd.docker.distribution.manifest.v2+json",
        "Future": {"x": [1, 2]}
    }"#;

    #[test]
    fn what_is_not_understood_survives() {
        let mut state = BuilderState::parse(FROM_BUILDAH.as_bytes(), "7544").expect("parses");
        assert_eq!(state.base_config, b"{}");
        assert_eq!(state.manifest_format(), ManifestFormat::Docker);
        let mut config = state.image_config().expect("config");
        assert_eq!(config.config.user, "app");
        config.config.user = "new".to_owned();
        state.set_image_config(&config).expect("encodes");
        let written: Value =
            serde_json::from_slice(&state.to_bytes().expect("bytes")).expect("json");
        assert_eq!(written["Future"], json!({"x": [1, 2]}));
        assert_eq!(written["CommonBuildOpts"]["Memory"], json!(5));
        assert_eq!(written["config"], json!("e30="));
        assert_eq!(written["ociv1"]["config"]["User"], json!("new"));
        assert_eq!(written["docker"]["container_config"]["User"], json!("new"));
        assert_eq!(written.get("mountpoint"), None);
    }

    #[test]
    fn networks_are_remembered_as_buildah_does() {
        let check = |mode: Option<Mode>, host: bool, path: &str, policy: i64| {
            let mut state = BuilderState::parse(FROM_BUILDAH.as_bytes(), "7544").expect("parses");
            state.namespaces = NamespaceOptions::default();
            if let Some(mode) = &mode {
                state.set_network(mode);
            }
            let bytes = state.to_bytes().expect("bytes");
            let written: Value = serde_json::from_slice(&bytes).expect("json");
            let entry = &written["NamespaceOptions"][3];
            let expected = json!({"Name": "network", "Host": host, "Path": path});
            assert_eq!(*entry, expected, "{mode:?}");
            assert_eq!(written["ConfigureNetwork"].as_i64().unwrap_or(0), policy);
            assert_eq!(
                BuilderState::parse(&bytes, "7544")
                    .expect("parses")
                    .network(),
                mode
            );
        };
        let named = |name: &str| Some(Mode::Named(vec![name.to_owned()]));
        check(None, false, "", 0);
        check(Some(Mode::None), false, "", 1);
        check(Some(Mode::Host), true, "", 2);
        check(Some(Mode::Private), false, "", 2);
        check(named("bogus"), false, "bogus", 2);
        check(Some(Mode::Path("/x".into())), false, "/x", 2);
        let slirp = Mode::Slirp4netns(vec!["mtu=1".to_owned()]);
        check(Some(slirp), false, "slirp4netns:mtu=1", 2);
    }

    #[test]
    fn another_type_is_refused() {
        let error = BuilderState::parse(b"{\"type\": \"x\"}", "7").expect_err("another type");
        assert_eq!(
            error.to_string(),
            "`buildah.json` of container 7 has the type `x` instead of `buildah 0.0.1`"
        );
        assert!(BuilderState::parse(b"[]", "7").is_err());
    }
}
