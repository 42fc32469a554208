//! Builds on a real store: what a whole build leaves behind, finds again and cleans up.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod world;

use cooper_solve::request::FileTimes;
use cooper_solve::target::{Squash, Target};
use cooper_solve::{BuildError, BuildTimes, Layering};
use model::Digest;
use world::{World, layers, no_cache};

const BASE: &str = "FROM localhost/base\n";

fn file(steps: &str) -> String {
    format!("{BASE}{steps}")
}

#[test]
fn priv_steps_become_files_config_and_history() {
    let world = World::new("steps");
    world.write("a.txt", "content a\n");
    let text = file(
        "ENV A=1 B=two\nWORKDIR /work\nRUN echo $A-$B > out && id -u > uid\nCOPY a.txt sub/\nUSER 7\nCMD [\"x\"]\n",
    );
    for layering in [layers(), cooper_solve::Layering::AtEnd] {
        let built = world.build(&text, layering).expect("build");
        assert_eq!(world.read(&built.id, "/work/out"), "1-two\n");
        assert_eq!(world.read(&built.id, "/work/uid"), "0\n");
        assert_eq!(world.read(&built.id, "/work/sub/a.txt"), "content a\n");
        let config = world.config(&built.id);
        assert!(config.config.env.contains(&"A=1".to_owned()));
        assert_eq!(config.config.working_dir, "/work");
        assert_eq!(config.config.user, "7");
        assert_eq!(config.config.cmd, ["x"]);
        let expected = if layering == layers() { 3 } else { 2 };
        assert_eq!(config.rootfs.diff_ids.len(), expected);
        assert_eq!(config.layers_in_history(), expected);
        assert_eq!(config.history.len(), 1 + 6);
    }
    world.assert_clean();
}

#[test]
fn priv_a_second_build_finds_everything_and_writes_nothing() {
    let world = World::new("again");
    world.write("a.txt", "one");
    let text = "FROM localhost/base AS one\nRUN echo x > /x\nENV A=1\nFROM one\nCOPY a.txt /a\nLABEL l=1\nWORKDIR /new/dir\n";
    let first = world.build(text, layers()).expect("first");
    let before = world.state();
    let second = world.build(text, layers()).expect("second");
    assert_eq!(first.id, second.id);
    assert_eq!(before, world.state(), "a full hit wrote something");
    assert_eq!(world.ran(), 0, "{:?}", world.events());
    assert_eq!(world.read(&second.id, "/new/dir/.").len(), 0);
}

#[test]
fn priv_a_changed_source_is_missed_and_said_so() {
    let world = World::new("changed");
    world.write("a.txt", "one");
    let text = file("RUN echo x > /x\nCOPY a.txt /a\nRUN cat /a > /b\n");
    world.build(&text, layers()).expect("first");
    world.write("a.txt", "two");
    let built = world.build(&text, layers()).expect("second");
    assert_eq!(world.read(&built.id, "/b"), "two");
    let misses = world.misses();
    assert_eq!(
        misses,
        [
            r#"SourceChanged { path: "a.txt" }"#.to_owned(),
            "ParentChanged".to_owned()
        ]
    );
}

#[test]
fn priv_an_argument_in_env_does_not_give_a_stale_image() {
    let world = World::new("stale");
    let text = file("ARG A\nENV V=$A\nLABEL l=$A\nWORKDIR /d$A\n");
    let one = world.build_with(&text, layers(), &[("A", "1")]).expect("1");
    let two = world.build_with(&text, layers(), &[("A", "2")]).expect("2");
    assert_ne!(one.id, two.id);
    let config = world.config(&two.id);
    assert!(config.config.env.contains(&"V=2".to_owned()));
    assert_eq!(config.config.working_dir, "/d2");
    let again = world
        .build_with(&text, layers(), &[("A", "1")])
        .expect("1 again");
    assert_eq!(one.id, again.id);
}

#[test]
fn priv_no_cache_makes_fresh_entries_that_win() {
    let world = World::new("fresh");
    let text = file("RUN cat /proc/sys/kernel/random/uuid > /u\n");
    let first = world.build(&text, layers()).expect("first");
    let forced = world.build(&text, no_cache()).expect("forced");
    assert_ne!(first.id, forced.id);
    let third = world.build(&text, layers()).expect("third");
    assert_eq!(forced.id, third.id);
}

#[test]
fn priv_a_removed_layer_is_built_again() {
    let world = World::new("gone");
    let text = file("RUN echo x > /x\nRUN echo y > /y\n");
    let first = world.build(&text, layers()).expect("first");
    world.store.delete_image(&first.id).expect("delete");
    let second = world.build(&text, layers()).expect("second");
    assert_eq!(world.misses(), ["LayerGone", "ParentChanged"]);
    assert_eq!(world.read(&second.id, "/y"), "y\n");
}

#[test]
fn priv_stages_feed_each_other_with_and_without_layers() {
    let world = World::new("stages");
    world.write("in.txt", "in\n");
    let text = "FROM localhost/base AS one\nRUN echo one > /one\n\
        FROM scratch AS two\nCOPY in.txt /two\n\
        FROM localhost/base AS unused\nRUN false\n\
        FROM one\nCOPY --from=two /two /from-two\n\
        RUN --mount=from=two,target=/m cat /m/two > /mounted\n\
        RUN --mount=from=one,target=/w,rw echo gone > /w/one && cat /w/one > /seen\n\
        RUN --mount=target=/ctx,rw echo x > /ctx/in.txt && cat /ctx/in.txt > /ctx-seen\n\
        COPY --from=one /one /kept\n";
    for layering in [layers(), layers(), cooper_solve::Layering::AtEnd] {
        let built = world.build(text, layering).expect("build");
        for (path, content) in [
            ("/one", "one\n"),
            ("/from-two", "in\n"),
            ("/mounted", "in\n"),
            ("/seen", "gone\n"),
            ("/kept", "one\n"),
            ("/ctx-seen", "x\n"),
        ] {
            assert_eq!(world.read(&built.id, path), content, "{path}");
        }
        assert_eq!(world.read_context("in.txt"), "in\n");
        world.assert_clean();
    }
    assert!(world.store.images().unwrap().iter().count() >= 3);
}

#[test]
fn priv_a_failing_step_says_where_and_leaves_nothing() {
    let world = World::new("failing");
    for layering in [layers(), cooper_solve::Layering::AtEnd] {
        let before = world.layer_count();
        let error = world
            .build(&file("RUN echo x > /x\nRUN exit 42\n"), layering)
            .expect_err("fails");
        assert_eq!(error.exit_status(), Some(42));
        let at = error.location().expect("place");
        assert_eq!((at.line, at.column), (3, 1));
        assert_eq!(error.to_string(), "building at STEP \"RUN exit 42\"");
        // With layers the steps before the failed one are there for the next build.
        let kept = usize::from(layering == layers());
        assert_eq!(world.layer_count(), before + kept);
        world.assert_clean();
    }
    world
        .build(&file("RUN echo x > /x\nRUN true\n"), layers())
        .expect("next");
    assert_eq!(world.ran(), 1);
}

#[test]
fn priv_what_is_not_supported_fails_before_anything_runs() {
    let world = World::new("unsupported");
    for (step, words) in [
        (
            "ADD https://example.org/x.git /x\n",
            "ADD of a git repository",
        ),
        ("RUN --security=insecure true\n", "RUN --security=insecure"),
        (
            "RUN --mount=type=bind,target=/c,no-dereference true\n",
            "RUN --mount=type=bind,no-dereference",
        ),
    ] {
        let text = file(&format!("RUN echo ran > /x\n{step}"));
        let error = world.build(&text, layers()).expect_err(step);
        assert!(matches!(error, BuildError::Plan(_)), "{error:?}");
        let shown = world::chain(&error);
        assert!(
            shown.contains(words) && shown.contains("not supported yet"),
            "{shown}"
        );
        assert_eq!(world.ran(), 0);
    }
}

#[test]
fn priv_cache_mounts_secrets_and_tmpfs_leave_no_trace() {
    let world = World::new("mounts");
    world.secret("token", b"s3cr3t");
    let text = file(
        "RUN --mount=type=cache,target=/c echo kept > /c/f\n\
         RUN --mount=type=cache,target=/c cat /c/f > /from-cache\n\
         RUN --mount=type=secret,id=token,required test \"$(cat /run/secrets/token)\" = s3cr3t\n\
         RUN --mount=type=tmpfs,target=/t echo x > /t/x\n\
         RUN <<EOF\necho here > /here\nEOF\n\
         RUN <<EOF\n#!/bin/sh\necho program > /program\nEOF\n",
    );
    let built = world.build(&text, layers()).expect("build");
    assert_eq!(world.read(&built.id, "/from-cache"), "kept\n");
    assert_eq!(world.read(&built.id, "/here"), "here\n");
    assert_eq!(world.read(&built.id, "/program"), "program\n");
    for path in ["/c", "/t", "/run/secrets", "/dev/pipes"] {
        assert!(!world.has(&built.id, path), "{path} stays in the image");
    }
}

#[test]
fn priv_files_of_the_web_are_added() {
    let world = World::new("web");
    let sum = Digest::sha256(b"http://h/dir/f?q");
    let text = file(&format!(
        "ADD http://h/dir/f?q http://h/other/f2 /d/\n\
         ADD --checksum={sum} --chmod=640 http://h/dir/f?q /named\n\
         RUN stat -c '%n %a %u %Y' /d/f /d/f2 /named > /facts\n"
    ));
    let built = world.build(&text, layers()).expect("build");
    assert_eq!(
        world.read(&built.id, "/facts"),
        "/d/f 600 0 1000\n/d/f2 600 0 1000\n/named 640 0 1000\n"
    );
    assert_eq!(world.read(&built.id, "/d/f2"), "http://h/other/f2");
    assert_eq!(world.build(&text, layers()).expect("again").id, built.id);
    assert_eq!(world.ran(), 0, "content that is the same is found");
    let check = |step: &str, expected: &str| {
        let error = world.build(&file(&format!("{step}\n")), layers());
        let said = world::chain(&error.expect_err(step));
        assert!(said.contains(expected), "{step}: {said}");
    };
    check("ADD http://h/missing /x", "404 Not Found");
    check(
        &format!("ADD --checksum={sum} http://h/x /x"),
        &format!("want {sum}"),
    );
    check("ADD --checksum=sha256:0 http://h/x /x", "checksum");
    check("ADD http://h/ /x/", "cannot determine filename from url");
    check("ADD http://h/x f /x/", "is not supported yet");
    check("ADD https://h/r.git /x", "is not supported yet");
    world.assert_clean();
}

#[test]
fn priv_a_stage_that_adds_nothing_is_the_same_image() {
    let world = World::new("nothing-added");
    let text = "FROM localhost/base AS a\nRUN echo a > /a\nFROM a\n";
    let count = || world.store.images().expect("images").iter().count();
    let before = count();
    let target = world.target(text, &[]);
    let stage = Target {
        stage: Some("a".to_owned()),
        ..target.clone()
    };
    let times = BuildTimes {
        files: FileTimes::Keep,
        created: None,
    };
    let both = world.build_all(vec![target, stage], layers(), times);
    let both = both.expect("build");
    assert_eq!(both[0].id, both[1].id);
    assert_eq!(count(), before + 1);
    // The image that would only hold layers during the build is the result.
    let built = world.build(text, Layering::AtEnd).expect("build");
    assert_eq!(world.read(&built.id, "/a"), "a\n");
    assert_eq!(count(), before + 2);
    let squashed = world.build_changed(text, Layering::AtEnd, &|target, _| {
        target.image.squash = Squash::One;
    });
    let config = world.config(&squashed.expect("build").id);
    assert_eq!((config.history.len(), config.rootfs.diff_ids.len()), (1, 1));
}

#[test]
fn priv_independent_stages_run_at_once_and_equal_steps_once() {
    let world = World::new("jobs");
    let text = "FROM localhost/base AS a\nRUN sleep 0.5; echo a > /a\n\
        FROM localhost/base AS b\nRUN sleep 0.5; echo a > /a\nRUN echo b > /b\n\
        FROM localhost/base AS c\nRUN sleep 0.5; echo c > /c\n\
        FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /b /b\nCOPY --from=c /c /c\n";
    world.jobs(4);
    let built = world.build(text, layers()).expect("build");
    assert_eq!(world.read(&built.id, "/b"), "b\n");
    assert!(world.overlapped(0, 2), "{:?}", world.events());
    let sleeps = world.performed_steps("sleep 0.5; echo a");
    assert_eq!(sleeps, 1, "{:?}", world.events());
}

#[test]
fn priv_a_failure_stops_the_other_stages() {
    let world = World::new("stop");
    world.jobs(4);
    let text = "FROM localhost/base AS a\nRUN sleep 30\n\
        FROM localhost/base AS b\nRUN sleep 0.2; exit 3\n\
        FROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n";
    let begun = std::time::Instant::now();
    let error = world.build(text, layers()).expect_err("fails");
    assert_eq!(error.exit_status(), Some(3));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    world.assert_clean();
}

#[test]
fn priv_cancel_ends_a_running_step() {
    let world = World::new("cancel");
    let cancel = world.cancel();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        cancel.cancel();
    });
    let begun = std::time::Instant::now();
    let error = world
        .build(&file("RUN sleep 30\n"), layers())
        .expect_err("cancelled");
    thread.join().expect("thread");
    assert!(matches!(error, BuildError::Cancelled), "{error:?}");
    assert!(begun.elapsed().as_secs() < 10);
    world.assert_clean();
}

#[test]
fn priv_squash_and_fixed_times_give_one_equal_layer() {
    let world = World::new("squash");
    let text = file("RUN echo x > /x\nRUN rm /bin/ls; echo y > /y\n");
    for layering in [layers(), cooper_solve::Layering::AtEnd] {
        let built = world
            .build_changed(&text, layering, &|target, _| {
                target.image.squash = cooper_solve::target::Squash::One;
            })
            .expect("squash");
        let config = world.config(&built.id);
        assert_eq!(config.rootfs.diff_ids.len(), 1);
        assert_eq!(config.layers_in_history(), 1);
        assert!(!world.has(&built.id, "/bin/ls"));
        assert_eq!(world.read(&built.id, "/y"), "y\n");
        world.assert_clean();
    }
    let fixed = |text: &str| {
        world
            .build_changed(text, no_cache(), &|_, times| {
                times.files = cooper_solve::request::FileTimes::Fixed(0);
                times.created = Some(model::Timestamp::UNIX_EPOCH);
            })
            .expect("fixed")
            .id
    };
    assert_eq!(fixed(&text), fixed(&text));
}

#[test]
fn priv_onbuild_args_and_numbers() {
    let world = World::new("onbuild");
    world.write("f", "f");
    world.format(model::ManifestFormat::Docker);
    let parent = world
        .build_named(
            "FROM localhost/base\nONBUILD COPY --from=tool /t /t\nONBUILD ARG X=1\n",
            "parent",
        )
        .expect("parent");
    assert_eq!(world.config(&parent.id).config.on_build.len(), 2);
    let text = "FROM scratch AS tool\nCOPY f /t\nFROM localhost/parent\nRUN cat /t > /out; echo $X >> /out\n";
    let built = world
        .build_with(text, layers(), &[("X", "9")])
        .expect("child");
    assert_eq!(world.read(&built.id, "/out"), "f9\n");
    assert!(world.config(&built.id).config.on_build.is_empty());
    assert!(built.not_consumed.is_empty());
}

#[test]
fn priv_builds_at_the_same_time_share_a_store() {
    let world = World::new("parallel");
    let text = |n: u32| {
        file(&format!(
            "RUN echo same > /s\nRUN echo {n} > /n\nRUN true\n"
        ))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (world, text) = (&world, text(n % 2));
                scope.spawn(move || world.build(&text, layers()).map(|b| (n, b.id)))
            })
            .collect();
        for thread in threads {
            let (n, id) = thread.join().expect("thread").expect("build");
            assert_eq!(world.read(&id, "/n"), format!("{}\n", n % 2));
        }
    });
    world.assert_clean();
}

#[test]
fn priv_targets_share_stages_and_a_full_hit_changes_none() {
    let world = World::new("targets");
    world.jobs(3);
    let text = "FROM localhost/base AS common\nRUN echo c > /c\nENV C=1\n\
        FROM common AS one\nRUN echo 1 > /n\nFROM common AS two\nRUN echo 2 > /n\n";
    let targets = || {
        let target = |stage: &str| {
            let mut target = world.target(text, &[]);
            target.name = Some(stage.to_owned());
            target.stage = Some(stage.to_owned());
            target
        };
        let mut all = vec![target("one"), target("two"), target("common")];
        // One file, read once.
        let file = all[0].file.clone();
        all.iter_mut().for_each(|target| target.file = file.clone());
        all
    };
    let times = cooper_solve::BuildTimes {
        files: cooper_solve::request::FileTimes::Keep,
        created: None,
    };
    let ids = |built: Vec<cooper_solve::BuiltImage>| -> Vec<model::ImageId> {
        built.into_iter().map(|image| image.id).collect()
    };
    let first = ids(world.build_all(targets(), layers(), times).expect("first"));
    assert_eq!(world.performed_steps("echo c"), 1);
    assert_eq!(world.read(&first[1], "/n"), "2\n");
    let second = ids(world.build_all(targets(), layers(), times).expect("second"));
    assert_eq!(first, second);
    world.assert_clean();
}

#[test]
fn priv_old_results_expire_when_asked_to() {
    let world = World::new("expire");
    let text = file("RUN echo x > /x\n");
    world.build(&text, layers()).expect("first");
    let aged = |seconds| cooper_solve::Layering::PerStep {
        look_up: cooper_solve::LookUp::Use {
            max_age: Some(std::time::Duration::from_secs(seconds)),
        },
    };
    world.build(&text, aged(3600)).expect("young enough");
    assert_eq!(world.ran(), 0);
    world.build(&text, aged(0)).expect("too old");
    assert_eq!(world.misses(), ["Expired"]);
}

#[test]
fn priv_layers_that_others_remove_are_built_again() {
    let world = World::new("remove");
    let text = file("RUN echo a > /a\nRUN echo b > /b\nRUN echo c > /c\n");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                world.remove_untagged();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let ended: Vec<_> = (0..12).map(|_| world.build(&text, layers())).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        for end in ended {
            end.expect("build");
        }
    });
    world.assert_clean();
}

#[test]
fn priv_thirty_steps_and_fifty_hits_are_fast() {
    let world = World::new("speed");
    let steps: String = (0..30).map(|n| format!("RUN echo {n} > /f{n}\n")).collect();
    let begun = std::time::Instant::now();
    world.build(&file(&steps), no_cache()).expect("30 steps");
    let thirty = begun.elapsed();
    let steps_alone: u64 = world.step_times().iter().sum();
    world.write("a", "a");
    let mixed: String = (0..10)
        .map(|n| {
            format!("ENV E{n}=1\nLABEL l{n}=1\nRUN echo {n} > /g{n}\nCOPY a /a{n}\nWORKDIR /w{n}\n")
        })
        .collect();
    world.build(&file(&mixed), layers()).expect("50 steps");
    let begun = std::time::Instant::now();
    world.build(&file(&mixed), layers()).expect("50 hits");
    let hits = begun.elapsed();
    eprintln!("30 steps {thirty:?}, of which {steps_alone} ms in steps, 50 hits {hits:?}");
    // Debug builds and busy machines are slow; what is caught here is a cost for each step.
    assert!(thirty.as_secs() < 30, "{thirty:?}");
    assert!(hits.as_secs() < 10, "{hits:?}");
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The parts of a config that two builders must agree on, one line each.
fn compared(config: &model::ImageConfig) -> Vec<String> {
    let mut inner = config.config.clone();
    inner.labels.remove("io.buildah.version");
    inner.hostname.clear();
    inner.image.clear();
    // On an empty root 1.28 writes the default PATH and no directory, newer versions the reverse.
    inner.env.retain(|entry| entry != DEFAULT_PATH);
    if inner.working_dir == "/" {
        inner.working_dir.clear();
    }
    let mut lines = vec![
        format!("{inner:?}"),
        format!("author {}", config.author),
        format!("layers {}", config.rootfs.diff_ids.len()),
    ];
    for entry in &config.history {
        // The digest of a copy is each builder's own; blanks at the end are newer versions'.
        let mut words: Vec<String> = entry
            .created_by
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        for word in &mut words {
            if let Some((kind, _)) = word.split_once(':')
                && matches!(kind, "file" | "dir" | "multi")
            {
                *word = kind.to_owned();
            }
        }
        lines.push(format!(
            "{:?} author {:?} comment {:?} empty {}",
            words.join(" "),
            entry.author,
            // 1.28 also names the images of steps, which newer versions do not make.
            if is_step_image(&entry.comment) {
                ""
            } else {
                &entry.comment
            },
            entry.empty_layer
        ));
    }
    lines
}

fn is_step_image(comment: &str) -> bool {
    comment
        .strip_prefix("FROM ")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[test]
fn peer_config_and_history_are_buildahs() {
    let world = World::new("peer");
    world.write("a.txt", "a");
    world.write("dir/b.txt", "b");
    let plain = "FROM scratch\nCOPY a.txt /a\nCMD [\"/a\"]\n";
    world.build_named(plain, "plain").expect("plain");
    for text in [
        file("ENV A=1\nRUN echo x > /x\nCOPY a.txt /a\nCOPY dir /dir/\nCOPY a.txt dir/b.txt /two/\nCMD [\"sh\"]\n"),
        file("ARG X=5\nARG Y\nRUN echo $X > /x\nLABEL k=v \"q q\"=\"w w\"\nEXPOSE 80 81/udp\nUSER 7:7\n"),
        file("WORKDIR /tmp\nENTRYPOINT [\"/bin/sh\"]\nCMD echo hi\nVOLUME /v\nSTOPSIGNAL TERM\nRUN true\nMAINTAINER Me <me@example.org>\n"),
        "FROM localhost/base AS one\nENV E=1\nRUN echo one > /one\nFROM one\nRUN echo two > /two\nENV F=2\n".to_owned(),
        "FROM scratch\nCOPY a.txt /a\nENV A=1\n".to_owned(),
        "FROM localhost/plain\nCOPY a.txt /b\n".to_owned(),
    ] {
        for (layering, flags) in [
            (layers(), &["--layers"][..]),
            (cooper_solve::Layering::AtEnd, &["--layers=false"][..]),
        ] {
            for format in [model::ManifestFormat::Oci, model::ManifestFormat::Docker] {
                world.format(format);
                let name = match format {
                    model::ManifestFormat::Oci => "oci",
                    model::ManifestFormat::Docker => "docker",
                };
                let flags = [flags, &["--no-cache", "--format", name]].concat();
                world::peer::build(&world, &text, &flags);
                let images = world.store.images().expect("images");
                let peer = images.by_name("localhost/peer:latest").expect("peer").id.clone();
                let theirs = compared(&world.config(&peer));
                let all = theirs.clone();
                let ours = world.build(&text, layering).expect("ours");
                let ours = compared(&world.config(&ours.id));
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    assert_eq!(ours, theirs, "{text}{flags:?}\n{all:#?}");
                }
                assert_eq!(ours.len(), theirs.len(), "{text}{flags:?}");
            }
        }
    }
}

#[test]
fn peer_other_tools_read_and_use_what_we_built() {
    let world = World::new("use");
    let text = file("RUN echo x > /x\nCMD [\"cat\", \"/x\"]\n");
    world.build_named(&text, "ours").expect("build");
    let shown = world::peer::run(&world, "podman", &["images", "--format", "{{.Repository}}"]);
    assert!(shown.contains("localhost/ours"), "{shown}");
    let name = world::peer::run(
        &world,
        "buildah",
        &["from", "--pull-never", "localhost/ours"],
    );
    let read = ["run", "--isolation", "chroot", name.trim(), "cat", "/x"];
    assert_eq!(world::peer::run(&world, "buildah", &read), "x\n");
    world::peer::run(&world, "buildah", &["rm", name.trim()]);
}

#[test]
fn priv_layers_of_large_copies_are_what_is_on_the_disk() {
    let world = World::new("large");
    let large = "large ".repeat(3 << 20);
    world.write("d/large", &large);
    world.write("d/small", "small\n");
    for steps in [
        "COPY d /d\n",
        "WORKDIR /made\nCOPY d /d\n",
        "COPY d /d\nWORKDIR /made\n",
        "COPY d /d\nRUN echo changed > /d/large\n",
        "RUN echo first > /first\nCOPY --chmod=750 d/large d/small /d/\nENV A=1\n",
        "COPY d /d\nFROM localhost/base\nCOPY --from=0 /d/large /d/\n",
    ] {
        for layering in [no_cache(), cooper_solve::Layering::AtEnd] {
            let built = world.build(&file(steps), layering).expect(steps);
            if !steps.contains("changed") {
                assert!(world.read(&built.id, "/d/large") == large, "{steps}");
            }
            let config = world.config(&built.id);
            let layers = world.store.layers().unwrap();
            for diff in &config.rootfs.diff_ids {
                let layer = layers
                    .iter()
                    .find(|layer| layer.diff_digest.as_ref() == Some(diff))
                    .expect("every layer is in the store");
                let mut bytes = Vec::new();
                world.store.export_layer(&layer.id, &mut bytes).unwrap();
                let found = model::DiffId(model::Digest::sha256(&bytes));
                assert_eq!(&found, diff, "{steps}");
            }
            world.assert_clean();
        }
    }
}
