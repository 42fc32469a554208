//! A setting as it is shown to a person: its name, its value, and where it was written.

use std::fmt;

use crate::origin::{Origin, Place};

/// The value of a setting, for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A text.
    Text(String),
    /// A number.
    Integer(i64),
    /// Yes or no.
    Bool(bool),
    /// A list of texts.
    List(Vec<String>),
    /// No value.
    Unset,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Unset => f.write_str("unset"),
        }
    }
}

/// A setting with its effective value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Its name, with the tables it stands in.
    pub name: String,
    /// Its value.
    pub value: Shown,
    /// Where the value was written.
    pub place: Place,
}

impl Effective {
    /// Names a value.
    pub fn new(name: impl Into<String>, value: Origin<Shown>) -> Self {
        Self {
            name: name.into(),
            value: value.value,
            place: value.place,
        }
    }
}
