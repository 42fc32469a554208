//! `images --filter`: which images are listed, and under which of their names.
//!
//! Several filters all have to match, but of several `reference=` one is enough.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Result, bail};
use containerfile::GoDuration;
use model::{ImageId, Reference, Timestamp};
use store::{ImageRecord, Store};
use transfer::NameRules;

use crate::failure::Failure;
use crate::host;
use crate::host::family::Parents;

/// What filters look things up in.
pub struct Surroundings<'a> {
    /// The store.
    pub store: &'a Store,
    /// What names without a registry mean.
    pub rules: &'a NameRules,
    /// Which images others are built on.
    pub parents: &'a Parents,
    /// The present moment.
    pub now: Timestamp,
}

/// The filters of one command line.
pub struct Filters<'a> {
    around: &'a Surroundings<'a>,
    conditions: Vec<Condition>,
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

/// An image that is listed, with the names to list it under.
pub struct Listed {
    /// The image.
    pub image: Arc<ImageRecord>,
    /// Its names, or the one that was asked for.
    pub names: Vec<String>,
}

/// A filter that an image has to match, or (`name!=value`) not to.
struct Condition {
    filter: Filter,
    wanted: bool,
}

enum Filter {
    Before(Option<Timestamp>),
    Since(Option<Timestamp>),
    UsedByContainers(bool, BTreeSet<ImageId>),
    Dangling(bool),
    Digest(String),
    Id(String),
    Intermediate(bool),
    Label(String),
    List(bool),
    ReadOnly(bool),
}

impl<'a> Filters<'a> {
    /// Reads `NAME=VALUE` and `NAME!=VALUE` words; images that they name are looked up.
    pub fn parse(words: &[&str], around: &'a Surroundings<'a>) -> Result<Self, Failure> {
        let mut filters = Self {
            around,
            conditions: Vec::new(),
            wanted: Vec::new(),
            unwanted: Vec::new(),
        };
        let mut said = HashMap::new();
        for word in words {
            let (name, value, wanted) = match word.split_once("!=") {
                Some((name, value)) => (name, value, false),
                None => match word.split_once('=') {
                    Some((name, value)) => (name, value, true),
                    None => return Err(malformed(word).into()),
                },
            };
            if name == "reference" {
                let references = match wanted {
                    true => &mut filters.wanted,
                    false => &mut filters.unwanted,
                };
                references.push(value.to_owned());
                continue;
            }
            if ["containers", "dangling", "intermediate", "readonly"].contains(&name)
                && said
                    .insert(name, value)
                    .is_some_and(|before| before != value)
            {
                return Err(anyhow::anyhow!(
                    "specifying {name:?} filter more than once with different values is not supported"
                )
                .into());
            }
            let filter = Filter::parse(name, value, around)?;
            filters.conditions.push(Condition { filter, wanted });
        }
        Ok(filters)
    }

    /// Keeps the images that match.
    pub fn choose(&self, images: Vec<Arc<ImageRecord>>) -> Result<Vec<Listed>, Failure> {
        let mut chosen = Vec::new();
        for image in images {
            if let Some(names) = self.names(&image)? {
                chosen.push(Listed { image, names });
            }
        }
        Ok(chosen)
    }

    /// The names to list an image under; nothing if it does not match.
    fn names(&self, image: &Arc<ImageRecord>) -> Result<Option<Vec<String>>, Failure> {
        for condition in &self.conditions {
            if condition.filter.matches(image, self.around)? != condition.wanted {
                return Ok(None);
            }
        }
        let refers = |text: &String| self.refers(image, text);
        if self.unwanted.iter().any(refers) {
            return Ok(None);
        }
        let mut names = image.names.clone();
        if self.wanted.is_empty() {
            return Ok(Some(names));
        }
        if !self.wanted.iter().any(refers) {
            return Ok(None);
        }
        // A whole name asks for itself; the image's others are not shown.
        if let ([asked], []) = (self.wanted.as_slice(), self.unwanted.as_slice())
            && let Some(asked) = whole_name(asked)
        {
            names.retain(|name| is_name(name, &asked));
        }
        Ok(Some(names))
    }

    /// Whether a reference means the image, or a pattern one of its names.
    fn refers(&self, image: &ImageRecord, text: &str) -> bool {
        let Surroundings { store, rules, .. } = self.around;
        transfer::lookup(store, text, rules, None).is_ok_and(|found| found.image.id == image.id)
            || image.names.iter().any(|name| name_matches(name, text))
    }
}

impl Filter {
    fn parse(name: &str, value: &str, around: &Surroundings<'_>) -> Result<Self, Failure> {
        let yes = || {
            crate::args::go_bool(value).map_err(|error| {
                anyhow::anyhow!("non-boolean value {value:?} for {name} filter: {error}")
            })
        };
        let created = || {
            host::find_image(around.store, value, around.rules)
                .map(|image| image.created.timestamp())
                .map_err(|failure| {
                    failure.context(format!(
                        "could not find local image for filter {name:?}={value:?}"
                    ))
                })
        };
        Ok(match name {
            "after" | "since" => Self::Since(created()?),
            "before" => Self::Before(created()?),
            "containers" => {
                let used = match value {
                    "true" => true,
                    "false" => false,
                    _ => {
                        return Err(anyhow::anyhow!(
                            "unsupported value {value:?} for containers filter"
                        )
                        .into());
                    }
                };
                let containers = around.store.containers()?;
                let images = containers.iter().filter_map(|one| one.image.clone());
                Self::UsedByContainers(used, images.collect())
            }
            "dangling" => Self::Dangling(yes()?),
            "digest" if !value.starts_with("sha256:") => {
                return Err(anyhow::anyhow!("invalid value {value:?} for digest filter").into());
            }
            "digest" => Self::Digest(value.to_owned()),
            "id" => Self::Id(value.to_owned()),
            "intermediate" => Self::Intermediate(yes()?),
            "label" => Self::Label(value.to_owned()),
            "manifest" => Self::List(yes()?),
            "readonly" => Self::ReadOnly(yes()?),
            "until" => Self::Before(Some(moment(value, &around.now)?)),
            _ => return Err(malformed(name).into()),
        })
    }

    fn matches(&self, image: &ImageRecord, around: &Surroundings<'_>) -> Result<bool, Failure> {
        Ok(match self {
            Self::Before(moment) => image.created.timestamp() < *moment,
            Self::Since(moment) => image.created.timestamp() > *moment,
            Self::UsedByContainers(wanted, used) => used.contains(&image.id) == *wanted,
            Self::Dangling(wanted) => {
                let dangling = image.names.is_empty() && !around.parents.is_intermediate(image);
                dangling == *wanted
            }
            Self::Digest(start) => image
                .digests()
                .any(|digest| digest.as_str().starts_with(start)),
            Self::Id(start) => image.id.as_str().starts_with(start),
            Self::Intermediate(wanted) => around.parents.is_intermediate(image) == *wanted,
            Self::Label(wanted) => {
                let labels = match is_list(image, around)? {
                    true => BTreeMap::default(),
                    false => host::image_config(around.store, image)?.config.labels,
                };
                has_label(&labels, wanted)
            }
            Self::List(wanted) => is_list(image, around)? == *wanted,
            // Every image of the store can be removed from it.
            Self::ReadOnly(wanted) => !wanted,
        })
    }
}

fn malformed(text: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "invalid image filter {text:?}: must be in the format \"filter=value or filter!=value\""
    )
}

fn is_list(image: &ImageRecord, around: &Surroundings<'_>) -> Result<bool> {
    Ok(image.layer.is_none() && around.store.list(&image.id)?.is_some())
}

/// Whether one of the labels is meant by `KEY` or `KEY=VALUE`; a key with `*` is a pattern for a part of keys.
fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').unwrap_or((wanted, ""));
    let is_key = |label: &str| {
        label == key || (key.contains('*') && host::shell_match(&format!("*{key}*"), label))
    };
    labels
        .iter()
        .any(|(label, found)| is_key(label) && (value.is_empty() || found == value))
}

/// Reads a moment: a duration back from now, seconds since 1970, or a date with as much of a clock time
/// as is known, in UTC where no zone is given.
fn moment(text: &str, now: &Timestamp) -> Result<Timestamp> {
    if let Ok(back) = GoDuration::parse(text)
        && text != "0"
    {
        let seconds = now.unix_seconds() - back.0.div_euclid(1_000_000_000);
        return Ok(Timestamp::from_unix(seconds)?);
    }
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp::from_unix(seconds)?);
    }
    let zone = text
        .find(['Z', 'z', '+'])
        .or_else(|| (text.matches('-').count() == 3).then(|| text.rfind('-'))?);
    let (clock, zone) = match zone {
        Some(at) => text.split_at(at),
        None => (text, "Z"),
    };
    let missing = match clock.split_once('T') {
        None => "T00:00:00",
        Some((_, time)) => match time.matches(':').count() {
            0 => ":00:00",
            1 => ":00",
            _ => "",
        },
    };
    let whole = format!("{clock}{missing}{}", zone.to_uppercase());
    match Timestamp::parse(&whole) {
        Ok(moment) => Ok(moment),
        Err(_) => bail!("{text:?} is neither a duration nor a time"),
    }
}

/// A name with its registry and a tag or digest; nothing for patterns and shorter names.
fn whole_name(text: &str) -> Option<Reference> {
    let name = Reference::parse_normalized(text).ok()?;
    let is_whole = name.tag().is_some() || name.digest().is_some();
    (is_whole && name.to_string() == text).then_some(name)
}

fn is_name(name: &str, asked: &Reference) -> bool {
    match asked.digest() {
        None => name == asked.to_string(),
        Some(_) => Reference::parse_normalized(name)
            .is_ok_and(|name| name.repository() == asked.repository()),
    }
}

/// Matches a pattern against a name: whole, without its registry, or its last part, with the tag and without.
fn name_matches(name: &str, pattern: &str) -> bool {
    let Ok(reference) = Reference::parse_normalized(name) else {
        return false;
    };
    let repository = reference.name();
    let suffix = name.strip_prefix(repository.as_str()).unwrap_or_default();
    let path = repository
        .split_once('/')
        .map_or(repository.as_str(), |(_, path)| path);
    let last = path.rsplit('/').next().unwrap_or(path);
    [repository.as_str(), path, last]
        .iter()
        .any(|part| path_match(pattern, part) || path_match(pattern, &format!("{part}{suffix}")))
}

/// Matches a shell pattern whose wildcards do not reach over a slash.
fn path_match(pattern: &str, text: &str) -> bool {
    let (patterns, parts) = (pattern.split('/'), text.split('/'));
    patterns.clone().count() == parts.clone().count()
        && patterns
            .zip(parts)
            .all(|(pattern, part)| host::shell_match(pattern, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_patterns() {
        let name = "registry.example.com/team/app:1";
        for (pattern, expected) in [
            (name, true),
            ("registry.example.com/team/app", true),
            ("team/app", true),
            ("team/app:1", true),
            ("app", true),
            ("app:1", true),
            ("ap*", true),
            ("*/app", true),
            ("registry*", false),
            ("team", false),
            ("app:2", false),
            ("*/*", true),
            ("*/*/*/*", false),
        ] {
            assert_eq!(name_matches(name, pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn labels_match() {
        let labels = [("a.b".to_owned(), "c".to_owned())].into();
        for (wanted, expected) in [
            ("a.b", true),
            ("a.b=", true),
            ("a.b=c", true),
            ("a.b=d", false),
            ("a", false),
            ("a*", true),
            ("x*", false),
            ("*=c", true),
        ] {
            assert_eq!(has_label(&labels, wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn moments() {
        let now = Timestamp::from_unix(1_000_000_000).unwrap();
        for (text, expected) in [
            ("10m", Some(999_999_400)),
            ("1700000000", Some(1_700_000_000)),
            ("2001-09-09", Some(999_993_600)),
            ("2001-09-09T01", Some(999_997_200)),
            ("2001-09-09T01:46", Some(999_999_960)),
            ("2001-09-09T01:46:40", Some(1_000_000_000)),
            ("2001-09-09T01:46:40Z", Some(1_000_000_000)),
            ("2001-09-09T03:46:40+02:00", Some(1_000_000_000)),
            ("2001-09-08T23:46:40-02:00", Some(1_000_000_000)),
            ("2001-09-09T01:46:40.5", Some(1_000_000_000)),
            ("yesterday", None),
            ("", None),
        ] {
            let found = moment(text, &now).ok().map(|time| time.unix_seconds());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn whole_names() {
        for (text, expected) in [
            ("localhost/a:1", true),
            ("docker.io/library/a:1", true),
            ("a:1", false),
            ("localhost/a", false),
            ("localhost/a*:1", false),
        ] {
            assert_eq!(whole_name(text).is_some(), expected, "{text}");
        }
    }
}
