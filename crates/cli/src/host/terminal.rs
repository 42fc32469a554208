//! The user's terminal in raw mode, and back.

use std::io::{Stdin, Stdout};
use std::os::fd::AsFd as _;

use runtime::Output;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The terminal of standard input in raw mode; as before when dropped.
pub struct Terminal {
    before: Termios,
    input: Stdin,
    output: Stdout,
    size: (u16, u16),
}

impl Terminal {
    /// Switches to raw mode; fails when standard input is no terminal.
    pub fn raw() -> anyhow::Result<Self> {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        let before = tcgetattr(&input)
            .map_err(|_| anyhow::anyhow!("--terminal: standard input is not a terminal"))?;
        let size = tcgetwinsize(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        Ok(Self {
            before,
            input,
            output,
            size: (size.ws_row, size.ws_col),
        })
    }

    /// What the process is connected with.
    pub fn output(&self) -> Output<'_> {
        Output::Terminal {
            input: Some(self.input.as_fd()),
            output: self.output.as_fd(),
            size: self.size,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.before);
    }
}
