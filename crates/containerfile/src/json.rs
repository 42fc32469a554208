//! JSON as far as the language needs it: an array of strings that fills a whole text.
//!
//! Other values are recognised only to tell "an array, but not of strings" from "not JSON".

/// The deepest nesting that still counts as JSON.
const MAX_DEPTH: u32 = 64;

/// The array holds something that is not a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotStrings;

/// Reads `text` as one JSON array with nothing but blanks around it. None: it is not that.
pub(crate) fn parse_array(text: &str) -> Option<Result<Vec<String>, NotStrings>> {
    let mut reader = Reader { rest: text.trim() };
    if !reader.eat('[') {
        return None;
    }
    let mut words = Vec::new();
    let mut all_strings = true;
    reader.blanks();
    if !reader.eat(']') {
        loop {
            reader.blanks();
            match reader.value(1)? {
                Some(word) => words.push(word),
                None => all_strings = false,
            }
            reader.blanks();
            if reader.eat(']') {
                break;
            }
            if !reader.eat(',') {
                return None;
            }
        }
    }
    reader.blanks();
    if !reader.rest.is_empty() {
        return None;
    }
    Some(if all_strings {
        Ok(words)
    } else {
        Err(NotStrings)
    })
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Reads one value; the inner option holds the text of a string.
    fn value(&mut self, depth: u32) -> Option<Option<String>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.rest.chars().next()? {
            '"' => self.string().map(Some),
            '[' => self.sequence(depth, ']').map(|()| None),
            '{' => self.sequence(depth, '}').map(|()| None),
            '-' | '0'..='9' => self.number().map(|()| None),
            _ => {
                let word = ["true", "false", "null"];
                let word = word.iter().find(|word| self.rest.starts_with(**word))?;
                self.rest = &self.rest[word.len()..];
                Some(None)
            }
        }
    }

    fn sequence(&mut self, depth: u32, close: char) -> Option<()> {
        self.next()?;
        self.blanks();
        if self.eat(close) {
            return Some(());
        }
        loop {
            self.blanks();
            if close == '}' {
                self.string()?;
                self.blanks();
                if !self.eat(':') {
                    return None;
                }
                self.blanks();
            }
            self.value(depth + 1)?;
            self.blanks();
            if self.eat(close) {
                return Some(());
            }
            if !self.eat(',') {
                return None;
            }
        }
    }

    fn digits(&mut self) -> Option<()> {
        let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        self.rest = &self.rest[count..];
        (count > 0).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.eat('-');
        if !self.eat('0') {
            self.digits()?;
        }
        if self.eat('.') {
            self.digits()?;
        }
        if self.eat('e') || self.eat('E') {
            if !self.eat('+') {
                self.eat('-');
            }
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        if !self.eat('"') {
            return None;
        }
        let mut out = String::new();
        loop {
            match self.next()? {
                '"' => return Some(out),
                '\\' => match self.next()? {
                    'u' => out.push(self.unicode()?),
                    'b' => out.push('\u{8}'),
                    'f' => out.push('\u{c}'),
                    'n' => out.push('\n'),
                    'r' => out.push('\r'),
                    't' => out.push('\t'),
                    c @ ('"' | '\\' | '/') => out.push(c),
                    _ => return None,
                },
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self
            .rest
            .get(..4)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        self.rest = &self.rest[4..];
        Some(value)
    }

    /// Reads the digits behind `\u`. A half of a surrogate pair alone becomes U+FFFD, as
    /// Go's decoder has it.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.rest.starts_with("\\u") {
            let behind = self.rest;
            self.rest = &self.rest[2..];
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            self.rest = behind;
        }
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Result<&[&str], NotStrings>>) {
        let expected = expected
            .map(|array| array.map(|words| words.iter().map(ToString::to_string).collect()));
        assert_eq!(parse_array(text), expected, "{text}");
    }

    #[test]
    fn arrays_of_strings() {
        check(r#"["a","b"]"#, Some(Ok(&["a", "b"])));
        check(r#"  [ "a" ,	"b c" ]  "#, Some(Ok(&["a", "b c"])));
        check("[]", Some(Ok(&[])));
        check("[ ]", Some(Ok(&[])));
        check(r#"["\u0041\n\"\\\/\t"]"#, Some(Ok(&["A\n\"\\/\t"])));
        check(r#"["\ud83d\ude00"]"#, Some(Ok(&["😀"])));
        check(r#"["\ud83dx"]"#, Some(Ok(&["\u{fffd}x"])));
        check(r#"["\ud83d\u0041"]"#, Some(Ok(&["\u{fffd}A"])));
        check(r#"["é"]"#, Some(Ok(&["é"])));
    }

    #[test]
    fn not_arrays_of_strings() {
        for text in [
            "[1]",
            "[\"a\", 2.5e+3]",
            "[null]",
            "[true,false]",
            "[[\"a\"]]",
            "[{}]",
            r#"[{"a":[1,{"b":-0}]}]"#,
        ] {
            check(text, Some(Err(NotStrings)));
        }
    }

    #[test]
    fn not_json() {
        for text in [
            "",
            "a",
            "[",
            "['a']",
            r#"["a",]"#,
            r#"["a""#,
            r#"["a"] && b"#,
            "[ -d /x ]",
            r#"["a" "b"]"#,
            r#"["\x"]"#,
            r#"["\u00g0"]"#,
            "[01]",
            "[1.]",
            "[\"a\nb\"]",
            "{}",
            r#"[{"a"}]"#,
            r#"["\ud83d\u00"]"#,
        ] {
            check(text, None);
        }
        check(&"[".repeat(100_000), None);
    }
}
