//! A registry as `login` and `logout` know it: the key of its credentials, and the question whether it accepts them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use config::{CertsDirs, Found};
use model::{Reference, Secret};
use registry::{
    Cause, Credential, EndpointOptions, Failure as Refusal, RegistryError, RequestRetry, Security,
};
use transfer::Verify;

use super::{configuration, registries};
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::{Level, Ui};
use crate::world::World;

/// What a user names to log in: a registry, or a namespace or repository in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The key of the credentials.
    pub key: String,
    /// The registry, with its port if any.
    pub host: String,
}

impl Account {
    /// Reads what the user typed; of a URL only the host counts.
    pub fn parse(text: &str) -> Result<Self> {
        let url = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let key = match url {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                // A user and a password before the host are nobody's business.
                rest[..end].rsplit('@').next().unwrap_or_default()
            }
            None => text,
        };
        let Some((host, _)) = key.split_once('/') else {
            return Ok(Self {
                key: key.to_owned(),
                host: key.to_owned(),
            });
        };
        let reference = Reference::parse_normalized(key)
            .with_context(|| format!("parse reference from {key:?}"))?;
        if reference.tag().is_some() || reference.digest().is_some() {
            bail!("reference \"{reference}\" contains tag or digest");
        }
        Ok(Self {
            key: key.to_owned(),
            host: host.to_owned(),
        })
    }
}

/// Why a registry does not let us in.
pub enum Refused {
    /// It does not accept the user with the password.
    Credentials,
    /// It could not be asked.
    Failed(Failure),
}

/// How a registry is reached to check credentials.
pub struct Gate<'a> {
    /// Where certificates are.
    pub cert_dir: Option<&'a PathBuf>,
    /// Whether they are checked.
    pub verify: Verify,
    /// Flags of every command.
    pub global: &'a GlobalArgs,
    /// The outside.
    pub world: &'a World,
    /// The printer.
    pub ui: &'a Ui,
}

impl Gate<'_> {
    /// Asks the registry of an account whether it accepts a user with a password.
    pub fn check(&self, account: &Account, user: &str, password: &Secret) -> Result<(), Refused> {
        let credential = Credential::Basic {
            user: user.to_owned(),
            password: password.clone(),
        };
        let certificates = registries::certificates(self.cert_dir, self.world);
        let endpoint = match self.endpoint(&account.host, &certificates, credential) {
            Ok(options) => registries::http(self.world).endpoint(options),
            Err(failure) => return Err(Refused::Failed(failure)),
        };
        let Err(error) = endpoint.check_credentials() else {
            return Ok(());
        };
        let untrusted = is_untrusted(&error);
        let error = match error {
            RegistryError::Login {
                source: Refusal::Credentials,
                ..
            } => return Err(Refused::Credentials),
            // Its own words say what the caller says better.
            RegistryError::Login { source, .. } => anyhow::Error::new(source),
            other => anyhow::Error::new(other),
        };
        let failure = Failure::from(error);
        Err(Refused::Failed(match untrusted {
            true => failure.hint(searched(&certificates, &account.host)),
            false => failure,
        }))
    }

    fn endpoint(
        &self,
        host: &str,
        certificates: &CertsDirs,
        credential: Credential,
    ) -> Result<EndpointOptions, Failure> {
        let conf = configuration::registries(self.global, self.world, self.ui)?;
        let configured = conf.is_insecure(host)?;
        let insecure = match self.verify {
            Verify::AsConfigured => configured,
            Verify::Always => false,
            Verify::Never => true,
        };
        let found = certificates.for_host(host)?;
        let told = self.ui.clone();
        Ok(EndpointOptions {
            host: host.to_owned(),
            security: match insecure {
                true => Security::Unverified,
                false => Security::Verified,
            },
            tls: registries::tls_files(found),
            credential,
            retry: RequestRetry::default(),
            notices: std::sync::Arc::new(move |notice| told.log(Level::Info, &notice.to_string())),
        })
    }
}

fn searched(certificates: &CertsDirs, host: &str) -> String {
    let Ok(found) = certificates.for_host(host) else {
        return String::new();
    };
    match found.directory {
        Some(directory) => format!("certificates were read from {}", directory.display()),
        None => {
            let names: Vec<String> = found
                .searched
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            format!(
                "no certificates for {host} were found in {}",
                names.join(", ")
            )
        }
    }
}

fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Cause::Tls(_)) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What was found of a user with a password, if it is both.
pub fn user_and_password(found: Option<&Found>) -> Option<(&str, &Secret)> {
    found
        .filter(|found| !found.user.is_empty() && !found.password.is_empty())
        .map(|found| (found.user.as_str(), &found.password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_hosts_or_paths() {
        let check = |text: &str, expected: Result<(&str, &str), &str>| {
            let found = Account::parse(text);
            let found = found.map(|account| (account.key, account.host));
            let found = found.map_err(|error| format!("{error:#}"));
            let expected = expected
                .map(|(key, host)| (key.to_owned(), host.to_owned()))
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        };
        check("h:5000", Ok(("h:5000", "h:5000")));
        check("h:5000/a/b", Ok(("h:5000/a/b", "h:5000")));
        check("docker.io/vendor", Ok(("docker.io/vendor", "docker.io")));
        check("https://h:5000/v1/", Ok(("h:5000", "h:5000")));
        check("http://u:p@h/v1", Ok(("h", "h")));
        check(
            "h.io/a:1",
            Err("reference \"h.io/a:1\" contains tag or digest"),
        );
        check(
            "h.io/A",
            Err(
                "parse reference from \"h.io/A\": invalid reference format: repository name must be lowercase",
            ),
        );
    }
}
