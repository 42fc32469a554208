//! Signal names and numbers, as `STOPSIGNAL` takes them.

use std::fmt;

/// The signals of Linux on x86-64 and arm64 without their `SIG`, with all their names.
const SIGNALS: &[(&str, u8)] = &[
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
];
/// The first and last real-time signal.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;
/// How far names count up from the first real-time signal, and down from the last.
const RT_UP: u8 = 15;
const RT_DOWN: u8 = 14;

/// A text that is no signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSignal(String);

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid signal: {}", self.0)
    }
}

impl std::error::Error for UnknownSignal {}

/// Returns the number of a signal given by name, with or without `SIG` and in any case, or
/// by number.
///
/// # Errors
/// Names that do not exist; the number 0 and numbers that do not fit a byte.
pub fn signal_number(text: &str) -> Result<u8, UnknownSignal> {
    let unknown = || UnknownSignal(text.to_owned());
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(unknown);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str, most: u8| -> Option<u8> {
        if rest.is_empty() {
            return Some(0);
        }
        let plain = rest.bytes().all(|byte| byte.is_ascii_digit()) && !rest.starts_with('0');
        rest.parse().ok().filter(|count| plain && *count <= most)
    };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(RTMIN),
        (_, Some("")) => Some(RTMAX),
        (Some(rest), _) => rest
            .strip_prefix('+')
            .and_then(|n| offset(n, RT_UP))
            .map(|n| RTMIN + n),
        (_, Some(rest)) => rest
            .strip_prefix('-')
            .and_then(|n| offset(n, RT_DOWN))
            .map(|n| RTMAX - n),
        _ => None,
    };
    real_time.ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let check = |text: &str, expected: Option<u8>| {
            assert_eq!(signal_number(text).ok(), expected, "{text}");
        };
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("RTMIN", 34),
        ] {
            check(text, Some(number));
        }
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-14", Some(50));
        check("RTMAX", Some(64));
        for text in [
            "FOO", "", "0", "256", "-1", "RTMIN+16", "RTMAX-15", "RTMIN3", "SIG",
        ] {
            check(text, None);
        }
        let message = signal_number("FOO").unwrap_err().to_string();
        assert_eq!(message, "Invalid signal: FOO");
    }
}
