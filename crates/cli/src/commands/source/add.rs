//! `source add`: a file or directory becomes a layer of a source image.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use crate::failure::Failure;
use crate::world::World;

/// Arguments of `source add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Add a remark to the layer
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// The source image, and the file or directory
    #[arg(value_name = "PATH ARTIFACT")]
    words: Vec<String>,
}

/// Archives the artifact and enters it.
pub fn run(args: &AddArgs, world: &World) -> Result<(), Failure> {
    let [image, artifact] = super::exactly::<2>(&args.words)?;
    let path = world.cwd.join(image);
    std::fs::metadata(&path).with_context(|| format!("faccessat {image}"))?;
    let annotations = annotations(&args.annotation)?;
    transfer::add_to_source_image(&path, &world.cwd.join(artifact), annotations)?;
    Ok(())
}

fn annotations(words: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut read = BTreeMap::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            bail!("invalid annotation {word:?} (expected format is \"key=value\")");
        };
        if read.insert(key.to_owned(), value.to_owned()).is_some() {
            bail!("annotation {key:?} specified more than once");
        }
    }
    Ok(read)
}
