//! What pulling and pushing costs, with a registry on the loopback.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::measure::{Bench, Side, store_of};
use super::workloads::{Noise, Workload, Yardstick, build, context, debian_tar, settle, words};
use crate::shell;

/// Peak memory of a copy, of whatever size, in MiB.
const COPY_MEMORY: u64 = 128;
/// Half of the image that is pushed, in MiB.
const HALF: usize = 256;

/// What is pushed again, in the context that it was built from.
const MANIFEST: &str = "pushed/manifest.json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A copy from or to a registry.
const TRANSFER: Workload = Workload {
    against_peer: 1.0 / 2.0,
    memory: COPY_MEMORY,
    ..Workload::BUILD
};

/// The workloads of the wire.
pub fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            name: "pull",
            what: "pull of a 250 MB Debian image of 5 layers into an empty store; its yardstick is \
                   `gzip -dc | tar x` of the largest layer and one read of the others",
            rounds: 5,
            yardstick: Some(Yardstick {
                name: "`gzip -dc \\| tar x`",
                bar: Some(1.3),
            }),
            prepare: prepare_pull,
            before: Some(before_pull),
            command: pull,
            clean: |bench| clean(bench, "pulled"),
            ..TRANSFER
        },
        Workload {
            name: "push",
            what: "push of an image of 512 MiB, half of it random, to a registry that has nothing of it; its \
                   yardstick is Skopeo",
            yardstick: Some(Yardstick {
                name: "Skopeo",
                bar: Some(1.0 / 2.0),
            }),
            prepare: prepare_push,
            before: Some(|bench, _| bench.fresh_registry()),
            command: |bench, side| push(bench, side, "1"),
            clean: |bench| clean(bench, "pushed"),
            ..TRANSFER
        },
        Workload {
            name: "repush",
            what: "push of the same image to another tag: no bytes of layers may move; its yardstick is a `curl` that \
                   does nothing but put the manifest there",
            rounds: 5,
            against_peer: 1.0 / 10.0,
            yardstick: Some(Yardstick {
                name: "`curl -T`",
                bar: None,
            }),
            prepare: prepare_repush,
            command: repush,
            after: Some(no_blobs_moved),
            clean: |bench| clean(bench, "pushed"),
            ..TRANSFER
        },
    ]
}

/// Makes the image with Buildah, and lets Buildah push it: what is pulled is not ours.
fn prepare_pull(bench: &Bench) -> Result<()> {
    bench.fresh_registry()?;
    let kept = debian_tar(bench)?;
    let folder = bench.folder().join("pulled");
    context(
        bench,
        "pulled",
        "FROM scratch\nADD debian.tar /\nCOPY tree/usr/lib /opt/lib\nCOPY tree/usr/share /opt/share\n\
         COPY tree/usr/bin /opt/bin\nCOPY tree/usr/sbin tree/etc /opt/rest/\n",
    )?;
    fs::copy(kept, folder.join("debian.tar"))?;
    fs::create_dir_all(folder.join("tree"))?;
    shell::run(
        Command::new("tar")
            .arg("-C")
            .arg(folder.join("tree"))
            .arg("-xf")
            .arg(kept)
            .args(["./usr", "./etc"]),
    )?;
    shell::output(&mut build(bench, Side::Peer, "pulled", &["--layers"]))?;
    shell::output(&mut push_of(bench, Side::Peer, "pulled", "1"))?;
    settle()
}

fn before_pull(bench: &Bench, side: Side) -> Result<()> {
    if side == Side::Yardstick {
        let folder = bench.folder().join("extracted");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        return Ok(fs::create_dir(folder)?);
    }
    bench.empty_store(pulled_into(side))
}

fn pulled_into(side: Side) -> &'static str {
    match side {
        Side::Ours => "ours-pulled",
        Side::Peer | Side::Yardstick => "peer-pulled",
    }
}

fn pull(bench: &Bench, side: Side) -> Command {
    if side == Side::Yardstick {
        return yardstick_of_pull(bench);
    }
    let mut command = bench.tool_on(side, pulled_into(side));
    let image = format!("docker://{}/peer/pulled:1", bench.registry().host());
    command.args(["pull", "-q", "--tls-verify=false", &image]);
    command
}

fn yardstick_of_pull(bench: &Bench) -> Command {
    let mut layers = layers_in(&bench.registry().folder().join("data")).unwrap_or_default();
    layers.sort_by_key(|(size, _)| *size);
    let mut command = Command::new("sh");
    command.arg("-ec").arg(
        "out=$1; largest=$2; shift 2; gzip -dc \"$largest\" | tar -x -C \"$out\"; cat \"$@\" >/dev/null",
    );
    command.arg("sh").arg(bench.folder().join("extracted"));
    command.args(layers.into_iter().rev().map(|(_, path)| path));
    command
}

/// The blobs of a registry's folder that are compressed with gzip, with their sizes.
fn layers_in(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let listing = shell::output(
        Command::new("find")
            .arg(folder)
            .args(["-path", "*/blobs/*/data"]),
    )?;
    let mut layers = Vec::new();
    for path in listing.lines().map(PathBuf::from) {
        let mut magic = [0; 2];
        let mut file = fs::File::open(&path)?;
        std::io::Read::read_exact(&mut file, &mut magic)?;
        if magic == [0x1f, 0x8b] {
            layers.push((file.metadata()?.len(), path));
        }
    }
    Ok(layers)
}

/// Builds the image in both stores: per MiB of noise one of a text that compresses well.
fn prepare_push(bench: &Bench) -> Result<()> {
    context(bench, "pushed", "FROM localhost/base\nCOPY data /data\n")?;
    let folder = bench.folder().join("pushed/data");
    fs::create_dir_all(&folder)?;
    let mut noise = Noise(3);
    let text: String = (0..1 << 16).map(|line| format!("{line:015}\n")).collect();
    for number in 0..HALF {
        noise.fill(&folder.join(format!("noise{number:03}")), 1 << 20)?;
        let mut file = fs::File::create(folder.join(format!("text{number:03}")))?;
        file.write_all(text.as_bytes())?;
    }
    settle()?;
    for side in [Side::Ours, Side::Peer] {
        shell::output(&mut build(bench, side, "pushed", &["--layers"]))?;
    }
    settle()
}

fn prepare_repush(bench: &Bench) -> Result<()> {
    prepare_push(bench)?;
    bench.fresh_registry()?;
    for side in [Side::Ours, Side::Peer] {
        shell::output(&mut push(bench, side, "first"))
            .context("the push before the measured ones")?;
    }
    let manifest = shell::output(
        Command::new("curl")
            .args(["-sSf", "-H", &format!("Accept: {OCI_MANIFEST}")])
            .arg(manifest_at(bench, "first")),
    )?;
    Ok(fs::write(bench.folder().join(MANIFEST), manifest)?)
}

/// The manifest that a push wrote under `tag`.
fn manifest_at(bench: &Bench, tag: &str) -> String {
    format!(
        "http://{}/v2/ours/pushed/manifests/{tag}",
        bench.registry().host()
    )
}

fn repush(bench: &Bench, side: Side) -> Command {
    let tag = bench.registry().requests().len().to_string();
    if side != Side::Yardstick {
        return push(bench, side, &tag);
    }
    let mut command = Command::new("curl");
    command.args(["-sSf", "-H", &format!("Content-Type: {OCI_MANIFEST}"), "-T"]);
    command.arg(bench.folder().join(MANIFEST));
    command.arg(manifest_at(bench, &tag));
    command
}

fn push(bench: &Bench, side: Side, tag: &str) -> Command {
    if side != Side::Yardstick {
        return push_of(bench, side, "pushed", tag);
    }
    let store = bench.folder().join(store_of(side));
    let from = format!(
        "containers-storage:[overlay@{}+{}]localhost/pushed:latest",
        store.join("root").display(),
        store.join("run").display()
    );
    let to = format!("docker://{}/skopeo/pushed:{tag}", bench.registry().host());
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]);
    words(command, &[&from, &to])
}

fn push_of(bench: &Bench, side: Side, name: &str, tag: &str) -> Command {
    let place = format!(
        "docker://{}/{}/{name}:{tag}",
        bench.registry().host(),
        store_of(side)
    );
    words(
        bench.tool(side),
        &["push", "-q", "--tls-verify=false", name, &place],
    )
}

/// Fails when one of our pushes after the first sent a blob.
fn no_blobs_moved(bench: &Bench, _: Side) -> Result<()> {
    let requests = bench.registry().requests();
    let mut after_first = requests
        .iter()
        .filter(|request| request.target.starts_with("/v2/ours/"))
        .skip_while(|request| {
            !(request.method == "PUT" && request.target.ends_with("/manifests/first"))
        });
    match after_first.find(|request| request.target.contains("/blobs/uploads")) {
        Some(sent) => bail!("{} {} in a push of what is there", sent.method, sent.target),
        None => Ok(()),
    }
}

fn clean(bench: &Bench, name: &str) -> Result<()> {
    bench.no_registry();
    for side in [Side::Ours, Side::Peer] {
        let _ = bench.tool(side).args(["rmi", "--force", name]).output();
        bench.empty_store(pulled_into(side))?;
    }
    for folder in [name, "extracted"] {
        let folder = bench.folder().join(folder);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}
