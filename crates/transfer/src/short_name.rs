//! Which images a name without a registry may mean.
//!
//! The configuration (aliases, registries to search) comes as values; this module reads no file and asks nobody.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::reference::{DEFAULT_DOMAIN, LOCAL_DOMAIN};
use model::{Reference, ReferenceError};

/// An alias: the repository that a short name stands for, and the file that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Domain and repository, without tag and digest.
    pub target: Reference,
    /// The file, for messages.
    pub origin: PathBuf,
}

/// Whether a person is asked which of several registries a short name means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// Asked, and nothing is tried that nobody chose.
    Enforced,
    /// Asked where somebody can answer.
    #[default]
    Permitted,
    /// Never asked.
    Disabled,
}

/// What the host's configuration says of names without a registry. Empty on a host without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRules {
    /// Short names, without tag and digest.
    pub aliases: BTreeMap<String, Alias>,
    /// Hosts to try in order.
    pub search: Vec<String>,
    /// The configuration file, if there is one; for messages.
    pub config_file: Option<PathBuf>,
    /// Whether a person is asked.
    pub asking: Asking,
}

/// Why no image can be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShortNameError {
    /// The text is no reference.
    #[error("parsing reference \"{text}\"")]
    Parse {
        /// The text.
        text: String,
        /// What the grammar says.
        source: ReferenceError,
    },
    /// There is a configuration, but it names no registry.
    #[error(
        "short-name \"{name}\" did not resolve to an alias and no unqualified-search registries are defined in \"{file}\"",
        file = file.display()
    )]
    NoRegistries {
        /// The name.
        name: String,
        /// The configuration.
        file: PathBuf,
    },
    /// There is no configuration.
    #[error(
        "short-name \"{name}\" did not resolve to an alias and no containers-registries.conf(5) was found"
    )]
    NoConfig {
        /// The name.
        name: String,
    },
}

/// What is done with several candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// They are tried in order.
    Fixed,
    /// A person chooses; where nobody can answer, they are tried in order. What was chosen is recorded after its pull.
    Ask,
    /// A person chooses; where nobody can answer, none is tried. What was chosen is recorded after its pull.
    AskOnly,
}

/// What a name may mean for a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The images to try, in order.
    pub candidates: Vec<Reference>,
    /// What is done with several of them.
    pub choice: Choice,
    /// The line that explains them, as Buildah words it; none for a full name.
    pub explanation: Option<String>,
}

impl NameRules {
    /// Returns the images that `text` may mean for a pull.
    ///
    /// # Errors
    /// See [`ShortNameError`].
    pub fn for_pull(&self, text: &str) -> Result<Resolved, ShortNameError> {
        let parsed = parse(text)?;
        if !Reference::is_short(text) {
            return Ok(Resolved {
                candidates: vec![parsed.prefer_digest().with_default_tag()],
                choice: Choice::Fixed,
                explanation: None,
            });
        }
        if let Some((name, alias)) = self.alias(text) {
            let explanation = format!(
                "Resolved \"{name}\" as an alias ({})",
                alias.origin.display()
            );
            return Ok(Resolved {
                candidates: vec![reattach(&alias.target, &parsed)],
                choice: Choice::Fixed,
                explanation: Some(explanation),
            });
        }
        let name = text.to_owned();
        let Some(file) = &self.config_file else {
            return Err(ShortNameError::NoConfig { name });
        };
        if self.search.is_empty() {
            return Err(ShortNameError::NoRegistries {
                name,
                file: file.clone(),
            });
        }
        let explanation = format!(
            "Resolving \"{}\" using unqualified-search registries ({})",
            without_tag(text),
            file.display()
        );
        let candidates = self.searched(text)?;
        let choice = match self.asking {
            _ if candidates.len() < 2 => Choice::Fixed,
            Asking::Disabled => Choice::Fixed,
            Asking::Permitted => Choice::Ask,
            Asking::Enforced => Choice::AskOnly,
        };
        Ok(Resolved {
            candidates,
            choice,
            explanation: Some(explanation),
        })
    }

    /// Returns the full names under which an image that `text` means may be in a store, best first: for a short name its
    /// alias, `localhost`, the registries searched, and docker.io at the end.
    ///
    /// # Errors
    /// When `text` is no reference.
    pub fn for_store(&self, text: &str) -> Result<Vec<Reference>, ShortNameError> {
        let parsed = parse(text)?.prefer_digest();
        if !Reference::is_short(text) {
            return Ok(vec![parsed.with_default_tag()]);
        }
        let mut candidates: Vec<Reference> = Vec::new();
        candidates.extend(
            self.alias(text)
                .map(|(_, alias)| reattach(&alias.target, &parsed)),
        );
        candidates.push(in_domain(LOCAL_DOMAIN, text)?);
        candidates.extend(self.searched(text)?);
        candidates.push(in_domain(DEFAULT_DOMAIN, text)?);
        let mut seen = std::collections::BTreeSet::new();
        candidates.retain(|candidate| seen.insert(candidate.clone()));
        Ok(candidates)
    }

    fn searched(&self, text: &str) -> Result<Vec<Reference>, ShortNameError> {
        self.search
            .iter()
            .map(|host| in_domain(host, text))
            .collect()
    }

    fn alias<'a, 'b>(&'a self, text: &'b str) -> Option<(&'b str, &'a Alias)> {
        let bare = without_tag(text);
        self.aliases.get(bare).map(|alias| (bare, alias))
    }
}

/// Returns a short name as an alias has it: without tag and digest.
pub fn without_tag(text: &str) -> &str {
    let bare = text.split_once('@').map_or(text, |(bare, _)| bare);
    match bare.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => bare,
    }
}

fn parse(text: &str) -> Result<Reference, ShortNameError> {
    Reference::parse_normalized(text).map_err(|source| ShortNameError::Parse {
        text: text.to_owned(),
        source,
    })
}

fn in_domain(domain: &str, text: &str) -> Result<Reference, ShortNameError> {
    Ok(parse(&format!("{domain}/{text}"))?
        .prefer_digest()
        .with_default_tag())
}

/// Gives `target` the tag or digest of `typed`.
fn reattach(target: &Reference, typed: &Reference) -> Reference {
    let tagged = match (typed.digest(), typed.tag()) {
        (Some(digest), _) => target.with_digest(digest.clone()),
        (None, Some(tag)) => target.with_tag(tag).expect("the tag was parsed before"),
        (None, None) => target.clone(),
    };
    tagged.with_default_tag()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(search: &[&str]) -> NameRules {
        let target = Reference::parse_normalized("quay.io/a/tiny").unwrap();
        NameRules {
            aliases: BTreeMap::from([(
                "tiny".to_owned(),
                Alias {
                    target,
                    origin: "/a.conf".into(),
                },
            )]),
            search: search.iter().map(|&host| host.to_owned()).collect(),
            config_file: Some("/r.conf".into()),
            asking: Asking::Permitted,
        }
    }

    #[test]
    fn several_candidates_are_a_choice() {
        let check = |search: &[&str], asking: Asking, expected: Choice| {
            let rules = NameRules {
                asking,
                ..rules(search)
            };
            assert_eq!(rules.for_pull("x").unwrap().choice, expected);
        };
        check(&["a.io"], Asking::Enforced, Choice::Fixed);
        check(&["a.io", "b.io"], Asking::Enforced, Choice::AskOnly);
        check(&["a.io", "b.io"], Asking::Permitted, Choice::Ask);
        check(&["a.io", "b.io"], Asking::Disabled, Choice::Fixed);
    }

    #[test]
    fn names_in_a_store_have_an_order() {
        let check = |rules: &NameRules, text: &str, expected: &[&str]| {
            let found: Vec<String> = rules
                .for_store(text)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            &NameRules::default(),
            "x",
            &["localhost/x:latest", "docker.io/library/x:latest"],
        );
        check(
            &NameRules::default(),
            "a/x:1",
            &["localhost/a/x:1", "docker.io/a/x:1"],
        );
        check(&NameRules::default(), "quay.io/x", &["quay.io/x:latest"]);
        check(
            &rules(&["quay.io", "docker.io"]),
            "tiny:2",
            &[
                "quay.io/a/tiny:2",
                "localhost/tiny:2",
                "quay.io/tiny:2",
                "docker.io/library/tiny:2",
            ],
        );
    }

    #[test]
    fn pulls_ask_aliases_then_registries() {
        let check = |rules: &NameRules, text: &str, expected: &str| {
            let found = match rules.for_pull(text) {
                Ok(found) => {
                    let names: Vec<String> =
                        found.candidates.iter().map(ToString::to_string).collect();
                    format!(
                        "{} | {}",
                        names.join(" "),
                        found.explanation.unwrap_or_default()
                    )
                }
                Err(err) => err.to_string(),
            };
            assert_eq!(found, expected, "{text}");
        };
        check(
            &rules(&[]),
            "tiny:2",
            "quay.io/a/tiny:2 | Resolved \"tiny\" as an alias (/a.conf)",
        );
        check(&rules(&[]), "localhost/x", "localhost/x:latest | ");
        check(
            &rules(&[]),
            "x",
            "short-name \"x\" did not resolve to an alias and no unqualified-search registries are defined in \"/r.conf\"",
        );
        check(
            &NameRules::default(),
            "x",
            "short-name \"x\" did not resolve to an alias and no containers-registries.conf(5) was found",
        );
        check(
            &rules(&["docker.io", "h:5000"]),
            "x",
            "docker.io/library/x:latest h:5000/x:latest | Resolving \"x\" using unqualified-search registries (/r.conf)",
        );
        check(
            &rules(&["h:5000"]),
            "x:1",
            "h:5000/x:1 | Resolving \"x\" using unqualified-search registries (/r.conf)",
        );
    }
}
