//! `-v SOURCE:TARGET[:OPTIONS]`: volumes of the host, checked as Buildah checks them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use builder::run::{Access, Ownership, UpperDirs, VolumeMount};

/// Options of which one at most may be given, and how an error names them.
const GROUPS: &[(&[&str], &str)] = &[
    (&["exec", "noexec"], "'noexec' or 'exec'"),
    (&["dev", "nodev"], "'nodev' or 'dev'"),
    (&["suid", "nosuid"], "'nosuid' or 'suid'"),
    (&["rw", "ro"], "'rw' or 'ro'"),
    (&["z", "Z", "O"], "'z', 'Z', or 'O'"),
    (
        &[
            "private",
            "rprivate",
            "slave",
            "rslave",
            "shared",
            "rshared",
            "unbindable",
            "runbindable",
        ],
        "'[r]shared', '[r]private', '[r]slave' or '[r]unbindable'",
    ),
    (&["bind", "rbind"], "'[r]bind'"),
    (&["U"], "'U'"),
    (&["copy", "nocopy"], "'copy' or 'nocopy'"),
];
/// Options for machines that share files with another one, without effect here.
const WITHOUT_EFFECT: &[&str] = &["cached", "delegated", "consistent"];

/// Reads one volume; `home` is the user's own folder, whose owner is never changed.
pub fn volume_mount(text: &str, home: Option<&str>) -> Result<VolumeMount> {
    let parts = split(text);
    let [source, target, rest @ ..] = parts.as_slice() else {
        bail!("incorrect volume format {text:?}, should be host-dir:ctr-dir[:option]");
    };
    if !source.starts_with('/') {
        bail!("invalid host path, must be an absolute path {source:?}");
    }
    std::fs::metadata(source).with_context(|| format!("faccessat {source}"))?;
    if !target.starts_with('/') {
        bail!("invalid container path {target:?}, must be an absolute path");
    }
    let mut mount = VolumeMount {
        source: PathBuf::from(source),
        target: PathBuf::from(target),
        access: Access::ReadWrite,
        ..VolumeMount::default()
    };
    let words = rest.first().map(String::as_str).unwrap_or_default();
    let words: Vec<&str> = words.split(',').filter(|word| !word.is_empty()).collect();
    check_groups(&words)?;
    let (mut upper, mut work) = (None, None);
    for word in words {
        if let Some(path) = word.strip_prefix("upperdir=") {
            upper = Some(PathBuf::from(path));
        } else if let Some(path) = word.strip_prefix("workdir=") {
            work = Some(PathBuf::from(path));
        } else {
            apply(word, &mut mount)?;
        }
    }
    if mount.access == Access::ThrowAway {
        mount.upper = match (upper, work) {
            (Some(upper), Some(work)) => Some(UpperDirs { upper, work }),
            (None, None) => None,
            _ => bail!("if specifying upperdir then workdir must be specified or vice versa"),
        };
    } else if mount.ownership == Ownership::OfUser && home.is_some_and(|home| same(home, source)) {
        bail!("chowning host path {source:?} is not allowed");
    }
    Ok(mount)
}

/// Checks that no two volumes have one place.
pub fn check_places<'a>(targets: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        if !seen.insert(target.components().collect::<PathBuf>()) {
            bail!("{}: duplicate mount destination", target.display());
        }
    }
    Ok(())
}

fn check_groups(words: &[&str]) -> Result<()> {
    for (group, names) in GROUPS {
        if words.iter().filter(|word| group.contains(word)).count() > 1 {
            let words = words.join(", ");
            bail!("invalid options {words:?}, can only specify 1 {names} option");
        }
    }
    Ok(())
}

fn apply(word: &str, mount: &mut VolumeMount) -> Result<()> {
    match word {
        // What is written to an overlay is dropped, whether it may be or not.
        "ro" if mount.access != Access::ThrowAway => mount.access = Access::ReadOnly,
        "O" => mount.access = Access::ThrowAway,
        "U" => mount.ownership = Ownership::OfUser,
        "nosuid" => mount.restrict.nosuid = true,
        "nodev" => mount.restrict.nodev = true,
        "noexec" => mount.restrict.noexec = true,
        "z" | "Z" if Path::new("/sys/fs/selinux/enforce").exists() => {
            bail!("volume option {word:?} is not supported yet")
        }
        "idmap" => bail!("volume option {word:?} is not supported yet"),
        _ if word.starts_with("idmap=") => bail!("volume option \"idmap\" is not supported yet"),
        _ if solve::mounts::is_propagation(word) => {
            mount.propagation = solve::mounts::propagation(word);
        }
        _ if WITHOUT_EFFECT.contains(&word)
            || GROUPS.iter().any(|(group, _)| group.contains(&word)) => {}
        _ => bail!("invalid option type {word:?}"),
    }
    Ok(())
}

/// The parts between colons; one behind a backslash belongs to a part. An empty last part is none.
fn split(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&':') => part.extend(letters.next()),
            ':' => parts.push(std::mem::take(&mut part)),
            _ => part.push(letter),
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn same(one: &str, other: &str) -> bool {
    Path::new(one) == Path::new(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let check = |text: &str, expected: &str| {
            let found = match volume_mount(text, Some("/var/lib/dpkg")) {
                Ok(mount) => format!(
                    "{} {:?} {:?} {:?}",
                    mount.target.display(),
                    mount.access,
                    mount.propagation,
                    mount.ownership
                ),
                Err(error) => crate::failure::in_go_words(&error),
            };
            assert_eq!(found, expected, "{text}");
        };
        check("/etc:/x", "/x ReadWrite Private Kept");
        check("/etc:/x:", "/x ReadWrite Private Kept");
        check("/etc:/x:ro:z", "/x ReadOnly Private Kept");
        check("/etc:/a\\:b", "/a:b ReadWrite Private Kept");
        check("/etc:/x:ro,nosuid,rslave", "/x ReadOnly Slave Kept");
        check("/etc:/x:shared,cached,nocopy", "/x ReadWrite Shared Kept");
        check("/etc:/x:O,ro", "/x ThrowAway Private Kept");
        check("/etc:/x:ro,O,U", "/x ThrowAway Private OfUser");
        check(
            "/etc:/x:O,upperdir=/a,workdir=/b",
            "/x ThrowAway Private Kept",
        );
        let format = "should be host-dir:ctr-dir[:option]";
        for text in ["/etc", "", ":"] {
            check(text, &format!("incorrect volume format {text:?}, {format}"));
        }
        check(":/x", "invalid host path, must be an absolute path \"\"");
        check(
            "etc:/x",
            "invalid host path, must be an absolute path \"etc\"",
        );
        check("/nosuch:/x", "faccessat /nosuch: no such file or directory");
        check(
            "/etc:x",
            "invalid container path \"x\", must be an absolute path",
        );
        check(
            "/etc:/x:ro,rw",
            "invalid options \"ro, rw\", can only specify 1 'rw' or 'ro' option",
        );
        check(
            "/etc:/x:O,z",
            "invalid options \"O, z\", can only specify 1 'z', 'Z', or 'O' option",
        );
        check(
            "/etc:/x:shared,slave",
            "invalid options \"shared, slave\", can only specify 1 \
             '[r]shared', '[r]private', '[r]slave' or '[r]unbindable' option",
        );
        check(
            "/etc:/x:U,U",
            "invalid options \"U, U\", can only specify 1 'U' option",
        );
        check("/etc:/x:noatime", "invalid option type \"noatime\"");
        check(
            "/etc:/x:idmap",
            "volume option \"idmap\" is not supported yet",
        );
        check(
            "/etc:/x:O,upperdir=/a",
            "if specifying upperdir then workdir must be specified or vice versa",
        );
        check(
            "/var/lib/dpkg:/x:U",
            "chowning host path \"/var/lib/dpkg\" is not allowed",
        );
    }

    #[test]
    fn one_place_has_one_volume() {
        let check = |targets: &[&str]| {
            let found = check_places(targets.iter().map(Path::new));
            found.err().map(|error| error.to_string())
        };
        assert_eq!(check(&["/a", "/b", "/a/b"]), None);
        let error = "/a/: duplicate mount destination".to_owned();
        assert_eq!(check(&["/a", "/a/"]), Some(error));
    }
}
