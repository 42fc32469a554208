//! JSON for decisions about trust: what is not known, or is said twice, is an error instead of being passed over.
//!
//! A document is read whole, with the order and the repetitions of its keys, and then taken apart by name.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Why a document is not the expected JSON. The texts are those of Buildah where it has one.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are no JSON.
    #[error("the text is not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// Something else stands where an object belongs.
    #[error("JSON object expected, got {found}")]
    NotObject {
        /// What stands there.
        found: &'static str,
    },
    /// An object says something twice.
    #[error("Duplicate key {key:?}")]
    Duplicate {
        /// The key.
        key: String,
    },
    /// An object has a key that nobody knows.
    #[error("Unknown key {key:?}")]
    Unknown {
        /// The key.
        key: String,
    },
    /// An object lacks a key.
    #[error("Key {key:?} missing in a JSON object")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is of another kind.
    #[error("the value of {key:?} is {found}, not {expected}")]
    Kind {
        /// The key, or `-` for the document itself.
        key: String,
        /// What stands there.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A text is no base64.
    #[error("the value of {key:?} is not valid base64")]
    Base64 {
        /// The key.
        key: String,
        /// The cause.
        source: base64::DecodeError,
    },
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number(serde_json::Number),
    String(String),
    Array(Vec<Json>),
    /// Keys in their order, repeated ones repeatedly.
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        serde_json::from_slice(bytes).map_err(JsonError::Syntax)
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// Takes an object apart whose keys may be anything, each once.
    pub(crate) fn entries(self) -> Result<Vec<(String, Json)>, JsonError> {
        let Json::Object(entries) = self else {
            return Err(JsonError::NotObject { found: self.kind() });
        };
        for (at, (key, _)) in entries.iter().enumerate() {
            if entries[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(JsonError::Duplicate { key: key.clone() });
            }
        }
        Ok(entries)
    }

    /// Takes an object apart that may have these keys and no others.
    pub(crate) fn fields(self, known: &[&str]) -> Result<Fields, JsonError> {
        let entries = self.entries()?;
        match entries.iter().find(|(key, _)| !known.contains(&&**key)) {
            Some((key, _)) => Err(JsonError::Unknown { key: key.clone() }),
            None => Ok(Fields(entries)),
        }
    }

    pub(crate) fn string(self, key: &str) -> Result<String, JsonError> {
        match self {
            Json::String(text) => Ok(text),
            other => Err(other.is_not(key, "a string")),
        }
    }

    pub(crate) fn array(self, key: &str) -> Result<Vec<Json>, JsonError> {
        match self {
            Json::Array(items) => Ok(items),
            other => Err(other.is_not(key, "an array")),
        }
    }

    pub(crate) fn base64(self, key: &str) -> Result<Vec<u8>, JsonError> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(self.string(key)?)
            .map_err(|source| JsonError::Base64 {
                key: key.to_owned(),
                source,
            })
    }

    pub(crate) fn is_not(&self, key: &str, expected: &'static str) -> JsonError {
        JsonError::Kind {
            key: key.to_owned(),
            found: self.kind(),
            expected,
        }
    }
}

/// The values of an object by name.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, Json)>);

impl Fields {
    /// Removes and returns a value.
    pub(crate) fn take(&mut self, key: &str) -> Option<Json> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Removes and returns a value that must be there.
    pub(crate) fn require(&mut self, key: &'static str) -> Result<Json, JsonError> {
        self.take(key).ok_or(JsonError::Missing { key })
    }

    pub(crate) fn string(&mut self, key: &str) -> Result<Option<String>, JsonError> {
        self.take(key).map(|value| value.string(key)).transpose()
    }

    pub(crate) fn require_string(&mut self, key: &'static str) -> Result<String, JsonError> {
        self.require(key)?.string(key)
    }

    pub(crate) fn base64(&mut self, key: &str) -> Result<Option<Vec<u8>>, JsonError> {
        self.take(key).map(|value| value.base64(key)).transpose()
    }

    pub(crate) fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>, JsonError> {
        self.list(key, |item| item.string(key))
    }

    pub(crate) fn base64s(&mut self, key: &str) -> Result<Option<Vec<Vec<u8>>>, JsonError> {
        self.list(key, |item| item.base64(key))
    }

    fn list<T>(
        &mut self,
        key: &str,
        convert: impl Fn(Json) -> Result<T, JsonError>,
    ) -> Result<Option<Vec<T>>, JsonError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let items = value.array(key)?.into_iter().map(convert);
        items.collect::<Result<_, _>>().map(Some)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}
