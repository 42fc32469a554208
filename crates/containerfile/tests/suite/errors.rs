//! The wording that scripts match.

use cooper_containerfile::parse_str;

use super::errors;

#[track_caller]
fn check(line: &str, expected: &str) {
    assert_eq!(errors(&format!("FROM a\n{line}\n")), [expected], "{line}");
}

#[test]
fn stages() {
    let whole = |text: &str, expected: &str| assert_eq!(errors(text), [expected], "{text}");
    whole(
        "RUN x\nCMD y\n",
        "reading multiple stages: stage 1 requires a FROM instruction (\"\")",
    );
    whole(
        "ARG A\nRUN x\nFROM b",
        "reading multiple stages: stage 1 requires a FROM instruction (\"\")",
    );
    whole("FROM", "FROM requires an argument");
    let words = "FROM requires either one argument, or three: FROM <source> [AS <name>]";
    whole("FROM a b", words);
    whole("FROM a b c", words);
    whole("FROM a AS b c", words);
    whole("FROM a AS", words);
    let flags = "FROM only supports the --platform and --after flags";
    whole("FROM --foo a", flags);
    whole("FROM --platform a", flags);
    whole(
        "ARG\nFROM a",
        "reading multiple stages: ARG requires an argument",
    );
}

#[test]
fn instructions() {
    check("FOO x", "Build error: Unknown instruction: \"FOO\"");
    check("rum x", "Build error: Unknown instruction: \"RUM\"");
    for name in ["USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER"] {
        check(name, &format!("{name} requires exactly one argument"));
    }
    for name in [
        "ENV",
        "LABEL",
        "EXPOSE",
        "VOLUME",
        "HEALTHCHECK",
        "ONBUILD",
        "SHELL",
        "RUN",
    ] {
        check(name, &format!("{name} requires at least one argument"));
    }
    check("SHELL []", "SHELL requires at least one argument");
    check("RUN []", "RUN requires at least one argument");
    check("VOLUME []", "VOLUME requires at least one argument");
    check("ARG", "reading multiple stages: ARG requires an argument");
    check(
        "SHELL /bin/sh",
        "SHELL requires the arguments to be in JSON form",
    );
    check("STOPSIGNAL FOO", "Invalid signal: FOO");
    check(
        "VOLUME [\"\"]",
        "Volume specified can not be an empty string",
    );
    check("VOLUME \"\"", "Volume specified can not be an empty string");
    check(
        "ARG TARGETPLATFORM=x",
        "attempted to redefine \"TARGETPLATFORM\": invalid argument",
    );
    check(
        "ARG BUILDPLATFORM=",
        "attempted to redefine \"BUILDPLATFORM\": invalid argument",
    );
    for name in [
        "CMD",
        "ENTRYPOINT",
        "RUN",
        "SHELL",
        "VOLUME",
        "COPY",
        "HEALTHCHECK CMD",
    ] {
        let message = "parsing main Dockerfile: NAME: when using JSON array syntax, \
            arrays must be comprised of strings only";
        check(&format!("{name} [1, \"b\"]"), message);
    }
    for line in [
        "CMD --foo bar",
        "ENV --foo A=1",
        "USER --foo x",
        "EXPOSE --foo=1 80",
    ] {
        check(line, "unknown flag: --foo");
    }
}

#[test]
fn pairs() {
    check(
        "ENV A",
        "parsing main Dockerfile: NAME: ENV must have two arguments",
    );
    check(
        "LABEL A",
        "parsing main Dockerfile: NAME: LABEL must have two arguments",
    );
    check(
        "ENV a=b g",
        "parsing main Dockerfile: NAME: Syntax error - can't find = in \"g\". \
         Must be of the form: name=value",
    );
    check("ENV =x", "ENV names can not be blank");
    check("LABEL ''=x", "LABEL names can not be blank");
    check("ARG =x", "ARG names can not be blank");
    let check = |line: &str, cause: &str| {
        check(
            line,
            &format!("resolving step {{Original:{line} StartLine:2}}: {cause}"),
        );
    };
    check(
        "ENV A=${B",
        "Missing ':' or '#' or '%' or '/' in substitution: ${B",
    );
    check(
        "ENV A=\"b",
        "unexpected end of statement while looking for matching double-quote",
    );
    check(
        "USER ${A",
        "Missing ':' or '#' or '%' or '/' in substitution: ${A",
    );
}

#[test]
fn sources() {
    check("COPY a", "COPY requires at least two arguments");
    check("COPY", "COPY requires at least two arguments");
    check("ADD [\"a\"]", "ADD requires at least two arguments");
    check("COPY <<E\nE", "COPY requires at least two arguments");
    let copy = "COPY only supports the --chmod=<permissions>, --chown=<uid:gid>, \
        --from=<image|stage>, --link, --parents, and --exclude=<pattern> flags";
    check("COPY --foo a b", copy);
    check("COPY --checksum=x a b", copy);
    let values = "COPY only supports the --chmod=<permissions> --chown=<uid:gid> \
        --from=<image|stage> and the --exclude=<pattern> flags";
    check("COPY --chown a b", values);
    let add = "ADD only supports the --chmod=<permissions>, --chown=<uid:gid>, \
        --checksum=<checksum>, --link, --keep-git-dir, and --exclude=<pattern> flags";
    check("ADD --from=x a b", add);
    check("ADD --parents a b", add);
    for flag in ["chown", "from", "chmod", "exclude"] {
        check(
            &format!("COPY --{flag}= a b"),
            &format!("no value specified for --{flag}="),
        );
    }
    check("COPY --chmod=999 a b", "Error parsing chmod 999");
    check("COPY https://x/y b", "source can't be a URL for COPY");
    check("COPY a <<E\nx\nE", "the heredoc E is not a source");
}

#[test]
fn run() {
    let flags = "RUN only supports the --mount and --network flag";
    check("RUN --foo x", flags);
    check("RUN --mount x", flags);
    check(
        "RUN --network=foo x",
        "unsupported value \"foo\" for \"RUN --network\", must be either \"host\" or \"none\"",
    );
    check("RUN --mount=type=foo x", "invalid mount type \"foo\"");
    check("RUN --mount=type=bind x", "must set volume destination");
}

#[test]
fn health() {
    check(
        "HEALTHCHECK FOO",
        "Unknown type \"FOO\" in HEALTHCHECK (try CMD)",
    );
    check("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD");
    check(
        "HEALTHCHECK CMD []",
        "Missing command after HEALTHCHECK CMD",
    );
    check("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments");
    check(
        "HEALTHCHECK --interval=-1s CMD x",
        "Interval \"interval\" must be positive",
    );
    check(
        "HEALTHCHECK --timeout=1us CMD x",
        "Interval \"timeout\" cannot be less than 1ms",
    );
    check(
        "HEALTHCHECK --retries=0 CMD x",
        "--retries must be at least 1 (not 0)",
    );
    check(
        "HEALTHCHECK --retries=-2 CMD x",
        "--retries must be at least 1 (not -2)",
    );
    check(
        "HEALTHCHECK --foo=1 CMD x",
        "flag provided but not defined: -foo",
    );
    check(
        "HEALTHCHECK --interval=x CMD x",
        "time: invalid duration \"x\"",
    );
    check(
        "HEALTHCHECK --interval=1s",
        "HEALTHCHECK requires at least one argument",
    );
}

#[test]
fn triggers() {
    check(
        "ONBUILD ONBUILD RUN x",
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    );
    check("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger");
    check(
        "ONBUILD maintainer x",
        "MAINTAINER isn't allowed as an ONBUILD trigger",
    );
}

#[test]
fn the_step_is_named() {
    let full = |text: &str| parse_str("f", text).diagnostics[0].full_message();
    assert_eq!(
        full("FROM a\ncopy  --foo   a  b"),
        "building at STEP \"COPY --foo   a  b\": COPY only supports the --chmod=<permissions>, \
         --chown=<uid:gid>, --from=<image|stage>, --link, --parents, and --exclude=<pattern> flags"
    );
    assert_eq!(
        full("FROM a\nFOO"),
        "building at STEP \"FOO \": Build error: Unknown instruction: \"FOO\""
    );
    assert_eq!(
        full("FROM a\nENV A"),
        "parsing main Dockerfile: f: ENV must have two arguments"
    );
    assert_eq!(
        full("FROM a\nSHELL []"),
        "building at STEP \"SHELL \": SHELL requires at least one argument"
    );
}

#[test]
fn all_errors_are_found_at_once() {
    let text = "FROM a\nFOO\nUSER\nRUN <<E\nx\nE\nCOPY a\nFROM\nSHELL x\n";
    assert_eq!(errors(text).len(), 5);
}
