//! Which known key a mistaken one was probably meant to be.

use crate::document::Setting;
use crate::origin::{Place, Warning};

/// Most edits between an unknown key and the one that was probably meant.
const MAX_EDITS: usize = 3;

/// Returns the warning about a key that nobody knows, with the nearest of those that are.
pub(crate) fn unknown(setting: &Setting, known: impl Iterator<Item = String>) -> Warning {
    let place = setting.value.place.clone();
    unknown_key(&setting.key, &setting.spelled, place, known)
}

/// As [`unknown`], for a key of a file that is no TOML.
pub(crate) fn unknown_key(
    key: &str,
    spelled: &str,
    place: Place,
    known: impl Iterator<Item = String>,
) -> Warning {
    let hint = match nearest(key, known) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => String::new(),
    };
    Warning {
        place,
        text: format!("unknown setting `{spelled}` is ignored{hint}"),
    }
}

fn nearest(key: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|known| (edits(key, &known), known))
        .min()
        // A key half of which would be changed was not meant.
        .filter(|(distance, known)| *distance <= MAX_EDITS && distance * 2 < known.len())
        .map(|(_, known)| known)
}

/// Counts the insertions, deletions and replacements between two words.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_measured() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a, b), expected, "{a} {b}");
            assert_eq!(edits(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let known = || ["insecure", "prefix", "tz"].map(str::to_owned).into_iter();
        assert_eq!(nearest("insecur", known()).as_deref(), Some("insecure"));
        assert_eq!(nearest("blocked", known()), None);
        assert_eq!(nearest("xy", known()), None);
    }
}
