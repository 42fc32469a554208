//! Where a reply to a request for a part of a blob starts (RFC 9110, clause 14).

use std::ops::RangeInclusive;

use reqwest::Response;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};

use crate::error::Failure;

/// Where a reply starts within the blob.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// How many bytes of the reply are there already.
    pub skip: u64,
    /// How long the blob is.
    pub total: Option<u64>,
    /// Whether there is something to read.
    pub has_content: bool,
}

impl Start {
    /// Reads the head of a reply to a request for the blob from `offset` on.
    pub fn of(response: &Response, offset: u64) -> Result<Self, Failure> {
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let length = header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        Self::read(
            response.status().as_u16(),
            length,
            header(CONTENT_RANGE),
            offset,
        )
    }

    fn read(
        status: u16,
        length: Option<u64>,
        range: Option<&str>,
        offset: u64,
    ) -> Result<Self, Failure> {
        let wrong = || Failure::Range {
            wanted: offset,
            got: range.unwrap_or_default().to_owned(),
        };
        match status {
            // The server begins anew.
            200 => Ok(Self {
                skip: offset,
                total: length,
                has_content: true,
            }),
            206 if offset > 0 => {
                let (covered, total) =
                    parse_content_range(range.unwrap_or_default()).ok_or_else(wrong)?;
                let covered = covered.ok_or_else(wrong)?;
                let to_the_end = total.is_none_or(|total| *covered.end() < total);
                let consistent =
                    length.is_none_or(|length| length == covered.end() - covered.start() + 1);
                if *covered.start() != offset || !to_the_end || !consistent {
                    return Err(wrong());
                }
                Ok(Self {
                    skip: 0,
                    total,
                    has_content: true,
                })
            }
            // There is nothing behind what is there already.
            416 if offset > 0 => match parse_content_range(range.unwrap_or_default()) {
                Some((None, Some(total))) if total == offset => Ok(Self {
                    skip: 0,
                    total: Some(total),
                    has_content: false,
                }),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

/// Reads `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10` (RFC 9110, clause 14.4).
fn parse_content_range(text: &str) -> Option<(Option<RangeInclusive<u64>>, Option<u64>)> {
    let (range, total) = text
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split_once('/')?;
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    if range.trim() == "*" {
        return Some((None, total));
    }
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    (start <= end && end < u64::MAX).then_some((Some(start..=end), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_downloads_start_where_they_should() {
        let check =
            |status, length, range: &str, offset, expected: Option<(u64, Option<u64>, bool)>| {
                let range = (!range.is_empty()).then_some(range);
                let found = Start::read(status, length, range, offset).ok();
                let found = found.map(|start| (start.skip, start.total, start.has_content));
                assert_eq!(found, expected, "{status} {length:?} {range:?} {offset}");
            };
        check(200, Some(10), "", 0, Some((0, Some(10), true)));
        check(200, None, "", 0, Some((0, None, true)));
        check(200, Some(10), "", 4, Some((4, Some(10), true)));
        check(206, Some(6), "bytes 4-9/10", 4, Some((0, Some(10), true)));
        check(206, Some(6), "bytes 4-9/*", 4, Some((0, None, true)));
        check(206, None, "bytes  4-9/10", 4, Some((0, Some(10), true)));
        check(206, Some(6), "bytes 5-9/10", 4, None);
        check(206, Some(5), "bytes 4-9/10", 4, None);
        check(206, Some(10), "bytes 0-9/10", 4, None);
        check(206, Some(6), "bytes 4-9/8", 4, None);
        check(206, Some(6), "bytes 9-4/10", 4, None);
        check(206, Some(6), "", 4, None);
        check(206, Some(6), "items 4-9/10", 4, None);
        check(206, Some(10), "bytes 0-9/10", 0, None);
        check(206, None, "bytes 4-18446744073709551615/*", 4, None);
        check(416, Some(0), "bytes */10", 10, Some((0, Some(10), false)));
        check(416, Some(0), "bytes */10", 4, None);
        check(416, Some(0), "", 10, None);
        check(416, Some(0), "bytes */10", 0, None);
    }
}
