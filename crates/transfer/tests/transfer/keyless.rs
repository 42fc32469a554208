//! Signing as sigstore does with keys of a moment and the record of a log, against services that check what they are
//! sent; what is signed is verified under a policy that trusts them.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use cooper_transfer::{
    Conversation, CopyOptions, Fulcio, FulcioParameters, IdentitySource, OidcClient, Rekor,
    SignaturePlace, Signer, SigningServiceError, SigstoreSigner,
};
use model::Secret;
use registry::Services;
use store::DriverName;
use testkit::curl;
use testkit::sigstore::{CLIENT, CLIENT_SECRET, EMAIL, Fault, SigstoreServices};
use trust::{Signature, SigstoreKey};

use crate::registries::http;
use crate::signatures::{fixture, options, plain_image, signing, under};
use crate::support::{Scratch, chain};

const NAME: &str = "ex.com/a:1";

/// A person who opens a browser, or types what it shows, or says nothing.
#[derive(Default)]
struct Person {
    browser: bool,
    told: Mutex<String>,
}

impl Conversation for Person {
    fn tell(&self, text: &str) {
        let mut told = self.told.lock().unwrap();
        told.push_str(text);
        told.push('\n');
    }

    fn ask(&self, question: &str) -> io::Result<String> {
        self.tell(question);
        // Whoever opens the page elsewhere is sent to an address that is not there, and reads the code in it.
        let told = self.told.lock().unwrap();
        let page = told.split('\t').nth(1).unwrap().lines().next().unwrap();
        let to = curl::body(&["-o", "/dev/null", "-w", "%{redirect_url}", page.trim()]).unwrap();
        let to = String::from_utf8(to).unwrap();
        let code = to
            .split(['?', '&'])
            .find_map(|field| field.strip_prefix("code="));
        code.map(str::to_owned)
            .ok_or_else(|| io::Error::other("no"))
    }

    fn browse(&self, url: &str) -> io::Result<()> {
        if !self.browser {
            return Err(io::Error::other("there is none"));
        }
        let url = url.to_owned();
        // It brings the answer while we wait for it.
        std::thread::spawn(move || curl::body(&["-L", &url]));
        Ok(())
    }
}

fn services() -> Services {
    http().services()
}

fn client(server: &SigstoreServices) -> OidcClient {
    OidcClient {
        issuer: server.url(),
        id: CLIENT.to_owned(),
        secret: Secret::default(),
    }
}

fn static_token(server: &SigstoreServices) -> IdentitySource {
    IdentitySource::Token(Secret::new(server.token().unwrap()))
}

fn keyless(
    server: &SigstoreServices,
    identity: IdentitySource,
    person: Arc<Person>,
) -> SigstoreSigner {
    let parameters = FulcioParameters {
        url: format!("{}/", server.url()),
        identity,
    };
    let log = Rekor::new(services(), &server.url());
    SigstoreSigner::by_fulcio(Fulcio::new(services(), parameters, person)).recorded_by(log)
}

/// A requirement for signatures that these services stand behind.
fn requirement(scratch: &Scratch, server: &SigstoreServices, who: &str) -> String {
    let (ca, log) = (scratch.path("ca.pem"), scratch.path("log.pem"));
    fs::write(&ca, server.root_pem()).unwrap();
    fs::write(&log, server.log_pem()).unwrap();
    let issuer = server.url();
    format!(
        r#"{{"type":"sigstoreSigned","rekorPublicKeyPath":{log:?},
            "fulcio":{{"caPath":{ca:?},"oidcIssuer":{issuer:?},"subjectEmail":{who:?}}},
            "signedIdentity":{{"type":"exactReference","dockerReference":{NAME:?}}}}}"#
    )
}

/// Signs an image by a signer into a store, and takes it out again into the directory `d`.
fn signed(scratch: &Scratch, options: &CopyOptions, signer: SigstoreSigner) -> Result<(), String> {
    let store = scratch.store("s", DriverName::Vfs);
    plain_image(scratch, "a");
    let place = format!("containers-storage:{NAME}");
    let signing = signing(options, Signer::Sigstore(signer));
    let run = |from: &str, to: &str, options: &CopyOptions| {
        let copied = scratch.copy_with(from, to, Some(&store), options);
        copied.map(|_| ()).map_err(|err| chain(&err))
    };
    run("oci:@/a", &place, &signing)?;
    run(&place, "dir:@/d", options)
}

fn accepted(scratch: &Scratch, options: &CopyOptions, requirement: &str) -> Result<(), String> {
    let found = scratch.copy_with("dir:@/d", "dir:@/e", None, &under(options, requirement));
    found.map(|_| ()).map_err(|err| chain(&err))
}

#[test]
fn keys_of_a_moment_sign_for_those_whom_an_issuer_knows() {
    let scratch = Scratch::new();
    let options = options(&scratch, SignaturePlace::default());
    let server = SigstoreServices::start().unwrap();
    let device = IdentitySource::Device(client(&server));
    let browser = IdentitySource::Browser(client(&server));
    let cases = [
        (static_token(&server), Person::default(), ""),
        (
            device,
            Person::default(),
            "Enter the verification code ABCD-EFGH",
        ),
        (
            browser.clone(),
            with_browser(),
            "Your browser will now be opened to:",
        ),
        (browser, Person::default(), "Enter verification code: "),
    ];
    for (identity, person, expected) in cases {
        server.fail(Fault::None);
        let person = Arc::new(person);
        let signer = keyless(&server, identity.clone(), Arc::clone(&person));
        signer
            .prepare()
            .unwrap_or_else(|err| panic!("{}", chain(&err)));
        signed(&scratch, &options, signer).unwrap();
        let told = person.told.lock().unwrap().clone();
        assert!(told.contains(expected), "{told}");
        let asked = server.requests();
        let certificates = asked.iter().filter(|asked| asked.ends_with("signingCert"));
        assert_eq!(certificates.count(), 1, "{asked:?}");

        accepted(&scratch, &options, &requirement(&scratch, &server, EMAIL)).unwrap();
        let other = requirement(&scratch, &server, "you@example.com");
        let refused = accepted(&scratch, &options, &other).unwrap_err();
        assert!(refused.contains("Required email"), "{refused}");
    }
    assert_eq!(server.records(), 4);

    // The texts are those that other tools write.
    let bytes = fs::read(scratch.path("d/signature-1")).unwrap();
    let Signature::Sigstore(sigstore) = Signature::parse(&bytes).unwrap() else {
        panic!("not a signature of sigstore");
    };
    let names: Vec<&str> = sigstore.annotations.keys().map(String::as_str).collect();
    let expected = [
        "dev.cosignproject.cosign/signature",
        "dev.sigstore.cosign/bundle",
        "dev.sigstore.cosign/certificate",
        "dev.sigstore.cosign/chain",
    ];
    assert_eq!(names, expected);
    let bundle = &sigstore.annotations["dev.sigstore.cosign/bundle"];
    assert!(bundle.starts_with(r#"{"Payload":{"body":""#), "{bundle}");
    let chain = &sigstore.annotations["dev.sigstore.cosign/chain"];
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(chain.ends_with(&server.root_pem()));
}

#[test]
fn issuers_may_want_a_password_in_fields() {
    let scratch = Scratch::new();
    let options = options(&scratch, SignaturePlace::default());
    let server = SigstoreServices::start().unwrap();
    server.want_secret();
    let client = OidcClient {
        secret: Secret::new(CLIENT_SECRET),
        ..client(&server)
    };
    let signer = keyless(&server, IdentitySource::Device(client), Arc::default());
    assert!(!format!("{signer:?}").contains("canary"), "{signer:?}");
    signed(&scratch, &options, signer).unwrap();
    accepted(&scratch, &options, &requirement(&scratch, &server, EMAIL)).unwrap();
}

#[test]
fn keys_that_stay_are_recorded_too() {
    let scratch = Scratch::new();
    let options = options(&scratch, SignaturePlace::default());
    let server = SigstoreServices::start().unwrap();
    let public = scratch.path("key.pub");
    fs::write(&public, fixture("cosign.pub")).unwrap();
    let log = scratch.path("log.pem");
    fs::write(&log, server.log_pem()).unwrap();
    let requirement = format!(
        r#"{{"type":"sigstoreSigned","keyPath":{public:?},"rekorPublicKeyPath":{log:?},
            "signedIdentity":{{"type":"exactReference","dockerReference":{NAME:?}}}}}"#
    );
    let by_key = || {
        let passphrase = Secret::new("a passphrase");
        let key = SigstoreKey::load(&fixture("cosign.key"), Some(&passphrase)).unwrap();
        SigstoreSigner::by_key(key)
    };
    let recorded = || by_key().recorded_by(Rekor::new(services(), &server.url()));
    signed(&scratch, &options, by_key()).unwrap();
    let refused = accepted(&scratch, &options, &requirement).unwrap_err();
    assert!(
        refused.contains("missing dev.sigstore.cosign/bundle"),
        "{refused}"
    );
    signed(&scratch, &options, recorded()).unwrap();
    accepted(&scratch, &options, &requirement).unwrap();

    // A log that is overloaded is asked again.
    server.fail(Fault::Overloaded);
    signed(&scratch, &options, recorded()).unwrap();
    accepted(&scratch, &options, &requirement).unwrap();
    let asked = server.requests();
    assert_eq!(
        asked,
        ["POST /api/v1/log/entries", "POST /api/v1/log/entries"]
    );
}

/// One who has a browser.
fn with_browser() -> Person {
    Person {
        browser: true,
        ..Person::default()
    }
}

/// Checks what becomes of a signature when the services do something wrong: there is none, and no image.
fn refused(
    server: &SigstoreServices,
    fault: Fault,
    (identity, person): (IdentitySource, Person),
    expected: &[&str],
) {
    let scratch = Scratch::new();
    let options = options(&scratch, SignaturePlace::default());
    server.fail(fault);
    let signer = keyless(server, identity, Arc::new(person));
    let refused = signed(&scratch, &options, signer).unwrap_err();
    for part in expected {
        assert!(refused.contains(part), "{fault:?}: {refused}");
    }
    assert!(!refused.contains("canary"), "{refused}");
    let store = scratch.store("s", DriverName::Vfs);
    assert!(store.images().unwrap().iter().next().is_none(), "{fault:?}");
}

#[test]
fn nothing_is_published_that_nobody_would_accept() {
    let server = SigstoreServices::start().unwrap();
    let check = |fault, expected: &[&str]| {
        let who = (static_token(&server), Person::default());
        refused(&server, fault, who, expected);
    };
    check(
        Fault::RejectsTokens,
        &[
            "obtaining certificate from Fulcio: POST http://",
            "/api/v1/signingCert returned 401 Unauthorized: ",
            "There was an error processing the identity token",
        ],
    );
    check(
        Fault::ExpiredCertificates,
        &["checking the log entry from Rekor: the certificate holds from"],
    );
    check(
        Fault::ForeignKeys,
        &["checking the certificate from Fulcio: the certificate is for another key"],
    );
    check(
        Fault::OtherRecord,
        &["the Rekor SET is not acceptable: payload in Rekor SET does not match"],
    );
    check(
        Fault::RefusesRecords,
        &[
            "Error uploading a log entry: POST http://",
            "400 Bad Request",
            "could not be verified",
        ],
    );
    // Who has signed a log's promise is for those who verify.
    let scratch = Scratch::new();
    let options = options(&scratch, SignaturePlace::default());
    server.fail(Fault::ForeignLog);
    let signer = keyless(&server, static_token(&server), Arc::default());
    signed(&scratch, &options, signer).unwrap();
    let refused = accepted(&scratch, &options, &requirement(&scratch, &server, EMAIL)).unwrap_err();
    assert!(
        refused.contains("verification of Rekor SET failed"),
        "{refused}"
    );
}

#[test]
fn who_is_not_known_signs_nothing() {
    let server = SigstoreServices::start().unwrap();
    let device = || (IdentitySource::Device(client(&server)), Person::default());
    let browser = || (IdentitySource::Browser(client(&server)), with_browser());
    let check = |fault, who, expected: &str| refused(&server, fault, who, &[expected]);
    check(
        Fault::ForeignTokens,
        device(),
        "Error authenticating with OIDC: failed to verify signature",
    );
    let denied = "error obtaining token: access_denied";
    check(Fault::Denies, device(), denied);
    check(Fault::Denies, browser(), denied);
    check(
        Fault::OtherNonce,
        browser(),
        "nonce does not match value sent",
    );
    let nobody = IdentitySource::Token(Secret::new("no.canary"));
    check(
        Fault::None,
        (nobody, Person::default()),
        "parsing OIDC token: oidc: malformed jwt",
    );
    let elsewhere = OidcClient {
        issuer: format!("{}/", server.url()),
        ..client(&server)
    };
    check(
        Fault::None,
        (IdentitySource::Device(elsewhere), Person::default()),
        "issuer did not match the issuer returned by provider",
    );
}

#[test]
fn a_refusal_comes_before_the_copy() {
    let server = SigstoreServices::start().unwrap();
    server.fail(Fault::RejectsTokens);
    let signer = keyless(&server, static_token(&server), Arc::default());
    let refused = signer.prepare().unwrap_err();
    assert!(
        matches!(refused, SigningServiceError::Fulcio(_)),
        "{refused}"
    );
    assert_eq!(server.requests(), ["POST /api/v1/signingCert"]);
}
