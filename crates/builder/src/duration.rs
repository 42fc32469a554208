//! Durations as Go writes them: `1h30m`, `5s`, `1.5ms`.

/// Why a text is no duration. The texts are those of Go's `time` package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number where one must be, or a number too large.
    #[error("time: invalid duration {text:?}")]
    Invalid {
        /// The whole text.
        text: String,
    },
    /// A number without a unit.
    #[error("time: missing unit in duration {text:?}")]
    MissingUnit {
        /// The whole text.
        text: String,
    },
    /// A unit that does not exist.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Parses a duration into nanoseconds.
///
/// # Errors
/// When the text is not a sequence of numbers with units, or does not fit into 63 bits.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid {
        text: text.to_owned(),
    };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => {
                let digits = after
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(after.len());
                after.split_at(digits)
            }
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = scale_of(unit, text)?;
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        total = whole
            .checked_mul(scale)
            .and_then(|nanos| nanos.checked_add(fraction_of(fraction, scale)))
            .and_then(|nanos| nanos.checked_add(total))
            .filter(|&nanos| nanos <= i128::from(i64::MAX))
            .ok_or_else(invalid)?;
        rest = after;
    }
    let nanos = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -nanos } else { nanos })
}

fn scale_of(unit: &str, text: &str) -> Result<i128, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => {
            return Err(DurationError::MissingUnit {
                text: text.to_owned(),
            });
        }
        _ => {
            return Err(DurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        }
    })
}

/// Digits beyond the eighteenth are less than a nanosecond of any unit.
fn fraction_of(digits: &str, scale: i128) -> i128 {
    let digits = &digits[..digits.len().min(18)];
    let value: i128 = digits.parse().unwrap_or(0);
    let count = u32::try_from(digits.len()).unwrap_or(18);
    value * scale / 10_i128.pow(count)
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(text: &str, expected: Result<i64, &str>) {
        assert_eq!(
            parse(text).map_err(|error| error.to_string()),
            expected.map_err(str::to_owned)
        );
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        check("5s", Ok(5_000_000_000));
        check("1m", Ok(60_000_000_000));
        check("1h30m", Ok(5_400_000_000_000));
        check("1.5s", Ok(1_500_000_000));
        check(".5ms", Ok(500_000));
        check("-2us", Ok(-2_000));
        check("0", Ok(0));
        check("5", Err("time: missing unit in duration \"5\""));
        check("", Err("time: invalid duration \"\""));
        check("x", Err("time: invalid duration \"x\""));
        check("5y", Err("time: unknown unit \"y\" in duration \"5y\""));
        check(
            "9999999999999h",
            Err("time: invalid duration \"9999999999999h\""),
        );
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
