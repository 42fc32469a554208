//! Questions to the person at the terminal.

use std::io::{self, Read as _};

use model::Secret;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Reads a line of standard input, without its end.
pub fn line() -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match byte()? {
            // As Go words it: scripts without a terminal match this.
            None if line.is_empty() => return Err(io::Error::other("EOF")),
            None | Some(b'\n') => break,
            Some(byte) => push(&mut line, byte)?,
        }
    }
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

/// Asks, and reads a line of the terminal without showing it; fails when standard input is none.
pub fn password(ask: impl FnOnce()) -> io::Result<Secret> {
    // Before the question: what is typed as soon as that is seen must not be shown.
    let silent = Silent::new();
    ask();
    let silent = silent?;
    let mut line = Vec::new();
    loop {
        match byte()? {
            None | Some(b'\r' | b'\n') => break,
            // Keys that the terminal does not handle itself in this mode.
            Some(0x03) => return Err(io::Error::other("interrupted")),
            Some(0x04) if line.is_empty() => return Err(io::Error::other("EOF")),
            Some(0x04) => break,
            Some(0x08 | 0x7f) => {
                // One character, which may be several bytes.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            Some(0x15) => line.clear(),
            Some(byte) => push(&mut line, byte)?,
        }
    }
    drop(silent);
    Ok(Secret::new(String::from_utf8_lossy(&line)))
}

fn push(line: &mut Vec<u8>, byte: u8) -> io::Result<()> {
    if line.len() == MAX_ANSWER {
        return Err(io::Error::other(format!(
            "the answer is longer than {MAX_ANSWER} bytes"
        )));
    }
    line.push(byte);
    Ok(())
}

/// One byte at a time: what follows the line is for whoever reads next.
fn byte() -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        return match io::stdin().lock().read(&mut byte) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(byte[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// A terminal that shows nothing and sends no signals, so that no end of ours leaves it so.
struct Silent {
    before: Termios,
}

impl Silent {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
