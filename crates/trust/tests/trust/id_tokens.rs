//! Identity tokens of OpenID Connect: read, and compared with what was asked for.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cooper_trust::{Expected, IdToken};
use model::Secret;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{NOW, chain};

const ISSUER: &str = "https://issuer";
const CLIENT: &str = "client";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs tokens in one way.
enum Signer {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair, bool),
}

impl Signer {
    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn rsa(pss: bool) -> Self {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        Self::Rsa(pair, pss)
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Rsa(_, true) => "PS256",
            Self::Rsa(_, false) => "RS256",
        }
    }

    fn public(&self) -> Value {
        match self {
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": encode(x), "y": encode(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())})
            }
            Self::Rsa(pair, _) => {
                let key = pair.public_key();
                let n = key.modulus().big_endian_without_leading_zero();
                let e = key.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "kid": "1", "n": encode(n), "e": encode(e)})
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(text).as_ref().to_vec(),
            Self::Rsa(pair, pss) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let made = if *pss {
                    pair.sign(&RSA_PSS_SHA256, &random, text, &mut signature)
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                };
                made.unwrap();
                signature
            }
        }
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": "1"});
        let signed = [encode(header.to_string()), encode(claims.to_string())].join(".");
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "7", "email": "me@ex.com", "email_verified": true,
        "exp": NOW + 60, "nonce": "n-1",
    })
}

fn verdict(token: &str, jwks: &Value, nonce: Option<&str>) -> Result<(), String> {
    let nonce = nonce.map(Secret::new);
    let access = Secret::new("access");
    let expected = Expected {
        issuer: ISSUER,
        client: CLIENT,
        nonce: nonce.as_ref(),
        access_token: Some(&access),
        now: NOW,
    };
    let token = IdToken::parse(Secret::new(token)).map_err(|err| chain(&err))?;
    let keys = jwks.to_string();
    token
        .verify(keys.as_bytes(), &expected)
        .map_err(|err| chain(&err))
}

#[test]
fn keys_of_all_kinds_sign_tokens() {
    let ed = Ed25519KeyPair::generate().unwrap();
    for signer in [
        Signer::ec(),
        Signer::Ed(ed),
        Signer::rsa(false),
        Signer::rsa(true),
    ] {
        let keys = json!({"keys": [{"kty": "oct", "k": "AA"}, signer.public()]});
        let token = signer.token(&claims());
        let name = signer.algorithm();
        assert_eq!(verdict(&token, &keys, Some("n-1")), Ok(()), "{name}");
        let mut changed = claims();
        changed["sub"] = "8".into();
        let other = signer.token(&changed);
        let (said, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        let forged = verdict(&format!("{said}.{signature}"), &keys, Some("n-1"));
        assert!(
            forged.unwrap_err().contains("failed to verify signature"),
            "{name}"
        );
    }
}

#[test]
fn tokens_are_those_that_were_asked_for() {
    let (signer, stranger) = (Signer::ec(), Signer::ec());
    let keys = json!({"keys": [signer.public()]});
    let check = |change: Value, expected: Result<(), &str>| {
        let mut claims = claims();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let found = verdict(&signer.token(&claims), &keys, Some("n-1"));
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(part)) => assert!(found.contains(part), "{change}: {found}"),
            (found, _) => panic!("{change}: {found:?}"),
        }
    };
    check(json!({}), Ok(()));
    check(json!({"aud": ["other", CLIENT]}), Ok(()));
    check(json!({"exp": NOW as f64 + 0.5, "nbf": NOW + 200}), Ok(()));
    let half = encode(&digest(&SHA256, b"access").as_ref()[..16]);
    check(json!({"at_hash": half}), Ok(()));
    check(
        json!({"at_hash": "x"}),
        Err("access token hash does not match"),
    );
    check(
        json!({"iss": "https://other"}),
        Err("issued by a different provider"),
    );
    check(
        json!({"aud": "other"}),
        Err("expected audience \"client\" got [\"other\"]"),
    );
    check(json!({"exp": NOW - 1}), Err("the token holds from 0 until"));
    check(json!({"exp": null}), Err("until 0, not at"));
    check(json!({"nbf": NOW + 1000}), Err("the token holds from"));
    check(
        json!({"nonce": "n-2"}),
        Err("nonce does not match value sent"),
    );
    check(
        json!({"nonce": null}),
        Err("nonce does not match value sent"),
    );

    let token = signer.token(&claims());
    assert_eq!(
        verdict(&token, &keys, None),
        Ok(()),
        "nobody has sent a nonce"
    );
    let foreign = json!({"keys": [stranger.public()]});
    let refused = verdict(&token, &foreign, None).unwrap_err();
    assert!(refused.contains("failed to verify signature"), "{refused}");
    // A text that is signed by nobody, or by a secret that everybody knows.
    for algorithm in ["none", "HS256"] {
        let header = encode(json!({"alg": algorithm}).to_string());
        let unsigned = format!("{header}.{}.", encode(claims().to_string()));
        let refused = verdict(&unsigned, &keys, None).unwrap_err();
        assert!(refused.contains("unsupported algorithm"), "{refused}");
    }
    let refused = verdict(&token, &json!([]), None).unwrap_err();
    assert!(refused.contains("failed to decode keys"), "{refused}");
}

#[test]
fn subjects_are_addresses_that_somebody_has_checked() {
    let signer = Signer::ec();
    let check = |claims: Value, expected: Result<&str, &str>| {
        let token = IdToken::parse(Secret::new(signer.token(&claims))).unwrap();
        let found = token.subject().map_err(|err| err.to_string());
        assert_eq!(
            found.as_deref().map_err(String::as_str),
            expected,
            "{claims}"
        );
    };
    check(claims(), Ok("me@ex.com"));
    check(
        json!({"email": "me@ex.com", "email_verified": "true"}),
        Ok("me@ex.com"),
    );
    check(json!({"sub": "repo:a/b"}), Ok("repo:a/b"));
    let unverified = Err("not verified by identity provider");
    check(json!({"email": "me@ex.com", "sub": "7"}), unverified);
    check(json!({}), Err("no subject found in claims"));
}

#[test]
fn what_is_no_token_is_refused_and_not_told() {
    for text in [
        "",
        "a.b",
        "a.b.c.d",
        "canary.ca*ary.canary",
        "YQ.YQ.YQ",
        "YQ.W10.YQ",
    ] {
        let refused = IdToken::parse(Secret::new(text)).unwrap_err();
        assert!(
            !format!("{refused:?} {refused}").contains("canary"),
            "{text}"
        );
    }
    let long = "a".repeat(70_000);
    let refused = IdToken::parse(Secret::new(long)).unwrap_err().to_string();
    assert_eq!(refused, "the token has 70000 bytes, more than 65536");
}

proptest! {
    #[test]
    fn tokens_of_strangers_never_panic(header in "\\PC{0,40}", body in "\\PC{0,80}", keys in "\\PC{0,40}") {
        let token = format!("{}.{}.{}", encode(header), encode(body), encode("signature"));
        if let Ok(token) = IdToken::parse(Secret::new(token)) {
            let expected = Expected {
                issuer: "", client: "", nonce: None, access_token: None, now: 0,
            };
            let _ = token.subject();
            prop_assert!(token.verify(keys.as_bytes(), &expected).is_err());
        }
    }
}
