//! What must hold for any bytes.

use cooper_containerfile::{
    Escape, Glob, GoDuration, IgnoreRules, Input, Op, RunMount, Span, Template, TemplateKind,
    parse, parse_trigger,
};
use proptest::prelude::*;

/// Bytes that look like the language more often than chance would have it.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("FROM a\n".to_owned()),
        prop::sample::select(vec![
            "RUN ",
            "COPY ",
            "ADD ",
            "ENV ",
            "LABEL ",
            "ARG ",
            "CMD ",
            "ONBUILD ",
            "HEALTHCHECK ",
            "VOLUME ",
            "EXPOSE ",
            "USER ",
            "SHELL ",
            "<<E",
            "<<-E\n",
            "E\n",
            "\nE\n",
            "\\\n",
            "\n",
            " ",
            "\t",
            "\r\n",
            "# c\n",
            "# escape=`\n",
            "`\n",
            "[\"a\"]",
            "\"",
            "'",
            "\\",
            "$",
            "${A",
            ":-",
            "}",
            "--from=x ",
            "--mount=type=bind,from=$A,target=/t ",
            "--",
            "=",
            "é",
            "A=1 ",
            "NONE",
            "CMD x",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    prop_oneof![
        prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn spans(parsed: &cooper_containerfile::Parsed) -> Vec<Span> {
    let mut spans: Vec<Span> = parsed.diagnostics.iter().map(|found| found.span).collect();
    for stage in &parsed.containerfile.stages {
        spans.push(stage.at);
        spans.extend(stage.references().into_iter().map(Template::at));
        for step in &stage.steps {
            spans.push(step.at);
            spans.extend(step.heredocs.iter().map(|heredoc| heredoc.at));
            match &step.op {
                Op::Env(pairs) | Op::Label(pairs) => {
                    spans.extend(
                        pairs
                            .iter()
                            .flat_map(|pair| [pair.key.at(), pair.value.at()]),
                    );
                }
                Op::Arg(args) => spans.extend(args.iter().map(|arg| arg.at)),
                Op::Expose(words) | Op::Volume(words) => {
                    spans.extend(words.iter().map(Template::at));
                }
                Op::User(word) | Op::Workdir(word) => spans.push(word.at()),
                Op::OnBuild(trigger) => drop(parse_trigger(&trigger.text)),
                _ => {}
            }
        }
    }
    spans
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn spans_lie_within_their_file(one in file(), two in file()) {
        let inputs = [Input { name: "one", text: &one }, Input { name: "two", text: &two }];
        let parsed = parse(&inputs);
        for span in spans(&parsed) {
            prop_assert!(parsed.sources.contains(span), "{span}");
        }
        for found in &parsed.diagnostics {
            prop_assert!(!found.render(&parsed.sources).is_empty());
            prop_assert!(!found.full_message().is_empty());
        }
    }

    #[test]
    fn text_without_special_characters_expands_to_itself(text in "[a-zA-Z0-9 /.:,=+-]{0,40}") {
        let template =
            Template::parse(&text, Escape::Backslash, TemplateKind::Word, Span::default()).unwrap();
        prop_assert_eq!(template.as_literal(), Some(text.clone()));
        prop_assert_eq!(template.expand(&|_| None), Ok(text));
    }

    #[test]
    fn templates_never_panic(text in "[$ {}a-c:+?#%/'\"\\\\*-]{0,30}") {
        for kind in [TemplateKind::Word, TemplateKind::HeredocBody] {
            if let Ok(template) = Template::parse(&text, Escape::Backslash, kind, Span::default()) {
                let lookup = |name: &str| (name != "a").then(|| format!("{name}/x{name}"));
                let _ = template.expand(&lookup);
                let _ = template.expand_words(&lookup);
            }
        }
    }

    #[test]
    fn small_readers_never_panic(text in "\\PC{0,40}", path in "\\PC{0,20}") {
        let _ = RunMount::parse(&text);
        let _ = GoDuration::parse(&text);
        let _ = cooper_containerfile::Chmod::parse(&text);
        let _ = cooper_containerfile::signal_number(&text);
        let _ = Glob::parse(&text).map(|glob| (glob.matches(&path), glob.may_match_below(&path)));
    }

    /// Walking with pruning finds what asking for every path finds.
    #[test]
    fn pruning_loses_nothing(file in "([!]?[ab*?/]{1,6}\n){0,5}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
        let Ok(rules) = IgnoreRules::parse(file.as_bytes()) else { return Ok(()) };
        let kept = !rules.is_excluded(&path);
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if kept && rules.is_excluded(parent) {
                prop_assert!(rules.may_keep_below(parent), "{file:?} {path} {parent}");
            }
        }
    }

    #[test]
    fn walks_of_globs_lose_nothing(pattern in "[ab*?/]{1,8}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
        let glob = Glob::parse(&pattern).unwrap();
        if glob.matches(&path) {
            for (end, _) in path.match_indices('/') {
                prop_assert!(glob.may_match_below(&path[..end]), "{pattern} {path}");
            }
        }
    }
}
