//! Help in the form of Go's cobra: scripts take the names of commands and flags out of it.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

const TEMPLATE: &str = "{about}\n\nUsage:\n  {usage}\n\n{all-args}\n";

/// Gives a command and those below it this form of help; `parents` are the words before its name.
pub fn in_cobra_form(command: Command, parents: &str) -> Command {
    let path = match parents {
        "" => command.get_name().to_owned(),
        parents => format!("{parents} {}", command.get_name()),
    };
    let usage = match (command.has_subcommands(), parents) {
        (true, "") => format!("{path} [flags]\n  {path} [command]"),
        (true, _) => format!("{path} [command]"),
        (false, _) => format!("{path} [flags]"),
    };
    // Every word asks for the same help.
    let help = Arg::new("help")
        .long("help")
        .short('h')
        .action(ArgAction::HelpShort)
        .help(format!("Help for {}", command.get_name()));
    let under_heading = |arg: Arg| match (arg.is_positional(), arg.is_global_set()) {
        (true, _) => arg,
        (false, true) => arg.help_heading("Global Flags"),
        (false, false) => arg.help_heading("Flags"),
    };
    command
        .help_template(TEMPLATE)
        .override_usage(usage)
        .subcommand_help_heading("Available Commands")
        .disable_help_flag(true)
        .disable_help_subcommand(!parents.is_empty())
        .arg(help)
        .mut_args(under_heading)
        .mut_subcommands(|command| in_cobra_form(command, &path))
}

/// Turns `help COMMAND` into `COMMAND --help`, which says it in the same form.
pub fn asked_for_by_flag(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, parse};
    use crate::world::StartedAs;

    fn printed(words: &[&str]) -> String {
        let words = words.iter().map(std::ffi::OsString::from);
        match parse(words, StartedAs::Buildah) {
            Ok(Parsed::Print(text)) => text,
            Ok(Parsed::Run(line)) => panic!("{line:?}"),
            Err(error) => panic!("{error:#}"),
        }
    }

    #[test]
    fn sections_begin_as_scripts_expect_them() {
        let check = |words: &[&str], expected: &[&str]| {
            let text = printed(words);
            for expected in expected {
                assert!(text.contains(expected), "{words:?}: {expected:?} in {text}");
            }
        };
        let whole = [
            "\nUsage:\n  buildah [flags]\n  buildah [command]\n\n",
            "\nAvailable Commands:\n  add ",
            "\nFlags:\n",
            "\nGlobal Flags:\n",
        ];
        check(&["buildah", "--help"], &whole);
        check(&["buildah", "-h"], &whole);
        check(&["buildah", "help"], &whole);
        let images = [
            "\nUsage:\n  buildah images [flags]\n\n",
            "\nFlags:\n  -a, --all",
            "  -h, --help",
        ];
        check(&["buildah", "images", "--help"], &images);
        check(&["buildah", "help", "images"], &images);
        check(
            &["buildah", "manifest", "--help"],
            &[
                "\nUsage:\n  buildah manifest [command]\n\n",
                "\nAvailable Commands:\n  add ",
            ],
        );
        check(
            &["buildah", "help", "manifest", "add"],
            &["\nUsage:\n  buildah manifest add [flags]\n\n"],
        );
    }

    #[test]
    fn help_is_the_same_however_it_is_asked_for() {
        let expected = printed(&["buildah", "manifest", "push", "--help"]);
        assert_eq!(printed(&["buildah", "manifest", "push", "-h"]), expected);
        assert_eq!(printed(&["buildah", "help", "manifest", "push"]), expected);
    }
}
