//! `$BUILD_REGISTRY_SOURCES`: which registries a build service lets its builds use.

use serde::Deserialize;

/// The hosts that a build may use, may not use, and may use without certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildSources {
    raw: String,
    lists: Lists,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lists {
    allowed_registries: Vec<String>,
    blocked_registries: Vec<String>,
    insecure_registries: Vec<String>,
}

/// Why a registry may not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildSourcesError {
    /// The variable holds no JSON of this form.
    #[error("parsing $BUILD_REGISTRY_SOURCES ({raw:?}) as JSON")]
    Parse {
        /// The variable's value.
        raw: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The registry is on the list of those that may not be used.
    #[error("registry {host:?} denied by policy: it is in the blocked registries list ({raw})")]
    Blocked {
        /// The registry.
        host: String,
        /// The variable's value.
        raw: String,
    },
    /// The registry is not on the list of those that may be used.
    #[error("registry {host:?} denied by policy: not in allowed registries list ({raw})")]
    NotAllowed {
        /// The registry.
        host: String,
        /// The variable's value.
        raw: String,
    },
}

impl BuildSources {
    /// Parses the variable's value.
    ///
    /// # Errors
    /// [`BuildSourcesError::Parse`].
    pub fn parse(raw: &str) -> Result<Self, BuildSourcesError> {
        match serde_json::from_str(raw) {
            Ok(lists) => Ok(Self {
                raw: raw.to_owned(),
                lists,
            }),
            Err(source) => Err(BuildSourcesError::Parse {
                raw: raw.to_owned(),
                source,
            }),
        }
    }

    /// Tells whether a host may be read from and written to.
    ///
    /// # Errors
    /// [`BuildSourcesError::Blocked`] and [`BuildSourcesError::NotAllowed`].
    pub fn check(&self, host: &str) -> Result<(), BuildSourcesError> {
        let on = |list: &[String]| list.iter().any(|entry| entry == host);
        let (host_name, raw) = (host.to_owned(), self.raw.clone());
        if on(&self.lists.blocked_registries) {
            return Err(BuildSourcesError::Blocked {
                host: host_name,
                raw,
            });
        }
        let allowed = &self.lists.allowed_registries;
        if !allowed.is_empty() && !on(allowed) {
            return Err(BuildSourcesError::NotAllowed {
                host: host_name,
                raw,
            });
        }
        Ok(())
    }

    /// Tells whether a host is on the list of those without certificates.
    #[must_use]
    pub fn is_insecure(&self, host: &str) -> bool {
        self.lists
            .insecure_registries
            .iter()
            .any(|entry| entry == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_allowed_or_not() {
        let check = |raw: &str, host: &str, expected: &str| {
            let found = BuildSources::parse(raw).and_then(|sources| sources.check(host));
            let found = found.err().map(|error| error.to_string());
            assert_eq!(found.unwrap_or_default(), expected);
        };
        check("{}", "h", "");
        check(r#"{"allowedRegistries":["h"]}"#, "h", "");
        check(
            r#"{"allowedRegistries":["h"]}"#,
            "i",
            r#"registry "i" denied by policy: not in allowed registries list ({"allowedRegistries":["h"]})"#,
        );
        check(
            r#"{"blockedRegistries":["h"]}"#,
            "h",
            r#"registry "h" denied by policy: it is in the blocked registries list ({"blockedRegistries":["h"]})"#,
        );
        check(
            "bad",
            "h",
            "parsing $BUILD_REGISTRY_SOURCES (\"bad\") as JSON",
        );
        let insecure = BuildSources::parse(r#"{"insecureRegistries":["h"]}"#).unwrap();
        assert!(insecure.is_insecure("h") && !insecure.is_insecure("i"));
    }
}
