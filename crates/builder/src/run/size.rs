//! Sizes in bytes as the flags of Buildah have them: `64m`, `1.5 GiB`, `512`.

/// A size that cannot be read, in the words that scripts match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It has no number, or one below zero.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// What comes before the unit is no number.
    #[error("strconv.ParseFloat: parsing {0:?}: invalid syntax")]
    Number(String),
    /// The unit is not known.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
    /// It is larger than what the kernel counts in.
    #[error("size too large: '{0}'")]
    TooLarge(String),
}

/// Parses a size in bytes such as `65536k`, `64 MB` or `1.5g`.
///
/// # Errors
/// When it is no number with an optional unit, or too large.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let Some(last) = text.rfind(|letter: char| letter.is_ascii_digit() || ". ".contains(letter))
    else {
        return Err(SizeError::Size(text.to_owned()));
    };
    let (number, unit) = text.split_at(last + 1);
    // One blank may stand before the unit.
    let number = number.strip_suffix(' ').unwrap_or(number);
    let size: f64 = number
        .parse()
        .map_err(|_| SizeError::Number(number.to_owned()))?;
    if size < 0.0 || !size.is_finite() {
        return Err(SizeError::Size(text.to_owned()));
    }
    let bytes = size * multiplier(unit)?;
    // The largest number of bytes is that of a signed word, as in the kernel's files.
    if bytes >= i64::MAX as f64 {
        return Err(SizeError::TooLarge(text.to_owned()));
    }
    Ok(bytes as u64)
}

fn multiplier(unit: &str) -> Result<f64, SizeError> {
    let lower = unit.to_lowercase();
    let shift = match lower.chars().next() {
        None => return Ok(1.0),
        Some('b') if lower.len() == 1 => return Ok(1.0),
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        Some('t') => 40,
        Some('p') => 50,
        Some(_) => return Err(SizeError::Suffix(lower)),
    };
    match &lower[1..] {
        "" | "b" | "ib" => Ok((1_u64 << shift) as f64),
        _ => Err(SizeError::Suffix(lower)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let check = |text: &str, expected: Result<u64, &str>| {
            let found = parse_size(text).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("65536k", Ok(64 << 20));
        check("64m", Ok(64 << 20));
        check("64 MB", Ok(64 << 20));
        check("1.5g", Ok(3 << 29));
        check("1GiB", Ok(1 << 30));
        check("512", Ok(512));
        check("10b", Ok(10));
        check("0", Ok(0));
        check("", Err("invalid size: ''"));
        check("x", Err("invalid size: 'x'"));
        check("-1", Err("invalid size: '-1'"));
        check("-5m", Err("invalid size: '-5m'"));
        check("5q", Err("invalid suffix: 'q'"));
        check("5bb", Err("invalid suffix: 'bb'"));
        check("5mm", Err("invalid suffix: 'mm'"));
        check(
            "1.2.3",
            Err("strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"),
        );
        check("99999999999999p", Err("size too large: '99999999999999p'"));
    }
}
