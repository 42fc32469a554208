//! Sizes and ages as Buildah prints them.

/// Returns `bytes` in decimal units with three significant digits and a blank before the
/// unit: `1.99 MB`, `0 B`, `1.02 KB`, as Buildah writes it.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", significant(value, 3), UNITS[unit])
}

/// Formats like C's `%.{digits}g` for values from 0 up to 1000: no trailing zeros. A value
/// that rounds up to four digits is shown in scientific form, as Go does (`1e+03`).
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", digits.saturating_sub(magnitude));
    if text.starts_with("1000") {
        return "1e+03".to_owned();
    }
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Returns how long ago something was, given its age in whole seconds: `Less than a second
/// ago`, `2 minutes ago`.
pub fn age(seconds: i64) -> String {
    format!("{} ago", duration(seconds))
}

fn duration(seconds: i64) -> String {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24;
    let minutes = seconds / 60;
    let hours = (seconds + HOUR / 2) / HOUR;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < DAY * 14 => format!("{} days", hours / DAY),
        () if hours < DAY * 60 => format!("{} weeks", hours / DAY / 7),
        () if hours < DAY * 730 => format!("{} months", hours / DAY / 30),
        () => format!("{} years", seconds / HOUR / DAY / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (12, "12 B"),
            (999, "999 B"),
            (1000, "1 KB"),
            (1_990_000, "1.99 MB"),
            (1_200_000_000, "1.2 GB"),
            (123_456_789, "123 MB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn ages() {
        for (seconds, expected) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (150, "2 minutes ago"),
            (3600, "About an hour ago"),
            (7200, "2 hours ago"),
            (3 * 86400, "3 days ago"),
            (21 * 86400, "3 weeks ago"),
            (100 * 86400, "3 months ago"),
            (900 * 86400, "2 years ago"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
