//! Measures how long a step takes: `steps ROOT COUNT PROGRAM [ARGUMENT…]`, with threads around.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cooper_runtime::{Access, MountKind, MountPlan, Output, RootSource, RunSpec, Stdin, Stop, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args_os().skip(1);
    let root = words.next().ok_or("no root")?;
    let count: usize = words
        .next()
        .and_then(|w| w.to_str()?.parse().ok())
        .ok_or("no count")?;
    let args: Vec<OsString> = words.collect();
    for _ in 0..4 {
        std::thread::spawn(|| {
            loop {
                std::hint::black_box(vec![1_u8; 100_000]);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    let ballast = vec![1_u8; 200 << 20];
    let root = sys::Root::open(Path::new(&root))?;
    let stop = Stop::new()?;
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let mut spec = RunSpec::new(RootSource::Directory(root.as_fd()), args.clone());
        spec.env = vec!["PATH=/bin".into()];
        for target in [
            "/etc/hosts",
            "/etc/resolv.conf",
            "/etc/hostname",
            "/run/.containerenv",
        ] {
            let kind = MountKind::File {
                content: b"text\n".to_vec(),
                mode: 0o644,
                owner: (0, 0),
                access: Access::ReadWrite,
            };
            spec.mounts.push(MountPlan {
                target: target.into(),
                kind,
            });
        }
        run(spec, Stdin::Null, Output::Inherit, &stop)?;
        times.push(start.elapsed());
    }
    times.sort();
    drop(ballast);
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    writeln!(
        std::io::stderr(),
        "median {:?}, 10 % {:?}, 90 % {:?} of {count}",
        at(50),
        at(10),
        at(90)
    )?;
    Ok(())
}
