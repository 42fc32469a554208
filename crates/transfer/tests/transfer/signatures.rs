//! Policies and signatures on the way: made here and by Debian's tools, kept, refused, and found again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use cooper_transfer::{
    Compress, CompressionFormat, CopyOptions, CopyScope, Existing, Gpg, HostError, PolicySource,
    Registries, SignatureOptions, SignaturePlace, SignaturePlaces, Signer, SigstoreSigner, pull,
    sign_stored,
};
use model::event::Silent;
use model::{Digest, Event, ManifestFormat, Reference, Secret, media_type};
use store::DriverName;
use testkit::registry::Registry;
use testkit::web::WebServer;
use trust::{Policy, Signature, SigstoreKey};

use crate::registries::{Plain, http};
use crate::support::{Heard, Image, Scratch, chain, failure, layer, named, tool, write_index};

const ACCEPT: &str = r#"{"type":"insecureAcceptAnything"}"#;
const REJECT: &str = r#"{"type":"reject"}"#;

pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trust/tests/trust/fixtures");
    fs::read(path.join(name)).unwrap()
}

/// Signatures beside registries in one place.
#[derive(Debug, Default)]
struct Places(SignaturePlace);

impl SignaturePlaces for Places {
    fn place(&self, _name: &Reference) -> Result<SignaturePlace, HostError> {
        Ok(self.0.clone())
    }
}

fn beside(scratch: &Scratch) -> SignaturePlace {
    let url = format!("file://{}", scratch.path("sigs").display());
    SignaturePlace {
        lookaside: Some(url.clone()),
        staging: Some(url),
        attachments: true,
    }
}

pub fn policy(requirement: &str) -> Arc<PolicySource> {
    let text = format!(r#"{{"default":[{requirement}]}}"#);
    let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|err| panic!("{}", chain(&err)));
    Arc::new(PolicySource::given(policy))
}

pub fn options(scratch: &Scratch, place: SignaturePlace) -> CopyOptions {
    let hosts = Plain::default();
    CopyOptions {
        registries: Some(Arc::new(Registries::new(http(), hosts))),
        signatures: SignatureOptions {
            places: Arc::new(Places(place)),
            ..SignatureOptions::unchecked()
        },
        ..scratch.options()
    }
}

pub fn under(options: &CopyOptions, requirement: &str) -> CopyOptions {
    let mut options = options.clone();
    options.signatures.policy = policy(requirement);
    options
}

fn removing(options: &CopyOptions) -> CopyOptions {
    let mut options = options.clone();
    options.signatures.existing = Existing::Remove;
    options
}

pub fn signing(options: &CopyOptions, signer: Signer) -> CopyOptions {
    let mut options = options.clone();
    options.signatures.signers = vec![Arc::new(signer)];
    options
}

fn sigstore_signer() -> Signer {
    let passphrase = Secret::new("a passphrase");
    let key = SigstoreKey::load(&fixture("cosign.key"), Some(&passphrase)).unwrap();
    Signer::Sigstore(SigstoreSigner::by_key(key))
}

/// A requirement for signatures by the fixture's key of sigstore.
fn by_fixture(scratch: &Scratch, identity: &str) -> String {
    let path = scratch.path("cosign.pub");
    fs::write(&path, fixture("cosign.pub")).unwrap();
    format!(r#"{{"type":"sigstoreSigned","keyPath":{path:?}{identity}}}"#)
}

/// An image whose manifest no destination has a reason to change: its layers are not compressed.
pub fn plain_image(scratch: &Scratch, name: &str) -> Digest {
    let mut image = Image::new(ManifestFormat::Oci, "linux/amd64", &[]);
    let tar = layer("file", b"content");
    image.config.append_layer(
        model::DiffId(Digest::sha256(&tar)),
        model::History::default(),
    );
    image.layers.push((tar, media_type::OCI_LAYER));
    image.write_layout(&scratch.path(name), None);
    Digest::sha256(&image.manifest().to_bytes())
}

/// A signature by the fixture's key that a manifest is some name's.
fn claimed(manifest: &Digest, name: &str) -> Signature {
    let claim = trust::Claim {
        manifest: manifest.clone(),
        reference: name.to_owned(),
    };
    let passphrase = Secret::new("a passphrase");
    let key = SigstoreKey::load(&fixture("cosign.key"), Some(&passphrase)).unwrap();
    let made = trust::Made { by: "test", at: 1 };
    Signature::Sigstore(key.sign(&claim, &made).unwrap())
}

#[test]
fn policies_are_asked_for_every_place_but_the_store() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    plain_image(&scratch, "a");
    let accepting = options(&scratch, SignaturePlace::default());
    let rejecting = under(&accepting, REJECT);
    let run = |from: &str, to: &str, options: &CopyOptions| {
        scratch.copy_with(from, to, Some(&store), options)
    };
    for place in [
        "dir:@/d",
        "oci-archive:@/o.tar:t",
        "docker-archive:@/a.tar:me/it:1",
    ] {
        run("oci:@/a", place, &accepting).unwrap();
    }
    for place in [
        "oci:@/a",
        "dir:@/d",
        "oci-archive:@/o.tar",
        "docker-archive:@/a.tar",
    ] {
        let expected = format!(
            "Source image rejected: Running image {} is rejected by policy.",
            scratch.place(place)
        );
        let found = failure(run(place, "containers-storage:it", &rejecting));
        assert_eq!(found, expected);
        let pulled = pull(&scratch.place(place), &store, &rejecting, &Silent);
        assert_eq!(chain(&pulled.unwrap_err()), expected);
        assert!(store.images().unwrap().iter().next().is_none(), "{place}");
    }
    run("oci:@/a", "containers-storage:it", &accepting).unwrap();
    run("containers-storage:it", "dir:@/out", &rejecting).unwrap();

    // A scope decides for what lies in it.
    let scoped = |scope: PathBuf| {
        let text =
            format!(r#"{{"default":[{REJECT}],"transports":{{"dir":{{{scope:?}:[{ACCEPT}]}}}}}}"#);
        let mut options = accepting.clone();
        let policy = Policy::parse(text.as_bytes()).unwrap();
        options.signatures.policy = Arc::new(PolicySource::given(policy));
        options
    };
    let here = scratch.path("d").canonicalize().unwrap();
    std::os::unix::fs::symlink(&here, scratch.path("link")).unwrap();
    let above = here.parent().unwrap().to_owned();
    for scope in [here.clone(), above] {
        run("dir:@/link", "dir:@/again", &scoped(scope)).unwrap();
    }
    let beside = here.with_file_name("dd");
    assert!(run("dir:@/d", "dir:@/again", &scoped(beside)).is_err());
}

#[test]
fn a_policy_is_read_only_when_an_image_needs_it() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    plain_image(&scratch, "a");
    let good = options(&scratch, SignaturePlace::default());
    let mut broken = good.clone();
    let path = scratch.path("policy.json");
    broken.signatures.policy = Arc::new(PolicySource::file(&path));
    let run = |from: &str, to: &str, options: &CopyOptions| {
        scratch.copy_with(from, to, Some(&store), options)
    };
    run("oci:@/a", "containers-storage:it", &good).unwrap();
    run("containers-storage:it", "dir:@/out", &broken).unwrap();
    assert_eq!(
        failure(run("oci:@/a", "dir:@/out", &broken)),
        format!("open {}: no such file or directory", path.display())
    );
    fs::write(&path, r#"{"default":[],"foo":1}"#).unwrap();
    assert_eq!(
        failure(run("oci:@/a", "dir:@/out", &broken)),
        format!("invalid policy in {path:?}: Unknown key \"foo\"")
    );
}

#[test]
fn nothing_but_the_manifest_is_read_before_the_policy_has_spoken() {
    let scratch = Scratch::new();
    plain_image(&scratch, "a");
    let rejecting = under(&options(&scratch, SignaturePlace::default()), REJECT);
    let blobs = scratch.path("a/blobs/sha256");
    for blob in fs::read_dir(&blobs).unwrap() {
        let path = blob.unwrap().path();
        let manifest = fs::read_to_string(&path).is_ok_and(|text| text.contains("\"layers\":["));
        if !manifest {
            fs::remove_file(path).unwrap();
        }
    }
    let error = failure(scratch.copy_with("oci:@/a", "dir:@/d", None, &rejecting));
    assert!(error.contains("is rejected by policy"), "{error}");
    assert!(!scratch.path("d").exists(), "nothing is begun");
}

#[test]
fn signatures_go_where_there_is_room_for_them() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    let digest = plain_image(&scratch, "a");
    let options = options(&scratch, SignaturePlace::default());
    let run = |from: &str, to: &str, options: &CopyOptions| {
        scratch.copy_with(from, to, Some(&store), options)
    };
    run("oci:@/a", "dir:@/d", &options).unwrap();
    let sigstore = claimed(&digest, "ex.com/a:1");
    let simple = Signature::Simple(fixture("good.sig"));
    fs::write(scratch.path("d/signature-1"), sigstore.to_bytes()).unwrap();
    fs::write(scratch.path("d/signature-2"), simple.to_bytes()).unwrap();

    // To another directory and through a store, byte for byte.
    run("dir:@/d", "dir:@/d2", &options).unwrap();
    run("dir:@/d", "containers-storage:me/it:1", &options).unwrap();
    run("containers-storage:me/it:1", "dir:@/d3", &options).unwrap();
    for place in ["d2", "d3"] {
        let read = |name: &str| fs::read(scratch.path(place).join(name)).unwrap();
        assert_eq!(read("signature-1"), sigstore.to_bytes(), "{place}");
        assert_eq!(read("signature-2"), simple.to_bytes(), "{place}");
        assert!(!scratch.path(place).join("signature-3").exists());
    }
    // An image without signatures leaves none behind of the one that was there.
    run("oci:@/a", "dir:@/d2", &options).unwrap();
    assert!(!scratch.path("d2/signature-1").exists());

    for (place, expected) in [
        (
            "oci:@/o:t",
            "Pushing signatures for OCI images is not supported",
        ),
        (
            "oci-archive:@/o.tar:t",
            "Pushing signatures for OCI images is not supported",
        ),
        (
            "docker-archive:@/a.tar:it:1",
            "Storing signatures for docker tar files is not supported",
        ),
    ] {
        let found = failure(run("dir:@/d", place, &options));
        let place = scratch.place(place);
        assert_eq!(
            found,
            format!("Can not copy signatures to {place}: {expected}")
        );
        run("dir:@/d", &place.to_string(), &removing(&options)).unwrap();
    }
}

#[test]
fn signed_images_do_not_change() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    let image = Image::new(ManifestFormat::Oci, "linux/amd64", &[b"one"]);
    image.write_layout(&scratch.path("a"), None);
    let options = options(&scratch, SignaturePlace::default());
    let run = |from: &str, to: &str, options: &CopyOptions| {
        scratch.copy_with(from, to, Some(&store), options)
    };
    run("oci:@/a", "dir:@/d", &options).unwrap();
    fs::write(scratch.path("d/signature-1"), fixture("good.sig")).unwrap();
    let docker = CopyOptions {
        format: Some(ManifestFormat::Docker),
        ..options.clone()
    };
    let found = failure(run("dir:@/d", "dir:@/e", &docker));
    assert!(found.contains("Would invalidate signatures"), "{found}");
    run("dir:@/d", "dir:@/e", &removing(&docker)).unwrap();
    assert!(!scratch.path("e/signature-1").exists());
    // The store has layers without compression, so that the manifest would have to change.
    run("dir:@/d", "containers-storage:it", &options).unwrap();
    let found = failure(run("containers-storage:it", "dir:@/f", &options));
    assert!(found.contains("Would invalidate signatures"), "{found}");
    run("containers-storage:it", "dir:@/g", &removing(&options)).unwrap();
}

#[test]
fn images_are_signed_in_the_store_where_they_are_made() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    plain_image(&scratch, "a");
    let options = options(&scratch, SignaturePlace::default());
    let signing = signing(&options, sigstore_signer()).signatures;
    let run = |from: &str, to: &str, options: &CopyOptions| {
        scratch.copy_with(from, to, Some(&store), options)
    };
    let id = run("oci:@/a", "containers-storage:ex.com/a:1", &options);
    let id = id.unwrap().image.unwrap();
    let sign = |name: Option<&str>| {
        let name = name.map(|name| Reference::parse_normalized(name).unwrap());
        sign_stored(&store, &id, name.as_ref(), &signing, &Silent).unwrap();
        // What a destination would rather compress stays as it was signed.
        let compressing = CopyOptions {
            compress: Compress::Always,
            ..options.clone()
        };
        run("containers-storage:ex.com/a:1", "dir:@/d", &compressing).unwrap();
        assert!(!scratch.path("d/signature-2").exists());
        let bytes = fs::read(scratch.path("d/signature-1")).unwrap();
        let Signature::Sigstore(signature) = Signature::parse(&bytes).unwrap() else {
            panic!("not a signature of sigstore");
        };
        String::from_utf8(signature.payload).unwrap()
    };
    assert!(sign(Some("ex.com/a")).contains(r#""docker-reference":"ex.com/a:latest""#));
    let identity = r#","signedIdentity":{"type":"exactReference","dockerReference":"ex.com/a:2"}"#;
    sign(Some("ex.com/a:2"));
    run(
        "dir:@/d",
        "dir:@/e",
        &under(&options, &by_fixture(&scratch, identity)),
    )
    .unwrap();
    let nobody = format!(r#""docker-reference":"docker.io/library/{id}-tmp:latest""#);
    assert!(sign(None).contains(&nobody));
    let images = store.images().unwrap();
    assert_eq!(images.get(&id).unwrap().names, ["ex.com/a:1"]);
    let zstd = CopyOptions {
        compression: Some(CompressionFormat::Zstd),
        compress: Compress::Always,
        ..options.clone()
    };
    let found = failure(run("containers-storage:ex.com/a:1", "dir:@/f", &zstd));
    assert!(found.contains("Would invalidate signatures"), "{found}");
    store.delete_image(&id).unwrap();
    let gone = sign_stored(&store, &id, None, &signing, &Silent).unwrap_err();
    assert_eq!(chain(&gone), format!("image {id} is not in the store"));
}

#[test]
fn new_signatures_are_for_the_destination_s_name() {
    let scratch = Scratch::new();
    let store = scratch.store("s", DriverName::Vfs);
    plain_image(&scratch, "a");
    let options = options(&scratch, SignaturePlace::default());
    let signing = signing(&options, sigstore_signer());
    let run = |from: &str, to: &str, options: &CopyOptions| {
        scratch.copy_with(from, to, Some(&store), options)
    };
    assert_eq!(
        failure(run("oci:@/a", "dir:@/d", &signing)),
        scratch.text("Cannot determine canonical Docker reference for destination dir:@/d")
    );
    assert_eq!(
        failure(run("oci:@/a", "oci:@/o:t", &signing)),
        scratch.text(
            "Can not copy signatures to oci:@/o:t: Pushing signatures for OCI images is not supported"
        )
    );
    let heard = Heard::default();
    cooper_transfer::copy(
        &scratch.place("oci:@/a"),
        &scratch.place("containers-storage:ex.com/a:1"),
        Some(&store),
        &signing,
        &heard,
    )
    .unwrap();
    let told = heard.0.into_inner().unwrap();
    assert!(told.contains(&Event::CreatingSignature {
        text: "Signing image using a sigstore signature".to_owned()
    }));
    assert!(told.contains(&Event::StoringSignatures));

    run("containers-storage:ex.com/a:1", "dir:@/d", &options).unwrap();
    assert!(scratch.path("d/signature-1").exists());
    let named = |name: &str| {
        format!(r#","signedIdentity":{{"type":"exactReference","dockerReference":"{name}"}}"#)
    };
    let check = |identity: &str, expected: Result<(), &str>| {
        let options = under(&options, &by_fixture(&scratch, identity));
        let found = run("dir:@/d", "dir:@/e", &options).map(|_| ());
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(err), Err(part)) => assert!(chain(&err).contains(part), "{}", chain(&err)),
            (found, _) => panic!("{identity}: {found:?}"),
        }
    };
    check(&named("ex.com/a:1"), Ok(()));
    let other = r#"Source image rejected: Signature for identity "ex.com/a:1" is not accepted"#;
    check(&named("ex.com/a:2"), Err(other));
    // A directory has no name that a signature could be compared with.
    check("", Err(other));
    fs::remove_file(scratch.path("d/signature-1")).unwrap();
    check(
        &named("ex.com/a:1"),
        Err("A signature was required, but no signature exists"),
    );
    fs::write(scratch.path("d/signature-1"), b"none").unwrap();
    check(
        &named("ex.com/a:1"),
        Err("unrecognized signature format, starting with binary 0x6e"),
    );
}

#[test]
fn lists_keep_the_signatures_of_their_images() {
    let scratch = Scratch::new();
    let mut entries = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let image = Image::new(ManifestFormat::Oci, platform, &[platform.as_bytes()]);
        entries.push(image.write_blobs(&scratch.path("a")));
    }
    let list = model::RawIndex::from_index(model::Index::new(ManifestFormat::Oci, entries.clone()));
    let mut top = model::Descriptor::new(
        media_type::OCI_INDEX,
        crate::support::blob(&scratch.path("a"), list.bytes()),
        list.bytes().len() as u64,
    );
    top = named(top, Some("t"));
    write_index(&scratch.path("a"), vec![top]);
    let all = CopyOptions {
        scope: CopyScope::All,
        ..options(&scratch, SignaturePlace::default())
    };
    scratch
        .copy_with("oci:@/a:t", "dir:@/d", None, &all)
        .unwrap();
    let member = format!("{}-signature-1", entries[1].digest.hex());
    let signature = claimed(&entries[1].digest, "ex.com/a:1").to_bytes();
    fs::write(scratch.path("d").join(&member), &signature).unwrap();
    fs::write(scratch.path("d/signature-1"), fixture("good.sig")).unwrap();
    scratch.copy_with("dir:@/d", "dir:@/e", None, &all).unwrap();
    assert_eq!(
        fs::read(scratch.path("e").join(&member)).unwrap(),
        signature
    );
    assert_eq!(
        fs::read(scratch.path("e/signature-1")).unwrap(),
        fixture("good.sig")
    );
    let docker = CopyOptions {
        format: Some(ManifestFormat::Docker),
        ..all.clone()
    };
    fs::remove_file(scratch.path("d").join(&member)).unwrap();
    let found = failure(scratch.copy_with("dir:@/d", "dir:@/f", None, &docker));
    assert!(found.contains("Would invalidate signatures"), "{found}");

    // Every image is asked about by itself, the list is not.
    let identity = r#","signedIdentity":{"type":"exactReference","dockerReference":"ex.com/a:1"}"#;
    let requirement = by_fixture(&scratch, identity);
    let checked = under(&all, &requirement);
    let found = failure(scratch.copy_with("dir:@/e", "dir:@/g", None, &checked));
    assert!(
        found.ends_with("Source image rejected: A signature was required, but no signature exists"),
        "{found}"
    );
    let chosen = CopyOptions {
        platform: model::Platform::new("linux", "arm64"),
        scope: CopyScope::System,
        ..checked
    };
    scratch
        .copy_with("dir:@/e", "dir:@/g", None, &chosen)
        .unwrap();
    assert_eq!(fs::read(scratch.path("g/signature-1")).unwrap(), signature);
}

/// A home of GnuPG with one key, whose agent ends with it.
struct Home(PathBuf);

impl Home {
    fn new(scratch: &Scratch, name: &str, passphrase: &str) -> Self {
        let home = Self(scratch.path(name));
        fs::create_dir(&home.0).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&home.0, mode).unwrap();
        home.gpg(&[
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            passphrase,
            "--quick-gen-key",
            "test@example.com",
            "ed25519",
            "sign",
            "never",
        ]);
        // The agent remembers the passphrase that it was just given.
        home.end_agent();
        home
    }

    fn end_agent(&self) {
        let _ = Command::new("gpgconf")
            .args(["--kill", "gpg-agent"])
            .env("GNUPGHOME", &self.0)
            .status();
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["-q"])
            .args(args)
            .env("GNUPGHOME", &self.0)
            .output()
            .unwrap_or_else(|err| panic!("this test needs `gpg`: {err}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {said}");
        output.stdout
    }

    fn signer(&self, passphrase_file: Option<PathBuf>) -> Signer {
        Signer::Simple(Gpg {
            home: Some(self.0.clone()),
            passphrase_file,
            ..Gpg::new("test@example.com")
        })
    }

    /// Writes the public key and returns a requirement for signatures by it.
    fn requirement(&self) -> String {
        let path = self.0.join("public");
        fs::write(&path, self.gpg(&["--export"])).unwrap();
        format!(r#"{{"type":"signedBy","keyType":"GPGKeys","keyPath":{path:?}}}"#)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end_agent();
    }
}

/// The files that make skopeo look where we do.
fn skopeo_files(scratch: &Scratch, requirement: &str) -> (String, String) {
    let policy = scratch.path("skopeo-policy.json");
    fs::write(&policy, format!(r#"{{"default":[{requirement}]}}"#)).unwrap();
    let dir = scratch.path("registries.d");
    fs::create_dir_all(&dir).unwrap();
    let url = format!("file://{}", scratch.path("sigs").display());
    let section =
        format!("default-docker:\n  lookaside: {url}\n  use-sigstore-attachments: true\n");
    fs::write(dir.join("all.yaml"), section).unwrap();
    (
        format!("--policy={}", policy.display()),
        format!("--registries.d={}", dir.display()),
    )
}

#[test]
fn peer_skopeo_accepts_what_gpg_signed_for_us() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let (home, stranger) = (
        Home::new(&scratch, "gpg", "secret words"),
        Home::new(&scratch, "stranger", ""),
    );
    plain_image(&scratch, "a");
    let options = options(&scratch, beside(&scratch));
    let place = format!("docker://{}/sg/one:1", registry.host());
    let file = scratch.path("passphrase");
    fs::write(&file, "secret words\n").unwrap();
    // A wrong passphrase comes first: the agent remembers a right one.
    let wrong = scratch.path("wrong");
    fs::write(&wrong, "other words\n").unwrap();
    let wrongly = signing(&options, home.signer(Some(wrong)));
    let found = failure(scratch.copy_with("oci:@/a", &place, None, &wrongly));
    assert!(found.contains("Bad passphrase"), "{found}");
    assert!(!found.contains("words"), "{found}");
    let signed = signing(&options, home.signer(Some(file.clone())));
    let copied = scratch.copy_with("oci:@/a", &place, None, &signed).unwrap();
    let object = format!("sigs/sg/one@sha256={}/signature-1", copied.digest.hex());
    assert!(scratch.path(&object).exists());

    let skopeo = |requirement: &str| {
        let (policy, places) = skopeo_files(&scratch, requirement);
        let out = scratch.text("dir:@/skopeo");
        let output = Command::new("skopeo")
            .args([
                &policy,
                &places,
                "copy",
                "--src-tls-verify=false",
                &place,
                &out,
            ])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (accepted, said) = skopeo(&home.requirement());
    assert!(accepted, "{said}");
    assert!(!skopeo(&stranger.requirement()).0);

    // We say the same.
    let run = |requirement: &str, to: &str| {
        scratch.copy_with(&place, to, None, &under(&options, requirement))
    };
    run(&home.requirement(), "dir:@/ours").unwrap();
    assert_eq!(
        fs::read(scratch.path("ours/signature-1")).unwrap(),
        fs::read(scratch.path(&object)).unwrap()
    );
    let found = failure(run(&stranger.requirement(), "dir:@/ours"));
    assert!(
        found.contains("Source image rejected: Invalid GPG signature: Key not found"),
        "{found}"
    );

    // What gpg cannot do, it says.
    let mut unknown = Gpg::new("nobody@example.com");
    unknown.home = Some(home.0.clone());
    let found = failure(scratch.copy_with(
        "oci:@/a",
        &place,
        None,
        &signing(&options, Signer::Simple(unknown.clone())),
    ));
    assert!(
        found.contains("signing by \"nobody@example.com\" failed")
            && found.contains("No secret key"),
        "{found}"
    );
    unknown.program = "/no/gpg".into();
    let found = failure(scratch.copy_with(
        "oci:@/a",
        &place,
        None,
        &signing(&options, Signer::Simple(unknown)),
    ));
    assert!(
        found.starts_with("creating signature with `/no/gpg`"),
        "{found}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn peer_we_judge_what_skopeo_signed() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let home = Home::new(&scratch, "gpg", "");
    plain_image(&scratch, "a");
    let (policy, places) = skopeo_files(&scratch, ACCEPT);
    let host = registry.host();
    let source = scratch.text("oci:@/a");
    let push = |name: &str, signed: bool| {
        let place = format!("docker://{host}/{name}");
        let mut command = Command::new("skopeo");
        command.env("GNUPGHOME", &home.0);
        command.args([&policy, &places, "copy", "--dest-tls-verify=false"]);
        command.args(["--dest-compress=false"]);
        if signed {
            command.args(["--sign-by", "test@example.com"]);
        }
        let output = command.args([&source, &place]).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    push("sg/one:1", true);
    push("sg/two:1", false);
    let hex = tool(&[
        "skopeo",
        "inspect",
        "--tls-verify=false",
        "--format={{.Digest}}",
        &format!("docker://{host}/sg/one:1"),
    ]);
    let by_digest = format!("sg/one@{hex}");
    let signatures = |name: &str| {
        scratch
            .path("sigs")
            .join(format!("{name}@{}", hex.replace(':', "=")))
    };

    let options = options(&scratch, beside(&scratch));
    let check = |name: &str, requirement: &str, expected: Result<(), &str>| {
        let place = format!("docker://{host}/{name}");
        let found = scratch.copy_with(&place, "dir:@/out", None, &under(&options, requirement));
        match (found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(err), Err(part)) => assert!(chain(&err).contains(part), "{}", chain(&err)),
            (found, _) => panic!("{name}: {:?}", found.map(|copied| copied.digest)),
        }
    };
    let requirement = home.requirement();
    check("sg/one:1", &requirement, Ok(()));
    check(&by_digest, &requirement, Ok(()));
    let none = "A signature was required, but no signature exists";
    check("sg/two:1", &requirement, Err(none));
    // Somebody puts the signature of one image beside another.
    tool(&[
        "cp",
        "-r",
        signatures("sg/one").to_str().unwrap(),
        signatures("sg/two").to_str().unwrap(),
    ]);
    let other = format!(r#"Signature for identity "{host}/sg/one:1" is not accepted"#);
    check("sg/two:1", &requirement, Err(&other));
    // The same over the web.
    let server = WebServer::python(&scratch.path("sigs")).unwrap();
    let web = SignaturePlace {
        lookaside: Some(format!("http://{}", server.host())),
        ..SignaturePlace::default()
    };
    let mut only_web = options.clone();
    only_web.signatures.places = Arc::new(Places(web));
    let from_web = under(&only_web, &requirement);
    let place = format!("docker://{host}/sg/one:1");
    scratch
        .copy_with(&place, "dir:@/web", None, &from_web)
        .unwrap();
    let found = failure(scratch.copy_with(
        "oci:@/a",
        &format!("docker://{host}/sg/three:1"),
        None,
        &signing(&only_web, home.signer(None)),
    ));
    assert!(
        found.contains("Writing directly to a http lookaside"),
        "{found}"
    );

    // One changed byte, and none at all.
    let file = signatures("sg/one").join("signature-1");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    check("sg/one:1", &requirement, Err("Source image rejected: "));
    fs::remove_file(&file).unwrap();
    check("sg/one:1", &requirement, Err(none));
}

/// Has OpenSSL check the first signature in a directory.
fn openssl_verifies(scratch: &Scratch, directory: &str) {
    let bytes = fs::read(scratch.path(directory).join("signature-1")).unwrap();
    let Signature::Sigstore(sigstore) = Signature::parse(&bytes).unwrap() else {
        panic!("a signature of sigstore");
    };
    let (payload, signature) = (scratch.path("payload"), scratch.path("signature"));
    fs::write(&payload, &sigstore.payload).unwrap();
    let text = &sigstore.annotations[trust::SIGSTORE_SIGNATURE];
    fs::write(
        &signature,
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap(),
    )
    .unwrap();
    let said = tool(&[
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        scratch.path("cosign.pub").to_str().unwrap(),
        "-signature",
        signature.to_str().unwrap(),
        payload.to_str().unwrap(),
    ]);
    assert_eq!(said, "Verified OK");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn peer_attachments_of_sigstore_go_both_ways() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    let host = registry.host();
    plain_image(&scratch, "a");
    let options = options(&scratch, beside(&scratch));
    let requirement = by_fixture(&scratch, "");
    let (policy, places) = skopeo_files(&scratch, ACCEPT);

    // Ours, twice, which is one more and not another in its place.
    let ours = format!("docker://{host}/ss/ours:1");
    for _ in 0..2 {
        scratch
            .copy_with(
                "oci:@/a",
                &ours,
                None,
                &signing(&options, sigstore_signer()),
            )
            .unwrap();
    }
    scratch
        .copy_with(&ours, "dir:@/ours", None, &under(&options, &requirement))
        .unwrap();
    let count = |name: &str| {
        let names = scratch.list(name);
        names
            .iter()
            .filter(|name| name.starts_with("signature-"))
            .count()
    };
    assert_eq!(count("ours"), 2);

    // Debian's skopeo checks none, but finds them, and attaches them elsewhere.
    let theirs = format!("docker://{host}/ss/theirs:1");
    tool(&[
        "skopeo",
        &policy,
        &places,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &ours,
        &theirs,
    ]);
    let identity = format!(
        r#","signedIdentity":{{"type":"exactReference","dockerReference":"{host}/ss/ours:1"}}"#
    );
    let requirement = by_fixture(&scratch, &identity);
    openssl_verifies(&scratch, "ours");
    let store = scratch.store("s", DriverName::Vfs);
    let pulled = pull(
        &scratch.place(&theirs),
        &store,
        &under(&options, &requirement),
        &Silent,
    )
    .unwrap();
    // It is kept in the store, and other tools find it there.
    let image = pulled[0].image.clone().unwrap();
    let record = store.images().unwrap().get(&image).unwrap().clone();
    assert!(
        record
            .metadata
            .as_deref()
            .unwrap()
            .contains("signature-sizes")
    );
    let elsewhere = format!("docker://{host}/ss/other:1");
    scratch
        .copy_with("oci:@/a", &elsewhere, None, &options)
        .unwrap();
    let found = failure(scratch.copy_with(
        &elsewhere,
        "dir:@/none",
        None,
        &under(&options, &requirement),
    ));
    assert!(
        found.ends_with("A signature was required, but no signature exists"),
        "{found}"
    );

    // Where nobody asked for attachments, none are written.
    let mut disabled = signing(&options, sigstore_signer());
    disabled.signatures.places = Arc::new(Places::default());
    let found = failure(scratch.copy_with("oci:@/a", &elsewhere, None, &disabled));
    assert!(
        found.ends_with("writing sigstore attachments is disabled by configuration"),
        "{found}"
    );
}

#[test]
fn peer_stores_share_signatures_with_skopeo() {
    let scratch = Scratch::new();
    let digest = plain_image(&scratch, "a");
    let store = scratch.store("s", DriverName::Vfs);
    let options = options(&scratch, SignaturePlace::default());
    scratch
        .copy_with("oci:@/a", "dir:@/d", None, &options)
        .unwrap();
    let signature = claimed(&digest, "ex.com/a:1").to_bytes();
    fs::write(scratch.path("d/signature-1"), &signature).unwrap();
    scratch
        .copy_with(
            "dir:@/d",
            "containers-storage:me/ours:1",
            Some(&store),
            &options,
        )
        .unwrap();
    let theirs = |name: &str| {
        format!(
            "containers-storage:[vfs@{}+{}]{name}",
            scratch.path("s-g").display(),
            scratch.path("s-r").display()
        )
    };
    let skopeo = |args: &[&str]| {
        let mut all = vec!["skopeo", "--insecure-policy", "copy", "-q"];
        all.extend(args);
        tool(&all)
    };
    skopeo(&[&theirs("docker.io/me/ours:1"), &scratch.text("dir:@/out")]);
    assert_eq!(
        fs::read(scratch.path("out/signature-1")).unwrap(),
        signature
    );

    // The other way round, in a store of its own.
    let other = scratch.store("t", DriverName::Vfs);
    let place = theirs("docker.io/me/theirs:1")
        .replace("/s-g", "/t-g")
        .replace("/s-r", "/t-r");
    skopeo(&[&scratch.text("dir:@/d"), &place]);
    scratch
        .copy_with(
            "containers-storage:me/theirs:1",
            "dir:@/back",
            Some(&other),
            &options,
        )
        .unwrap();
    assert_eq!(
        fs::read(scratch.path("back/signature-1")).unwrap(),
        signature
    );
}

#[test]
fn peer_registries_may_keep_signatures_themselves() {
    let scratch = Scratch::new();
    let registry = Registry::open().unwrap();
    plain_image(&scratch, "a");
    let kept = scratch.path("kept");
    fs::create_dir_all(&kept).unwrap();
    let server = WebServer::nginx(&format!(
        "location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; client_max_body_size 0;\n\
         add_header X-Registry-Supports-Signatures 1 always; }}\n\
         location /extensions/v2/ {{ alias {}/; dav_methods PUT; create_full_put_path on; }}",
        registry.host(),
        kept.display()
    ))
    .unwrap();
    let options = options(&scratch, SignaturePlace::default());
    let home = Home::new(&scratch, "gpg", "");
    let place = format!("docker://{}/sg/one:1", server.host());
    let copied = scratch
        .copy_with("oci:@/a", &place, None, &removing(&options))
        .unwrap();
    let file = kept.join(format!("sg/one/signatures/{}", copied.digest));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, r#"{"signatures":[]}"#).unwrap();
    scratch
        .copy_with(
            "oci:@/a",
            &place,
            None,
            &signing(&options, home.signer(None)),
        )
        .unwrap();
    let one = fs::read_to_string(&file).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(parsed["schemaVersion"], 2);
    assert_eq!(parsed["type"], "atomic");
    let name = parsed["name"].as_str().unwrap();
    assert!(name.starts_with(&format!("{}@", copied.digest)), "{name}");

    fs::write(&file, format!(r#"{{"signatures":[{one}]}}"#)).unwrap();
    let checked = under(&options, &home.requirement());
    scratch
        .copy_with(&place, "dir:@/out", None, &checked)
        .unwrap();
    assert!(scratch.path("out/signature-1").exists());
    fs::write(&file, "{").unwrap();
    let found = failure(scratch.copy_with(&place, "dir:@/out", None, &checked));
    assert!(found.contains("decoding the list of signatures"), "{found}");
}
