//! How long to wait before a request is made again, and whether it is.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::Failure;
use crate::options::RequestRetry;

/// The first pause after a reply 429 that does not say how long to wait.
const RATE_FIRST: Duration = Duration::from_secs(2);
/// The longest pause after a reply 429.
const RATE_LONGEST: Duration = Duration::from_secs(60);

/// The further attempts that one request still has.
pub(crate) struct Pauses {
    policy: RequestRetry,
    cuts: u32,
    statuses: u32,
}

impl Pauses {
    pub fn new(policy: RequestRetry) -> Self {
        Self {
            policy,
            cuts: 0,
            statuses: 0,
        }
    }

    /// Returns how long to wait before the next attempt after a cut, or nothing when there is to be none.
    pub fn after(&mut self, failure: &Failure) -> Option<Duration> {
        let Failure::Wire(wire) = failure else {
            return None;
        };
        if !wire.is_cut() || self.cuts >= self.policy.after_cut {
            return None;
        }
        self.cuts += 1;
        Some(self.next())
    }

    /// The same after a status.
    pub fn after_status(&mut self, status: u16) -> Option<Duration> {
        if !matches!(status, 502..=504) || self.statuses >= self.policy.after_status {
            return None;
        }
        self.statuses += 1;
        Some(self.next())
    }

    fn next(&self) -> Duration {
        let doublings = (self.cuts + self.statuses).saturating_sub(1).min(16);
        let pause = self.policy.first_delay.saturating_mul(1 << doublings);
        with_jitter(pause.min(self.policy.max_delay))
    }
}

/// Adds up to a tenth, so that many clients do not come back at the same moment.
pub(crate) fn with_jitter(pause: Duration) -> Duration {
    // The keys of a fresh hasher are the standard library's only source of chance.
    let chance = RandomState::new().hash_one(0u8) % 1000;
    pause + pause / 10 * u32::try_from(chance).unwrap_or(0) / 1000
}

/// Returns how long a reply 429 wants us to wait: as it says, in seconds or until a date (by its own clock), otherwise
/// two seconds, doubling with every earlier reply of that kind. Never longer than a minute.
pub(crate) fn retry_after(headers: &HeaderMap, earlier: u32) -> Duration {
    let text = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let said = text.map(str::trim).and_then(|text| {
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let now = headers
            .get(DATE)
            .and_then(|value| http_date(value.to_str().ok()?))?;
        let until = http_date(text)?;
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    });
    let usual = || RATE_FIRST.saturating_mul(1 << earlier.min(16));
    said.unwrap_or_else(usual).min(RATE_LONGEST)
}

/// Reads a date of HTTP (RFC 9110, clause 5.6.7), which is one of mail in Greenwich time.
pub(crate) fn http_date(text: &str) -> Option<jiff::Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_after_429_is_as_told() {
        let check = |after: &str, date: &str, earlier: u32, expected: u64| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(RETRY_AFTER, after), (DATE, date)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(
                retry_after(&headers, earlier).as_secs(),
                expected,
                "{after:?} {date:?} {earlier}"
            );
        };
        check("1", "", 0, 1);
        check(" 7 ", "", 3, 7);
        check("0", "", 0, 0);
        check("3600", "", 0, 60);
        check("", "", 0, 2);
        check("", "", 1, 4);
        check("", "", 3, 16);
        check("", "", 31, 60);
        check("soon", "", 0, 2);
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        check("Wed, 21 Oct 2026 07:28:05 GMT", date, 0, 5);
        check("Wed, 21 Oct 2026 07:27:05 GMT", date, 0, 0);
        check("Wed, 21 Oct 2026 07:28:05 GMT", "", 0, 2);
    }

    #[test]
    fn pauses_grow_and_end() {
        let policy = RequestRetry {
            after_cut: 3,
            after_status: 1,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(300),
        };
        let cut = || Failure::wire(crate::wire::WireError::eof("GET", "http://example.com/"));
        let mut pauses = Pauses::new(policy);
        for expected in [100, 200, 300] {
            let pause = pauses.after(&cut()).unwrap().as_millis();
            assert!((expected..=expected * 11 / 10).contains(&pause), "{pause}");
        }
        assert_eq!(pauses.after(&cut()), None);
        assert_eq!(pauses.after_status(500), None);
        assert!(pauses.after_status(503).is_some());
        assert_eq!(pauses.after_status(503), None);
        assert_eq!(Pauses::new(policy).after(&Failure::NoRealm), None);
    }
}
