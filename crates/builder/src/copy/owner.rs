//! `--chown` values: `U`, `U:`, `U:G`, `:G`, with numbers or names.
//!
//! Names are looked up only when the copy happens, in the root that is built: what is cached
//! depends on the words, and the root is covered by the key of the step before.

use std::str::FromStr;

use super::CopyError;

/// A parsed `--chown` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chown {
    /// Numbers: known without a root.
    Ids {
        /// User in the container.
        uid: u32,
        /// Group in the container.
        gid: u32,
    },
    /// At least one name, as written.
    Named(String),
}

impl FromStr for Chown {
    type Err = CopyError;

    fn from_str(text: &str) -> Result<Self, CopyError> {
        if text.is_empty() {
            return Err(CopyError::EmptyChown);
        }
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, (!group.is_empty()).then_some(group)),
            None => (text, None),
        };
        let uid = if user.is_empty() {
            Some(0)
        } else {
            user.parse().ok()
        };
        let gid = match group {
            Some(group) => group.parse().ok(),
            None => uid,
        };
        Ok(match (uid, gid) {
            (Some(uid), Some(gid)) => Self::Ids { uid, gid },
            _ => Self::Named(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_root() {
        let ids = |uid, gid| Chown::Ids { uid, gid };
        for (text, expected) in [
            ("7", ids(7, 7)),
            ("7:", ids(7, 7)),
            ("7:8", ids(7, 8)),
            (":8", ids(0, 8)),
            ("www", Chown::Named("www".into())),
            ("7:www", Chown::Named("7:www".into())),
            ("4294967296", Chown::Named("4294967296".into())),
        ] {
            assert_eq!(text.parse::<Chown>().unwrap(), expected, "{text}");
        }
        assert!("".parse::<Chown>().is_err());
    }
}
