//! Tags and referrers, page by page.

use cooper_registry::Access;
use model::{Descriptor, Digest};

use crate::fixture::{Setup, words};
use crate::server::{Exchange, Server};

fn registry(answer: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Server {
    Server::http(move |exchange| {
        if exchange.target == "/v2/" {
            exchange.reply("200 OK", &[], b"");
        } else {
            answer(exchange);
        }
    })
}

#[test]
fn tags_are_collected_from_all_pages() {
    let digest = Digest::sha256(b"");
    let last = format!("{{\"tags\":[\"\",\"sha256:x\",\"{digest}\",\"c\",\"a b\"]}}");
    let server = registry(move |exchange| match exchange.target.as_str() {
        "/v2/a/tiny/tags/list" => exchange.reply(
            "200 OK",
            &[("Link", "</v2/a/tiny/tags/list?last=a&n=1>; rel=\"next\"")],
            b"{\"name\":\"a/tiny\",\"tags\":[\"a\"]}",
        ),
        "/v2/a/tiny/tags/list?last=a&n=1" => exchange.reply(
            "200 OK",
            &[(
                "Link",
                "<http://other.example.com/v2/a/tiny/tags/list?last=b>; rel=\"next\"",
            )],
            b"{\"tags\":[\"b\"]}",
        ),
        "/v2/a/tiny/tags/list?last=b" => exchange.reply("200 OK", &[], last.as_bytes()),
        _ => exchange.reply("404 Not Found", &[], b""),
    });
    let list = Setup::new(&server.host())
        .repository(Access::Pull)
        .tags()
        .unwrap();
    assert_eq!(
        (list.tags, list.invalid),
        (
            vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
            vec!["sha256:x".to_owned(), "a b".to_owned()]
        )
    );
}

#[test]
fn lists_that_make_no_sense_are_refused() {
    let check = |body: &'static str, expected: &str| {
        let server = registry(move |exchange| exchange.reply("200 OK", &[], body.as_bytes()));
        let error = Setup::new(&server.host())
            .repository(Access::Pull)
            .tags()
            .unwrap_err();
        let text = words(&error).replace(&server.host(), "HOST");
        assert_eq!(
            text,
            format!("fetching tags list of HOST/a/tiny: {expected}")
        );
    };
    check(
        "[",
        "cannot read the list of tags: EOF while parsing a list at line 1 column 1",
    );
    let server = registry(|exchange| exchange.reply("200 OK", &[], b"{\"tags\":null}"));
    assert!(
        Setup::new(&server.host())
            .repository(Access::Pull)
            .tags()
            .unwrap()
            .tags
            .is_empty()
    );
    let server = registry(|exchange| exchange.reply("200 OK", &[], &vec![b' '; 9 * 1024 * 1024]));
    let error = Setup::new(&server.host())
        .repository(Access::Pull)
        .tags()
        .unwrap_err();
    assert!(
        words(&error).ends_with("a list is longer than 8388608 bytes"),
        "{}",
        words(&error)
    );
}

#[test]
fn endless_lists_end() {
    let server = registry(|exchange| {
        exchange.reply(
            "200 OK",
            &[("Link", "<?again>; rel=next")],
            b"{\"tags\":[]}",
        );
    });
    let error = Setup::new(&server.host())
        .repository(Access::Pull)
        .tags()
        .unwrap_err();
    assert!(
        words(&error).ends_with("more than 10000 pages of a list"),
        "{}",
        words(&error)
    );
}

#[test]
fn referrers_are_found_with_and_without_the_api() {
    let subject = Digest::sha256(b"subject");
    let entry = |kind: &str, text: &[u8]| {
        let mut entry = Descriptor::new(
            "application/vnd.oci.image.manifest.v1+json",
            Digest::sha256(text),
            7,
        );
        entry.artifact_type = Some(kind.to_owned());
        entry
    };
    let json = |entries: &[Descriptor]| {
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":{}}}",
            serde_json::to_string(entries).unwrap()
        )
    };
    let (sbom, sig) = (entry("sbom", b"1"), entry("sig", b"2"));
    let both = [sbom.clone(), sig.clone()];
    let index = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
    // (answers of the API, answer under the tag, wanted type) -> found
    let check = |api: Option<(&'static str, String)>,
                 tagged: Option<String>,
                 wanted: Option<&str>,
                 expected: &[Descriptor]| {
        let tag = format!(
            "/v2/a/tiny/manifests/{}",
            subject.as_str().replace(':', "-")
        );
        let server = registry(move |exchange| {
            let reply = if exchange.path() == tag {
                tagged.clone().map(|body| ("", body))
            } else {
                api.clone()
            };
            match reply {
                Some(("filtered", body)) => exchange.reply(
                    "200 OK",
                    &[index[0], ("OCI-Filters-Applied", "artifactType")],
                    body.as_bytes(),
                ),
                Some((_, body)) => exchange.reply("200 OK", &index, body.as_bytes()),
                None => exchange.reply("404 Not Found", &[], b""),
            }
        });
        let found = Setup::new(&server.host())
            .repository(Access::Pull)
            .referrers(&subject, wanted)
            .unwrap();
        assert_eq!(found, expected);
        if wanted.is_some() {
            assert!(
                server.lines()[0].ends_with("?artifactType=sig"),
                "{:?}",
                server.lines()
            );
        }
    };
    let only = std::slice::from_ref(&sig);
    check(Some(("", json(&both))), None, None, &both);
    check(Some(("", json(&both))), None, Some("sig"), only);
    check(Some(("filtered", json(only))), None, Some("sig"), only);
    check(Some(("", json(&[]))), Some(json(&both)), None, &[]);
    check(None, Some(json(&both)), None, &both);
    check(None, Some(json(&both)), Some("sig"), only);
    check(None, None, None, &[]);
}
