//! What `commit` is told to change in the configuration of the image: a file, and instructions.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use containerfile::{Input, Op, Step};
use model::{ContainerConfig, ImageConfig, ManifestFormat};
use solve::bind::{Binder, NameError, Names};
use solve::scope::Scope;

/// The most bytes that a file with a configuration may have.
const FILE_MAX: u64 = 1 << 20;

/// Reads the file of `--config`: a container's configuration in Docker's dialect.
pub fn read_config(path: &Path) -> Result<ContainerConfig> {
    let bytes =
        super::read_limited(path, FILE_MAX).context("reading configuration blob from file")?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("parsing configuration blob from {:?}", path.display()))
}

/// Carries out instructions that change nothing but the configuration. Returns what has no effect.
pub fn apply(
    config: &mut ImageConfig,
    instructions: &[String],
    format: ManifestFormat,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for instruction in instructions {
        let done = apply_one(config, instruction, format);
        warnings.extend(
            done.with_context(|| format!("processing change {instruction:?}"))
                .context("applying changes")?,
        );
    }
    Ok(warnings)
}

fn apply_one(
    config: &mut ImageConfig,
    instruction: &str,
    format: ManifestFormat,
) -> Result<Vec<String>> {
    let text = format!("FROM scratch\n{instruction}\n");
    let parsed = containerfile::parse(&[Input {
        name: "--change",
        text: text.as_bytes(),
    }]);
    let steps = match parsed.containerfile.stages.as_slice() {
        [stage] if !parsed.has_errors() && stage.steps.iter().all(is_plain) => &stage.steps,
        _ => bail!("did not understand change instruction {instruction:?}"),
    };
    let scope = Scope::stage(&Scope::default(), Default::default(), &config.config.env);
    let author = Some(config.author.clone()).filter(|author| !author.is_empty());
    let mut binder = Binder::new(scope, config.config.clone(), author, format);
    for step in steps {
        match binder.bind(step, step.at, &mut NoNames) {
            Ok(()) => {}
            Err(NameError::Here(fault)) => return Err(fault.into()),
            Err(NameError::There(error)) => return Err(error.into()),
        }
    }
    config.config = binder.config;
    config.author = binder.author.unwrap_or_default();
    Ok(binder.warnings)
}

/// Whether the instruction changes nothing but the configuration.
fn is_plain(step: &Step) -> bool {
    !matches!(step.op, Op::Add(_) | Op::Arg(_) | Op::Copy(_) | Op::Run(_))
}

/// Nothing here names a source.
struct NoNames;

impl Names for NoNames {
    fn source(&mut self, _: &'static str, _: &str) -> Result<solve::bound::Input, NameError> {
        unreachable!("no instruction with a source gets here")
    }

    fn context(&mut self) -> solve::bound::Input {
        unreachable!("no instruction with a source gets here")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let check = |instruction: &str, expected: Result<&str, &str>| {
            let mut config = ImageConfig::default();
            config.config.env = vec!["A=1".to_owned()];
            let done = apply(
                &mut config,
                &[instruction.to_owned()],
                ManifestFormat::Docker,
            );
            let config = &config.config;
            let shown =
                done.map(|_| format!("{:?} {:?} {:?}", config.env, config.cmd, config.labels));
            let shown = shown.map_err(|error| format!("{error:#}"));
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(shown, expected, "{instruction}");
        };
        check("ENV B=${A}2", Ok("[\"A=1\", \"B=12\"] [] {}"));
        check("CMD [\"x\"]", Ok("[\"A=1\"] [\"x\"] {}"));
        check("LABEL a=b", Ok("[\"A=1\"] [] {\"a\": \"b\"}"));
        for refused in ["BOGUS x", "RUN x", "COPY a b", "FROM x", "ENV"] {
            let text = format!(
                "applying changes: processing change {refused:?}: did not understand change instruction {refused:?}"
            );
            check(refused, Err(&text));
        }
    }
}
