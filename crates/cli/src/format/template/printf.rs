//! The verbs of Go's `fmt` that templates use with `printf`.

use super::super::value::GoValue;

/// Fills the verbs of `format` with `values`: `%s %v %d %q %t %x %%`, with `-`, `0`, a width and a
/// precision. What does not fit is marked in the text, as Go does it.
pub fn printf(format: &str, values: &[GoValue]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut letters = format.chars().peekable();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = letters.next_if(|c| "-+# 0".contains(*c)) {
            verb.left |= flag == '-';
            verb.zeros |= flag == '0';
        }
        verb.width = number(&mut letters);
        if letters.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut letters));
        }
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match values.next() {
                None => out.push_str(&format!("%!{letter}(MISSING)")),
                Some(value) => out.push_str(&verb.padded(&verb.shown(letter, value))),
            },
        }
    }
    let extra: Vec<_> = values
        .map(|value| format!("{}={}", value.type_name(), value.show()))
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

#[derive(Default)]
struct Verb {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

impl Verb {
    fn shown(&self, letter: char, value: &GoValue) -> String {
        match (letter, value) {
            ('v', value) => value.show(),
            ('s', GoValue::Text(text)) => match self.precision {
                Some(length) => text.chars().take(length).collect(),
                None => text.clone(),
            },
            ('q', GoValue::Text(text)) => format!("{text:?}"),
            ('q' | 's' | 'x' | 'd', GoValue::List(items)) => {
                let items: Vec<_> = items.iter().map(|item| self.shown(letter, item)).collect();
                format!("[{}]", items.join(" "))
            }
            (
                's',
                GoValue::Time(_) | GoValue::Struct(_) | GoValue::Map(_) | GoValue::Duration(_),
            ) => value.show(),
            ('d', GoValue::Int(number) | GoValue::Duration(number)) => number.to_string(),
            ('x', GoValue::Int(number)) => format!("{number:x}"),
            ('x', GoValue::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('t', GoValue::Bool(set)) => set.to_string(),
            (letter, value) => format!("%!{letter}({}={})", value.type_name(), value.show()),
        }
    }

    fn padded(&self, text: &str) -> String {
        // A width beyond this is no layout but an attempt to fill the memory.
        const MAX_WIDTH: usize = 4096;
        let width = self.width.min(MAX_WIDTH);
        match (self.left, self.zeros) {
            (true, _) => format!("{text:<width$}"),
            (false, true) => format!("{text:0>width$}"),
            (false, false) => format!("{text:>width$}"),
        }
    }
}

fn number(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut number = 0_usize;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        let digit = digit
            .to_digit(10)
            .and_then(|digit| usize::try_from(digit).ok());
        number = number.saturating_mul(10).saturating_add(digit.unwrap_or(0));
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        let text = |text: &str| GoValue::Text(text.to_owned());
        let check = |format: &str, values: &[GoValue], expected: &str| {
            assert_eq!(printf(format, values), expected, "{format}");
        };
        check("%s-%d", &[text("a"), GoValue::Int(3)], "a-3");
        check(
            "%5s|%-5s|%05d",
            &[text("a"), text("b"), GoValue::Int(3)],
            "    a|b    |00003",
        );
        check(
            "%q %v",
            &[text("a"), GoValue::List(vec![text("b")])],
            "\"a\" [b]",
        );
        check("%q", &[GoValue::List(vec![text("b")])], "[\"b\"]");
        check(
            "%x %t %%",
            &[GoValue::Int(255), GoValue::Bool(true)],
            "ff true %",
        );
        check("%s", &[], "%!s(MISSING)");
        check("%d", &[text("a")], "%!d(string=a)");
        check("a", &[GoValue::Int(1)], "a%!(EXTRA int=1)");
    }
}
