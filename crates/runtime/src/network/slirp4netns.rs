//! A connection by slirp4netns(1): a small network of its own behind the host.
//!
//! It is told what Buildah tells it. It ends when its standard input does, so also when this process
//! is killed.

use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use super::definition::Range;
use super::said::Said;
use super::{NetworkError, Settings};

/// Name of the program.
pub(super) const PROGRAM: &str = "slirp4netns";

const DEFAULT_RANGE: &str = "10.0.2.0/24";
/// Places in the range.
const NAME_SERVER: u128 = 3;
const CONTAINER: u128 = 100;
/// Largest packets, unless asked otherwise.
const MTU: u32 = 65520;
const SMALLEST_MTU: u32 = 68;

/// A slirp4netns that works.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) address: IpAddr,
    pub(super) resolver: IpAddr,
    pub(super) ipv6: bool,
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Nobody knows it.
    #[error("unknown option for slirp4netns: {0:?}")]
    Unknown(String),
    /// Its value cannot be one.
    #[error("invalid value of {name} for slirp4netns: {value:?}")]
    Value {
        /// The option.
        name: String,
        /// Its value.
        value: String,
    },
    /// An address of IPv6 without IPv6.
    #[error("enable_ipv6=true is required for outbound_addr6")]
    NeedsIpv6,
}

/// What the options say.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    range: Range,
    range_given: bool,
    host_loopback: bool,
    ipv6: bool,
    mtu: u32,
    outbound: Option<String>,
    outbound6: Option<String>,
}

impl Options {
    fn parse(words: impl Iterator<Item = impl AsRef<str>>) -> Result<Self, OptionError> {
        let default = DEFAULT_RANGE.parse().map_err(|_| OptionError::NeedsIpv6)?;
        let mut options = Self {
            range: default,
            range_given: false,
            host_loopback: false,
            ipv6: true,
            mtu: MTU,
            outbound: None,
            outbound6: None,
        };
        for word in words {
            let word = word.as_ref();
            let unknown = || OptionError::Unknown(word.to_owned());
            let (name, value) = word.split_once('=').ok_or_else(unknown)?;
            let bad = || OptionError::Value {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            let yes = || match value {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(bad()),
            };
            match name {
                "cidr" => {
                    let range: Range = value.parse().map_err(|_| bad())?;
                    if !range.nth(0).is_ipv4() {
                        return Err(bad());
                    }
                    (options.range, options.range_given) = (range, true);
                }
                // Ports are not published by a build.
                "port_handler" if matches!(value, "slirp4netns" | "rootlesskit") => {}
                "port_handler" => return Err(bad()),
                "allow_host_loopback" => options.host_loopback = yes()?,
                "enable_ipv6" => options.ipv6 = yes()?,
                "outbound_addr" => options.outbound = Some(value.to_owned()),
                "outbound_addr6" => options.outbound6 = Some(value.to_owned()),
                "mtu" => {
                    let mtu = value.parse().ok().filter(|mtu| *mtu >= SMALLEST_MTU);
                    options.mtu = mtu.ok_or_else(bad)?;
                }
                _ => return Err(unknown()),
            }
        }
        if options.outbound6.is_some() && !options.ipv6 {
            return Err(OptionError::NeedsIpv6);
        }
        Ok(options)
    }

    fn arguments(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.host_loopback {
            words.push("--disable-host-loopback".to_owned());
        }
        words.push(format!("--mtu={}", self.mtu));
        words.push("--enable-sandbox".to_owned());
        words.push("--enable-seccomp".to_owned());
        if self.range_given {
            words.push(format!("--cidr={}", self.range));
        }
        if self.ipv6 {
            words.push("--enable-ipv6".to_owned());
        }
        if let Some(address) = &self.outbound {
            words.push(format!("--outbound-addr={address}"));
        }
        if let Some(address) = &self.outbound6 {
            words.push(format!("--outbound-addr6={address}"));
        }
        words
    }
}

/// Connects `namespace`, which is the path of a namespace file.
pub(super) fn start(
    settings: &Settings,
    options: &[String],
    namespace: &Path,
) -> Result<Started, NetworkError> {
    let program = match &settings.slirp4netns {
        Some(path) => path.clone(),
        None => settings
            .program(PROGRAM)
            .ok_or(NetworkError::NoProgram { program: PROGRAM })?,
    };
    let options = Options::parse(settings.slirp4netns_options.iter().chain(options))?;
    let failed = |source| NetworkError::Start {
        program: PROGRAM,
        source,
    };
    let mut command = Command::new(program);
    command.args(options.arguments());
    let said = Said::new().map_err(failed)?;
    let mut child = spawn(command, namespace, &said).map_err(failed)?;
    match child {
        Ready::Yes(child) => Ok(Started {
            child,
            address: options.range.nth(CONTAINER),
            resolver: options.range.nth(NAME_SERVER),
            ipv6: options.ipv6,
        }),
        Ready::No(ref mut child) => {
            let status = child.wait().map_err(failed)?;
            Err(NetworkError::Ended {
                program: PROGRAM,
                status,
                said: said.text(),
            })
        }
    }
}

enum Ready {
    Yes(Child),
    No(Child),
}

/// Starts it and waits until it says that it works, or cannot say anything any more.
fn spawn(mut command: Command, namespace: &Path, said: &Said) -> io::Result<Ready> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::fcntl_setfd(&writer, FdFlags::empty())?;
    let ready = writer.as_raw_fd().to_string();
    command
        .args(["-c", "-r", &ready, "-e", "0", "--netns-type=path"])
        .arg(namespace)
        .arg("tap0")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(said.stdio()?)
        .stderr(said.stdio()?);
    let child = command.spawn();
    drop(writer);
    let child = child?;
    let mut word = [0];
    let count = std::fs::File::from(reader).read(&mut word)?;
    Ok(if count == 0 {
        Ready::No(child)
    } else {
        Ready::Yes(child)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let check = |text: &str, expected: &str| {
            let words = text.split(',').filter(|word| !word.is_empty());
            let found = match Options::parse(words) {
                Ok(options) => {
                    let address = options.range.nth(CONTAINER);
                    format!("{} | {address}", options.arguments().join(" "))
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{text}");
        };
        check(
            "",
            "--disable-host-loopback --mtu=65520 --enable-sandbox --enable-seccomp --enable-ipv6 | 10.0.2.100",
        );
        check(
            "mtu=1500,cidr=10.9.0.0/16,enable_ipv6=false,allow_host_loopback=true,port_handler=rootlesskit",
            "--mtu=1500 --enable-sandbox --enable-seccomp --cidr=10.9.0.0/16 | 10.9.0.100",
        );
        check("foo=1", "unknown option for slirp4netns: \"foo=1\"");
        check("mtu", "unknown option for slirp4netns: \"mtu\"");
        check("mtu=1", "invalid value of mtu for slirp4netns: \"1\"");
        check(
            "cidr=fd00::/64",
            "invalid value of cidr for slirp4netns: \"fd00::/64\"",
        );
        check(
            "enable_ipv6=false,outbound_addr6=::1",
            "enable_ipv6=true is required for outbound_addr6",
        );
    }
}
