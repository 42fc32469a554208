//! What a shell offers for a command line that is not whole: commands, flags, and names out of the store.
//!
//! Which names a word can be is read out of the help: `CONTAINER`, `IMAGE` and `LIST` are names of the store, anything else
//! is a path. A shell asks by a variable, as the scripts of `completion` do, or as those of Go's tools do, by the hidden
//! command `__complete`. What cannot be read offers nothing; a command line is no place for errors.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, ValueHint,
};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use store::Store;

use super::CommandLine;
use crate::args::GlobalArgs;
use crate::commands::completion::{Shell, VARIABLE};
use crate::host;
use crate::ui::Ui;
use crate::world::{StartedAs, World};

/// The commands by which the scripts of Go's tools ask, with and without descriptions.
const GO_COMMANDS: [&str; 2] = ["__complete", "__completeNoDesc"];

/// The variable by which the scripts say which word is completed.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";

/// What a shell wants to know.
pub struct Asked {
    form: Form,
    /// The words of the command line, the program first.
    words: Vec<OsString>,
    /// Which of them is completed.
    at: usize,
}

/// Who asks, and so how the answer looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Script(Shell),
    Go(Descriptions),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Descriptions {
    Shown,
    LeftOut,
}

impl Asked {
    /// Says whether the program was started by a shell that wants candidates.
    pub fn by(words: &[OsString]) -> Option<Self> {
        let shell = std::env::var(VARIABLE).ok();
        if let Some(shell) = shell.as_deref().and_then(Shell::named) {
            let start = words.iter().position(|word| word == "--")? + 1;
            let words = words[start..].to_vec();
            let at = std::env::var(INDEX).ok().and_then(|at| at.parse().ok());
            return Some(Self {
                form: Form::Script(shell),
                at: at.unwrap_or(words.len().saturating_sub(1)),
                words,
            });
        }
        let command = words.get(1)?;
        let descriptions = match GO_COMMANDS.iter().position(|name| command == name)? {
            0 => Descriptions::Shown,
            _ => Descriptions::LeftOut,
        };
        let mut words = words.to_vec();
        words.remove(1);
        if words.len() == 1 {
            words.push(OsString::new());
        }
        Some(Self {
            form: Form::Go(descriptions),
            at: words.len() - 1,
            words,
        })
    }

    /// Prints the candidates.
    pub fn answer(self, name: StartedAs) -> ExitCode {
        let ui = Ui::plain();
        let Ok(world) = World::read(name) else {
            return ExitCode::FAILURE;
        };
        let cwd = world.cwd.clone();
        let mut command = self.command(name, &world);
        match self.form {
            Form::Script(shell) => {
                let mut text = Vec::new();
                let shell = shell.completer();
                match shell.write_complete(&mut command, self.words, Some(&cwd), &mut text) {
                    Ok(()) => ui.out(String::from_utf8_lossy(&text)),
                    Err(_) => return ExitCode::FAILURE,
                }
            }
            Form::Go(descriptions) => {
                let begins_flag = self.begins_flag();
                let found =
                    clap_complete::engine::complete(&mut command, self.words, self.at, None);
                let mut found = found.unwrap_or_default();
                found.retain(|one| begins_flag || !is_flag(one.get_value()));
                ui.out(in_go_form(&found, descriptions));
            }
        }
        ExitCode::SUCCESS
    }

    fn begins_flag(&self) -> bool {
        self.words.get(self.at).is_some_and(|word| is_flag(word))
    }

    /// The program's commands and flags, with names of the store where they belong.
    fn command(&self, name: StartedAs, world: &World) -> Command {
        let paths = match self.form {
            Form::Script(_) => Paths::Offered,
            Form::Go(_) => Paths::LeftToShell,
        };
        let flags = if self.begins_flag() {
            Flags::Offered
        } else {
            Flags::Hidden
        };
        let command = plain(CommandLine::command().name(name.name()), flags, paths);
        let lenient = command.clone().ignore_errors(true);
        let before = self.words.iter().take(self.at);
        let Ok(matches) = lenient.try_get_matches_from(before) else {
            return command;
        };
        match GlobalArgs::from_arg_matches(&matches) {
            Err(_) => command,
            Ok(global) => {
                let stock = Stock {
                    global,
                    world: world.clone(),
                    paths,
                };
                let given = names_given(&command, &matches);
                with_names(command, given, &Arc::new(stock))
            }
        }
    }
}

fn is_flag(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// How many words of the innermost command are no flags.
fn names_given(command: &Command, matches: &ArgMatches) -> usize {
    if let Some((name, inner)) = matches.subcommand() {
        let command = command.find_subcommand(name);
        return command.map_or(0, |command| names_given(command, inner));
    }
    let words = command
        .get_positionals()
        .filter_map(|arg| matches.get_raw(arg.get_id().as_str()));
    words.map(Iterator::count).sum()
}

/// The lines of Go's cobra: a candidate each, and what the shell is to do besides.
fn in_go_form(found: &[CompletionCandidate], descriptions: Descriptions) -> String {
    /// Complete paths where nothing is offered.
    const DEFAULT: u32 = 0;
    /// Never complete paths.
    const NO_PATHS: u32 = 4;
    let mut text = String::new();
    for candidate in found {
        text.push_str(&candidate.get_value().to_string_lossy());
        if let (Some(help), Descriptions::Shown) = (candidate.get_help(), descriptions) {
            let help = help.to_string();
            text.push_str(&format!("\t{}", help.lines().next().unwrap_or_default()));
        }
        text.push('\n');
    }
    let directive = if found.is_empty() { DEFAULT } else { NO_PATHS };
    text + &format!(":{directive}\n")
}

/// Who finds paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paths {
    Offered,
    LeftToShell,
}

/// Whether flags are among the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flags {
    Offered,
    /// Only where there is nothing else.
    Hidden,
}

/// What can be completed. Flags without a value of their own, or with one behind `=` only, take no further word.
fn plain(command: Command, flags: Flags, paths: Paths) -> Command {
    let complete = |arg: Arg| {
        if arg.is_require_equals_set() {
            return arg
                .require_equals(false)
                .num_args(0)
                .action(ArgAction::SetTrue)
                .hide(flags == Flags::Hidden);
        }
        let hidden = flags == Flags::Hidden && !arg.is_positional();
        let hint = match (paths, shown_name(&arg).as_str()) {
            (Paths::LeftToShell, _) => ValueHint::Other,
            (Paths::Offered, "DIR") => ValueHint::DirPath,
            (Paths::Offered, "FILE" | "PATH" | "CONTEXT") => ValueHint::AnyPath,
            (Paths::Offered, _) => ValueHint::Unknown,
        };
        let takes = arg.is_positional() || arg.get_action().takes_values();
        let arg = if takes { arg.value_hint(hint) } else { arg };
        let hidden = hidden || arg.is_hide_set();
        arg.hide(hidden)
    };
    command
        .disable_help_flag(flags == Flags::Hidden)
        .mut_args(complete)
        .mut_subcommands(|command| plain(command, flags, paths).disable_help_subcommand(true))
}

/// Attaches the names that can follow `given` words.
fn with_names(command: Command, given: usize, stock: &Arc<Stock>) -> Command {
    command
        .mut_args(|arg| {
            let at = if arg.is_positional() { given } else { 0 };
            match Words::of(&arg) {
                None => arg,
                Some(words) => arg.add(ArgValueCompleter::new(Names {
                    kinds: words.at(at).to_vec(),
                    stock: Arc::clone(stock),
                })),
            }
        })
        .mut_subcommands(|command| with_names(command, given, stock))
}

/// What the help calls the words of an argument.
fn shown_name(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.join(" "),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

/// What a word can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Path,
}

/// What each word of an argument can be; the last goes for all that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Words(Vec<Vec<Kind>>);

impl Words {
    /// Reads what the help calls an argument; `None` if no name of the store is among it.
    fn of(arg: &Arg) -> Option<Self> {
        let shown = shown_name(arg);
        let kind = |word: &str| match word {
            "CONTAINER" => Kind::Container,
            "IMAGE" => Kind::Image,
            "LIST" if arg.is_positional() => Kind::Image,
            _ => Kind::Path,
        };
        let words: Vec<Vec<Kind>> = shown
            .split(' ')
            .map(|word| word.trim_matches(['[', ']', '…']))
            .map(|word| word.split('|').map(kind).collect())
            .collect();
        let named = words.iter().flatten().any(|kind| *kind != Kind::Path);
        named.then_some(Self(words))
    }

    fn at(&self, index: usize) -> &[Kind] {
        self.0
            .get(index)
            .or(self.0.last())
            .map_or(&[], Vec::as_slice)
    }
}

/// The store that a command line would use.
struct Stock {
    global: GlobalArgs,
    world: World,
    paths: Paths,
}

impl Stock {
    fn store(&self) -> Option<Store> {
        host::open_store(&self.global, &self.world, &Ui::plain()).ok()
    }

    fn containers(&self) -> Vec<Offer> {
        let containers = self.store().and_then(|store| store.containers().ok());
        let records = containers.iter().flat_map(store::Containers::iter);
        let offer = |record: &Arc<store::ContainerRecord>| {
            let name = record.names.first()?;
            Some(Offer {
                word: name.clone(),
                short: None,
                help: record.id.short().to_owned(),
            })
        };
        records.filter_map(offer).collect()
    }

    fn images(&self) -> Vec<Offer> {
        let images = self.store().and_then(|store| store.images().ok());
        let mut offers = Vec::new();
        for record in images.iter().flat_map(|images| images.iter()) {
            let id = record.id.short().to_owned();
            for name in &record.names {
                let short = ["localhost/", "docker.io/library/"]
                    .iter()
                    .find_map(|domain| name.strip_prefix(domain));
                offers.push(Offer {
                    word: name.clone(),
                    short: short.map(str::to_owned),
                    help: id.clone(),
                });
            }
        }
        offers
    }
}

/// A name that a word could become.
struct Offer {
    word: String,
    /// What means the same without a registry.
    short: Option<String>,
    help: String,
}

impl Offer {
    fn candidate(self, begun: &str) -> Option<CompletionCandidate> {
        let fits = |word: &String| word.starts_with(begun);
        let word = self.short.filter(fits).or(Some(self.word).filter(fits))?;
        Some(CompletionCandidate::new(word).help(Some(self.help.into())))
    }
}

/// Offers the names that an argument can be.
struct Names {
    kinds: Vec<Kind>,
    stock: Arc<Stock>,
}

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(begun) = current.to_str() else {
            return Vec::new();
        };
        let named = |offers: Vec<Offer>| offers.into_iter().filter_map(|one| one.candidate(begun));
        let mut found = Vec::new();
        for kind in &self.kinds {
            match kind {
                Kind::Container => found.extend(named(self.stock.containers())),
                Kind::Image => found.extend(named(self.stock.images())),
                Kind::Path if self.stock.paths == Paths::LeftToShell => {}
                Kind::Path => found.extend(
                    PathCompleter::any()
                        .current_dir(PathBuf::from(&self.stock.world.cwd))
                        .complete(current),
                ),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_the_help_calls_them() {
        use Kind::{Container, Image, Path};
        let check = |arg: Arg, expected: Option<&[&[Kind]]>| {
            let expected =
                expected.map(|words| Words(words.iter().map(|kinds| kinds.to_vec()).collect()));
            assert_eq!(Words::of(&arg), expected);
        };
        check(Arg::new("container"), Some(&[&[Container]]));
        check(
            Arg::new("words").value_name("CONTAINER [IMAGE]"),
            Some(&[&[Container], &[Image]]),
        );
        check(
            Arg::new("words").value_name("LIST IMAGE|FILE"),
            Some(&[&[Image], &[Image, Path]]),
        );
        check(Arg::new("cpus").long("cpus").value_name("LIST"), None);
        check(Arg::new("file").long("file").value_name("FILE"), None);
        let words = Words(vec![vec![Container], vec![Path]]);
        assert_eq!(words.at(0), [Container]);
        assert_eq!(words.at(5), [Path]);
    }
}
