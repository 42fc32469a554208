//! Ignore files: which paths of a build context do not exist for `COPY` and `ADD`.
//!
//! The rules are those of moby's pattern matcher: patterns are anchored at the root of the
//! context, the last line that matches a path or one of its parents decides, `!` brings
//! back. Which file is read and where it lies is the caller's affair.

use std::fmt;

use crate::glob::{Class, PatternError};

/// A line that is not a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoreError {
    /// `!` with nothing behind it.
    LoneException {
        /// The line, from 1.
        line: u32,
    },
    /// A malformed pattern.
    Pattern {
        /// The line, from 1.
        line: u32,
        /// What is wrong.
        source: PatternError,
    },
}

impl fmt::Display for IgnoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IgnoreError::LoneException { .. } => f.write_str("illegal exclusion pattern: \"!\""),
            IgnoreError::Pattern { line, source } => {
                write!(f, "line {line}: pattern {:?}", source.pattern())
            }
        }
    }
}

impl std::error::Error for IgnoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IgnoreError::LoneException { .. } => None,
            IgnoreError::Pattern { source, .. } => Some(source),
        }
    }
}

/// Whether a match takes a path away or brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Exclude,
    Keep,
}

/// One line of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreRule {
    line: u32,
    text: String,
    effect: Effect,
    pattern: Pattern,
}

impl IgnoreRule {
    /// Returns the line it stands in, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the cleaned pattern, without the exclamation mark.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.text
    }

    /// Returns whether the line brings paths back.
    #[must_use]
    pub fn is_exception(&self) -> bool {
        self.effect == Effect::Keep
    }
}

/// What the rules say about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No line matches: the path is kept.
    Unmatched,
    /// This line brings the path back.
    Kept(&'a IgnoreRule),
    /// This line takes the path away.
    Excluded(&'a IgnoreRule),
}

impl Verdict<'_> {
    /// Returns whether the path is taken away.
    #[must_use]
    pub fn is_excluded(&self) -> bool {
        matches!(self, Verdict::Excluded(_))
    }
}

/// The rules of one ignore file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    rules: Vec<IgnoreRule>,
}

impl IgnoreRules {
    /// Reads the content of an ignore file.
    ///
    /// # Errors
    /// The first line that is not a rule.
    pub fn parse(content: &[u8]) -> Result<IgnoreRules, IgnoreError> {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let content = String::from_utf8_lossy(content);
        let mut rules = Vec::new();
        for (index, line) in content.split('\n').enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line_number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let line = line.trim();
            let (effect, text) = match line.strip_prefix('!') {
                Some(text) => (Effect::Keep, text.trim()),
                None => (Effect::Exclude, line),
            };
            if text.is_empty() {
                if effect == Effect::Keep {
                    return Err(IgnoreError::LoneException { line: line_number });
                }
                continue;
            }
            rules.push(IgnoreRule::new(line_number, text, effect)?);
        }
        Ok(IgnoreRules { rules })
    }

    /// Makes rules of the values of `--exclude`: each takes paths away, `!` is not special.
    ///
    /// # Errors
    /// The first malformed pattern; its line is the number of the value, from 1.
    pub fn from_excludes<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<IgnoreRules, IgnoreError> {
        let mut rules = Vec::new();
        for (index, text) in patterns.into_iter().enumerate() {
            let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
            rules.push(IgnoreRule::new(line, text.trim(), Effect::Exclude)?);
        }
        Ok(IgnoreRules { rules })
    }

    /// Returns whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[IgnoreRule] {
        &self.rules
    }

    /// Returns what happens to a path, given relative to the root of the context with `/`
    /// between its elements, and which line decides. A line that matches a parent directory
    /// matches the path too; the last that matches decides.
    ///
    /// Bytes that are not UTF-8 match wild cards only.
    #[must_use]
    pub fn verdict(&self, path: impl AsRef<[u8]>) -> Verdict<'_> {
        let path = String::from_utf8_lossy(path.as_ref());
        for rule in self.rules.iter().rev() {
            if rule.pattern.walk(&path).matched {
                return match rule.effect {
                    Effect::Keep => Verdict::Kept(rule),
                    Effect::Exclude => Verdict::Excluded(rule),
                };
            }
        }
        Verdict::Unmatched
    }

    /// Returns whether `path` is taken away.
    #[must_use]
    pub fn is_excluded(&self, path: impl AsRef<[u8]>) -> bool {
        self.verdict(path).is_excluded()
    }

    /// Returns whether an excluded directory must be walked all the same, because an
    /// exception could bring back something below it.
    #[must_use]
    pub fn may_keep_below(&self, directory: impl AsRef<[u8]>) -> bool {
        let path = String::from_utf8_lossy(directory.as_ref());
        let below = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        // Only exceptions behind the line that took the directory away can win below it.
        let decider = match self.verdict(directory.as_ref()) {
            Verdict::Excluded(rule) => Some(rule.line),
            _ => None,
        };
        self.rules.iter().any(|rule| {
            rule.effect == Effect::Keep && decider < Some(rule.line) && {
                let walk = rule.pattern.walk(&below);
                walk.matched || walk.alive
            }
        })
    }
}

impl IgnoreRule {
    fn new(line: u32, text: &str, effect: Effect) -> Result<IgnoreRule, IgnoreError> {
        let text = clean(text);
        let pattern = Pattern::parse(&text).ok_or_else(|| IgnoreError::Pattern {
            line,
            source: PatternError::new(&text),
        })?;
        Ok(IgnoreRule {
            line,
            text,
            effect,
            pattern,
        })
    }
}

/// Cleans a pattern as Go's `filepath.Clean` does a path, then drops a leading slash.
fn clean(text: &str) -> String {
    let rooted = text.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if rooted => {}
            name => names.push(name),
        }
    }
    if names.is_empty() {
        ".".to_owned()
    } else {
        names.join("/")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Run,
    Class(Class),
    /// `**/` before its first character: it may be left out together with `Inside`.
    Directories,
    /// `**/` behind its first character: ends with a slash.
    Inside,
    /// `**` at the end: anything.
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    tokens: Vec<Token>,
    /// The text, if the pattern has no wild cards.
    plain: Option<String>,
}

/// What became of a path in a pattern.
struct Walk {
    /// The path or a parent of it matches.
    matched: bool,
    /// A longer path could match.
    alive: bool,
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        // Two stars at the start without a slash mean "ends with", if text follows only.
        let suffix = text.strip_prefix("**").filter(|rest| {
            !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['*', '?', '[', ']', '\\'])
        });
        if let Some(suffix) = suffix {
            tokens.push(Token::Rest);
            tokens.extend(suffix.chars().map(Token::Literal));
            return Some(Pattern {
                tokens,
                plain: None,
            });
        }
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        Token::Rest
                    } else {
                        tokens.push(Token::Directories);
                        Token::Inside
                    }
                }
                '*' => Token::Run,
                '?' => Token::One,
                '[' => Token::Class(Class::parse(&mut chars)?),
                '\\' => Token::Literal(chars.next()?),
                c => Token::Literal(c),
            };
            tokens.push(token);
        }
        let plain = tokens.iter().map(|token| match token {
            Token::Literal(c) => Some(*c),
            _ => None,
        });
        Some(Pattern {
            plain: plain.collect(),
            tokens,
        })
    }

    /// Follows a path through the pattern; a slash at its end stands for what may be below.
    fn walk(&self, path: &str) -> Walk {
        if let Some(plain) = &self.plain {
            let matched = path.strip_prefix(plain.as_str());
            let matched = matched.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            return Walk {
                matched,
                alive: plain.starts_with(path),
            };
        }
        let mut states = vec![false; self.tokens.len() + 1];
        states[0] = true;
        self.skip(&mut states);
        for c in path.chars() {
            if c == '/' && states[self.tokens.len()] {
                return Walk {
                    matched: true,
                    alive: true,
                };
            }
            let mut next = vec![false; states.len()];
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| states[*at]) {
                match token {
                    Token::Literal(literal) => next[at + 1] |= *literal == c,
                    Token::One => next[at + 1] |= c != '/',
                    Token::Class(class) => next[at + 1] |= class.contains(c),
                    Token::Run => next[at] |= c != '/',
                    Token::Rest => next[at] = true,
                    Token::Directories => {}
                    Token::Inside => {
                        next[at] = true;
                        next[at + 1] |= c == '/';
                    }
                }
            }
            self.skip(&mut next);
            if !next.contains(&true) {
                return Walk {
                    matched: false,
                    alive: false,
                };
            }
            states = next;
        }
        let matched = states[self.tokens.len()];
        Walk {
            matched,
            alive: states[..self.tokens.len()].contains(&true),
        }
    }

    /// Adds the positions that are reached without a character.
    fn skip(&self, states: &mut [bool]) {
        for at in 0..self.tokens.len() {
            if !states[at] {
                continue;
            }
            match self.tokens[at] {
                Token::Run | Token::Rest => states[at + 1] = true,
                Token::Directories => {
                    states[at + 1] = true;
                    states[at + 2] = true;
                }
                _ => {}
            }
        }
    }
}
