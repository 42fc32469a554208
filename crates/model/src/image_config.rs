//! The config of an image: what runs, what it is made of, and how it came to be.
//!
//! One type holds both dialects, OCI's and Docker's, without losing members that neither defines. Writing names a
//! dialect and gives the members the order that Buildah's structs have. Received bytes are to be kept beside the parsed
//! config; writing makes new bytes with a new digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::go_json;
use crate::go_order::{Fields, ObjectSet};
use crate::id::DiffId;
use crate::manifest::ManifestFormat;
use crate::platform::Platform;
use crate::serde_go::{null_default, object_set};
use crate::time::Timestamp;

/// The most bytes a config may have.
pub const CONFIG_MAX: usize = 4 << 20;

/// Why bytes are no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The bytes are not JSON of the right shape.
    #[error("cannot parse image config")]
    Parse(#[source] serde_json::Error),
    /// More than [`CONFIG_MAX`] bytes.
    #[error("image config of {size} bytes is larger than {CONFIG_MAX}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
}

/// The config of an image (OCI "Image Configuration", Docker "Image JSON").
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ImageConfig {
    /// Docker only: a remark.
    #[serde(default, deserialize_with = "null_default")]
    pub comment: String,
    /// When the image was made.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// Docker only: the container that the image was committed from.
    #[serde(default, deserialize_with = "null_default")]
    pub container: String,
    /// Docker only: the config of that container.
    #[serde(default)]
    pub container_config: Option<ContainerConfig>,
    /// Docker only: the version of the tool.
    #[serde(default, deserialize_with = "null_default")]
    pub docker_version: String,
    /// Who made the image.
    #[serde(default, deserialize_with = "null_default")]
    pub author: String,
    /// What a container made of the image does.
    #[serde(default, deserialize_with = "null_default")]
    pub config: ContainerConfig,
    /// The processor, in Go's words.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// The processor's variant.
    #[serde(default, deserialize_with = "null_default")]
    pub variant: String,
    /// The operating system, in Go's words.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// The operating system's version.
    #[serde(default, rename = "os.version", deserialize_with = "null_default")]
    pub os_version: String,
    /// Features of the operating system.
    #[serde(default, rename = "os.features", deserialize_with = "null_default")]
    pub os_features: Vec<String>,
    /// The layers' contents.
    #[serde(default, deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// How the layers came to be.
    #[serde(default, deserialize_with = "null_default")]
    pub history: Vec<History>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a container does (OCI `config`, Docker `config` and `container_config`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub hostname: String,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub domainname: String,
    /// The user, and with a colon the group, of the process.
    #[serde(default, deserialize_with = "null_default")]
    pub user: String,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub attach_stdin: bool,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub attach_stdout: bool,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub attach_stderr: bool,
    /// Ports, as `80/tcp`.
    #[serde(default, deserialize_with = "object_set")]
    pub exposed_ports: BTreeSet<String>,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub tty: bool,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub open_stdin: bool,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub stdin_once: bool,
    /// The environment, each `NAME=value`.
    #[serde(default, deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Default arguments.
    #[serde(default, deserialize_with = "null_default")]
    pub cmd: Vec<String>,
    /// Docker only.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    /// Windows only.
    #[serde(default, deserialize_with = "null_default")]
    pub args_escaped: bool,
    /// Docker only: the name of the image below.
    #[serde(default, deserialize_with = "null_default")]
    pub image: String,
    /// Directories that become volumes.
    #[serde(default, deserialize_with = "object_set")]
    pub volumes: BTreeSet<String>,
    /// The directory that the process starts in.
    #[serde(default, deserialize_with = "null_default")]
    pub working_dir: String,
    /// The command, or its first words.
    #[serde(default, deserialize_with = "null_default")]
    pub entrypoint: Vec<String>,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub network_disabled: bool,
    /// Docker only.
    #[serde(default, deserialize_with = "null_default")]
    pub mac_address: String,
    /// Docker only: instructions for builds on top of the image.
    #[serde(default, deserialize_with = "null_default")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the process to stop, as a name or number.
    #[serde(default, deserialize_with = "null_default")]
    pub stop_signal: String,
    /// Docker only: seconds between that signal and the end.
    #[serde(default)]
    pub stop_timeout: Option<i64>,
    /// Docker only: the words in front of the shell form.
    #[serde(default, deserialize_with = "null_default")]
    pub shell: Vec<String>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How Docker asks a container whether it is well. Durations are nanoseconds; 0 means "as inherited".
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(default, deserialize_with = "null_default")]
    pub test: Vec<String>,
    /// Time between two questions.
    #[serde(default, deserialize_with = "null_default")]
    pub interval: i64,
    /// Time an answer may take.
    #[serde(default, deserialize_with = "null_default")]
    pub timeout: i64,
    /// Time at the start during which failures do not count.
    #[serde(default, deserialize_with = "null_default")]
    pub start_period: i64,
    /// Time between two questions during that period.
    #[serde(default, deserialize_with = "null_default")]
    pub start_interval: i64,
    /// How many failures in a row make a container unwell.
    #[serde(default, deserialize_with = "null_default")]
    pub retries: i64,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The layers of an image by content.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(default, rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// The layers from the base up.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<DiffId>,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
            extra: Map::new(),
        }
    }
}

/// One entry of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct History {
    /// When.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// By which instruction.
    #[serde(default, deserialize_with = "null_default")]
    pub created_by: String,
    /// By whom.
    #[serde(default, deserialize_with = "null_default")]
    pub author: String,
    /// A remark.
    #[serde(default, deserialize_with = "null_default")]
    pub comment: String,
    /// Whether no layer belongs to it.
    #[serde(default, deserialize_with = "null_default")]
    pub empty_layer: bool,
    /// Members that are not listed above.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageConfig {
    /// Makes the config of an image without layers for a platform.
    pub fn for_platform(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone().unwrap_or_default(),
            os_features: platform.os_features.clone(),
            ..Self::default()
        }
    }

    /// Parses the bytes of a config.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > CONFIG_MAX {
            return Err(ConfigError::TooLarge { size: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(ConfigError::Parse)
    }

    /// Writes the config as Buildah writes it in the given dialect. Members that the dialect does not have are written
    /// only if they are set; [`edit::into_dialect`](crate::edit::into_dialect) removes them.
    pub fn to_bytes(&self, format: ManifestFormat) -> Vec<u8> {
        go_json::to_vec(&InDialect(self, format))
            .expect("all keys are strings and all values plain")
    }

    /// Returns the platform.
    pub fn platform(&self) -> Platform {
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: some(&self.variant),
            os_version: some(&self.os_version),
            os_features: self.os_features.clone(),
            features: Vec::new(),
        }
    }

    /// Returns how many entries of the history have a layer.
    pub fn layers_in_history(&self) -> usize {
        self.history
            .iter()
            .filter(|entry| !entry.empty_layer)
            .count()
    }
}

/// Something written in the member order of one dialect.
struct InDialect<'a, T>(&'a T, ManifestFormat);

/// Each entry of a list in one dialect.
struct EachInDialect<'a, T>(&'a [T], ManifestFormat);

impl<'a, T> Serialize for EachInDialect<'a, T>
where
    InDialect<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|item| InDialect(item, self.1)))
    }
}

impl Serialize for InDialect<'_, ImageConfig> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(image, format) = *self;
        let mut fields = Fields::new(serializer);
        let config = InDialect(&image.config, format);
        match format {
            // image-spec v1.1, specs-go/v1/config.go; the platform's five members are one embedded struct.
            ManifestFormat::Oci => {
                fields
                    .filled("created", &image.created)
                    .filled("author", &image.author)
                    .always("architecture", &image.architecture)
                    .always("os", &image.os)
                    .filled("os.version", &image.os_version)
                    .filled("os.features", &image.os_features)
                    .filled("variant", &image.variant)
                    .always("config", &config)
                    .always("rootfs", &image.rootfs);
                if !image.history.is_empty() {
                    fields.always("history", &EachInDialect(&image.history, format));
                }
                fields
                    .filled("comment", &image.comment)
                    .filled("container", &image.container)
                    .filled("docker_version", &image.docker_version);
                if let Some(config) = &image.container_config {
                    fields.always("container_config", &InDialect(config, format));
                }
            }
            // Buildah's docker.V2Image with its embedded V1Image.
            ManifestFormat::Docker => {
                fields
                    .filled("comment", &image.comment)
                    .always("created", &image.created.unwrap_or(Timestamp::GO_ZERO))
                    .filled("container", &image.container);
                let container_config = image.container_config.as_ref().unwrap_or(&image.config);
                fields
                    .always("container_config", &InDialect(container_config, format))
                    .filled("docker_version", &image.docker_version)
                    .filled("author", &image.author)
                    .always("config", &config)
                    .filled("architecture", &image.architecture)
                    .filled("variant", &image.variant)
                    .filled("os", &image.os)
                    .always("rootfs", &image.rootfs);
                if !image.history.is_empty() {
                    fields.always("history", &EachInDialect(&image.history, format));
                }
                fields
                    .filled("os.version", &image.os_version)
                    .filled("os.features", &image.os_features);
            }
        }
        fields.rest(&image.extra);
        fields.end()
    }
}

impl Serialize for InDialect<'_, ContainerConfig> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(config, format) = *self;
        let mut fields = Fields::new(serializer);
        match format {
            ManifestFormat::Oci => write_oci(config, &mut fields),
            ManifestFormat::Docker => write_docker(config, &mut fields),
        }
        fields.rest(&config.extra);
        fields.end()
    }
}

/// The members in the order of image-spec's `ImageConfig`, then what only Docker has.
fn write_oci<S: Serializer>(config: &ContainerConfig, fields: &mut Fields<S>) {
    fields
        .filled("User", &config.user)
        .filled("ExposedPorts", &ObjectSet(&config.exposed_ports))
        .filled("Env", &config.env)
        .filled("Entrypoint", &config.entrypoint)
        .filled("Cmd", &config.cmd)
        .filled("Volumes", &ObjectSet(&config.volumes))
        .filled("WorkingDir", &config.working_dir)
        .filled("Labels", &config.labels)
        .filled("StopSignal", &config.stop_signal)
        .filled("ArgsEscaped", &config.args_escaped)
        .filled("Hostname", &config.hostname)
        .filled("Domainname", &config.domainname)
        .filled("AttachStdin", &config.attach_stdin)
        .filled("AttachStdout", &config.attach_stdout)
        .filled("AttachStderr", &config.attach_stderr)
        .filled("Tty", &config.tty)
        .filled("OpenStdin", &config.open_stdin)
        .filled("StdinOnce", &config.stdin_once)
        .filled("Healthcheck", &config.healthcheck)
        .filled("Image", &config.image)
        .filled("NetworkDisabled", &config.network_disabled)
        .filled("MacAddress", &config.mac_address)
        .filled("OnBuild", &config.on_build)
        .filled("StopTimeout", &config.stop_timeout)
        .filled("Shell", &config.shell);
}

/// The members in the order of Buildah's `docker.Config`. An unset `OnBuild` is `[]` there, other lists are `null`.
fn write_docker<S: Serializer>(config: &ContainerConfig, fields: &mut Fields<S>) {
    fields
        .always("Hostname", &config.hostname)
        .always("Domainname", &config.domainname)
        .always("User", &config.user)
        .always("AttachStdin", &config.attach_stdin)
        .always("AttachStdout", &config.attach_stdout)
        .always("AttachStderr", &config.attach_stderr)
        .filled("ExposedPorts", &ObjectSet(&config.exposed_ports))
        .always("Tty", &config.tty)
        .always("OpenStdin", &config.open_stdin)
        .always("StdinOnce", &config.stdin_once)
        .or_null("Env", &config.env)
        .or_null("Cmd", &config.cmd)
        .filled("Healthcheck", &config.healthcheck)
        .filled("ArgsEscaped", &config.args_escaped)
        .always("Image", &config.image)
        .or_null("Volumes", &ObjectSet(&config.volumes))
        .always("WorkingDir", &config.working_dir)
        .or_null("Entrypoint", &config.entrypoint)
        .filled("NetworkDisabled", &config.network_disabled)
        .filled("MacAddress", &config.mac_address)
        .always("OnBuild", &config.on_build)
        .or_null("Labels", &config.labels)
        .filled("StopSignal", &config.stop_signal)
        .filled("StopTimeout", &config.stop_timeout)
        .filled("Shell", &config.shell);
}

impl Serialize for InDialect<'_, History> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(entry, format) = *self;
        let mut fields = Fields::new(serializer);
        match format {
            ManifestFormat::Oci => fields
                .filled("created", &entry.created)
                .filled("created_by", &entry.created_by)
                .filled("author", &entry.author),
            ManifestFormat::Docker => fields
                .always("created", &entry.created.unwrap_or(Timestamp::GO_ZERO))
                .filled("author", &entry.author)
                .filled("created_by", &entry.created_by),
        };
        fields
            .filled("comment", &entry.comment)
            .filled("empty_layer", &entry.empty_layer)
            .rest(&entry.extra);
        fields.end()
    }
}

impl Serialize for Healthcheck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields::new(serializer);
        fields
            .filled("Test", &self.test)
            .filled("Interval", &self.interval)
            .filled("Timeout", &self.timeout)
            .filled("StartPeriod", &self.start_period)
            .filled("StartInterval", &self.start_interval)
            .filled("Retries", &self.retries)
            .rest(&self.extra);
        fields.end()
    }
}

impl Serialize for RootFs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields::new(serializer);
        fields
            .always("type", &self.kind)
            .always("diff_ids", &self.diff_ids)
            .rest(&self.extra);
        fields.end()
    }
}

/// The lossless form: OCI's order, with everything else that is set behind it.
macro_rules! lossless {
    ($($name:ty),*) => {
        $(impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                InDialect(self, ManifestFormat::Oci).serialize(serializer)
            }
        })*
    };
}
lossless!(ImageConfig, ContainerConfig, History);
