//! `run`: one process in a working container.

use std::io::IsTerminal as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use builder::container::{WorkingContainer, run_history};
use builder::run::{
    Command, Environment, Isolation, RunMount, RunPlace, RunRequest, StepError, VolumeChanges,
    VolumeMount,
};
use runtime::{
    ControlGroup, Namespace, Namespaces, Output, Privileges, SeccompChoice, Stdin, Stop,
    UserNamespace,
};

use crate::args::GlobalArgs;
use crate::args::go_bool;
use crate::args::namespaces::NamespaceArgs;
use crate::args::process::ProcessArgs;
use crate::failure::{FAILED, Failure};
use crate::host;
use crate::host::interrupt::Interrupt;
use crate::host::mount_sources::MountSources;
use crate::host::namespace_options;
use crate::host::networks;
use crate::host::process::{self, ProcessSettings, capabilities_of};
use crate::host::resources;
use crate::host::terminal::Terminal;
use crate::host::volumes::check_places;
use crate::ui::{Level, Ui};
use crate::world::World;

/// How long a process may take to end after a signal.
const GRACE: Duration = Duration::from_secs(3);

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    namespaces: NamespaceArgs,
    /// Add an entry to the history (default: $BUILDAH_HISTORY)
    #[arg(long)]
    add_history: bool,
    /// The folder that sources of bind mounts are looked up in, and that bounds them
    #[arg(long, value_name = "DIR")]
    contextdir: Option<PathBuf>,
    /// Set a variable for the process; without a value, that of the environment
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The host name that the process sees
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Mount something: type=bind|cache|tmpfs|secret|ssh, …
    #[arg(long, value_name = "type=TYPE,…")]
    mount: Vec<String>,
    /// Keep /etc/hostname as the image has it
    #[arg(long)]
    no_hostname: bool,
    /// Keep /etc/hosts as the image has it
    #[arg(long)]
    no_hosts: bool,
    /// Change the root without pivot_root(2), for hosts that run from an initial ramdisk
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    no_pivot: Option<bool>,
    /// Use a terminal; without the flag, if standard input is one
    #[arg(long, short = 't', num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = go_bool)]
    terminal: Option<bool>,
    /// The user of the process
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The directory that the process starts in (default: the container's)
    #[arg(long, value_name = "DIR")]
    workingdir: Option<String>,
    /// The container, then the command with its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CONTAINER COMMAND [ARGUMENT…]"
    )]
    words: Vec<String>,
}

/// Runs the command; its exit status is ours.
pub fn run(args: &RunArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let Some((name, command)) = args.words.split_first() else {
        return Err(anyhow::anyhow!("container ID must be specified").into());
    };
    let command = match command.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => command,
    };
    if command.is_empty() {
        return Err(anyhow::anyhow!("command must be specified").into());
    }
    let store = host::open_store_to_write(global, world, ui)?;
    let mut container = host::open_container(&store, name)?;
    let kept = container.state.namespaces.clone();
    let namespaces = namespace_options::choose(&args.namespaces, kept, world)?;
    let process = settings(args, &container, world)?;
    let kept = container.state.isolation();
    let isolation = process.isolation.unwrap_or(kept);
    let mut sources = MountSources::open(
        &args.mount,
        args.contextdir.as_deref(),
        &store,
        (global, world, ui),
    )?;
    let volumes = volumes(args, &container, &sources, world)?;
    let mut request = request(args, command, &container, process, &mut sources, world)?;
    request
        .mounts
        .splice(0..0, volumes.into_iter().map(RunMount::Volume));
    request.control_group = resources::control_group(&container.state.run_options, isolation);
    request.namespaces = namespaces.choices();
    request.user_namespace = container
        .state
        .id_mapping
        .of_process(&namespaces)?
        .map(UserNamespace::new)
        .transpose()?;
    if request.namespaces.uts != Namespace::Private {
        request.hostname.clear();
        request.etc.hostname = request.etc.hostname.map(|_| "\n".to_owned());
    }
    let root = container.process_root()?;
    let caches = host::cache_mounts(world);
    let networks = networks::pool(isolation, world)?;
    let place = RunPlace {
        root: &root,
        store: &store,
        caches: &caches,
        networks: &networks,
    };
    let stop = Stop::new()?;
    let ender = stop.clone();
    let interrupt = Interrupt::install(move |signal| ender.end(signal, GRACE))?;
    let terminal = request.term.is_some().then(Terminal::raw).transpose()?;
    let output = terminal.as_ref().map_or(Output::Inherit, Terminal::output);
    let report = builder::run::run(place, &request, Stdin::Inherit, output, &stop);
    drop(terminal);
    if let Err(error) = networks.close() {
        ui.warn(&format!(
            "{:#}",
            anyhow::Error::from(error).context("failed to cleanup network")
        ));
    }
    let report = report.map_err(|error| interrupt.explain(step_failure(error, isolation)))?;
    for lowered in &report.lowered {
        ui.log(Level::Debug, &host::process::lowered_text(lowered));
    }
    if let Some(text) = report.not_limited() {
        ui.warn(&text);
    }
    if args.add_history || world.flag("BUILDAH_HISTORY") {
        let text = run_history(&container.config.config.shell, command);
        container.add_history(&text, world.now())?;
    }
    Ok(())
}

fn step_failure(error: StepError, isolation: Isolation) -> Failure {
    match error.exit_status() {
        Some(status) => {
            let status = u8::try_from(status).unwrap_or(FAILED);
            let error = anyhow::Error::from(error);
            if isolation.has_runtime() {
                Failure::with_status(error.context("while running runtime"), status)
            } else {
                Failure::with_status(error, status)
            }
        }
        None => error.into(),
    }
}

/// The volumes that `from` was told of, and those of this call, of which no two have one place.
fn volumes(
    args: &RunArgs,
    container: &WorkingContainer,
    sources: &MountSources,
    world: &World,
) -> Result<Vec<VolumeMount>, Failure> {
    let mut volumes = process::volumes(&container.state.run_options.volumes, world)
        .context("validating volumes")?;
    let given = process::volumes(&args.process.volume, world)?;
    let targets = given.iter().map(|volume| volume.target.as_path());
    check_places(targets.chain(sources.targets()))?;
    volumes.extend(given);
    Ok(volumes)
}

/// The flags of this call on top of what `from` was told.
fn settings(
    args: &RunArgs,
    container: &WorkingContainer,
    world: &World,
) -> Result<ProcessSettings, Failure> {
    let kept = &container.state.run_options;
    let mut process = args.process.clone();
    let before =
        |kept: &[String], given: &mut Vec<String>| drop(given.splice(0..0, kept.iter().cloned()));
    before(&kept.add_host, &mut process.add_host);
    before(&kept.ulimit, &mut process.ulimit);
    if process.shm_size.is_none() && !kept.shm_size.is_empty() {
        process.shm_size = Some(kept.shm_size.clone());
    }
    Ok(ProcessSettings::resolve(
        &process,
        capabilities_of(&container.state.capabilities, world)?,
        world,
    )?)
}

/// The path of a volume without what would lead above the root.
fn in_root(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn request<'a>(
    args: &RunArgs,
    command: &[String],
    container: &WorkingContainer,
    process: ProcessSettings,
    sources: &'a mut MountSources,
    world: &World,
) -> Result<RunRequest<'a>, Failure> {
    let config = &container.config.config;
    let isolation = process.isolation.unwrap_or(container.state.isolation());
    let asked = process
        .network
        .clone()
        .or_else(|| container.state.network());
    let hostname = args
        .hostname
        .clone()
        .or_else(|| Some(config.hostname.clone()).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| container.id().short().to_owned());
    let mut etc = process.etc_files((!args.no_hostname).then_some(hostname.as_str()));
    if args.no_hosts || container.state.run_options.no_hosts {
        etc.hosts = None;
    }
    if let Some(hosts) = &mut etc.hosts {
        hosts.names.push(container.name().to_owned());
    }
    etc.container_env = Some(builder::run::container_env_text(
        &format!("buildah-{}", crate::world::BUILDAH),
        container.name(),
        container.id().as_str(),
        &container.state.image,
        &container.state.image_id,
        host::settings::privilege(),
    ));
    let given = args.env.iter().filter_map(|entry| world.variable(entry));
    Ok(RunRequest {
        command: Command::Exec(command.to_vec()),
        environment: Environment {
            image: config.env.iter().cloned().chain(given).collect(),
            proxies: if container.state.run_options.http_proxy {
                world.proxies()
            } else {
                Vec::new()
            },
            ..Environment::default()
        },
        term: args
            .terminal
            .unwrap_or_else(|| std::io::stdin().is_terminal())
            .then(|| world.var("TERM").unwrap_or("xterm").to_owned()),
        user: args.user.clone().unwrap_or_else(|| config.user.clone()),
        working_dir: PathBuf::from("/")
            .join(args.workingdir.as_ref().unwrap_or(&config.working_dir)),
        network: networks::chosen(asked, isolation, world),
        namespaces: Namespaces::default(),
        user_namespace: None,
        root_change: namespace_options::root_change(args.no_pivot == Some(true), world),
        mounts: sources.mounts()?,
        volumes: config.volumes.iter().map(|path| in_root(path)).collect(),
        volume_changes: VolumeChanges::Kept,
        etc,
        host_files: process.host_files,
        hostname,
        limits: process.limits,
        control_group: ControlGroup::default(),
        groups: resources::added_groups(&container.state.group_add)?,
        shm_size: process.shm_size,
        capabilities: process.capabilities,
        seccomp: SeccompChoice::Default,
        privileges: Privileges::MayGain,
        devices: process.devices,
    })
}
