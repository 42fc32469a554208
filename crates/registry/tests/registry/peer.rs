//! Against Debian's `docker-registry`, directly and through a proxy that cuts.

use std::io::Read as _;

use cooper_registry::{Access, ManifestRef, NewBlob, Partials};
use model::media_type;
use testkit::proxy::FaultProxy;
use testkit::registry::Registry;
use testkit::scratch::Scratch;

use crate::fixture::{Setup, content, words};

fn manifest_of(config: &model::Digest, size: usize) -> Vec<u8> {
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"config\":{{\"mediaType\":\"{}\",\"digest\":\"{config}\",\"size\":{size}}},\"layers\":[]}}",
        media_type::OCI_MANIFEST,
        media_type::OCI_CONFIG,
    )
    .into_bytes()
}

#[test]
fn peer_everything_works_against_docker_registry() {
    let registry = Registry::open().unwrap();
    let setup = Setup::new(&registry.host());
    let repository = setup.repository(Access::Push);
    repository.endpoint().check_credentials().unwrap();
    let (blob, digest) = content(3_000_001);
    assert_eq!(repository.blob(&digest).unwrap(), None);
    for known in [true, false] {
        let new = NewBlob {
            digest: known.then(|| digest.clone()),
            size: known.then_some(blob.len() as u64),
        };
        let uploaded = repository.upload(&new, &mut &blob[..]).unwrap();
        assert_eq!(
            (uploaded.digest, uploaded.size),
            (digest.clone(), blob.len() as u64)
        );
    }
    assert_eq!(
        repository.blob(&digest).unwrap().unwrap().size,
        Some(blob.len() as u64)
    );
    let other = setup.endpoint().repository("b/other", Access::Push);
    assert!(other.mount(&digest, "a/tiny").unwrap());
    assert!(!other.mount(&content(5).1, "a/tiny").unwrap());

    let mut back = Vec::new();
    let mut download = other
        .download(&digest, Some(blob.len() as u64), None)
        .unwrap();
    download.read_to_end(&mut back).unwrap();
    assert!(back == blob);

    let manifest = manifest_of(&digest, blob.len());
    for tag in ["v1", "v2", "latest"] {
        let tag = ManifestRef::Tag(tag.to_owned());
        repository
            .put_manifest(&tag, media_type::OCI_MANIFEST, &manifest)
            .unwrap();
    }
    let tag = ManifestRef::Tag("v1".to_owned());
    let fetched = repository.manifest(&tag).unwrap();
    assert_eq!(
        (&fetched.bytes, fetched.media_type.as_str()),
        (&manifest, media_type::OCI_MANIFEST)
    );
    let head = repository.head_manifest(&tag).unwrap().unwrap();
    assert_eq!(
        (head.digest, head.size),
        (Some(fetched.digest.clone()), Some(manifest.len() as u64))
    );
    assert_eq!(repository.tags().unwrap().tags, ["latest", "v1", "v2"]);
    assert_eq!(repository.referrers(&fetched.digest, None).unwrap(), []);
    let deleting = setup.repository(Access::Delete);
    deleting.delete_manifest(&fetched.digest).unwrap();
    assert!(repository.manifest(&tag).unwrap_err().is_not_found());
    assert_eq!(repository.head_manifest(&tag).unwrap(), None);
    assert_eq!(setup.told(), Vec::<String>::new());
}

#[test]
fn peer_a_registry_without_tls_is_told_apart() {
    let registry = Registry::open().unwrap();
    let setup = Setup::new(&registry.host()).verified(cooper_registry::TlsFiles::default());
    let error = setup.endpoint().check_credentials().unwrap_err();
    let text = words(&error);
    assert!(
        text.ends_with("/v2/\": http: server gave HTTP response to HTTPS client"),
        "{text}"
    );
}

#[test]
fn peer_a_blob_goes_both_ways_through_a_proxy_that_cuts() {
    let registry = Registry::open().unwrap();
    let proxy = FaultProxy::start(&registry.host()).unwrap();
    let setup = Setup::new(&proxy.host());
    let repository = setup.repository(Access::Push);
    let (blob, digest) = content(100_000_000);
    proxy.cut_every(20_000_000);
    let new = NewBlob {
        digest: Some(digest.clone()),
        size: Some(blob.len() as u64),
    };
    repository.upload(&new, &mut &blob[..]).unwrap();
    // This registry forgets an upload that is cut, so the first cut costs all that went before; and only that.
    let sent = proxy.traffic().up;
    assert!(sent < 100_000_000 + 20_000_000 + 100_000, "{sent}");
    let scratch = Scratch::new("registry-cuts").unwrap();
    let partials = Partials::new(scratch.path());
    let mut download = repository.download(&digest, None, Some(&partials)).unwrap();
    let mut back = Vec::new();
    download.read_to_end(&mut back).unwrap();
    assert!(back == blob);
    let received = proxy.traffic().down;
    assert!(received < 100_500_000, "{received}");
}
