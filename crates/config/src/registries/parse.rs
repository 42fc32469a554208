//! One `registries.conf` file, read and checked.

use std::collections::BTreeMap;

use super::error::{AliasFault, RegistriesFault};
use super::{Mirror, MirrorUsage, Registry, ShortNameMode};
use crate::alias::{Alias, alias_target, check_short_name};
use crate::document::{Document, Setting, Table};
use crate::nearest;
use crate::origin::{Origin, Place, Warning};

const KNOWN: [&str; 6] = [
    "unqualified-search-registries",
    "short-name-mode",
    "credential-helpers",
    "additional-layer-store-auth-helper",
    "registry",
    "aliases",
];
const KNOWN_OF_REGISTRY: [&str; 6] = [
    "prefix",
    "location",
    "insecure",
    "blocked",
    "mirror-by-digest-only",
    "mirror",
];
const KNOWN_OF_MIRROR: [&str; 3] = ["location", "insecure", "pull-from-mirror"];
const ALIASES: &str = "aliases.";

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) search: Option<Origin<Vec<String>>>,
    pub(super) short_name_mode: Option<Origin<ShortNameMode>>,
    pub(super) credential_helpers: Option<Origin<Vec<String>>>,
    pub(super) layer_store_helper: Option<Origin<String>>,
    pub(super) aliases: BTreeMap<String, Alias>,
    pub(super) registries: Vec<Registry>,
    pub(super) warnings: Vec<Warning>,
}

impl Layer {
    pub(super) fn parse(document: &Document) -> Result<Self, RegistriesFault> {
        let mut layer = Self::default();
        let mut named = Vec::new();
        for setting in &document.settings {
            match setting.key.as_str() {
                "unqualified-search-registries" => layer.search = Some(hosts(setting)?),
                "short-name-mode" => layer.short_name_mode = short_name_mode(setting)?,
                "credential-helpers" => layer.credential_helpers = Some(setting.texts()?),
                "additional-layer-store-auth-helper" => {
                    layer.layer_store_helper =
                        Some(setting.text()?).filter(|helper| !helper.value.is_empty());
                }
                "registry" => {
                    for table in setting.tables()? {
                        let registry = registry(table, &mut layer.warnings)?;
                        layer.registries.push(registry);
                    }
                }
                key if is_version_1(key) => {
                    return Err(RegistriesFault::Version1 {
                        place: setting.value.place.clone(),
                    });
                }
                key if key.starts_with(ALIASES) => named.push(setting),
                _ => {
                    let known = KNOWN.iter().map(ToString::to_string);
                    layer.warnings.push(nearest::unknown(setting, known));
                }
            }
        }
        refuse_conflicts(&layer.registries)?;
        layer.aliases = aliases(named.into_iter())?;
        // Of equal prefixes in one file the first counts, in all files together the last.
        let mut seen = std::collections::BTreeSet::new();
        layer
            .registries
            .retain(|registry| seen.insert(registry.prefix.value.clone()));
        Ok(layer)
    }
}

/// Tells whether a key is of the format that listed hosts per property.
fn is_version_1(key: &str) -> bool {
    ["search", "insecure", "block"]
        .iter()
        .any(|table| key == format!("registries.{table}.registries"))
}

fn hosts(setting: &Setting) -> Result<Origin<Vec<String>>, RegistriesFault> {
    let list = setting.texts()?;
    let hosts: Result<Vec<String>, _> = list
        .value
        .iter()
        .map(|host| location(host, &list.place))
        .collect();
    Ok(setting.with(hosts?))
}

fn short_name_mode(setting: &Setting) -> Result<Option<Origin<ShortNameMode>>, RegistriesFault> {
    let text = setting.text()?;
    let mode = match text.value.as_str() {
        "" => return Ok(None),
        "enforcing" => ShortNameMode::Enforcing,
        "permissive" => ShortNameMode::Permissive,
        "disabled" => ShortNameMode::Disabled,
        _ => {
            return Err(RegistriesFault::ShortNameMode {
                place: text.place,
                value: text.value,
            });
        }
    };
    Ok(Some(setting.with(mode)))
}

/// Reads the aliases among the settings of a file; all that are wrong are named at once.
pub(crate) fn aliases<'a>(
    settings: impl Iterator<Item = &'a Setting>,
) -> Result<BTreeMap<String, Alias>, RegistriesFault> {
    let mut aliases = BTreeMap::new();
    let mut faults = Vec::new();
    for setting in settings {
        let Some(name) = setting.spelled.get(ALIASES.len()..) else {
            continue;
        };
        let target = setting.text()?;
        let mut check = |checked: Result<_, _>| match checked {
            Ok(value) => Some(value),
            Err(problem) => {
                let place = setting.value.place.clone();
                faults.push(AliasFault { place, problem });
                None
            }
        };
        check(check_short_name(name).map(|()| None));
        let target = match target.value.as_str() {
            "" => Some(None),
            text => check(alias_target(text).map(Some)),
        };
        if let Some(target) = target {
            aliases.insert(name.to_owned(), setting.with(target));
        }
    }
    if faults.is_empty() {
        Ok(aliases)
    } else {
        Err(RegistriesFault::Aliases { faults })
    }
}

/// Cleans the beginning of a name.
fn location(text: &str, place: &Place) -> Result<String, RegistriesFault> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.starts_with("http://") || trimmed.starts_with("https://") {
        return Err(RegistriesFault::Scheme {
            place: place.clone(),
            location: text.to_owned(),
        });
    }
    Ok(trimmed.to_owned())
}

/// Reads a setting that is the beginning of a name.
fn located(setting: &Setting) -> Result<Option<Origin<String>>, RegistriesFault> {
    let text = setting.text()?;
    let location = location(&text.value, &text.place)?;
    Ok(Some(setting.with(location)).filter(|set| !set.value.is_empty()))
}

fn registry(table: &Table, warnings: &mut Vec<Warning>) -> Result<Registry, RegistriesFault> {
    let mut prefix = None;
    let mut place = None;
    let mut insecure = None;
    let mut blocked = None;
    let mut by_digest = None;
    let mut mirrors = Vec::new();
    let mut misplaced = None;
    for setting in &table.settings {
        match setting.key.as_str() {
            "prefix" => prefix = located(setting)?,
            "location" => place = located(setting)?,
            "insecure" => insecure = Some(setting.boolean()?),
            "blocked" => blocked = Some(setting.boolean()?),
            "mirror-by-digest-only" => by_digest = Some(setting.boolean()?),
            "mirror" => {
                for table in setting.tables()? {
                    mirrors.push(mirror(table, warnings)?);
                }
            }
            "pull-from-mirror" => {
                misplaced = Some(setting.text()?).filter(|text| !text.value.is_empty());
            }
            _ => {
                let known = KNOWN_OF_REGISTRY.iter().map(ToString::to_string);
                warnings.push(nearest::unknown(setting, known));
            }
        }
    }
    let (prefix, location) = match (prefix, place) {
        (None, None) => {
            return Err(RegistriesFault::Nowhere {
                place: table.place.clone(),
            });
        }
        (None, Some(location)) => (location.clone(), location),
        (Some(prefix), Some(location)) => (prefix, location),
        (Some(prefix), None) if prefix.value.starts_with("*.") => {
            (prefix, Origin::default_value(String::new()))
        }
        (Some(prefix), None) => {
            return Err(RegistriesFault::NoLocation {
                place: prefix.place,
            });
        }
    };
    if let Some(misplaced) = misplaced {
        return Err(RegistriesFault::NoMirror {
            place: misplaced.place,
            prefix: prefix.value,
        });
    }
    check_wildcard(&prefix)?;
    let registry = Registry {
        prefix,
        location,
        insecure: insecure.unwrap_or_else(|| Origin::default_value(false)),
        blocked: blocked.unwrap_or_else(|| Origin::default_value(false)),
        mirror_by_digest_only: by_digest.unwrap_or_else(|| Origin::default_value(false)),
        mirrors,
    };
    check_mirror_usages(&registry)?;
    Ok(registry)
}

/// A wildcard stands for the first labels of a host, and what follows is a host without a port.
fn check_wildcard(prefix: &Origin<String>) -> Result<(), RegistriesFault> {
    let good = match prefix.value.strip_prefix("*.") {
        Some(domain) => !domain.is_empty() && !domain.contains(['/', '@', ':', '*']),
        None => !prefix.value.contains('*'),
    };
    if good {
        return Ok(());
    }
    Err(RegistriesFault::Wildcard {
        place: prefix.place.clone(),
        prefix: prefix.value.clone(),
    })
}

fn check_mirror_usages(registry: &Registry) -> Result<(), RegistriesFault> {
    let set = |mirror: &&Mirror| mirror.usage.place != Place::Default;
    match registry.mirrors.iter().find(set) {
        Some(mirror) if registry.mirror_by_digest_only.value => {
            Err(RegistriesFault::MirrorUsages {
                place: mirror.usage.place.clone(),
                prefix: registry.prefix.value.clone(),
                mirror: mirror.location.value.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn mirror(table: &Table, warnings: &mut Vec<Warning>) -> Result<Mirror, RegistriesFault> {
    let mut place = None;
    let mut insecure = None;
    let mut usage: Option<Origin<String>> = None;
    for setting in &table.settings {
        match setting.key.as_str() {
            "location" => place = located(setting)?,
            "insecure" => insecure = Some(setting.boolean()?),
            "pull-from-mirror" => {
                usage = Some(setting.text()?).filter(|text| !text.value.is_empty());
            }
            _ => {
                let known = KNOWN_OF_MIRROR.iter().map(ToString::to_string);
                warnings.push(nearest::unknown(setting, known));
            }
        }
    }
    let location = place.ok_or_else(|| RegistriesFault::MirrorNowhere {
        place: table.place.clone(),
    })?;
    let usage = match usage {
        None => Origin::default_value(MirrorUsage::All),
        Some(word) => {
            let usage = [
                MirrorUsage::All,
                MirrorUsage::DigestOnly,
                MirrorUsage::TagOnly,
            ]
            .into_iter()
            .find(|usage| usage.as_str() == word.value);
            let Some(usage) = usage else {
                return Err(RegistriesFault::MirrorUsage {
                    place: word.place,
                    value: word.value,
                    mirror: location.value,
                });
            };
            word.map(|_| usage)
        }
    };
    Ok(Mirror {
        location,
        insecure: insecure.unwrap_or_else(|| Origin::default_value(false)),
        usage,
    })
}

/// Refuses two tables of one file that lead to the same place with different rights.
fn refuse_conflicts(registries: &[Registry]) -> Result<(), RegistriesFault> {
    let mut by_location: BTreeMap<&str, &Registry> = BTreeMap::new();
    for registry in registries {
        let location = match registry.location.value.as_str() {
            "" => &registry.prefix.value,
            location => location,
        };
        let Some(other) = by_location.get(location) else {
            by_location.insert(location, registry);
            continue;
        };
        let answers = [
            ("insecure", &other.insecure, &registry.insecure),
            ("blocked", &other.blocked, &registry.blocked),
        ];
        for (setting, first, second) in answers {
            if first.value != second.value {
                let place = |answer: &Origin<bool>, table: &Registry| match &answer.place {
                    Place::Default => table.prefix.place.clone(),
                    place => place.clone(),
                };
                return Err(RegistriesFault::Conflict {
                    location: location.to_owned(),
                    setting,
                    first: place(first, other),
                    second: place(second, registry),
                });
            }
        }
    }
    Ok(())
}
