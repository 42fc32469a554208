//! The words of `EXPOSE`.
//!
//! Nothing is refused: what is not a port is stored as written and only worth a warning.

use crate::template::{ExpandError, Template};

/// Returns whether `text` is a port number or a range of them, with an optional protocol.
#[must_use]
pub fn is_port(text: &str) -> bool {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol),
        None => (text, "tcp"),
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let valid = match ports.split_once('-') {
        Some((from, to)) => matches!((number(from), number(to)), (Some(a), Some(b)) if a <= b),
        None => number(ports).is_some(),
    };
    valid && ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str())
}

/// Expands the words of one `EXPOSE` and splits the values at blanks. A port without a
/// protocol gets `/tcp`; all other text is as written.
///
/// # Errors
/// Those of [`Template::expand`].
pub fn split_ports(
    words: &[Template],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ExpandError> {
    let mut ports = Vec::new();
    for word in words {
        for port in word.expand_words(lookup)? {
            ports.push(if port.contains('/') {
                port
            } else {
                format!("{port}/tcp")
            });
        }
    }
    Ok(ports)
}
