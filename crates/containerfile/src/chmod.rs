//! Permission changes, as `--chmod` takes them: octal numbers and symbolic clauses.

use std::fmt;

/// The bits a mode may have.
const ALL_BITS: u32 = 0o7777;
/// The most clauses and actions in one text.
const MAX_ACTIONS: usize = 256;

/// What a mode is applied to; `X` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChmodTarget {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// A parsed `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// The bits that replace the old ones, up to `0o7777`.
    Octal(u32),
    /// Changes in order, at least one.
    Symbolic(Vec<ChmodAction>),
}

/// One change: `u+x` is one, `go=u` is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChmodAction {
    /// Which of user, group and others (the bits 4, 2, 1).
    who: u32,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permissions {
    /// `rwx` as three bits, and what of `X`, `s`, `t` was given.
    Letters {
        rwx: u32,
        search: bool,
        set_id: bool,
        sticky: bool,
    },
    /// The bits of user, group or others: the shift of that class.
    CopyOf(u32),
}

/// A text that is not a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChmodError(String);

impl fmt::Display for ChmodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error parsing chmod {}", self.0)
    }
}

impl std::error::Error for ChmodError {}

/// The shift and the selecting bit of user, group and others.
const CLASSES: [(char, u32, u32); 3] = [('u', 6, 4), ('g', 3, 2), ('o', 0, 1)];

impl Chmod {
    /// Reads octal digits, or a list of clauses `[ugoa]*([-+=]([rwxXst]*|[ugo]))+` with
    /// commas between them. A clause that names no one means all; there is no umask.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Chmod, ChmodError> {
        let error = || ChmodError(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let bits = u32::from_str_radix(text, 8).ok();
            let bits = bits.filter(|bits| digits && *bits <= ALL_BITS);
            return bits.map(Chmod::Octal).ok_or_else(error);
        }
        let mut actions = Vec::new();
        for clause in text.split(',') {
            clause_actions(clause, &mut actions).ok_or_else(error)?;
        }
        Ok(Chmod::Symbolic(actions))
    }

    /// Returns the mode that a file with the permission bits `mode` gets.
    #[must_use]
    pub fn apply(&self, mode: u32, target: ChmodTarget) -> u32 {
        match self {
            Chmod::Octal(bits) => *bits,
            Chmod::Symbolic(actions) => actions
                .iter()
                .fold(mode & ALL_BITS, |mode, action| action.apply(mode, target)),
        }
    }
}

fn clause_actions(clause: &str, actions: &mut Vec<ChmodAction>) -> Option<()> {
    let end = clause.find(|c| !"ugoa".contains(c))?;
    let (names, mut rest) = clause.split_at(end);
    let mut who = 0;
    for name in names.chars() {
        who |= CLASSES
            .iter()
            .find(|(class, ..)| *class == name)
            .map_or(7, |(_, _, bit)| *bit);
    }
    if who == 0 {
        who = 7;
    }
    while let Some(c) = rest.chars().next() {
        let operator = match c {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let end = rest[1..]
            .find(|c| "+-=".contains(c))
            .map_or(rest.len(), |at| at + 1);
        let permissions = permissions(&rest[1..end])?;
        rest = &rest[end..];
        actions.push(ChmodAction {
            who,
            operator,
            permissions,
        });
        if actions.len() > MAX_ACTIONS {
            return None;
        }
    }
    Some(())
}

fn permissions(letters: &str) -> Option<Permissions> {
    if let Some((_, shift, _)) = CLASSES
        .iter()
        .find(|(class, ..)| letters.strip_prefix(*class) == Some(""))
    {
        return Some(Permissions::CopyOf(*shift));
    }
    let (mut rwx, mut search, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters.chars() {
        match letter {
            'r' => rwx |= 4,
            'w' => rwx |= 2,
            'x' => rwx |= 1,
            'X' => search = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Permissions::Letters {
        rwx,
        search,
        set_id,
        sticky,
    })
}

impl ChmodAction {
    fn apply(self, mode: u32, target: ChmodTarget) -> u32 {
        let (rwx, set_id, sticky) = match self.permissions {
            Permissions::CopyOf(shift) => ((mode >> shift) & 7, false, false),
            Permissions::Letters {
                rwx,
                search,
                set_id,
                sticky,
            } => {
                let search = search && (target == ChmodTarget::Directory || mode & 0o111 != 0);
                (rwx | u32::from(search), set_id, sticky)
            }
        };
        let mut bits = 0;
        let mut covered = 0;
        for (class, shift, bit) in CLASSES {
            if self.who & bit == 0 {
                continue;
            }
            bits |= rwx << shift;
            covered |= 7 << shift;
            let own_id = match class {
                'u' => 0o4000,
                'g' => 0o2000,
                _ => 0,
            };
            covered |= own_id;
            bits |= if set_id { own_id } else { 0 };
        }
        if self.who == 7 {
            covered |= 0o1000;
        }
        bits |= if sticky { 0o1000 } else { 0 };
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !covered) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: u32, file: u32, directory: u32) {
        let chmod = Chmod::parse(text).unwrap();
        assert_eq!(
            chmod.apply(mode, ChmodTarget::File),
            file,
            "{text} on a file"
        );
        assert_eq!(
            chmod.apply(mode, ChmodTarget::Directory),
            directory,
            "{text} on a directory"
        );
    }

    #[test]
    fn modes_apply_as_chmod_does() {
        check("755", 0o644, 0o755, 0o755);
        check("0", 0o644, 0, 0);
        check("04755", 0o644, 0o4755, 0o4755);
        check("+x", 0o644, 0o755, 0o755);
        check("a+rX", 0o600, 0o644, 0o755);
        check("a+rX", 0o700, 0o755, 0o755);
        check("u=rwX,go=rX", 0o777, 0o755, 0o755);
        check("u=rwX,go=rX", 0o666, 0o644, 0o755);
        check("go-w", 0o666, 0o644, 0o644);
        check("u+s,g+s,+t", 0o755, 0o7755, 0o7755);
        check("u=", 0o4755, 0o055, 0o055);
        check("g=u", 0o740, 0o770, 0o770);
        check("u+x-w", 0o644, 0o544, 0o544);
        check("a=r", 0o7777, 0o444, 0o444);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "999", "8", "77777", "rw", "u", "u+q", "", "+x,", "u+gr", "0o755", "7 5", "-",
        ] {
            if text == "-" {
                assert!(Chmod::parse(text).is_ok());
                continue;
            }
            let message = Chmod::parse(text).unwrap_err().to_string();
            assert_eq!(message, format!("Error parsing chmod {text}"));
        }
    }
}
