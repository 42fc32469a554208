//! The patterns of `${NAME#pattern}` and its relatives.
//!
//! `*` is any run of characters, `?` one character, a backslash takes the next character
//! literally. There are no classes, and nothing is special about `/`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Run,
}

/// A pattern ready for matching.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Vec<Token>);

/// Whether the shortest or the longest match is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Shortest,
    Longest,
}

/// Where a replacement may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    First,
    All,
    Start,
    End,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Run,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().unwrap_or('\\')),
                c => Token::Literal(c),
            });
        }
        Pattern(tokens)
    }

    fn reversed(&self) -> Pattern {
        Pattern(self.0.iter().rev().copied().collect())
    }

    /// Returns how many characters from the start of `text` match.
    fn prefix(&self, text: &[char], reach: Reach) -> Option<usize> {
        // One bit per pattern position: which of them can be reached after each character.
        let mut states = vec![false; self.0.len() + 1];
        states[0] = true;
        self.skip_runs(&mut states);
        let mut found = None;
        for (length, c) in text.iter().map(Some).chain([None]).enumerate() {
            if states[self.0.len()] {
                found = Some(length);
                if reach == Reach::Shortest {
                    return found;
                }
            }
            let Some(c) = c else { break };
            let mut next = vec![false; states.len()];
            for (at, token) in self.0.iter().enumerate().filter(|(at, _)| states[*at]) {
                match token {
                    Token::Run => next[at] = true,
                    Token::One => next[at + 1] = true,
                    Token::Literal(literal) => next[at + 1] |= literal == c,
                }
            }
            self.skip_runs(&mut next);
            if !next.contains(&true) {
                break;
            }
            states = next;
        }
        found
    }

    fn skip_runs(&self, states: &mut [bool]) {
        for (at, token) in self.0.iter().enumerate() {
            if states[at] && *token == Token::Run {
                states[at + 1] = true;
            }
        }
    }

    pub fn trim_prefix(&self, value: &str, reach: Reach) -> String {
        let text: Vec<char> = value.chars().collect();
        let cut = self.prefix(&text, reach).unwrap_or(0);
        text[cut..].iter().collect()
    }

    pub fn trim_suffix(&self, value: &str, reach: Reach) -> String {
        let text: Vec<char> = value.chars().rev().collect();
        let cut = self.reversed().prefix(&text, reach).unwrap_or(0);
        text[cut..].iter().rev().collect()
    }

    pub fn replace(&self, value: &str, replacement: &str, place: Where) -> String {
        let text: Vec<char> = value.chars().collect();
        match place {
            Where::Start => match self.prefix(&text, Reach::Longest) {
                Some(cut) => replacement
                    .chars()
                    .chain(text[cut..].iter().copied())
                    .collect(),
                None => value.to_owned(),
            },
            Where::End => {
                let reversed: Vec<char> = text.iter().rev().copied().collect();
                match self.reversed().prefix(&reversed, Reach::Longest) {
                    Some(cut) => {
                        let kept = text[..text.len() - cut].iter().copied();
                        kept.chain(replacement.chars()).collect()
                    }
                    None => value.to_owned(),
                }
            }
            Where::First | Where::All => self.replace_inside(&text, replacement, place),
        }
    }

    fn replace_inside(&self, text: &[char], replacement: &str, place: Where) -> String {
        let mut out = String::new();
        let mut at = 0;
        // An empty match directly behind a match does not count.
        let mut behind_match = false;
        while at <= text.len() {
            match self.prefix(&text[at..], Reach::Longest) {
                Some(length) if length > 0 || !behind_match => {
                    out.push_str(replacement);
                    at += length;
                    if place == Where::First {
                        out.extend(&text[at..]);
                        return out;
                    }
                    behind_match = length > 0;
                    if length > 0 {
                        continue;
                    }
                }
                _ => behind_match = false,
            }
            out.extend(text.get(at));
            at += 1;
        }
        out
    }
}
