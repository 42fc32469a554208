//! Ignore files against tables of moby's pattern matcher.

use cooper_containerfile::{IgnoreRules, Verdict};

#[track_caller]
fn check(file: &str, path: &str, excluded: bool) {
    let rules = IgnoreRules::parse(file.as_bytes()).expect("a good file");
    assert_eq!(rules.is_excluded(path), excluded, "{file:?} {path}");
}

#[test]
fn single_patterns() {
    for (pattern, path, excluded) in [
        ("**", "file", true),
        ("**", "file/", true),
        ("**/", "file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/file", true),
        ("**file", "dir/dir/file", true),
        ("**file", "dir/afile", true),
        ("**/file*", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("a\\\\", "a\\", true),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def", true),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a(b)c/def", "a(b)c/xyz", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        (
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        (
            "dist/*.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a", "a/b", true),
        ("a", "ab", false),
        ("a/b", "a", false),
        ("a/b", "a/b/c/d", true),
        ("*", "a/b/c", true),
        ("*/b", "a/b/c", true),
        ("*/b", "b", false),
        ("/a", "a", true),
        ("a/", "a", true),
        ("./a", "a", true),
        ("a//b/./c", "a/b/c", true),
        ("a/../b", "b", true),
        ("../a", "a", false),
        (".", "a", false),
        ("/", "a", false),
    ] {
        check(pattern, path, excluded);
    }
}

#[test]
fn the_last_match_decides() {
    for (file, path, excluded) in [
        ("*\n!a", "a", false),
        ("*\n!a", "a/b", false),
        ("*\n!a", "b", true),
        ("!a\n*", "a", true),
        ("dd\n!dd/s/2", "dd/s/2", false),
        ("dd\n!dd/s/2", "dd/s", true),
        ("dd\n!dd/s/2", "dd/s/1", true),
        ("**\n!**/*.go", "x/y.go", false),
        ("**\n!**/*.go", "x/y.c", true),
        ("*\n!./x", "x", false),
        ("*\n!/x", "x", false),
        ("docs\n!docs/README.md", "docs/README.md", false),
        ("docs/\n!docs/README.md", "docs", true),
        (
            "*.md\n!README*.md\nREADME-secret.md",
            "README-secret.md",
            true,
        ),
        ("*\n! a", "a", false),
        ("*\n!  a  ", "a", false),
    ] {
        check(file, path, excluded);
    }
}

#[test]
fn lines() {
    check("\u{feff}a", "a", true);
    check("a\r\nb\r\n", "a", true);
    check("a\r\nb\r\n", "b", true);
    check("# a\na", "a", true);
    check("#a", "a", false);
    check("#a", "#a", false);
    check(" #a", "#a", true);
    check("  a  ", "a", true);
    check("\n\n \n", "a", false);
    check("a b", "a b", true);
    let error = |file: &str| IgnoreRules::parse(file.as_bytes()).unwrap_err().to_string();
    assert_eq!(error("a\n!"), "illegal exclusion pattern: \"!\"");
    assert_eq!(error("! "), "illegal exclusion pattern: \"!\"");
    let cause = IgnoreRules::parse(b"x\na[").unwrap_err();
    assert_eq!(cause.to_string(), "line 2: pattern \"a[\"");
    let source = std::error::Error::source(&cause).unwrap();
    assert_eq!(source.to_string(), "syntax error in pattern");
    assert!(IgnoreRules::parse(b"a\\").is_err());
}

#[test]
fn the_deciding_line_is_told() {
    let rules = IgnoreRules::parse(b"# c\na\n!a/b\n").unwrap();
    assert!(matches!(rules.verdict("a/x"), Verdict::Excluded(rule) if rule.line() == 2));
    assert!(matches!(rules.verdict("a/b/c"), Verdict::Kept(rule) if rule.line() == 3));
    assert!(matches!(rules.verdict("b"), Verdict::Unmatched));
    assert_eq!(rules.rules()[1].pattern(), "a/b");
}

#[test]
fn pruning() {
    let check = |file: &str, directory: &str, walk: bool| {
        let rules = IgnoreRules::parse(file.as_bytes()).unwrap();
        assert_eq!(
            rules.may_keep_below(directory),
            walk,
            "{file:?} {directory}"
        );
    };
    check("dd", "dd", false);
    check("dd\n!dd/s/2", "dd", true);
    check("dd\n!dd/s/2", "dd/s", true);
    check("dd\n!dd/s/2", "dd/t", false);
    check("dd\nee\n!dd/s/2", "ee", false);
    check("!dd/s/2\ndd", "dd", false);
    check("*\n!**/*.go", "a/b", true);
    check("*\n!a/*.go", "a/b", false);
    check("*\n!a/*.go", "b", false);
    check("*\n!a", "a/b", true);
}

#[test]
fn excludes() {
    let rules = IgnoreRules::from_excludes(["*.md", "!x"]).unwrap();
    assert!(rules.is_excluded("a.md"));
    assert!(rules.is_excluded("!x"));
    assert!(!rules.is_excluded("x"));
    assert!(IgnoreRules::from_excludes(["["]).is_err());
}

#[test]
fn bytes_that_are_not_utf8() {
    let rules = IgnoreRules::parse(b"a*\nb\xff").unwrap();
    assert!(rules.is_excluded(b"a\xff\xfe"));
    assert!(rules.is_excluded(b"b\xff"));
}
