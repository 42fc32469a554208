//! Path patterns of `COPY` and `ADD` sources: Go's `path/filepath.Match` for each path
//! element, and `**` for any number of directories.
//!
//! Looks at text only; walking a tree is up to the caller, who can prune with
//! [`Glob::may_match_below`].

use std::fmt;

/// A malformed pattern; reads as Go's error does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    pattern: String,
}

impl PatternError {
    pub(crate) fn new(pattern: &str) -> PatternError {
        PatternError {
            pattern: pattern.to_owned(),
        }
    }

    /// Returns the pattern.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("syntax error in pattern")
    }
}

impl std::error::Error for PatternError {}

/// The characters between brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    /// Reads what follows an opening bracket, the closing one included.
    pub fn parse(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Class> {
        let negated = chars.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        loop {
            if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
                return Some(Class { negated, ranges });
            }
            let low = Class::member(chars)?;
            let high = if chars.next_if_eq(&'-').is_some() {
                Class::member(chars)?
            } else {
                low
            };
            ranges.push((low, high));
        }
    }

    fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
        match chars.next()? {
            '-' | ']' => None,
            '\\' => chars.next(),
            c => Some(c),
        }
    }

    pub fn contains(&self, c: char) -> bool {
        self.ranges
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&c))
            != self.negated
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Run,
    Class(Class),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    /// `**`: no directory, or any number of them.
    Depth,
    Name(Vec<Token>),
}

/// A compiled pattern over paths with `/` between their elements. Leading and trailing
/// slashes, empty elements and `.` do not count, in the pattern or in paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    elements: Vec<Element>,
}

impl Glob {
    /// Returns whether a source is a pattern rather than a plain path: whether it holds one
    /// of `*`, `?`, `[` and `\`.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?', '[', '\\'])
    }

    /// Compiles a pattern.
    ///
    /// # Errors
    /// Open or empty brackets, and a backslash at the end of an element.
    pub fn parse(pattern: &str) -> Result<Glob, PatternError> {
        let mut elements = Vec::new();
        for text in names(pattern) {
            let element = match text {
                "**" => Element::Depth,
                text => Element::Name(tokens(text).ok_or_else(|| PatternError::new(pattern))?),
            };
            elements.push(element);
        }
        Ok(Glob { elements })
    }

    /// Returns whether the whole path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.states(path)[self.elements.len()]
    }

    /// Returns whether some path below `directory` could match.
    #[must_use]
    pub fn may_match_below(&self, directory: &str) -> bool {
        let states = self.states(directory);
        states[..self.elements.len()].contains(&true)
            || self.elements.last() == Some(&Element::Depth) && states[self.elements.len()]
    }

    /// Returns the plain elements that every match starts with, joined by `/`: the directory
    /// where a walk can begin. Empty if the first element is a pattern.
    #[must_use]
    pub fn base(&self) -> String {
        let mut base = String::new();
        for element in &self.elements {
            let Element::Name(tokens) = element else {
                break;
            };
            let plain = tokens.iter().map(|token| match token {
                Token::Literal(c) => Some(*c),
                _ => None,
            });
            let Some(name) = plain.collect::<Option<String>>() else {
                break;
            };
            if !base.is_empty() {
                base.push('/');
            }
            base.push_str(&name);
        }
        base
    }

    /// Returns which positions of the pattern can be reached after `path`.
    fn states(&self, path: &str) -> Vec<bool> {
        let mut states = vec![false; self.elements.len() + 1];
        states[0] = true;
        self.skip_depths(&mut states);
        for name in names(path) {
            let mut next = vec![false; states.len()];
            for (at, element) in self
                .elements
                .iter()
                .enumerate()
                .filter(|(at, _)| states[*at])
            {
                match element {
                    Element::Depth => next[at] = true,
                    Element::Name(tokens) => next[at + 1] |= match_name(tokens, name),
                }
            }
            self.skip_depths(&mut next);
            states = next;
        }
        states
    }

    fn skip_depths(&self, states: &mut [bool]) {
        for (at, element) in self.elements.iter().enumerate() {
            if states[at] && *element == Element::Depth {
                states[at + 1] = true;
            }
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Run,
            '?' => Token::One,
            '[' => Token::Class(Class::parse(&mut chars)?),
            '\\' => Token::Literal(chars.next()?),
            c => Token::Literal(c),
        });
    }
    Some(tokens)
}

/// Matches one element. After a star only the last one can still be moved, so the time is
/// the product of both lengths at most.
fn match_name(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        let c = name[at];
        let fits = match tokens.get(token) {
            Some(Token::Run) => {
                star = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Literal(literal)) => *literal == c,
            Some(Token::Class(class)) => class.contains(c),
            None => false,
        };
        if fits {
            token += 1;
            at += 1;
            continue;
        }
        let Some((star_token, star_at)) = star else {
            return false;
        };
        star = Some((star_token, star_at + 1));
        token = star_token + 1;
        at = star_at + 1;
    }
    tokens[token..].iter().all(|token| *token == Token::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_match_as_in_go() {
        // The table of Go's path/filepath match_test.go.
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        };
        for (pattern, path, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "x", true),
            ("[x\\-]", "z", false),
            ("[\\-x]", "-", true),
            ("*x", "xxx", true),
        ] {
            check(pattern, path, expected);
        }
        for pattern in [
            "[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-c]",
        ] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn two_stars_are_any_depth() {
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        };
        check("**/*.go", "a.go", true);
        check("**/*.go", "x/y/a.go", true);
        check("x/**/y", "x/y", true);
        check("x/**/y", "x/a/b/y", true);
        check("x/**/y", "a/x/y", false);
        check("x/**", "x", true);
        check("x/**", "x/a/b", true);
        check("/x//./y/", "x/y", true);
        check("**/a/**/b", "a/a/a/b", true);
        check("a**b", "axxb", true);
    }

    #[test]
    fn walks_can_be_pruned() {
        let check = |pattern: &str, directory: &str, expected: bool| {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(
                glob.may_match_below(directory),
                expected,
                "{pattern} {directory}"
            );
        };
        check("a/*/c", "a", true);
        check("a/*/c", "b", false);
        check("a/*/c", "a/x", true);
        check("a/*/c", "a/x/c", false);
        check("**/c", "any/where", true);
        check("a/**", "a/b", true);
        check("a/**", "b", false);
        check("a/b", "", true);
        assert_eq!(Glob::parse("a/b/*.c").unwrap().base(), "a/b");
        assert_eq!(Glob::parse("*").unwrap().base(), "");
    }

    #[test]
    fn stars_do_not_cost_exponential_time() {
        let glob = Glob::parse(&format!("{}b", "*a".repeat(200))).unwrap();
        assert!(!glob.matches(&"a".repeat(5_000)));
    }
}
