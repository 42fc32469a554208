//! `storage.conf`: where the store is, which driver it uses, and with which options.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::document::{self, ConfigError, Document, Setting, Value};
use crate::effective::{Effective, Shown};
use crate::nearest;
use crate::origin::{Origin, Place, Warning};
use crate::roots::{Files, SearchRoots};

/// Settings whose name alone says that they belong to the flat format of old Podman.
const LEGACY_KEYS: [&str; 5] = [
    "runroot",
    "graphroot",
    "graphdrivername",
    "driver",
    "graphdriveroptions",
];

/// What the storage settings come to.
#[derive(Clone, Debug)]
pub struct StorageConf {
    /// The driver, if one is chosen.
    pub driver: Option<Origin<String>>,
    /// Drivers to try for a new store when none is chosen.
    pub driver_priority: Vec<Origin<String>>,
    /// Where layers, images and containers are.
    pub graph_root: Origin<PathBuf>,
    /// Where state that ends with a reboot is.
    pub run_root: Origin<PathBuf>,
    /// A second root for images, if set.
    pub image_store: Option<Origin<PathBuf>>,
    /// Whether containers are forgotten at reboot.
    pub transient_store: Origin<bool>,
    /// Roots of other stores to read images from.
    pub additional_image_stores: Vec<Origin<PathBuf>>,
    /// Layer services.
    pub additional_layer_stores: Vec<Origin<String>>,
    /// Options for the drivers, `DRIVER.NAME=VALUE`.
    pub driver_options: Vec<Origin<String>>,
    /// Whether containers' file systems must sync.
    pub disable_volatile: Option<Origin<bool>>,
    /// The user whose subordinate IDs automatic user namespaces take.
    pub auto_userns_user: Option<Origin<String>>,
    /// Smallest automatic user namespace.
    pub auto_userns_min_size: Option<Origin<u32>>,
    /// Largest automatic user namespace.
    pub auto_userns_max_size: Option<Origin<u32>>,
    /// How images are pulled.
    pub pull_options: BTreeMap<String, Origin<String>>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What has no effect.
    pub warnings: Vec<Warning>,
}

/// What kind of value a setting has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Path,
    Bool,
    Integer,
    Mask,
    Texts,
    /// Goes to the driver as it is: the driver, and the name.
    Option(&'static str),
}

/// Every known setting below `storage.`, in the order of their use. Generic options are
/// the overlay driver's unless its own table says otherwise.
const KNOWN: &[(&str, Kind)] = &[
    ("driver", Kind::Text),
    ("driver_priority", Kind::Texts),
    ("graphroot", Kind::Path),
    ("runroot", Kind::Path),
    ("rootless_storage_path", Kind::Path),
    ("imagestore", Kind::Path),
    ("transient_store", Kind::Bool),
    ("options.additionalimagestores", Kind::Texts),
    ("options.additionallayerstores", Kind::Texts),
    ("options.root-auto-userns-user", Kind::Text),
    ("options.auto-userns-min-size", Kind::Integer),
    ("options.auto-userns-max-size", Kind::Integer),
    ("options.disable-volatile", Kind::Bool),
    ("options.force_mask", Kind::Mask),
    ("options.size", Kind::Option("overlay")),
    ("options.mount_program", Kind::Option("overlay")),
    ("options.mountopt", Kind::Option("overlay")),
    ("options.ignore_chown_errors", Kind::Option("overlay")),
    ("options.skip_mount_home", Kind::Option("overlay")),
    ("options.use_composefs", Kind::Option("overlay")),
    ("options.overlay.mountopt", Kind::Option("overlay")),
    ("options.overlay.mount_program", Kind::Option("overlay")),
    ("options.overlay.size", Kind::Option("overlay")),
    ("options.overlay.inodes", Kind::Option("overlay")),
    ("options.overlay.force_mask", Kind::Option("overlay")),
    (
        "options.overlay.ignore_chown_errors",
        Kind::Option("overlay"),
    ),
    ("options.overlay.skip_mount_home", Kind::Option("overlay")),
    ("options.overlay.use_composefs", Kind::Option("overlay")),
    ("options.overlay.sync", Kind::Option("overlay")),
    ("options.vfs.ignore_chown_errors", Kind::Option("vfs")),
    ("options.vfs.sync", Kind::Option("vfs")),
    ("options.btrfs.min_space", Kind::Option("btrfs")),
    ("options.btrfs.size", Kind::Option("btrfs")),
    ("options.zfs.fsname", Kind::Option("zfs")),
    ("options.zfs.mountopt", Kind::Option("zfs")),
    ("options.zfs.size", Kind::Option("zfs")),
];

const PULL_OPTIONS: &str = "options.pull_options.";

/// The last word of all files on each setting.
#[derive(Default)]
struct Merged {
    texts: BTreeMap<&'static str, Origin<String>>,
    bools: BTreeMap<&'static str, Origin<bool>>,
    integers: BTreeMap<&'static str, Origin<u32>>,
    lists: BTreeMap<&'static str, (Vec<Origin<String>>, bool)>,
    options: BTreeMap<(&'static str, &'static str), Origin<String>>,
    /// Options outside of a driver's own table, which wins wherever it stands.
    generic: BTreeMap<(&'static str, &'static str), Origin<String>>,
    pull_options: BTreeMap<String, Origin<String>>,
    warnings: Vec<Warning>,
}

impl StorageConf {
    /// Finds, reads and merges the files and variables.
    ///
    /// # Errors
    /// [`ConfigError`] with the file and line, for anything but unknown keys.
    pub fn load(roots: &SearchRoots) -> Result<Self, ConfigError> {
        let files = Files::find(roots, "storage.conf");
        let mut merged = Merged::default();
        for path in &files.paths {
            let document = document::read(path)?;
            refuse_legacy(&document)?;
            let foreign = roots.is_user()
                && (path.starts_with(&roots.system) || path.starts_with(&roots.vendor));
            for setting in document.settings {
                merged.take(&setting, foreign)?;
            }
        }
        let mut conf = merged.finish(roots)?;
        conf.files = files.paths;
        Ok(conf)
    }

    /// Every setting with its value and its origin.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let mut all = Vec::new();
        let mut put = |name: &str, set: Option<Origin<Shown>>| {
            let set = set.unwrap_or_else(|| Origin::default_value(Shown::Unset));
            all.push(Effective::new(format!("storage.{name}"), set));
        };
        let path = |set: &Origin<PathBuf>| {
            let set = set.clone();
            Some(set.map(|path| Shown::Text(path.display().to_string())))
        };
        let text = |set: &Option<Origin<String>>| set.clone().map(|set| set.map(Shown::Text));
        let number = |set: &Option<Origin<u32>>| {
            let set = set.clone();
            set.map(|set| set.map(|number| Shown::Integer(i64::from(number))))
        };
        put("driver", text(&self.driver));
        put("driver_priority", list(&self.driver_priority));
        put("graphroot", path(&self.graph_root));
        put("runroot", path(&self.run_root));
        put("imagestore", self.image_store.as_ref().and_then(path));
        put(
            "transient_store",
            Some(self.transient_store.clone().map(Shown::Bool)),
        );
        let stores: Vec<Origin<String>> = self
            .additional_image_stores
            .iter()
            .map(|store| store.clone().map(|path| path.display().to_string()))
            .collect();
        put("options.additionalimagestores", list(&stores));
        put(
            "options.additionallayerstores",
            list(&self.additional_layer_stores),
        );
        put("options", list(&self.driver_options));
        let volatile = self.disable_volatile.clone();
        put(
            "options.disable-volatile",
            volatile.map(|set| set.map(Shown::Bool)),
        );
        put(
            "options.root-auto-userns-user",
            text(&self.auto_userns_user),
        );
        put(
            "options.auto-userns-min-size",
            number(&self.auto_userns_min_size),
        );
        put(
            "options.auto-userns-max-size",
            number(&self.auto_userns_max_size),
        );
        for (name, set) in &self.pull_options {
            let set = set.clone().map(Shown::Text);
            put(&format!("options.pull_options.{name}"), Some(set));
        }
        all
    }
}

/// A list that several files may have written: its origin is the last one's.
fn list(items: &[Origin<String>]) -> Option<Origin<Shown>> {
    let place = items
        .last()
        .map_or(Place::Default, |last| last.place.clone());
    let value = items.iter().map(|item| item.value.clone()).collect();
    Some(Origin {
        value: Shown::List(value),
        place,
    })
}

impl Merged {
    fn take(&mut self, setting: &Setting, foreign: bool) -> Result<(), ConfigError> {
        let Some(key) = setting.key.strip_prefix("storage.") else {
            self.unknown(setting);
            return Ok(());
        };
        if let Some(name) = key.strip_prefix(PULL_OPTIONS) {
            let text = text(setting)?;
            self.pull_options.insert(name.to_owned(), text);
            return Ok(());
        }
        let Some((name, kind)) = KNOWN.iter().find(|(known, _)| *known == key).copied() else {
            self.unknown(setting);
            return Ok(());
        };
        // The administrator's places are for root's store; a user has those of their own.
        if foreign && matches!(name, "graphroot" | "runroot") {
            return Ok(());
        }
        match kind {
            Kind::Text | Kind::Path => {
                self.texts.insert(name, text(setting)?);
            }
            Kind::Bool => {
                self.bools.insert(name, setting.boolean()?);
            }
            Kind::Integer => match setting.value.value {
                Value::Integer { value, .. } if u32::try_from(value).is_ok() => {
                    self.integers.insert(name, setting.with(value as u32));
                }
                _ => return Err(setting.must_be("a positive integer")),
            },
            Kind::Mask => match setting.value.value {
                Value::Integer { value, .. } => {
                    let mask = setting.with(format!("{value:o}"));
                    self.generic.insert(("overlay", "force_mask"), mask);
                }
                _ => return Err(setting.must_be("an integer such as 0o755")),
            },
            Kind::Texts => self.list(name, setting)?,
            Kind::Option(driver) => {
                let option = name.rsplit('.').next().unwrap_or(name);
                let generic = name.matches('.').count() == 1;
                let value = text(setting)?;
                let table = if generic {
                    &mut self.generic
                } else {
                    &mut self.options
                };
                table.insert((driver, option), value);
            }
        }
        Ok(())
    }

    fn list(&mut self, name: &'static str, setting: &Setting) -> Result<(), ConfigError> {
        let Value::List { items, append } = &setting.value.value else {
            return Err(setting.must_be("a list of strings"));
        };
        let (list, appends) = self.lists.entry(name).or_default();
        // The attribute stays in force for later files.
        *appends = append.unwrap_or(*appends);
        if !*appends {
            list.clear();
        }
        list.extend(items.iter().map(|item| Origin {
            value: item.clone(),
            place: setting.value.place.clone(),
        }));
        Ok(())
    }

    fn unknown(&mut self, setting: &Setting) {
        let known = KNOWN.iter().map(|(known, _)| format!("storage.{known}"));
        self.warnings.push(nearest::unknown(setting, known));
    }

    fn finish(mut self, roots: &SearchRoots) -> Result<StorageConf, ConfigError> {
        let path = |merged: &mut Self, key: &str| match merged.texts.remove(key) {
            Some(text) => expand(text, key, roots).map(Some),
            None => Ok(None),
        };
        let graph_root = path(&mut self, "graphroot")?;
        let rootless = path(&mut self, "rootless_storage_path")?.filter(|_| roots.is_user());
        let graph_root = graph_root
            .or(rootless)
            .unwrap_or_else(|| Origin::default_value(default_graph_root(roots)));
        let run_root = path(&mut self, "runroot")?
            .unwrap_or_else(|| Origin::default_value(default_run_root(roots)));
        let image_store = path(&mut self, "imagestore")?;
        if let Some(store) = &image_store
            && store.value == graph_root.value
        {
            return Err(ConfigError::Value {
                place: store.place.clone(),
                key: "imagestore".to_owned(),
                value: store.value.display().to_string(),
                reason: "it must differ from `graphroot`",
            });
        }
        let driver = self.driver(roots);
        let driver_options = match roots.variable("STORAGE_OPTS") {
            Some(options) => options
                .split(',')
                .map(str::trim)
                .filter(|option| !option.is_empty())
                .map(|option| Origin {
                    value: option.to_owned(),
                    place: Place::Variable("STORAGE_OPTS".to_owned()),
                })
                .collect(),
            None => std::mem::take(&mut self.generic)
                .into_iter()
                .chain(std::mem::take(&mut self.options))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .map(|((driver, name), text)| text.map(|value| format!("{driver}.{name}={value}")))
                .collect(),
        };
        let mut list = |key: &str| self.lists.remove(key).unwrap_or_default().0;
        Ok(StorageConf {
            driver,
            driver_priority: list("driver_priority"),
            graph_root,
            run_root,
            image_store,
            transient_store: self
                .bools
                .remove("transient_store")
                .unwrap_or_else(|| Origin::default_value(false)),
            additional_image_stores: list("options.additionalimagestores")
                .into_iter()
                .map(|store| store.map(PathBuf::from))
                .collect(),
            additional_layer_stores: list("options.additionallayerstores"),
            driver_options,
            disable_volatile: self.bools.remove("options.disable-volatile"),
            auto_userns_user: self.texts.remove("options.root-auto-userns-user"),
            auto_userns_min_size: self.integers.remove("options.auto-userns-min-size"),
            auto_userns_max_size: self.integers.remove("options.auto-userns-max-size"),
            pull_options: self.pull_options,
            files: Vec::new(),
            warnings: self.warnings,
        })
    }

    fn driver(&mut self, roots: &SearchRoots) -> Option<Origin<String>> {
        let chosen = match roots.variable("STORAGE_DRIVER") {
            Some(name) => Some(Origin {
                value: name.to_owned(),
                place: Place::Variable("STORAGE_DRIVER".to_owned()),
            }),
            None => self
                .texts
                .remove("driver")
                .filter(|driver| !driver.value.is_empty()),
        };
        chosen.map(|driver| {
            if driver.value == "overlay2" {
                self.warnings.push(Warning {
                    place: driver.place.clone(),
                    text: "driver `overlay2` is called `overlay`".to_owned(),
                });
                return driver.map(|_| "overlay".to_owned());
            }
            driver
        })
    }
}

fn text(setting: &Setting) -> Result<Origin<String>, ConfigError> {
    match &setting.value.value {
        Value::Bool(_) => Err(setting.must_be("a string (\"true\" or \"false\", in quotes)")),
        _ => setting.text(),
    }
}

/// Replaces `$NAME` and `${NAME}` in a path.
fn expand(
    text: Origin<String>,
    key: &str,
    roots: &SearchRoots,
) -> Result<Origin<PathBuf>, ConfigError> {
    let mut out = String::new();
    let mut rest = text.value.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some(split) => split,
            None => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        match (name, roots.variables.get(name)) {
            ("UID", _) => out.push_str(&roots.uid.to_string()),
            (_, Some(value)) => out.push_str(value),
            _ => {
                return Err(ConfigError::Variable {
                    place: text.place,
                    key: key.to_owned(),
                    variable: name.to_owned(),
                });
            }
        }
        rest = after;
    }
    out.push_str(rest);
    if !out.starts_with('/') {
        return Err(ConfigError::Value {
            place: text.place,
            key: key.to_owned(),
            value: out,
            reason: "it must be an absolute path",
        });
    }
    Ok(Origin {
        value: PathBuf::from(out),
        place: text.place,
    })
}

fn default_graph_root(roots: &SearchRoots) -> PathBuf {
    if roots.is_user() {
        roots.data_home.join("containers/storage")
    } else {
        PathBuf::from("/var/lib/containers/storage")
    }
}

fn default_run_root(roots: &SearchRoots) -> PathBuf {
    if !roots.is_user() {
        return PathBuf::from("/run/containers/storage");
    }
    roots.session_dir().join("containers")
}

/// Refuses a file in the flat format, which newer tools silently ignore: a user who had
/// chosen a driver there gets another one and a message that has nothing to do with it.
fn refuse_legacy(document: &Document) -> Result<(), ConfigError> {
    let plain = |key: &str| key.replace(['_', '-'], "");
    let legacy: Vec<&Setting> = document
        .settings
        .iter()
        .filter(|setting| LEGACY_KEYS.contains(&plain(&setting.key).as_str()))
        .collect();
    let Some(first) = legacy.first() else {
        return Ok(());
    };
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut storage = String::from("[storage]\n");
    let mut options = String::new();
    for setting in &legacy {
        match (plain(&setting.key).as_str(), &setting.value.value) {
            ("graphdrivername" | "driver", Value::Text(value)) => {
                storage.push_str(&format!("driver = {}\n", quoted(value)));
            }
            (key @ ("runroot" | "graphroot"), Value::Text(value)) => {
                storage.push_str(&format!("{key} = {}\n", quoted(value)));
            }
            ("graphdriveroptions", Value::List { items, .. }) => {
                for item in items {
                    if let Some((name, value)) = item.split_once('=') {
                        let name = name.replace("overlay2.", "overlay.");
                        let (table, name) = name.split_once('.').unwrap_or(("overlay", &name));
                        options.push_str(&format!(
                            "\n[storage.options.{table}]\n{name} = {}\n",
                            quoted(value)
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    Err(ConfigError::Legacy {
        place: first.value.place.clone(),
        key: first.spelled.clone(),
        translated: storage + &options,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::test_world::{World, world};

    fn load(world: &World) -> StorageConf {
        StorageConf::load(&world.roots).unwrap()
    }

    fn error(text: &str) -> String {
        let world = world(0, &[("etc/storage.conf", text)]);
        let error = StorageConf::load(&world.roots).unwrap_err().to_string();
        world.relative(&error)
    }

    #[test]
    fn without_files_there_are_defaults() {
        let conf = load(&world(0, &[]));
        assert_eq!(
            conf.graph_root.value,
            Path::new("/var/lib/containers/storage")
        );
        assert_eq!(conf.run_root.value, Path::new("/run/containers/storage"));
        assert_eq!(conf.graph_root.place, Place::Default);
        assert!(conf.driver.is_none());
        let mut user = world(1234, &[]);
        user.roots.runtime_dir = Some("/run".into());
        let conf = load(&user);
        assert_eq!(
            conf.graph_root.value,
            Path::new("/home/u/.local/share/containers/storage")
        );
        assert_eq!(conf.run_root.value, Path::new("/run/containers"));
    }

    #[test]
    fn one_main_file_and_drop_ins_by_name() {
        let world = world(
            0,
            &[
                (
                    "etc/storage.conf",
                    "[storage]\nDRIVER = \"vfs\"\nrunroot = \"/r\"\n",
                ),
                ("usr/storage.conf", "[storage]\ngraphroot = \"/never\"\n"),
                (
                    "usr/storage.conf.d/50-a.conf",
                    "[storage]\ndriver = \"hidden\"\n",
                ),
                (
                    "etc/storage.conf.d/50-a.conf",
                    "[storage]\ngraphroot = \"/a\"\n",
                ),
                (
                    "etc/storage.rootful.conf.d/60-b.conf",
                    "[storage]\ngraphroot = \"/b\"\n",
                ),
                (
                    "etc/storage.rootless.conf.d/70-c.conf",
                    "[storage]\ngraphroot = \"/c\"\n",
                ),
                (
                    "user/storage.conf.d/10-d.conf",
                    "[storage]\ngraphroot = \"/d\"\n",
                ),
            ],
        );
        let conf = load(&world);
        assert_eq!(conf.driver.unwrap().value, "vfs");
        assert_eq!(conf.graph_root.value, Path::new("/b"));
        assert_eq!(conf.run_root.value, Path::new("/r"));
        assert_eq!(
            conf.graph_root.place.to_string(),
            format!(
                "{}:2",
                world.path("etc/storage.rootful.conf.d/60-b.conf").display()
            )
        );
    }

    #[test]
    fn variables_override_files() {
        let mut world = world(
            0,
            &[
                ("etc/storage.conf", "[storage]\ndriver = \"zfs\"\n"),
                (
                    "only.conf",
                    "[storage]\ndriver = \"overlay2\"\ngraphroot = \"$HOME/${X}/$UID\"\n[storage.options.overlay]\nmountopt = \"nodev\"\n",
                ),
                ("last.conf", "[storage]\nrunroot = \"/last\"\n"),
            ],
        );
        let path = |name: &str| world.path(name).display().to_string();
        let variables = [
            ("CONTAINERS_STORAGE_CONF", path("only.conf")),
            ("CONTAINERS_STORAGE_CONF_OVERRIDE", path("last.conf")),
            ("HOME", "/root".to_owned()),
            ("X", "x".to_owned()),
        ];
        world.roots.variables = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let conf = load(&world);
        assert_eq!(conf.driver.as_ref().unwrap().value, "overlay");
        assert_eq!(conf.graph_root.value, Path::new("/root/x/0"));
        assert_eq!(conf.run_root.value, Path::new("/last"));
        assert_eq!(conf.driver_options[0].value, "overlay.mountopt=nodev");
        assert_eq!(conf.warnings.len(), 1);
        world
            .roots
            .variables
            .insert("STORAGE_DRIVER".into(), "vfs".into());
        world
            .roots
            .variables
            .insert("STORAGE_OPTS".into(), "vfs.sync=none, a=b".into());
        let conf = load(&world);
        assert_eq!(conf.driver.unwrap().place.to_string(), "$STORAGE_DRIVER");
        let options: Vec<_> = conf
            .driver_options
            .iter()
            .map(|one| one.value.as_str())
            .collect();
        assert_eq!(options, ["vfs.sync=none", "a=b"]);
        world
            .roots
            .variables
            .insert("CONTAINERS_STORAGE_CONF".into(), "/nonexistent".into());
        assert!(matches!(
            StorageConf::load(&world.roots),
            Err(ConfigError::Read { .. })
        ));
    }

    #[test]
    fn a_user_keeps_their_own_places() {
        let conf = load(&world(
            1000,
            &[(
                "etc/storage.conf",
                "[storage]\ngraphroot = \"/g\"\nrunroot = \"/r\"\nrootless_storage_path = \"/data/$UID\"\n",
            )],
        ));
        assert_eq!(conf.graph_root.value, Path::new("/data/1000"));
        assert_ne!(conf.run_root.value, Path::new("/r"));
        let conf = load(&world(
            1000,
            &[("user/storage.conf", "[storage]\ngraphroot = \"/g\"\n")],
        ));
        assert_eq!(conf.graph_root.value, Path::new("/g"));
    }

    #[test]
    fn lists_are_replaced_or_extended() {
        let conf = load(&world(
            0,
            &[
                (
                    "etc/storage.conf",
                    "[storage.options]\nadditionalimagestores = [\"/a\"]\nmountopt=\"generic\"\n[storage.options.overlay]\nmountopt=\"own\"\n",
                ),
                (
                    "etc/storage.conf.d/1.conf",
                    "[storage.options]\nadditionalimagestores = [\"/b\", {append=true}]\n",
                ),
            ],
        ));
        let stores: Vec<_> = conf
            .additional_image_stores
            .iter()
            .map(|one| one.value.clone())
            .collect();
        assert_eq!(stores, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(conf.driver_options[0].value, "overlay.mountopt=own");
    }

    #[test]
    fn unknown_keys_are_warned_about() {
        let conf = load(&world(
            0,
            &[(
                "etc/storage.conf",
                "[storage]\ngraphrot = \"/g\"\nsomething_else = 1\n[extra]\nx=1\n",
            )],
        ));
        let warnings: Vec<String> = conf.warnings.iter().map(|one| one.text.clone()).collect();
        assert_eq!(
            warnings,
            [
                "unknown setting `storage.graphrot` is ignored; did you mean `storage.graphroot`?",
                "unknown setting `storage.something_else` is ignored",
                "unknown setting `extra.x` is ignored",
            ]
        );
    }

    #[test]
    fn mistakes_name_file_and_line() {
        for (text, expected) in [
            (
                "[storage.options.overlay]\nuse_composefs = true\n",
                "etc/storage.conf:2: `storage.options.overlay.use_composefs` must be a string (\"true\" or \"false\", in quotes), not a boolean",
            ),
            (
                "[storage]\ngraphroot = \"a\"\n",
                "etc/storage.conf:2: `graphroot` cannot be \"a\": it must be an absolute path",
            ),
            (
                "[storage]\nrunroot = \"/$NOPE/x\"\n",
                "etc/storage.conf:2: `runroot` names the variable $NOPE, which is not set",
            ),
            (
                "[storage]\ngraphroot = \"/g\"\nimagestore = \"/g\"\n",
                "etc/storage.conf:3: `imagestore` cannot be \"/g\": it must differ from `graphroot`",
            ),
            (
                "[storage.options]\nforce_mask = \"shared\"\n",
                "etc/storage.conf:2: `storage.options.force_mask` must be an integer such as 0o755, not a string",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn the_flat_format_is_translated() {
        let text = "RunRoot = \"/run/user/1000\"\nGraphRoot = \"/home/u/.local/share/containers/storage\"\nGraphDriverName = \"vfs\"\nGraphDriverOptions = [\"overlay2.mountopt=nodev\"]\n";
        assert_eq!(
            error(text),
            "etc/storage.conf:1: \"RunRoot\" is a setting of the old flat format and is ignored by current tools; settings belong under a [storage] table; equivalent file:\n\n[storage]\nrunroot = \"/run/user/1000\"\ngraphroot = \"/home/u/.local/share/containers/storage\"\ndriver = \"vfs\"\n\n[storage.options.overlay]\nmountopt = \"nodev\"\n\ndelete the file to use the defaults, or replace it by the text above"
        );
    }
}
