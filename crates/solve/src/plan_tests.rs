//! What is planned of a file, in which order, and what is refused.

use super::*;

/// The nodes of a plan as `base: step, step`.
fn plan(setting: &Setting) -> Result<Vec<String>, PlanError> {
    let graph = Graph::plan(&[setting.target()], setting)?;
    let name = |node: &crate::graph::Node| {
        let origin = &node.origin;
        let name = origin
            .name
            .clone()
            .unwrap_or_else(|| origin.index.to_string());
        format!("{name}{:?}", node.needs)
    };
    Ok(graph.nodes.iter().map(name).collect())
}

#[track_caller]
fn check_plan(setting: &Setting, expected: &[&str]) {
    assert_eq!(plan(setting).expect("plan"), expected, "{}", setting.file);
}

#[test]
fn only_needed_stages_are_planned_in_the_order_of_their_needs() {
    check_plan(
        &s("FROM base AS a\nFROM base AS b\nRUN x\nFROM a\nRUN y\n"),
        &["a[]", "2[0]"],
    );
    check_plan(
        &s("FROM base AS a\nRUN x\nFROM base\nCOPY --from=0 /x /x\n"),
        &["a[]", "1[0]"],
    );
    check_plan(
        &s("FROM base\nCOPY --from=late /x /x\nFROM base AS late\nRUN y\n")
            .with(|s| s.target = Some("0".into())),
        &["late[]", "0[0]"],
    );
    check_plan(
        &s("FROM base AS a\nRUN x\nFROM base\nRUN --mount=from=0,target=/m y\n"),
        &["a[]", "1[0]"],
    );
    check_plan(
        &s("FROM base AS a\nRUN x\nFROM base\nARG S=a\nRUN --mount=from=$S,target=/m y\n"),
        &["a[]", "1[0]"],
    );
    check_plan(
        &s("FROM base AS a\nRUN x\nFROM --after=a base\nRUN y\n"),
        &["a[]", "1[0]"],
    );
    check_plan(
        &s("FROM base AS A\nRUN x\nFROM a\nRUN y\n"),
        &["A[]", "1[0]"],
    );
    check_plan(
        &s("FROM base AS a\nRUN 1\nFROM a AS a\nRUN 2\nFROM a\nRUN 3\n"),
        &["a[]", "a[0]", "2[1]"],
    );
    check_plan(&s("ARG B=base\nFROM $B\nRUN x\n"), &["0[]"]);
    check_plan(
        &s(
            "FROM base AS a\nRUN x\nFROM base AS b\nRUN x\nFROM base\nCOPY --from=a / /a\nCOPY --from=b / /b\n",
        ),
        &["a[]", "b[]", "2[0, 1]"],
    );
    let target = |name: &str| {
        s("FROM base AS a\nRUN x\nFROM base AS b\nRUN y\n")
            .with(|s| s.target = Some(name.to_owned()))
    };
    check_plan(&target("a"), &["a[]"]);
    check_plan(&target("1"), &["b[]"]);
    check_plan(&target("B"), &["b[]"]);
}

#[test]
fn triggers_are_followed_before_stages_are_left_out() {
    let setting = s("FROM base AS tool\nRUN x\nFROM parent\nRUN y\n").with(|s| {
        s.images.insert(
            "parent".to_owned(),
            (3, vec!["COPY --from=tool /t /t".to_owned()]),
        );
    });
    check_plan(&setting, &["tool[]", "1[0]"]);
}

#[test]
fn equal_stages_of_two_targets_are_one_node() {
    let setting = s("FROM base AS a\nRUN x\nFROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\n");
    let mut one = setting.target();
    one.stage = Some("one".to_owned());
    let mut two = one.clone();
    two.stage = Some("two".to_owned());
    let mut arm = one.clone();
    arm.platform = Platform::new("linux", "arm64");
    let graph = Graph::plan(&[one.clone(), two, one, arm], &setting).expect("plan");
    let outputs: Vec<usize> = graph.outputs.iter().map(|output| output.node).collect();
    assert_eq!(outputs, [1, 2, 1, 4]);
    assert_eq!(graph.nodes.len(), 5);
}

#[track_caller]
fn check_fault(setting: &Setting, expected: &str) {
    let error = plan(setting).expect_err("fault");
    let text = match &error {
        PlanError::Step { at, source, .. } => format!("{}: {source}", at.line),
        other => other.to_string(),
    };
    assert_eq!(text, expected, "{}", setting.file);
}

#[test]
fn what_cannot_be_built_is_said_with_its_line() {
    check_fault(
        &s("FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nCOPY --from=a / /\n"),
        "3: stage `b` needs itself",
    );
    check_fault(
        &s("COPY --from=9 / /\n"),
        "2: COPY --from=9: no stage or image found with that name",
    );
    check_fault(
        &s("COPY --from=nope / /\n"),
        "2: COPY --from=nope: no stage or image found with that name",
    );
    check_fault(
        &s("FROM nope\n"),
        "1: creating build container for base image \"nope\"",
    );
    check_fault(
        &s("ARG E=\nFROM $E\n"),
        "2: invalid base image specification \"\"",
    );
    check_fault(
        &s("RUN --device=x a\n"),
        "2: RUN --device is not supported yet",
    );
    check_fault(
        &s("ADD git@example.org:x.git /x\n"),
        "2: ADD of a git repository is not supported yet",
    );
    check_fault(
        &s("ARG T=bind\nRUN --mount=type=$T,target=/t,no-dereference a\n"),
        "3: RUN --mount=type=bind,no-dereference is not supported yet",
    );
    check_fault(
        &s("ENV A=\"${B:?is missing}\"\n"),
        "2: cannot expand `\"${B:?is missing}\"`",
    );
    check_fault(
        &s("RUN a\n").with(|s| s.target = Some("nope".into())),
        "the target \"nope\" was not found in the provided Dockerfile",
    );
    assert!(matches!(
        plan(&s("FROM base\nCOPY --from=$X / /\n")),
        Err(PlanError::Step {
            source: StepFault::NoValue { flag: "from" },
            ..
        })
    ));
}

/// Binds a file and returns the last stage's config as few words.
#[track_caller]
fn check_config(setting: &Setting, expected: &str) {
    let graph = Graph::plan(&[setting.target()], setting).expect("plan");
    let config = &graph.nodes[graph.outputs[0].node].stage.config;
    let text = format!(
        "env={} cmd={} entrypoint={} dir={} user={} labels={:?} ports={:?}",
        config.env.join(","),
        config.cmd.join("|"),
        config.entrypoint.join("|"),
        config.working_dir,
        config.user,
        config.labels,
        config.exposed_ports
    );
    let words: Vec<&str> = expected
        .split("; ")
        .filter(|word| !word.is_empty())
        .collect();
    for word in words {
        assert!(text.contains(word), "{text}\n{word}\n{}", setting.file);
    }
}

#[test]
fn steps_lead_to_the_configuration() {
    check_config(
        &s("ENV A=1 B=2\nENV A=3\n"),
        "env=PATH=/bin,BASE=1,A=3,B=2 ",
    );
    check_config(&s("ENV abc=hello\nENV abc=bye def=$abc\n"), "def=hello");
    check_config(&s("ARG A=1 B=$A\nENV V=$B\n"), "V=1");
    check_config(&s("ARG A=1\nENV A=2\nENV V=$A\n"), "V=2");
    check_config(&s("ARG X\nENV V=${X:-d}\n"), "V=d");
    check_config(&s("ARG X\nENV V=${X:-d}\n").arg("X", "g"), "V=g");
    check_config(
        &s("ARG G=g\nFROM base\nENV V=$G\nARG G\nENV W=$G\n"),
        "V=,; W=g",
    );
    check_config(
        &s("ARG TARGETARCH TARGETPLATFORM\nENV V=$TARGETARCH W=$TARGETPLATFORM\n"),
        "V=amd64; W=linux/amd64",
    );
    check_config(&s("CMD a b\n"), "cmd=/bin/sh|-c|a b ");
    check_config(
        &s("SHELL [\"/bin/ash\",\"-ec\"]\nCMD a b\n"),
        "cmd=/bin/ash|-ec|a b ",
    );
    check_config(
        &s("CMD [\"a\"]\nENTRYPOINT [\"e\"]\n"),
        "cmd=a ; entrypoint=e ",
    );
    check_config(
        &s("FROM base AS b\nCMD [\"a\"]\nFROM b\nENTRYPOINT [\"e\"]\n"),
        "cmd= ; entrypoint=e ",
    );
    check_config(&s("ENTRYPOINT [\"e\"]\nENTRYPOINT []\n"), "entrypoint= ");
    check_config(&s("WORKDIR /a\nWORKDIR b\nWORKDIR ../c\n"), "dir=/a/c ");
    check_config(
        &s("ARG P=\"81 82/udp\"\nEXPOSE 80 $P\n"),
        "{\"80/tcp\", \"81/tcp\", \"82/udp\"}",
    );
    check_config(
        &s("ARG K=k\nLABEL $K=1 \"x$K\"=2\n"),
        "{\"k\": \"1\", \"xk\": \"2\"}",
    );
    check_config(
        &s("RUN a\n").with(|s| s.labels.push(("l".into(), "$1".into()))),
        "{\"l\": \"$1\"}",
    );
    check_config(
        &s("FROM base AS a\nARG A=5\nENV E=1\nFROM a\nENV V=$A\n"),
        "E=1; V=5",
    );
    check_config(&s("FROM scratch\nENV A=1\n"), "env=A=1 ; dir=/ ");
}

#[test]
fn images_are_foreseen_where_the_file_tells_them() {
    let check = |setting: Setting, expected: &[&str]| {
        let targets = [setting.target()];
        let plan = crate::file_plan::FilePlan::new(&targets, 0).expect("a file");
        let foreseen: Vec<String> = plan
            .foreseen()
            .iter()
            .map(|(name, platform)| format!("{name} {platform}"))
            .collect();
        assert_eq!(foreseen, expected, "{}", setting.file);
    };
    check(Setting::new("RUN x\n"), &["base linux/amd64"]);
    check(
        Setting::new(
            "ARG V=2\nFROM one:$V AS a\nCOPY --from=two /x /\nFROM unused\nFROM --platform=linux/arm64 three\nCOPY --from=a /x /\nRUN --mount=from=four,target=/m x\nCOPY --from=0 /x /\n",
        ),
        &[
            "one:2 linux/amd64",
            "two linux/amd64",
            "three linux/arm64",
            "four linux/arm64",
        ],
    );
    check(
        Setting::new("FROM scratch\nCOPY --from=base /x /\nCOPY --from=base /y /\n"),
        &["base linux/amd64"],
    );
    // A named context stands before a stage and an image.
    check(
        Setting::new("FROM base AS ctx\nFROM ctx\nCOPY --from=ctx /x /\n")
            .with(|setting| setting.contexts.push("ctx".to_owned())),
        &[],
    );
    // A variable of the stage decides later.
    check(
        Setting::new("FROM base\nARG F=other\nCOPY --from=$F /x /\n"),
        &["base linux/amd64"],
    );
}
