//! The command line as a whole: the spelling of Go's flag library on top of clap, and its error texts.
//!
//! Parsing only validates: nothing is opened, read or looked up until it is over.

pub mod completion;
mod help;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser};

use crate::args::{GlobalArgs, go_bool};
use crate::commands::{self, Subcommand, peers};
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
pub fn parse(words: impl IntoIterator<Item = OsString>, name: StartedAs) -> anyhow::Result<Parsed> {
    let words = help::asked_for_by_flag(words.into_iter().collect());
    let mut command = syntax(name);
    match command.try_get_matches_from_mut(&words) {
        Ok(matches) => {
            check_order(&command, &matches)?;
            Ok(Parsed::Run(Box::new(CommandLine::from_arg_matches(
                &matches,
            )?)))
        }
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Ok(Parsed::Print(error.render().to_string()))
            }
            _ => Err(anyhow::anyhow!(in_pflag_words(
                &error,
                &syntax(name),
                &words
            ))),
        },
    }
}

/// What the program takes under a name, with the order that the words have to keep.
fn syntax(name: StartedAs) -> Command {
    let command = definition(name);
    if name != StartedAs::Buildah {
        return command;
    }
    FLAGS_FIRST.iter().fold(command, |command, ordered| {
        command.mut_subcommand(ordered, flags_first)
    })
}

/// The commands of Buildah that take flags before the first name only.
const FLAGS_FIRST: [&str; 14] = [
    "add", "commit", "config", "copy", "from", "images", "inspect", "mount", "prune", "pull",
    "push", "rm", "rmi", "umount",
];

/// Ends the flags of a command at its first name: what follows is taken as it is.
fn flags_first(command: Command) -> Command {
    command.mut_args(|arg| {
        if arg.is_positional() {
            arg.trailing_var_arg(true).allow_hyphen_values(true)
        } else {
            arg
        }
    })
}

/// Refuses what looks like a flag among the names of a command that ends its flags at the first
/// one: clap has passed over it.
fn check_order(definition: &Command, matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    let command = definition.find_subcommand(name);
    let Some(names) = command.and_then(|command| command.get_positionals().next()) else {
        return Ok(());
    };
    if !names.is_trailing_var_arg_set() {
        return Ok(());
    }
    let words = matches
        .get_raw(names.get_id().as_str())
        .into_iter()
        .flatten();
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    match words.iter().position(|word| word.starts_with('-')) {
        Some(0) => Err(anyhow::anyhow!(unknown_flag(&words[0], Some(name)))),
        Some(at) if !matches!(name, "run" | "unshare") => Err(anyhow::anyhow!(
            "no options ({}) can be specified after the image or container name",
            words[at]
        )),
        _ => Ok(()),
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
    definition(name).render_help().to_string()
}

/// What the program takes under a name, in the spelling of Go's tools.
fn definition(name: StartedAs) -> Command {
    let command = OLD_SPELLINGS_IN
        .iter()
        .fold(CommandLine::command(), |command, subcommand| {
            command.mut_subcommand(subcommand, |command| command.mut_args(old_spelling))
        });
    let command = as_pflag(command.name(name.name()));
    help::in_cobra_form(command, "")
}

/// The commands of Buildah that take flags by older names, too.
const OLD_SPELLINGS_IN: [&str; 3] = ["build", "from", "run"];

/// Lets a flag be named as it was once.
fn old_spelling(arg: Arg) -> Arg {
    let old = match arg.get_long() {
        Some("network") => "net",
        Some("arch") => "override-arch",
        Some("os") => "override-os",
        Some("rm") => "purge",
        Some("iidfile-raw") => "raw-iidfile",
        Some("terminal") => "tty",
        _ => return arg,
    };
    arg.alias(old)
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
        // The word behind a flag is its value, whatever it looks like.
        ArgAction::Set | ArgAction::Append
            if !arg.is_positional() && !arg.is_require_equals_set() =>
        {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    };
    command
        .args_override_self(true)
        .mut_args(boolean)
        .mut_subcommands(as_pflag)
}

/// The message for a flag that the command, or the program without one, does not have.
fn unknown_flag(word: &str, command: Option<&str>) -> String {
    let flag = word.split('=').next().unwrap_or_default();
    if let Some(bare) = flag.strip_prefix("--") {
        if peers::has_flag(command, bare) {
            return format!("--{bare} is not supported yet");
        }
        return format!("unknown flag: {flag}");
    }
    let letter: String = flag.chars().skip(1).take(1).collect();
    format!("unknown shorthand flag: '{letter}' in {flag}")
}

/// A flag of `command` as pflag names it: with its letter, if it has one.
fn full_name(flag: &str, command: Option<&Command>) -> String {
    let letter = command
        .into_iter()
        .flat_map(Command::get_arguments)
        .find(|arg| {
            arg.get_long()
                .is_some_and(|long| flag.strip_prefix("--") == Some(long))
        })
        .and_then(Arg::get_short);
    letter.map_or_else(|| flag.to_owned(), |letter| format!("-{letter}, {flag}"))
}

/// Says what is wrong with `words` as pflag says it.
fn in_pflag_words(error: &clap::Error, definition: &Command, words: &[OsString]) -> String {
    let meant = words
        .iter()
        .skip(1)
        .find_map(|word| definition.find_subcommand(word));
    let last = words.last().map(|word| word.to_string_lossy());
    let last = last.as_deref().unwrap_or_default();
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let program = definition.get_name();
    let argument = context(ContextKind::InvalidArg);
    // `--flag <VALUE>` is named without its value.
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            unknown_flag(flag, meant.map(Command::get_name))
        }
        ErrorKind::UnknownArgument => {
            let command = meant.map(Command::get_name).unwrap_or_default();
            format!("unknown command \"{argument}\" for \"{program} {command}\"")
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand);
            if peers::has_command(&word) {
                format!("the command \"{word}\" is not supported yet")
            } else {
                format!("unknown command \"{word}\" for \"{program}\"")
            }
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals
            if context(ContextKind::InvalidValue).is_empty() =>
        {
            match last.strip_prefix('-').and_then(|word| word.chars().last()) {
                Some(letter) if !last.starts_with("--") => {
                    format!("flag needs an argument: '{letter}' in {last}")
                }
                _ => format!("flag needs an argument: {flag}"),
            }
        }
        ErrorKind::InvalidValue if flag.starts_with('<') => {
            let value = context(ContextKind::InvalidValue);
            let command = meant.map(Command::get_name).unwrap_or_default();
            format!("invalid argument \"{value}\" for \"{program} {command}\"")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let value = context(ContextKind::InvalidValue);
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| "invalid value".to_owned());
            let flag = full_name(flag, meant);
            format!("invalid argument \"{value}\" for \"{flag}\" flag: {cause}")
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}
