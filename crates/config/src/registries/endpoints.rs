//! The places at which a reference is read or written, in the order in which they are asked.

use model::Reference;

use super::{MirrorUsage, RegistriesConf, RegistriesError, Registry};
use crate::origin::Origin;

/// What is to be done with a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Read an image.
    Pull,
    /// Write one, or list tags: never at a mirror and never at another location.
    Push,
}

/// Whether a place is the registry itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It stands in for the registry.
    Mirror,
    /// It is the registry, wherever the configuration says that it is.
    Primary,
}

/// A place at which a reference is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The reference as that place knows it. What is stored keeps its own name.
    pub reference: Reference,
    /// Whether certificates are not checked and plain HTTP is allowed.
    pub insecure: bool,
    /// Whether it is the registry itself.
    pub role: Role,
}

impl RegistriesConf {
    /// Returns the table with the longest prefix of `name`: a full name with or without tag and digest, or a host.
    #[must_use]
    pub fn registry(&self, name: &str) -> Option<&Registry> {
        self.registries
            .values()
            .filter(|registry| matched(name, &registry.prefix.value).is_some())
            .max_by_key(|registry| registry.prefix.value.len())
    }

    /// Returns where `reference` is read or written: mirrors first, the registry itself last. A mirror whose own host is
    /// blocked is left out.
    ///
    /// # Errors
    /// [`RegistriesError::Blocked`], and when the configuration turns the reference into something that is no reference.
    pub fn endpoints(
        &self,
        reference: &Reference,
        purpose: Use,
    ) -> Result<Vec<Located>, RegistriesError> {
        let name = reference.to_string();
        let Some(registry) = self.registry(&name) else {
            return Ok(vec![Located {
                reference: reference.clone(),
                insecure: false,
                role: Role::Primary,
            }]);
        };
        self.refuse_blocked(Some(registry))?;
        if purpose == Use::Push {
            return Ok(vec![Located {
                reference: reference.clone(),
                insecure: registry.insecure.value,
                role: Role::Primary,
            }]);
        }
        let mut places = Vec::new();
        for mirror in &registry.mirrors {
            let usage = match registry.mirror_by_digest_only.value {
                true => MirrorUsage::DigestOnly,
                false => mirror.usage.value,
            };
            let wanted = match usage {
                MirrorUsage::All => true,
                MirrorUsage::DigestOnly => reference.digest().is_some(),
                MirrorUsage::TagOnly => reference.digest().is_none(),
            };
            if !wanted {
                continue;
            }
            let rewritten = rewrite(&name, registry, &mirror.location)?;
            if self
                .refuse_blocked(self.registry(&rewritten.to_string()))
                .is_ok()
            {
                places.push(Located {
                    reference: rewritten,
                    insecure: mirror.insecure.value,
                    role: Role::Mirror,
                });
            }
        }
        let rewritten = match registry.location.value.is_empty() {
            true => reference.clone(),
            false => rewrite(&name, registry, &registry.location)?,
        };
        self.refuse_blocked(self.registry(&rewritten.to_string()))?;
        places.push(Located {
            reference: rewritten,
            insecure: registry.insecure.value,
            role: Role::Primary,
        });
        Ok(places)
    }

    /// Tells whether `host` may be reached without certificates, for what concerns no image: login.
    ///
    /// # Errors
    /// [`RegistriesError::Blocked`].
    pub fn is_insecure(&self, host: &str) -> Result<bool, RegistriesError> {
        let registry = self.registry(host);
        self.refuse_blocked(registry)?;
        Ok(registry.is_some_and(|registry| registry.insecure.value))
    }

    fn refuse_blocked(&self, registry: Option<&Registry>) -> Result<(), RegistriesError> {
        match registry {
            Some(registry) if registry.blocked.value => Err(RegistriesError::Blocked {
                prefix: registry.prefix.value.clone(),
                sources: self.sources(),
            }),
            _ => Ok(()),
        }
    }
}

/// Returns how much of `name` a prefix matches, in bytes.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let end = name.find(['/', ':', '@']).unwrap_or(name.len());
        let host = &name[..end];
        return (host.len() > domain.len() && host.ends_with(domain)).then_some(end);
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
}

/// Puts `location` in the place of the registry's prefix.
fn rewrite(
    name: &str,
    registry: &Registry,
    location: &Origin<String>,
) -> Result<Reference, RegistriesError> {
    let length = matched(name, &registry.prefix.value).unwrap_or(0);
    let name = format!("{}{}", location.value, &name[length..]);
    let reference =
        Reference::parse_normalized(&name).map_err(|source| RegistriesError::Rewrite {
            name: name.clone(),
            source,
        })?;
    if reference.to_string() != name {
        return Err(RegistriesError::NotCanonical {
            name,
            place: location.place.clone(),
        });
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::matched;

    #[test]
    fn prefixes_end_where_a_part_of_a_name_ends() {
        for (name, prefix, expected) in [
            ("example.com/a:1", "example.com", Some(11)),
            ("example.com/a:1", "example.com/a", Some(13)),
            ("example.com/a:1", "example.com/a:1", Some(15)),
            ("example.com/a@sha256:00", "example.com/a", Some(13)),
            ("example.com:5000/a", "example.com", Some(11)),
            ("example.com/ab", "example.com/a", None),
            ("example.community/a", "example.com", None),
            ("a.example.com/x", "*.example.com", Some(13)),
            ("a.b.example.com/x", "*.example.com", Some(15)),
            ("a.example.com:5000/x", "*.example.com", Some(13)),
            ("example.com/x", "*.example.com", None),
            ("other.org/a.example.com", "*.example.com", None),
            ("aexample.com/x", "*.example.com", None),
        ] {
            assert_eq!(matched(name, prefix), expected, "{name} {prefix}");
        }
    }
}
