//! A TOML file as a flat list of settings, each with its line.
//!
//! Keys are matched without regard to case, as the Go tools do. A list may end with the
//! table `{append=true}`, which says that it extends what was read before. The tables of an
//! array (`[[registry]]`) are one setting whose value is a list of such flat lists.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::origin::{Origin, Place};

/// Largest configuration file read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read `{path}`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A value has the wrong type.
    #[error("{place}: `{key}` must be {expected}, not {found}")]
    Type {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value has the right type but no meaning.
    #[error("{place}: `{key}` cannot be \"{value}\": {reason}")]
    Value {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// A path names a variable that is not set.
    #[error("{place}: `{key}` names the variable ${variable}, which is not set")]
    Variable {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// The variable.
        variable: String,
    },
    /// A file in the flat format of Podman 1.0 and older.
    #[error(
        "{place}: \"{key}\" is a setting of the old flat format and is ignored by current tools; settings belong under a [storage] table; equivalent file:\n\n{translated}\ndelete the file to use the defaults, or replace it by the text above"
    )]
    Legacy {
        /// Where.
        place: Place,
        /// The first such setting.
        key: String,
        /// The same settings in the present format.
        translated: String,
    },
}

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Integer {
        value: i64,
        octal: bool,
    },
    Bool(bool),
    List {
        items: Vec<String>,
        append: Option<bool>,
    },
    Tables(Vec<Table>),
    Other(&'static str),
}

/// One table of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) place: Place,
    pub(crate) settings: Vec<Setting>,
}

impl Value {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer { .. } => "an integer",
            Self::Bool(_) => "a boolean",
            Self::List { append: None, .. } => "a list",
            Self::List { .. } => "a list that ends with a table",
            Self::Tables(_) => "a list of tables",
            Self::Other(name) => name,
        }
    }
}

/// One setting: where it is in the document, as it is spelled there and in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) spelled: String,
    pub(crate) value: Origin<Value>,
}

impl Setting {
    /// Gives `value` the origin of this setting.
    pub(crate) fn with<T>(&self, value: T) -> Origin<T> {
        Origin {
            value,
            place: self.value.place.clone(),
        }
    }

    /// The error that the value is not what it must be.
    pub(crate) fn must_be(&self, expected: &'static str) -> ConfigError {
        ConfigError::Type {
            place: self.value.place.clone(),
            key: self.spelled.clone(),
            expected,
            found: self.value.value.type_name(),
        }
    }

    pub(crate) fn text(&self) -> Result<Origin<String>, ConfigError> {
        match &self.value.value {
            Value::Text(text) => Ok(self.with(text.clone())),
            _ => Err(self.must_be("a string")),
        }
    }

    pub(crate) fn boolean(&self) -> Result<Origin<bool>, ConfigError> {
        match self.value.value {
            Value::Bool(value) => Ok(self.with(value)),
            _ => Err(self.must_be("true or false")),
        }
    }

    /// A list that replaces what was read before.
    pub(crate) fn texts(&self) -> Result<Origin<Vec<String>>, ConfigError> {
        match &self.value.value {
            Value::List {
                items,
                append: None,
            } => Ok(self.with(items.clone())),
            _ => Err(self.must_be("a list of strings")),
        }
    }

    pub(crate) fn tables(&self) -> Result<&[Table], ConfigError> {
        match &self.value.value {
            Value::Tables(tables) => Ok(tables),
            Value::List {
                items,
                append: None,
            } if items.is_empty() => Ok(&[]),
            _ => Err(self.must_be("a list of tables")),
        }
    }
}

/// The settings of one file, in the order of their lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    pub(crate) settings: Vec<Setting>,
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Document, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_SIZE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(failed(io::Error::other(format!(
            "larger than {MAX_SIZE} bytes"
        ))));
    }
    parse(&text, path)
}

/// Parses the text of a file.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Document, ConfigError> {
    let reader = Reader { text, path };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: reader.place(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    })?;
    Ok(Document {
        settings: reader.flat(table.get_ref()),
    })
}

fn line(place: &Place) -> usize {
    match place {
        Place::File { line, .. } => *line,
        _ => 0,
    }
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = 1 + self.text.as_bytes()[..offset]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        Place::File {
            path: self.path.to_path_buf(),
            line,
        }
    }

    /// The settings of a table, in the order of their lines.
    fn flat(&self, table: &DeTable<'_>) -> Vec<Setting> {
        let mut settings = Vec::new();
        self.collect(table, &mut Vec::new(), &mut settings);
        settings.sort_by_key(|setting| line(&setting.value.place));
        settings
    }

    fn collect(&self, table: &DeTable<'_>, path: &mut Vec<String>, settings: &mut Vec<Setting>) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            if let DeValue::Table(inner) = value.get_ref() {
                self.collect(inner, path, settings);
            } else {
                let spelled = path.join(".");
                settings.push(Setting {
                    key: spelled.to_lowercase(),
                    spelled,
                    value: Origin {
                        value: self.value(value),
                        place: self.place(name.span().start),
                    },
                });
            }
            path.pop();
        }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::Array(items) if !items.is_empty() && items.iter().all(is_plain_table) => {
                let table = |item: &Spanned<DeValue<'_>>| {
                    let settings = item
                        .get_ref()
                        .as_table()
                        .map_or_else(Vec::new, |table| self.flat(table));
                    Table {
                        place: self.place(item.span().start),
                        settings,
                    }
                };
                Value::Tables(items.iter().map(table).collect())
            }
            _ => simple(value),
        }
    }
}

/// Tells whether an item of an array is a table of its own rather than an attribute of the array.
fn is_plain_table(item: &Spanned<DeValue<'_>>) -> bool {
    match item.get_ref() {
        DeValue::Table(table) => {
            !(table.len() == 1 && table.keys().any(|key| key.get_ref() == "append"))
        }
        _ => false,
    }
}

fn simple(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            let digits = ["0o", "0x", "0b"]
                .iter()
                .find_map(|prefix| digits.strip_prefix(prefix))
                .unwrap_or(&digits);
            match i64::from_str_radix(digits, number.radix()) {
                Ok(value) => Value::Integer {
                    value,
                    octal: number.radix() == 8,
                },
                Err(_) => Value::Other("an integer out of range"),
            }
        }
        DeValue::Array(items) => list(items),
        DeValue::Float(_) => Value::Other("a float"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

fn list(array: &DeArray<'_>) -> Value {
    let mut items = Vec::new();
    let mut append = None;
    for item in array {
        match item.get_ref() {
            DeValue::String(text) => items.push(text.to_string()),
            DeValue::Table(attributes) => {
                let mut known = attributes
                    .iter()
                    .filter(|(name, _)| name.get_ref() == "append");
                match known.next().map(|(_, value)| value.get_ref()) {
                    Some(DeValue::Boolean(value)) if attributes.len() == 1 => append = Some(*value),
                    _ => return Value::Other("a list with a table"),
                }
            }
            _ => return Value::Other("a list of something else than strings"),
        }
    }
    Value::List { items, append }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_flat_and_know_their_lines() {
        let text = "[storage]\nDriver = \"vfs\"\n\n[Storage.Options]\nforce_mask = 0o755\nadditionalimagestores = [\"/a\", {append=true}]\n";
        let document = parse(text, Path::new("x.conf")).unwrap();
        let shown: Vec<String> = document
            .settings
            .iter()
            .map(|one| format!("{} {:?} {}", one.key, one.value.value, one.value.place))
            .collect();
        assert_eq!(
            shown,
            [
                "storage.driver Text(\"vfs\") x.conf:2",
                "storage.options.force_mask Integer { value: 493, octal: true } x.conf:5",
                "storage.options.additionalimagestores List { items: [\"/a\"], append: Some(true) } x.conf:6",
            ]
        );
    }

    #[test]
    fn tables_of_an_array_are_one_setting() {
        let text = "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"m\"\n\n[[registry]]\nprefix = \"b\"\n";
        let document = parse(text, Path::new("x.conf")).unwrap();
        let [setting] = document.settings.as_slice() else {
            panic!("{document:?}");
        };
        let tables = setting.tables().unwrap();
        let shown: Vec<String> = tables
            .iter()
            .map(|table| {
                let keys: Vec<&str> = table.settings.iter().map(|one| &*one.key).collect();
                format!("{} {}", table.place, keys.join(","))
            })
            .collect();
        assert_eq!(shown, ["x.conf:1 location,mirror", "x.conf:6 prefix"]);
        let mirrors = tables[0].settings[1].tables().unwrap();
        assert_eq!(mirrors[0].settings[0].value.place.to_string(), "x.conf:4");
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let error = parse("[storage]\ndriver = \n", Path::new("x.conf")).unwrap_err();
        assert!(error.to_string().starts_with("x.conf:2: "), "{error}");
    }
}
