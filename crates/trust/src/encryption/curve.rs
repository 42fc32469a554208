//! Elliptic curves by the names of JSON Web Keys (RFC 7518, section 6.2) and by their object identifiers.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521};
use x509_cert::der::asn1::ObjectIdentifier;

/// How an uncompressed point begins.
const UNCOMPRESSED: u8 = 4;

const OIDS: [(ObjectIdentifier, Curve); 3] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        Curve::P256,
    ),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), Curve::P384),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), Curve::P521),
];

/// A curve that keys are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    pub(super) fn by_oid(oid: ObjectIdentifier) -> Option<Self> {
        let found = OIDS.into_iter().find(|(known, _)| *known == oid)?;
        Some(found.1)
    }

    pub(super) fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
            Self::P521 => &ECDH_P521,
        }
    }

    /// The size of a coordinate in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Joins two coordinates to a point; whether it lies on the curve is seen when it is used.
    pub(super) fn point(self, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
        let fits = x.len() == self.size() && y.len() == self.size();
        fits.then(|| [&[UNCOMPRESSED], x, y].concat())
    }

    /// Takes a point apart.
    pub(super) fn coordinates(self, point: &[u8]) -> Option<(&[u8], &[u8])> {
        let both = point.strip_prefix(&[UNCOMPRESSED])?;
        (both.len() == 2 * self.size()).then(|| both.split_at(self.size()))
    }
}
