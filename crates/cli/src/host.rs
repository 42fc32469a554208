//! From the command line and the host's settings to the values that libraries take: the store,
//! an image, a container, a name.

use std::sync::Arc;

use anyhow::Context as _;
use builder::container::{BaseImage, ContainerError, WorkingContainer};
use model::{ImageConfig, Platform, Reference};
use store::{ImageRecord, Store};
use transfer::{Found, LookupError, NameRules};

use crate::args::GlobalArgs;
use crate::args::access::PlatformArgs;
use crate::failure::Failure;
use crate::ui::{Level, Ui};
use crate::world::World;

pub mod account;
pub mod build_input;
pub mod configuration;
pub mod confine;
pub mod conversation;
pub mod copying;
pub mod downloads;
pub mod encryption;
pub mod family;
pub mod image_change;
pub mod images;
pub mod interrupt;
pub mod lists;
pub mod members;
pub mod mount_sources;
pub mod namespace;
pub mod namespace_options;
pub mod networks;
pub mod preprocess;
pub mod process;
pub mod prompt;
pub mod pulling;
pub mod registries;
pub mod remote;
pub mod remote_cache;
pub mod resources;
pub mod sbom;
pub mod settings;
pub mod short_names;
pub mod signing;
pub mod systemd;
pub mod terminal;
pub mod user_maps;
pub mod volumes;

/// Opens the store for reading; nothing is created, locked for writing or mounted.
pub fn open_store(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<Store, Failure> {
    let options = settings::store_options(global, world, ui)?;
    let chosen_by = options.driver.chosen_by.clone();
    Store::open(options).map_err(|error| store_failure(error, &chosen_by))
}

/// Opens the store for a command that changes it, and removes what a crash has left there.
pub fn open_store_to_write(global: &GlobalArgs, world: &World, ui: &Ui) -> Result<Store, Failure> {
    let store = open_store(global, world, ui)?;
    let reaped = store.reap()?;
    if reaped != store::Reaped::default() {
        ui.log(
            Level::Info,
            &format!("removed what an interrupted command left: {reaped:?}"),
        );
    }
    Ok(store)
}

fn store_failure(error: store::StoreError, chosen_by: &str) -> Failure {
    let failure = Failure::from(error);
    if chosen_by.is_empty() || chosen_by == "default" {
        return failure;
    }
    failure.hint(format!("the storage driver was chosen by {chosen_by}"))
}

/// Finds an image of the store by what a user types; of a manifest list the one for this machine.
pub fn find_image(
    store: &Store,
    text: &str,
    rules: &NameRules,
) -> Result<Arc<ImageRecord>, Failure> {
    match transfer::lookup(store, text, rules, None) {
        Ok(found) => Ok(found.image),
        Err(error) => Err(not_found(error)),
    }
}

/// Finds an image or manifest list of the store by what a user types.
pub fn find_record(store: &Store, text: &str, rules: &NameRules) -> Result<Found, Failure> {
    transfer::lookup_image(&*store.images()?, text, rules).map_err(not_found)
}

/// Says shortly what is not there, as scripts expect it, and below what was looked for.
fn not_found(error: LookupError) -> Failure {
    match error {
        LookupError::NotFound { wanted, source } => {
            let failure = Failure::from(anyhow::anyhow!("{wanted}: image not known"));
            match source.0.as_slice() {
                [] => failure,
                [one] if *one == wanted => failure,
                tried => failure.hint(format!("looked for {}", tried.join(", "))),
            }
        }
        other => other.into(),
    }
}

/// Loads an image of the store to be inspected.
pub fn base_image(store: &Store, text: &str, rules: &NameRules) -> Result<BaseImage, Failure> {
    BaseImage::lookup(store, text, rules, None).map_err(|error| match error {
        ContainerError::Lookup(error) => not_found(error),
        other => other.into(),
    })
}

/// The parsed configuration of an image.
pub fn image_config(store: &Store, image: &ImageRecord) -> Result<ImageConfig, Failure> {
    let bytes = store.image_config(&image.id)?;
    Ok(ImageConfig::parse(&bytes).with_context(|| format!("image {}", image.id))?)
}

/// How many bytes an image takes: its layers unpacked, its manifests and configuration.
pub fn image_size(store: &Store, image: &ImageRecord) -> Result<u64, Failure> {
    let items: i64 = image.items.sizes.values().sum();
    let mut bytes = u64::try_from(items).unwrap_or(0);
    if let Some(top) = &image.layer {
        for layer in store.chain(top)? {
            bytes += layer
                .diff_size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0);
        }
    }
    Ok(bytes)
}

/// Opens a working container by name, identifier, or the beginning of one.
pub fn open_container(store: &Store, text: &str) -> Result<WorkingContainer, Failure> {
    Ok(WorkingContainer::open(store, text)?)
}

/// Normalises a name for an image that is made here: short names get `localhost/`, and a tag.
pub fn new_name(text: &str) -> Result<String, Failure> {
    let reference =
        Reference::parse_local(text).with_context(|| format!("normalizing name {text:?}"))?;
    if reference.digest().is_some() {
        return Err(anyhow::anyhow!("{text}: tag by digest not supported").into());
    }
    Ok(reference.with_default_tag().to_string())
}

/// What this process may do with the members of an archive.
pub fn archive_privilege() -> archive::Privilege {
    match settings::privilege() {
        store::Privilege::Root => archive::Privilege::Full,
        store::Privilege::Rootless => archive::Privilege::Rootless,
    }
}

/// Splits `NAME=VALUE` words.
pub fn pairs(words: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |word: &String| {
        let (name, value) = word
            .split_once('=')
            .with_context(|| format!("{word:?} is not of the form NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    words.iter().map(pair).collect()
}

/// The platform that flags ask for: a whole one, or this machine's with parts replaced.
pub fn platform(
    whole: Option<&str>,
    [os, architecture, variant]: [&Option<String>; 3],
) -> anyhow::Result<Option<Platform>> {
    let parts = [os, architecture, variant]
        .iter()
        .any(|part| part.is_some());
    match (whole, parts) {
        (None, false) => Ok(None),
        (Some(_), true) => {
            anyhow::bail!("invalid --platform may not be used with --os, --arch, or --variant")
        }
        (Some(whole), false) => Ok(Some(Platform::parse(whole)?)),
        (None, true) => {
            let host = Platform::host();
            let os = os.as_deref().unwrap_or(&host.os);
            let architecture = architecture.as_deref().unwrap_or(&host.architecture);
            Ok(Some(
                Platform {
                    variant: variant.clone(),
                    ..Platform::new(os, architecture)
                }
                .normalized(),
            ))
        }
    }
}

/// The platform that flags ask for; of several the first is taken.
pub fn chosen_platform(args: &PlatformArgs, ui: &Ui) -> anyhow::Result<Option<Platform>> {
    let whole = args.platform.first().map(String::as_str);
    let chosen = platform(whole, [&args.os, &args.arch, &args.variant])?;
    if let (Some(chosen), [_, rest @ ..]) = (&chosen, args.platform.as_slice())
        && !rest.is_empty()
    {
        let in_go = |platform: &Platform| {
            format!(
                "{{OS:{} Arch:{} Variant:{}}}",
                platform.os,
                platform.architecture,
                platform.variant.as_deref().unwrap_or_default()
            )
        };
        let parsed = rest.iter().map(|text| Platform::parse(text));
        let ignored = parsed
            .map(|platform| Ok(in_go(&platform?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        ui.warn(&format!(
            "ignoring platforms other than {}: [{}]",
            in_go(chosen),
            ignored.join(" ")
        ));
    }
    Ok(chosen)
}

/// Where cache mounts of the user lie.
pub fn cache_mounts(world: &World) -> std::path::PathBuf {
    world
        .big_temporary()
        .join(format!("buildah-cache-{}", world.uid))
}

/// Reads a file that a flag names, up to a size in bytes.
pub fn read_limited(path: &std::path::Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > limit {
        anyhow::bail!("{} is larger than {limit} bytes", path.display());
    }
    Ok(bytes)
}

/// Writes a small file that a flag names.
pub fn write_file(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    Ok(std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?)
}

/// Matches a shell pattern: `*` any run, `?` one character, `[…]` a class.
pub fn shell_match(pattern: &str, text: &str) -> bool {
    fn from(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|at| from(rest, &text[at..])),
            Some(('?', rest)) => text.split_first().is_some_and(|(_, text)| from(rest, text)),
            Some(('[', rest)) => class(rest, text),
            Some((c, rest)) => text
                .split_first()
                .is_some_and(|(first, text)| first == c && from(rest, text)),
        }
    }
    fn class(pattern: &[char], text: &[char]) -> bool {
        let Some(end) = pattern
            .iter()
            .skip(1)
            .position(|c| *c == ']')
            .map(|at| at + 1)
        else {
            return false;
        };
        let Some((first, text)) = text.split_first() else {
            return false;
        };
        let (negated, members) = match pattern[..end].split_first() {
            Some(('^' | '!', rest)) => (true, rest),
            _ => (false, &pattern[..end]),
        };
        let mut found = false;
        let mut at = 0;
        while at < members.len() {
            if members.get(at + 1) == Some(&'-') && at + 2 < members.len() {
                found |= (members[at]..=members[at + 2]).contains(first);
                at += 3;
            } else {
                found |= members[at] == *first;
                at += 1;
            }
        }
        found != negated && from(&pattern[end + 1..], text)
    }
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    from(&pattern, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_patterns() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a?c", "abc", true),
            ("a[b-d]c", "acc", true),
            ("a[^b]c", "abc", false),
            ("*", "", true),
            ("a*", "b", false),
            ("[", "[", false),
        ] {
            assert_eq!(shell_match(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn names_of_new_images() {
        for (text, expected) in [
            ("x", Some("localhost/x:latest")),
            ("a/x:1", Some("localhost/a/x:1")),
            ("docker.io/x", Some("docker.io/library/x:latest")),
            ("Bad", None),
        ] {
            assert_eq!(new_name(text).ok().as_deref(), expected, "{text}");
        }
    }
}
