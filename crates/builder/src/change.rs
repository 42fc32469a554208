//! `config`: changes of what an image will say of itself.
//!
//! Pure: values go in as the command line has them, the configuration of a working container is
//! edited in place, and what Buildah would warn of comes back as values. Nothing is saved here.

use std::collections::BTreeMap;
use std::fmt;

use model::{Healthcheck, History, ImageConfig, ManifestFormat, Timestamp};

use crate::duration::{self, DurationError};
use crate::words::{self, WordsError};

/// What Buildah fills in when the first health-check flag is given: 30 s, 30 s and 3 times.
const HEALTHCHECK_INTERVAL: i64 = 30_000_000_000;
const HEALTHCHECK_RETRIES: i64 = 3;

/// Whether a change is also written into the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddHistory {
    /// The history stays as it is.
    #[default]
    No,
    /// An entry without a layer is added for each change that is an instruction.
    Yes,
}

/// The flags of `config`, each as given; `None` and empty lists change nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigChange {
    /// Author of the image.
    pub author: Option<String>,
    /// `created_by` of the layer's history entry.
    pub created_by: Option<String>,
    /// Processor architecture.
    pub architecture: Option<String>,
    /// Variant of the architecture.
    pub variant: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Version of the operating system.
    pub os_version: Option<String>,
    /// Features of the operating system; `NAME-` removes one, `-` all.
    pub os_features: Vec<String>,
    /// User of the processes.
    pub user: Option<String>,
    /// Shell of later instructions, as one string.
    pub shell: Option<String>,
    /// Signal that ends the container.
    pub stop_signal: Option<String>,
    /// Ports; `PORT-` removes one, `-` all.
    pub ports: Vec<String>,
    /// `NAME=VALUE`; `NAME-` removes one, `-` all. `$NAME` in a value is expanded.
    pub env: Vec<String>,
    /// Entry point: a JSON list, or a string for `/bin/sh -c`; empty clears it.
    pub entrypoint: Option<String>,
    /// Command: a JSON list, or a string that is split into words; empty clears it.
    pub cmd: Option<String>,
    /// Volumes; `PATH-` removes one, `-` all.
    pub volumes: Vec<String>,
    /// Test of the health check, as one string; empty removes the check.
    pub healthcheck: Option<String>,
    /// Time between two tests, as Go writes a duration.
    pub healthcheck_interval: Option<String>,
    /// Number of failures that count.
    pub healthcheck_retries: Option<i64>,
    /// Time before failures count.
    pub healthcheck_start_period: Option<String>,
    /// Time between two tests during the start.
    pub healthcheck_start_interval: Option<String>,
    /// Longest time a test may take.
    pub healthcheck_timeout: Option<String>,
    /// `NAME=VALUE`; `NAME-` removes one, `-` all.
    pub labels: Vec<String>,
    /// Names of labels to remove.
    pub unset_labels: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Comment of the image.
    pub comment: Option<String>,
    /// Comment of the layer's history entry.
    pub history_comment: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Instructions for images built on this one.
    pub on_build: Vec<String>,
    /// `NAME=VALUE`; `NAME-` removes one, `-` all.
    pub annotations: Vec<String>,
    /// Names of annotations to remove.
    pub unset_annotations: Vec<String>,
    /// Whether the changes go into the history.
    pub add_history: AddHistory,
}

/// What a change works on.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The image's configuration.
    pub config: &'a mut ImageConfig,
    /// Annotations of its manifest.
    pub annotations: &'a mut BTreeMap<String, String>,
    /// `created_by` of the layer's history entry.
    pub created_by: &'a mut String,
    /// Comment of the layer's history entry.
    pub history_comment: &'a mut String,
    /// History entries that go before the layer's.
    pub prepended: &'a mut Vec<History>,
    /// The format that the image will have: decides what is warned of.
    pub format: ManifestFormat,
    /// Time of new history entries.
    pub now: Timestamp,
}

/// Something that takes no effect. The texts are Buildah's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeWarning {
    /// OCI has no shell.
    Shell(Vec<String>),
    /// OCI has no health check.
    Healthcheck,
    /// OCI has no comment.
    Comment(String),
    /// OCI has no domain name.
    Domainname(String),
    /// OCI has no host name.
    Hostname(String),
    /// OCI has no instructions for later builds.
    OnBuild(String),
    /// The command will be the entry point's arguments.
    CmdBecomesArguments(Vec<String>),
    /// The entry point is a shell and ignores its arguments.
    CmdIgnored(Vec<String>),
    /// A variable in the value of `--env` is not set in the image.
    UnsetVariable(String),
}

impl fmt::Display for ChangeWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oci = "Must use `docker` format";
        match self {
            Self::Shell(words) => write!(
                f,
                "SHELL is not supported for OCI image format, [{}] will be ignored. {oci}",
                words.join(" ")
            ),
            Self::Healthcheck => {
                write!(
                    f,
                    "HEALTHCHECK is not supported for OCI image format and will be ignored. {oci}"
                )
            }
            Self::Comment(text) => write!(
                f,
                "COMMENT is not supported for OCI image format, comment {text} will be ignored. {oci}"
            ),
            Self::Domainname(text) => write!(
                f,
                "DOMAINNAME is not supported for OCI image format, domainname {text} will be ignored. {oci}"
            ),
            Self::Hostname(text) => write!(
                f,
                "HOSTNAME is not supported for OCI V1 image format, hostname {text} will be ignored. {oci}"
            ),
            Self::OnBuild(text) => {
                write!(
                    f,
                    "ONBUILD is not supported for OCI image format, {text} will be ignored. {oci}"
                )
            }
            Self::CmdBecomesArguments(cmd) => write!(
                f,
                "cmd {:?} exists and will be passed to entrypoint as a parameter",
                cmd.join(" ")
            ),
            Self::CmdIgnored(cmd) => write!(
                f,
                "cmd {:?} exists but will be ignored because of entrypoint settings",
                cmd.join(" ")
            ),
            Self::UnsetVariable(name) => {
                write!(
                    f,
                    "error expanding variable {name:?}: no value set in configuration"
                )
            }
        }
    }
}

/// Why a change could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// `--env NAME` without a value.
    #[error("setting env {name:?}: no value given")]
    NoValue {
        /// The name.
        name: String,
    },
    /// A string of words cannot be split.
    #[error("parsing {flag} {text:?}")]
    Words {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// The cause.
        source: WordsError,
    },
    /// A duration cannot be read.
    #[error("parsing {flag} {text:?}")]
    Duration {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// The cause.
        source: DurationError,
    },
}

impl ConfigChange {
    /// Makes the changes, in Buildah's order, and returns what takes no effect.
    ///
    /// # Errors
    /// When a value cannot be read; `settings` may then be changed in part and must not be saved.
    pub fn apply(&self, settings: &mut Settings<'_>) -> Result<Vec<ChangeWarning>, ChangeError> {
        let mut step = Applying {
            change: self,
            settings,
            warnings: Vec::new(),
        };
        step.identity();
        step.process()?;
        step.healthcheck()?;
        step.labels();
        step.texts();
        step.annotations();
        Ok(step.warnings)
    }
}

struct Applying<'c, 's, 'a> {
    change: &'c ConfigChange,
    settings: &'s mut Settings<'a>,
    warnings: Vec<ChangeWarning>,
}

impl Applying<'_, '_, '_> {
    fn history(&mut self, keyword: &str, rest: &str) {
        if self.change.add_history == AddHistory::Yes {
            self.settings.prepended.push(History {
                created: Some(self.settings.now),
                created_by: format!("/bin/sh -c #(nop) {keyword} {rest}"),
                empty_layer: true,
                ..History::default()
            });
        }
    }

    fn warn_in_oci(&mut self, warning: ChangeWarning) {
        if self.settings.format == ManifestFormat::Oci {
            self.warnings.push(warning);
        }
    }

    fn identity(&mut self) {
        let change = self.change;
        let config = &mut *self.settings.config;
        set(&mut config.author, &change.author);
        set(self.settings.created_by, &change.created_by);
        set(&mut config.architecture, &change.architecture);
        set(&mut config.variant, &change.variant);
        set(&mut config.os, &change.os);
        set(&mut config.os_version, &change.os_version);
        for feature in &change.os_features {
            match removal(feature) {
                Some(Removal::All) => config.os_features.clear(),
                Some(Removal::One(name)) => config.os_features.retain(|have| have != name),
                None if config.os_features.contains(feature) => {}
                None => config.os_features.push(feature.clone()),
            }
        }
    }

    fn process(&mut self) -> Result<(), ChangeError> {
        let change = self.change;
        if let Some(user) = &change.user {
            self.settings.config.config.user.clone_from(user);
            self.history("USER", user);
        }
        if let Some(shell) = &change.shell {
            let words = split("--shell", shell)?;
            self.settings.config.config.shell.clone_from(&words);
            if !words.is_empty() {
                self.warn_in_oci(ChangeWarning::Shell(words));
            }
            self.history("SHELL", shell);
        }
        if let Some(signal) = &change.stop_signal {
            self.settings.config.config.stop_signal.clone_from(signal);
            self.history("STOPSIGNAL", signal);
        }
        if !change.ports.is_empty() {
            for port in change.ports.iter().filter(|port| !port.is_empty()) {
                edit_set(&mut self.settings.config.config.exposed_ports, port);
            }
            self.history("EXPOSE", &change.ports.join(" "));
        }
        if !change.env.is_empty() {
            for spec in &change.env {
                self.env(spec)?;
            }
            self.history("ENV", &change.env.join(" "));
        }
        self.command()?;
        for volume in change.volumes.iter().filter(|volume| !volume.is_empty()) {
            edit_set(&mut self.settings.config.config.volumes, volume);
            self.history("VOLUME", volume);
        }
        Ok(())
    }

    fn env(&mut self, spec: &str) -> Result<(), ChangeError> {
        let env = &mut self.settings.config.config.env;
        let Some((name, value)) = spec.split_once('=') else {
            match removal(spec) {
                Some(Removal::All) => env.clear(),
                Some(Removal::One(name)) => env.retain(|entry| env_name(entry) != name),
                None => {
                    return Err(ChangeError::NoValue {
                        name: spec.to_owned(),
                    });
                }
            }
            return Ok(());
        };
        let warnings = &mut self.warnings;
        let value = expand(value, |wanted| {
            let found = env.iter().find(|entry| env_name(entry) == wanted);
            if let Some((_, value)) = found.and_then(|entry| entry.split_once('=')) {
                value.to_owned()
            } else {
                warnings.push(ChangeWarning::UnsetVariable(wanted.to_owned()));
                wanted.to_owned()
            }
        });
        env.retain(|entry| env_name(entry) != name);
        env.push(format!("{name}={value}"));
        Ok(())
    }

    /// The entry point goes first: what it warns of is the command that was there before.
    fn command(&mut self) -> Result<(), ChangeError> {
        let change = self.change;
        if let Some(text) = &change.entrypoint {
            let config = &mut self.settings.config.config;
            let list = serde_json::from_str::<Vec<String>>(text).ok();
            let had = config.cmd.clone();
            if text.trim().is_empty() {
                config.entrypoint.clear();
            } else if let Some(list) = list {
                config.entrypoint = list;
                if !had.is_empty() {
                    self.warnings.push(ChangeWarning::CmdBecomesArguments(had));
                }
            } else {
                config.entrypoint = vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()];
                if !had.is_empty() {
                    self.warnings.push(ChangeWarning::CmdIgnored(had));
                }
            }
            self.history("ENTRYPOINT", text);
        }
        if let Some(text) = &change.cmd {
            let words = match serde_json::from_str::<Vec<String>>(text) {
                Ok(words) => words,
                Err(_) => split("--cmd", text)?,
            };
            self.settings.config.config.cmd = words;
            self.history("CMD", text);
        }
        Ok(())
    }

    fn healthcheck(&mut self) -> Result<(), ChangeError> {
        let change = self.change;
        let timings = [
            (
                "--interval",
                "--healthcheck-interval",
                &change.healthcheck_interval,
            ),
            (
                "--start-interval",
                "--healthcheck-start-interval",
                &change.healthcheck_start_interval,
            ),
            (
                "--start-period",
                "--healthcheck-start-period",
                &change.healthcheck_start_period,
            ),
            (
                "--timeout",
                "--healthcheck-timeout",
                &change.healthcheck_timeout,
            ),
        ];
        let touched = change.healthcheck.is_some()
            || change.healthcheck_retries.is_some()
            || timings.iter().any(|(_, _, value)| value.is_some());
        if !touched {
            return Ok(());
        }
        if change.healthcheck.as_deref() == Some("") {
            self.settings.config.config.healthcheck = None;
            self.history("HEALTHCHECK", "NONE");
            return Ok(());
        }
        let mut check = self
            .settings
            .config
            .config
            .healthcheck
            .clone()
            .unwrap_or_else(|| Healthcheck {
                test: vec!["NONE".to_owned()],
                interval: HEALTHCHECK_INTERVAL,
                timeout: HEALTHCHECK_INTERVAL,
                retries: HEALTHCHECK_RETRIES,
                ..Healthcheck::default()
            });
        if let Some(text) = &change.healthcheck {
            check.test = split("--healthcheck", text)?;
        }
        let mut arguments = String::new();
        for (keyword, flag, value) in timings {
            if keyword == "--start-interval"
                && let Some(retries) = change.healthcheck_retries
            {
                check.retries = retries;
                arguments.push_str(&format!("--retries={retries} "));
            }
            let Some(text) = value else { continue };
            let nanos = duration::parse(text).map_err(|source| ChangeError::Duration {
                flag,
                text: text.clone(),
                source,
            })?;
            match keyword {
                "--interval" => check.interval = nanos,
                "--start-interval" => check.start_interval = nanos,
                "--start-period" => check.start_period = nanos,
                _ => check.timeout = nanos,
            }
            arguments.push_str(&format!("{keyword}={text} "));
        }
        self.settings.config.config.healthcheck = Some(check);
        self.warn_in_oci(ChangeWarning::Healthcheck);
        let test = change.healthcheck.as_deref().unwrap_or("");
        self.history("HEALTHCHECK", &format!("{arguments}{test}"));
        Ok(())
    }

    fn labels(&mut self) {
        let change = self.change;
        let labels = &mut self.settings.config.config.labels;
        edit_map(labels, &change.labels);
        for name in &change.unset_labels {
            labels.remove(name);
        }
        if !change.labels.is_empty() {
            self.history("LABEL", &change.labels.join(" "));
        }
    }

    fn texts(&mut self) {
        let change = self.change;
        if let Some(path) = &change.working_dir {
            self.settings.config.config.working_dir.clone_from(path);
            self.history("WORKDIR", path);
        }
        if let Some(text) = &change.comment {
            self.settings.config.comment.clone_from(text);
            if !text.is_empty() {
                self.warn_in_oci(ChangeWarning::Comment(text.clone()));
            }
        }
        set(self.settings.history_comment, &change.history_comment);
        if let Some(text) = &change.domainname {
            self.settings.config.config.domainname.clone_from(text);
            if !text.is_empty() {
                self.warn_in_oci(ChangeWarning::Domainname(text.clone()));
            }
        }
        if let Some(text) = &change.hostname {
            self.settings.config.config.hostname.clone_from(text);
            if !text.is_empty() {
                self.warn_in_oci(ChangeWarning::Hostname(text.clone()));
            }
        }
        for trigger in change.on_build.iter().filter(|trigger| !trigger.is_empty()) {
            self.settings.config.config.on_build.push(trigger.clone());
            self.warn_in_oci(ChangeWarning::OnBuild(trigger.clone()));
            self.history("ONBUILD", trigger);
        }
    }

    fn annotations(&mut self) {
        edit_map(self.settings.annotations, &self.change.annotations);
        for name in &self.change.unset_annotations {
            self.settings.annotations.remove(name);
        }
    }
}

fn set(field: &mut String, value: &Option<String>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn split(flag: &'static str, text: &str) -> Result<Vec<String>, ChangeError> {
    words::split(text).map_err(|source| ChangeError::Words {
        flag,
        text: text.to_owned(),
        source,
    })
}

enum Removal<'t> {
    All,
    One(&'t str),
}

/// `-` alone removes all, a trailing `-` removes the one named.
fn removal(text: &str) -> Option<Removal<'_>> {
    match text.strip_suffix('-') {
        Some("") => Some(Removal::All),
        Some(name) => Some(Removal::One(name)),
        None => None,
    }
}

fn edit_set(set: &mut std::collections::BTreeSet<String>, text: &str) {
    match removal(text) {
        Some(Removal::All) => set.clear(),
        Some(Removal::One(name)) => {
            set.remove(name);
        }
        None => {
            set.insert(text.to_owned());
        }
    }
}

fn edit_map(map: &mut BTreeMap<String, String>, specs: &[String]) {
    for spec in specs {
        if let Some((name, value)) = spec.split_once('=') {
            map.insert(name.to_owned(), value.to_owned());
            continue;
        }
        match removal(spec) {
            Some(Removal::All) => map.clear(),
            Some(Removal::One(name)) => {
                map.remove(name);
            }
            None => {
                map.insert(spec.clone(), String::new());
            }
        }
    }
}

fn env_name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Go's `os.Expand`: `$NAME`, `${NAME}` and the one-character names of a shell.
fn expand(text: &str, mut value_of: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        let after = &after[1..];
        if after.is_empty() {
            break;
        }
        out.push_str(before);
        let (name, skip) = variable_name(after);
        if name.is_empty() && skip == 0 {
            out.push('$');
        } else if !name.is_empty() {
            out.push_str(&value_of(name));
        }
        rest = &after[skip..];
    }
    out.push_str(rest);
    out
}

/// Returns the name at the start of `text` and how many bytes it takes.
fn variable_name(text: &str) -> (&str, usize) {
    let special = |c: char| "*#$@!?-".contains(c) || c.is_ascii_digit();
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.find('}') {
            // `${}` and an unclosed brace are bad syntax and disappear.
            Some(0) => ("", 2),
            Some(end) => (&braced[..end], end + 2),
            None => ("", 1),
        };
    }
    if text.starts_with(special) {
        return (&text[..1], 1);
    }
    let end = text
        .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        config: ImageConfig,
        annotations: BTreeMap<String, String>,
        created_by: String,
        history_comment: String,
        prepended: Vec<History>,
    }

    impl World {
        fn new() -> Self {
            Self {
                config: ImageConfig::default(),
                annotations: BTreeMap::new(),
                created_by: String::new(),
                history_comment: String::new(),
                prepended: Vec::new(),
            }
        }

        fn apply(&mut self, change: &ConfigChange) -> String {
            let mut settings = Settings {
                config: &mut self.config,
                annotations: &mut self.annotations,
                created_by: &mut self.created_by,
                history_comment: &mut self.history_comment,
                prepended: &mut self.prepended,
                format: ManifestFormat::Oci,
                now: Timestamp::UNIX_EPOCH,
            };
            match change.apply(&mut settings) {
                Ok(warnings) => warnings
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n"),
                Err(error) => match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                },
            }
        }

        fn docker(&self) -> serde_json::Value {
            let bytes = self.config.to_bytes(ManifestFormat::Docker);
            let value: serde_json::Value = serde_json::from_slice(&bytes).expect("json");
            let mut config = value["config"].clone();
            let all = config.as_object_mut().expect("object");
            let empty = [
                serde_json::json!(""),
                serde_json::json!(false),
                serde_json::json!(null),
            ];
            all.retain(|_, value| !empty.contains(value) && *value != serde_json::json!([]));
            config
        }
    }

    fn change(edit: impl FnOnce(&mut ConfigChange)) -> ConfigChange {
        let mut change = ConfigChange::default();
        edit(&mut change);
        change
    }

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    fn check(before: &ConfigChange, after: &ConfigChange, config: &serde_json::Value, said: &str) {
        let mut world = World::new();
        assert_eq!(world.apply(before), "");
        assert_eq!(world.apply(after), said);
        assert_eq!(world.docker(), *config);
    }

    #[test]
    fn entry_point_and_command_behave_as_in_buildah() {
        let cmd = change(|c| c.cmd = Some("a b".into()));
        check(
            &cmd,
            &change(|c| c.entrypoint = Some("[\"x\"]".into())),
            &serde_json::json!({"Cmd": ["a", "b"], "Entrypoint": ["x"]}),
            "cmd \"a b\" exists and will be passed to entrypoint as a parameter",
        );
        check(
            &cmd,
            &change(|c| {
                c.entrypoint = Some("e f".into());
                c.cmd = Some("[\"c\", \"d e\"]".into());
            }),
            &serde_json::json!({"Cmd": ["c", "d e"], "Entrypoint": ["/bin/sh", "-c", "e f"]}),
            "cmd \"a b\" exists but will be ignored because of entrypoint settings",
        );
        check(
            &cmd,
            &change(|c| c.cmd = Some(String::new())),
            &serde_json::json!({}),
            "",
        );
        check(
            &cmd,
            &change(|c| c.cmd = Some("a \"".into())),
            &serde_json::json!({"Cmd": ["a", "b"]}),
            "parsing --cmd \"a \\\"\": invalid command line string",
        );
    }

    #[test]
    fn environment_is_expanded_moved_to_the_end_and_removed() {
        let first = change(|c| c.env = list(&["A=1", "B=2"]));
        check(
            &first,
            &change(|c| c.env = list(&["A=$A-${B}x", "C=$NOPE", "D=a$"])),
            &serde_json::json!({"Env": ["B=2", "A=1-2x", "C=NOPE", "D=a$"]}),
            "error expanding variable \"NOPE\": no value set in configuration",
        );
        check(
            &first,
            &change(|c| c.env = list(&["A-"])),
            &serde_json::json!({"Env": ["B=2"]}),
            "",
        );
        check(
            &first,
            &change(|c| c.env = list(&["-"])),
            &serde_json::json!({}),
            "",
        );
        check(
            &first,
            &change(|c| c.env = list(&["C"])),
            &serde_json::json!({"Env": ["A=1", "B=2"]}),
            "setting env \"C\": no value given",
        );
    }

    #[test]
    fn the_oci_format_warns_of_what_it_cannot_hold() {
        check(
            &ConfigChange::default(),
            &change(|c| {
                c.shell = Some("/bin/ash -c".into());
                c.healthcheck = Some("CMD-SHELL true".into());
                c.healthcheck_interval = Some("5s".into());
                c.healthcheck_retries = Some(4);
                c.comment = Some("com".into());
                c.domainname = Some("dd".into());
                c.hostname = Some("hh".into());
                c.on_build = list(&["RUN x", ""]);
            }),
            &serde_json::json!({
                "Shell": ["/bin/ash", "-c"], "Domainname": "dd", "Hostname": "hh",
                "OnBuild": ["RUN x"],
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_i64,
                    "Timeout": 30_000_000_000_i64, "Retries": 4,
                },
            }),
            "SHELL is not supported for OCI image format, [/bin/ash -c] will be ignored. Must use `docker` format\n\
             HEALTHCHECK is not supported for OCI image format and will be ignored. Must use `docker` format\n\
             COMMENT is not supported for OCI image format, comment com will be ignored. Must use `docker` format\n\
             DOMAINNAME is not supported for OCI image format, domainname dd will be ignored. Must use `docker` format\n\
             HOSTNAME is not supported for OCI V1 image format, hostname hh will be ignored. Must use `docker` format\n\
             ONBUILD is not supported for OCI image format, RUN x will be ignored. Must use `docker` format",
        );
        check(
            &ConfigChange::default(),
            &change(|c| c.healthcheck_interval = Some("5".into())),
            &serde_json::json!({}),
            "parsing --healthcheck-interval \"5\": time: missing unit in duration \"5\"",
        );
    }

    #[test]
    fn history_follows_buildah_order() {
        let mut world = World::new();
        world.apply(&change(|c| {
            c.add_history = AddHistory::Yes;
            c.ports = list(&["1", "2"]);
            c.env = list(&["A=1", "B=$A"]);
            c.entrypoint = Some("[\"x\",\"y\"]".into());
            c.cmd = Some("[\"a\",\"b\"]".into());
            c.volumes = list(&["/a", "/b-"]);
            c.healthcheck_interval = Some("5s".into());
            c.healthcheck_retries = Some(4);
            c.labels = list(&["x=1", "y=2"]);
            c.on_build = list(&["x", "y"]);
            c.annotations = list(&["q=1"]);
            c.user = Some(String::new());
        }));
        let lines: Vec<&str> = world
            .prepended
            .iter()
            .map(|entry| &entry.created_by["/bin/sh -c #(nop) ".len()..])
            .collect();
        let expected = [
            "USER ",
            "EXPOSE 1 2",
            "ENV A=1 B=$A",
            "ENTRYPOINT [\"x\",\"y\"]",
            "CMD [\"a\",\"b\"]",
            "VOLUME /a",
            "VOLUME /b-",
            "HEALTHCHECK --interval=5s --retries=4 ",
            "LABEL x=1 y=2",
            "ONBUILD x",
            "ONBUILD y",
        ];
        assert_eq!(lines, expected);
        assert!(world.prepended.iter().all(|entry| entry.empty_layer));
    }

    #[test]
    fn a_trailing_dash_removes() {
        let first = change(|c| {
            c.labels = list(&["a=1", "b", "c=d=e"]);
            c.ports = list(&["80/tcp", "90-92"]);
            c.volumes = list(&["/a", "/b"]);
        });
        check(
            &first,
            &change(|c| {
                c.labels = list(&["a-"]);
                c.ports = list(&["80/tcp-"]);
                c.volumes = list(&["-"]);
            }),
            &serde_json::json!({"Labels": {"b": "", "c": "d=e"}, "ExposedPorts": {"90-92": {}}}),
            "",
        );
    }
}
