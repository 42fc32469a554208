//! Durations as Go writes them: `1h30m`, `1.5s`, `-300ms`.

use std::fmt;

/// A length of time in nanoseconds, as Go's `time.Duration` holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

/// A text that is not a duration; reads as Go's error does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// No number, no digits, or too large.
    Invalid(String),
    /// A number without a unit.
    MissingUnit(String),
    /// A unit that does not exist.
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DurationError::Invalid(text) => write!(f, "time: invalid duration {text:?}"),
            DurationError::MissingUnit(text) => {
                write!(f, "time: missing unit in duration {text:?}")
            }
            DurationError::UnknownUnit { unit, text } => {
                write!(f, "time: unknown unit {unit:?} in duration {text:?}")
            }
        }
    }
}

impl std::error::Error for DurationError {}

impl GoDuration {
    /// Reads a text as Go's `time.ParseDuration` does: a sign, then numbers with fractions
    /// and a unit each (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`); `0` needs no unit.
    ///
    /// # Errors
    /// Any other text, and durations beyond 2⁶³ nanoseconds.
    pub fn parse(text: &str) -> Result<GoDuration, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let whole = take_digits(&mut rest);
            let mut fraction = "";
            if let Some(behind) = rest.strip_prefix('.') {
                rest = behind;
                fraction = take_digits(&mut rest);
            }
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let end = rest
                .find(|c: char| c == '.' || c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (unit, behind) = rest.split_at(end);
            rest = behind;
            let scale = unit_in_ns(unit).ok_or_else(|| {
                if unit.is_empty() {
                    DurationError::MissingUnit(text.to_owned())
                } else {
                    DurationError::UnknownUnit {
                        unit: unit.to_owned(),
                        text: text.to_owned(),
                    }
                }
            })?;
            let part = scaled(whole, fraction, scale).ok_or_else(invalid)?;
            total += part;
            if total > i128::from(i64::MAX) + i128::from(negative) {
                return Err(invalid());
            }
        }
        let total = if negative { -total } else { total };
        i64::try_from(total).map(GoDuration).map_err(|_| invalid())
    }
}

fn take_digits<'a>(rest: &mut &'a str) -> &'a str {
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, behind) = rest.split_at(count);
    *rest = behind;
    digits
}

fn unit_in_ns(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal number; digits that are too fine to count are dropped.
fn scaled(whole: &str, fraction: &str, scale: i64) -> Option<i128> {
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = i128::from(whole) * i128::from(scale);
    let digits = &fraction[..fraction.len().min(18)];
    if !digits.is_empty() {
        let value: i128 = digits.parse().ok()?;
        let power = u32::try_from(digits.len()).ok()?;
        total += value * i128::from(scale) / 10_i128.pow(power);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        let check = |text: &str, expected: Result<i64, &str>| {
            let found = GoDuration::parse(text)
                .map(|d| d.0)
                .map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("0", Ok(0));
        check("-0", Ok(0));
        check("5s", Ok(5_000_000_000));
        check("+1h30m", Ok(5_400_000_000_000));
        check("1.5s", Ok(1_500_000_000));
        check(".5s", Ok(500_000_000));
        check("1.s", Ok(1_000_000_000));
        check("-300ms", Ok(-300_000_000));
        check("1µs2us3ns", Ok(3_003));
        check("9223372036854775807ns", Ok(i64::MAX));
        check(
            "-9223372036854775808ns",
            Err("time: invalid duration \"-9223372036854775808ns\""),
        );
        check(
            "9223372036854775808ns",
            Err("time: invalid duration \"9223372036854775808ns\""),
        );
        check("", Err("time: invalid duration \"\""));
        check("foo", Err("time: invalid duration \"foo\""));
        check(".s", Err("time: invalid duration \".s\""));
        check("5", Err("time: missing unit in duration \"5\""));
        check("5x", Err("time: unknown unit \"x\" in duration \"5x\""));
        check("1d2h", Err("time: unknown unit \"d\" in duration \"1d2h\""));
    }
}
