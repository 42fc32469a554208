//! The command line as a whole: the spelling of Go's flag library on top of clap, and its error texts.
//!
//! Parsing only validates: nothing is opened, read or looked up until it is over.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser};

use crate::args::{GlobalArgs, go_bool};
use crate::commands::{self, Subcommand, peers_command, peers_flag};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::{StartedAs, World};

/// Builds OCI and Docker images, without a daemon, on the store of Podman and Buildah.
#[derive(Debug, Parser)]
#[command(
    name = "cooper",
    disable_version_flag = true,
    arg_required_else_help = true
)]
pub struct CommandLine {
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Print the version and exit
    #[arg(long, short = 'v')]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Subcommand>,
}

/// What the words of the command line came to.
pub enum Parsed {
    /// A command to carry out.
    Run(Box<CommandLine>),
    /// Text to print and leave: help.
    Print(String),
}

/// Parses `words`, the first of which is the program.
pub fn parse(
    words: impl IntoIterator<Item = std::ffi::OsString>,
    name: StartedAs,
) -> anyhow::Result<Parsed> {
    let command = as_pflag(CommandLine::command().name(name.name()));
    match command.try_get_matches_from(words) {
        Ok(matches) => Ok(Parsed::Run(Box::new(CommandLine::from_arg_matches(
            &matches,
        )?))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Ok(Parsed::Print(error.render().to_string()))
            }
            _ => Err(anyhow::anyhow!(in_pflag_words(&error, name))),
        },
    }
}

/// Carries out what the command line asks for.
pub fn carry_out(line: CommandLine, world: &World, ui: &Ui) -> Result<(), Failure> {
    if line.version {
        return commands::version::one_line(world, ui);
    }
    let Some(command) = line.command else {
        ui.help(&help(world.started_as));
        return Ok(());
    };
    commands::run(command, &line.global, world, ui)
}

/// The help of the whole program.
fn help(name: StartedAs) -> String {
    let mut command = as_pflag(CommandLine::command().name(name.name()));
    command.render_help().to_string()
}

/// Gives flags the meaning they have in Go's pflag: a boolean may be `--x`, `--x=true` or
/// `--x=false`, and the last use of a repeated flag wins.
fn as_pflag(command: Command) -> Command {
    let boolean = |arg: Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL")
            .value_parser(go_bool),
        _ => arg,
    };
    command
        .args_override_self(true)
        .mut_args(boolean)
        .mut_subcommands(as_pflag)
}

fn in_pflag_words(error: &clap::Error, name: StartedAs) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    // `--flag <VALUE>` is named without its value.
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with("--") => {
            let bare = flag.trim_start_matches('-');
            if peers_flag(bare) {
                format!("--{bare} is not supported yet")
            } else {
                format!("unknown flag: {flag}")
            }
        }
        ErrorKind::UnknownArgument => {
            let letter = flag.trim_start_matches('-');
            // What Buildah has behind a letter and no command here takes: `build --output`.
            if letter == "o" {
                return "-o is not supported yet".to_owned();
            }
            format!("unknown shorthand flag: '{letter}' in {flag}")
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand);
            if peers_command(&word) {
                format!("the command \"{word}\" is not supported yet")
            } else {
                format!("unknown command \"{word}\" for \"{}\"", name.name())
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let value = context(ContextKind::InvalidValue);
            if value.is_empty() {
                return format!("flag needs an argument: {flag}");
            }
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| "invalid value".to_owned());
            format!("invalid argument \"{value}\" for \"{flag}\" flag: {cause}")
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}
