//! How processes are kept apart from the host, in Buildah's words.
//!
//! The words name ways of Buildah to start a process. Here one launcher serves all of them, with
//! whatever the kernel allows: what is left of the words is which wishes go together, what a
//! container's record says, and how errors begin.

use std::str::FromStr;

/// How processes are kept apart from the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// In namespaces of their own, as root.
    #[default]
    Oci,
    /// With the fewest rights, in the host's network.
    Chroot,
    /// In namespaces of their own, as root of a user namespace.
    Rootless,
}

/// A word that names no isolation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized isolation type {0:?}")]
pub struct UnknownIsolation(pub String);

impl FromStr for Isolation {
    type Err = UnknownIsolation;

    /// Takes a word in any case.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.to_ascii_lowercase().as_str() {
            "oci" | "default" => Ok(Self::Oci),
            "chroot" => Ok(Self::Chroot),
            "rootless" => Ok(Self::Rootless),
            _ => Err(UnknownIsolation(word.to_owned())),
        }
    }
}

impl Isolation {
    /// Returns its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Chroot => "chroot",
            Self::Rootless => "rootless",
        }
    }

    /// Returns its number in a container's record (`define.Isolation` of Buildah).
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Oci => 1,
            Self::Chroot => 2,
            Self::Rootless => 3,
        }
    }

    /// Reads a record's number; what is none of the others is the first, as with Buildah.
    #[must_use]
    pub fn from_number(number: Option<i64>) -> Self {
        match number {
            Some(2) => Self::Chroot,
            Some(3) => Self::Rootless,
            _ => Self::Oci,
        }
    }

    /// Says whether Buildah would ask a runtime for the process, which is what its errors begin with.
    #[must_use]
    pub fn has_runtime(self) -> bool {
        self != Self::Chroot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        for (word, expected) in [
            ("oci", Some(Isolation::Oci)),
            ("default", Some(Isolation::Oci)),
            ("Chroot", Some(Isolation::Chroot)),
            ("rootless", Some(Isolation::Rootless)),
            ("vm", None),
            ("", None),
        ] {
            assert_eq!(word.parse().ok(), expected, "{word}");
        }
        for isolation in [Isolation::Oci, Isolation::Chroot, Isolation::Rootless] {
            assert_eq!(Isolation::from_number(Some(isolation.number())), isolation);
            assert_eq!(isolation.name().parse(), Ok(isolation));
        }
        assert_eq!(Isolation::from_number(None), Isolation::Oci);
    }
}
