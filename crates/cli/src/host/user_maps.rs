//! The users that exist for processes: what the flags about user namespaces say.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use builder::namespaces::{IdMapping, IdMappingOptions, NamespaceKind, NamespaceOptions};
use config::SubIdKind;
use runtime::Namespace;

use crate::args::namespaces::UserNamespaceArgs;
use crate::world::World;

/// Where hosts say which ids users may use.
const SUBUID: &str = "/etc/subuid";
/// Where hosts say which ids groups may use.
const SUBGID: &str = "/etc/subgid";

/// What `--userns` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Host,
    Private,
}

/// Checks the form of the maps, in which `from` is stricter than the others.
pub fn check_form(args: &UserNamespaceArgs) -> Result<()> {
    let is_triple = |word: &String| {
        let parts: Vec<&str> = word.split(':').collect();
        let numbers = parts.iter().all(|part| part.parse::<u32>().is_ok());
        parts.len().is_multiple_of(3) && numbers
    };
    for (flag, words) in [
        ("userns-uid-map", &args.userns_uid_map),
        ("userns-gid-map", &args.userns_gid_map),
    ] {
        if !words.iter().filter(|word| !word.is_empty()).all(is_triple) {
            let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            bail!(
                "initializing ID mappings: {flag} setting is malformed expected [\"uint32:uint32:uint32\"]: [{}]",
                words.join(" ")
            );
        }
    }
    Ok(())
}

/// Writes what the flags say into the options of a container and returns the maps.
pub fn choose(
    args: &UserNamespaceArgs,
    namespaces: &mut NamespaceOptions,
    world: &World,
) -> Result<IdMappingOptions> {
    if !args.userns_gid_map.is_empty() && args.userns_uid_map.is_empty() {
        bail!("option --userns-gid-map can not be used without --userns-uid-map");
    }
    let (mode, maps) = resolve(args, world).context("parsing ID mapping options")?;
    let choice = match mode {
        Mode::Host => Namespace::Host,
        Mode::Private => Namespace::Private,
    };
    namespaces.set(NamespaceKind::User, &choice);
    Ok(maps)
}

fn resolve(args: &UserNamespaceArgs, world: &World) -> Result<(Mode, IdMappingOptions)> {
    let (users, groups) = (&args.userns_uid_map_user, &args.userns_gid_map_group);
    let given = |name: &&String| !name.is_empty();
    let (users, groups) = (users.as_ref().filter(given), groups.as_ref().filter(given));
    let mut uids = named(users.or(groups), SubIdKind::Users)?;
    let mut gids = named(groups.or(users), SubIdKind::Groups)?;
    uids.extend(triples(&args.userns_uid_map)?);
    gids.extend(triples(&args.userns_gid_map)?);
    if gids.is_empty() {
        gids.clone_from(&uids);
    }
    let mode = match &args.userns {
        Some(word) => mode(word, world)?,
        None if uids.is_empty() => Mode::Host,
        None => Mode::Private,
    };
    if mode == Mode::Host && !uids.is_empty() {
        bail!("can not specify ID mappings while using host's user namespace");
    }
    let is_host = mode == Mode::Host;
    let maps = IdMappingOptions {
        host_uids: is_host,
        host_gids: is_host,
        uids,
        gids,
        ..IdMappingOptions::default()
    };
    Ok((mode, maps))
}

fn mode(word: &str, world: &World) -> Result<Mode> {
    match word {
        "" | "container" | "private" => Ok(Mode::Private),
        "host" => Ok(Mode::Host),
        word if word.starts_with("auto") => {
            check_automatic(word)?;
            bail!("--userns={word} is not supported yet")
        }
        path => {
            let path = path.strip_prefix("ns:").unwrap_or(path);
            let found = std::fs::metadata(world.cwd.join(path))
                .with_context(|| format!("faccessat {path}"))
                .context("checking user namespace")?;
            let own = std::fs::metadata("/proc/self/ns/user")?;
            if (found.dev(), found.ino()) == (own.dev(), own.ino()) {
                return Ok(Mode::Host);
            }
            bail!("joining the user namespace {path} is not supported yet")
        }
    }
}

/// Checks `auto[:NAME=VALUE,…]`.
fn check_automatic(word: &str) -> Result<()> {
    let options = match word.split_once(':') {
        None if word == "auto" => return Ok(()),
        Some(("auto", options)) => options,
        _ => bail!("wrong user namespace mode"),
    };
    for option in options.split(',') {
        let Some((name, _)) = option.split_once('=') else {
            bail!("invalid option specified: {option:?}");
        };
        if !["size", "uidmapping", "gidmapping"].contains(&name) {
            bail!("unknown option specified: {name:?}");
        }
    }
    Ok(())
}

/// The ids that the host has set aside for a name, one range behind the other.
fn named(name: Option<&String>, kind: SubIdKind) -> Result<Vec<IdMapping>> {
    let Some(name) = name else {
        return Ok(Vec::new());
    };
    let file = match kind {
        SubIdKind::Users => SUBUID,
        SubIdKind::Groups => SUBGID,
    };
    let number = name.parse().unwrap_or(u32::MAX);
    let mut next = 0_u32;
    let mut map = Vec::new();
    for range in config::load_subids(kind, Path::new(file), name, number)? {
        map.push(IdMapping {
            inside: next,
            outside: range.start,
            size: range.count,
        });
        next = next.saturating_add(range.count);
    }
    Ok(map)
}

/// Reads numbers by threes; whatever is between them divides them.
fn triples(words: &[String]) -> Result<Vec<IdMapping>> {
    let mut map = Vec::new();
    for word in words {
        let numbers = word.split(|letter: char| !letter.is_ascii_digit());
        let numbers: Vec<&str> = numbers.filter(|number| !number.is_empty()).collect();
        let (triples, []) = numbers.as_chunks::<3>() else {
            bail!("mapping {word:?} is not in the form containerid:hostid:size[,...]");
        };
        for [inside, outside, size] in triples {
            let number = |what: &str, text: &str| {
                let place = || format!("parsing {what} from mapping {word:?} as a number");
                text.parse().with_context(place)
            };
            map.push(IdMapping {
                inside: number(&format!("container ID {inside:?}"), inside)?,
                outside: number(&format!("host ID {outside:?}"), outside)?,
                size: number(&format!("{size:?}"), size)?,
            });
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn maps_are_read_by_threes() {
        let check = |text: &str, expected: Result<&[(u32, u32, u32)], &str>| {
            let found = triples(&words(text));
            let found = found.map(|map| {
                let plain = |range: &IdMapping| (range.inside, range.outside, range.size);
                map.iter().map(plain).collect::<Vec<_>>()
            });
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        };
        check("", Ok(&[]));
        check("0:100000:10", Ok(&[(0, 100_000, 10)]));
        check("0:1:2 2-7-1", Ok(&[(0, 1, 2), (2, 7, 1)]));
        check("0:1:2:3:4:5", Ok(&[(0, 1, 2), (3, 4, 5)]));
        let form = "is not in the form containerid:hostid:size[,...]";
        check("0:1", Err(&format!("mapping \"0:1\" {form}")));
        check(
            "0:1:99999999999",
            Err("parsing \"99999999999\" from mapping \"0:1:99999999999\" as a number"),
        );
    }

    #[test]
    fn words_of_the_automatic_mode() {
        for (word, expected) in [
            ("auto", None),
            ("auto:size=3000,uidmapping=0:1:1", None),
            ("autox", Some("wrong user namespace mode")),
            ("auto:size", Some("invalid option specified: \"size\"")),
            ("auto:foo=1", Some("unknown option specified: \"foo\"")),
        ] {
            let found = check_automatic(word).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected, "{word}");
        }
    }
}
