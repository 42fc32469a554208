//! How errors are told in one line.

use std::error::Error;

/// An error and its causes in one line, worded by [`in_go_words`]. A cause that the text ends with already is not
/// repeated.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        let told = cause.to_string();
        if !told.is_empty() && !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
    }
    in_go_words(text, error)
}

/// Words the system's errors among the causes of `error` in its `text` as Go words them: in lower case and without their
/// numbers. Scripts match these.
pub fn in_go_words(mut text: String, error: &(dyn Error + 'static)) -> String {
    let numbers =
        causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error());
    for number in numbers {
        let ours = std::io::Error::from_raw_os_error(number).to_string();
        let words = ours.split(" (os error").next().unwrap_or_default();
        let mut letters = words.chars();
        let lower: String = letters
            .next()
            .map(|first| first.to_lowercase().chain(letters).collect())
            .unwrap_or_default();
        text = text.replace(&ours, &lower);
    }
    text
}

/// The error itself and what caused it, one after the other.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Wrapped(&'static str, std::io::Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn causes_follow_in_go_words() {
        let check = |text: &'static str, number: i32, expected: &str| {
            let error = Wrapped(text, std::io::Error::from_raw_os_error(number));
            assert_eq!(in_one_line(&error), expected);
        };
        check(
            "cannot open `/x`",
            2,
            "cannot open `/x`: no such file or directory",
        );
        check("dial tcp", 111, "dial tcp: connection refused");
        check(
            "cannot open: Permission denied (os error 13)",
            13,
            "cannot open: permission denied",
        );
    }
}
