//! Lines, comments, continuations, directives, spans.

use cooper_containerfile::{Command, Escape, Input, Op, RunForm, Span, parse, parse_str};

use super::{errors, good, steps, warnings};

/// The text of the RUN in a file whose first line is the FROM.
#[track_caller]
fn run(text: &str, expected: &str) {
    let steps = steps(text);
    let Op::Run(run) = &steps[0].op else {
        panic!("{text}")
    };
    assert_eq!(run.form, RunForm::Shell(expected.to_owned()), "{text}");
}

#[test]
fn continuations() {
    run("FROM a\nRUN x", "x");
    run("FROM a\nRUN x\n", "x");
    run("FROM a\r\nRUN x\r\n", "x");
    run("\u{feff}FROM a\nRUN x\n", "x");
    run("  FROM a\n\t run x  \n", "x");
    run("FROM a\nRUN a \\\n  b", "a   b");
    run("FROM a\nRUN a\\\nb", "ab");
    run("FROM a\nRUN a \\ \t\nb", "a b");
    run("FROM a\nRUN a \\\r\nb\r\n", "a b");
    run("FROM a\nRUN a \\\n# comment\n  # another\n\n   \nb", "a b");
    run("FROM a\nRUN a \\\n# comment \\\nb", "a b");
    run("FROM a\nRUN a # text", "a # text");
    run("FROM a\nRUN a \\\nb # text \\\nc", "a b # text c");
    run("FROM a\nRUN a\\\\\nb", "a\\b");
    run("FROM a\nRUN a \\", "a");
    run("FROM a\nRUN a \\\n", "a");
    run("FROM a\nRUN a \\\n\n\n# end", "a");
    run("FROM a\nRUN \\\n  a", "a");
    run("FROM a\nR\\\nUN a", "a");
    run("FROM a\n\\\nRUN a", "a");
    run("FROM a\n   \\\n  RUN a", "a");
    run("FROM a\nRUN a\\\n\\\n\\\nb", "ab");
    run("FROM a\nRUN a\tb", "a\tb");
    run("FROM a\nRUN\ta", "a");
    run("FROM a\nRUN a `\nRUN b", "a `".trim_end_matches("\nRUN b"));
}

#[test]
fn lines_that_say_nothing() {
    for text in [
        "FROM a\n\n\n# c\n  # d\n\t\n",
        "FROM a\n\\\n",
        "FROM a\n\\",
        "FROM a\n \\\n\n",
    ] {
        assert_eq!(
            good(text).containerfile.stages[0].steps.len(),
            0,
            "{text:?}"
        );
    }
}

#[test]
fn escape_directive() {
    run("# escape=`\nFROM a\nRUN a `\nb", "a b");
    run("#escape = `  \nFROM a\nRUN a `\nb", "a b");
    run("# ESCAPE=`\nFROM a\nRUN dir c:\\\nRUN b", "dir c:\\");
    run("# escape=\\\nFROM a\nRUN a \\\nb", "a b");
    run(
        "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN a `\nb",
        "a b",
    );
    run("# check=skip=all\n# escape=`\nFROM a\nRUN a `\nb", "a b");
    run("# escape=`\n# syntax=x\nFROM a\nRUN a `\nb", "a b");
    run("\u{feff}# escape=`\r\nFROM a\r\nRUN a `\r\nb", "a b");
    // These come too late.
    run("# comment\n# escape=`\nFROM a\nRUN a \\\nb", "a b");
    run("\n# escape=`\nFROM a\nRUN a \\\nb", "a b");
    run("FROM a\n# escape=`\nRUN a \\\nb", "a b");
    run("# unknown=1\n# escape=`\nFROM a\nRUN a \\\nb", "a b");
    let backtick = good("# escape=`\nFROM a").containerfile.directives.escape;
    assert_eq!(backtick, Escape::Backtick);
}

#[test]
fn other_directives() {
    let text = "# Syntax=docker/dockerfile:1.4\n# check=skip=A;error=true\nFROM a";
    let directives = good(text).containerfile.directives;
    assert_eq!(directives.syntax.as_deref(), Some("docker/dockerfile:1.4"));
    assert_eq!(directives.check.as_deref(), Some("skip=A;error=true"));
    assert_eq!(directives.escape, Escape::Backslash);
}

#[test]
fn wrong_directives() {
    assert_eq!(
        errors("# escape=x\nFROM a"),
        ["invalid ESCAPE 'x'. Must be ` or \\"]
    );
    let twice = "only one escape parser directive can be used";
    assert_eq!(errors("# escape=`\n# escape=`\nFROM a"), [twice]);
}

#[test]
fn long_lines() {
    let long = "x".repeat(2 << 20);
    run(&format!("FROM a\nRUN {long}"), &long);
    let lines = "y \\\n".repeat(20_000);
    run(
        &format!("FROM a\nRUN {lines}z"),
        &format!("{}z", "y ".repeat(20_000)),
    );
}

#[test]
fn bytes_that_are_not_utf8() {
    let parsed = parse(&[Input {
        name: "f",
        text: b"FROM a\n# caf\xe9\nRUN caf\xe9 \\\n# \xe9\nx\n",
    }]);
    let lines: Vec<_> = parsed
        .diagnostics
        .iter()
        .map(|found| found.span.line())
        .collect();
    assert_eq!(lines, [3]);
    assert!(!parsed.has_errors());
}

#[test]
fn several_files() {
    let one = Input {
        name: "one",
        text: b"# escape=`\nFROM a `\n",
    };
    let two = Input {
        name: "two",
        text: b"FROM b\nCMD x `\n y\nFOO\n",
    };
    let parsed = parse(&[one, two]);
    let stages = &parsed.containerfile.stages;
    assert_eq!(stages.len(), 2);
    assert_eq!(
        stages[1].steps[0].op,
        Op::Cmd(Command::Shell("x  y".to_owned()))
    );
    assert_eq!(parsed.sources.locate(stages[1].steps[0].at), "two:2:1");
    assert_eq!(
        parsed.diagnostics[0].render(&parsed.sources),
        "two:4:1: Build error: Unknown instruction: \"FOO\"\n  |\n4 | FOO\n  | ^^^\nhelp: did you mean FROM?"
    );
}

#[test]
fn no_content() {
    assert_eq!(errors(""), ["no contents in \"NAME\""]);
    assert_eq!(errors("\u{feff}"), ["no contents in \"NAME\""]);
    assert_eq!(errors("# only\n\n"), ["building: no stages to build"]);
    assert_eq!(errors("ARG A=1\n"), ["building: no stages to build"]);
    assert!(parse(&[]).has_errors());
}

/// What a span covers, its lines joined by `|`.
fn covered(text: &str, span: Span) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut parts = Vec::new();
    for number in span.start.line..=span.end.line {
        let line: Vec<char> = lines[number as usize - 1].chars().collect();
        let from = if number == span.start.line {
            span.start.column as usize - 1
        } else {
            0
        };
        let to = if number == span.end.line {
            span.end.column as usize - 1
        } else {
            line.len()
        };
        parts.push(line[from..to].iter().collect::<String>());
    }
    parts.join("|")
}

#[test]
fn spans_point_at_the_words_as_written() {
    let text =
        "FROM a AS é\n  ENV é=1 \\\n # c\n\n  B=\"x y\" \\\n  C=$D\nCOPY <<E --x /y\nbody\nE\n";
    let text = text.replace("--x ", "");
    let parsed = parse_str("f", &text);
    let steps = &parsed.containerfile.stages[0].steps;
    let Op::Env(pairs) = &steps[0].op else {
        panic!()
    };
    let words: Vec<_> = pairs
        .iter()
        .flat_map(|p| [covered(&text, p.key.at()), covered(&text, p.value.at())])
        .collect();
    assert_eq!(words, ["é", "1", "B", "\"x y\"", "C", "$D"]);
    assert_eq!(pairs[2].value.at().to_string(), "6:5-6:7");
    assert_eq!(steps[0].at.to_string(), "2:3-6:7");
    assert_eq!(covered(&text, steps[1].at), "COPY <<E /y|body|E");
    assert_eq!(covered(&text, steps[1].heredocs[0].at), "body");
}

#[test]
fn a_word_may_go_over_a_continuation() {
    let text = "FROM a\nENV AB\\\nCD=12\\\n34\n";
    let parsed = parse_str("f", text);
    let Op::Env(pairs) = &parsed.containerfile.stages[0].steps[0].op else {
        panic!()
    };
    assert_eq!(pairs[0].key.text(), "ABCD");
    assert_eq!(covered(text, pairs[0].key.at()), "AB\\|CD");
    assert_eq!(covered(text, pairs[0].value.at()), "12\\|34");
}

#[test]
fn carets() {
    let parsed = parse_str("C", "FROM a\n\tCOPY --chmod=999 a b\n");
    assert_eq!(
        parsed.diagnostics[0].render(&parsed.sources),
        "C:2:7: Error parsing chmod 999\n  |\n2 | \tCOPY --chmod=999 a b\n  | \t     ^^^^^^^^^^^"
    );
    let parsed = parse_str("C", "FROM a\nFORM b\n");
    assert!(
        parsed.diagnostics[0]
            .render(&parsed.sources)
            .ends_with("\nhelp: did you mean FROM?")
    );
}

#[test]
fn findings_come_in_the_order_of_the_file() {
    let text = "FROM a\nFOO\nEXPOSE x\nUSER\nCMD <<E\nCOPY <<E /x\n";
    let lines: Vec<_> = parse_str("f", text)
        .diagnostics
        .iter()
        .map(|found| found.span.line())
        .collect();
    assert_eq!(lines, [2, 3, 4, 6]);
    assert_eq!(warnings(text).len(), 1);
}
