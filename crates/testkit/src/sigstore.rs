//! The services that signing as sigstore does may need, in one: an issuer of identities (OpenID Connect), Fulcio, which
//! certifies keys, and Rekor, which records signatures. They check what they are sent as the real ones do, and can be
//! told to fail.
//!
//! The person at the browser is always willing: whoever opens the issuer's page is sent on with a code.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED,
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType, SignatureAlgorithm, date_time_ymd,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::http::{Head, Listener, answer, read_body};
use crate::token::form_fields;

/// The mail address of who signs.
pub const EMAIL: &str = "me@example.com";
/// What the issuer knows the client by.
pub const CLIENT: &str = "cooper-test";
/// The password of that client, where the issuer wants one.
pub const CLIENT_SECRET: &str = "client-canary";

/// The issuer of the identity, as Fulcio writes it into certificates: 1.3.6.1.4.1.57264.1.1.
const ISSUER_OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
/// A `SubjectPublicKeyInfo` of a point on P-256 begins with these many bytes that are not the point.
const SPKI_PREFIX: usize = 26;
const DEVICE_CODE: &str = "device-canary";
const CODE: &str = "code-canary";

/// What the services do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Fulcio takes no token.
    RejectsTokens,
    /// Fulcio's certificates are of the past.
    ExpiredCertificates,
    /// Fulcio certifies another key.
    ForeignKeys,
    /// The log is overloaded at the first request.
    Overloaded,
    /// The log answers with the record of another signature.
    OtherRecord,
    /// The log's promise is signed by somebody else.
    ForeignLog,
    /// The log refuses.
    RefusesRecords,
    /// The issuer's tokens are signed by somebody else.
    ForeignTokens,
    /// The issuer's tokens answer another request.
    OtherNonce,
    /// The person says no.
    Denies,
}

/// Running services, closed when dropped.
pub struct SigstoreServices {
    listener: Listener,
    state: Arc<State>,
}

struct State {
    url: Mutex<String>,
    root: CertifiedIssuer<'static, KeyPair>,
    middle: CertifiedIssuer<'static, KeyPair>,
    issuer_key: KeyPair,
    log_key: KeyPair,
    stranger: KeyPair,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    fault: Fault,
    wants_secret: bool,
    requests: Vec<String>,
    entries: BTreeMap<String, Value>,
    /// What the client has to know of, and the number that its token has to carry.
    challenge: String,
    nonce: Option<String>,
    polled: usize,
}

/// A point that a client has sent.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A status, the headers that go with it, and a text.
type Reply = (u16, Vec<(&'static str, String)>, String);

impl SigstoreServices {
    /// Starts them.
    pub fn start() -> Result<Self> {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        let root = CertifiedIssuer::self_signed(authority("root")?, key()?)?;
        let middle = CertifiedIssuer::signed_by(authority("middle")?, key()?, &root)?;
        let state = Arc::new(State {
            url: Mutex::default(),
            root,
            middle,
            issuer_key: key()?,
            log_key: key()?,
            stranger: key()?,
            inner: Mutex::default(),
        });
        let listener = Listener::start({
            let state = Arc::clone(&state);
            move |stream| drop(state.serve(&stream))
        })?;
        *lock(&state.url) = format!("http://{}", listener.host());
        Ok(Self { listener, state })
    }

    /// The address of all of them; also the issuer's name.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.host())
    }

    /// The certificate of Fulcio's root, PEM.
    pub fn root_pem(&self) -> String {
        self.state.root.pem()
    }

    /// The log's public key, PEM.
    pub fn log_pem(&self) -> String {
        self.state.log_key.public_key_pem()
    }

    /// A token for the one who signs, as a build service would have it.
    pub fn token(&self) -> Result<String> {
        self.state.token(&self.state.issuer_key, None)
    }

    /// Has them do something wrong from now on, and forgets the requests so far.
    pub fn fail(&self, fault: Fault) {
        let mut inner = self.state.inner();
        inner.fault = fault;
        inner.requests.clear();
        inner.polled = 0;
    }

    /// Has the issuer want [`CLIENT_SECRET`], as fields of a form and in no other way.
    pub fn want_secret(&self) {
        self.state.inner().wants_secret = true;
    }

    /// Every request so far: the method and the path.
    pub fn requests(&self) -> Vec<String> {
        self.state.inner().requests.clone()
    }

    /// How many signatures are recorded.
    pub fn records(&self) -> usize {
        self.state.inner().entries.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn authority(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2060, 1, 1);
    Ok(params)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}

fn sign(key: &KeyPair, text: &[u8]) -> Result<Vec<u8>> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der());
    let pair = pair.ok().context("not a key of P-256")?;
    let signature = pair.sign(&SystemRandom::new(), text).ok();
    Ok(signature.context("cannot sign")?.as_ref().to_vec())
}

fn refusal(status: u16, error: &str) -> Reply {
    (status, Vec::new(), json!({"error": error}).to_string())
}

fn given(status: u16, value: &Value) -> Reply {
    (status, Vec::new(), value.to_string())
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(stream);
        while let Some(head) = Head::read(&mut from)? {
            let body = read_body(&mut from, head.request_body())?;
            let path = head.target().split('?').next().unwrap_or_default();
            let request = format!("{} {path}", head.method());
            self.inner().requests.push(request.clone());
            let (status, headers, text) = self
                .reply(&request, &head, &body)
                .unwrap_or_else(|error| refusal(400, &format!("{error:#}")));
            let mut all = vec![("Content-Type", "application/json")];
            all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
            answer(&mut &*stream, status, &all, text.as_bytes())?;
        }
        Ok(())
    }

    fn reply(&self, request: &str, head: &Head, body: &[u8]) -> Result<Reply> {
        match request {
            "GET /.well-known/openid-configuration" => Ok(self.discovery()),
            "GET /keys" => self.keys(),
            "GET /auth" => self.authorise(head.target()),
            "POST /device/code" => self.announce(body),
            "POST /token" => self.give_token(head, body),
            "POST /api/v1/signingCert" => self.certify(head, body),
            "POST /api/v1/log/entries" => self.record(body),
            _ => Ok(self.entry(request)),
        }
    }

    fn discovery(&self) -> Reply {
        let url = lock(&self.url).clone();
        let offer = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/auth"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"),
            "device_authorization_endpoint": format!("{url}/device/code"),
            "code_challenge_methods_supported": ["S256", "plain"],
        });
        given(200, &offer)
    }

    fn keys(&self) -> Result<Reply> {
        let der = self.issuer_key.serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
        let pair = pair.ok().context("not a key of P-256")?;
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        // One that nobody here knows goes before.
        Ok(given(200, &json!({"keys": [{"kty": "new"}, key]})))
    }

    /// A signed token (JWT, ES256).
    fn token(&self, key: &KeyPair, nonce: Option<&str>) -> Result<String> {
        let now = now();
        let header = json!({"alg": "ES256", "kid": "1", "typ": "JWT"});
        let mut claims = json!({
            "iss": *lock(&self.url), "aud": CLIENT, "sub": "subject-1",
            "email": EMAIL, "email_verified": true, "iat": now, "exp": now + 600,
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der());
        let pair = pair.ok().context("not a key of P-256")?;
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).ok();
        let signature = signature.context("cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// A browser opens the issuer's page: its person says yes, and it is sent on.
    fn authorise(&self, target: &str) -> Result<Reply> {
        let query = target.split_once('?').context("no query")?.1;
        let fields: BTreeMap<String, String> = form_fields(query).collect();
        let field = |name: &str| fields.get(name).cloned().context(format!("no {name}"));
        anyhow::ensure!(field("client_id")? == CLIENT && field("response_type")? == "code");
        anyhow::ensure!(field("code_challenge_method")? == "S256", "no challenge");
        let mut inner = self.inner();
        inner.challenge = field("code_challenge")?;
        inner.nonce = Some(field("nonce")?);
        let said = match inner.fault {
            Fault::Denies => "error=access_denied",
            _ => "code=code-canary",
        };
        let location = format!(
            "{}?{said}&state={}",
            field("redirect_uri")?,
            field("state")?
        );
        Ok((302, vec![("Location", location)], String::new()))
    }

    fn announce(&self, body: &[u8]) -> Result<Reply> {
        let fields: BTreeMap<String, String> =
            form_fields(&String::from_utf8_lossy(body)).collect();
        anyhow::ensure!(fields.get("client_id").is_some_and(|id| id == CLIENT));
        let challenge = fields.get("code_challenge").context("no challenge")?;
        let mut inner = self.inner();
        inner.challenge.clone_from(challenge);
        inner.nonce = None;
        let url = lock(&self.url).clone();
        let announced = json!({
            "device_code": DEVICE_CODE, "user_code": "ABCD-EFGH",
            "verification_uri": format!("{url}/device"), "interval": 0, "expires_in": 60,
        });
        Ok(given(200, &announced))
    }

    fn give_token(&self, head: &Head, body: &[u8]) -> Result<Reply> {
        let fields: BTreeMap<String, String> =
            form_fields(&String::from_utf8_lossy(body)).collect();
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let mut inner = self.inner();
        if inner.wants_secret {
            let inside = head.header("authorization").is_none();
            if !inside || field("client_secret") != CLIENT_SECRET {
                return Ok(refusal(401, "invalid_client"));
            }
        }
        match field("grant_type") {
            "urn:ietf:params:oauth:grant-type:device_code" => {
                anyhow::ensure!(field("device_code") == DEVICE_CODE, "invalid_grant");
                inner.polled += 1;
                if inner.fault == Fault::Denies {
                    return Ok(refusal(400, "access_denied"));
                }
                if inner.polled == 1 {
                    return Ok(refusal(400, "authorization_pending"));
                }
            }
            "authorization_code" => anyhow::ensure!(field("code") == CODE, "invalid_grant"),
            other => anyhow::bail!("unsupported_grant_type {other}"),
        }
        let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
        if proof != inner.challenge {
            return Ok(refusal(400, "invalid_grant"));
        }
        let key = match inner.fault {
            Fault::ForeignTokens => &self.stranger,
            _ => &self.issuer_key,
        };
        let nonce = match inner.fault {
            Fault::OtherNonce => Some("another"),
            _ => inner.nonce.as_deref(),
        };
        let token = self.token(key, nonce)?;
        let tokens =
            json!({"id_token": token, "access_token": "access-canary", "token_type": "Bearer"});
        Ok(given(200, &tokens))
    }

    fn certify(&self, head: &Head, body: &[u8]) -> Result<Reply> {
        let fault = self.inner().fault;
        let token = head
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let known = token.is_some_and(|token| self.knows(token));
        if !known || fault == Fault::RejectsTokens {
            let text =
                json!({"code": 401, "message": "There was an error processing the identity token"});
            return Ok(given(401, &text));
        }
        let request: Value = serde_json::from_slice(body)?;
        let bytes = |value: &Value| -> Result<Vec<u8>> {
            Ok(STANDARD.decode(value.as_str().context("not a text")?)?)
        };
        anyhow::ensure!(request["publicKey"]["algorithm"] == "ecdsa", "algorithm");
        let spki = bytes(&request["publicKey"]["content"])?;
        let proof = bytes(&request["signedEmailAddress"])?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki)
            .verify(EMAIL.as_bytes(), &proof)
            .ok()
            .context("The signature supplied in the request could not be verified")?;
        let point = Point(spki[SPKI_PREFIX..].to_vec());
        let params = self.leaf(fault)?;
        let leaf = match fault {
            Fault::ForeignKeys => params.signed_by(&self.stranger, &self.middle)?,
            _ => params.signed_by(&point, &self.middle)?,
        };
        let text = [leaf.pem(), self.middle.pem(), self.root.pem()].concat();
        Ok((201, Vec::new(), text))
    }

    fn leaf(&self, fault: Fault) -> Result<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names = vec![SanType::Rfc822Name(EMAIL.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let (from, until) = match fault {
            Fault::ExpiredCertificates => (2021, 2022),
            _ => (2021, 2060),
        };
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let issuer = lock(&self.url).clone().into_bytes();
        let extension = CustomExtension::from_oid_content(&ISSUER_OID, issuer);
        params.custom_extensions.push(extension);
        Ok(params)
    }

    /// Whether the issuer has signed a token.
    fn knows(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return false;
        };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
            return false;
        };
        let key =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.issuer_key.public_key_raw());
        key.verify(signed.as_bytes(), &signature).is_ok()
    }

    fn record(&self, body: &[u8]) -> Result<Reply> {
        let mut proposed: Value = serde_json::from_slice(body)?;
        anyhow::ensure!(proposed["kind"] == "hashedrekord" && proposed["apiVersion"] == "0.0.1");
        let mut inner = self.inner();
        match inner.fault {
            Fault::RefusesRecords => {
                let text = json!({"code": 400, "message": "signature could not be verified"});
                return Ok(given(400, &text));
            }
            Fault::Overloaded => {
                inner.fault = Fault::None;
                return Ok(refusal(503, "overloaded"));
            }
            Fault::OtherRecord => {
                proposed["spec"]["data"]["hash"]["value"] = "0".repeat(64).into();
            }
            _ => {}
        }
        let uuid: String = Sha256::digest(body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if inner.entries.contains_key(&uuid) {
            let location = format!("/api/v1/log/entries/{uuid}");
            let text = json!({"code": 409, "message": "an equivalent entry already exists"});
            return Ok((409, vec![("Location", location)], text.to_string()));
        }
        let body = STANDARD.encode(proposed.to_string());
        let (at, index) = (now(), inner.entries.len());
        let log = "c0ffee".repeat(8);
        // What the log signs, in the canonical form of RFC 8785.
        let text = format!(
            r#"{{"body":"{body}","integratedTime":{at},"logID":"{log}","logIndex":{index}}}"#
        );
        let key = match inner.fault {
            Fault::ForeignLog => &self.stranger,
            _ => &self.log_key,
        };
        let promise = STANDARD.encode(sign(key, text.as_bytes())?);
        let entry = json!({&uuid: {
            "body": body, "integratedTime": at, "logID": log, "logIndex": index,
            "attestation": {},
            "verification": {"signedEntryTimestamp": promise, "inclusionProof": {"hashes": []}},
        }});
        inner.entries.insert(uuid, entry.clone());
        Ok(given(201, &entry))
    }

    fn entry(&self, request: &str) -> Reply {
        let inner = self.inner();
        let uuid = request.strip_prefix("GET /api/v1/log/entries/");
        match uuid.and_then(|uuid| inner.entries.get(uuid)) {
            Some(entry) => given(200, entry),
            None => refusal(404, "not found"),
        }
    }
}
