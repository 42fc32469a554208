//! Templates: (unset, empty, set) × modifier, quotes, escapes, word lists.

use cooper_containerfile::{Escape, Span, Template, TemplateKind, split_ports};

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "E" => "",
        "S" => "v",
        "P" => "foo/bar.tar.gz",
        "D" => "aXbXc",
        "B" => "a b",
        "K" => "S",
        "é" => "accent",
        "_a1" => "under",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expand_as(text: &str, escape: Escape) -> Result<String, String> {
    let template = Template::parse(text, escape, TemplateKind::Word, Span::default())
        .map_err(|cause| cause.to_string())?;
    template.expand(&lookup).map_err(|cause| cause.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(
        expand_as(text, Escape::Backslash).as_deref(),
        Ok(expected),
        "{text}"
    );
}

#[track_caller]
fn fails(text: &str, expected: &str) {
    assert_eq!(
        expand_as(text, Escape::Backslash),
        Err(expected.to_owned()),
        "{text}"
    );
}

#[test]
fn names() {
    for (text, expected) in [
        ("$S", "v"),
        ("${S}", "v"),
        ("$U", ""),
        ("${U}", ""),
        ("$E", ""),
        ("x$S-y", "xv-y"),
        ("$Sx", ""),
        ("${S}x", "vx"),
        ("$S$S", "vv"),
        ("$_a1", "under"),
        ("${_a1}", "under"),
        ("$é", "accent"),
        ("$", "$"),
        ("a$", "a$"),
        ("$ x", "$ x"),
        ("$/x", "$/x"),
        ("$.", "$."),
        // Buildah's way: only single digits are parameters of a shell.
        ("$$", "$$"),
        ("$1", ""),
        ("$12x", "2x"),
        ("$@", "$@"),
        ("$*", "$*"),
        ("$#", "$#"),
        ("$?", "$?"),
        ("$!", "$!"),
        ("$-", "$-"),
        ("$0", ""),
        ("$1x$$y$@z", "x$$@z"),
        ("${1}", ""),
        ("${1:-w}", "w"),
        ("", ""),
        ("plain", "plain"),
    ] {
        check(text, expected);
    }
}

#[test]
fn names_in_heredoc_bodies() {
    let template = Template::parse(
        "$S$$x$12y$@'$S'\\$S\\\\$S$",
        Escape::Backtick,
        TemplateKind::HeredocBody,
        Span::default(),
    );
    let text = template.unwrap().expand(&lookup).unwrap();
    assert_eq!(text, "vxy'v'$S\\$S$");
}

#[test]
fn defaults() {
    for (name, dash, colon_dash, plus, colon_plus) in [
        ("U", "w", "w", "", ""),
        ("E", "", "w", "w", ""),
        ("S", "v", "v", "w", "w"),
    ] {
        check(&format!("${{{name}-w}}"), dash);
        check(&format!("${{{name}:-w}}"), colon_dash);
        check(&format!("${{{name}+w}}"), plus);
        check(&format!("${{{name}:+w}}"), colon_plus);
        check(
            &format!("[${{{name}:-}}]"),
            &format!("[{}]", if name == "S" { "v" } else { "" }),
        );
    }
    check("${U:-$S}", "v");
    check("${U:-${U:-${U:-deep}}}", "deep");
    check("${U:-a b}", "a b");
    check("${U:-'a}b'}", "a}b");
    check("${U:-\"$S}\"}", "v}");
    check("${U:-a\\}b}", "a}b");
    check("\"${U:-\"x y\"}\"", "x y");
    check("${U:--}", "-");
    check("${U:-:-}", ":-");
    check("${S:+$S$S}", "vv");
}

#[test]
fn required() {
    check("${S?w}", "v");
    check("${S:?w}", "v");
    check("${E?w}", "");
    fails("${U?w}", "U: w");
    fails("${U:?w}", "U: w");
    fails("${E:?w $S}", "E: w v");
    fails("${U?}", "U: is not allowed to be unset");
    fails("${E:?}", "E: is not allowed to be empty");
    fails("${U:?}", "U: is not allowed to be unset");
}

#[test]
fn trims() {
    for (text, expected) in [
        ("${P#foo}", "/bar.tar.gz"),
        ("${P#*/}", "bar.tar.gz"),
        ("${P##*/}", "bar.tar.gz"),
        ("${P#*.}", "tar.gz"),
        ("${P##*.}", "gz"),
        ("${P#x}", "foo/bar.tar.gz"),
        ("${P#}", "foo/bar.tar.gz"),
        ("${P#???}", "/bar.tar.gz"),
        ("${P##*}", ""),
        ("${P#*}", "foo/bar.tar.gz"),
        ("${P%.*}", "foo/bar.tar"),
        ("${P%%.*}", "foo/bar"),
        ("${P%z}", "foo/bar.tar.g"),
        ("${P%%z}", "foo/bar.tar.g"),
        ("${P%/*}", "foo"),
        ("${P%%*}", ""),
        ("${P%*}", "foo/bar.tar.gz"),
        ("${P%x}", "foo/bar.tar.gz"),
        ("${S#v}", ""),
        ("${S##v}", ""),
        ("${S%v}", ""),
        ("${U#x}", ""),
        ("${E#x}", ""),
        ("${P#$S}", "foo/bar.tar.gz"),
        ("${D#a$U}", "XbXc"),
        ("${P%.gz}", "foo/bar.tar"),
        ("${P#foo\\/}", "bar.tar.gz"),
        ("${P%\\.gz}", "foo/bar.tar"),
        ("${P#\\*}", "foo/bar.tar.gz"),
        ("${S#?}", ""),
        ("${S#??}", "v"),
    ] {
        check(text, expected);
    }
}

#[test]
fn replacements() {
    for (text, expected) in [
        ("${D/X/-}", "a-bXc"),
        ("${D//X/-}", "a-b-c"),
        ("${D/X}", "abXc"),
        ("${D//X}", "abc"),
        ("${D/X/}", "abXc"),
        ("${D//X/}", "abc"),
        ("${D/#a/-}", "-XbXc"),
        ("${D/#X/-}", "aXbXc"),
        ("${D/%c/-}", "aXbX-"),
        ("${D/%X/-}", "aXbXc"),
        ("${D/X*/-}", "a-"),
        ("${D//?/-}", "-----"),
        ("${D/$U/-}", "-aXbXc"),
        ("${P//\\//_}", "foo_bar.tar.gz"),
        ("${P/\\/bar/\\/x}", "foo/x.tar.gz"),
        ("${U/a/b}", ""),
        ("${E/a/b}", ""),
        ("${D//X/$S}", "avbvc"),
        ("${D//[X]/-}", "aXbXc"),
        ("${D//X/}}", "abc}"),
        ("${P/f*o/x}", "x/bar.tar.gz"),
        ("${D/#*X/}", "c"),
        ("${D/%X*/}", "a"),
    ] {
        check(text, expected);
    }
}

#[test]
fn quotes_and_escapes() {
    for (text, expected) in [
        ("'$S'", "$S"),
        ("\"$S\"", "v"),
        ("\\$S", "$S"),
        ("\\\\$S", "\\v"),
        ("a\\b", "ab"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"\\$S\"", "$S"),
        ("\"\\\\\"", "\\"),
        ("'a\\b'", "a\\b"),
        ("'a\\'b", "a\\b"),
        ("a\"b c\"d", "ab cd"),
        ("a'b'\"c\"d", "abcd"),
        ("''", ""),
        ("\"\"", ""),
        ("a\\", "a"),
        ("\\'", "'"),
        ("\"'$S'\"", "'v'"),
        ("'\"$S\"'", "\"$S\""),
    ] {
        check(text, expected);
    }
    let backtick = |text: &str, expected: &str| {
        assert_eq!(
            expand_as(text, Escape::Backtick).as_deref(),
            Ok(expected),
            "{text}"
        );
    };
    backtick("`$S", "$S");
    backtick("c:\\$S", "c:\\v");
    backtick("\"`$S\\\"", "$S\\");
    backtick("a`b", "ab");
}

#[test]
fn refused() {
    fails(
        "'a",
        "unexpected end of statement while looking for matching single-quote",
    );
    fails(
        "\"a",
        "unexpected end of statement while looking for matching double-quote",
    );
    fails(
        "${S:-w",
        "unexpected end of statement while looking for matching }",
    );
    fails(
        "${S",
        "Missing ':' or '#' or '%' or '/' in substitution: ${S",
    );
    fails(
        "${S!x}",
        "Missing ':' or '#' or '%' or '/' in substitution: ${S!x}",
    );
    fails(
        "${S:=w}",
        "Unsupported modifier (:=) in substitution: ${S:=w}",
    );
    fails(
        "${S:1:2}",
        "Unsupported modifier (:1) in substitution: ${S:1:2}",
    );
    fails("${#S}", "bad substitution: ${#S}");
    fails("${}", "bad substitution: ${}");
    fails("a${}b", "bad substitution: ${}");
    fails("${", "bad substitution: ${");
    let deep = format!("{}x{}", "${A:-".repeat(200), "}".repeat(200));
    fails(&deep, "substitutions are nested deeper than 100 levels");
}

#[test]
fn results_have_a_limit() {
    let parse = |text: &str| {
        Template::parse(text, Escape::Backslash, TemplateKind::Word, Span::default()).unwrap()
    };
    let big = |_: &str| Some("x".repeat(6 << 20));
    assert!(parse("$A$A").expand(&big).is_ok());
    assert!(parse("$A$A$A").expand(&big).is_err());
    assert!(parse("${A//x/yyyy}").expand(&big).is_err());
    assert!(parse("${U:-$A$A$A}").expand(&big).is_ok());
}

#[test]
fn word_lists() {
    let check = |text: &str, expected: &[&str]| {
        let template =
            Template::parse(text, Escape::Backslash, TemplateKind::Word, Span::default()).unwrap();
        assert_eq!(template.expand_words(&lookup).unwrap(), expected, "{text}");
    };
    check("$B", &["a", "b"]);
    check("x${B}y", &["xa", "by"]);
    check("\"$B\"", &["a b"]);
    check("$U", &[]);
    check("\"$U\"", &[""]);
    check("'a b'", &["a b"]);
    check("a\\ b", &["a b"]);
    let words = [Span::default(); 2];
    let template =
        |text: &str, at| Template::parse(text, Escape::Backslash, TemplateKind::Word, at).unwrap();
    let ports = [template("80", words[0]), template("$P", words[1])];
    let lookup = |_: &str| Some("81 82/udp".to_owned());
    assert_eq!(
        split_ports(&ports, &lookup).unwrap(),
        ["80/tcp", "81/tcp", "82/udp"]
    );
}

#[test]
fn what_a_template_tells() {
    let parse = |text: &str| {
        Template::parse(text, Escape::Backslash, TemplateKind::Word, Span::default()).unwrap()
    };
    assert_eq!(parse("a'b'\\$c").as_literal().as_deref(), Some("ab$c"));
    assert_eq!(parse("a$b").as_literal(), None);
    let names = parse("$A ${B:-$C} ${D/$E/$F} $A '$G'");
    assert_eq!(names.variables(), ["A", "B", "C", "D", "E", "F"]);
}
