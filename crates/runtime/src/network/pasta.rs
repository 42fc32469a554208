//! A connection by pasta(1): the namespace looks like the host, and pasta carries its packets.
//!
//! It is told what Buildah tells it. pasta stays in the foreground, as a child of ours: it is ready
//! when it has written its process id. It sees the namespace in the place of the record of this
//! connection, and ends by itself when that is taken away, also after this process was killed.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sys::idmap::in_initial_user_namespace;

use super::said::Said;
use super::{NetworkError, Settings};

/// Name of the program.
pub(super) const PROGRAM: &str = "pasta";

/// The address inside whose queries for names pasta hands to the host's name server.
const NAMES: &str = "169.254.1.1";
/// The address inside that leads to the host.
const HOST: &str = "169.254.1.2";
const NAMES_OPTION: &str = "--dns-forward";
const HOST_OPTION: &str = "--map-guest-addr";
/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A pasta that works.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    /// Name servers inside.
    pub(super) resolvers: Vec<IpAddr>,
    /// The host's address as seen from inside.
    pub(super) host: Option<IpAddr>,
}

/// What pasta is told, and what follows from it.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    words: Vec<String>,
    resolvers: Vec<String>,
    host: Option<String>,
    /// Whether the address of the host is our own wish, which an older pasta does not know.
    host_is_ours: bool,
}

impl Arguments {
    /// Puts together the options of the configuration, then those of the command line, then what
    /// neither has.
    fn new(configured: &[String], given: &[String]) -> Self {
        let mut words = vec!["--config-net".to_owned()];
        words.extend(configured.iter().chain(given).cloned());
        let values = |name: &str| {
            let mut found = Vec::new();
            for pair in words.windows(2) {
                if pair[0] == name {
                    found.push(pair[1].clone());
                }
            }
            found
        };
        let mut more = Vec::new();
        let mut resolvers = values(NAMES_OPTION);
        if resolvers.is_empty() {
            resolvers.push(NAMES.to_owned());
            more.extend([NAMES_OPTION, NAMES]);
        }
        for names in [
            ["-t", "--tcp-ports"],
            ["-u", "--udp-ports"],
            ["-T", "--tcp-ns"],
            ["-U", "--udp-ns"],
        ] {
            if !has(&words, &names) {
                more.extend([names[0], "none"]);
            }
        }
        if !has(&words, &["--map-gw"]) {
            more.push("--no-map-gw");
        }
        let hosts = values(HOST_OPTION);
        let host_is_ours = hosts.is_empty();
        more.push("--quiet");
        let more: Vec<String> = more.into_iter().map(str::to_owned).collect();
        // Not an option of pasta, but the word for leaving the opposite out.
        words.retain(|word| word != "--map-gw");
        words.extend(more);
        Self {
            words,
            resolvers,
            host: hosts.into_iter().next().or_else(|| Some(HOST.to_owned())),
            host_is_ours,
        }
    }
}

fn has(words: &[String], names: &[&str]) -> bool {
    words.iter().any(|word| names.contains(&word.as_str()))
}

/// Where pasta finds things.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// The namespace to connect.
    pub(super) namespace: BorrowedFd<'a>,
    /// A file in whose place pasta sees the namespace. It ends when that is taken away.
    pub(super) seen_at: &'a Path,
    /// A file that is not there.
    pub(super) mark: &'a Path,
}

/// Connects a namespace.
pub(super) fn start(
    settings: &Settings,
    options: &[String],
    places: Places<'_>,
) -> Result<Started, NetworkError> {
    let program = settings
        .program(PROGRAM)
        .ok_or(NetworkError::NoProgram { program: PROGRAM })?;
    let mut arguments = Arguments::new(&settings.pasta_options, options);
    loop {
        let mut command = Command::new(&program);
        command.args(&arguments.words);
        if let (Some(host), true) = (&arguments.host, arguments.host_is_ours) {
            command.arg(HOST_OPTION).arg(host);
        }
        let is_root = rustix::process::geteuid().is_root() && in_initial_user_namespace();
        if is_root && !has(&arguments.words, &["--runas"]) {
            // Or it becomes nobody, who cannot join a namespace of root's.
            command.args(["--runas", "0"]);
        }
        command.arg("--netns").arg(places.seen_at);
        command.arg("--foreground").arg("--pid").arg(places.mark);
        match wait(command, places)? {
            Ok(child) => {
                let address = |text: &String| text.parse().ok();
                return Ok(Started {
                    child,
                    resolvers: arguments.resolvers.iter().filter_map(address).collect(),
                    host: arguments.host.as_ref().and_then(address),
                });
            }
            // Known since 2024.
            Err((_, said))
                if arguments.host_is_ours
                    && arguments.host.is_some()
                    && said.contains("unrecognized option")
                    && said.contains(HOST_OPTION) =>
            {
                arguments.host = None;
            }
            Err((status, said)) => {
                return Err(NetworkError::Ended {
                    program: PROGRAM,
                    status,
                    said,
                });
            }
        }
    }
}

type Failed = (std::process::ExitStatus, String);

/// Starts it and waits until it works, or has ended.
fn wait(mut command: Command, places: Places<'_>) -> Result<Result<Child, Failed>, NetworkError> {
    let failed = |source| NetworkError::Start {
        program: PROGRAM,
        source,
    };
    let said = Said::new().map_err(failed)?;
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(said.stdio().map_err(failed)?)
        .stderr(said.stdio().map_err(failed)?);
    let spawned = sys::netns::spawn_with(places.namespace, places.seen_at, &mut command);
    let mut child = spawned.map_err(failed)?;
    let since = Instant::now();
    let result = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Ok(Err((status, said.text())));
        }
        if std::fs::read(places.mark).is_ok_and(|text| text.ends_with(b"\n")) {
            break Ok(Ok(child));
        }
        if since.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            break Err(failed(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let _ = std::fs::remove_file(places.mark);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let check = |configured: &str, given: &str, expected: &str| {
            let words = |text: &str| -> Vec<String> {
                text.split_whitespace().map(str::to_owned).collect()
            };
            let found = Arguments::new(&words(configured), &words(given));
            let host = found.host.as_deref().unwrap_or_default();
            let text = format!(
                "{} | {} | {host} {}",
                found.words.join(" "),
                found.resolvers.join(" "),
                found.host_is_ours
            );
            assert_eq!(text, expected);
        };
        check(
            "",
            "",
            "--config-net --dns-forward 169.254.1.1 -t none -u none -T none -U none --no-map-gw --quiet \
             | 169.254.1.1 | 169.254.1.2 true",
        );
        check(
            "-4 --map-gw",
            "-t 8080 --tcp-ns 9 --dns-forward 1.2.3.4",
            "--config-net -4 -t 8080 --tcp-ns 9 --dns-forward 1.2.3.4 -u none -U none --quiet \
             | 1.2.3.4 | 169.254.1.2 true",
        );
        check(
            "--map-guest-addr 10.0.0.9",
            "",
            "--config-net --map-guest-addr 10.0.0.9 --dns-forward 169.254.1.1 -t none -u none -T none -U none \
             --no-map-gw --quiet | 169.254.1.1 | 10.0.0.9 false",
        );
    }
}
