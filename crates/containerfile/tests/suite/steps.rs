//! Every instruction with its flags and forms.

use cooper_containerfile::{
    Access, BindOption, CacheSharing, Command, CopySource, GoDuration, HealthTest, Keyword, Op,
    Pair, Relabel, RunForm, RunMount, RunSecurity, Template, is_port,
};

use super::{good, step, steps, warnings};

fn texts(words: &[Template]) -> Vec<&str> {
    words.iter().map(Template::text).collect()
}

#[test]
fn stages() {
    let text = "ARG A=1 B\nARG C=$A\nFROM --platform=$BUILDPLATFORM a:$A as One\nRUN x\n\
        from --after=One --after=Two b AS two\nFROM scratch\n";
    let file = good(text).containerfile;
    let args: Vec<_> = file
        .global_args
        .iter()
        .map(|arg| (arg.name.as_str(), arg.default.as_ref().map(Template::text)))
        .collect();
    assert_eq!(args, [("A", Some("1")), ("B", None), ("C", Some("$A"))]);
    let [one, two, three] = file.stages.as_slice() else {
        panic!()
    };
    assert_eq!(
        (one.base.text(), one.name.as_deref()),
        ("a:$A", Some("One"))
    );
    assert_eq!(
        one.platform.as_ref().map(Template::text),
        Some("$BUILDPLATFORM")
    );
    assert_eq!(one.original, "FROM --platform=$BUILDPLATFORM a:$A as One");
    assert_eq!(texts(&two.after), ["One", "Two"]);
    assert_eq!(
        (three.base.text(), three.name.as_deref()),
        ("scratch", None)
    );
}

#[test]
fn references() {
    let text = "FROM a\nCOPY --from=b x y\nCOPY x y\nADD x y\nONBUILD COPY --from=q x y\n\
        RUN --mount=from=c,target=/c --mount=type=cache,target=/d,FROM=$D --mount=type=tmpfs,dst=/t x\n";
    let file = good(text).containerfile;
    let names: Vec<_> = file.stages[0]
        .references()
        .into_iter()
        .map(Template::text)
        .collect();
    assert_eq!(names, ["a", "b", "c", "$D"]);
}

#[test]
fn pairs() {
    let check = |line: &str, expected: &[(&str, &str)]| {
        let (Op::Env(pairs) | Op::Label(pairs)) = step(line).op else {
            panic!("{line}")
        };
        let lookup = |name: &str| (name == "V").then(|| "val ue".to_owned());
        let expand = |Pair { key, value }: &Pair| {
            (key.expand(&lookup).unwrap(), value.expand(&lookup).unwrap())
        };
        let found: Vec<_> = pairs.iter().map(expand).collect();
        let found: Vec<_> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, expected, "{line}");
    };
    check("ENV A=1", &[("A", "1")]);
    check(
        "ENV A=1 B=\"x y\" C='$V' D=$V E=a\\ b F=",
        &[
            ("A", "1"),
            ("B", "x y"),
            ("C", "$V"),
            ("D", "val ue"),
            ("E", "a b"),
            ("F", ""),
        ],
    );
    check("ENV A  b  c ", &[("A", "b  c")]);
    check("ENV A \"b  c\" d", &[("A", "b  c d")]);
    check("ENV A b=c", &[("A", "b=c")]);
    check("ENV A =b", &[("A", "=b")]);
    check("ENV A=b=c", &[("A", "b=c")]);
    check("LABEL \"x y\"='z' $V=1", &[("x y", "z"), ("val ue", "1")]);
    check("LABEL a b", &[("a", "b")]);
    check("ENV A=x\"y z\"w", &[("A", "xy zw")]);
    check("ENV --  A=1", &[("A", "1")]);
}

#[test]
fn arguments() {
    let check = |line: &str, expected: &[(&str, Option<&str>)]| {
        let Op::Arg(args) = step(line).op else {
            panic!("{line}")
        };
        let found: Vec<_> = args
            .iter()
            .map(|arg| (arg.name.as_str(), arg.default.as_ref().map(Template::text)))
            .collect();
        assert_eq!(found, expected, "{line}");
    };
    check("ARG A", &[("A", None)]);
    check("ARG A=", &[("A", Some(""))]);
    check(
        "ARG A=1 B C=\"x y\" D=$A",
        &[
            ("A", Some("1")),
            ("B", None),
            ("C", Some("\"x y\"")),
            ("D", Some("$A")),
        ],
    );
    check("ARG TARGETPLATFORM", &[("TARGETPLATFORM", None)]);
    check("ARG TARGETARCH=x", &[("TARGETARCH", Some("x"))]);
}

#[test]
fn commands() {
    let exec = |words: &[&str]| Command::Exec(words.iter().map(ToString::to_string).collect());
    let shell = |text: &str| Command::Shell(text.to_owned());
    let check = |line: &str, expected: Command| {
        let (Op::Cmd(command) | Op::Entrypoint(command)) = step(line).op else {
            panic!("{line}")
        };
        assert_eq!(command, expected, "{line}");
    };
    check("CMD a  b $C", shell("a  b $C"));
    check("CMD [\"a\",  \"$b\"]", exec(&["a", "$b"]));
    check("CMD", shell(""));
    check("CMD []", exec(&[]));
    check("ENTRYPOINT []", exec(&[]));
    check("ENTRYPOINT [\"a\"] b", shell("[\"a\"] b"));
    check("ENTRYPOINT ['a']", shell("['a']"));
    check("CMD [ -e /x ]", shell("[ -e /x ]"));
    check("CMD [\"a\",\\\n  \"b\"]", exec(&["a", "b"]));
    let Op::Shell(words) = step("SHELL [\"/bin/bash\", \"-c\"]").op else {
        panic!()
    };
    assert_eq!(words, ["/bin/bash", "-c"]);
}

#[test]
fn words() {
    let check = |line: &str, expected: &[&str]| {
        let words = match step(line).op {
            Op::Expose(words) | Op::Volume(words) => words,
            Op::User(word) | Op::Workdir(word) | Op::StopSignal(word) => vec![word],
            Op::Maintainer(text) => {
                assert_eq!([text.as_str()], expected, "{line}");
                return;
            }
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(texts(&words), expected, "{line}");
    };
    check("EXPOSE 80 81/udp  $P", &["80", "81/udp", "$P"]);
    check("VOLUME /a   /b", &["/a", "/b"]);
    check("VOLUME [\"/a b\", \"/c\"]", &["/a b", "/c"]);
    check("USER  a:b ", &["a:b"]);
    check("WORKDIR /a b/$C", &["/a b/$C"]);
    check("STOPSIGNAL SIGTERM", &["SIGTERM"]);
    check("STOPSIGNAL $S", &["$S"]);
    check("MAINTAINER  me  \"you\" <a@b>", &["me  \"you\" <a@b>"]);
}

#[test]
fn copy_and_add() {
    let Op::Copy(copy) = step(
        "COPY --from=b --chown=\"1:2\" --chmod=u=rwX,go=rX --link --parents=true --exclude=a --exclude=b x y /z",
    )
    .op
    else {
        panic!()
    };
    assert_eq!(copy.from.as_ref().map(Template::text), Some("b"));
    assert_eq!(copy.chown.as_ref().map(Template::text), Some("1:2"));
    assert_eq!(copy.chmod.as_ref().map(Template::text), Some("u=rwX,go=rX"));
    assert!(copy.link && copy.parents);
    assert_eq!(texts(&copy.excludes), ["a", "b"]);
    assert_eq!(copy.sources.len(), 2);
    assert_eq!(copy.destination.text(), "/z");

    let Op::Add(add) = step(
        "ADD --checksum=sha256:ab --keep-git-dir --unpack=false --link=false --chmod=$M https://x/y /z",
    )
    .op
    else {
        panic!()
    };
    assert_eq!(add.checksum.as_ref().map(Template::text), Some("sha256:ab"));
    assert!(add.keep_git_dir && !add.link);
    assert_eq!(add.unpack, Some(false));

    let check = |line: &str, sources: &[&str], destination: &str| {
        let Op::Copy(copy) = step(line).op else {
            panic!("{line}")
        };
        let found: Vec<_> = copy
            .sources
            .iter()
            .map(|source| match source {
                CopySource::Path(path) => path.expand(&|_| None).unwrap(),
                CopySource::Heredoc { name, .. } => name.clone(),
            })
            .collect();
        assert_eq!(found, sources, "{line}");
        assert_eq!(
            copy.destination.expand(&|_| None).unwrap(),
            destination,
            "{line}"
        );
    };
    check("COPY a b", &["a"], "b");
    check("COPY [\"a b\", \"c\", \"/d e/\"]", &["a b", "c"], "/d e/");
    check("COPY \"--chmod=1\" a b", &["--chmod=1", "a"], "b");
    check("COPY -- --a b", &["--a"], "b");
    check("COPY a\\b c", &["ab"], "c");
}

#[test]
fn run_forms_and_flags() {
    let Op::Run(run) = step("RUN --network=none --security=insecure --device=a --device=b x  y").op
    else {
        panic!()
    };
    assert_eq!(run.form, RunForm::Shell("x  y".to_owned()));
    assert_eq!(run.network.as_ref().map(Template::text), Some("none"));
    assert_eq!(run.security, RunSecurity::Insecure);
    assert_eq!(texts(&run.devices), ["a", "b"]);
    let Op::Run(run) = step("RUN [\"a\",\"b\"]").op else {
        panic!()
    };
    assert_eq!(
        run.form,
        RunForm::Exec(vec!["a".to_owned(), "b".to_owned()])
    );
    let Op::Run(run) = step("RUN [\"a\"] && b").op else {
        panic!()
    };
    assert_eq!(run.form, RunForm::Shell("[\"a\"] && b".to_owned()));
    let Op::Run(run) = step("RUN --mount=type=bind,source=$S,target=/t --network=$N x").op else {
        panic!()
    };
    assert_eq!(run.mounts[0].text.variables(), ["S"]);
}

#[test]
fn bind_mounts() {
    let parse = |text: &str| RunMount::parse(text).unwrap();
    let RunMount::Bind(bind) =
        parse("type=bind,from=b,source=/s,target=/t,rw,Z,U,nosuid,noexec,bind-propagation=rslave")
    else {
        panic!()
    };
    assert_eq!(
        (bind.from.as_deref(), bind.source.as_deref()),
        (Some("b"), Some("/s"))
    );
    assert_eq!(
        (bind.target.as_str(), bind.access),
        ("/t", Access::ReadWrite)
    );
    assert_eq!((bind.relabel, bind.chown), (Some(Relabel::Private), true));
    assert_eq!(bind.options, [BindOption::NoSuid, BindOption::NoExec]);
    assert_eq!(bind.propagation.as_deref(), Some("rslave"));
    let RunMount::Bind(bind) = parse("dst=/t,consistency=cached,relabel=shared") else {
        panic!()
    };
    assert_eq!(
        (bind.access, bind.relabel),
        (Access::ReadOnly, Some(Relabel::Shared))
    );
    let RunMount::Bind(bind) = parse("Type=bind,\"Source=/a,\"\"b\",TARGET=/t,ro=false") else {
        panic!()
    };
    assert_eq!(
        (bind.source.as_deref(), bind.access),
        (Some("/a,\"b"), Access::ReadWrite)
    );
}

#[test]
fn cache_and_tmpfs_mounts() {
    let parse = |text: &str| RunMount::parse(text).unwrap();
    let RunMount::Cache(cache) = parse("type=cache,target=/c") else {
        panic!()
    };
    assert_eq!(
        (cache.id.as_str(), cache.mode, cache.uid, cache.gid),
        ("/c", 0o755, 0, 0)
    );
    assert_eq!(
        (cache.sharing, cache.access),
        (CacheSharing::Shared, Access::ReadWrite)
    );
    let RunMount::Cache(cache) =
        parse("type=cache,id=x,target=/c,sharing=private,mode=0700,uid=1,gid=2,ro,from=a,source=s")
    else {
        panic!()
    };
    assert_eq!(
        (cache.id.as_str(), cache.mode, cache.uid, cache.gid),
        ("x", 0o700, 1, 2)
    );
    assert_eq!(
        (cache.sharing, cache.access),
        (CacheSharing::Private, Access::ReadOnly)
    );

    let RunMount::Tmpfs(tmpfs) =
        parse("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1777,tmpcopyup")
    else {
        panic!()
    };
    assert_eq!(
        (tmpfs.size, tmpfs.mode, tmpfs.copy_up),
        (Some(64 << 20), Some(0o1777), true)
    );
    let RunMount::Tmpfs(tmpfs) = parse("type=tmpfs,target=/t,size=100") else {
        panic!()
    };
    assert_eq!(tmpfs.size, Some(100));
}

#[test]
fn secret_and_ssh_mounts() {
    let parse = |text: &str| RunMount::parse(text).unwrap();
    let RunMount::Secret(secret) = parse("type=secret,id=s") else {
        panic!()
    };
    assert_eq!(
        (secret.target.as_deref(), secret.mode),
        (Some("/run/secrets/s"), 0o400)
    );
    let RunMount::Secret(secret) = parse("type=secret,target=/a/key,required") else {
        panic!()
    };
    assert_eq!((secret.id.as_str(), secret.required), ("key", true));
    let RunMount::Secret(secret) = parse("type=secret,id=s,env=S,required=true,uid=3") else {
        panic!()
    };
    assert_eq!(
        (secret.target, secret.env.as_deref(), secret.uid),
        (None, Some("S"), 3)
    );

    let RunMount::Ssh(ssh) = parse("type=ssh,required") else {
        panic!()
    };
    assert_eq!(
        (ssh.id.as_str(), ssh.target, ssh.required, ssh.mode),
        ("default", None, true, 0o600)
    );
}

#[test]
fn mounts_that_are_refused() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            RunMount::parse(text).unwrap_err().to_string(),
            expected,
            "{text}"
        );
    };
    check("type=foo,target=/t", "invalid mount type \"foo\"");
    check("type=bind,foo,target=/t", "foo: invalid mount option");
    check("type=bind,foo=1,target=/t", "foo: invalid mount option");
    check(
        "type=cache,nosuid,target=/t",
        "nosuid: invalid mount option",
    );
    check(
        "rw=true,target=/t",
        "rw: must not provide an argument for option",
    );
    check("target", "target: must provide an argument for option");
    check("type=bind", "must set volume destination");
    check("type=cache", "must set volume destination");
    check("type=tmpfs", "must set volume destination");
    check(
        "type=cache,target=/t,sharing=x",
        "unrecognized value \"x\" for field `sharing`",
    );
    check(
        "type=cache,target=/t,mode=999",
        "unrecognized value \"999\" for field `mode`",
    );
    check(
        "type=cache,target=/t,uid=-1",
        "unrecognized value \"-1\" for field `uid`",
    );
    check(
        "type=tmpfs,target=/t,size=1x",
        "unrecognized value \"1x\" for field `size`",
    );
    assert!(RunMount::parse("type=secret").is_err());
    assert!(RunMount::parse("\"target=/t").is_err());
    assert!(RunMount::parse("tar\"get=/t").is_err());
    assert!(RunMount::parse("").is_err());
}

#[test]
fn health_checks() {
    let Op::Healthcheck(check) = step(
        "HEALTHCHECK --interval=\"5s\"  --timeout=1m30s --start-period=0 --start-interval=1ms --retries=3 CMD  a  b",
    )
    .op
    else {
        panic!()
    };
    assert_eq!(check.test, HealthTest::Shell("a  b".to_owned()));
    assert_eq!(check.interval, Some(GoDuration(5_000_000_000)));
    assert_eq!(check.timeout, Some(GoDuration(90_000_000_000)));
    assert_eq!(check.start_period, Some(GoDuration(0)));
    assert_eq!(check.start_interval, Some(GoDuration(1_000_000)));
    assert_eq!(check.retries, Some(3));
    let words = |line: &str| match step(line).op {
        Op::Healthcheck(check) => check.test.config_words(),
        other => panic!("{other:?}"),
    };
    assert_eq!(words("HEALTHCHECK cmd [\"a\", \"b\"]"), ["CMD", "a", "b"]);
    assert_eq!(words("HEALTHCHECK CMD a"), ["CMD-SHELL", "a"]);
    assert_eq!(words("healthcheck none"), ["NONE"]);
}

#[test]
fn triggers() {
    let check = |line: &str, text: &str, keyword: Option<Keyword>| {
        let Op::OnBuild(trigger) = step(line).op else {
            panic!("{line}")
        };
        assert_eq!(
            (trigger.text.as_str(), trigger.keyword),
            (text, keyword),
            "{line}"
        );
    };
    check("ONBUILD RUN  a  b ", "RUN  a  b", Some(Keyword::Run));
    check(
        "onbuild   copy --chown=1 a \\\n b",
        "copy --chown=1 a  b",
        Some(Keyword::Copy),
    );
    check("ONBUILD FOO x", "FOO x", None);
    let found = warnings("FROM a\nONBUILD FOO x\nONBUILD RUN\n");
    assert_eq!(
        found,
        [
            "this trigger will fail in a build from the image: Build error: Unknown instruction: \"FOO\"",
            "this trigger will fail in a build from the image: RUN requires at least one argument",
        ]
    );
}

#[test]
fn texts_of_steps() {
    // What Buildah 1.28 prints for these lines.
    let text = "from   scratch\n  env   A=1    B=\"x y\"   \nCMD   echo   a   \\\n   b  \"x\"  \n\
        Entrypoint []\nonbuild   COPY   --chown=1 a    b\n";
    let steps = steps(text);
    let originals: Vec<_> = steps.iter().map(|step| step.original.as_str()).collect();
    assert_eq!(
        originals,
        [
            "env   A=1    B=\"x y\"   ",
            "CMD   echo   a      b  \"x\"  ",
            "Entrypoint []",
            "onbuild   COPY   --chown=1 a    b",
        ]
    );
    let errors: Vec<_> = steps
        .iter()
        .map(cooper_containerfile::Step::error_text)
        .collect();
    assert_eq!(
        errors,
        [
            "ENV A=1    B=\"x y\"",
            "CMD echo   a      b  \"x\"",
            "ENTRYPOINT ",
            "ONBUILD copy --chown=1 a    b",
        ]
    );
    assert_eq!(steps[1].rest(), "echo   a      b  \"x\"");
}

#[test]
fn ports() {
    for text in ["80", "80/tcp", "80/UDP", "1-65535/sctp", "0"] {
        assert!(is_port(text), "{text}");
    }
    for text in [
        "",
        "a",
        "80/",
        "80/x",
        "65536",
        "9-8",
        "-",
        "1-",
        "+1",
        "80/tcp/udp",
    ] {
        assert!(!is_port(text), "{text}");
    }
    assert_eq!(
        warnings("FROM a\nEXPOSE abc 80"),
        ["\"abc\" is not a port number or a range of them"]
    );
}

#[test]
fn repeated_flags() {
    let text = "FROM a\nCOPY --chown=1 --chown=2 --exclude=a --exclude=b x y";
    assert_eq!(
        warnings(text),
        ["the flag --chown is given more than once, the last counts"]
    );
    let Op::Copy(copy) = &steps(text)[0].op else {
        panic!()
    };
    assert_eq!(copy.chown.as_ref().map(Template::text), Some("2"));
}
