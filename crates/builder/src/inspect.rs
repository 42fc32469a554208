//! What `inspect` shows of a container or an image, in the shape that Buildah prints.
//!
//! Only data: the caller prints it as JSON or through a template.

use std::collections::BTreeMap;

use model::{History, ImageConfig, ManifestFormat, go_json};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::namespaces::{IdMappingOptions, NamespaceOptions};
use crate::run::Isolation;
use crate::state::{BuilderState, STATE_TYPE, StateError};

/// One container or image as `buildah inspect` shows it; the field order is Buildah's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspection {
    /// Always `buildah 0.0.1`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// Name of the image; empty for `scratch`.
    pub from_image: String,
    /// ID of the image.
    #[serde(rename = "FromImageID")]
    pub from_image_id: String,
    /// Digest of the image's manifest.
    pub from_image_digest: String,
    /// Groups that processes are in besides.
    pub group_add: Value,
    /// The image's config as text.
    pub config: String,
    /// The image's manifest as text.
    pub manifest: String,
    /// Name of the container.
    pub container: String,
    /// ID of the container.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Where the container is mounted.
    pub mount_point: String,
    /// SELinux label of processes.
    pub process_label: String,
    /// SELinux label of files.
    pub mount_label: String,
    /// Annotations of the image (to be).
    pub image_annotations: Option<BTreeMap<String, String>>,
    /// `created_by` of the layer to be.
    pub image_created_by: String,
    /// The configuration in the OCI dialect.
    #[serde(rename = "OCIv1")]
    pub ociv1: Box<RawValue>,
    /// The configuration in Docker's dialect.
    pub docker: Box<RawValue>,
    /// File with default mounts.
    pub default_mounts_file_path: String,
    /// Name of the isolation.
    pub isolation: &'static str,
    /// Namespaces of processes.
    pub namespace_options: NamespaceOptions,
    /// Capabilities of processes.
    pub capabilities: Option<Vec<String>>,
    /// Name of the network policy.
    pub configure_network: &'static str,
    /// Obsolete.
    #[serde(rename = "CNIPluginPath")]
    pub cni_plugin_path: String,
    /// Obsolete.
    #[serde(rename = "CNIConfigDir")]
    pub cni_config_dir: String,
    /// Maps of user and group IDs.
    #[serde(rename = "IDMappingOptions")]
    pub id_mapping_options: IdMappingOptions,
    /// The image's history.
    pub history: Value,
    /// Devices of processes.
    pub devices: Value,
}

impl Inspection {
    /// Describes a working container.
    ///
    /// # Errors
    /// When its configuration cannot be read.
    pub fn of_container(state: &BuilderState) -> Result<Self, StateError> {
        let config = state.image_config()?;
        let text = |key: &str| text_of(&state.extra, key);
        Ok(Self {
            from_image: state.image.clone(),
            from_image_id: state.image_id.clone(),
            from_image_digest: state.image_digest.clone(),
            config: String::from_utf8_lossy(&state.base_config).into_owned(),
            manifest: String::from_utf8_lossy(&state.base_manifest).into_owned(),
            container: state.container_name.clone(),
            container_id: state.container_id.clone(),
            mount_point: state.mount_point.clone(),
            process_label: text("process-label"),
            mount_label: text("mount-label"),
            image_annotations: some(state.annotations.clone()),
            image_created_by: state.created_by.clone(),
            default_mounts_file_path: text("defaultMountsFilePath"),
            isolation: state.isolation().name(),
            namespace_options: state.namespaces.clone(),
            capabilities: Some(state.capabilities.clone()),
            configure_network: network_name(&state.extra),
            cni_plugin_path: text("CNIPluginPath"),
            cni_config_dir: text("CNIConfigDir"),
            id_mapping_options: state.id_mapping.clone(),
            devices: state.extra.get("Devices").cloned().unwrap_or_default(),
            history: history_of(
                [&config.history, &state.prepended, &state.appended],
                &state.container_id,
            )?,
            group_add: state.extra.get("GroupAdd").cloned().unwrap_or_default(),
            ..Self::of_config(&config, &state.container_id)?
        })
    }

    /// Describes an image by its own bytes. `name` is the name it was found by.
    ///
    /// # Errors
    /// When its config is not one.
    pub fn of_image(image: &ImageFacts<'_>) -> Result<Self, StateError> {
        let config: ImageConfig =
            serde_json::from_slice(image.config).map_err(|source| StateError::Parse {
                container: image.id.to_owned(),
                source,
            })?;
        let described = Self::of_config(&config, image.id)?;
        // Go distinguishes the list that an OCI config cannot have from an empty one.
        let docker = if String::from_utf8_lossy(image.config).contains("\"OnBuild\"") {
            described.docker.get().to_owned()
        } else {
            described
                .docker
                .get()
                .replace("\"OnBuild\":[]", "\"OnBuild\":null")
        };
        let docker = RawValue::from_string(docker).map_err(|source| StateError::Encode {
            container: image.id.to_owned(),
            source,
        })?;
        Ok(Self {
            from_image: image.name.to_owned(),
            from_image_id: image.id.to_owned(),
            from_image_digest: image.digest.to_owned(),
            config: String::from_utf8_lossy(image.config).into_owned(),
            manifest: String::from_utf8_lossy(image.manifest).into_owned(),
            image_annotations: some(image.annotations.clone()),
            isolation: Isolation::Oci.name(),
            namespace_options: NamespaceOptions::default(),
            capabilities: None,
            configure_network: "NetworkDefault",
            id_mapping_options: IdMappingOptions::default(),
            docker,
            ..described
        })
    }

    fn of_config(config: &ImageConfig, of: &str) -> Result<Self, StateError> {
        let encode = |source| StateError::Encode {
            container: of.to_owned(),
            source,
        };
        let raw = |bytes: Vec<u8>| {
            RawValue::from_string(String::from_utf8_lossy(&bytes).into_owned()).map_err(encode)
        };
        let (oci, _losses) = model::edit::into_dialect(config.clone(), ManifestFormat::Oci);
        Ok(Self {
            kind: STATE_TYPE,
            from_image: String::new(),
            from_image_id: String::new(),
            from_image_digest: String::new(),
            group_add: Value::Null,
            config: String::new(),
            manifest: String::new(),
            container: String::new(),
            container_id: String::new(),
            mount_point: String::new(),
            process_label: String::new(),
            mount_label: String::new(),
            image_annotations: None,
            image_created_by: String::new(),
            ociv1: raw(oci.to_bytes(ManifestFormat::Oci))?,
            docker: raw(config.to_bytes(ManifestFormat::Docker))?,
            default_mounts_file_path: String::new(),
            isolation: Isolation::Oci.name(),
            namespace_options: NamespaceOptions::default(),
            capabilities: None,
            configure_network: "NetworkDefault",
            cni_plugin_path: String::new(),
            cni_config_dir: String::new(),
            id_mapping_options: IdMappingOptions::default(),
            history: history_of([&config.history], of)?,
            devices: Value::Null,
        })
    }

    /// Returns the text that `inspect` prints without a template, four blanks a level.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, StateError> {
        let compact = go_json::to_vec(self).map_err(|source| StateError::Encode {
            container: self.container_id.clone(),
            source,
        })?;
        Ok(indent(&String::from_utf8_lossy(&compact), "    "))
    }
}

/// What [`Inspection::of_image`] is told.
#[derive(Debug, Clone, Copy)]
pub struct ImageFacts<'a> {
    /// The name it was found by.
    pub name: &'a str,
    /// Its ID.
    pub id: &'a str,
    /// Digest of its manifest.
    pub digest: &'a str,
    /// Bytes of its config.
    pub config: &'a [u8],
    /// Bytes of its manifest.
    pub manifest: &'a [u8],
    /// Annotations of its manifest.
    pub annotations: &'a BTreeMap<String, String>,
}

fn some(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(map).filter(|map| !map.is_empty())
}

/// The entries of all the lists in turn; `null` for none.
fn history_of<const N: usize>(lists: [&Vec<History>; N], of: &str) -> Result<Value, StateError> {
    let entries: Vec<_> = lists.into_iter().flatten().collect();
    if entries.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::to_value(&entries).map_err(|source| StateError::Encode {
        container: of.to_owned(),
        source,
    })
}

fn text_of(map: &Map<String, Value>, key: &str) -> String {
    map.get(key)
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned()
}

fn network_name(extra: &Map<String, Value>) -> &'static str {
    match extra.get("ConfigureNetwork").and_then(Value::as_i64) {
        Some(1) => "NetworkDisabled",
        Some(2) => "NetworkEnabled",
        _ => "NetworkDefault",
    }
}

/// Spreads compact JSON over lines, as Go's `json.Indent` does.
#[must_use]
pub fn indent(compact: &str, unit: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut previous = ' ';
    for c in compact.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            let opens = matches!(previous, '{' | '[');
            match c {
                '}' | ']' => {
                    depth = depth.saturating_sub(1);
                    if !opens {
                        new_line(&mut out, unit, depth);
                    }
                    out.push(c);
                }
                _ => {
                    if opens {
                        new_line(&mut out, unit, depth);
                    }
                    out.push(c);
                    match c {
                        '{' | '[' => depth += 1,
                        ',' => new_line(&mut out, unit, depth),
                        ':' => out.push(' '),
                        '"' => in_string = true,
                        _ => {}
                    }
                }
            }
        }
        previous = c;
    }
    out
}

fn new_line(out: &mut String, unit: &str, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str(unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_follows_go() {
        let check = |compact: &str, expected: &str| assert_eq!(indent(compact, "  "), expected);
        check("{}", "{}");
        check("{\"a\":[],\"b\":{}}", "{\n  \"a\": [],\n  \"b\": {}\n}");
        check(
            "{\"a\":[1,{\"b\":\"x,\\\"]{:\"}],\"c\":null}",
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,\\\"]{:\"\n    }\n  ],\n  \"c\": null\n}",
        );
    }
}
