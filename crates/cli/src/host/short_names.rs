//! What names without a registry mean on this host, and the question to the user where that is not settled.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use config::AliasCache;
use model::Reference;
use transfer::{Choice, NameRules, without_tag};

use super::terminal::Terminal;
use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// The rules of this host.
pub fn rules(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<NameRules, Failure> {
    super::registries::name_rules(global, world, ui)
}

/// Where the user's choices are remembered.
#[derive(Debug, Clone)]
pub struct Memory(AliasCache);

impl Memory {
    /// The memory of this user.
    pub fn of(global: &GlobalArgs, world: &World) -> Self {
        Self(super::registries::alias_cache(global, world))
    }

    /// Remembers which repository a short name stands for.
    pub fn remember(&self, text: &str, target: &Reference) -> Result<()> {
        let bare = without_tag(text);
        self.0
            .record(bare, &target.repository())
            .with_context(|| format!("recording the short name {bare:?}"))
    }
}

/// What a name may be fetched as.
#[derive(Debug)]
pub struct Candidates {
    /// The names to try, in order.
    pub names: Vec<Reference>,
    /// The line that explains them.
    pub explanation: Option<String>,
    /// Whether the user has chosen, which is to be remembered.
    pub chosen: bool,
}

/// Resolves a name for a pull, and asks the user where the configuration wants it so.
pub fn resolve(rules: &NameRules, text: &str) -> Result<Candidates> {
    let resolved = rules.for_pull(text)?;
    let explanation = resolved.explanation;
    let names = resolved.candidates;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    match resolved.choice {
        Choice::Ask | Choice::AskOnly if terminal => Ok(Candidates {
            names: vec![choose(&names)?],
            explanation,
            chosen: true,
        }),
        Choice::AskOnly => {
            bail!("short-name resolution enforced but cannot prompt without a TTY")
        }
        Choice::Fixed | Choice::Ask => Ok(Candidates {
            names,
            explanation,
            chosen: false,
        }),
    }
}

/// What a key means in a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Up,
    Down,
    Take,
    Leave,
    Other,
}

impl Key {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            b"\r" | b"\n" => Self::Take,
            b"\x03" | b"\x04" => Self::Leave,
            b"\x1b[A" | b"\x1bOA" | b"k" | b"\x10" => Self::Up,
            b"\x1b[B" | b"\x1bOB" | b"j" | b"\x0e" => Self::Down,
            _ => Self::Other,
        }
    }
}

/// Lets the user choose on the terminal.
fn choose(names: &[Reference]) -> Result<Reference> {
    // Several images may be fetched at once; there is one user.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let raw = Terminal::raw()?;
    let mut at = 0;
    write!(std::io::stdout(), "? Please select an image: \r\n")?;
    draw(names, at)?;
    loop {
        let mut keys = [0; 8];
        let count = std::io::stdin().read(&mut keys)?;
        let key = match count {
            0 => Key::Leave,
            count => Key::of(&keys[..count]),
        };
        match key {
            Key::Up => at = at.saturating_sub(1),
            Key::Down => at = (at + 1).min(names.len() - 1),
            Key::Take => break,
            Key::Leave => {
                drop(raw);
                bail!("no image was selected");
            }
            Key::Other => continue,
        }
        write!(std::io::stdout(), "\x1b[{}A", names.len())?;
        draw(names, at)?;
    }
    drop(raw);
    Ok(names[at].clone())
}

fn draw(names: &[Reference], at: usize) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    for (index, name) in names.iter().enumerate() {
        let mark = if index == at { "\u{25b8}" } else { " " };
        write!(stdout, "\r  {mark} {name}\x1b[K\r\n")?;
    }
    stdout.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_take_and_leave() {
        for (bytes, expected) in [
            (&b"\r"[..], Key::Take),
            (b"\x1b[B", Key::Down),
            (b"k", Key::Up),
            (b"\x03", Key::Leave),
            (b"x", Key::Other),
        ] {
            assert_eq!(Key::of(bytes), expected, "{bytes:?}");
        }
    }
}
