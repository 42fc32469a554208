//! `config`: what the image of a working container will say of itself.

use builder::change::{AddHistory, ChangeWarning, ConfigChange};

use crate::args::{GlobalArgs, go_int};
use crate::failure::Failure;
use crate::host;
use crate::ui::{Level, Ui};
use crate::world::World;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Add an entry to the history for each instruction (default: $BUILDAH_HISTORY)
    #[arg(long)]
    add_history: bool,
    /// Set an annotation of the image: NAME=VALUE; NAME- removes it
    #[arg(long, short = 'a', value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Set the architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Set the author
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Set the command
    #[arg(long, value_name = "COMMAND")]
    cmd: Option<String>,
    /// Set the comment (docker format)
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Set what made the layer
    #[arg(long, value_name = "TEXT")]
    created_by: Option<String>,
    /// Set the domain name (docker format)
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Set the entry point
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Set a variable: NAME=VALUE; NAME- removes it
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Set the health check (docker format)
    #[arg(long, value_name = "COMMAND")]
    healthcheck: Option<String>,
    /// Set the time between health checks
    #[arg(long, value_name = "DURATION")]
    healthcheck_interval: Option<String>,
    /// Set how many failures count
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = go_int)]
    healthcheck_retries: Option<i64>,
    /// Set the time between health checks during the start
    #[arg(long, value_name = "DURATION")]
    healthcheck_start_interval: Option<String>,
    /// Set the time before failures count
    #[arg(long, value_name = "DURATION")]
    healthcheck_start_period: Option<String>,
    /// Set how long a health check may take
    #[arg(long, value_name = "DURATION")]
    healthcheck_timeout: Option<String>,
    /// Set the comment of the layer in the history
    #[arg(long, value_name = "TEXT")]
    history_comment: Option<String>,
    /// Set the host name (docker format)
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Set a label: NAME=VALUE; NAME- removes it
    #[arg(long, short = 'l', value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Add an instruction for images built on this one (docker format)
    #[arg(long, value_name = "INSTRUCTION", value_delimiter = ',')]
    onbuild: Vec<String>,
    /// Set the operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Add a feature of the operating system; NAME- removes it
    #[arg(long, value_name = "NAME")]
    os_feature: Vec<String>,
    /// Set the version of the operating system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Expose a port; PORT- removes it
    #[arg(long, short = 'p', value_name = "PORT", value_delimiter = ',')]
    port: Vec<String>,
    /// Set the shell of later instructions (docker format)
    #[arg(long, value_name = "COMMAND")]
    shell: Option<String>,
    /// Set the signal that ends the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Remove an annotation
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    unsetannotation: Vec<String>,
    /// Remove a label
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    unsetlabel: Vec<String>,
    /// Set the user
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Set the variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// Add a volume; PATH- removes it
    #[arg(long, short = 'v', value_name = "PATH")]
    volume: Vec<String>,
    /// Set the working directory
    #[arg(long, value_name = "DIR")]
    workingdir: Option<String>,
    /// The working container
    container: Vec<String>,
}

/// Changes the settings; prints warnings for what the image's format cannot say.
pub fn run(args: ConfigArgs, global: &GlobalArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let name = match args.container.as_slice() {
        [name] => name.clone(),
        [] => return Err(anyhow::anyhow!("container ID must be specified").into()),
        _ => return Err(anyhow::anyhow!("too many arguments specified").into()),
    };
    let store = host::open_store_to_write(global, world, ui)?;
    let mut container = host::open_container(&store, &name)?;
    let warnings = container.configure(&change(args, world), world.now())?;
    for warning in warnings {
        let level = match warning {
            ChangeWarning::UnsetVariable(_) => Level::Error,
            _ => Level::Warning,
        };
        ui.log(level, &warning.to_string());
    }
    Ok(())
}

fn change(args: ConfigArgs, world: &World) -> ConfigChange {
    // A name alone stands for what the environment has under it.
    let from_environment = |entry: String| match world.variable(&entry) {
        Some(given) if !entry.ends_with('-') => given,
        _ => entry,
    };
    ConfigChange {
        author: args.author,
        created_by: args.created_by,
        architecture: args.arch,
        variant: args.variant,
        os: args.os,
        os_version: args.os_version,
        os_features: args.os_feature,
        user: args.user,
        shell: args.shell,
        stop_signal: args.stop_signal,
        ports: args.port,
        env: args.env.into_iter().map(from_environment).collect(),
        entrypoint: args.entrypoint,
        cmd: args.cmd,
        volumes: args.volume,
        healthcheck: args.healthcheck,
        healthcheck_interval: args.healthcheck_interval,
        healthcheck_retries: args.healthcheck_retries,
        healthcheck_start_period: args.healthcheck_start_period,
        healthcheck_start_interval: args.healthcheck_start_interval,
        healthcheck_timeout: args.healthcheck_timeout,
        labels: args.label,
        unset_labels: args.unsetlabel,
        working_dir: args.workingdir,
        comment: args.comment,
        history_comment: args.history_comment,
        domainname: args.domainname,
        hostname: args.hostname,
        on_build: args.onbuild,
        annotations: args.annotation,
        unset_annotations: args.unsetannotation,
        add_history: if args.add_history || world.flag("BUILDAH_HISTORY") {
            AddHistory::Yes
        } else {
            AddHistory::No
        },
    }
}
