//! Containerfiles whose names end in `.in`: the C preprocessor's text takes the place of theirs.
//!
//! The program is the host's `cpp`, as with Buildah, since the files are written for it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::ui::Ui;
use crate::world::World;

/// The most bytes that a preprocessed file may have.
const MAX_TEXT: usize = 64 << 20;

/// Says whether a Containerfile of this name is preprocessed.
pub fn is_wanted(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "in")
}

/// Passes a Containerfile through the preprocessor; `flags` are added to its own.
pub fn run(
    name: &str,
    text: &[u8],
    context: &Path,
    flags: &[String],
    (world, ui): (&World, &Ui),
) -> Result<Vec<u8>> {
    let mut command = Command::new("cpp");
    command.args(["-E", "-iquote"]).arg(context);
    command.args(["-traditional", "-undef", "-"]);
    command.args(
        world
            .var("BUILDAH_CPPFLAGS")
            .into_iter()
            .flat_map(str::split_whitespace),
    );
    command.args(flags);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped
        .spawn()
        .context("cpp cannot be started: .in support requires cpp to be installed")?;
    let input = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A preprocessor that reads only a part has its reasons in its status.
        scope.spawn(move || input.map(|mut input| input.write_all(text)));
        child.wait_with_output()
    })?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.stdout.len() > MAX_TEXT {
        bail!("preprocessing {name}: the text is longer than {MAX_TEXT} bytes");
    }
    if !output.status.success() {
        let said = said.trim_end();
        bail!("preprocessing {name}: {}: {said}", output.status);
    }
    if !said.is_empty() {
        ui.warn(&format!("Ignoring {said}"));
    }
    Ok(output.stdout)
}
