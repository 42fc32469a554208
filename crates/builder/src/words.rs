//! Splitting of a command line given as one string, as `--cmd` and `--shell` take it.
//!
//! Quotes and backslashes as in a shell; nothing is expanded. An unquoted `;`, `&`, `|`, `<`,
//! `>`, `(` or `)` ends the command, as the splitter that Buildah uses has it.

/// The text has an unclosed quote or ends in a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid command line string")]
pub struct WordsError;

/// Splits `line` into words.
///
/// # Errors
/// When a quote is not closed or the text ends in a backslash.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut in_word = false;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(chars.next().ok_or(WordsError)?);
                in_word = true;
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('\'' | '"', None) => {
                quote = Some(c);
                in_word = true;
            }
            (';' | '&' | '|' | '<' | '>' | '(' | ')', None) => break,
            (' ' | '\t' | '\r' | '\n', None) => {
                if in_word {
                    words.push(std::mem::take(&mut word));
                    in_word = false;
                }
            }
            (c, None) => {
                word.push(c);
                in_word = true;
            }
        }
    }
    if quote.is_some() {
        return Err(WordsError);
    }
    if in_word {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<&[&str], WordsError>) {
        let expected = expected.map(|words| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        });
        assert_eq!(split(line), expected, "{line}");
    }

    #[test]
    fn words_split_as_in_buildah() {
        check("", Ok(&[]));
        check("a b", Ok(&["a", "b"]));
        check(
            "a 'b c' \"d e\" f\\ g $X ; h",
            Ok(&["a", "b c", "d e", "f g", "$X"]),
        );
        check("a '' b", Ok(&["a", "", "b"]));
        check("[\"/bin/ash\",\"-c\"]", Ok(&["[/bin/ash,-c]"]));
        check("a \"", Err(WordsError));
        check("a \\", Err(WordsError));
    }
}
