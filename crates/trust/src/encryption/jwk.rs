//! JSON Web Keys (RFC 7517): RSA and elliptic curves.

use aws_lc_rs::agreement;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::{BigUint, RsaPrivateKey};
use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::keys::{EcPrivate, PrivateKey, PublicKey, Wrapping, rsa_public};

/// A key as JSON has it; what is of no use here is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Jwk {
    pub(super) kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) y: Option<String>,
    #[serde(default, skip_serializing)]
    alg: Option<String>,
    #[serde(default, skip_serializing)]
    n: Option<String>,
    #[serde(default, skip_serializing)]
    e: Option<String>,
    #[serde(default, skip_serializing)]
    d: Option<String>,
    #[serde(default, skip_serializing)]
    p: Option<String>,
    #[serde(default, skip_serializing)]
    q: Option<String>,
}

impl Jwk {
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        serde_json::from_slice(file).ok()
    }

    /// The public half of a key on a curve.
    pub(super) fn of_point(curve: Curve, point: &[u8]) -> Option<Self> {
        let (x, y) = curve.coordinates(point)?;
        Some(Self {
            kty: "EC".to_owned(),
            crv: Some(curve.name().to_owned()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: Some(URL_SAFE_NO_PAD.encode(y)),
            ..Self::default()
        })
    }

    pub(super) fn point(&self) -> Option<(Curve, Vec<u8>)> {
        let curve = Curve::by_name(self.crv.as_deref()?)?;
        let point = curve.point(&bytes(self.x.as_deref())?, &bytes(self.y.as_deref())?)?;
        (self.kty == "EC").then_some((curve, point))
    }

    /// The way of wrapping that the key asks for.
    pub(super) fn algorithm(&self) -> Option<&str> {
        self.alg.as_deref().filter(|name| !name.is_empty())
    }

    /// The key that others encrypt with; none if it is a private key.
    pub(super) fn public(&self, wrapping: Option<Wrapping>) -> Option<PublicKey> {
        if self.d.is_some() {
            return None;
        }
        match &*self.kty {
            "RSA" => Some(PublicKey::Rsa {
                key: rsa_public(number(self.n.as_deref())?, number(self.e.as_deref())?)?,
                wrapping: wrapping.unwrap_or(Wrapping::RsaOaep),
            }),
            "EC" => {
                let (curve, point) = self.point()?;
                Some(PublicKey::Ec {
                    curve,
                    point,
                    wrapping: wrapping.unwrap_or(Wrapping::EcdhEsA256Kw),
                })
            }
            _ => None,
        }
    }

    /// The key that decrypts.
    pub(super) fn private(&self) -> Option<PrivateKey> {
        match &*self.kty {
            "RSA" => {
                let (n, e) = (number(self.n.as_deref())?, number(self.e.as_deref())?);
                let d = number(self.d.as_deref())?;
                let primes = vec![number(self.p.as_deref())?, number(self.q.as_deref())?];
                let key = RsaPrivateKey::from_components(n, e, d, primes).ok()?;
                Some(PrivateKey::Rsa(Box::new(key)))
            }
            "EC" => {
                let curve = Curve::by_name(self.crv.as_deref()?)?;
                let d = bytes(self.d.as_deref())?;
                let key = agreement::PrivateKey::from_private_key(curve.agreement(), &d).ok()?;
                Some(PrivateKey::Ec(EcPrivate { curve, key }))
            }
            _ => None,
        }
    }
}

fn bytes(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

fn number(text: Option<&str>) -> Option<BigUint> {
    bytes(text).map(|bytes| BigUint::from_bytes_be(&bytes))
}
