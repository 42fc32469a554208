//! The types that a setting of `containers.conf` may have, and how a later file changes a value.

use std::collections::BTreeMap;

use crate::document::{ConfigError, Setting, Value};
use crate::effective::Shown;
use crate::origin::Origin;

/// For which lists `{append=true}` is in force: it stays so for later files.
pub(super) type Sticky = BTreeMap<&'static str, bool>;

/// A type of value.
pub(super) trait Field: Sized {
    /// Reads the value of a setting.
    fn read(setting: &Setting) -> Result<Self, ConfigError>;

    /// Changes a value as a file says; what the file has takes its place unless a type says otherwise.
    fn take(
        current: &mut Origin<Self>,
        setting: &Setting,
        _key: &'static str,
        _sticky: &mut Sticky,
    ) -> Result<(), ConfigError> {
        *current = setting.with(Self::read(setting)?);
        Ok(())
    }

    fn shown(&self) -> Shown;
}

impl Field for String {
    fn read(setting: &Setting) -> Result<Self, ConfigError> {
        Ok(setting.text()?.value)
    }

    fn shown(&self) -> Shown {
        Shown::Text(self.clone())
    }
}

impl Field for bool {
    fn read(setting: &Setting) -> Result<Self, ConfigError> {
        Ok(setting.boolean()?.value)
    }

    fn shown(&self) -> Shown {
        Shown::Bool(*self)
    }
}

macro_rules! integers {
    ($($type:ty, $expected:literal;)*) => {$(
        impl Field for $type {
            fn read(setting: &Setting) -> Result<Self, ConfigError> {
                let value = match setting.value.value {
                    Value::Integer { value, .. } => <$type>::try_from(value).ok(),
                    _ => None,
                };
                value.ok_or_else(|| setting.must_be($expected))
            }

            fn shown(&self) -> Shown {
                Shown::Integer(i64::from(*self))
            }
        }
    )*};
}

integers! {
    i64, "an integer";
    i32, "an integer of 32 bits";
    u32, "an integer from 0 to 4294967295";
    u16, "an integer from 0 to 65535";
}

/// A value that may be missing.
impl Field for Option<i32> {
    fn read(setting: &Setting) -> Result<Self, ConfigError> {
        i32::read(setting).map(Some)
    }

    fn shown(&self) -> Shown {
        match self {
            Some(value) => value.shown(),
            None => Shown::Unset,
        }
    }
}

impl Field for Vec<String> {
    fn read(setting: &Setting) -> Result<Self, ConfigError> {
        match &setting.value.value {
            Value::List { items, .. } => Ok(items.clone()),
            _ => Err(setting.must_be("a list of strings")),
        }
    }

    /// A list may go on where earlier files ended.
    fn take(
        current: &mut Origin<Self>,
        setting: &Setting,
        key: &'static str,
        sticky: &mut Sticky,
    ) -> Result<(), ConfigError> {
        let new = Self::read(setting)?;
        if let Value::List {
            append: Some(append),
            ..
        } = &setting.value.value
        {
            sticky.insert(key, *append);
        }
        let mut list = match sticky.get(key) {
            Some(true) => std::mem::take(&mut current.value),
            _ => Vec::new(),
        };
        list.extend(new);
        *current = setting.with(list);
        Ok(())
    }

    fn shown(&self) -> Shown {
        Shown::List(self.clone())
    }
}

/// Declares a table: a struct with one field per setting, its defaults, and the way from a file to a field.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $name:ident in $table:literal {
            $( $(#[$doc:meta])* $field:ident: $type:ty = $default:expr, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[$doc])* pub $field: Origin<$type>, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: Origin::default_value($default), )* }
            }
        }

        impl $name {
            pub(super) const KEYS: &'static [&'static str] =
                &[$( concat!($table, ".", stringify!($field)), )*];

            /// Takes a setting; returns whether it is one of this table.
            pub(super) fn take(
                &mut self,
                setting: &Setting,
                sticky: &mut Sticky,
            ) -> Result<bool, ConfigError> {
                match setting.key.as_str() {
                    $( key if key == concat!($table, ".", stringify!($field)) => {
                        let key = concat!($table, ".", stringify!($field));
                        Field::take(&mut self.$field, setting, key, sticky)?;
                        Ok(true)
                    } )*
                    _ => Ok(false),
                }
            }

            pub(super) fn show(&self, all: &mut Vec<Effective>) {
                $( all.push(Effective::new(
                    concat!($table, ".", stringify!($field)),
                    Origin { value: self.$field.value.shown(), place: self.$field.place.clone() },
                )); )*
            }
        }
    };
}

pub(super) use table;
