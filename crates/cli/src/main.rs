//! The cooper command line: arguments, settings, printing and exit statuses.
//!
//! Everything that works lies in the libraries; only this crate prints and looks at the
//! environment.

mod args;
mod command_line;
mod commands;
mod failure;
mod format;
mod go_values;
mod host;
mod progress;
mod ui;
mod world;

use std::process::ExitCode;

use command_line::Parsed;
use command_line::completion::Asked;
use commands::Subcommand;
use host::namespace::Space;
use ui::Ui;
use world::{StartedAs, World};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let started_as = StartedAs::from_argv0(words.first());
    if let Some(asked) = Asked::by(&words) {
        return asked.answer(started_as);
    }
    let line = match command_line::parse(words, started_as) {
        Ok(Parsed::Run(line)) => line,
        Ok(Parsed::Print(text)) => return Ui::plain().help(&text),
        Err(error) => return Ui::plain().fail(&error.into()),
    };
    let world = match World::read(started_as) {
        Ok(world) => world,
        Err(error) => return Ui::plain().fail(&error.into()),
    };
    let mode = line.global.progress.settled(world.var("TERM"));
    let ui = match mode.and_then(|mode| Ui::new(&line.global.log_level, mode)) {
        Ok(ui) => ui,
        Err(error) => return Ui::plain().fail(&error.into()),
    };
    let space = line.command.as_ref().map_or(Space::Here, Subcommand::space);
    match host::namespace::enter(space, &world, &ui) {
        Ok(None) => {}
        Ok(Some(status)) => return status,
        Err(failure) => return ui.fail(&failure.told_by(started_as)),
    }
    let world = match host::configuration::add_environment(world, &ui) {
        Ok(world) => world,
        Err(failure) => return ui.fail(&failure.told_by(started_as)),
    };
    match command_line::carry_out(*line, &world, &ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ui.fail(&failure.told_by(started_as)),
    }
}
