//! The names that `$NAME` can stand for at one point of a stage: ENV, ARG, predefined names.
//!
//! Strength, strongest first: ENV of the stage and its base, ARGs declared so far, predefined
//! proxy names. A global ARG (before the first FROM) is seen only through a declaration inside
//! the stage. Expansion itself is `containerfile`'s; this answers its questions.

use model::Platform;
use std::collections::{BTreeMap, BTreeSet};

/// Names that are arguments without being declared, and that never enter a key or a history
/// line unless they are.
pub const PROXY_NAMES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments that BuildKit's front end takes for itself; given on the command line, they count
/// as used.
const FRONT_END_PREFIX: &str = "BUILDKIT_";

/// The values that arguments take from outside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgValues {
    /// `--build-arg-file`, overridden by `--build-arg`.
    pub given: BTreeMap<String, String>,
    /// Proxy variables of the host, empty with `--http-proxy=false`.
    pub proxies: BTreeMap<String, String>,
    /// `--source-date-epoch`, seen by stages that declare `SOURCE_DATE_EPOCH`.
    pub source_date_epoch: Option<i64>,
}

/// What a platform argument is worth: `(name, value)` for each of the twelve.
#[must_use]
pub fn platform_args(
    build: &Platform,
    target: &Platform,
    stage: &str,
) -> BTreeMap<&'static str, String> {
    let variant = |p: &Platform| p.variant.clone().unwrap_or_default();
    let version = |p: &Platform| p.os_version.clone().unwrap_or_default();
    BTreeMap::from([
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETOSVERSION", version(target)),
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", variant(build)),
        ("BUILDOSVERSION", version(build)),
        ("TARGETSTAGE", stage.to_owned()),
    ])
}

/// The names visible at one point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// ENV in the order of the image config.
    env: Vec<(String, String)>,
    args: BTreeMap<String, Option<String>>,
    globals: BTreeMap<String, String>,
    platform: BTreeMap<&'static str, String>,
    outside: ArgValues,
    /// Names whose value from outside was asked for by a declaration.
    used: BTreeSet<String>,
}

/// What a declaration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// The name has a value.
    Valued,
    /// Nothing gives it a value: worth a warning.
    Unset,
    /// `TARGETPLATFORM` or `BUILDPLATFORM` with a default.
    Redefined,
}

impl Scope {
    /// Starts the scope of the lines before the first FROM.
    #[must_use]
    pub fn global(outside: &ArgValues, platform: BTreeMap<&'static str, String>) -> Self {
        Self {
            platform,
            outside: outside.clone(),
            ..Self::default()
        }
    }

    /// Starts the scope of a stage on a base with `env`; `globals` is the scope of the lines
    /// before the first FROM.
    #[must_use]
    pub fn stage(
        globals: &Scope,
        platform: BTreeMap<&'static str, String>,
        env: &[String],
    ) -> Self {
        let mut scope = Self {
            globals: globals
                .args
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
                .collect(),
            platform,
            outside: globals.outside.clone(),
            ..Self::default()
        };
        for entry in env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set_env(name, value);
        }
        scope
    }

    /// Starts the scope of a stage on another stage: that one's ARG values are seen too.
    #[must_use]
    pub fn child(&self, platform: BTreeMap<&'static str, String>) -> Self {
        Self {
            platform,
            used: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// Declares an argument; `default` is already expanded.
    pub fn declare(&mut self, name: &str, default: Option<String>) -> Declared {
        let platform = self.platform.get(name).cloned();
        if default.is_some() && matches!(name, "TARGETPLATFORM" | "BUILDPLATFORM") {
            return Declared::Redefined;
        }
        let given = self.outside.given.get(name).cloned();
        if given.is_some() {
            self.used.insert(name.to_owned());
        }
        let is_platform = platform.is_some();
        let epoch = (name == "SOURCE_DATE_EPOCH")
            .then(|| self.outside.source_date_epoch.map(|s| s.to_string()))
            .flatten();
        let value = given
            .or(platform)
            .or(default)
            .or_else(|| self.globals.get(name).cloned())
            .or(epoch)
            .or_else(|| self.outside.proxies.get(name).cloned());
        let unset = value.is_none() && !is_platform;
        // A bare declaration after one with a value keeps that value.
        if value.is_some() || !self.args.contains_key(name) {
            self.args.insert(name.to_owned(), value);
        }
        let still_unset = self.args.get(name).is_some_and(Option::is_none);
        if unset && still_unset {
            Declared::Unset
        } else {
            Declared::Valued
        }
    }

    /// Sets a variable of the environment, in its old place when it has one.
    pub fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Returns what `$name` stands for.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        if let Some((_, value)) = self.env.iter().find(|(n, _)| n == name) {
            return Some(value);
        }
        if let Some(value) = self.args.get(name) {
            return value.as_deref();
        }
        self.proxy(name)
    }

    /// Returns what `$name` stands for in a FROM line or in the default of a global ARG.
    #[must_use]
    pub fn global_value(&self, name: &str) -> Option<&str> {
        match self.args.get(name) {
            Some(value) => value.as_deref(),
            None => self
                .platform
                .contains_key(name)
                .then(|| self.outside.given.get(name))
                .flatten()
                .or_else(|| self.platform.get(name))
                .map(String::as_str),
        }
    }

    /// Returns ENV, in the order of the image config.
    #[must_use]
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Returns the ARGs with a value that ENV does not hide, by name.
    #[must_use]
    pub fn args_in_scope(&self) -> Vec<(String, String)> {
        self.args
            .iter()
            .filter(|(name, _)| !self.env.iter().any(|(n, _)| n == *name))
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect()
    }

    /// Returns the names of the ARGs declared so far that have a value.
    #[must_use]
    pub fn declared_names(&self) -> Vec<String> {
        self.args
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Returns the predefined variables that a process sees without a declaration.
    #[must_use]
    pub fn proxies(&self) -> Vec<(String, String)> {
        PROXY_NAMES
            .iter()
            .filter(|name| {
                !self.env.iter().any(|(n, _)| n == *name) && !self.args.contains_key(**name)
            })
            .filter_map(|name| Some(((*name).to_owned(), self.proxy(name)?.to_owned())))
            .collect()
    }

    /// Returns the names whose value from outside a declaration took.
    #[must_use]
    pub fn used(&self) -> &BTreeSet<String> {
        &self.used
    }

    fn proxy(&self, name: &str) -> Option<&str> {
        PROXY_NAMES
            .contains(&name)
            .then(|| {
                self.outside
                    .given
                    .get(name)
                    .or_else(|| self.outside.proxies.get(name))
            })
            .flatten()
            .map(String::as_str)
    }
}

/// Returns the given arguments that nothing declared, sorted.
#[must_use]
pub fn not_consumed(given: &BTreeMap<String, String>, used: &BTreeSet<String>) -> Vec<String> {
    given
        .keys()
        .filter(|name| {
            !used.contains(*name)
                && !PROXY_NAMES.contains(&name.as_str())
                && !name.starts_with(FRONT_END_PREFIX)
                && !is_platform_arg(name)
        })
        .cloned()
        .collect()
}

fn is_platform_arg(name: &str) -> bool {
    ["TARGET", "BUILD"].iter().any(|side| {
        name.strip_prefix(side).is_some_and(|rest| {
            matches!(rest, "PLATFORM" | "OS" | "ARCH" | "VARIANT" | "OSVERSION")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(given: &[(&str, &str)]) -> ArgValues {
        ArgValues {
            given: given
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..ArgValues::default()
        }
    }

    fn stage(given: &[(&str, &str)], globals: &[(&str, &str)], env: &[&str]) -> Scope {
        let mut global = Scope::global(&outside(given), BTreeMap::new());
        for (name, value) in globals {
            global.declare(name, Some((*value).to_owned()));
        }
        let env: Vec<String> = env.iter().map(|e| (*e).to_owned()).collect();
        let platform = BTreeMap::from([("TARGETARCH", "amd64".to_owned())]);
        Scope::stage(&global, platform, &env)
    }

    /// `declare` holds names with an optional default, in order.
    #[track_caller]
    fn check(
        mut scope: Scope,
        declare: &[(&str, Option<&str>)],
        name: &str,
        expected: Option<&str>,
    ) {
        for (name, default) in declare {
            scope.declare(name, default.map(str::to_owned));
        }
        assert_eq!(scope.value(name), expected);
    }

    #[test]
    fn precedence_of_arguments() {
        let bare: &[(&str, Option<&str>)] = &[("A", None)];
        let dflt: &[(&str, Option<&str>)] = &[("A", Some("d"))];
        check(stage(&[], &[], &[]), &[], "A", None);
        check(stage(&[("A", "cli")], &[], &[]), &[], "A", None);
        check(stage(&[("A", "cli")], &[], &[]), bare, "A", Some("cli"));
        check(stage(&[("A", "cli")], &[], &[]), dflt, "A", Some("cli"));
        check(stage(&[], &[("A", "g")], &[]), &[], "A", None);
        check(stage(&[], &[("A", "g")], &[]), bare, "A", Some("g"));
        check(stage(&[], &[("A", "g")], &[]), dflt, "A", Some("d"));
        check(
            stage(&[("A", "cli")], &[("A", "g")], &[]),
            bare,
            "A",
            Some("cli"),
        );
        check(
            stage(&[("A", "cli")], &[], &["A=env"]),
            dflt,
            "A",
            Some("env"),
        );
        check(
            stage(&[], &[], &[]),
            &[("A", Some("d")), ("A", None)],
            "A",
            Some("d"),
        );
        check(
            stage(&[], &[], &[]),
            &[("TARGETARCH", None)],
            "TARGETARCH",
            Some("amd64"),
        );
        check(
            stage(&[], &[], &[]),
            &[("TARGETARCH", Some("x"))],
            "TARGETARCH",
            Some("amd64"),
        );
        check(
            stage(&[("TARGETARCH", "x")], &[], &[]),
            &[("TARGETARCH", None)],
            "TARGETARCH",
            Some("x"),
        );
        check(stage(&[], &[], &[]), &[], "TARGETARCH", None);
        check(
            stage(&[("http_proxy", "p")], &[], &[]),
            &[],
            "http_proxy",
            Some("p"),
        );
    }

    #[test]
    fn a_child_stage_sees_its_parents_arguments() {
        let mut parent = stage(&[("A", "5")], &[], &["E=1"]);
        parent.declare("A", None);
        let child = parent.child(BTreeMap::new());
        assert_eq!(child.value("A"), Some("5"));
        assert_eq!(child.value("E"), Some("1"));
    }

    #[test]
    fn env_hides_arguments_in_the_process() {
        let mut scope = stage(&[("A", "cli"), ("B", "b")], &[], &["A=env"]);
        scope.declare("A", None);
        scope.declare("B", None);
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(scope.env(), [pair("A", "env")]);
        assert_eq!(scope.args_in_scope(), [pair("B", "b")]);
    }

    #[test]
    fn unused_arguments_are_listed_without_predefined_names() {
        let given = outside(&[
            ("Z", "1"),
            ("Y", "1"),
            ("A", "1"),
            ("HTTP_PROXY", "x"),
            ("TARGETARCH", "x"),
        ]);
        let used = BTreeSet::from(["A".to_owned()]);
        assert_eq!(not_consumed(&given.given, &used), ["Y", "Z"]);
    }

    #[test]
    fn declarations_without_a_value_are_known() {
        let mut scope = stage(&[], &[], &[]);
        assert_eq!(scope.declare("A", None), Declared::Unset);
        assert_eq!(scope.declare("A", Some(String::new())), Declared::Valued);
        assert_eq!(scope.declare("TARGETARCH", None), Declared::Valued);
        assert_eq!(
            scope.declare("TARGETPLATFORM", Some("x".into())),
            Declared::Redefined
        );
    }
}
