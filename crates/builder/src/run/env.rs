//! The environment of a process: what the image says, what the build says, then defaults.

/// Value of `PATH` when nothing sets it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where variables come from, the strongest last in each list; `NAME=VALUE` each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// ENV of the image and the stage, and `--env`. Wins over everything else.
    pub image: Vec<String>,
    /// ARGs in scope.
    pub args: Vec<String>,
    /// Proxy variables of the host.
    pub proxies: Vec<String>,
    /// Variables made of secrets. Win over ENV, since their mount is more specific.
    pub secrets: Vec<(String, String)>,
}

/// What fills the gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults<'a> {
    pub(crate) home: &'a str,
    pub(crate) hostname: &'a str,
    /// `TERM`, when the process has a terminal.
    pub(crate) term: Option<&'a str>,
}

impl Environment {
    /// Puts the variables together: each name once, in the order of its first appearance.
    pub(crate) fn assemble(&self, defaults: Defaults<'_>) -> Vec<String> {
        let mut all: Vec<(String, String)> = vec![
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("HOSTNAME".to_owned(), defaults.hostname.to_owned()),
            ("HOME".to_owned(), defaults.home.to_owned()),
        ];
        all.extend(
            defaults
                .term
                .map(|term| ("TERM".to_owned(), term.to_owned())),
        );
        for entry in self.proxies.iter().chain(&self.args).chain(&self.image) {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            put(&mut all, name, value);
        }
        for (name, value) in &self.secrets {
            put(&mut all, name, value);
        }
        all.into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

fn put(all: &mut Vec<(String, String)>, name: &str, value: &str) {
    match all.iter_mut().find(|(have, _)| have == name) {
        Some((_, have)) => value.clone_into(have),
        None => all.push((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_wins_then_arguments_then_proxies() {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let environment = Environment {
            image: words("A=image HOME=/h"),
            args: words("A=arg B=arg"),
            proxies: words("B=proxy http_proxy=p"),
            secrets: vec![("TOKEN".to_owned(), "t".to_owned())],
        };
        let defaults = Defaults {
            home: "/root",
            hostname: "abc",
            term: None,
        };
        let env = environment.assemble(defaults);
        assert_eq!(
            env,
            [
                format!("PATH={DEFAULT_PATH}"),
                "HOSTNAME=abc".into(),
                "HOME=/h".into(),
                "B=arg".into(),
                "http_proxy=p".into(),
                "A=image".into(),
                "TOKEN=t".into(),
            ]
        );
    }
}
