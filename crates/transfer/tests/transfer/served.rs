//! `static-registry:`: the tree, what is refused, and the servers that it is made for.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use cooper_transfer::{CopyOptions, CopyScope};
use model::{Digest, Index, ManifestFormat, Reference, media_type};
use testkit::curl;
use testkit::web::WebServer;

use crate::support::{Image, Scratch, failure, named, tool, write_index};

fn layouts(scratch: &Scratch) -> (Image, Image) {
    let (one, two) = (
        Image::new(ManifestFormat::Oci, "linux/amd64", &[b"base", b"one"]),
        Image::new(ManifestFormat::Docker, "linux/arm64", &[b"base", b"two"]),
    );
    one.write_layout(&scratch.path("one"), None);
    two.write_layout(&scratch.path("two"), None);
    (one, two)
}

/// A layout whose only entry is a list of both images.
fn list(scratch: &Scratch, format: ManifestFormat) -> Digest {
    let path = scratch.path("list");
    let entries = ["linux/amd64", "linux/arm64"].map(|platform| {
        let image = Image::new(format, platform, &[b"base", platform.as_bytes()]);
        image.write_blobs(&path)
    });
    let index = Index::new(format, entries.to_vec()).to_bytes();
    let digest = crate::support::blob(&path, &index);
    let entry = model::Descriptor::new(format.index_type(), digest.clone(), index.len() as u64);
    write_index(&path, vec![named(entry, None)]);
    digest
}

fn text(scratch: &Scratch, name: &str) -> String {
    fs::read_to_string(scratch.path(name)).unwrap()
}

#[test]
fn the_tree_grows_with_every_push() {
    let scratch = Scratch::new();
    let (one, _) = layouts(&scratch);
    let push = |from: &str, to: &str| {
        let to = format!("static-registry:@/www{to}");
        scratch
            .copy(from, &to, None)
            .unwrap_or_else(|err| panic!("{to}: {err}"))
    };
    let first = push("oci:@/one", ":a/tiny:1");
    assert_eq!(first.manifest.bytes(), one.manifest().to_bytes());
    let second = push("oci:@/two", ":a/tiny:2");
    push("oci:@/one", ":b");
    push("oci:@/one", ":a/tiny:1");
    assert_eq!(
        text(&scratch, "www/v2/_catalog"),
        r#"{"repositories":["a/tiny","b"]}"#
    );
    assert_eq!(
        text(&scratch, "www/v2/a/tiny/tags/list"),
        r#"{"name":"a/tiny","tags":["1","2"]}"#
    );
    let manifests = scratch.list("www/v2/a/tiny/manifests");
    let mut expected = vec![
        "-".to_owned(),
        "1".to_owned(),
        "2".to_owned(),
        first.digest.to_string(),
        second.digest.to_string(),
    ];
    expected.sort();
    assert_eq!(manifests, expected);
    let mut typed = vec![
        "1.oci-manifest".to_owned(),
        "2.docker-manifest".to_owned(),
        format!("{}.oci-manifest", first.digest),
        format!("{}.docker-manifest", second.digest),
    ];
    typed.sort();
    assert_eq!(scratch.list("www/v2/a/tiny/manifests/-"), typed);
    // Both repositories have the layers, once on the disk.
    for layer in &one.manifest().layers {
        let inode = |repository: &str| {
            let path = format!("www/v2/{repository}/blobs/{}", layer.digest);
            fs::metadata(scratch.path(&path)).unwrap().ino()
        };
        assert_eq!(inode("a/tiny"), inode("b"));
    }
    for file in ["nginx.conf", ".htaccess", "Caddyfile", "ping.json"] {
        assert!(scratch.path("www").join(file).is_file(), "{file}");
    }
    // What a user has changed stays.
    fs::write(scratch.path("www/nginx.conf"), "mine").unwrap();
    // A tag that moves changes its type, too.
    let moved = push("oci:@/two", ":a/tiny:1");
    assert_eq!(text(&scratch, "www/nginx.conf"), "mine");
    let typed = scratch.list("www/v2/a/tiny/manifests/-");
    assert!(typed.contains(&"1.docker-manifest".to_owned()), "{typed:?}");
    assert!(!typed.contains(&"1.oci-manifest".to_owned()), "{typed:?}");

    for (from, digest) in [
        (":a/tiny:1".to_owned(), &moved.digest),
        (":b".to_owned(), &first.digest),
        (format!(":a/tiny@{}", first.digest), &first.digest),
    ] {
        let from = format!("static-registry:@/www{from}");
        let options = CopyOptions {
            platform: model::Platform::new("linux", "amd64"),
            ..scratch.options()
        };
        let read = scratch
            .copy_with(&from, "dir:@/read", None, &options)
            .unwrap();
        assert_eq!(read.digest, *digest, "{from}");
    }
}

#[test]
fn lists_are_served_whole() {
    for (format, ending) in [
        (ManifestFormat::Oci, "oci-index"),
        (ManifestFormat::Docker, "docker-list"),
    ] {
        let scratch = Scratch::new();
        let digest = list(&scratch, format);
        let options = CopyOptions {
            scope: CopyScope::All,
            ..scratch.options()
        };
        let copied = scratch
            .copy_with("oci:@/list", "static-registry:@/www:m:1", None, &options)
            .unwrap();
        assert_eq!(copied.digest, digest);
        assert_eq!(
            text(&scratch, "www/v2/m/tags/list"),
            r#"{"name":"m","tags":["1"]}"#
        );
        let typed = scratch.list("www/v2/m/manifests/-");
        assert!(typed.contains(&format!("1.{ending}")), "{typed:?}");
        assert_eq!(typed.len(), 1 + 1 + 2, "tag, list and two images");
        let back = scratch
            .copy_with("static-registry:@/www", "dir:@/back", None, &options)
            .unwrap();
        assert_eq!(back.digest, digest);
    }
}

#[test]
fn an_image_keeps_its_own_name_if_none_is_given() {
    let scratch = Scratch::new();
    layouts(&scratch);
    for (name, expected) in [
        ("docker.io/library/alpine:3", "library/alpine"),
        ("localhost/tiny:latest", "tiny"),
    ] {
        let options = CopyOptions {
            additional_names: vec![Reference::parse_normalized(name).unwrap()],
            ..scratch.options()
        };
        scratch
            .copy_with("oci:@/one", "static-registry:@/www", None, &options)
            .unwrap();
        assert!(scratch.path("www/v2").join(expected).is_dir(), "{name}");
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let scratch = Scratch::new();
    layouts(&scratch);
    scratch
        .copy("oci:@/one", "static-registry:@/www:a:1", None)
        .unwrap();
    scratch
        .copy("oci:@/one", "static-registry:@/www:a:2", None)
        .unwrap();
    fs::create_dir_all(scratch.path("other/v2")).unwrap();
    fs::create_dir_all(scratch.path("newer")).unwrap();
    fs::write(scratch.path("newer/.static-registry"), "2\n").unwrap();
    let digest = Digest::sha256(b"another");
    for (from, to, expected) in [
        (
            "oci:@/one",
            "static-registry:@/other:x",
            "`v2` is there already",
        ),
        (
            "oci:@/one",
            "static-registry:@/newer:x",
            "not supported yet",
        ),
        (
            "oci:@/one",
            "static-registry:@/www",
            "the image needs a name there",
        ),
        (
            "static-registry:@/none:x",
            "dir:@/out",
            "there is no registry tree",
        ),
        (
            "static-registry:@/www:x",
            "dir:@/out",
            "it has no image `x:latest`, but a:1, a:2",
        ),
        (
            "static-registry:@/www",
            "dir:@/out",
            "it has 2 images, choose one of them: a:1, a:2",
        ),
        (
            "oci:@/one",
            &format!("static-registry:@/www:a@{digest}"),
            digest.hex(),
        ),
    ] {
        let error = failure(scratch.copy(from, to, None));
        assert!(error.contains(expected), "{from} {to}: {error}");
    }
    assert_eq!(scratch.list("other/v2"), [""; 0]);
}

#[test]
fn spoiled_files_are_not_believed() {
    let scratch = Scratch::new();
    let (one, _) = layouts(&scratch);
    scratch
        .copy("oci:@/one", "static-registry:@/www:a:1", None)
        .unwrap();
    let manifest = one.manifest();
    let layer = &manifest.layers[0].digest;
    let blob = scratch.path(&format!("www/v2/a/blobs/{layer}"));
    let right = fs::read(&blob).unwrap();
    // The same file under all its names.
    fs::write(&blob, vec![0; right.len()]).unwrap();
    let error = failure(scratch.copy("static-registry:@/www:a:1", "oci:@/out", None));
    assert!(error.contains("digest"), "{error}");
    // A push makes it right again.
    scratch
        .copy("oci:@/one", "static-registry:@/www:a:2", None)
        .unwrap();
    assert!(fs::read(&blob).unwrap() == right);
    let digest = Digest::sha256(&manifest.to_bytes());
    let file = scratch.path(&format!("www/v2/a/manifests/{digest}"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, "{}").unwrap();
    let from = format!("static-registry:@/www:a@{digest}");
    let error = failure(scratch.copy(&from, "oci:@/out", None));
    assert!(error.contains("the manifest is not"), "{error}");
}

#[test]
fn pushes_at_the_same_time_lose_nothing() {
    let scratch = Scratch::new();
    layouts(&scratch);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let scratch = &scratch;
            scope.spawn(move || {
                let from = ["oci:@/one", "oci:@/two"][number % 2];
                let to = format!("static-registry:@/www:n{}:t{}", number / 8, number % 8);
                scratch.copy(from, &to, None).unwrap();
            });
        }
    });
    let tags: Vec<String> = (0..8).map(|tag| format!("\"t{tag}\"")).collect();
    for name in ["n0", "n1"] {
        let expected = format!("{{\"name\":\"{name}\",\"tags\":[{}]}}", tags.join(","));
        assert_eq!(
            text(&scratch, &format!("www/v2/{name}/tags/list")),
            expected
        );
    }
    assert_eq!(
        text(&scratch, "www/v2/_catalog"),
        r#"{"repositories":["n0","n1"]}"#
    );
    for directory in [
        "www",
        "www/blobs/sha256",
        "www/v2/n0/manifests",
        "www/v2/n0/blobs",
    ] {
        let left = scratch.list(directory);
        assert!(
            !left.iter().any(|name| name.starts_with(".cooper-")),
            "{left:?}"
        );
    }
}

/// What a server says of a place: status, media type, digest and version headers.
fn told(host: &str, path: &str) -> Vec<String> {
    let head = curl::body(&["-I", &format!("http://{host}{path}")]).unwrap();
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let wanted = [
        "content-type",
        "docker-content-digest",
        "docker-distribution-api-version",
    ];
    let mut told: Vec<String> = lines
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
        .map(|line| line.split_once(": ").unwrap().1.trim().to_owned())
        .collect();
    told.sort();
    told.insert(0, status);
    told
}

/// Compares what a server says with what a registry would, and lets Skopeo read everything.
fn judge(scratch: &Scratch, host: &str, images: &[(&str, &str, Digest)]) {
    let version = "registry/2.0".to_owned();
    let json = "application/json".to_owned();
    let plain = vec!["200".to_owned(), json.clone(), version.clone()];
    assert_eq!(told(host, "/v2/"), plain);
    assert_eq!(told(host, "/v2/a/tiny/tags/list"), plain);
    let mut missing = told(host, "/v2/a/tiny/manifests/none");
    missing.retain(|value| *value != json);
    assert_eq!(missing[0], "404");
    for (tag, kind, digest) in images {
        let by_tag = told(host, &format!("/v2/a/tiny/manifests/{tag}"));
        assert_eq!(by_tag, ["200", kind, &version], "{tag}");
        let by_digest = told(host, &format!("/v2/a/tiny/manifests/{digest}"));
        assert_eq!(by_digest, ["200", kind, &version, digest.as_str()]);
        let from = format!("docker://{host}/a/tiny:{tag}");
        let raw = tool(&["skopeo", "inspect", "--raw", "--tls-verify=false", &from]);
        assert_eq!(Digest::sha256(raw.as_bytes()), *digest);
        let to = scratch.text(&format!("dir:@/from-{tag}"));
        tool(&[
            "skopeo",
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            &from,
            &to,
        ]);
    }
}

/// A tree with one image of every media type.
fn tree(scratch: &Scratch) -> Vec<(&'static str, &'static str, Digest)> {
    layouts(scratch);
    let push = |from: &str, tag: &str, scope| {
        let to = format!("static-registry:@/www:a/tiny:{tag}");
        let options = CopyOptions {
            scope,
            ..scratch.options()
        };
        scratch.copy_with(from, &to, None, &options).unwrap().digest
    };
    let mut images = vec![
        (
            "1",
            media_type::OCI_MANIFEST,
            push("oci:@/one", "1", CopyScope::System),
        ),
        (
            "2.0",
            media_type::DOCKER_MANIFEST,
            push("oci:@/two", "2.0", CopyScope::System),
        ),
    ];
    for (tag, format) in [("m", ManifestFormat::Oci), ("n", ManifestFormat::Docker)] {
        let _ = fs::remove_dir_all(scratch.path("list"));
        list(scratch, format);
        images.push((
            tag,
            format.index_type(),
            push("oci:@/list", tag, CopyScope::All),
        ));
    }
    images
}

#[test]
fn peer_nginx_serves_a_tree() {
    let scratch = Scratch::new();
    let images = tree(&scratch);
    let nginx = WebServer::nginx(&text(&scratch, "www/nginx.conf")).unwrap();
    judge(&scratch, &nginx.host(), &images);
}

#[test]
fn peer_apache_serves_a_tree() {
    let scratch = Scratch::new();
    let images = tree(&scratch);
    let apache = WebServer::apache(&scratch.path("www")).unwrap();
    judge(&scratch, &apache.host(), &images);
}

#[test]
fn peer_caddy_serves_a_tree() {
    let scratch = Scratch::new();
    let images = tree(&scratch);
    let caddy = WebServer::caddy(&text(&scratch, "www/Caddyfile")).unwrap();
    judge(&scratch, &caddy.host(), &images);
}
