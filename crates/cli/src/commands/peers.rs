//! What Buildah has and this does not have yet: it is refused as such, not as unknown.

/// Whether Buildah has a command of this name.
pub fn has_command(word: &str) -> bool {
    word == "mkcw"
}

/// Whether Buildah's `command` takes a flag of this name, or the program does for all commands.
pub fn has_flag(command: Option<&str>, flag: &str) -> bool {
    let mut names = own(command).iter().copied().chain([PROGRAM]).flatten();
    names.any(|name| *name == flag)
}

fn own(command: Option<&str>) -> &'static [&'static [&'static str]] {
    match command {
        Some("add" | "copy") => &[BLOBS, SOURCES],
        Some("pull" | "push") => &[BLOBS],
        Some("bud" | "build" | "build-using-dockerfile") => &[BUILD],
        Some("commit") => &[COMMIT],
        Some("from") => &[FROM],
        Some("run") => &[RUN],
        _ => &[],
    }
}

const PROGRAM: &[&str] = &[
    "cgroup-manager",
    "debug",
    "userns-gid-map",
    "userns-uid-map",
];

const BLOBS: &[&str] = &["blob-cache"];

const SOURCES: &[&str] = &[
    "allow-empty-wildcard",
    "allow-wildcard",
    "no-follow-symlinks",
];

const BUILD: &[&str] = &[
    "all-platforms",
    "blob-cache",
    "cdi-config-dir",
    "cw",
    "hooks-dir",
    "log-rusage",
    "runtime",
    "runtime-flag",
    "rusage-logfile",
    "source-policy-file",
];

const COMMIT: &[&str] = &["blob-cache", "cw"];

const FROM: &[&str] = &[
    "blob-cache",
    "cdi-config-dir",
    "dns",
    "dns-option",
    "dns-search",
    "http-proxy",
    "security-opt",
    "suffix",
];

const RUN: &[&str] = &[
    "cdi-config-dir",
    "runtime",
    "runtime-flag",
    "valid-exit-codes",
];

#[cfg(test)]
mod tests {
    use clap::Subcommand as _;

    use super::*;

    #[test]
    fn what_is_there_is_not_refused() {
        let program = crate::commands::Subcommand::augment_subcommands(clap::Command::new("x"));
        for command in program.get_subcommands() {
            let name = command.get_name();
            assert!(!has_command(name), "{name}");
            let flags = command.get_arguments().filter_map(clap::Arg::get_long);
            for flag in flags {
                let listed = own(Some(name)).concat().contains(&flag);
                assert!(!listed, "{name} --{flag}");
            }
        }
    }

    #[test]
    fn a_flag_is_refused_where_buildah_has_it() {
        assert!(has_flag(Some("commit"), "cw"));
        assert!(!has_flag(Some("rm"), "cw"));
        assert!(has_flag(Some("rm"), "cgroup-manager"));
        assert!(has_flag(None, "cgroup-manager"));
        assert!(!has_flag(None, "cw"));
    }
}
