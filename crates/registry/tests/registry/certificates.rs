//! TLS: trust, the self-signed authority that serves itself, client certificates, and no verification at all.

use std::sync::Arc;

use cooper_registry::{RegistryError, Security, TlsFiles, TlsIdentity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::fixture::{Setup, words};
use crate::server::Server;

struct Pair {
    certificate: String,
    key: String,
}

fn params(names: &[&str], authority: bool) -> CertificateParams {
    let mut params = CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

fn self_signed(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(params(&[], true), KeyPair::generate().unwrap()).unwrap()
}

fn signed(by: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair {
        certificate: params(names, false).signed_by(&key, by).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn server(pair: &Pair, clients_of: Option<&str>) -> Server {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients_of {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                .unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let config = builder
        .with_single_cert(
            chain,
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .unwrap();
    Server::https(config, |exchange| exchange.reply("200 OK", &[], b""))
}

fn trusting(pems: &[&str]) -> TlsFiles {
    TlsFiles {
        authorities: pems.iter().map(|pem| pem.as_bytes().to_vec()).collect(),
        identities: Vec::new(),
    }
}

fn check(server: &Server, tls: TlsFiles, expected: Result<(), &str>) {
    let outcome = Setup::new(&server.host())
        .verified(tls)
        .endpoint()
        .check_credentials();
    verdict(&server.host(), outcome, expected);
}

fn verdict(host: &str, outcome: Result<(), RegistryError>, expected: Result<(), &str>) {
    match (outcome, expected) {
        (Ok(()), Ok(())) => {}
        (Err(error), Err(text)) => {
            let start = format!(
                "logging into {host:?}: pinging container registry {host}: Get \"https://{host}/v2/\": "
            );
            let words = words(&error);
            assert!(
                words
                    .strip_prefix(&start)
                    .is_some_and(|rest| rest.starts_with(text)),
                "{words}"
            );
            assert!(!error.is_retryable());
        }
        (outcome, _) => panic!("{outcome:?}, not {expected:?}"),
    }
}

const UNKNOWN: &str =
    "tls: failed to verify certificate: x509: certificate signed by unknown authority";

#[test]
fn servers_need_a_certificate_of_a_trusted_authority() {
    let authority = authority();
    let ours = authority.pem();
    let server = server(&signed(&authority, &["127.0.0.1"]), None);
    check(&server, trusting(&[&ours]), Ok(()));
    check(
        &server,
        trusting(&[
            "garbage",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            &ours,
        ]),
        Ok(()),
    );
    check(&server, trusting(&[]), Err(UNKNOWN));
    check(&server, trusting(&["garbage"]), Err(UNKNOWN));
    let other = self_signed(&params(&[], true)).certificate;
    check(&server, trusting(&[&other]), Err(UNKNOWN));
    check(&server, trusting(&[&format!("{other}{ours}")]), Ok(()));
}

#[test]
fn names_and_dates_are_checked() {
    let authority = authority();
    let ours = authority.pem();
    let elsewhere = server(&signed(&authority, &["registry.example.com"]), None);
    check(
        &elsewhere,
        trusting(&[&ours]),
        Err("tls: failed to verify certificate: x509: certificate is not valid for 127.0.0.1"),
    );
    let mut old = params(&["127.0.0.1"], false);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    let pair = Pair {
        certificate: old.signed_by(&key, &authority).unwrap().pem(),
        key: key.serialize_pem(),
    };
    check(
        &server(&pair, None),
        trusting(&[&ours]),
        Err("tls: failed to verify certificate: x509: certificate has expired or is not yet valid"),
    );
}

#[test]
fn an_authority_that_serves_itself_is_trusted_when_it_is_listed() {
    let pair = self_signed(&params(&["127.0.0.1"], true));
    let itself = server(&pair, None);
    check(&itself, trusting(&[&pair.certificate]), Ok(()));
    check(&itself, trusting(&[]), Err("tls: "));
    let other = self_signed(&params(&["127.0.0.1"], true)).certificate;
    check(&itself, trusting(&[&other]), Err("tls: "));
    // Being listed does not make up for a wrong name or date.
    let named = self_signed(&params(&["registry.example.com"], true));
    check(
        &server(&named, None),
        trusting(&[&named.certificate]),
        Err("tls: failed to verify certificate: x509: certificate is not valid for 127.0.0.1"),
    );
    let mut old = params(&["127.0.0.1"], true);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let old = self_signed(&old);
    check(
        &server(&old, None),
        trusting(&[&old.certificate]),
        Err("tls: failed to verify certificate: x509: certificate has expired or is not yet valid"),
    );
}

#[test]
fn without_verification_any_certificate_will_do() {
    let strange = server(&self_signed(&params(&["registry.example.com"], true)), None);
    Setup::new(&strange.host())
        .endpoint()
        .check_credentials()
        .unwrap();
    assert_eq!(strange.seen().len(), 2);
}

#[test]
fn clients_show_their_certificates() {
    let authority = authority();
    let ours = authority.pem();
    let guarded = server(&signed(&authority, &["127.0.0.1"]), Some(&ours));
    let client = signed(&authority, &["client"]);
    let with = |certificate: &str, key: &str| TlsFiles {
        authorities: vec![ours.clone().into_bytes()],
        identities: vec![TlsIdentity {
            origin: "client.cert".to_owned(),
            certificate: certificate.as_bytes().to_vec(),
            key: key.as_bytes().to_vec(),
        }],
    };
    check(&guarded, with(&client.certificate, &client.key), Ok(()));
    let open = server(&signed(&authority, &["127.0.0.1"]), None);
    check(&open, with(&client.certificate, &client.key), Ok(()));
    let refuse = |tls: TlsFiles, expected: &str| {
        let host = guarded.host();
        let error = Setup::new(&host)
            .verified(tls)
            .endpoint()
            .check_credentials()
            .unwrap_err();
        let words = words(&error);
        assert!(words.contains(expected), "{words}");
        assert!(!format!("{error:?}").contains("PRIVATE"));
    };
    refuse(trusting(&[&ours]), "tls");
    refuse(
        with("nothing", &client.key),
        "cannot use the client certificate client.cert",
    );
    refuse(
        with(&client.certificate, "nothing"),
        "cannot read the key of the client certificate client.cert",
    );
    let other = self_signed(&params(&[], false));
    refuse(
        with(&client.certificate, &other.key),
        "cannot use the client certificate client.cert",
    );
    assert!(!format!("{:?}", with(&client.certificate, &client.key)).contains("PRIVATE"));
}

#[test]
fn credentials_do_not_leave_tls() {
    let authority = authority();
    let ours = authority.pem();
    let pair = signed(&authority, &["127.0.0.1"]);
    let plain = Server::http(|exchange| exchange.reply("200 OK", &[], b"{\"token\":\"t\"}"));
    let plain_host = plain.host();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let config = config
        .with_single_cert(
            chain,
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let secure = Server::https(config, move |exchange| match exchange.path() {
        "/v2/" => exchange.reply(
            "401 Unauthorized",
            &[(
                "WWW-Authenticate",
                &format!("Bearer realm=\"http://{plain_host}/token\""),
            )],
            b"",
        ),
        _ => exchange.reply(
            "302 Found",
            &[("Location", &format!("http://{plain_host}/x"))],
            b"",
        ),
    });
    let mut setup = Setup::new(&secure.host())
        .basic("u", "p")
        .verified(trusting(&[&ours]));
    assert_eq!(setup.options.security, Security::Verified);
    let error = setup.endpoint().check_credentials().unwrap_err();
    assert!(
        words(&error).ends_with("it would send credentials without TLS"),
        "{}",
        words(&error)
    );
    setup.options.credential = cooper_registry::Credential::Bearer(model::Secret::new("t"));
    let repository = setup.repository(cooper_registry::Access::Pull);
    let error = repository.tags().unwrap_err();
    assert!(
        words(&error).ends_with("is not followed: it leaves TLS"),
        "{}",
        words(&error)
    );
    assert!(plain.seen().is_empty());
}
