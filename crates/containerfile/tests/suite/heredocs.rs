//! Heredocs on RUN, COPY, ADD and behind ONBUILD.

use cooper_containerfile::{CopySource, Op, RunForm, parse_trigger};

use super::{errors, steps};

fn first(text: &str) -> cooper_containerfile::Step {
    steps(&format!("FROM a\n{text}")).remove(0)
}

#[track_caller]
fn script(text: &str, expected: &str) {
    match first(text).op {
        Op::Run(run) => match run.form {
            RunForm::Script(heredoc) => assert_eq!(heredoc.content(), expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    }
}

#[track_caller]
fn shell(text: &str, expected: &str) {
    match first(text).op {
        Op::Run(run) => assert_eq!(run.form, RunForm::Shell(expected.to_owned()), "{text}"),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn scripts() {
    script("RUN <<EOF\na\n  b\nEOF\n", "a\n  b\n");
    script("RUN <<EOF\r\na\r\nEOF\r\n", "a\n");
    script("RUN <<EOF\nEOF", "");
    script(
        "RUN <<EOF\n# not a comment\n\na \\\nb\nEOF\n",
        "# not a comment\n\na \\\nb\n",
    );
    script("RUN <<'EOF'\n$A\nEOF\n", "$A\n");
    script("RUN <<\"E O\"\nx\nE O\n", "x\n");
    script("RUN 3<<EOF\nx\nEOF\n", "x\n");
    script("RUN <<-EOF\n\ta\n\t\tb\n\tEOF\n", "a\nb\n");
    script("RUN <<EOF\n\ta\n\tEOF\nEOF\n", "\ta\n\tEOF\n");
    script("RUN --mount=type=cache,target=/c <<EOF\nx\nEOF\n", "x\n");
    script("RUN --network=none \\\n <<EOF\nx\nEOF\n", "x\n");
    script("RUN <<EOF\n EOF\nEOF \nEOF\n", " EOF\nEOF \n");
    script("RUN <<E-O.F\nx\nE-O.F\n", "x\n");
}

#[test]
fn programs() {
    let Op::Run(run) = first("RUN <<-EOF\n\t#!/usr/bin/env python3\n\tprint()\nEOF\n").op else {
        panic!()
    };
    let RunForm::Script(heredoc) = run.form else {
        panic!()
    };
    assert!(heredoc.is_program() && heredoc.chomp && heredoc.expand);
    assert_eq!(heredoc.body, "\t#!/usr/bin/env python3\n\tprint()\n");
}

#[test]
fn the_shell_reads_the_others() {
    shell("RUN cat <<EOF > /x\na\nEOF\n", "cat <<EOF > /x\na\nEOF");
    shell(
        "RUN python3 <<-EOF\n\ta\n\tEOF\n",
        "python3 <<-EOF\n\ta\nEOF",
    );
    shell("RUN <<A <<B\na\nA\nb\nB\n", "<<A <<B\na\nA\nb\nB");
    shell(
        "RUN cat <<A - <<B\n1\nA\n2\nB\n",
        "cat <<A - <<B\n1\nA\n2\nB",
    );
    shell("RUN <<EOF cat\nx\nEOF\n", "<<EOF cat\nx\nEOF");
    shell("RUN a # <<EOF\nx\nEOF\n", "a # <<EOF\nx\nEOF");
    shell("RUN $( cat <<EOF )\nx\nEOF\n", "$( cat <<EOF )\nx\nEOF");
}

#[test]
fn not_openers() {
    shell("RUN echo \"<<EOF\"", "echo \"<<EOF\"");
    shell("RUN echo 'a <<EOF b'", "echo 'a <<EOF b'");
    shell("RUN cat <<<EOF", "cat <<<EOF");
    shell("RUN echo $((1 << 2))", "echo $((1 << 2))");
    shell("RUN a<<EOF", "a<<EOF");
    shell("RUN a <<", "a <<");
    shell("RUN a <<-", "a <<-");
    let Op::Run(run) = first("RUN [\"cat\", \"<<EOF\"]").op else {
        panic!()
    };
    assert_eq!(
        run.form,
        RunForm::Exec(vec!["cat".to_owned(), "<<EOF".to_owned()])
    );
    let Op::Cmd(_) = first("CMD cat <<EOF\n").op else {
        panic!()
    };
    let Op::Env(_) = first("ENV A=<<EOF\n").op else {
        panic!()
    };
}

#[test]
fn files() {
    let check = |text: &str, expected: &[(&str, &str)], to: &str| {
        let (sources, destination) = match first(text).op {
            Op::Copy(copy) => (copy.sources, copy.destination),
            Op::Add(add) => (add.sources, add.destination),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(destination.text(), to, "{text}");
        let lookup = |name: &str| (name == "E").then(|| "v".to_owned());
        let found: Vec<_> = sources
            .iter()
            .map(|source| match source {
                CopySource::Path(path) => ("path", path.expand(&lookup).unwrap()),
                CopySource::Heredoc { name, body } => {
                    (name.as_str(), body.expand(&lookup).unwrap())
                }
            })
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check(
        "COPY <<F /f\na $E \\$E \"$E\" 'b' \\a \\\\\nF\n",
        &[("F", "a v $E \"v\" 'b' \\a \\\\\n")],
        "/f",
    );
    check(
        "COPY <<'F' /f\na $E \\$E ${\nF\n",
        &[("F", "a $E \\$E ${\n")],
        "/f",
    );
    check("COPY <<-F /f\n\t\t$E\n\tF\n", &[("F", "v\n")], "/f");
    check(
        "COPY <<F /f\n$U$$x${E:-w}${U:-\"w\"}$\nF\n",
        &[("F", "xv\"w\"$\n")],
        "/f",
    );
    check(
        "ADD <<A <<B x /d/\n1\nA\n2\nB\n",
        &[("A", "1\n"), ("B", "2\n"), ("path", "x")],
        "/d/",
    );
    check(
        "COPY --chmod=600 x <<A /d/\n1\nA\n",
        &[("path", "x"), ("A", "1\n")],
        "/d/",
    );
    check(
        "COPY <<A <<A /d/\n1\nA\n2\nA\n",
        &[("A", "1\n"), ("A", "2\n")],
        "/d/",
    );
    check("COPY <<A /d\nA\n", &[("A", "")], "/d");
}

#[test]
fn texts() {
    let check = |text: &str, shown: &str, original: &str| {
        let step = first(text);
        assert_eq!(
            (step.display_text().as_str(), step.original.as_str()),
            (shown, original)
        );
    };
    check(
        "COPY <<X <<Y /h/\none $E \\$E\nX\ntwo\nY\n",
        "COPY <<X <<Y /h/ (one $E \\$E) (two)",
        "COPY <<X <<Y /h/",
    );
    check("run <<E\na\nb\nE\n", "run <<E (a...)", "run <<E");
    check("RUN <<E\nE\n", "RUN <<E ()", "RUN <<E");
}

#[test]
fn the_next_instruction_follows() {
    let steps = steps("FROM a\nRUN <<A\nUSER x\nA\nUSER y\nCOPY <<B /z\nB\nUSER z");
    let words: Vec<_> = steps.iter().map(|step| step.keyword().as_str()).collect();
    assert_eq!(words, ["RUN", "USER", "COPY", "USER"]);
}

#[test]
fn without_an_end() {
    let message = "parsing main Dockerfile: NAME: EOF: unterminated heredoc";
    assert_eq!(errors("FROM a\nRUN <<EOF\nx\n"), [message]);
    assert_eq!(errors("FROM a\nCOPY <<EOF /x"), [message,][..1]);
    let message = "parsing main Dockerfile: NAME: X;: unterminated heredoc";
    assert_eq!(errors("FROM a\nRUN cat <<X; ls\nx\nX\n"), [message]);
}

#[test]
fn triggers() {
    let Op::OnBuild(trigger) = first("ONBUILD COPY <<A <<B /d/\n1\nA\n2\nB\n").op else {
        panic!()
    };
    assert_eq!(
        trigger.text,
        "COPY <<A <<B /d/\n1\n\nA".replace("1\n\n", "1\n") + "\n2\nB"
    );
    let step = parse_trigger(&trigger.text).unwrap();
    let Op::Copy(copy) = step.op else { panic!() };
    assert_eq!(copy.sources.len(), 2);
    let Op::OnBuild(trigger) = first("onbuild   run <<EOF\n#!/bin/sh\nEOF\n").op else {
        panic!()
    };
    assert_eq!(trigger.text, "run <<EOF\n#!/bin/sh\nEOF");
    assert!(parse_trigger(&trigger.text).is_ok());
    assert!(parse_trigger("RUN <<EOF").is_err());
    assert!(parse_trigger("").is_err());
    assert!(parse_trigger("RUN a\nRUN b").is_err());
    assert!(parse_trigger("ONBUILD RUN b").is_err());
    assert!(parse_trigger("FOO").is_err());
}
