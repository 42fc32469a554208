//! A look at a server with curl, the client that none of us wrote.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The status of the answer; an error when there is no answer.
pub fn status(words: &[&str]) -> Result<String> {
    let all = [&["-o", "/dev/null", "-w", "%{http_code}"], words].concat();
    Ok(String::from_utf8(body(&all)?)?)
}

/// The body of the answer.
pub fn body(words: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("curl")
        .args(["-sS", "-m", "20"])
        .args(words)
        .output()
        .context("cannot start curl")?;
    if !output.status.success() {
        bail!("curl: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
