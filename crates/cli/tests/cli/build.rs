//! Builds from Containerfiles.

use testkit::picture::Picture;

use crate::stage::{Said, Stage};

fn picture(stage: &Stage, image: &str) -> Picture {
    let layout = stage.path(&format!("layout-{image}"));
    let _ = std::fs::remove_dir_all(&layout);
    stage
        .skopeo(&[
            "copy",
            "-q",
            &format!("STORE:localhost/{image}"),
            &format!("oci:{}:x", layout.display()),
        ])
        .ok();
    Picture::of_layout(&layout).unwrap()
}

fn last_line(said: Said) -> String {
    said.ok().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn priv_the_lines_of_a_build() {
    let stage = Stage::with_base("lines");
    let said = stage.build(
        "FROM base AS one\nRUN echo hi\n\nFROM one\nENV A=1\n",
        &["-t", "x", "-t", "y", "--jobs", "1"],
    );
    let lines: Vec<String> = said.ok().lines().map(str::to_owned).collect();
    let shape: Vec<String> = lines.iter().map(|line| masked(line)).collect();
    let expected = "[1/2] STEP 1/2: FROM base AS one\n[1/2] STEP 2/2: RUN echo hi\nhi\n--> ID\n[2/2] STEP 1/2: FROM ID\n[2/2] STEP 2/2: ENV A=1\n[2/2] COMMIT x\n--> ID\nSuccessfully tagged localhost/y:latest\nSuccessfully tagged localhost/x:latest\nID";
    assert_eq!(shape.join("\n"), expected);
}

/// Replaces every word of twelve or more hex digits.
fn masked(line: &str) -> String {
    let is_id = |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    line.split(' ')
        .map(|word| if is_id(word) { "ID" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn priv_a_full_hit_is_the_same_image() {
    let stage = Stage::with_base("hit");
    stage.write("context/f", "1\n");
    let file = "FROM base\nARG A=1\nENV V=$A\nWORKDIR /w\nCOPY f .\nRUN cat f > g\nLABEL l=$A\n";
    let first = last_line(stage.build(file, &["--layers"]));
    let again = stage.build(file, &["--layers"]).ok();
    assert!(again.contains("--> Using cache"), "{again}");
    assert!(again.ends_with(&first), "{again}");
    // The defect of comparing the words only: these have the same words.
    let other = last_line(stage.build(file, &["--layers", "--build-arg", "A=2"]));
    assert_ne!(first, other);
    let show = "{{.OCIv1.Config.Env}} {{.OCIv1.Config.Labels.l}}";
    let shown = stage
        .cooper(&["inspect", "--type", "image", "--format", show, &other])
        .ok();
    assert!(shown.contains("V=2") && shown.ends_with('2'), "{shown}");
    // Content counts, times do not.
    stage.write("context/f", "1\n");
    assert_eq!(last_line(stage.build(file, &["--layers"])), first);
    stage.write("context/f", "2\n");
    assert_ne!(last_line(stage.build(file, &["--layers"])), first);
    assert_ne!(
        last_line(stage.build(file, &["--layers", "--no-cache"])),
        first
    );
}

#[test]
fn priv_mounts_of_a_step_leave_nothing() {
    let stage = Stage::with_base("step-mounts");
    stage.write("context/src/f", "context\n");
    stage.write("other/f", "named\n");
    let secret = stage.write("secret", "hush\n");
    let file = "FROM base AS tool\nRUN echo tool > /t\n\nFROM base\n\
        RUN --mount=type=bind,source=src,target=/in,rw cat /in/f && echo changed > /in/f\n\
        RUN --mount=type=bind,source=src,target=/in cat /in/f > /out\n\
        RUN --mount=type=bind,from=tool,source=/t,target=/tool cat /tool >> /out\n\
        RUN --mount=type=bind,from=other,target=/o cat /o/f >> /out\n\
        RUN --mount=type=cache,target=/cache echo once >> /cache/n && cat /cache/n\n\
        RUN --mount=type=cache,target=/cache echo twice >> /cache/n && cat /cache/n >> /out\n\
        RUN --mount=type=tmpfs,target=/tmpfs echo x > /tmpfs/x\n\
        RUN --mount=type=secret,id=s cat /run/secrets/s\n";
    let other = stage.path("other");
    let words = [
        "-t",
        "mounts",
        "--build-context",
        &format!("other={}", other.display()),
        "--secret",
        &format!("id=s,src={}", secret.display()),
    ];
    let said = stage.build(file, &words).ok();
    assert!(said.contains("hush"), "the process sees the secret: {said}");
    assert_eq!(
        std::fs::read_to_string(stage.path("context/src/f")).unwrap(),
        "context\n"
    );
    let picture = picture(&stage, "mounts");
    let paths: Vec<String> = picture
        .tree
        .keys()
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect();
    for gone in [
        "in",
        "tool",
        "o",
        "cache",
        "tmpfs",
        "run",
        "proc",
        "sys",
        "dev",
        "etc/hosts",
        "etc/resolv.conf",
    ] {
        assert!(
            !paths.iter().any(|path| path == gone),
            "{gone} is left in {paths:?}"
        );
    }
    let container = stage.cooper(&["from", "mounts"]).ok();
    let out = stage.cooper(&["run", &container, "cat", "/out"]).ok();
    assert_eq!(out, "context\ntool\nnamed\nonce\ntwice");
}

#[test]
fn priv_stages_are_pruned_and_copied_from() {
    let stage = Stage::with_base("stages");
    let file = "FROM base AS unused\nRUN false\n\nFROM base AS build\nRUN echo built > /b && ln -s b /l && chmod 4755 /b\n\n\
        FROM scratch\nCOPY --from=build --chown=5:6 /b /l /\nCOPY --from=1 --link /b /linked/\n";
    stage.build(file, &["-t", "pruned"]).ok();
    let picture = picture(&stage, "pruned");
    let b = &picture.tree[b"b".as_slice()];
    assert_eq!((b.mode, b.owner), (0o4755, (5, 6)));
    assert_eq!(picture.tree[b"linked/b".as_slice()].owner, (0, 0));
    assert_eq!(picture.layers, 2);
    stage
        .build(
            file,
            &["-t", "target", "--target", "build", "--layers=false"],
        )
        .ok();
    assert_eq!(
        self::picture(&stage, "target").layers,
        2,
        "the base's and one of its own"
    );
}

#[test]
fn priv_fixed_times_give_equal_images() {
    let stage = Stage::with_base("times");
    stage.write("context/f", "1\n");
    let file = "FROM base\nCOPY f /f\nRUN echo x > /x\n";
    let build = || last_line(stage.build(file, &["--no-cache", "--timestamp", "1000"]));
    let first = build();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(build(), first);
}

#[test]
fn priv_squash_and_formats() {
    let stage = Stage::with_base("squash");
    let file = "FROM base\nRUN echo x > /x\nHEALTHCHECK CMD true\n";
    stage.build(file, &["-t", "squashed", "--squash"]).ok();
    assert_eq!(picture(&stage, "squashed").layers, 1);
    let id = last_line(stage.build(file, &["--format", "docker", "-t", "docker"]));
    let shown = stage
        .cooper(&[
            "inspect",
            "--type",
            "image",
            "--format",
            "{{.Docker.Config.Healthcheck.Test}}",
            &id,
        ])
        .ok();
    assert_eq!(shown, "[CMD-SHELL true]");
    let said = stage.build(file, &["--no-cache"]);
    assert!(
        said.stderr
            .contains("HEALTHCHECK is not supported for OCI image format"),
        "{said:?}"
    );
}

#[test]
fn priv_ids_go_to_files() {
    let stage = Stage::with_base("iidfile");
    let (long, raw) = (stage.path("iid"), stage.path("iidraw"));
    let said = stage.build(
        "FROM base\nENV A=1\n",
        &[
            "--iidfile",
            long.to_str().unwrap(),
            "--iidfile-raw",
            raw.to_str().unwrap(),
        ],
    );
    said.ok();
    let long = std::fs::read_to_string(long).unwrap();
    assert_eq!(
        long,
        format!("sha256:{}", std::fs::read_to_string(raw).unwrap())
    );
    assert_eq!(stage.build("FROM base\nENV A=1\n", &["-q"]).ok().len(), 64);
}

#[test]
fn priv_arguments_that_nothing_used_and_names() {
    let stage = Stage::with_base("unused");
    let check = |words: &[&str], expected: &str| {
        let said = stage.build("FROM base\nENV A=1\n", words).ok();
        let lines: Vec<String> = said.lines().skip(2).map(masked).collect();
        assert_eq!(lines.join("\n"), expected, "{words:?}");
    };
    let unused = ["--build-arg", "B=1", "--build-arg", "A=1"];
    check(
        &[&unused[..], &["-t", "x"]].concat(),
        "COMMIT x\n--> ID\n[Warning] one or more build args were not consumed: [A B]\nSuccessfully tagged localhost/x:latest\nID",
    );
    let id = stage.path("id");
    check(
        &["--iidfile", crate::stage::text(&id), "--no-cache"],
        "COMMIT",
    );
    assert!(std::fs::read_to_string(id).unwrap().starts_with("sha256:"));
    // The names that the base has are not the build's.
    let said = stage.build("FROM base\n", &[]).ok();
    assert!(!said.contains("Successfully tagged"), "{said}");
}

#[test]
fn priv_images_that_share_a_layer_are_all_listed() {
    let stage = Stage::with_base("listed");
    // Both have the same empty layer, and a third continues it: none of them made another.
    let one = last_line(stage.build("FROM base\nRUN true\n", &["--layers=false"]));
    let two = last_line(stage.build("FROM base\nRUN :\n", &["--layers=false"]));
    stage
        .build("FROM base\nRUN true && :\nRUN : && true\n", &["-t", "x"])
        .ok();
    let listed = stage.cooper(&["images", "-q", "--no-trunc"]).ok();
    for id in [one, two] {
        assert!(listed.contains(&id), "{id} in {listed}");
    }
    let json = stage.cooper(&["images", "--json", "base"]).ok();
    let keys: Vec<&str> = json
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": "))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys,
        [
            "id",
            "names",
            "digest",
            "createdat",
            "size",
            "created",
            "createdatraw",
            "readonly",
            "history"
        ]
    );
}

#[test]
fn priv_stages_are_saved_and_say_which_they_are() {
    let stage = Stage::with_base("save-stages");
    let file = "FROM base AS one\nRUN echo 1 > /one\n\nFROM one\nRUN echo 2 > /two\n\nFROM base AS empty\n\n\
        FROM scratch AS last\nCOPY --from=one /one /\nCOPY --from=1 /two /\nCOPY --from=empty /bin/busybox /b\nLABEL a=b\n";
    let said = stage.build(file, &["--stage-labels"]).fails(125);
    assert!(
        said.contains("\"--stage-labels\" requires \"--save-stages\""),
        "{said}"
    );
    for layers in ["--layers=false", "--layers"] {
        stage.cooper(&["rmi", "-f", "x"]);
        stage.cooper(&["rmi", "--prune", "--force"]).ok();
        let before = stage.cooper(&["images", "-a", "-q"]).ok().lines().count();
        let id = last_line(stage.build(
            file,
            &[layers, "--save-stages", "--stage-labels", "-t", "x"],
        ));
        let images = stage.cooper(&["images", "-a", "-q", "--no-trunc"]).ok();
        assert_eq!(images.lines().count(), before + 3, "{layers}: {images}");
        let mut labels: Vec<String> = Vec::new();
        let mut one = String::new();
        for image in images.lines() {
            let format = "{{index .OCIv1.Config.Labels \"io.buildah.stage.name\"}} {{index .OCIv1.Config.Labels \"io.buildah.stage.base\"}}";
            let said = stage
                .cooper(&["inspect", "--type", "image", "--format", format, image])
                .ok();
            if said.starts_with("one ") {
                image.trim_start_matches("sha256:").clone_into(&mut one);
            }
            if said.starts_with("last ") {
                assert_eq!(image.trim_start_matches("sha256:"), id);
            }
            labels.push(said.trim().to_owned());
        }
        labels.retain(|text| !text.is_empty());
        labels.sort();
        assert_eq!(
            labels,
            [
                format!("1 {one}"),
                "last scratch".to_owned(),
                "one base".to_owned()
            ]
        );
    }
}
