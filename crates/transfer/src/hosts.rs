//! The host's configuration as the way to registries: registries.conf, certs.d and stored credentials put together.

use config::{AuthError, AuthFiles, BuildSources, CertsDirs, Found, RegistriesConf, Role, Use};
use model::Reference;
use registry::{Credential, Security, TlsFiles, TlsIdentity};

use crate::registries::{HostAccess, HostError, Hosts, Located, Purpose};

/// Whether certificates are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// As registries.conf says of each endpoint.
    #[default]
    AsConfigured,
    /// At every endpoint.
    Always,
    /// Nowhere; plain HTTP is allowed, too.
    Never,
}

/// Stored credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("getting username and password")]
struct CredentialsError(#[source] AuthError);

/// The configuration of this host with what a command line adds to it.
#[derive(Debug)]
pub struct ConfiguredHosts {
    /// Where registries and their mirrors are.
    pub registries: RegistriesConf,
    /// Certificates.
    pub certificates: CertsDirs,
    /// Stored credentials.
    pub credentials: AuthFiles,
    /// Credentials for the registry that is named, not for its mirrors; they go before stored ones.
    pub given: Option<Credential>,
    /// Whether certificates are checked.
    pub verify: Verify,
    /// The lists of allowed and blocked registries that a build system may set.
    pub sources: BuildSources,
}

impl Hosts for ConfiguredHosts {
    fn locate(&self, name: &Reference, purpose: Purpose) -> Result<Vec<Located>, HostError> {
        self.sources.check(name.domain())?;
        let purpose = match purpose {
            Purpose::Pull => Use::Pull,
            Purpose::Push | Purpose::Tags => Use::Push,
        };
        let located = self.registries.endpoints(name, purpose)?;
        Ok(located
            .into_iter()
            .map(|located| {
                let host = located.reference.domain().to_owned();
                let insecure = match self.verify {
                    Verify::AsConfigured => located.insecure || self.sources.is_insecure(&host),
                    Verify::Always => false,
                    Verify::Never => true,
                };
                Located {
                    name: located.reference,
                    host,
                    security: if insecure {
                        Security::Unverified
                    } else {
                        Security::Verified
                    },
                    mirror: located.role == Role::Mirror,
                }
            })
            .collect())
    }

    fn access(&self, name: &Reference, located: &Located) -> Result<HostAccess, HostError> {
        let certs = self.certificates.for_host(&located.host)?;
        let authorities = certs.authorities.into_iter().map(|file| file.bytes);
        let identities = certs.clients.into_iter().map(|pair| TlsIdentity {
            origin: pair.certificate.path.display().to_string(),
            certificate: pair.certificate.bytes,
            key: pair.key.bytes,
        });
        let mut access = HostAccess {
            tls: TlsFiles {
                authorities: authorities.collect(),
                identities: identities.collect(),
            },
            ..HostAccess::default()
        };
        access.certificates = match certs.directory {
            Some(directory) => format!("certificates were read from {}", directory.display()),
            None => format!(
                "no certificates for {} were found in {}",
                located.host,
                listed(&certs.searched)
            ),
        };
        if let Some(given) = self
            .given
            .as_ref()
            .filter(|_| located.host == name.domain())
        {
            access.credential = given.clone();
            "the credentials of the command line were used".clone_into(&mut access.credentials);
            return Ok(access);
        }
        let lookup = self.credentials.lookup(&located.name);
        let lookup = lookup.map_err(CredentialsError)?;
        access.warnings = lookup.warnings;
        match lookup.found {
            Some(found) => {
                access.credentials = format!("the credentials were the {}", found.from);
                access.credential = credential(found);
            }
            None => {
                let read: Vec<_> = lookup.read.into_iter().chain(lookup.missing).collect();
                access.credentials = format!(
                    "no credentials for {} were found in {}",
                    located.name.name(),
                    listed(&read)
                );
            }
        }
        Ok(access)
    }
}

fn credential(found: Found) -> Credential {
    match found.identity_token {
        Some(token) => Credential::IdentityToken(token),
        None => Credential::Basic {
            user: found.user,
            password: found.password,
        },
    }
}

fn listed(paths: &[std::path::PathBuf]) -> String {
    if paths.is_empty() {
        return "any file".to_owned();
    }
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use config::{AUTH_FILES_HELPER, AuthFlag, SearchRoots};
    use model::Secret;

    use super::*;

    const CONF: &str = "
[[registry]]
location = \"mirrored.test\"
[[registry.mirror]]
location = \"mirror.test/m\"
insecure = true
[[registry]]
location = \"blocked.test\"
blocked = true
";

    fn hosts(directory: &Path, verify: Verify, given: Option<Credential>) -> ConfiguredHosts {
        let auth = directory.join("auth.json");
        // user:word
        let entry = r#"{"auths":{"mirror.test":{"auth":"dXNlcjp3b3Jk"}}}"#;
        std::fs::write(&auth, entry).unwrap();
        let roots = SearchRoots::new(directory, 0, BTreeMap::new());
        let helpers = vec![AUTH_FILES_HELPER.to_owned()];
        ConfiguredHosts {
            registries: RegistriesConf::parse(CONF, Path::new("/r.conf")).unwrap(),
            certificates: CertsDirs::Named(directory.join("certs")),
            credentials: AuthFiles::find(&roots, &AuthFlag::File(auth), helpers, directory),
            given,
            verify,
            sources: BuildSources::default(),
        }
    }

    #[test]
    fn endpoints_are_those_of_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let name = Reference::parse_normalized("mirrored.test/a:1").unwrap();
        let check = |verify, purpose, expected: &[&str]| {
            let located = hosts(directory.path(), verify, None).locate(&name, purpose);
            let shown: Vec<String> = located
                .unwrap()
                .iter()
                .map(|one| format!("{} {:?} {}", one.name, one.security, one.mirror))
                .collect();
            assert_eq!(shown, expected);
        };
        check(
            Verify::AsConfigured,
            Purpose::Pull,
            &[
                "mirror.test/m/a:1 Unverified true",
                "mirrored.test/a:1 Verified false",
            ],
        );
        check(
            Verify::Always,
            Purpose::Pull,
            &[
                "mirror.test/m/a:1 Verified true",
                "mirrored.test/a:1 Verified false",
            ],
        );
        let primary: &[&str] = &["mirrored.test/a:1 Unverified false"];
        check(Verify::Never, Purpose::Push, primary);
        check(Verify::Never, Purpose::Tags, primary);
        let blocked = Reference::parse_normalized("blocked.test/a:1").unwrap();
        let refused = hosts(directory.path(), Verify::Never, None).locate(&blocked, Purpose::Pull);
        assert!(refused.unwrap_err().to_string().contains("is blocked in"));
    }

    #[test]
    fn credentials_of_the_command_line_do_not_go_to_mirrors() {
        let directory = tempfile::tempdir().unwrap();
        let name = Reference::parse_normalized("mirrored.test/a:1").unwrap();
        let basic = |user: &str, word: &str| Credential::Basic {
            user: user.to_owned(),
            password: Secret::new(word),
        };
        let check = |given: Option<Credential>, expected: [Credential; 2]| {
            let hosts = hosts(directory.path(), Verify::AsConfigured, given);
            let located = hosts.locate(&name, Purpose::Pull).unwrap();
            let found: Vec<Credential> = located
                .iter()
                .map(|one| hosts.access(&name, one).unwrap().credential)
                .collect();
            assert_eq!(found, expected);
        };
        let stored = basic("user", "word");
        check(None, [stored.clone(), Credential::Anonymous]);
        check(Some(basic("me", "x")), [stored, basic("me", "x")]);
        let hosts = hosts(directory.path(), Verify::AsConfigured, None);
        let located = hosts.locate(&name, Purpose::Push).unwrap();
        let access = hosts.access(&name, &located[0]).unwrap();
        let expected = "no credentials for mirrored.test/a were found in ";
        assert!(access.credentials.starts_with(expected));
        assert!(
            access
                .certificates
                .starts_with("no certificates for mirrored.test were found in ")
        );
    }
}
