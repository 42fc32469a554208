//! `info`: the host and the store, or what the host's configuration comes to.

use std::io::IsTerminal as _;

use serde_json::{Value, json};
use store::{DriverName, Store};

use crate::args::GlobalArgs;
use crate::failure::Failure;
use crate::host;
use crate::host::namespace::Space;
use crate::ui::Ui;
use crate::world::World;

/// Arguments of `info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// Print every setting of the configuration files with where it was written
    #[arg(long)]
    config: bool,
    /// Also print what helps to find faults
    #[arg(long, short = 'd')]
    debug: bool,
    /// Print with a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

impl InfoArgs {
    /// Where the command works: a store that does not exist yet gets the driver that works there.
    pub fn space(&self) -> Space {
        if self.config {
            Space::Here
        } else {
            Space::Owners
        }
    }
}

/// Prints JSON, or what a template picks.
pub fn run(args: &InfoArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    if args.config {
        return super::info_config::run(args.format.as_deref(), global, world, ui);
    }
    let store = host::open_store(global, world, ui)?;
    let mut value = json!({
        "host": host_facts(),
        "store": {
            "ContainerStore": {"number": store.containers()?.iter().count()},
            "GraphDriverName": store.driver().as_str(),
            "GraphOptions": host::settings::store_options(global, world, ui)?.driver_options,
            "GraphRoot": store.graph_root(),
            "GraphStatus": graph_status(&store),
            "ImageStore": {"number": store.images()?.iter().count()},
            "RunRoot": store.run_root(),
        },
    });
    if args.debug {
        value["debug"] = json!({
            "buildah version": crate::world::BUILDAH,
            "cooper version": env!("CARGO_PKG_VERSION"),
            "compiler": "rustc",
        });
    }
    match &args.format {
        None => ui.line(crate::format::go_indented(&value)),
        Some(format) => {
            let shown = super::inspect::template(format)?.render(&value)?;
            ui.out(shown);
            if std::io::stdout().is_terminal() {
                ui.line("");
            }
        }
    }
    Ok(())
}

/// What the driver tells of itself.
fn graph_status(store: &Store) -> Value {
    match store.driver() {
        DriverName::Vfs => json!({}),
        DriverName::Overlay => json!({
            "Backing Filesystem": backing_file_system(store.graph_root()),
            // Layers are read from the directories that hold their changes, whatever the kernel's defaults.
            "Native Overlay Diff": "true",
            "Supports d_type": "true",
            "Supports shifting": "false",
            "Using metacopy": "false",
        }),
    }
}

fn host_facts() -> Value {
    let memory = read("/proc/meminfo");
    let kilobytes = |name: &str| {
        let line = memory
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.split_whitespace()
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    let release = read("/etc/os-release");
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned()
    };
    let platform = model::Platform::host();
    let name = rustix::system::uname();
    json!({
        "CgroupVersion": if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1" },
        "Distribution": {"distribution": field("ID"), "version": field("VERSION_ID")},
        "MemFree": kilobytes("MemFree:"),
        "MemTotal": kilobytes("MemTotal:"),
        "OCIRuntime": "cooper",
        "SwapFree": kilobytes("SwapFree:"),
        "SwapTotal": kilobytes("SwapTotal:"),
        "arch": platform.architecture,
        "cpus": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "hostname": name.nodename().to_string_lossy(),
        "kernel": name.release().to_string_lossy(),
        "os": platform.os,
        "rootless": host::settings::privilege() == store::Privilege::Rootless,
        "uptime": uptime(),
        "variant": platform.variant.unwrap_or_default(),
    })
}

fn uptime() -> String {
    let text = read("/proc/uptime");
    let seconds: f64 = text
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    let hours = (seconds / 3600.0).floor();
    let minutes = ((seconds - hours * 3600.0) / 60.0).floor();
    let rest = seconds - hours * 3600.0 - minutes * 60.0;
    if hours > 0.0 {
        let days = hours / 24.0;
        format!("{hours}h {minutes}m {rest:.2}s (Approximately {days:.2} days)")
    } else {
        format!("{minutes}m {rest:.2}s")
    }
}

fn backing_file_system(path: &std::path::Path) -> String {
    let existing = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(std::path::Path::new("/"));
    match rustix::fs::statfs(existing).map(|facts| facts.f_type) {
        Ok(0xef53) => "extfs".to_owned(),
        Ok(0x5846_5342) => "xfs".to_owned(),
        Ok(0x9123_683e) => "btrfs".to_owned(),
        Ok(0x0102_1994) => "tmpfs".to_owned(),
        Ok(0x794c_7630) => "overlayfs".to_owned(),
        Ok(other) => format!("<unknown> (0x{other:x})"),
        Err(_) => "<unknown>".to_owned(),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
