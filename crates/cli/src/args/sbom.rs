//! Flags that ask for a bill of materials; `commit` and `build` share them.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use builder::sbom::{Scanner, Strategy, preset};

/// Which scanner makes a bill of materials, and where its results go.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SbomArgs {
    /// Scan the image with a known scanner: syft, syft-cyclonedx, syft-spdx, trivy, trivy-cyclonedx or trivy-spdx
    #[arg(long, value_name = "PRESET")]
    sbom: Option<String>,
    /// Scan the image with commands of this image
    #[arg(long, value_name = "IMAGE")]
    sbom_scanner_image: Option<String>,
    /// A command of the scanner's image, with {ROOTFS} or {CONTEXT}, and {OUTPUT}
    #[arg(long, value_name = "COMMAND")]
    sbom_scanner_command: Vec<String>,
    /// How to put results together: cat, merge-cyclonedx-by-component-name-and-version or merge-spdx-by-package-name-and-versioninfo
    #[arg(long, value_name = "STRATEGY")]
    sbom_merge_strategy: Option<String>,
    /// Write the result to a file
    #[arg(long, value_name = "FILE")]
    sbom_output: Option<PathBuf>,
    /// Put the result into the image
    #[arg(long, value_name = "PATH")]
    sbom_image_output: Option<PathBuf>,
    /// Write the package URLs in the result to a file
    #[arg(long, value_name = "FILE")]
    sbom_purl_output: Option<PathBuf>,
    /// Put the package URLs in the result into the image
    #[arg(long, value_name = "PATH")]
    sbom_image_purl_output: Option<PathBuf>,
}

/// A bill of materials that is asked for.
#[derive(Debug, Clone)]
pub struct SbomRequest {
    /// The scanner.
    pub scanner: Scanner,
    /// Where the document goes.
    pub document: Outputs,
    /// Where the list of package URLs goes.
    pub packages: Outputs,
}

/// Where a result goes.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// A file of the host.
    pub file: Option<PathBuf>,
    /// A path in the image.
    pub in_image: Option<PathBuf>,
}

impl Outputs {
    fn of(file: Option<&PathBuf>, in_image: Option<&PathBuf>) -> Self {
        let given = |path: &&PathBuf| !path.as_os_str().is_empty();
        Self {
            file: file.filter(given).cloned(),
            in_image: in_image.filter(given).cloned(),
        }
    }

    fn is_none(&self) -> bool {
        self.file.is_none() && self.in_image.is_none()
    }
}

impl SbomArgs {
    /// Checks the flags; `None` if there are none.
    pub fn request(&self) -> anyhow::Result<Option<SbomRequest>> {
        let given = self.sbom.is_some()
            || self.sbom_scanner_image.is_some()
            || !self.sbom_scanner_command.is_empty()
            || self.sbom_merge_strategy.is_some();
        let document = Outputs::of(self.sbom_output.as_ref(), self.sbom_image_output.as_ref());
        let packages = Outputs::of(
            self.sbom_purl_output.as_ref(),
            self.sbom_image_purl_output.as_ref(),
        );
        if !given && document.is_none() && packages.is_none() {
            return Ok(None);
        }
        let name = self.sbom.as_deref().unwrap_or_default();
        let known = preset(name)
            .with_context(|| format!("parsing --sbom flag: unrecognized preset name {name:?}"))?;
        let scanner = self.described()?;
        if document.is_none() && packages.is_none() {
            bail!(
                "sbom configuration missing one or more of (\"--sbom-output\", \"--sbom-image-output\", \"--sbom-purl-output\" or \"--sbom-image-purl-output\")"
            );
        }
        let scanner = match scanner {
            None => known,
            Some((image, word)) => Scanner {
                image,
                commands: self.sbom_scanner_command.clone(),
                strategy: self.strategy(&word)?,
            },
        };
        Ok(Some(SbomRequest {
            scanner,
            document,
            packages,
        }))
    }

    /// The image and the strategy of a scanner that is described, which takes the place of a known one.
    fn described(&self) -> anyhow::Result<Option<(String, String)>> {
        let image = self.sbom_scanner_image.clone().unwrap_or_default();
        let strategy = self.sbom_merge_strategy.clone().unwrap_or_default();
        let commands = &self.sbom_scanner_command;
        if image.is_empty() && commands.is_empty() && strategy.is_empty() {
            return Ok(None);
        }
        if image.is_empty() || commands.is_empty() {
            bail!(
                "sbom configuration missing one or more of (\"--sbom-scanner-image\" or \"--sbom-scanner-command\")"
            );
        }
        Ok(Some((image, strategy)))
    }

    fn strategy(&self, word: &str) -> anyhow::Result<Strategy> {
        if word.is_empty() && self.sbom_scanner_command.len() > 1 {
            bail!(
                "sbom configuration included multiple \"--sbom-scanner-command\" values but no \"--sbom-merge-strategy\" value"
            );
        }
        Strategy::parse(word).with_context(|| {
            format!("sbom arguments included unrecognized merge strategy {word:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        sbom: SbomArgs,
    }

    #[test]
    fn scanners_are_known_or_described() {
        let check = |line: &str, expected: Result<&str, &str>| {
            let words = std::iter::once("x").chain(line.split_whitespace());
            let line = <Line as clap::Parser>::parse_from(words);
            let found = match line.sbom.request() {
                Ok(None) => Ok("nothing".to_owned()),
                Ok(Some(request)) => Ok(format!(
                    "{} {} {:?}",
                    request.scanner.image,
                    request.scanner.commands.len(),
                    request.scanner.strategy
                )),
                Err(error) => Err(error.to_string()),
            };
            let found = found.as_ref().map(String::as_str).map_err(String::as_str);
            assert_eq!(found, expected);
        };
        check("", Ok("nothing"));
        check("--sbom-output o", Ok("ghcr.io/anchore/syft 2 CycloneDx"));
        check(
            "--sbom trivy-spdx --sbom-image-purl-output /o",
            Ok("ghcr.io/aquasecurity/trivy 2 Spdx"),
        );
        check(
            "--sbom-scanner-image= --sbom-output o",
            Ok("ghcr.io/anchore/syft 2 CycloneDx"),
        );
        check(
            "--sbom trivy --sbom-scanner-image x --sbom-scanner-command a --sbom-merge-strategy cat --sbom-purl-output o",
            Ok("x 1 Cat"),
        );
        check(
            "--sbom bogus --sbom-output o",
            Err("parsing --sbom flag: unrecognized preset name \"bogus\""),
        );
        let outputs = "sbom configuration missing one or more of (\"--sbom-output\", \"--sbom-image-output\", \"--sbom-purl-output\" or \"--sbom-image-purl-output\")";
        check("--sbom syft", Err(outputs));
        check(
            "--sbom-scanner-image x --sbom-scanner-command a --sbom-merge-strategy cat",
            Err(outputs),
        );
        let scanner = "sbom configuration missing one or more of (\"--sbom-scanner-image\" or \"--sbom-scanner-command\")";
        check("--sbom-scanner-image x --sbom-output o", Err(scanner));
        check("--sbom-merge-strategy cat --sbom-output o", Err(scanner));
        let described = "--sbom-scanner-image x --sbom-scanner-command a --sbom-output o";
        check(
            described,
            Err("sbom arguments included unrecognized merge strategy \"\""),
        );
        check(
            &format!("{described} --sbom-merge-strategy y"),
            Err("sbom arguments included unrecognized merge strategy \"y\""),
        );
        check(
            &format!("{described} --sbom-scanner-command b"),
            Err(
                "sbom configuration included multiple \"--sbom-scanner-command\" values but no \"--sbom-merge-strategy\" value",
            ),
        );
    }
}
