//! To and from Debian's registry, straight and through a proxy that spoils what passes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cooper_transfer::{
    CompressionFormat, CopyOptions, CopyScope, HostAccess, HostError, Hosts, Located, Purpose,
    Registries, Retry, copy, look, pull,
};
use model::event::{BlobOutcome, Silent};
use model::{Digest, Document, Event, ManifestFormat, Platform, Reference, media_type};
use registry::{Http, HttpOptions, ProxySettings, Security, TimeLimits};
use store::DriverName;
use testkit::proxy::{Fault, FaultProxy, Rule, status};
use testkit::registry::Registry;

use crate::support::{Heard, Image, Scratch, blob, chain, failure, layer, pack, write_index};

/// Every registry speaks plain HTTP; names at `mirrored.test` are asked for elsewhere.
#[derive(Default)]
pub struct Plain {
    mirrors: Vec<String>,
    home: String,
}

impl Hosts for Plain {
    fn locate(&self, name: &Reference, purpose: Purpose) -> Result<Vec<Located>, HostError> {
        let at = |host: &str, mirror| Located {
            name: Reference::parse_normalized(&name.to_string().replace(name.domain(), host))
                .unwrap(),
            host: host.to_owned(),
            security: Security::Unverified,
            mirror,
        };
        if name.domain() != "mirrored.test" {
            return Ok(vec![at(name.domain(), false)]);
        }
        let mirrors = self.mirrors.iter().filter(|_| purpose == Purpose::Pull);
        let mut located: Vec<Located> = mirrors.map(|host| at(host, true)).collect();
        located.push(at(&self.home, false));
        Ok(located)
    }

    fn access(&self, _name: &Reference, _located: &Located) -> Result<HostAccess, HostError> {
        Ok(HostAccess::default())
    }
}

pub fn http() -> Http {
    http_within(TimeLimits::default())
}

fn http_within(limits: TimeLimits) -> Http {
    Http::new(HttpOptions {
        user_agent: "Cooper-test/1".to_owned(),
        proxies: ProxySettings::default(),
        trust_file: None,
        trust_dir: None,
        limits,
    })
}

/// Options for copies that begin without any memory.
fn options(scratch: &Scratch) -> CopyOptions {
    let hosts = Plain {
        mirrors: Vec::new(),
        home: String::new(),
    };
    with(scratch, Registries::new(http(), hosts))
}

fn with(scratch: &Scratch, registries: Registries) -> CopyOptions {
    CopyOptions {
        registries: Some(Arc::new(registries)),
        ..scratch.options()
    }
}

/// The same, with a memory in the scratch directory.
fn remembering(scratch: &Scratch) -> CopyOptions {
    let hosts = Plain {
        mirrors: Vec::new(),
        home: String::new(),
    };
    let memory = scratch.path("memory");
    let registries = Registries::new(http(), hosts)
        .resuming(&memory)
        .remembering(&memory.join("cache"), SystemTime::now());
    with(scratch, registries)
}

/// Bytes that do not compress.
fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| byte()).collect()
}

fn methods(registry: &Registry, from: usize) -> Vec<String> {
    let requests = registry.requests();
    let told = requests[from..].iter().filter(|one| one.target != "/v2/");
    told.map(|one| format!("{} {}", one.method, one.status))
        .collect()
}

#[test]
fn peer_what_is_pushed_comes_back() {
    for driver in [DriverName::Overlay, DriverName::Vfs] {
        let scratch = Scratch::new();
        let registry = Registry::open().unwrap();
        let host = registry.host();
        let options = remembering(&scratch);
        let image = Image::new(
            ManifestFormat::Oci,
            "linux/amd64",
            &[&noise(3 << 20, 1), b"two", &noise(100_000, 2)],
        );
        image.write_layout(&scratch.path("a"), None);
        let store = scratch.store("s", driver);
        let run = |from: &str, to: &str, options: &CopyOptions| {
            scratch
                .copy_with(from, to, Some(&store), options)
                .unwrap_or_else(|err| panic!("{from} to {to}: {}", chain(&err)))
        };
        run("oci:@/a", "containers-storage:me/it:1", &options);
        let place = format!("docker://{host}/a/it:1");
        let pushed = run("containers-storage:me/it:1", &place, &options);
        let kinds = &pushed.manifest.manifest().layers;
        assert!(
            kinds
                .iter()
                .all(|layer| layer.media_type == media_type::OCI_LAYER_GZIP)
        );

        // Again, and under another tag: nothing but questions and the manifest.
        let before = registry.requests().len();
        let again = run(
            "containers-storage:me/it:1",
            &format!("docker://{host}/a/it:2"),
            &remembering(&scratch),
        );
        assert_eq!(again.digest, pushed.digest);
        assert_eq!(
            methods(&registry, before),
            ["HEAD 200", "HEAD 200", "HEAD 200", "HEAD 200", "PUT 201"]
        );

        // Into another repository: blobs are mounted, only the config is sent.
        let before = registry.requests().len();
        run(
            "containers-storage:me/it:1",
            &format!("docker://{host}/b/it:1"),
            &remembering(&scratch),
        );
        let requests = registry.requests();
        let mounts = requests[before..]
            .iter()
            .filter(|one| one.method == "POST" && one.target.contains("from=a%2Fit"));
        assert_eq!(mounts.filter(|one| one.status == 201).count(), 3);
        let sent = requests[before..]
            .iter()
            .filter(|one| one.method == "PATCH");
        assert_eq!(sent.count(), 1);

        // Back into an empty store; layers that are there are not asked for.
        let other = scratch.store("o", driver);
        let pulled = pull(&scratch.place(&place), &other, &options, &Silent).unwrap();
        assert_eq!(pulled[0].names, [format!("{host}/a/it:1")]);
        assert_eq!(
            pulled[0].image.as_ref().unwrap().as_str(),
            image.manifest().config.digest.hex()
        );
        assert_eq!(pulled[0].digest, pushed.digest);
        let before = registry.requests().len();
        let heard = Heard::default();
        pull(&scratch.place(&place), &other, &options, &heard).unwrap();
        assert_eq!(methods(&registry, before), ["GET 200", "GET 200"]);
        let there = |event: &&Event| matches!(event, Event::BlobDone { outcome, .. } if *outcome == BlobOutcome::AlreadyThere);
        assert_eq!(heard.0.lock().unwrap().iter().filter(there).count(), 3);
        assert!(scratch.list("memory/partial").is_empty());
    }
}

#[test]
fn peer_a_network_that_cuts_costs_little() {
    const SIZE: usize = 40 << 20;
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[&noise(SIZE, 3)]);
    image.write_layout(&scratch.path("a"), None);
    let store = scratch.store("s", DriverName::Overlay);
    scratch
        .copy("oci:@/a", "containers-storage:it", Some(&store))
        .unwrap();
    let place = format!("docker://{}/a/it:1", proxy.host());
    proxy.cut_every(20 << 20);
    let options = CopyOptions {
        retry: Retry {
            times: 3,
            delay: None,
        },
        ..remembering(&scratch)
    };
    let to = scratch.copy_with("containers-storage:it", &place, Some(&store), &options);
    to.unwrap_or_else(|err| panic!("{}", chain(&err)));
    let up = proxy.traffic().up;
    // What is on the way when the connection ends is lost; here it ends often.
    let most = u64::try_from(SIZE * 7 / 4).unwrap();
    assert!(up < most, "{up} bytes for {SIZE}");
    let other = scratch.store("o", DriverName::Overlay);
    pull(&scratch.place(&place), &other, &options, &Silent).unwrap();
    let down = proxy.traffic().down;
    assert!(down < most, "{down} bytes for {SIZE}");
}

#[test]
fn peer_mirrors_are_tried_in_order() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let image = Image::new(ManifestFormat::Docker, "linux/amd64", &[b"one"]);
    image.write_layout(&scratch.path("a"), None);
    let options = |mirrors: &[&str], home: &str| {
        let hosts = Plain {
            mirrors: mirrors.iter().map(|&host| host.to_owned()).collect(),
            home: home.to_owned(),
        };
        with(&scratch, Registries::new(http(), hosts))
    };
    let host = registry.host();
    let place = "docker://mirrored.test/a/it:1";
    // Writing goes to the registry itself.
    scratch
        .copy_with("oci:@/a", place, None, &options(&["127.0.0.1:1"], &host))
        .unwrap();
    let store = scratch.store("s", DriverName::Overlay);
    let pulled = pull(
        &scratch.place(place),
        &store,
        &options(&["127.0.0.1:1", &host], "127.0.0.1:2"),
        &Silent,
    )
    .unwrap();
    assert_eq!(pulled[0].names, ["mirrored.test/a/it:1"]);
    let failed = pull(
        &scratch.place(place),
        &store,
        &options(
            &["127.0.0.1:1", "127.0.0.1:2"],
            &host.replace("127.0.0.1", "localhost"),
        ),
        &Silent,
    );
    assert!(failed.is_ok());
    let failed = pull(
        &scratch.place("docker://mirrored.test/a/none:1"),
        &store,
        &options(&["127.0.0.1:1", "127.0.0.1:2"], &host),
        &Silent,
    );
    let text = chain(&failed.unwrap_err());
    let parts = [
        "initializing source docker://mirrored.test/a/none:1: (Mirrors also failed: [127.0.0.1:1/a/none:1: ",
        "]\n[127.0.0.1:2/a/none:1: ",
        &format!("]): {host}/a/none:1: reading manifest 1 in {host}/a/none: manifest unknown"),
    ];
    for part in parts {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn peer_names_without_a_tag_and_by_digest() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let host = registry.host();
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one"]);
    image.write_layout(&scratch.path("a"), None);
    let digest = Digest::sha256(&image.manifest().to_bytes());
    let options = options(&scratch);
    let to = |name: &str| {
        scratch.copy_with(
            "oci:@/a",
            &format!("docker://{host}/{name}"),
            None,
            &options,
        )
    };
    let unknown = to("a/it@@unknown-digest@@").unwrap();
    assert_eq!(unknown.digest, digest);
    to(&format!("b/it@{digest}")).unwrap();
    for name in ["a/it", "b/it"] {
        let place = scratch.place(&format!("docker://{host}/{name}@{digest}"));
        let looked = look(&place, None, &options).unwrap();
        assert_eq!(looked.top.bytes(), image.manifest().to_bytes());
        assert_eq!(looked.image.unwrap().config, image.config_bytes());
    }
    let missing = scratch.place(&format!("docker://{host}/a/it:missing"));
    let missing = look(&missing, None, &options).unwrap_err();
    assert!(missing.registry_error().unwrap().is_not_found());
    let other = Digest::sha256(b"other");
    assert_eq!(
        failure(to(&format!("c/it@{other}"))),
        format!("the manifest has the digest {digest} instead of {other}")
    );
    // What is not compressed in the store would have to be.
    let store = scratch.store("s", DriverName::Overlay);
    scratch
        .copy("oci:@/a", "containers-storage:it", Some(&store))
        .unwrap();
    let place = format!("docker://{host}/d/it@{digest}");
    assert_eq!(
        failure(scratch.copy_with("containers-storage:it", &place, Some(&store), &options)),
        "Copying this image would require changing layer representation, which we cannot do: \"Destination specifies a digest\""
    );
}

#[test]
fn peer_busy_registries_are_tried_again() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one"]);
    image.write_layout(&scratch.path("a"), None);
    let place = format!("docker://{}/a/it:1", proxy.host());
    let options = CopyOptions {
        retry: Retry {
            times: 1,
            delay: Some(std::time::Duration::from_millis(10)),
        },
        ..options(&scratch)
    };
    let run = || {
        let heard = Heard::default();
        let copied = copy(
            &scratch.place("oci:@/a"),
            &scratch.place(&place),
            None,
            &options,
            &heard,
        );
        let warned = |event: &Event| match event {
            Event::Warning { text } => Some(text.clone()),
            _ => None,
        };
        let warnings: Vec<String> = heard
            .0
            .into_inner()
            .unwrap()
            .iter()
            .filter_map(warned)
            .collect();
        (copied, warnings)
    };
    proxy.rule(Rule::new("PUT", "/manifests/", status(503)).times(1));
    let (copied, warnings) = run();
    copied.unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("Failed, retrying in 10ms ... (1/1). Error: writing manifest: "),
        "{}",
        warnings[0]
    );
    proxy.reset();
    proxy.rule(Rule::new("PUT", "/manifests/", status(500)).times(1));
    let (copied, warnings) = run();
    assert!(
        failure(copied).ends_with("received unexpected HTTP status: 500 Internal Server Error")
    );
    assert!(warnings.is_empty());
}

#[test]
fn peer_a_rejected_manifest_is_tried_in_another_format() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one"]);
    image.write_layout(&scratch.path("a"), None);
    let place = format!("docker://{}/a/it:1", proxy.host());
    let options = options(&scratch);
    let invalid = || {
        let body = br#"{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid"}]}"#;
        Fault::Answer(400, Vec::new(), body.to_vec())
    };
    proxy.rule(Rule::new("PUT", "/manifests/", invalid()).times(1));
    let copied = scratch
        .copy_with("oci:@/a", &place, None, &options)
        .unwrap();
    assert_eq!(copied.manifest.format(), ManifestFormat::Docker);
    proxy.rule(Rule::new("PUT", "/manifests/", invalid()));
    let text = failure(scratch.copy_with("oci:@/a", &place, None, &options));
    assert!(
        text.starts_with(
            "Uploading manifest failed, attempted the following formats: application/vnd.oci.image.manifest.v1+json(writing manifest: uploading manifest 1 to "
        ) && text.contains("), application/vnd.docker.distribution.manifest.v2+json("),
        "{text}"
    );
}

/// A list of two images in a layout; returns its bytes.
fn list_of_two(scratch: &Scratch) -> Vec<u8> {
    let layout = scratch.path("two");
    let amd = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"amd"]);
    let arm = Image::new(ManifestFormat::Docker, "linux/arm64/v8", &[b"arm"]);
    let list = model::Index::new(
        ManifestFormat::Oci,
        vec![amd.write_blobs(&layout), arm.write_blobs(&layout)],
    );
    let bytes = list.to_bytes();
    let digest = blob(&layout, &bytes);
    let entry = model::Descriptor::new(media_type::OCI_INDEX, digest, bytes.len() as u64);
    write_index(&layout, vec![entry]);
    bytes
}

#[test]
fn peer_lists_go_whole_or_in_part() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let host = registry.host();
    let bytes = list_of_two(&scratch);
    let all = CopyOptions {
        scope: CopyScope::All,
        ..options(&scratch)
    };
    let run = |from: &str, to: &str, options: &CopyOptions| {
        let copied = scratch.copy_with(from, to, None, options);
        copied.unwrap_or_else(|err| panic!("{from} to {to}: {}", chain(&err)))
    };
    let there = format!("docker://{host}/l:1");
    let copied = run("oci:@/two", &there, &all);
    assert_eq!(copied.list.unwrap().bytes(), bytes);
    let looked = look(&scratch.place(&there), None, &all).unwrap();
    assert_eq!(looked.top.bytes(), bytes);

    // Through a directory, which keeps everything, and back.
    run(&there, "dir:@/dir", &all);
    run("dir:@/dir", &format!("docker://{host}/l:2"), &all);
    let back = look(&scratch.place(&format!("docker://{host}/l:2")), None, &all).unwrap();
    assert_eq!(back.top.bytes(), bytes);
    // A layout has no place for Docker's manifests.
    let layout = run(&there, "oci-archive:@/o.tar:t", &all).list.unwrap();
    let kinds: Vec<&str> = layout
        .index()
        .manifests
        .iter()
        .map(|entry| entry.media_type.as_str())
        .collect();
    assert_eq!(kinds, [media_type::OCI_MANIFEST; 2]);
    assert_eq!(
        layout.index().manifests[1].platform,
        Some(Platform::parse("linux/arm64/v8").unwrap())
    );
    let read = run("oci-archive:@/o.tar:t", "dir:@/dir2", &all)
        .list
        .unwrap();
    assert_eq!(read.bytes(), layout.bytes());

    // A destination for single images, and a registry that is not told of all images.
    let text = failure(scratch.copy_with(&there, "docker-archive:@/x.tar", None, &all));
    assert_eq!(
        text,
        "copying multiple images: destination transport \"docker-archive\" does not support copying multiple images as a group"
    );
    let first = match &looked.top {
        Document::Index(list) => list.index().manifests[0].digest.clone(),
        Document::Manifest(_) => panic!("a list was pushed"),
    };
    let one = CopyOptions {
        scope: CopyScope::Instances(vec![first]),
        ..options(&scratch)
    };
    let text = failure(scratch.copy_with("oci:@/two", &format!("docker://{host}/m:1"), None, &one));
    assert!(text.contains("writing manifest: "), "{text}");
    run("oci:@/two", "dir:@/sparse", &one);
    assert_eq!(
        scratch
            .list("sparse")
            .iter()
            .filter(|name| name.ends_with(".manifest.json"))
            .count(),
        1
    );
}

#[test]
fn peer_a_list_gets_another_compression_besides() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    list_of_two(&scratch);
    let options = CopyOptions {
        scope: CopyScope::All,
        add_compression: vec![CompressionFormat::Zstd, CompressionFormat::Gzip],
        ..options(&scratch)
    };
    let place = format!("docker://{}/l:1", registry.host());
    let copied = scratch.copy_with("oci:@/two", &place, None, &options);
    let list = copied
        .unwrap_or_else(|err| panic!("{}", chain(&err)))
        .list
        .unwrap();
    let entries: Vec<(String, bool)> = list
        .index()
        .manifests
        .iter()
        .map(|entry| {
            (
                entry.platform.clone().unwrap().to_string(),
                entry
                    .annotations
                    .contains_key("io.github.containers.compression.zstd"),
            )
        })
        .collect();
    let expected = [
        ("linux/amd64", false),
        ("linux/arm64/v8", false),
        ("linux/amd64", true),
        ("linux/arm64/v8", true),
    ];
    assert_eq!(
        entries,
        expected.map(|(name, zstd)| (name.to_owned(), zstd))
    );
    let store = scratch.store("s", DriverName::Overlay);
    let pulled = pull(&scratch.place(&place), &store, &options, &Silent).unwrap();
    assert_eq!(
        pulled[0].manifest.manifest().layers[0].media_type,
        media_type::OCI_LAYER_ZSTD
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn peer_registries_that_lie_are_not_believed() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let image = Image::new(
        ManifestFormat::Oci,
        "linux/amd64",
        &[&noise(200_000, 9), b"two"],
    );
    image.write_layout(&scratch.path("a"), None);
    list_of_two(&scratch);
    let place = format!("docker://{}/a/it:1", proxy.host());
    let list = format!("docker://{}/a/list:1", proxy.host());
    let all = CopyOptions {
        scope: CopyScope::All,
        ..options(&scratch)
    };
    scratch.copy_with("oci:@/a", &place, None, &all).unwrap();
    scratch.copy_with("oci:@/two", &list, None, &all).unwrap();
    let manifest = image.manifest();
    let layer_path = format!("/blobs/{}", manifest.layers[0].digest);
    let config_path = format!("/blobs/{}", manifest.config.digest);
    let check = |place: &str, platform: &str, rule: Option<Rule>, expected: &str| {
        proxy.reset();
        rule.into_iter().for_each(|rule| proxy.rule(rule));
        let store = scratch.store("s", DriverName::Overlay);
        let options = CopyOptions {
            platform: Platform::parse(platform).unwrap(),
            ..options(&scratch)
        };
        let text = match pull(&scratch.place(place), &store, &options, &Silent) {
            Ok(_) => panic!("{expected}: it went well"),
            Err(err) => chain(&err),
        };
        assert!(text.contains(expected), "{text} without {expected}");
        assert_eq!(store.images().unwrap().iter().count(), 0);
        assert_eq!(store.layers().unwrap().iter().count(), 0);
    };
    let amd = "linux/amd64";
    let get = |part: &str, fault| Some(Rule::new("GET", part, fault));
    check(
        &place,
        amd,
        get(&layer_path, Fault::Flip(1000)),
        "cannot copy layer 0",
    );
    check(&place, amd, get(&config_path, Fault::Flip(10)), "digest");
    check(
        &place,
        amd,
        get(
            "/manifests/",
            Fault::Header("Content-Type".into(), media_type::OCI_INDEX.into()),
        ),
        "the registry calls what",
    );
    check(
        &place,
        amd,
        get(
            "/manifests/",
            Fault::Body(b"{\"schemaVersion\":2,\"config\":{},\"manifests\":[]}".to_vec()),
        ),
        "rejecting ambiguous manifest",
    );
    check(
        &place,
        amd,
        get("/manifests/", Fault::Body(vec![b' '; 5 << 20])),
        "longer than",
    );
    check(
        &list,
        "linux/riscv64",
        None,
        "no image found in image index for architecture \"riscv64\", variant \"\", OS \"linux\": it has images for linux/amd64, linux/arm64/v8",
    );
    // Something that is called no layer.
    let mut strange = Image::new(ManifestFormat::Oci, amd, &[b"one"]);
    strange.layers[0].1 = "application/x-something";
    strange.write_layout(&scratch.path("strange"), None);
    proxy.reset();
    let there = format!("docker://{}/a/strange:1", proxy.host());
    scratch
        .copy_with("oci:@/strange", &there, None, &all)
        .unwrap();
    check(
        &there,
        amd,
        None,
        "its type is `application/x-something`, which is no type of an image's layers",
    );
    // The right bytes, which the config does not describe.
    let mut lying = Image::new(ManifestFormat::Oci, amd, &[b"one"]);
    lying.layers[0].0 = pack(&layer("other", b"other"), archive::Compression::Gzip);
    lying.write_layout(&scratch.path("lying"), None);
    proxy.reset();
    let there = format!("docker://{}/a/lying:1", proxy.host());
    scratch
        .copy_with("oci:@/lying", &there, None, &all)
        .unwrap();
    check(&there, amd, None, "does not match config's DiffID");
}

#[test]
fn peer_layers_that_are_kept_elsewhere_stay_there() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let options = options(&scratch);
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"base", b"own"]);
    image.write_layout(&scratch.path("a"), None);
    for name in ["it", "publisher"] {
        let to = format!("docker://{}/{name}:1", proxy.host());
        scratch.copy_with("oci:@/a", &to, None, &options).unwrap();
    }
    let mut manifest = image.manifest();
    let digest = manifest.layers[0].digest.clone();
    let url = format!("http://{}/v2/publisher/blobs/{digest}", registry.host());
    media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP.clone_into(&mut manifest.layers[0].media_type);
    manifest.layers[0].urls = vec!["ftp://x".to_owned(), url];
    let bytes = manifest.to_bytes();
    let digest_of_manifest = blob(&scratch.path("a"), &bytes);
    let entry = model::Descriptor::new(
        media_type::OCI_MANIFEST,
        digest_of_manifest,
        bytes.len() as u64,
    );
    write_index(&scratch.path("a"), vec![entry]);

    let heard = Heard::default();
    let (from, to) = (scratch.place("oci:@/a"), scratch.place("oci:@/b"));
    copy(&from, &to, None, &options, &heard).unwrap();
    let stayed = |event: &&Event| matches!(event, Event::BlobDone { outcome, .. } if *outcome == BlobOutcome::Foreign);
    assert_eq!(heard.0.lock().unwrap().iter().filter(stayed).count(), 1);
    assert!(!scratch.path("b/blobs/sha256").join(digest.hex()).exists());

    // For a store they are fetched from where their publisher has them.
    let served = Rule::new("GET", "/manifests/", Fault::Body(bytes.clone()));
    proxy.rule(served);
    let before = registry.requests().len();
    let store = scratch.store("s", DriverName::Overlay);
    let there = scratch.place(&format!("docker://{}/it:1", proxy.host()));
    let pulled = pull(&there, &store, &options, &Silent);
    let pulled = pulled.unwrap_or_else(|err| panic!("{}", chain(&err)));
    assert_eq!(pulled[0].manifest.bytes(), bytes);
    let fetched = registry.requests().split_off(before);
    let target = format!("/v2/publisher/blobs/{digest}");
    assert!(fetched.iter().any(|one| one.target == target));
}

#[test]
fn peer_a_connection_that_stalls_is_given_up_and_taken_up_again() {
    const SIZE: usize = 6 << 20;
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[&noise(SIZE, 5)]);
    image.write_layout(&scratch.path("a"), None);
    let place = format!("docker://{}/a/it:1", proxy.host());
    let impatient = || {
        let limits = TimeLimits {
            stall: Duration::from_millis(400),
            ..TimeLimits::default()
        };
        with(
            &scratch,
            Registries::new(http_within(limits), Plain::default()),
        )
    };
    scratch
        .copy_with("oci:@/a", &place, None, &impatient())
        .unwrap();
    let blob = format!("/blobs/{}", image.manifest().layers[0].digest);
    let stalling = |times| Rule::new("GET", &blob, Fault::Stall(4 << 20)).times(times);

    proxy.reset();
    proxy.rule(stalling(1));
    let began = Instant::now();
    scratch
        .copy_with(&place, "dir:@/one", None, &impatient())
        .unwrap();
    assert!(began.elapsed() > Duration::from_millis(400));
    let asked: Vec<_> = proxy
        .requests()
        .into_iter()
        .filter(|one| one.target.contains(&blob))
        .collect();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[1].range.is_some(),
        "what has come does not come again"
    );
    assert!(proxy.traffic().down < (SIZE + SIZE / 20) as u64);

    // Slow is not stalled, however long it takes.
    proxy.reset();
    proxy.rule(Rule::new("GET", &blob, Fault::Drip(4 << 20)));
    let began = Instant::now();
    scratch
        .copy_with(&place, "dir:@/two", None, &impatient())
        .unwrap();
    assert!(began.elapsed() > Duration::from_secs(1));
    assert_eq!(proxy.count("GET", &blob), 1);

    proxy.reset();
    proxy.rule(Rule::new("GET", &blob, Fault::Stall(0)));
    let error = failure(scratch.copy_with(&place, "dir:@/three", None, &impatient()));
    assert!(error.contains("no byte for 0.4 s"), "{error}");
}

#[test]
fn peer_a_pull_goes_on_where_the_last_one_failed() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let image = Image::new(
        ManifestFormat::Oci,
        "linux/amd64",
        &[&noise(6 << 20, 5), b"two"],
    );
    image.write_layout(&scratch.path("a"), None);
    let place = format!("docker://{}/a/it:1", proxy.host());
    let first = remembering(&scratch);
    scratch.copy_with("oci:@/a", &place, None, &first).unwrap();
    let digest = image.manifest().layers[0].digest.clone();
    let blob = format!("/blobs/{digest}");
    proxy.rule(Rule::new("GET", &blob, Fault::CutDown(4 << 20)).times(1));
    proxy.rule(Rule::new("GET", &blob, status(404)));
    let store = scratch.store("s", DriverName::Overlay);
    pull(&scratch.place(&place), &store, &first, &Silent).unwrap_err();
    assert_eq!(store.layers().unwrap().iter().count(), 0);

    proxy.reset();
    let heard = Heard::default();
    let again = remembering(&scratch);
    pull(&scratch.place(&place), &store, &again, &heard).unwrap();
    let events = heard.0.into_inner().unwrap();
    let resumed = events.iter().find_map(|event| match event {
        Event::BlobResumed { digest, at } => Some((digest.clone(), *at)),
        _ => None,
    });
    let (resumed, at) = resumed.unwrap();
    assert_eq!(resumed, digest);
    assert!(at > 1 << 20);
    assert!(proxy.traffic().down < (6 << 20) - at + 100_000);
    assert!(scratch.list("memory/partial").is_empty());
}
