//! Which names on a signature are good for an image that was asked for by some name.

use model::{Reference, ReferenceError};

use crate::policy::PolicyError;
use crate::strict_json::Json;
use crate::subject::Subject;

/// A rule that joins the name on a signature with the name of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdentityRule {
    /// Both are the same.
    MatchExact,
    /// Both are the same, or the image was asked for by digest and the repository is the same.
    #[default]
    MatchRepoDigestOrExact,
    /// Both are of the same repository.
    MatchRepository,
    /// The signature is for this name, whatever the image's.
    ExactReference(Reference),
    /// The signature is for this repository, whatever the image's.
    ExactRepository(Reference),
    /// As [`IdentityRule::MatchRepoDigestOrExact`], after the beginning of the image's name was replaced.
    RemapIdentity {
        /// What the image's name begins with: whole components.
        prefix: String,
        /// What is put in its place.
        signed_prefix: String,
    },
}

impl IdentityRule {
    pub(crate) fn parse(json: Json) -> Result<Self, PolicyError> {
        let kind = crate::policy::kind_of(&json)?;
        match &*kind {
            "matchExact" => json.fields(&["type"]).map(|_| Self::MatchExact),
            "matchRepoDigestOrExact" => {
                json.fields(&["type"]).map(|_| Self::MatchRepoDigestOrExact)
            }
            "matchRepository" => json.fields(&["type"]).map(|_| Self::MatchRepository),
            "exactReference" => {
                let key = "dockerReference";
                let name = json.fields(&["type", key])?.require_string(key)?;
                let parsed = parse_name(key, &name)?;
                if is_name_only(&parsed) {
                    return Err(PolicyError::NameOnly { name });
                }
                return Ok(Self::ExactReference(parsed));
            }
            "exactRepository" => {
                let key = "dockerRepository";
                let name = json.fields(&["type", key])?.require_string(key)?;
                return parse_name(key, &name).map(Self::ExactRepository);
            }
            "remapIdentity" => {
                let mut fields = json.fields(&["type", "prefix", "signedPrefix"])?;
                let prefix = check_prefix(fields.require_string("prefix")?)?;
                let signed_prefix = check_prefix(fields.require_string("signedPrefix")?)?;
                return Ok(Self::RemapIdentity {
                    prefix,
                    signed_prefix,
                });
            }
            _ => return Err(PolicyError::UnknownMatch { kind }),
        }
        .map_err(PolicyError::from)
    }

    /// Returns whether a signature for `signed` is good for the image.
    pub fn accepts(&self, image: &Subject, signed: &str) -> bool {
        let Ok(signed) = Reference::parse_normalized(signed) else {
            return false;
        };
        if let Self::ExactReference(wanted) = self {
            return exact(wanted, &signed);
        }
        if let Self::ExactRepository(wanted) = self {
            return wanted.same_repository(&signed);
        }
        let Some(wanted) = image.reference() else {
            return false;
        };
        match self {
            Self::MatchExact => exact(wanted, &signed),
            Self::MatchRepository => wanted.same_repository(&signed),
            Self::RemapIdentity {
                prefix,
                signed_prefix,
            } => remapped(wanted, prefix, signed_prefix)
                .is_some_and(|wanted| digest_or_exact(&wanted, &signed)),
            _ => digest_or_exact(wanted, &signed),
        }
    }
}

fn parse_name(key: &'static str, name: &str) -> Result<Reference, PolicyError> {
    Reference::parse_normalized(name).map_err(|source: ReferenceError| PolicyError::Name {
        key,
        name: name.to_owned(),
        source,
    })
}

fn check_prefix(prefix: String) -> Result<String, PolicyError> {
    // What can stand before another component is a host or a repository.
    match Reference::parse_normalized(&format!("{prefix}/x")) {
        Ok(_) => Ok(prefix),
        Err(_) => Err(PolicyError::Prefix { prefix }),
    }
}

fn is_name_only(name: &Reference) -> bool {
    name.tag().is_none() && name.digest().is_none()
}

fn exact(wanted: &Reference, signed: &Reference) -> bool {
    !is_name_only(wanted) && wanted == signed
}

fn digest_or_exact(wanted: &Reference, signed: &Reference) -> bool {
    if is_name_only(signed) {
        false
    } else if wanted.tag().is_some() {
        wanted == signed
    } else {
        // That the digest is the signed one is compared with the manifest itself.
        wanted.digest().is_some() && wanted.same_repository(signed)
    }
}

/// Replaces the beginning of a name. A name that does not begin so stays.
fn remapped(name: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let text = name.to_string();
    let repository = name.name();
    let matches = repository
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !matches {
        return Some(name.clone());
    }
    let replaced = format!("{signed_prefix}{}", &text[prefix.len()..]);
    // A prefix without a registry would be read as something else than it says.
    Reference::parse_normalized(&replaced)
        .ok()
        .filter(|parsed| parsed.to_string() == replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(rule: &IdentityRule, image: &str, signed: &str) -> bool {
        let name = Reference::parse_normalized(image).unwrap();
        rule.accepts(&Subject::docker("x", &name), signed)
    }

    #[test]
    fn rules_join_names() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let by_digest = format!("ex.com/a@{digest}");
        let named = |text: &str| Reference::parse_normalized(text).unwrap();
        let remap = |prefix: &str, signed: &str| IdentityRule::RemapIdentity {
            prefix: prefix.into(),
            signed_prefix: signed.into(),
        };
        let check = |rule: IdentityRule, image: &str, signed: &str, expected: bool| {
            assert_eq!(
                accepts(&rule, image, signed),
                expected,
                "{rule:?} {image} {signed}"
            );
        };
        use IdentityRule::{
            ExactReference, ExactRepository, MatchExact, MatchRepoDigestOrExact, MatchRepository,
        };
        check(MatchExact, "ex.com/a:1", "ex.com/a:1", true);
        check(MatchExact, "ex.com/a:1", "ex.com/a:2", false);
        check(MatchExact, "ex.com/a:1", "ex.com/a", false);
        check(MatchExact, "a:1", "docker.io/library/a:1", true);
        check(MatchExact, &by_digest, "ex.com/a:1", false);
        check(MatchRepoDigestOrExact, &by_digest, "ex.com/a:1", true);
        check(MatchRepoDigestOrExact, &by_digest, "ex.com/b:1", false);
        check(MatchRepoDigestOrExact, &by_digest, "ex.com/a", false);
        check(MatchRepoDigestOrExact, "ex.com/a:1", "ex.com/a:2", false);
        check(MatchRepoDigestOrExact, "ex.com/a:1", "ex.com/a:1", true);
        check(MatchRepository, "ex.com/a:1", "ex.com/a:2", true);
        check(MatchRepository, "ex.com/a:1", "ex.com/a", true);
        check(MatchRepository, "ex.com/a:1", "EX BAD", false);
        check(ExactReference(named("b:1")), "ex.com/a:1", "b:1", true);
        check(ExactReference(named("b:1")), "ex.com/a:1", "b:2", false);
        check(ExactRepository(named("b")), "ex.com/a:1", "b:2", true);
        check(ExactRepository(named("b")), "ex.com/a:1", "c:2", false);
        check(
            remap("m.com/up", "ex.com"),
            "m.com/up/a:1",
            "ex.com/a:1",
            true,
        );
        check(
            remap("m.com/up", "ex.com"),
            "m.com/upper/a:1",
            "ex.com/per/a:1",
            false,
        );
        check(remap("m.com", "ex.com/a"), "ex.com/a:1", "ex.com/a:1", true);
        check(
            remap("m.com/a", "ex.com/b"),
            "m.com/a:1",
            "ex.com/b:1",
            true,
        );
        check(remap("m.com/a", "short"), "m.com/a:1", "short:1", false);
    }

    #[test]
    fn an_image_without_a_name_matches_only_fixed_names() {
        let image = Subject::path("dir", "dir:/a", "/a");
        assert!(!IdentityRule::MatchRepository.accepts(&image, "ex.com/a:1"));
        let fixed = Reference::parse_normalized("ex.com/a:1").unwrap();
        assert!(IdentityRule::ExactReference(fixed).accepts(&image, "ex.com/a:1"));
    }
}
