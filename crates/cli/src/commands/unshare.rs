//! `unshare`: a command in the user namespace that the others work in without root.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use builder::container::{ContainerError, WorkingContainer};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use store::Store;

use crate::args::GlobalArgs;
use crate::failure::{Failure, in_go_words};
use crate::host;
use crate::host::namespace::{
    CONFIGURED, Forwarding, ISOLATION, no_status, of_status, passed_on, status_of,
};
use crate::host::settings;
use crate::ui::{Level, Ui};
use crate::world::World;

/// Arguments of `unshare`.
#[derive(Debug, clap::Args)]
pub struct UnshareArgs {
    /// Mount a container for the time of the command, and set a variable to where
    #[arg(long, short = 'm', value_name = "[VARIABLE=]CONTAINER")]
    mount: Vec<String>,
    /// The command with its arguments; without one, $SHELL
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND [ARGUMENT…]"
    )]
    command: Vec<OsString>,
}

/// Runs the command; its exit status is ours.
pub fn run(args: &UnshareArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let shell = world.var("SHELL").map(OsString::from);
    let Some((program, words)) = (match (args.command.split_first(), shell) {
        (Some((program, words)), _) => Some((program.clone(), words)),
        (None, shell) => shell.map(|shell| (shell, args.command.as_slice())),
    }) else {
        ui.log(Level::Error, "no command specified");
        return Err(passed_on(1));
    };
    let mut command = Command::new(&program);
    command.args(words);
    // What containers.conf adds for the tool is there for its children, too.
    command.envs(&world.env);
    command.env(CONFIGURED, "done");
    command.env("TMPDIR", settings::temporary(global, world, ui)?);
    if world.var(ISOLATION).is_none() {
        command.env(ISOLATION, "rootless");
    }
    // With it, all tools that the command starts find one store.
    if let Some(dir) = settings::session_dir(world)? {
        command.env("XDG_RUNTIME_DIR", dir);
    }
    let mounts = Mounts::make(&args.mount, global, world, ui)?;
    command.envs(mounts.variables());
    let signals = Forwarding::install()?;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            ui.log(Level::Error, &not_started(&program, error));
            return Err(no_status(ui));
        }
    };
    let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    signals.to(handle.as_fd())?;
    let exit = child
        .wait()
        .map(of_status)
        .context("waiting for a process")?;
    match status_of(exit, ui)? {
        0 => Ok(()),
        status => Err(passed_on(status)),
    }
}

/// Go's words for a program that cannot be started.
fn not_started(program: &OsString, error: std::io::Error) -> String {
    let name = program.to_string_lossy();
    // Folders of $PATH that may not be searched hold no program either.
    let missing = matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::PermissionDenied
    );
    if missing && !name.contains('/') {
        return format!("exec: {name:?}: executable file not found in $PATH");
    }
    let error = anyhow::Error::from(error).context(format!("fork/exec {name}"));
    in_go_words(&error)
}

fn open(store: &Store, name: &str) -> anyhow::Result<WorkingContainer> {
    WorkingContainer::open(store, name).map_err(|error| match error {
        ContainerError::Unknown { wanted, .. } => anyhow::anyhow!(
            "loading information about build container {wanted:?}: container not known"
        ),
        error => anyhow::Error::from(error).context(format!(
            "loading information about build container {name:?}"
        )),
    })
}

/// Containers that are mounted for the time of the command.
struct Mounts<'a> {
    store: Option<Store>,
    ui: &'a Ui,
    /// The variable, the container, and where it is.
    mounted: Vec<(String, String, PathBuf)>,
}

impl<'a> Mounts<'a> {
    fn make(
        wanted: &[String],
        global: &GlobalArgs,
        world: &World,
        ui: &'a Ui,
    ) -> Result<Self, Failure> {
        let mut mounts = Self {
            store: None,
            ui,
            mounted: Vec::new(),
        };
        if wanted.is_empty() {
            return Ok(mounts);
        }
        let store = host::open_store_to_write(global, world, ui)?;
        mounts.store = Some(store.clone());
        for word in wanted {
            let (variable, name) = word.split_once('=').unwrap_or((word, word));
            let mut container = open(&store, name)?;
            let place = container
                .mount()
                .with_context(|| format!("mounting build container {name:?}"))?;
            mounts
                .mounted
                .push((variable.to_owned(), name.to_owned(), place));
        }
        Ok(mounts)
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &PathBuf)> {
        let mounted = self.mounted.iter();
        mounted.map(|(variable, _, place)| (variable.as_str(), place))
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        let Some(store) = &self.store else { return };
        for (_, name, _) in &self.mounted {
            let unmounted = open(store, name).and_then(|mut container| {
                let unmounted = container.unmount();
                unmounted.with_context(|| format!("unmounting build container {name:?}"))
            });
            if let Err(error) = unmounted {
                self.ui.note(in_go_words(&error));
            }
        }
    }
}
