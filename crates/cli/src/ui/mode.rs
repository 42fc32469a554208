//! The forms in which progress is told.

use std::io::IsTerminal as _;

/// The form in which progress is told: the words of `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Bars if standard error is a terminal, lines if not
    #[default]
    Auto,
    /// The lines that Buildah prints
    Plain,
    /// Bars on a terminal
    Tty,
    /// One JSON object a line, on standard error
    #[value(alias = "rawjson")]
    Json,
    /// Nothing but results, warnings and errors
    #[value(alias = "none")]
    Quiet,
}

impl Mode {
    /// Settles what `auto` means, by standard error and the value of `TERM`.
    pub fn settled(self, term: Option<&str>) -> anyhow::Result<Self> {
        self.settled_for(std::io::stderr().is_terminal(), term)
    }

    fn settled_for(self, is_terminal: bool, term: Option<&str>) -> anyhow::Result<Self> {
        match self {
            Self::Auto if is_terminal && term != Some("dumb") => Ok(Self::Tty),
            Self::Auto => Ok(Self::Plain),
            Self::Tty if !is_terminal => {
                anyhow::bail!("--progress=tty: standard error is not a terminal")
            }
            mode => Ok(mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_settled_by_the_terminal() {
        use Mode::{Auto, Json, Plain, Quiet, Tty};
        let check = |mode: Mode, is_terminal, term, expected: Option<Mode>| {
            assert_eq!(mode.settled_for(is_terminal, term).ok(), expected);
        };
        check(Auto, true, Some("xterm"), Some(Tty));
        check(Auto, true, None, Some(Tty));
        check(Auto, true, Some("dumb"), Some(Plain));
        check(Auto, false, Some("xterm"), Some(Plain));
        check(Tty, true, Some("dumb"), Some(Tty));
        check(Tty, false, None, None);
        for mode in [Plain, Json, Quiet] {
            check(mode, true, None, Some(mode));
            check(mode, false, None, Some(mode));
        }
    }
}
