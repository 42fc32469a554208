//! Debian's Podman, Buildah and Skopeo on the same store, before, after and at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testkit::picture::Picture;

use crate::stage::{Stage, text};

#[test]
fn peer_others_use_what_we_make() {
    let stage = Stage::with_base("others");
    let file = "FROM base\nRUN mkdir /d && echo 1 > /d/f && ln /d/f /d/hard && ln -s f /d/soft\nRUN rm -r /d && mkdir /d && echo 2 > /d/g\nUSER app\nCMD [\"id\"]\n";
    stage.build(file, &["-t", "made"]).ok();
    assert!(
        stage
            .podman(&["images", "--format", "{{.Repository}}"])
            .ok()
            .contains("localhost/made")
    );
    let said = stage.podman(&["run", "--rm", "--network", "host", "localhost/made"]);
    assert_eq!(
        said.ok(),
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    );
    let container = stage.buildah(&["from", "localhost/made"]).ok();
    let mount = stage.buildah(&["mount", &container]).ok();
    assert_eq!(
        std::fs::read_to_string(format!("{mount}/d/g")).unwrap(),
        "2\n"
    );
    assert!(
        !std::path::Path::new(&mount).join("d/f").exists(),
        "an opaque folder hides what was below"
    );
    stage.buildah(&["umount", &container]).ok();
    assert_eq!(stage.cooper(&["run", &container, "cat", "/d/g"]).ok(), "2");
    stage.buildah(&["rm", &container]).ok();
    let layout = stage.path("layout");
    stage
        .skopeo(&[
            "copy",
            "-q",
            "STORE:localhost/made",
            &format!("oci:{}:x", layout.display()),
        ])
        .ok();
    assert_eq!(Picture::of_layout(&layout).unwrap().layers, 3);
}

#[test]
fn peer_we_use_what_others_make() {
    let stage = Stage::with_base("ours");
    let file = stage.write(
        "Containerfile",
        "FROM localhost/base\nRUN echo theirs > /f\nENV A=1\n",
    );
    let base = stage.path("base");
    stage
        .buildah(&[
            "bud",
            "--layers",
            "--network",
            "host",
            "-t",
            "theirs",
            "-f",
            text(&file),
            text(&base),
        ])
        .ok();
    let said = stage
        .build(
            "FROM localhost/theirs\nRUN cat /f && echo ours > /g\n",
            &["-t", "both"],
        )
        .ok();
    assert!(said.contains("\ntheirs\n"), "{said}");
    let container = stage.buildah(&["from", "localhost/theirs"]).ok();
    stage
        .cooper(&["run", &container, "--", "sh", "-c", "echo more > /h"])
        .ok();
    stage.cooper(&["commit", &container, "more"]).ok();
    assert_eq!(
        stage
            .buildah(&["run", "--isolation", "chroot", &container, "cat", "/h"])
            .ok(),
        "more"
    );
    assert!(stage.podman(&["images"]).ok().contains("localhost/more"));
    let (ours, theirs) = (stage.path("ours-layout"), stage.path("theirs-layout"));
    stage
        .cooper(&["push", "-q", "theirs", &format!("oci:{}:x", ours.display())])
        .ok();
    stage
        .skopeo(&[
            "copy",
            "-q",
            "STORE:localhost/theirs",
            &format!("oci:{}:x", theirs.display()),
        ])
        .ok();
    let (ours, theirs) = (
        Picture::of_layout(&ours).unwrap(),
        Picture::of_layout(&theirs).unwrap(),
    );
    assert_eq!(ours.differences(&theirs), Vec::new());
}

#[test]
fn peer_the_same_file_makes_the_same_image() {
    let stage = Stage::with_base("same");
    // Buildah 1.28 leaves in the layers what it mounts upon, and makes no volume: the base has all.
    for name in ["dev", "proc", "run", "sys", "v"] {
        std::fs::create_dir_all(stage.path("base").join(name)).unwrap();
    }
    let (file, base) = (stage.path("Containerfile.base"), stage.path("base"));
    stage
        .cooper(&["build", "-q", "-t", "base", "-f", text(&file), text(&base)])
        .ok();
    stage.write("context/a/b", "b\n");
    stage.write("context/c", "c\n");
    let text_of_file = "FROM localhost/base AS one\nARG V=1\nENV A=$V B=\"two words\"\nRUN echo $A > /a\n\n\
        FROM localhost/base\nCOPY --from=one /a /from-one\nCOPY a /dir\nCOPY c /dir/\nCOPY --chown=app:extra --chmod=600 c /owned\n\
        WORKDIR /w\nRUN echo here > f && mkdir -p x/y && ln f hard && ln -s f soft\nRUN rm -r x && rm hard\n\
        EXPOSE 80\nVOLUME /v\nUSER app\nLABEL k=v\nENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"id\"]\nSTOPSIGNAL TERM\n";
    for layers in ["--layers", "--layers=false"] {
        stage
            .build(text_of_file, &[layers, "--no-cache", "-t", "ours"])
            .ok();
        let (file, context) = (stage.path("Containerfile"), stage.path("context"));
        stage
            .buildah(&[
                "bud",
                layers,
                "--no-cache",
                "--network",
                "host",
                "-t",
                "theirs",
                "-f",
                text(&file),
                text(&context),
            ])
            .ok();
        let [ours, theirs] = ["ours", "theirs"].map(|name| {
            let layout = stage.path(&format!("{name}{layers}"));
            stage
                .skopeo(&[
                    "copy",
                    "-q",
                    &format!("STORE:localhost/{name}"),
                    &format!("oci:{}:x", layout.display()),
                ])
                .ok();
            Picture::of_layout(&layout).unwrap()
        });
        let found: Vec<String> = ours
            .differences(&theirs)
            .iter()
            .map(ToString::to_string)
            // The digest of what was copied is each builder's own.
            .filter(|found| {
                !(found.starts_with("history")
                    && (found.contains("file:") || found.contains("dir:")))
            })
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{layers}");
    }
}

#[test]
fn peer_two_minutes_of_everybody_at_once() {
    let stage = Stage::with_base("everybody");
    let until = Instant::now() + Duration::from_secs(120);
    let failed = AtomicBool::new(false);
    let tags = AtomicUsize::new(0);
    let going = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    let check = |said: crate::stage::Said| {
        if said.status != 0 {
            failed.store(true, Ordering::Relaxed);
        }
        said.ok()
    };
    std::thread::scope(|scope| {
        for builder in 0..4 {
            let (stage, check, going) = (&stage, &check, &going);
            let steps: String = (0..6)
                // Steps of some length: thousands of images in the list would only show how long
                // Podman takes to list them.
                .map(|step| format!("RUN sleep 0.5 && echo {builder}.{step} > /f{step}\n"))
                .collect();
            let file = stage.write(
                &format!("Containerfile.{builder}"),
                &format!("FROM base\n{steps}"),
            );
            let name = format!("built{builder}");
            scope.spawn(move || {
                let base = stage.path("base");
                while going() {
                    check(stage.cooper(&[
                        "build",
                        "--no-cache",
                        "-q",
                        "-t",
                        &name,
                        "-f",
                        text(&file),
                        text(&base),
                    ]));
                }
            });
        }
        scope.spawn(|| {
            while going() {
                check(stage.podman(&["images"]));
                let tag = tags.fetch_add(1, Ordering::Relaxed);
                check(stage.podman(&["tag", "localhost/base", &format!("localhost/tag:{tag}")]));
            }
        });
        scope.spawn(|| {
            while going() {
                let container = check(stage.buildah(&["from", "localhost/base"]));
                check(stage.buildah(&["rm", &container]));
            }
        });
    });
    let names = stage
        .podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok();
    let count = tags.load(Ordering::Relaxed);
    assert!(count > 10, "only {count} tags were made");
    for tag in 0..count {
        assert!(
            names
                .lines()
                .any(|name| name == format!("localhost/tag:{tag}")),
            "tag {tag} of {count} is lost"
        );
    }
    for builder in 0..4 {
        assert!(
            names.contains(&format!("localhost/built{builder}:latest")),
            "{names}"
        );
    }
}
