//! Working containers under Buildah's name: its words for every command, in good and in bad use.
//! The expected texts are those of Buildah 1.39.

use std::os::unix::process::CommandExt as _;

use crate::stage::{Stage, said, text};

/// Splits a line at blanks; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Puts `ID` in the place of identifiers, and `DIR` in that of the test's folder.
fn masked(stage: &Stage, text: &str) -> String {
    let mut out = String::new();
    let mut hex = String::new();
    for c in text
        .replace(stage.path("").to_str().unwrap(), "DIR/")
        .chars()
        .chain(['\0'])
    {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            hex.push(c);
            continue;
        }
        out.push_str(if hex.len() == 64 || hex.len() == 12 {
            "ID"
        } else {
            &hex
        });
        hex.clear();
        out.push(c);
    }
    out.trim_end_matches('\0').to_owned()
}

/// Runs the lines one after the other, as `buildah`, and compares what each says.
fn check(stage: &Stage, lines: &[(&str, i32, &str)]) {
    for (line, status, expected) in lines {
        let words = words(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut command = stage.cooper_command(&words);
        let said = said(command.arg0("buildah").current_dir(stage.path("")));
        let shown = masked(stage, &format!("{}{}", said.stdout, said.stderr));
        assert_eq!(
            (said.status, shown.as_str()),
            (*status, *expected),
            "{line}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn priv_containers_are_made_named_and_listed_as_buildah_does() {
    let stage = Stage::with_base("made-as-buildah");
    check(
        &stage,
        &[
            ("from base", 0, "base-working-container\n"),
            ("from base", 0, "base-working-container-1\n"),
            ("from --name '' scratch", 0, "working-container\n"),
            ("from --name -x scratch", 0, "-x\n"),
            (
                "from base --name late",
                125,
                "Error: no options (--name) can be specified after the image or container name\n",
            ),
            (
                "from --quiet=maybe base",
                125,
                "Error: invalid argument \"maybe\" for \"-q, --quiet\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax\n",
            ),
            (
                "from --cidfile no/such/file scratch",
                125,
                "Error: failed to write container ID file \"no/such/file\": open no/such/file: no such file or directory\n",
            ),
            ("rename base-working-container foo", 0, ""),
            (
                "rename foo foo",
                125,
                "Error: renaming a container with the same name as its current name\n",
            ),
            (
                "rename foo base-working-container-1",
                125,
                "Error: The container name \"base-working-container-1\" is already in use by container \"ID\"\n",
            ),
            ("rename foo", 125, "Error: accepts 2 arg(s), received 1\n"),
            (
                "rename nosuch x",
                125,
                "Error: reading build container \"nosuch\": container not known\n",
            ),
            (
                "containers --filter name=foo,ancestor=base",
                0,
                "CONTAINER ID  BUILDER  IMAGE ID     IMAGE NAME                       CONTAINER NAME\n\
                 ID     *     ID localhost/base:latest            foo\n",
            ),
            (
                "containers --filter id=zzz",
                0,
                "CONTAINER ID  BUILDER  IMAGE ID     IMAGE NAME                       CONTAINER NAME\n",
            ),
            (
                "containers --filter bogus",
                125,
                "Error: parsing filter: incorrect filter value \"bogus\", should be of form filter=value\n",
            ),
            (
                "containers --format 'table {{.ContainerName}} {{.ImageName}}' --filter name=foo",
                0,
                "CONTAINER NAME   IMAGE NAME\nfoo              localhost/base:latest\n",
            ),
            (
                "containers --format '{{.Nope}}'",
                125,
                "Error: Template parsing error: template: image:1:2: executing \"image\" at <.Nope>: can't evaluate field Nope in type main.containerOutputParams\n",
            ),
            (
                "containers x",
                125,
                "Error: 'buildah containers' does not accept arguments\n",
            ),
            ("mount --json", 0, "null\n"),
            ("mount foo", 0, "DIR/root/overlay/ID/merged\n"),
            (
                "mount --json foo",
                0,
                "[\n    {\n        \"mountPoint\": \"DIR/root/overlay/ID/merged\"\n    }\n]\n",
            ),
            ("umount foo", 0, "ID\n"),
            ("umount foo", 0, "ID\n"),
            (
                "umount nosuch",
                125,
                "Error: error unmounting container nosuch: container not known\n",
            ),
            (
                "rm -- -x",
                125,
                "Error: unknown shorthand flag: 'x' in -x\n",
            ),
            (
                "rm nosuch foo",
                125,
                "ID\nError: removing container \"nosuch\": container not known\n",
            ),
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn priv_containers_are_configured_and_inspected_as_buildah_does() {
    let stage = Stage::with_base("configured-as-buildah");
    stage.set("FROM_HOST", "host");
    check(
        &stage,
        &[
            ("from --name foo --format docker base", 0, "foo\n"),
            ("config --env FROM_HOST --env B=2 foo", 0, ""),
            (
                "inspect --format '{{index .OCIv1.Config.Env 0}} {{index .OCIv1.Config.Env 1}}' foo",
                0,
                "FROM_HOST=host B=2",
            ),
            (
                "config --env NOT_THERE foo",
                125,
                "Error: setting env \"NOT_THERE\": no value given\n",
            ),
            (
                "config --port 80,81/udp --onbuild 'RUN a,RUN b' --volume '' foo",
                0,
                "",
            ),
            (
                "inspect --format '{{.Docker.Config.ExposedPorts}} {{.Docker.Config.OnBuild}} {{.Docker.Config.Volumes}}' foo",
                0,
                "map[80:{} 81/udp:{}] [RUN a RUN b] map[]",
            ),
            ("config --label a=1 --label b=2 --label c=3 foo", 0, ""),
            ("config --unsetlabel a,b foo", 0, ""),
            (
                "inspect --format '{{.OCIv1.Config.Labels.a}} {{.OCIv1.Config.Labels.c}}' foo",
                0,
                "<no value> 3",
            ),
            (
                "config --healthcheck-retries x foo",
                125,
                "Error: invalid argument \"x\" for \"--healthcheck-retries\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\n",
            ),
            (
                "config --healthcheck 'CMD a' --healthcheck-interval 90s foo",
                0,
                "",
            ),
            (
                "inspect --format '{{.Docker.Config.Healthcheck}}' foo",
                0,
                "{[CMD a] 1m30s 30s 0s 0s 3}",
            ),
            (
                "inspect --format '{{.OCIv1.Config.WorkingDir}} {{len .Docker.Config.Hostname}}' foo",
                0,
                "/ 12",
            ),
            ("config --hostname hh foo", 0, ""),
            ("run foo cat /etc/hostname", 0, "hh\n"),
            (
                "inspect --format a foo",
                125,
                "Error: invalid format provided: a\n",
            ),
            (
                "inspect --format '{{nope}}' foo",
                125,
                "Error: Template parsing error: template: format:1: function \"nope\" not defined\n",
            ),
            (
                "inspect --type image foo",
                125,
                "Error: importing settings: foo: image not known\n",
            ),
            (
                "inspect --type container nosuch",
                125,
                "Error: reading build container: container not known\n",
            ),
            ("config --add-history --env H=1 foo", 0, ""),
            (
                "inspect --format '{{range .History}}{{.CreatedBy}};{{end}}' foo",
                0,
                "/bin/sh -c #(nop) COPY dir:ID in /      ;/bin/sh -c #(nop) CMD [\"/bin/sh\"];/bin/sh -c #(nop) ENV H=1;",
            ),
            (
                "run --nosuch foo true",
                125,
                "Error: unknown flag: --nosuch\n",
            ),
            (
                "run --mount type=bind,source=/etc/hostname,target=/m --mount type=bind,source=Containerfile.base,target=/n foo sh -c 'test -s /m && cat /n'",
                0,
                "FROM scratch\nCOPY . /\nCMD [\"/bin/sh\"]\n",
            ),
            (
                "run --contextdir base --mount type=bind,target=/m foo sh -c 'test -f /m/etc/passwd'",
                0,
                "",
            ),
        ],
    );
}

#[test]
fn priv_content_is_copied_as_buildah_does() {
    let stage = Stage::with_base("copied-as-buildah");
    let file = stage.write("src/f", "x");
    std::process::Command::new("chmod")
        .arg("4755")
        .arg(&file)
        .status()
        .unwrap();
    check(
        &stage,
        &[
            ("from --name foo base", 0, "foo\n"),
            ("copy -q foo src/f /f", 0, ""),
            ("run foo stat -c %a /f", 0, "4755\n"),
            ("copy -q --chown '' foo src/f /g", 0, ""),
            (
                "copy --chmod bogus foo src/f /f",
                125,
                "Error: adding content to container \"foo\": parsing chmod \"bogus\": strconv.ParseUint: parsing \"bogus\": invalid syntax\n",
            ),
            (
                "copy --checksum sha256:0 foo src/f /f",
                125,
                "Error: adding content to container \"foo\": checksum flag is not supported for local sources\n",
            ),
            (
                "copy --ignorefile src/f foo src /f",
                125,
                "Error: --ignorefile option requires that you specify a context dir using --contextdir\n",
            ),
            (
                "copy foo src/f /f --chown 1",
                125,
                "Error: no options (--chown) can be specified after the image or container name\n",
            ),
            ("copy -q --add-history foo src/f /f", 0, ""),
            (
                "inspect --format '{{(index .History 2).CreatedBy}}' foo",
                0,
                "/bin/sh -c #(nop) COPY file:ID",
            ),
        ],
    );
}

#[test]
fn priv_files_of_the_web_are_added_to_containers() {
    let stage = Stage::with_base("added-from-the-web");
    stage.write("f", "x");
    let web = crate::build_flags::serve(vec![("/a/f.tar?x", b"hello".to_vec())]);
    let url = format!("{web}/a/f.tar?x");
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let other = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    check(
        &stage,
        &[
            ("from --name foo base", 0, "foo\n"),
            (&format!("add -q --checksum {digest} foo {url} /d/"), 0, ""),
            (
                &format!("copy -q --chmod 640 --chown 7:8 foo {url} /e"),
                0,
                "",
            ),
            (
                "run foo sh -c 'cat /d/f.tar; stat -c %a:%u:%g:%Y /d/f.tar /e'",
                0,
                "hello600:0:0:0\n640:7:8:0\n",
            ),
            (
                &format!("add --checksum {other} foo {url} /d/"),
                125,
                &format!(
                    "Error: adding content to container \"foo\": reading \"{url}\": unexpected response digest for \"{url}\": sha256:ID, want sha256:ID\n"
                ),
            ),
            (
                &format!("add --checksum sha256:0 foo {url} /d/"),
                125,
                "Error: adding content to container \"foo\": invalid checksum flag: invalid checksum digest length\n",
            ),
            (
                &format!("add foo f {url} /d/"),
                125,
                "Error: adding content to container \"foo\": copying local files and files of the web at once is not supported yet\n",
            ),
            (
                "copy --retry-delay x foo f /d/",
                125,
                "Error: unable to parse value provided \"x\" as --retry-delay: time: invalid duration \"x\"\n",
            ),
        ],
    );
    let missing = format!("{web}/missing");
    let said = stage.cooper(&["add", "foo", &missing, "/d/"]).fails(125);
    assert!(said.contains("invalid response status 404"), "{said}");
}

#[test]
fn priv_images_go_to_places_that_are_there_as_the_named_policy_lets_them() {
    let stage = Stage::with_base("places");
    let policy = stage.write("policy.json", "{}");
    let policy = text(&policy);
    check(
        &stage,
        &[
            ("from --name foo base", 0, "foo\n"),
            (
                "push base dir:none/at/all",
                125,
                "Error: lstat none: no such file or directory\n",
            ),
            (
                "push base oci-archive:none/at/all",
                125,
                "Error: lstat none: no such file or directory\n",
            ),
            (
                "commit foo oci:none/at",
                125,
                "Error: cannot parse input: \"oci:none/at\": lstat none: no such file or directory\n",
            ),
            ("push -q --format v2s2 base oci:layout", 0, ""),
            (
                "commit -q --disable-compression=false foo dir:packed",
                0,
                "",
            ),
            (
                "commit -q --compression-format zstd --metadata-file facts foo dir:zstd",
                0,
                "",
            ),
            (
                "--imagestore images images",
                125,
                "Error: storage option `imagestore` is not supported yet\n",
            ),
            (
                "--transient-store images",
                125,
                "Error: storage option `transient_store` is not supported yet\n",
            ),
            (
                "push --signature-policy nosuch base dir:d",
                125,
                "Error: pushing image \"base\" to \"dir:d\": open DIR/nosuch: no such file or directory\n",
            ),
            (
                "push --signature-policy nosuch nosuch dir:d",
                125,
                "Error: pushing image \"nosuch\" to \"dir:d\": nosuch: image not known\n",
            ),
            (
                "commit --signature-policy nosuch foo x",
                125,
                "Error: committing container \"foo\" to \"x\": obtaining default signature policy: open DIR/nosuch: no such file or directory\n",
            ),
            (
                &format!("push --signature-policy {policy} base dir:d"),
                125,
                "Error: pushing image \"base\" to \"dir:d\": invalid policy in \"DIR/policy.json\": Default policy is missing\n",
            ),
        ],
    );
    let index = std::fs::read_to_string(stage.path("layout/index.json")).unwrap();
    assert!(
        index.contains("application/vnd.docker.distribution.manifest.v2+json"),
        "{index}"
    );
    let manifest = std::fs::read_to_string(stage.path("packed/manifest.json")).unwrap();
    assert!(manifest.contains("layer.v1.tar+gzip"), "{manifest}");
    let manifest = std::fs::read_to_string(stage.path("zstd/manifest.json")).unwrap();
    assert!(manifest.contains("layer.v1.tar+zstd"), "{manifest}");
    let facts = std::fs::read_to_string(stage.path("facts")).unwrap();
    assert!(
        facts.contains("\"containerimage.config.digest\":\"sha256:"),
        "{facts}"
    );
}

#[test]
fn priv_copies_with_link_are_layers_of_their_own() {
    let stage = Stage::with_base("copied-with-link");
    stage.write("src/f", "x");
    check(
        &stage,
        &[
            ("from --name foo base", 0, "foo\n"),
            ("copy -q --timestamp 5 foo src/f /t/f", 0, ""),
            ("run foo stat -c %Y /t/f", 0, "5\n"),
            (
                "copy --timestamp x foo src/f /t",
                125,
                "Error: parsing timestamp value \"x\": strconv.ParseInt: parsing \"x\": invalid syntax\n",
            ),
            ("copy -q --link --chown 7:8 foo src/f /d/e/f", 0, ""),
            ("add -q --link foo src /etc", 0, ""),
            (
                "copy --link foo nosuch /x",
                125,
                "Error: adding content to container \"foo\": checking on sources under \"/\": copier: stat: \"DIR/nosuch\": no such file or directory\n",
            ),
            (
                "run foo sh -c 'ls /d /etc/f 2>/dev/null || echo hidden'",
                0,
                "hidden\n",
            ),
            ("commit -q foo linked", 0, "ID\n"),
            ("commit -q foo again", 0, "ID\n"),
            (
                "inspect --type image --format '{{len .OCIv1.RootFS.DiffIDs}} {{(index .OCIv1.History 3).CreatedBy}}{{(index .OCIv1.History 4).CreatedBy}}' again",
                0,
                "4 /bin/sh -c #(nop) COPY --link file:ID in /d/e/f /bin/sh -c #(nop) ADD --link dir:ID in /etc/ ",
            ),
            ("commit -q --squash --rm foo squashed", 0, "ID\n"),
            (
                "inspect --type image --format '{{len .OCIv1.RootFS.DiffIDs}}' squashed",
                0,
                "1",
            ),
            ("from --name bar linked", 0, "bar\n"),
            (
                "run bar stat -c %u:%g:%a /d/e/f /etc/f",
                0,
                "7:8:644\n0:0:644\n",
            ),
            ("from --name baz squashed", 0, "baz\n"),
            (
                "run baz stat -c %u:%g:%a /d/e/f /etc/f",
                0,
                "7:8:644\n0:0:644\n",
            ),
        ],
    );
    // The layer depends on what is copied, not on what is below it or on the moment.
    stage.cooper(&["from", "--name", "low", "scratch"]).ok();
    stage
        .cooper(&[
            "copy", "-q", "--link", "--chown", "7:8", "low", "src/f", "/d/e/f",
        ])
        .ok();
    stage.cooper(&["commit", "-q", "low", "low"]).ok();
    let layer = |image: &str, index: u32| {
        let format = format!("{{{{index .OCIv1.RootFS.DiffIDs {index}}}}}");
        stage
            .cooper(&["inspect", "--type", "image", "--format", &format, image])
            .ok()
    };
    assert_eq!(layer("low", 1), layer("linked", 2));
    assert_eq!(layer("linked", 2), layer("again", 2));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn priv_containers_are_committed_as_buildah_does() {
    let stage = Stage::with_base("committed-as-buildah");
    stage.write("added", "x");
    stage.write(
        "config.json",
        r#"{"Cmd": ["file"], "Env": ["Q=1"], "Labels": {"a": "b"}}"#,
    );
    let copied = "Getting image source signatures\nCopying blob sha256:ID\nCopying blob sha256:ID\nCopying config sha256:ID\nWriting manifest to image destination\n";
    check(
        &stage,
        &[
            ("from --name foo --format docker base", 0, "foo\n"),
            ("commit foo first", 0, &format!("ID\n{copied}")),
            ("commit --quiet foo second", 0, "ID\n"),
            ("commit -q foo ''", 0, "ID\n"),
            // Each has the base's layers and one of its own.
            (
                "inspect --type image --format '{{len .OCIv1.RootFS.DiffIDs}}' second",
                0,
                "2",
            ),
            (
                "inspect --type image --format '{{slice .Manifest 19 75}}' first",
                0,
                "\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"",
            ),
            (
                "commit -q --config config.json --change 'ENV R=2' -c 'LABEL x=y' foo changed",
                0,
                "ID\n",
            ),
            (
                "inspect --type image --format '{{.OCIv1.Config.Cmd}} {{.OCIv1.Config.Env}} {{.OCIv1.Config.Labels.a}} {{.OCIv1.Config.Labels.x}}' changed",
                0,
                "[file] [Q=1 R=2] b y",
            ),
            (
                "inspect --format '{{.OCIv1.Config.Cmd}}' foo",
                0,
                "[/bin/sh]",
            ),
            (
                "commit --change 'RUN x' foo changed",
                125,
                "Error: applying changes: processing change \"RUN x\": did not understand change instruction \"RUN x\"\n",
            ),
            ("commit -q --add-file added:/in/it foo more", 0, "ID\n"),
            (
                "inspect --type image --format '{{(index .OCIv1.History 3).CreatedBy}} {{len .OCIv1.RootFS.DiffIDs}}' more",
                0,
                "/bin/sh -c #(nop) ADD dir:ID in / 3",
            ),
            ("from --name more more", 0, "more\n"),
            (
                "run more sh -c 'cat /in/it; stat -c %a:%u /in/it'",
                0,
                "x644:0\n",
            ),
            (
                "commit -q --squash --add-file added:/in/it foo squashed",
                0,
                "ID\n",
            ),
            (
                "inspect --type image --format '{{len .OCIv1.History}} {{len .OCIv1.RootFS.DiffIDs}}' squashed",
                0,
                "1 1",
            ),
            ("from --name squashed squashed", 0, "squashed\n"),
            (
                "run squashed sh -c 'cat /in/it; stat -c %a:%u /in/it'",
                0,
                "x644:0\n",
            ),
            (
                "commit --add-file nosuch:/x foo more",
                125,
                "Error: parsing add-file argument \"nosuch:/x\": source \"nosuch\": stat nosuch: no such file or directory\n",
            ),
            (
                "commit foo Img",
                125,
                "Error: cannot parse input: \"Img\": repository name must be lowercase\n",
            ),
            (
                "commit --timestamp 1 --omit-timestamp foo x",
                125,
                "Error: can not use more then one timestamp option at at time\n",
            ),
            ("commit -q --omit-timestamp foo old", 0, "ID\n"),
            (
                "inspect --type image --format '{{.OCIv1.Created}}' old",
                0,
                "1970-01-01 00:00:00 +0000 UTC",
            ),
            (
                "commit --authfile nosuch foo x",
                125,
                "Error: credential file is not accessible: faccessat nosuch: no such file or directory\n",
            ),
            ("config --shell '/bin/x -y' --history-comment hc foo", 0, ""),
            ("commit -q --format docker foo told", 0, "ID\n"),
            (
                "inspect --type image --format '{{(index .Docker.History 2).CreatedBy}}|{{(index .Docker.History 2).Comment}}|{{len .Docker.Config.Hostname}}' told",
                0,
                "/bin/x -y|hc FROM localhost/base:latest|12",
            ),
        ],
    );
}

#[test]
fn priv_prune_takes_images_without_a_name_and_the_caches() {
    let stage = Stage::with_base("pruned-as-buildah");
    stage.set("TMPDIR", text(&stage.path("tmp")));
    stage.write("tmp/buildah-cache-0/x/f", "x");
    check(
        &stage,
        &[
            ("from --name foo base", 0, "foo\n"),
            ("commit -q foo one", 0, "ID\n"),
            ("rm foo", 0, "ID\n"),
            ("tag one two", 0, ""),
            ("prune --nosuch", 125, "Error: unknown flag: --nosuch\n"),
            ("prune", 0, ""),
            (
                "images --format '{{.Name}}' one",
                0,
                "localhost/two\nlocalhost/one\n",
            ),
            ("from --name bar one", 0, "bar\n"),
            ("config --env A=1 bar", 0, ""),
            ("commit -q bar", 0, "ID\n"),
            ("rm bar", 0, "ID\n"),
            ("prune", 0, "ID\n"),
        ],
    );
    assert!(!stage.path("tmp/buildah-cache-0").exists());
}
