//! The user's terminal in raw mode, and back.

use std::io::{Stdin, Stdout};
use std::os::fd::AsFd as _;

use runtime::Output;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Standard input and output as the two sides of a process's terminal. A terminal of the user is in raw
/// mode, and as before when this is dropped.
pub struct Terminal {
    before: Option<Termios>,
    input: Stdin,
    output: Stdout,
    size: (u16, u16),
}

impl Terminal {
    /// Switches to raw mode. Where standard input is no terminal, it is passed on as it comes.
    pub fn raw() -> anyhow::Result<Self> {
        let mut terminal = Self {
            before: None,
            input: std::io::stdin(),
            output: std::io::stdout(),
            size: (0, 0),
        };
        let before = match tcgetattr(&terminal.input) {
            Ok(before) => before,
            Err(Errno::NOTTY | Errno::BADF | Errno::INVAL) => return Ok(terminal),
            Err(errno) => return Err(errno.into()),
        };
        let size = tcgetwinsize(&terminal.input)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal.input, OptionalActions::Now, &raw)?;
        terminal.before = Some(before);
        terminal.size = (size.ws_row, size.ws_col);
        Ok(terminal)
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
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.input, OptionalActions::Now, before);
        }
    }
}
