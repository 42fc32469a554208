//! Moments as Go's `time.Time` writes them in JSON: RFC 3339, up to nine fractional digits, trailing zeros cut.
//!
//! The offset of a text that we did not write is kept, since the text is part of hashed bytes. No clock is asked here.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment with the offset from UTC in which it was written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    instant: jiff::Timestamp,
    offset_seconds: i32,
}

/// Why a text or number is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The text is not RFC 3339, or names a day that does not exist.
    #[error("`{text}` is not a time as RFC 3339 has it")]
    Format {
        /// The text as given.
        text: String,
    },
    /// The moment lies outside the years 0 to 9999.
    #[error("a time {seconds} seconds from 1970 is out of range")]
    Range {
        /// Seconds since 1970-01-01T00:00:00Z.
        seconds: i64,
    },
}

impl Timestamp {
    /// The moment that Go prints for "unknown": `0001-01-01T00:00:00Z`.
    pub const GO_ZERO: Timestamp = Timestamp {
        instant: jiff::Timestamp::constant(-62_135_596_800, 0),
        offset_seconds: 0,
    };
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Timestamp = Timestamp {
        instant: jiff::Timestamp::UNIX_EPOCH,
        offset_seconds: 0,
    };

    /// Makes the moment so many seconds after 1970, in UTC.
    ///
    /// # Errors
    /// When the year would not be in 0 to 9999.
    pub fn from_unix(seconds: i64) -> Result<Self, TimestampError> {
        Self::from_unix_nanos(seconds, 0)
    }

    /// Makes the moment so many seconds and nanoseconds after 1970, in UTC.
    ///
    /// # Errors
    /// When the year would not be in 0 to 9999, or `nanoseconds` is a second or more.
    pub fn from_unix_nanos(seconds: i64, nanoseconds: u32) -> Result<Self, TimestampError> {
        let out_of_range = TimestampError::Range { seconds };
        let subsec = i32::try_from(nanoseconds)
            .ok()
            .filter(|n| *n < 1_000_000_000);
        let Some(subsec) = subsec else {
            return Err(out_of_range);
        };
        let Ok(instant) = jiff::Timestamp::new(seconds, subsec) else {
            return Err(out_of_range);
        };
        let year = Offset::UTC.to_datetime(instant).year();
        if !(0..=9999).contains(&year) {
            return Err(out_of_range);
        }
        Ok(Self {
            instant,
            offset_seconds: 0,
        })
    }

    /// Makes the moment from the system's representation, in UTC.
    ///
    /// # Errors
    /// When the year would not be in 0 to 9999.
    pub fn from_system_time(time: SystemTime) -> Result<Self, TimestampError> {
        let too_far = |_| TimestampError::Range { seconds: i64::MAX };
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => {
                let seconds = i64::try_from(after.as_secs()).map_err(too_far)?;
                Self::from_unix_nanos(seconds, after.subsec_nanos())
            }
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).map_err(too_far)?;
                match before.subsec_nanos() {
                    0 => Self::from_unix_nanos(-seconds, 0),
                    nanos => Self::from_unix_nanos(-seconds - 1, 1_000_000_000 - nanos),
                }
            }
        }
    }

    /// Returns whole seconds since 1970, rounded down.
    pub fn unix_seconds(&self) -> i64 {
        let nanos = self.instant.subsec_nanosecond();
        self.instant.as_second() - i64::from(nanos < 0)
    }

    /// Returns the nanoseconds after [`unix_seconds`](Self::unix_seconds).
    pub fn subsec_nanos(&self) -> u32 {
        let nanos = self.instant.subsec_nanosecond();
        let positive = if nanos < 0 {
            nanos + 1_000_000_000
        } else {
            nanos
        };
        u32::try_from(positive).expect("between 0 and a second")
    }

    /// Returns whether this is Go's "unknown".
    pub fn is_go_zero(&self) -> bool {
        self.instant == Self::GO_ZERO.instant
    }

    /// Parses RFC 3339 as Go's `time.Time.UnmarshalJSON` does.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        parse(text).ok_or_else(|| TimestampError::Format {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i32> {
        let digits = bytes.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| {
            digits
                .iter()
                .fold(0, |value, digit| value * 10 + i32::from(digit - b'0'))
        })
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators
        .iter()
        .any(|(at, byte)| bytes.get(*at) != Some(byte))
    {
        return None;
    }
    let small = |range| i8::try_from(number(range)?).ok();
    let mut rest = bytes.get(19..)?;
    let mut nanos = 0;
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        for at in 0..9 {
            nanos = nanos * 10
                + fraction
                    .get(at)
                    .filter(|_| at < digits)
                    .map_or(0, |d| i32::from(d - b'0'));
        }
        rest = &fraction[digits..];
    }
    let offset_seconds = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = bytes.len() - 5;
            let (hours, minutes) = (number(at..at + 2)?, number(at + 3..at + 5)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let year = i16::try_from(number(0..4)?).ok()?;
    let civil = DateTime::new(
        year,
        small(5..7)?,
        small(8..10)?,
        small(11..13)?,
        small(14..16)?,
        small(17..19)?,
        nanos,
    );
    let instant = Offset::from_seconds(offset_seconds)
        .ok()?
        .to_timestamp(civil.ok()?)
        .ok()?;
    Some(Timestamp {
        instant,
        offset_seconds,
    })
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = Offset::from_seconds(self.offset_seconds).expect("checked when made");
        let at = offset.to_datetime(self.instant);
        let (year, month, day) = (at.year(), at.month(), at.day());
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        let nanos = at.subsec_nanosecond();
        if nanos != 0 {
            let digits = format!("{nanos:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        match self.offset_seconds {
            0 => f.write_str("Z"),
            seconds => {
                let sign = if seconds < 0 { '-' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_and_go_cuts_zeros() {
        let check = |text: &str, expected: &str| {
            let parsed = Timestamp::parse(text).unwrap_or_else(|err| panic!("{err}"));
            assert_eq!(parsed.to_string(), expected);
        };
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        check("1970-01-01T00:00:00.500000000Z", "1970-01-01T00:00:00.5Z");
        check(
            "2026-11-21T11:35:41.574320399Z",
            "2026-11-21T11:35:41.574320399Z",
        );
        check(
            "2020-02-29T23:59:59.100+02:00",
            "2020-02-29T23:59:59.1+02:00",
        );
        check("2020-02-29T23:59:59-07:30", "2020-02-29T23:59:59-07:30");
        check("2020-02-29T23:59:59+00:00", "2020-02-29T23:59:59Z");
        check("1969-12-31T23:59:59.25Z", "1969-12-31T23:59:59.25Z");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2020",
            "2020-02-30T00:00:00Z",
            "2020-02-01T00:00:00",
            "2020-02-01 00:00:00Z",
            "2020-02-01T00:00:00.Z",
            "2020-02-01T00:00:00+24:00",
            "2020-02-01T00:00:00Zx",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_go_in_and_out() {
        let early = Timestamp::from_unix_nanos(-1, 250_000_000).unwrap();
        assert_eq!(early.to_string(), "1969-12-31T23:59:59.25Z");
        assert_eq!(
            (early.unix_seconds(), early.subsec_nanos()),
            (-1, 250_000_000)
        );
        assert_eq!(Timestamp::from_unix(0).unwrap(), Timestamp::UNIX_EPOCH);
        assert!(Timestamp::from_unix(i64::MAX).is_err());
        assert!(Timestamp::GO_ZERO.is_go_zero());
    }
}
