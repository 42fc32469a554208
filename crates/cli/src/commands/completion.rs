//! `completion`: a script that lets a shell complete command lines of this program.

use clap::ValueEnum;
use clap_complete::env::{Bash, EnvCompleter, Fish, Powershell, Zsh};

use crate::failure::Failure;
use crate::ui::Ui;
use crate::world::World;

/// The variable by which the script of a shell asks for candidates; its value is the shell's name.
pub const VARIABLE: &str = "COOPER_COMPLETE";

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// Fish.
    Fish,
    /// PowerShell.
    Powershell,
}

impl Shell {
    /// Returns the shell of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::from_str(name, true).ok()
    }

    /// What speaks to the shell.
    pub fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
            Self::Powershell => &Powershell,
        }
    }
}

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionArgs, world: &World, ui: &Ui) -> Result<(), Failure> {
    let name = world.started_as.name();
    let mut script = Vec::new();
    let shell = args.shell.completer();
    shell.write_registration(VARIABLE, name, name, name, &mut script)?;
    ui.out(String::from_utf8_lossy(&script));
    Ok(())
}
