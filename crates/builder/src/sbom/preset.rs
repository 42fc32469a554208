//! The scanners that Buildah knows by name.

use super::Scanner;
use super::merge::Strategy;

/// Returns the scanner that `--sbom` names; without a name it is Syft.
pub fn preset(name: &str) -> Option<Scanner> {
    let (image, command, strategy) = match name {
        "" | "syft" | "syft-cyclonedx" => (
            "ghcr.io/anchore/syft",
            "/syft scan -q dir:{PLACE} --output cyclonedx-json={OUTPUT}",
            Strategy::CycloneDx,
        ),
        "syft-spdx" => (
            "ghcr.io/anchore/syft",
            "/syft scan -q dir:{PLACE} --output spdx-json={OUTPUT}",
            Strategy::Spdx,
        ),
        "trivy" | "trivy-cyclonedx" => (
            "ghcr.io/aquasecurity/trivy",
            "trivy filesystem -q {PLACE} --format cyclonedx --output {OUTPUT}",
            Strategy::CycloneDx,
        ),
        "trivy-spdx" => (
            "ghcr.io/aquasecurity/trivy",
            "trivy filesystem -q {PLACE} --format spdx-json --output {OUTPUT}",
            Strategy::Spdx,
        ),
        _ => return None,
    };
    Some(Scanner {
        image: image.to_owned(),
        commands: ["{ROOTFS}", "{CONTEXT}"]
            .map(|place| command.replace("{PLACE}", place))
            .to_vec(),
        strategy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_buildah_s() {
        let check = |name: &str, image: &str, second: &str, strategy: Strategy| {
            let scanner = preset(name).unwrap();
            assert_eq!(scanner.image, image, "{name}");
            assert_eq!(scanner.commands[1], second, "{name}");
            assert_eq!(scanner.strategy, strategy, "{name}");
        };
        for name in ["", "syft", "syft-cyclonedx"] {
            check(
                name,
                "ghcr.io/anchore/syft",
                "/syft scan -q dir:{CONTEXT} --output cyclonedx-json={OUTPUT}",
                Strategy::CycloneDx,
            );
        }
        check(
            "trivy-spdx",
            "ghcr.io/aquasecurity/trivy",
            "trivy filesystem -q {CONTEXT} --format spdx-json --output {OUTPUT}",
            Strategy::Spdx,
        );
        assert_eq!(preset("bogus"), None);
    }
}
