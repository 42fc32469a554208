//! What an error enumerates: mirrors, formats, platforms.

use std::fmt;

use model::error::in_one_line;
use model::{Platform, Reference};

use super::TransferError;

/// What a mirror said.
#[derive(Debug)]
pub struct MirrorFailure {
    /// The name at the mirror.
    pub name: Reference,
    /// Its words.
    pub error: TransferError,
}

/// What all mirrors said.
#[derive(Debug)]
pub struct MirrorFailures(pub Vec<MirrorFailure>);

impl fmt::Display for MirrorFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, failure) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "[{}: {}]", failure.name, in_one_line(&failure.error))?;
        }
        Ok(())
    }
}

/// A format that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// The manifest's type.
    pub manifest: &'static str,
    /// What became of it.
    pub error: TransferError,
}

/// All formats that were tried.
#[derive(Debug)]
pub struct Attempts(pub Vec<Attempt>);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, attempt) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}({})", attempt.manifest, in_one_line(&attempt.error))?;
        }
        Ok(())
    }
}

/// The platforms of a list, for the message that the wanted one is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers(pub Vec<Platform>);

impl fmt::Display for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it names no platforms");
        }
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "it has images for {}", names.join(", "))
    }
}

impl std::error::Error for Offers {}
