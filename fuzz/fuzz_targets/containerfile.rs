//! Invariant: whatever the bytes are, the parser returns; every span it hands out lies
//! within the file it names; every diagnostic can be rendered; every template can be
//! expanded or says why not; a trigger that was stored can be read back.

#![no_main]

use containerfile::{Input, Op, RunMount, Sources, Span, Template, parse, parse_trigger};
use libfuzzer_sys::fuzz_target;

fn lookup(name: &str) -> Option<String> {
    match name {
        "EMPTY" => Some(String::new()),
        "UNSET" => None,
        _ => Some(format!("{name} value/of.it")),
    }
}

fn within(sources: &Sources, span: Span) {
    assert!(sources.contains(span), "{span} is outside of its file");
}

fn word(sources: &Sources, template: &Template) {
    within(sources, template.at());
    if let Ok(text) = template.expand(&lookup) {
        // These read text that comes out of an expansion.
        let _ = RunMount::parse(&text);
        let _ = containerfile::Chmod::parse(&text);
        let _ = containerfile::Glob::parse(&text).map(|glob| glob.matches("a/b"));
    }
    let _ = template.expand_words(&lookup);
    let _ = template.variables();
}

fuzz_target!(|data: &[u8]| {
    let middle = data.len() / 2;
    let halves = [
        Input {
            name: "one",
            text: &data[..middle],
        },
        Input {
            name: "two",
            text: &data[middle..],
        },
    ];
    let whole = [Input {
        name: "all",
        text: data,
    }];
    for inputs in [&halves[..], &whole[..]] {
        let parsed = parse(inputs);
        for found in &parsed.diagnostics {
            within(&parsed.sources, found.span);
            assert!(!found.render(&parsed.sources).is_empty());
        }
        for stage in &parsed.containerfile.stages {
            within(&parsed.sources, stage.at);
            stage
                .references()
                .into_iter()
                .for_each(|name| word(&parsed.sources, name));
            for step in &stage.steps {
                within(&parsed.sources, step.at);
                let _ = (step.display_text(), step.error_text());
                match &step.op {
                    Op::Env(pairs) | Op::Label(pairs) => pairs.iter().for_each(|pair| {
                        word(&parsed.sources, &pair.key);
                        word(&parsed.sources, &pair.value);
                    }),
                    Op::Copy(copy) => word(&parsed.sources, &copy.destination),
                    Op::Run(run) => {
                        run.mounts
                            .iter()
                            .for_each(|mount| word(&parsed.sources, &mount.text));
                    }
                    Op::Expose(words) | Op::Volume(words) => {
                        words.iter().for_each(|text| word(&parsed.sources, text));
                    }
                    Op::OnBuild(trigger) => drop(parse_trigger(&trigger.text)),
                    _ => {}
                }
            }
        }
    }
});
