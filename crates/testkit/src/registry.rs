//! Debian's `docker-registry` on a free port of the loopback, with a folder of its own.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::authority::{Authority, Identity};
use crate::process::Server;
use crate::scratch::Scratch;
use crate::token::TokenServer;

/// How a registry asks who is there.
pub enum Access<'a> {
    /// Everybody may do everything.
    Open,
    /// HTTP Basic against a file of bcrypt hashes; user and password each.
    Passwords(&'a [(&'a str, &'a str)]),
    /// Bearer tokens of this server.
    Tokens(&'a TokenServer),
}

/// What a registry speaks.
pub enum Wire<'a> {
    /// Plain HTTP.
    Http,
    /// TLS with this certificate.
    Tls(&'a Identity),
    /// TLS with this certificate; a client shows one of the authority's.
    MutualTls(&'a Identity, &'a Authority),
}

/// One answered request, from the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET, HEAD, …
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The status of the answer.
    pub status: u16,
    /// The header `User-Agent`.
    pub user_agent: String,
}

/// A running registry, ended and removed when dropped.
pub struct Registry {
    server: Server,
    port: u16,
    scratch: Scratch,
}

impl Registry {
    /// An open registry that speaks plain HTTP.
    pub fn open() -> Result<Self> {
        Self::start(&Wire::Http, &Access::Open)
    }

    /// A plain HTTP registry with these users.
    pub fn with_passwords(users: &[(&str, &str)]) -> Result<Self> {
        Self::start(&Wire::Http, &Access::Passwords(users))
    }

    /// A registry of any kind. It takes schema 1, and deletes.
    pub fn start(wire: &Wire<'_>, access: &Access<'_>) -> Result<Self> {
        let scratch = Scratch::new("registry")?;
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: false\n\
             storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             compatibility:\n  schema1:\n    enabled: true\n\
             http:\n  addr: 127.0.0.1:0\n  secret: s\n",
            scratch.join("data").display()
        );
        write_wire(&mut config, wire, &scratch)?;
        write_access(&mut config, access, &scratch)?;
        let path = scratch.join("config.yml");
        std::fs::write(&path, config)?;
        let mut server = Server::start(
            Command::new("docker-registry").arg("serve").arg(&path),
            &scratch.join("log"),
        )?;
        let port = server.wait(listening_port)?;
        Ok(Self {
            server,
            port,
            scratch,
        })
    }

    /// `127.0.0.1:PORT`, as an image's name begins.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port alone.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A folder of the test's own beside the registry's data.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Every request answered so far, in the order of the answers.
    pub fn requests(&self) -> Vec<Request> {
        self.server.said().lines().filter_map(logged).collect()
    }
}

fn write_wire(config: &mut String, wire: &Wire<'_>, scratch: &Scratch) -> Result<()> {
    let (identity, authority) = match wire {
        Wire::Http => return Ok(()),
        Wire::Tls(identity) => (identity, None),
        Wire::MutualTls(identity, authority) => (identity, Some(authority)),
    };
    let (certificate, key) = identity.write(scratch.path(), "server")?;
    write!(
        config,
        "  tls:\n    certificate: {}\n    key: {}\n",
        certificate.display(),
        key.display()
    )?;
    if let Some(authority) = authority {
        let path = scratch.join("clients.pem");
        std::fs::write(&path, authority.pem())?;
        writeln!(config, "    clientcas: [{}]", path.display())?;
    }
    Ok(())
}

fn write_access(config: &mut String, access: &Access<'_>, scratch: &Scratch) -> Result<()> {
    match access {
        Access::Open => Ok(()),
        Access::Passwords(users) => {
            let path = scratch.join("htpasswd");
            let lines: Result<String> = users
                .iter()
                .map(|(user, word)| bcrypt(user, word))
                .collect();
            std::fs::write(&path, lines?)?;
            Ok(write!(
                config,
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                path.display()
            )?)
        }
        Access::Tokens(tokens) => {
            let path = scratch.join("tokens.pem");
            std::fs::write(&path, tokens.root_pem())?;
            Ok(write!(
                config,
                "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    rootcertbundle: {}\n",
                tokens.realm(),
                tokens.service(),
                tokens.issuer(),
                path.display()
            )?)
        }
    }
}

/// One line of a password file; the password goes by a pipe, as command lines are public.
fn bcrypt(user: &str, password: &str) -> Result<String> {
    let mut child = Command::new("htpasswd")
        .args(["-niB", "-C", "4", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start htpasswd (Debian's apache2-utils)")?;
    let mut stdin = child.stdin.take().context("no pipe to htpasswd")?;
    stdin.write_all(password.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("htpasswd ended with {}", output.status);
    }
    Ok(format!("{}\n", String::from_utf8(output.stdout)?.trim()))
}

/// The port in `… msg="listening on 127.0.0.1:43567…"`.
fn listening_port(said: &str) -> Option<u16> {
    let (_, rest) = said.split_once("listening on 127.0.0.1:")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

/// Reads a line of the access log (the Apache combined form).
fn logged(line: &str) -> Option<Request> {
    let mut parts = line.split('"');
    let before = parts.next()?;
    let request = parts.next()?;
    let status = parts.next()?;
    let _referer = parts.next()?;
    parts.next()?;
    let user_agent = parts.next().unwrap_or_default();
    if !before.ends_with("] ") {
        return None;
    }
    let (method, rest) = request.split_once(' ')?;
    let (target, _) = rest.rsplit_once(' ')?;
    Some(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        status: status.split_whitespace().next()?.parse().ok()?,
        user_agent: user_agent.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curl;

    #[test]
    fn log_lines_are_read() {
        let line = "127.0.0.1 - - [21/Nov/2026:14:27:31 +0000] \"GET /v2/a%2Fb?n=1 HTTP/1.1\" 401 2 \"\" \"curl/7.88\"";
        let expected = Request {
            method: "GET".to_owned(),
            target: "/v2/a%2Fb?n=1".to_owned(),
            status: 401,
            user_agent: "curl/7.88".to_owned(),
        };
        assert_eq!(logged(line), Some(expected));
        assert_eq!(
            logged("time=\"x\" level=info msg=\"GET it done\" a=\"b\""),
            None
        );
        let said = "msg=\"listening on 127.0.0.1:43567, tls\"\n";
        assert_eq!(listening_port(said), Some(43567));
    }

    #[test]
    fn peer_an_open_registry_answers() {
        let registry = Registry::open().unwrap();
        let url = format!("http://{}/v2/", registry.host());
        assert_eq!(curl::status(&[&url]).unwrap(), "200");
        assert_eq!(registry.requests().len(), 1);
        assert_eq!(registry.requests()[0].target, "/v2/");
    }

    #[test]
    fn peer_passwords_are_asked_for() {
        let registry = Registry::with_passwords(&[("u1", "pw1"), ("u2", "pw2")]).unwrap();
        let url = format!("http://{}/v2/", registry.host());
        let check = |given: &[&str], expected: &str| {
            let words = [given, &[url.as_str()]].concat();
            assert_eq!(curl::status(&words).unwrap(), expected, "{given:?}");
        };
        check(&[], "401");
        check(&["-u", "u1:pw1"], "200");
        check(&["-u", "u2:pw2"], "200");
        check(&["-u", "u2:pw1"], "401");
    }

    #[test]
    fn peer_certificates_are_checked_both_ways() {
        let authority = Authority::new("test authority").unwrap();
        let server = authority.server(&["127.0.0.1", "localhost"]).unwrap();
        let registry = Registry::start(&Wire::Tls(&server), &Access::Open).unwrap();
        let roots = registry.folder().join("roots.pem");
        std::fs::write(&roots, authority.pem()).unwrap();
        let roots = roots.to_str().unwrap();
        let url = format!("https://{}/v2/", registry.host());
        assert_eq!(curl::status(&["--cacert", roots, &url]).unwrap(), "200");
        assert!(
            curl::status(&[&url]).is_err(),
            "the authority is ours alone"
        );

        let wire = Wire::MutualTls(&server, &authority);
        let mutual = Registry::start(&wire, &Access::Open).unwrap();
        let client = authority.client("somebody").unwrap();
        let (certificate, key) = client.write(mutual.folder(), "client").unwrap();
        let url = format!("https://{}/v2/", mutual.host());
        let pair = [
            "--cert",
            certificate.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ];
        assert!(curl::status(&["--cacert", roots, &url]).is_err());
        let words = [&pair[..], &["--cacert", roots, &url]].concat();
        assert_eq!(curl::status(&words).unwrap(), "200");
    }
}
