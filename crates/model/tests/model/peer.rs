//! Documents made by Debian's Buildah and Skopeo.

use std::path::{Path, PathBuf};
use std::process::Command;

use cooper_model::{Document, ImageConfig, validate};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn buildah(scratch: &Path, args: &[&str]) -> String {
    let output = Command::new("buildah")
        .args(["--storage-driver", "vfs", "--root"])
        .arg(scratch.join("root"))
        .arg("--runroot")
        .arg(scratch.join("run"))
        .args(args)
        .output()
        .unwrap_or_else(|err| {
            panic!("this test compares with buildah, which cannot be started: {err}")
        });
    assert!(
        output.status.success(),
        "buildah {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("buildah prints text")
        .trim()
        .to_owned()
}

/// Sets everything that a config can hold.
const RICH: &[&str] = &[
    "--env",
    "A=<&>",
    "--env",
    "B=é\u{2028}",
    "--label",
    "x=y",
    "--cmd",
    "echo hi",
    "--port",
    "80/udp",
    "--volume",
    "/v",
    "--workingdir",
    "/w",
    "--user",
    "u",
    "--author",
    "me",
    "--stop-signal",
    "9",
    "--hostname",
    "h",
    "--domainname",
    "d",
    "--comment",
    "c",
    "--entrypoint",
    "[\"/e\"]",
    "--shell",
    "/bin/bash -c",
    "--onbuild",
    "RUN x",
    "--healthcheck",
    "CMD x",
    "--healthcheck-interval",
    "3s",
    "--healthcheck-start-period",
    "1m",
    "--history-comment",
    "hc",
    "--created-by",
    "me",
    "--annotation",
    "z=<1>",
    "--os-version",
    "10",
    "--os-feature",
    "w",
];

#[test]
fn peer_buildah_s_bytes_are_ours() {
    let scratch = Scratch(PathBuf::from(format!(
        "/var/tmp/cooper-dev-model/peer-{}",
        std::process::id()
    )));
    std::fs::create_dir_all(&scratch.0).unwrap();
    let container = buildah(&scratch.0, &["from", "scratch"]);
    for change in [&[], RICH] {
        if !change.is_empty() {
            buildah(&scratch.0, &[&["config"], change, &[&container]].concat());
        }
        for format in ["oci", "docker"] {
            let to = scratch.0.join("out");
            buildah(
                &scratch.0,
                &[
                    "commit",
                    "-q",
                    "--format",
                    format,
                    &container,
                    &format!("dir:{}", to.display()),
                ],
            );
            let bytes = std::fs::read(to.join("manifest.json")).unwrap();
            let Document::Manifest(raw) = Document::parse(bytes).unwrap() else {
                panic!("a list")
            };
            assert_eq!(raw.manifest().to_bytes(), raw.bytes());
            let config = std::fs::read(to.join(raw.manifest().config.digest.hex())).unwrap();
            let parsed = ImageConfig::parse(&config).unwrap();
            assert_eq!(
                String::from_utf8(parsed.to_bytes(raw.format())).unwrap(),
                String::from_utf8(config.clone()).unwrap()
            );
            let findings = validate::image(&raw, &config);
            assert!(findings.is_empty(), "{findings:?}");
        }
    }
}
