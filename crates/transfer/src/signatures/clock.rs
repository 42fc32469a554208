//! What time it is, for what is signed and for what a signature must hold at.

use std::time::{SystemTime, UNIX_EPOCH};

/// The clock is before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock is before 1970")]
pub struct ClockError;

/// The time, in seconds since the beginning of 1970.
pub(super) fn now() -> Result<i64, ClockError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| ClockError)?;
    i64::try_from(since.as_secs()).map_err(|_| ClockError)
}
