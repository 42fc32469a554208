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
