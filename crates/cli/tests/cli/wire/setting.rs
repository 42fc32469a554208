//! What the tests of the wire begin with, and questions that they ask of the other side.

use serde_json::Value;

use crate::stage::{Stage, text};

/// The flag for registries on the loopback that speak plain HTTP.
pub const PLAIN: &str = "--tls-verify=false";
/// The media type of an OCI manifest.
pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of a Docker manifest.
pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An empty store, with nothing of the machine's own configuration in reach.
pub fn empty(purpose: &str) -> Stage {
    let stage = Stage::empty(purpose);
    for name in ["home", "xdg"] {
        std::fs::create_dir_all(stage.path(name)).expect("a folder of the test");
    }
    stage.set("HOME", text(&stage.path("home")));
    stage.set("XDG_RUNTIME_DIR", text(&stage.path("xdg")));
    let registries = stage.write("registries.conf", "");
    stage.set("CONTAINERS_REGISTRIES_CONF", text(&registries));
    let policy = stage.write(
        "policy.json",
        "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}",
    );
    stage.set("CONTAINERS_POLICY_JSON", text(&policy));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        stage.set(name, "");
        stage.set(&name.to_lowercase(), "");
    }
    stage
}

/// A store with `localhost/tiny`: one layer of one file.
pub fn tiny(purpose: &str) -> Stage {
    let stage = empty(purpose);
    stage.write("context/h.txt", "hello\n");
    make(
        &stage,
        "tiny",
        "FROM scratch\nCOPY h.txt /\nCMD [\"/f1\"]\n",
    );
    stage
}

/// A store with `localhost/big`: one layer of so many bytes that do not compress.
pub fn big(purpose: &str, bytes: usize) -> Stage {
    let stage = empty(purpose);
    std::fs::create_dir_all(stage.path("context")).expect("a context");
    std::fs::write(stage.path("context/noise"), noise(1, bytes)).expect("a file of noise");
    make(&stage, "big", "FROM scratch\nCOPY noise /\n");
    stage
}

/// Builds an image from the stage's context.
pub fn make(stage: &Stage, name: &str, containerfile: &str) {
    stage.build(containerfile, &["-q", "-t", name]).ok();
}

/// Bytes that do not compress, the same for the same seed (xorshift).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// `docker://HOST/REST`.
pub fn at(host: &str, rest: &str) -> String {
    format!("docker://{host}/{rest}")
}

/// The manifest of a registry's image, as Skopeo reads it.
#[track_caller]
pub fn raw(stage: &Stage, image: &str) -> Value {
    let text = stage.skopeo(&["inspect", PLAIN, "--raw", image]).ok();
    serde_json::from_str(&text).expect("a manifest is JSON")
}

/// The digest of a registry's image, as Skopeo computes it.
#[track_caller]
pub fn digest(stage: &Stage, image: &str) -> String {
    stage
        .skopeo(&["inspect", PLAIN, "--format", "{{.Digest}}", image])
        .ok()
}

/// The media types of a manifest's layers.
pub fn layer_types(manifest: &Value) -> Vec<&str> {
    let layers = manifest["layers"].as_array().expect("layers");
    layers
        .iter()
        .map(|layer| layer["mediaType"].as_str().unwrap_or_default())
        .collect()
}

/// The ID of an image of the store.
#[track_caller]
pub fn id(stage: &Stage, name: &str) -> String {
    let shown = stage.cooper(&["images", "-q", "--no-trunc", name]).ok();
    shown.trim_start_matches("sha256:").to_owned()
}

/// What is in a file of the test.
pub fn content(stage: &Stage, name: &str) -> String {
    std::fs::read_to_string(stage.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
