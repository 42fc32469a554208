//! What a process in a container may reach: system calls, privileges, devices of the host.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use runtime::seccomp::Profile;
use runtime::{Device, DeviceKind, Privileges, SeccompChoice};

use crate::world::World;

/// The most bytes of a profile of system calls.
const MAX_PROFILE: u64 = 4 << 20;

/// The most devices that the words of one flag may mean.
const MAX_DEVICES: usize = 4096;

/// What `--security-opt` says.
#[derive(Debug, Clone)]
pub struct Security {
    /// Which system calls are possible.
    pub seccomp: SeccompChoice,
    /// Whether set-user-id programs work.
    pub privileges: Privileges,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            seccomp: SeccompChoice::Default,
            privileges: Privileges::MayGain,
        }
    }
}

impl Security {
    /// Reads the words of the flags.
    pub fn parse(words: &[String], world: &World) -> Result<Self> {
        let mut security = Self::default();
        for word in words {
            if word == "no-new-privileges" {
                security.privileges = Privileges::Fixed;
                continue;
            }
            let Some((name, value)) = word.split_once('=') else {
                bail!("invalid --security-opt name=value pair: {word:?}");
            };
            match (name, value) {
                // There are no labels without SELinux, and no profiles without AppArmor.
                ("label", _) if !Path::new("/sys/fs/selinux/enforce").exists() => {}
                ("label", "disable") | ("apparmor", "unconfined") => {}
                ("seccomp", "unconfined") => security.seccomp = SeccompChoice::Unconfined,
                ("seccomp", path) => security.seccomp = profile(path, world)?,
                ("label" | "apparmor" | "mask" | "unmask", _) => {
                    bail!("--security-opt {word} is not supported yet")
                }
                _ => bail!("invalid --security-opt 2: {word:?}"),
            }
        }
        Ok(security)
    }
}

fn profile(path: &str, world: &World) -> Result<SeccompChoice> {
    let opening = || format!("opening seccomp profile failed: open {path}");
    let path = world.cwd.join(path);
    std::fs::metadata(&path).with_context(opening)?;
    let text = super::read_limited(&path, MAX_PROFILE)?;
    let profile = Profile::parse(&text).context("loading seccomp profile failed")?;
    Ok(SeccompChoice::Profile(Arc::new(profile)))
}

/// Finds the devices that words such as `SOURCE[:TARGET[:PERMISSIONS]]` mean; of a folder all that are in it.
///
/// Permissions are checked and otherwise without effect: nothing but the file's own mode limits a process.
pub fn devices(words: &[String]) -> Result<Vec<Device>> {
    let mut found = Vec::new();
    for word in words {
        add_devices(word, &mut found).with_context(|| format!("setting up device {word:?}"))?;
    }
    Ok(found)
}

fn add_devices(word: &str, found: &mut Vec<Device>) -> Result<()> {
    let parts: Vec<&str> = word.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] if target.starts_with('/') => (*source, *target, "rwm"),
        [source, permissions] => (*source, *source, *permissions),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => bail!("invalid device specification: {word}"),
    };
    let letters = permissions.chars().all(|letter| "rwm".contains(letter));
    if !letters || permissions.is_empty() {
        bail!("invalid device mode: {permissions}");
    }
    let info = || format!("getting info of source device {source}: stat {source}");
    let facts = std::fs::metadata(source).with_context(info)?;
    if !facts.is_dir() {
        found.push(device(Path::new(source), Path::new(target))?);
        return Ok(());
    }
    let mut ahead = vec![PathBuf::from(source)];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let kind = std::fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                ahead.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                let below = path.strip_prefix(source)?;
                found.push(device(&path, &Path::new(target).join(below))?);
            }
            if found.len() > MAX_DEVICES {
                bail!("more than {MAX_DEVICES} devices");
            }
        }
    }
    Ok(())
}

fn device(source: &Path, target: &Path) -> Result<Device> {
    let facts = std::fs::metadata(source)?;
    let kind = match facts.file_type() {
        kind if kind.is_char_device() => DeviceKind::Character,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => bail!("{} is not a device", source.display()),
    };
    let Ok(name) = target.strip_prefix("/dev") else {
        bail!(
            "the place {}, which is not below /dev, is not supported yet",
            target.display()
        );
    };
    Ok(Device {
        name: name.to_owned(),
        kind,
        number: (
            rustix::fs::major(facts.rdev()),
            rustix::fs::minor(facts.rdev()),
        ),
        mode: facts.mode() & 0o777,
        owner: (facts.uid(), facts.gid()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_words() {
        let check = |word: &str, expected: Option<(&str, (u32, u32))>| {
            let found = devices(&[word.to_owned()]).ok();
            let found = found.as_ref().map(|all| (&all[0].name, all[0].number));
            let expected = expected.map(|(name, number)| (PathBuf::from(name), number));
            let expected = expected.as_ref().map(|(name, number)| (name, *number));
            assert_eq!(found, expected, "{word}");
        };
        check("/dev/null", Some(("null", (1, 3))));
        check("/dev/null:/dev/a/b", Some(("a/b", (1, 3))));
        check("/dev/null:/dev/a:rw", Some(("a", (1, 3))));
        check("/dev/null:r", Some(("null", (1, 3))));
        check("/dev/null:q", None);
        check("/dev/null:/a", None);
        check("/dev/none-such", None);
        check("/etc/passwd", None);
    }
}
