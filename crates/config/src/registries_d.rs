//! `registries.d`: where the signatures of images are that no registry keeps itself, per scope.
//!
//! Files are YAML. A scope is a full name, a repository, a namespace, a host, or `*.DOMAIN`, as in a trust policy.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use model::Reference;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::effective::{Effective, Shown};
use crate::nearest;
use crate::origin::{Origin, Place, Warning};
use crate::registries::Use;
use crate::roots::{Files, SearchRoots};

/// Largest file read, in bytes.
const MAX_SIZE: u64 = 1 << 20;
const TOP_KEYS: [&str; 2] = ["default-docker", "docker"];

/// Why `registries.d` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesDError {
    /// A file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is no YAML of this form.
    #[error("parsing {}: {place}: {message}", path(.place))]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A setting has the wrong type.
    #[error("{place}: `{key}` must be {expected}")]
    Type {
        /// Where.
        place: Place,
        /// The setting.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Two files say something about the same scope.
    #[error(
        "Error parsing signature storage configuration: {what} defined both in {} and {}",
        path(.first), path(.second)
    )]
    Twice {
        /// `"default-docker"`, or `"docker" namespace "SCOPE"`.
        what: String,
        /// The one file.
        first: Place,
        /// The other.
        second: Place,
    },
}

fn path(place: &Place) -> String {
    match place {
        Place::File { path, .. } => format!("{path:?}"),
        other => other.to_string(),
    }
}

/// What is said of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureSection {
    /// The URL below which signatures are read.
    pub lookaside: Option<Origin<String>>,
    /// The URL below which signatures are written, where it is another.
    pub lookaside_staging: Option<Origin<String>>,
    /// Whether signatures are kept beside images in the registry.
    pub use_sigstore_attachments: Option<Origin<bool>>,
}

/// What all files of `registries.d` come to.
#[derive(Clone, Debug, Default)]
pub struct RegistriesD {
    default: Option<(Place, SignatureSection)>,
    scopes: BTreeMap<String, (Place, SignatureSection)>,
    /// The directories that were looked into.
    pub dirs: Vec<PathBuf>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What has no effect.
    pub warnings: Vec<Warning>,
}

/// A section as it stands in a file.
type RawSection = BTreeMap<String, Spanned<Value>>;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawFile {
    default_docker: Option<RawSection>,
    docker: Option<BTreeMap<String, Option<RawSection>>>,
}

impl RegistriesD {
    /// Reads the usual directories, or only the one that the command line names.
    ///
    /// # Errors
    /// [`RegistriesDError`] with the file and the line, for anything but unknown keys.
    pub fn load(roots: &SearchRoots, named: Option<&Path>) -> Result<Self, RegistriesDError> {
        let files = match named {
            Some(dir) => Files::of_directory(dir, "yaml"),
            None => Files::of_directories(roots, "registries.d", "yaml"),
        };
        let mut all = Self {
            dirs: files.dirs,
            ..Self::default()
        };
        for path in files.paths {
            let text = read(&path).map_err(|source| RegistriesDError::Read {
                path: path.clone(),
                source,
            })?;
            all.merge(&text, &path)?;
        }
        Ok(all)
    }

    /// Takes the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`RegistriesD::load`].
    pub fn merge(&mut self, text: &str, path: &Path) -> Result<(), RegistriesDError> {
        self.files.push(path.to_path_buf());
        // A file of comments only is no mapping.
        let top: Option<BTreeMap<String, Spanned<Value>>> = parse(text, path)?;
        let Some(top) = top else {
            return Ok(());
        };
        for (key, value) in &top {
            if !TOP_KEYS.contains(&key.as_str()) {
                let place = place(path, value.referenced.line());
                self.unknown(key, place, &TOP_KEYS);
            }
        }
        let file: RawFile = parse(text, path)?;
        if let Some(raw) = file.default_docker {
            let here = place(path, line(&raw));
            let section = self.section(raw, path)?;
            if let Some((first, _)) = &self.default {
                return Err(RegistriesDError::Twice {
                    what: "\"default-docker\"".to_owned(),
                    first: first.clone(),
                    second: here,
                });
            }
            self.default = Some((here, section));
        }
        for (scope, raw) in file.docker.unwrap_or_default() {
            let raw = raw.unwrap_or_default();
            let here = place(path, line(&raw));
            let section = self.section(raw, path)?;
            if let Some((first, _)) = self.scopes.get(&scope) {
                return Err(RegistriesDError::Twice {
                    what: format!("\"docker\" namespace {scope:?}"),
                    first: first.clone(),
                    second: here,
                });
            }
            self.scopes.insert(scope, (here, section));
        }
        Ok(())
    }

    fn section(
        &mut self,
        raw: RawSection,
        path: &Path,
    ) -> Result<SignatureSection, RegistriesDError> {
        const KEYS: [&str; 5] = [
            "lookaside",
            "lookaside-staging",
            "sigstore",
            "sigstore-staging",
            "use-sigstore-attachments",
        ];
        let mut texts: BTreeMap<&'static str, Origin<String>> = BTreeMap::new();
        let mut section = SignatureSection::default();
        for (key, value) in raw {
            let place = place(path, value.referenced.line());
            let Some(key) = KEYS.into_iter().find(|known| *known == key) else {
                self.unknown(&key, place, &KEYS);
                continue;
            };
            match (key, value.value) {
                (_, Value::Null) => {}
                ("use-sigstore-attachments", Value::Bool(value)) => {
                    section.use_sigstore_attachments = Some(Origin { value, place });
                }
                ("use-sigstore-attachments", _) => {
                    return Err(RegistriesDError::Type {
                        place,
                        key,
                        expected: "true or false",
                    });
                }
                (_, Value::String(value)) => {
                    if !value.is_empty() {
                        texts.insert(key, Origin { value, place });
                    }
                }
                _ => {
                    return Err(RegistriesDError::Type {
                        place,
                        key,
                        expected: "a string",
                    });
                }
            }
        }
        // `sigstore` was the name before there was another thing of that name.
        let mut one_of = |key, before| texts.remove(key).or(texts.remove(before));
        section.lookaside = one_of("lookaside", "sigstore");
        section.lookaside_staging = one_of("lookaside-staging", "sigstore-staging");
        Ok(section)
    }

    fn unknown(&mut self, key: &str, place: Place, known: &[&str]) {
        let known = known.iter().map(ToString::to_string);
        self.warnings
            .push(nearest::unknown_key(key, key, place, known));
    }

    /// Returns the URL below which the signatures of an image are read (for [`Use::Pull`]) or written, where a file says
    /// so.
    #[must_use]
    pub fn lookaside(&self, reference: &Reference, purpose: Use) -> Option<&Origin<String>> {
        self.first(reference, |section| {
            let staging = match purpose {
                Use::Push => section.lookaside_staging.as_ref(),
                Use::Pull => None,
            };
            staging.or(section.lookaside.as_ref())
        })
    }

    /// Tells whether the signatures of an image are also kept beside it in the registry.
    #[must_use]
    pub fn uses_attachments(&self, reference: &Reference) -> bool {
        self.first(reference, |section| {
            section.use_sigstore_attachments.as_ref()
        })
        .is_some_and(|set| set.value)
    }

    /// The URL below which signatures are where no file says anything.
    #[must_use]
    pub fn default_lookaside(roots: &SearchRoots) -> String {
        let dir = match roots.is_user() {
            true => roots.data_home.join("containers/sigstore"),
            false => PathBuf::from("/var/lib/containers/sigstore"),
        };
        format!("file://{}", dir.display())
    }

    /// The most specific section that says something of a property.
    fn first<'a, T>(
        &'a self,
        reference: &Reference,
        property: impl Fn(&'a SignatureSection) -> Option<T>,
    ) -> Option<T> {
        let default = self.default.iter().map(|(_, section)| section);
        scopes(reference)
            .iter()
            .filter_map(|scope| self.scopes.get(scope))
            .map(|(_, section)| section)
            .chain(default)
            .find_map(property)
    }

    /// Every setting with its value and its origin.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        let mut all = Vec::new();
        let default = self
            .default
            .iter()
            .map(|(_, section)| ("default-docker".to_owned(), section));
        let scopes = self.scopes.iter();
        let scopes = scopes.map(|(scope, (_, section))| (format!("docker.{scope}"), section));
        for (name, section) in default.chain(scopes) {
            let texts = [
                ("lookaside", &section.lookaside),
                ("lookaside-staging", &section.lookaside_staging),
            ];
            for (key, set) in texts {
                let set = set.clone().map(|set| set.map(Shown::Text));
                all.extend(set.map(|set| Effective::new(format!("{name}.{key}"), set)));
            }
            let set = section.use_sigstore_attachments.clone();
            let set = set.map(|set| set.map(Shown::Bool));
            let name = format!("{name}.use-sigstore-attachments");
            all.extend(set.map(|set| Effective::new(name, set)));
        }
        all
    }
}

/// The scopes that an image is in, the most specific first.
fn scopes(reference: &Reference) -> Vec<String> {
    let mut scopes = vec![reference.to_string()];
    let mut name = reference.name();
    loop {
        scopes.push(name.clone());
        match name.rfind('/') {
            Some(end) => name.truncate(end),
            None => break,
        }
    }
    let mut domain = reference.domain();
    while let Some((_, parent)) = domain.split_once('.') {
        scopes.push(format!("*.{parent}"));
        domain = parent;
    }
    scopes
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, RegistriesDError> {
    serde_saphyr::from_str(text).map_err(|error| RegistriesDError::Syntax {
        place: place(path, error.location().map_or(0, |at| at.line())),
        message: error.without_snippet().to_string().replace('\n', ", "),
    })
}

fn place(path: &Path, line: u64) -> Place {
    Place::File {
        path: path.to_path_buf(),
        line: usize::try_from(line).unwrap_or(0).max(1),
    }
}

/// The first line of a section.
fn line(section: &RawSection) -> u64 {
    let lines = section.values().map(|value| value.referenced.line());
    lines.min().unwrap_or(0)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    io::Read::read_to_string(&mut io::Read::take(file, MAX_SIZE + 1), &mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(io::Error::other(format!("larger than {MAX_SIZE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::world;

    const FILE: &str = "# a comment\ndefault-docker:\n  lookaside: file:///default\n  use-sigstore-attachments: true\ndocker:\n  example.com:\n    sigstore: https://old.example.com/sig\n  example.com/a/b:\n    lookaside-staging: file:///staging\n  example.com/a/b/c:1:\n    lookaside: https://one.example.com\n    use-sigstore-attachments: false\n  '*.example.org':\n    lookaside: https://wild.example.org\n";

    #[test]
    fn each_property_has_its_own_most_specific_section() {
        let mut all = RegistriesD::default();
        all.merge(FILE, Path::new("f.yaml")).unwrap();
        let check = |name: &str, read: &str, write: &str, attachments: bool| {
            let reference = Reference::parse_normalized(name).unwrap();
            let url = |purpose| all.lookaside(&reference, purpose).map(|url| &*url.value);
            assert_eq!(url(Use::Pull), Some(read), "{name}");
            assert_eq!(url(Use::Push), Some(write), "{name}");
            assert_eq!(all.uses_attachments(&reference), attachments, "{name}");
        };
        check("docker.io/x", "file:///default", "file:///default", true);
        let old = "https://old.example.com/sig";
        check("example.com/x:1", old, old, true);
        check("example.com/a/b/x:1", old, "file:///staging", true);
        let one = "https://one.example.com";
        check("example.com/a/b/c:1", one, one, false);
        let wild = "https://wild.example.org";
        check("a.b.example.org/x", wild, wild, true);
        let nothing = Reference::parse_normalized("a/b").unwrap();
        assert_eq!(RegistriesD::default().lookaside(&nothing, Use::Pull), None);
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let check = |text: &str, expected: &str| {
            let error = RegistriesD::default()
                .merge(text, Path::new("f.yaml"))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            "default-docker:\n  lookaside: [x]\n",
            "f.yaml:2: `lookaside` must be a string",
        );
        check(
            "docker:\n  a:\n    use-sigstore-attachments: maybe\n",
            "f.yaml:3: `use-sigstore-attachments` must be true or false",
        );
        check("docker: [\n", "parsing \"f.yaml\": f.yaml:");
        check("docker: 7\n", "parsing \"f.yaml\": f.yaml:1: ");
        let mut all = RegistriesD::default();
        all.merge(FILE, Path::new("a.yaml")).unwrap();
        let twice = all.merge("docker:\n  example.com: {}\n", Path::new("b.yaml"));
        assert_eq!(
            twice.unwrap_err().to_string(),
            "Error parsing signature storage configuration: \"docker\" namespace \"example.com\" defined both in \"a.yaml\" and \"b.yaml\""
        );
        let twice = all.merge("default-docker: {}\n", Path::new("b.yaml"));
        assert_eq!(
            twice.unwrap_err().to_string(),
            "Error parsing signature storage configuration: \"default-docker\" defined both in \"a.yaml\" and \"b.yaml\""
        );
    }

    #[test]
    fn files_are_found_and_unknown_keys_told() {
        let world = world(
            0,
            &[
                ("etc/registries.d/default.yaml", "# nothing\n"),
                (
                    "usr/registries.d/default.yaml",
                    "default-docker:\n  lookaside: file:///hidden\n",
                ),
                (
                    "user/registries.d/a.yaml",
                    "dokcer:\n  x: {}\ndefault-docker:\n  look-aside: x\n",
                ),
                (
                    "named/z.yaml",
                    "default-docker:\n  lookaside: file:///named\n",
                ),
            ],
        );
        let all = RegistriesD::load(&world.roots, None).unwrap();
        assert_eq!(all.files.len(), 2);
        let warnings: Vec<String> = all
            .warnings
            .iter()
            .map(|one| world.relative(&one.to_string()))
            .collect();
        assert_eq!(
            warnings,
            [
                "user/registries.d/a.yaml:2: unknown setting `dokcer` is ignored; did you mean `docker`?",
                "user/registries.d/a.yaml:4: unknown setting `look-aside` is ignored; did you mean `lookaside`?",
            ]
        );
        let named = RegistriesD::load(&world.roots, Some(&world.path("named"))).unwrap();
        assert_eq!(
            world.relative(&named.effective()[0].place.to_string()),
            "named/z.yaml:2"
        );
    }
}
