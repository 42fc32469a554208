//! policy.json, simple signing with the machine's GnuPG, and sigstore attachments.

use std::path::Path;
use std::process::Command;

use testkit::proxy::FaultProxy;
use testkit::registry::Registry;
use testkit::sigstore::{EMAIL, Fault, SigstoreServices};

use super::setting::{DOCKER, PLAIN, at, digest, id, raw, tiny};
use crate::stage::{Stage, said, text};

const ACCEPT: &str = "{\"type\":\"insecureAcceptAnything\"}";

#[test]
fn peer_30_a_rejected_image_is_not_fetched() {
    let (stage, registry) = (tiny("wire30proxy"), Registry::open().unwrap());
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let place = at(&proxy.host(), "tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    proxy.reset();
    let policy = stage.write("p.json", "{\"default\":[{\"type\":\"reject\"}]}");
    let words = ["pull", PLAIN, "--signature-policy", text(&policy), &place];
    stage.cooper_elsewhere(&words).fails(125);
    assert_eq!(proxy.count("GET", "/manifests/1"), 1);
    assert_eq!(proxy.count("", "/blobs/"), 0, "{:?}", proxy.requests());
}

#[test]
fn peer_30_policy_files_are_read_strictly() {
    let (stage, registry) = (tiny("wire30"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let check = |policy: &str, expected: &str| {
        let file = stage.write("p.json", policy);
        let words = ["pull", PLAIN, "--signature-policy", text(&file), &place];
        let stderr = stage.cooper_elsewhere(&words).fails(125);
        assert!(
            stderr.contains(expected),
            "{policy}: {expected}\nin {stderr}"
        );
        let listed = stage.cooper_elsewhere(&["images", "-q"]).ok();
        assert_eq!(listed, "", "nothing is published");
    };
    check(
        "{\"default\":[{\"type\":\"reject\"}]}",
        &format!("Source image rejected: Running image {place} is rejected by policy."),
    );
    check("{}", "Default policy is missing");
    check(
        "{\"default\":[]}",
        "List of verification policy requirements must not be empty",
    );
    check(
        &format!("{{\"default\":[{ACCEPT}],\"foo\":1}}"),
        "Unknown key \"foo\"",
    );
    check(
        &format!("{{\"default\":[{ACCEPT}],\"default\":[{ACCEPT}]}}"),
        "Duplicate key \"default\"",
    );
    check(
        "{\"default\":[{\"type\":\"bogus\"}]}",
        "Unknown policy requirement type \"bogus\"",
    );
    let scoped = |scope: &str| {
        format!(
            "{{\"default\":[{ACCEPT}],\"transports\":{{\"docker\":{{\"{}{scope}\":[{{\"type\":\"reject\"}}]}}}}}}",
            registry.host()
        )
    };
    for scope in ["", "/a", "/a/tiny", "/a/tiny:1"] {
        check(&scoped(scope), "is rejected by policy");
    }
    let file = stage.write("p.json", &scoped("/b"));
    let words = [
        "pull",
        "-q",
        PLAIN,
        "--signature-policy",
        text(&file),
        &place,
    ];
    stage.cooper_elsewhere(&words).ok();
    // What is in the store is not asked again; the environment names the file, too.
    let garbage = stage.write("garbage.json", "{");
    stage.set("CONTAINERS_POLICY_JSON", text(&garbage));
    stage.cooper_elsewhere(&["from", &place]).ok();
    let other = at(&registry.host(), "a/tiny:2");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &other]).ok();
    let stderr = stage.cooper_elsewhere(&["pull", PLAIN, &other]).fails(125);
    assert!(
        stderr.contains(&format!("invalid policy in \"{}\": ", garbage.display())),
        "{stderr}"
    );
}

/// A key ring of the test's own, whose agent ends with it.
struct KeyRing<'a>(&'a Stage);

impl<'a> KeyRing<'a> {
    fn new(stage: &'a Stage) -> Self {
        let home = stage.path("gnupg");
        std::fs::create_dir_all(&home).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&home, private).unwrap();
        stage.set("GNUPGHOME", text(&home));
        let ring = Self(stage);
        ring.gpg(&[
            "--quick-gen-key",
            "test@example.com",
            "rsa2048",
            "sign",
            "never",
        ]);
        ring.gpg(&["--output", "key.gpg", "--export", "test@example.com"]);
        ring
    }

    fn gpg(&self, words: &[&str]) {
        let mut command = Command::new("gpg");
        self.0.surround(&mut command);
        command.args(["--batch", "--quiet", "--passphrase", ""]);
        said(command.args(words)).ok();
    }
}

impl Drop for KeyRing<'_> {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        self.0.surround(&mut command);
        let _ = command.args(["--kill", "all"]).status();
    }
}

/// Puts signatures of all registries below `sigs`, and asks for the key's.
fn ask_for_signatures(stage: &Stage) -> String {
    let base = stage.path("sigs");
    stage.write(
        "registries.d/default.yaml",
        &format!(
            "default-docker:\n  lookaside: file://{0}\n  sigstore: file://{0}\n",
            base.display()
        ),
    );
    let policy = stage.write(
        "signed.json",
        &format!(
            "{{\"default\":[{ACCEPT}],\"transports\":{{\"docker\":{{\"\":[{{\"type\":\"signedBy\",\
             \"keyType\":\"GPGKeys\",\"keyPath\":\"{}\"}}]}}}}}}",
            stage.path("key.gpg").display()
        ),
    );
    text(&policy).to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn peer_31_simple_signatures_of_skopeo() {
    let (stage, registry) = (tiny("wire31"), Registry::open().unwrap());
    let _ring = KeyRing::new(&stage);
    let policy = ask_for_signatures(&stage);
    let signatures = stage.path("registries.d");
    let place = at(&registry.host(), "a/tiny:1");
    let other = at(&registry.host(), "b/tiny:1");
    let pull = |place: &str| {
        let globals = [
            "--registries-conf-dir",
            text(&signatures),
            "pull",
            "-q",
            PLAIN,
        ];
        stage.cooper_elsewhere(&[&globals[..], &["--signature-policy", &policy, place]].concat())
    };
    let copy = [
        "--registries.d",
        text(&signatures),
        "copy",
        "-q",
        "--dest-tls-verify=false",
    ];
    stage
        .skopeo(
            &[
                &copy[..],
                &[
                    "--sign-by",
                    "test@example.com",
                    "STORE:localhost/tiny",
                    &place,
                ],
            ]
            .concat(),
        )
        .ok();
    assert_eq!(pull(&place).ok(), id(&stage, "tiny"));

    let digest = digest(&stage, &place);
    let signed = |repository: &str| {
        stage.path(&format!(
            "sigs/{repository}/tiny@{}",
            digest.replace(':', "=")
        ))
    };
    stage
        .skopeo(&[
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &place,
            &other,
        ])
        .ok();
    copy_folder(&signed("a"), &signed("b"));
    stage.cooper_elsewhere(&["rmi", "-a", "-f"]).ok();
    let stderr = pull(&other).fails(125);
    let identity = place.trim_start_matches("docker://");
    let expected = format!("Signature for identity \"{identity}\" is not accepted");
    assert!(stderr.contains(&expected), "{stderr}");
    std::fs::remove_dir_all(signed("b")).unwrap();
    let stderr = pull(&other).fails(125);
    assert!(
        stderr.contains("A signature was required, but no signature exists"),
        "{stderr}"
    );
    assert_eq!(stage.cooper_elsewhere(&["images", "-q"]).ok(), "");
}

#[test]
fn peer_31_others_accept_our_signatures() {
    let (stage, registry) = (tiny("wire31b"), Registry::open().unwrap());
    let _ring = KeyRing::new(&stage);
    let policy = ask_for_signatures(&stage);
    let signatures = stage.path("registries.d");
    let place = at(&registry.host(), "a/tiny:1");
    stage
        .cooper(&[
            "--registries-conf-dir",
            text(&signatures),
            "push",
            "-q",
            PLAIN,
            "--sign-by",
            "test@example.com",
            "tiny",
            &place,
        ])
        .ok();
    let folder = format!("dir:{}", stage.path("x").display());
    let mut skopeo = Command::new("skopeo");
    stage.surround(&mut skopeo);
    skopeo.args(["--policy", &policy, "--registries.d", text(&signatures)]);
    said(skopeo.args(["copy", "-q", "--src-tls-verify=false", &place, &folder])).ok();
    assert!(stage.path("x/signature-1").exists());
}

/// What Skopeo finds beside an image of our store: whether it is signed, and for which name.
fn signed_for(stage: &Stage, name: &str, folder: &str) -> Option<String> {
    let place = format!("dir:{}", stage.path(folder).display());
    let from = format!("STORE:{name}");
    stage.skopeo(&["copy", "-q", &from, &place]).ok();
    let file = stage.path(folder).join("signature-1");
    if !file.exists() {
        return None;
    }
    let mut gpg = Command::new("gpg");
    stage.surround(&mut gpg);
    let claim = said(gpg.args(["--batch", "--quiet", "--decrypt", text(&file)])).ok();
    let claim: serde_json::Value = serde_json::from_str(&claim).unwrap();
    let named = &claim["critical"]["identity"]["docker-reference"];
    Some(named.as_str().unwrap().to_owned())
}

#[test]
fn peer_31_images_of_the_store_are_signed_where_they_are_made() {
    let (stage, registry) = (tiny("wire31c"), Registry::open().unwrap());
    let _ring = KeyRing::new(&stage);
    let policy = ask_for_signatures(&stage);
    let key = ["--sign-by", "test@example.com"];
    let stranger = ["--sign-by", "nobody@example.com"];
    let container = stage.cooper(&["from", "scratch"]).ok();
    let commit = |key: [&str; 2], more: &[&str]| {
        stage.cooper(&[&["commit", "-q"], &key[..], &[&container], more].concat())
    };
    commit(key, &["made:1"]).ok();
    assert_eq!(
        signed_for(&stage, "localhost/made:1", "a").as_deref(),
        Some("localhost/made:1")
    );
    // One that has no name is signed for a name that nobody has.
    let unnamed = commit(key, &[]).ok();
    let nobody = signed_for(&stage, &format!("@{unnamed}"), "b").unwrap();
    assert!(
        nobody.starts_with("docker.io/library/") && nobody.ends_with("-tmp:latest"),
        "{nobody}"
    );
    let before = stage.cooper(&["images", "-a", "-q"]).ok();
    let stderr = commit(stranger, &["made:2"]).fails(125);
    assert!(stderr.contains("creating signature"), "{stderr}");
    assert_eq!(
        stage.cooper(&["images", "-a", "-q"]).ok(),
        before,
        "nothing is published"
    );

    stage.write("ctx/Containerfile", "FROM scratch\nCOPY file /\n");
    stage.write("ctx/file", "content");
    let place = at(&registry.host(), "a/built:1");
    let name = place.trim_start_matches("docker://");
    let context = stage.path("ctx");
    let build = |key: [&str; 2], more: &[&str]| {
        stage.cooper(&[&["build", "-q"], &key[..], more, &[text(&context)]].concat())
    };
    for layers in ["--layers=false", "--layers", "--layers"] {
        build(key, &[layers, "-t", name, "-t", "built:2"]).ok();
        for name in [name, "localhost/built:2"] {
            assert_eq!(
                signed_for(&stage, name, "c").as_deref(),
                Some(place.trim_start_matches("docker://"))
            );
        }
    }
    let before = id(&stage, "built:2");
    build(stranger, &["-t", "built:2"]).fails(125);
    assert_eq!(id(&stage, "built:2"), before, "the name stays where it is");

    // A push carries the signature, and a policy that asks for it is content.
    let signatures = stage.path("registries.d");
    let globals = ["--registries-conf-dir", text(&signatures)];
    stage
        .cooper(&[&globals[..], &["push", "-q", PLAIN, name, &place]].concat())
        .ok();
    let pull = ["pull", "-q", PLAIN, "--signature-policy", &policy, &place];
    let pulled = stage.cooper_elsewhere(&[&globals[..], &pull].concat()).ok();
    assert_eq!(pulled, before);
}

#[test]
fn peer_32_signatures_forbid_changes() {
    let (stage, registry) = (tiny("wire32"), Registry::open().unwrap());
    let _ring = KeyRing::new(&stage);
    ask_for_signatures(&stage);
    let signatures = stage.path("registries.d");
    let place = at(&registry.host(), "a/tiny:1");
    stage
        .skopeo(&[
            "--registries.d",
            text(&signatures),
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "--sign-by",
            "test@example.com",
            "STORE:localhost/tiny",
            &place,
        ])
        .ok();
    let globals = ["--registries-conf-dir", text(&signatures)];
    let run = |words: &[&str]| stage.cooper_elsewhere(&[&globals[..], words].concat());
    let pulled = run(&["pull", "-q", PLAIN, &place]).ok();
    let to = at(&registry.host(), "c/tiny:1");
    let push = ["push", "-q", PLAIN, "--format", "v2s2"];
    let stderr = run(&[&push[..], &[&pulled, &to]].concat()).fails(125);
    assert!(stderr.contains("Would invalidate signatures"), "{stderr}");
    run(&[&push[..], &["--remove-signatures", &pulled, &to]].concat()).ok();
    assert_eq!(raw(&stage, &to)["mediaType"], DOCKER);
}

/// Debian has no cosign: what it would leave at the registry is made with openssl and Skopeo.
#[test]
fn peer_33_sigstore_attachments() {
    let (stage, registry) = (tiny("wire33"), Registry::open().unwrap());
    let place = at(&registry.host(), "a/tiny:1");
    stage.cooper(&["push", "-q", PLAIN, "tiny", &place]).ok();
    let manifest = digest(&stage, &place);
    for words in [
        "ecparam -name prime256v1 -genkey -noout -out key.pem",
        "ec -in key.pem -pubout -out key.pub",
    ] {
        openssl(&stage, words);
    }
    attach_signature(&stage, &registry.host(), &manifest);

    stage.write(
        "registries.d/default.yaml",
        "default-docker:\n  use-sigstore-attachments: true\n",
    );
    let signatures = stage.path("registries.d");
    let pull = |key: &str| {
        let policy = stage.write(
            "p.json",
            &format!(
                "{{\"default\":[{{\"type\":\"reject\"}}],\"transports\":{{\"docker\":{{\"\":[{{\"type\":\"sigstoreSigned\",\
                 \"keyPath\":\"{}\",\"signedIdentity\":{{\"type\":\"matchRepository\"}}}}]}}}}}}",
                stage.path(key).display()
            ),
        );
        let globals = [
            "--registries-conf-dir",
            text(&signatures),
            "pull",
            "-q",
            PLAIN,
        ];
        stage.cooper_elsewhere(
            &[&globals[..], &["--signature-policy", text(&policy), &place]].concat(),
        )
    };
    openssl(
        &stage,
        "ecparam -name prime256v1 -genkey -noout -out other.pem",
    );
    openssl(&stage, "ec -in other.pem -pubout -out other.pub");
    let stderr = pull("other.pub").fails(125);
    assert!(stderr.contains("Source image rejected: "), "{stderr}");
    assert_eq!(pull("key.pub").ok(), id(&stage, "tiny"));
}

#[test]
fn peer_33_signatures_by_keys_of_a_moment() {
    let (stage, registry) = (tiny("wire33b"), Registry::open().unwrap());
    let services = SigstoreServices::start().unwrap();
    let (url, token) = (services.url(), services.token().unwrap());
    let parameters = stage.write(
        "sign.yaml",
        &format!(
            "fulcio:\n  fulcioURL: {url}\n  oidcMode: staticToken\n  oidcIDToken: {token}\nrekorURL: {url}\n"
        ),
    );
    stage.write(
        "registries.d/default.yaml",
        "default-docker:\n  use-sigstore-attachments: true\n",
    );
    let signatures = stage.path("registries.d");
    let globals = ["--registries-conf-dir", text(&signatures)];
    let push = |place: &str| {
        let words = ["push", PLAIN, "--sign-by-sigstore", text(&parameters)];
        stage.cooper(&[&globals[..], &words, &["tiny", place]].concat())
    };
    let place = at(&registry.host(), "a/tiny:1");
    let pushed = push(&place);
    let told = pushed.stderr.clone();
    assert!(
        told.contains("Signing image using a sigstore signature"),
        "{told}"
    );
    assert!(!told.contains(&token), "{told}");
    pushed.ok();

    let (root, log) = (
        stage.write("root.pem", &services.root_pem()),
        stage.write("log.pem", &services.log_pem()),
    );
    let pull = |email: &str| {
        let policy = stage.write(
            "p.json",
            &format!(
                "{{\"default\":[{{\"type\":\"sigstoreSigned\",\"fulcio\":{{\"caPath\":{root:?},\"oidcIssuer\":{url:?},\
                 \"subjectEmail\":{email:?}}},\"rekorPublicKeyPath\":{log:?}}}]}}"
            ),
        );
        let words = [
            "pull",
            "-q",
            PLAIN,
            "--signature-policy",
            text(&policy),
            &place,
        ];
        stage.cooper_elsewhere(&[&globals[..], &words].concat())
    };
    let stderr = pull("you@example.com").fails(125);
    assert!(
        stderr.contains("Required email \"you@example.com\" not found"),
        "{stderr}"
    );
    assert_eq!(pull(EMAIL).ok(), id(&stage, "tiny"));

    // Who is refused does not wait until everything is uploaded.
    services.fail(Fault::RejectsTokens);
    let stderr = push(&at(&registry.host(), "b/tiny:1")).fails(125);
    for part in [
        "setting up signing using parameter file ",
        "obtaining certificate from Fulcio: POST ",
        "returned 401 Unauthorized",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(
        !stderr.contains(&token) && !stderr.contains("Copying"),
        "{stderr}"
    );
}

fn openssl(stage: &Stage, words: &str) -> String {
    let mut command = Command::new("openssl");
    stage.surround(&mut command);
    said(command.args(words.split(' '))).ok()
}

/// Signs with `key.pem` and leaves the signature where cosign leaves it.
fn attach_signature(stage: &Stage, host: &str, manifest: &str) {
    let payload = format!(
        "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"{host}/a/tiny\"}},\"image\":{{\"docker-manifest-digest\":\
         \"{manifest}\"}},\"type\":\"cosign container image signature\"}},\"optional\":null}}"
    );
    let file = stage.write("sig/payload", &payload);
    openssl(
        stage,
        "dgst -sha256 -sign key.pem -out signature sig/payload",
    );
    let signature = openssl(stage, "base64 -A -in signature");
    let sum = |path: &Path| {
        let shown = said(Command::new("sha256sum").arg(path)).ok();
        shown.split(' ').next().unwrap_or_default().to_owned()
    };
    let config = "{\"architecture\":\"\",\"config\":{},\"os\":\"\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
    let config_file = stage.write("sig/config", config);
    let (payload_sum, config_sum) = (sum(&file), sum(&config_file));
    std::fs::rename(&file, stage.path("sig").join(&payload_sum)).unwrap();
    std::fs::rename(&config_file, stage.path("sig").join(&config_sum)).unwrap();
    stage.write("sig/version", "Directory Transport Version: 1.1\n");
    stage.write(
        "sig/manifest.json",
        &format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"mediaType\":\
             \"application/vnd.oci.image.config.v1+json\",\"size\":{},\"digest\":\"sha256:{config_sum}\"}},\"layers\":[{{\
             \"mediaType\":\"application/vnd.dev.cosign.simplesigning.v1+json\",\"size\":{},\"digest\":\"sha256:{payload_sum}\",\
             \"annotations\":{{\"dev.cosignproject.cosign/signature\":\"{signature}\"}}}}]}}",
            config.len(),
            payload.len()
        ),
    );
    let from = format!("dir:{}", stage.path("sig").display());
    let to = at(host, &format!("a/tiny:{}.sig", manifest.replace(':', "-")));
    stage
        .skopeo(&["copy", "-q", "--dest-tls-verify=false", &from, &to])
        .ok();
}
