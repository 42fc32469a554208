//! The `WWW-Authenticate` header (RFC 9110, clause 11.6.1): which ways of authentication a registry offers.
//!
//! Reads any number of header values, each a list of challenges. What is not well formed ends the reading of its header
//! value; the challenges before it count. Nothing here knows what a parameter means.

use std::fmt;

/// The longest header value that is looked at, in bytes.
pub const MAX_HEADER: usize = 16 * 1024;
/// The most challenges that are kept of all header values together.
pub const MAX_CHALLENGES: usize = 32;

/// One challenge: a scheme and its parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case, such as `basic` or `bearer`.
    pub scheme: String,
    // Invariant: names are in lower case and occur once; of several the first one counts.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns the value of a parameter, named in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns all parameters in the order of the header.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes the challenge as a header value that reads back as itself.
impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        for (number, (name, value)) in self.parameters.iter().enumerate() {
            f.write_str(if number == 0 { " " } else { ", " })?;
            write!(
                f,
                "{name}=\"{}\"",
                value.replace('\\', "\\\\").replace('"', "\\\"")
            )?;
        }
        Ok(())
    }
}

/// Reads the challenges of all `WWW-Authenticate` values of one reply, in their order.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in values {
        if value.len() <= MAX_HEADER {
            parse_value(value, &mut found);
        }
    }
    found.truncate(MAX_CHALLENGES);
    found
}

fn parse_value(value: &str, found: &mut Vec<Challenge>) {
    let mut text = Scanner { rest: value };
    loop {
        text.skip_separators();
        let Some(scheme) = text.token() else { return };
        let mut challenge = Challenge {
            scheme: scheme.to_ascii_lowercase(),
            parameters: Vec::new(),
        };
        let complete = parse_parameters(&mut text, &mut challenge);
        found.push(challenge);
        if !complete || found.len() >= MAX_CHALLENGES {
            return;
        }
    }
}

/// Reads `name=value` pairs up to the next scheme. Returns whether reading may go on.
fn parse_parameters(text: &mut Scanner<'_>, challenge: &mut Challenge) -> bool {
    if !text.skip_spaces() {
        // A scheme alone: the end, or a comma before the next scheme.
        return text.rest.is_empty() || text.rest.starts_with(',');
    }
    if text.skip_token68() {
        return true;
    }
    loop {
        let before = text.rest;
        text.skip_separators();
        let Some(name) = text.token() else {
            return false;
        };
        text.skip_spaces();
        if !text.eat('=') {
            // No parameter but the scheme of the next challenge.
            text.rest = before;
            return true;
        }
        text.skip_spaces();
        let Some(value) = text.value() else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        if challenge.parameter(&name).is_none() {
            challenge.parameters.push((name, value));
        }
        text.skip_spaces();
        if !text.rest.is_empty() && !text.rest.starts_with(',') {
            return false;
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips blanks and returns whether there were any.
    fn skip_spaces(&mut self) -> bool {
        !self.take(|c| c == ' ' || c == '\t').is_empty()
    }

    fn skip_separators(&mut self) {
        self.take(|c| matches!(c, ' ' | '\t' | ','));
    }

    fn token(&mut self) -> Option<&'a str> {
        let token = self.take(is_token);
        (!token.is_empty()).then_some(token)
    }

    /// Skips the single word (`token68`) that some schemes have in place of parameters. Returns whether there was one.
    fn skip_token68(&mut self) -> bool {
        let before = self.rest;
        let word = self.take(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        self.take(|c| c == '=');
        self.skip_spaces();
        let alone = !word.is_empty() && (self.rest.is_empty() || self.rest.starts_with(','));
        if !alone {
            self.rest = before;
        }
        alone
    }

    /// Reads a token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if !self.eat('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[&str], expected: &[&str]) {
        let found: Vec<String> = parse(values.iter().copied())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{values:?}");
    }

    #[test]
    fn challenges_are_read_from_headers() {
        check(&[], &[]);
        check(&[""], &[]);
        check(&["Basic"], &["basic"]);
        check(&["Basic realm=\"r\""], &["basic realm=\"r\""]);
        check(&["BASIC Realm = r"], &["basic realm=\"r\""]);
        check(
            &["Bearer realm=\"https://auth.example.com/token\",service=\"svc,1\",scope=\"a:b:c\""],
            &[
                "bearer realm=\"https://auth.example.com/token\", service=\"svc,1\", scope=\"a:b:c\"",
            ],
        );
        check(
            &["Basic realm=\"a\", Bearer realm=\"b\", service=\"c\""],
            &["basic realm=\"a\"", "bearer realm=\"b\", service=\"c\""],
        );
        check(
            &["Negotiate, Basic realm=x", "Bearer realm=\"y\""],
            &["negotiate", "basic realm=\"x\"", "bearer realm=\"y\""],
        );
        check(
            &["Negotiate YII/abc==, Bearer realm=\"y\""],
            &["negotiate", "bearer realm=\"y\""],
        );
        check(
            &[r#"Bearer realm="a\"b\\c", empty="""#],
            &[r#"bearer realm="a\"b\\c", empty="""#],
        );
        check(
            &["Bearer realm=\"one\", realm=\"two\""],
            &["bearer realm=\"one\""],
        );
        check(&[" , ,Basic realm=x,, "], &["basic realm=\"x\""]);
    }

    #[test]
    fn what_is_malformed_ends_its_header_only() {
        check(&["Bearer realm=\"open"], &["bearer"]);
        check(
            &["Bearer realm=\"a\" junk, Basic realm=b"],
            &["bearer realm=\"a\""],
        );
        check(&["=x"], &[]);
        check(&["Bearer realm=\"x\\"], &["bearer"]);
        check(&["@", "Basic realm=b"], &["basic realm=\"b\""]);
        let long = format!("Basic realm=\"{}\"", "x".repeat(MAX_HEADER));
        check(&[&long], &[]);
        let many = "Basic, ".repeat(MAX_CHALLENGES * 2);
        assert_eq!(parse([many.as_str()]).len(), MAX_CHALLENGES);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(values in proptest::collection::vec(".*", 0..4)) {
            let _ = parse(values.iter().map(String::as_str));
        }

        #[test]
        fn written_challenges_read_back(
            all in proptest::collection::vec(
                ("[a-z]{1,8}", proptest::collection::btree_map("[a-z_]{1,8}", "[ -~]{0,20}", 1..4)),
                1..4,
            )
        ) {
            let challenges: Vec<Challenge> = all
                .into_iter()
                .map(|(scheme, parameters)| Challenge { scheme, parameters: parameters.into_iter().collect() })
                .collect();
            let joined = challenges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(parse([joined.as_str()]), challenges.clone());
            let separate: Vec<String> = challenges.iter().map(ToString::to_string).collect();
            prop_assert_eq!(parse(separate.iter().map(String::as_str)), challenges);
        }
    }
}
