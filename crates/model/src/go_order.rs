//! Writing a JSON object field by field in the order of a Go struct, with Go's `omitempty` and `null`.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// What Go's `omitempty` leaves out.
pub(crate) trait GoEmpty {
    fn is_go_empty(&self) -> bool;
}

impl GoEmpty for String {
    fn is_go_empty(&self) -> bool {
        self.is_empty()
    }
}
impl<T> GoEmpty for Vec<T> {
    fn is_go_empty(&self) -> bool {
        self.is_empty()
    }
}
impl<K, V> GoEmpty for BTreeMap<K, V> {
    fn is_go_empty(&self) -> bool {
        self.is_empty()
    }
}
impl<T> GoEmpty for Option<T> {
    fn is_go_empty(&self) -> bool {
        self.is_none()
    }
}
impl GoEmpty for bool {
    fn is_go_empty(&self) -> bool {
        !self
    }
}
impl GoEmpty for i64 {
    fn is_go_empty(&self) -> bool {
        *self == 0
    }
}
impl GoEmpty for ObjectSet<'_> {
    fn is_go_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A set written as Go's `map[string]struct{}`.
pub(crate) struct ObjectSet<'a>(pub(crate) &'a BTreeSet<String>);

impl Serialize for ObjectSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = BTreeMap::<&str, ()>::new();
        serializer.collect_map(self.0.iter().map(|key| (key, &empty)))
    }
}

/// An object being written; remembers the first error, so that fields read as a list.
pub(crate) struct Fields<S: Serializer> {
    map: Result<S::SerializeMap, S::Error>,
}

impl<S: Serializer> Fields<S> {
    pub(crate) fn new(serializer: S) -> Self {
        Self {
            map: serializer.serialize_map(None),
        }
    }

    /// Writes the field always.
    pub(crate) fn always<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> &mut Self {
        if let Ok(map) = &mut self.map
            && let Err(err) = map.serialize_entry(key, value)
        {
            self.map = Err(err);
        }
        self
    }

    /// Writes the field unless it is empty (`omitempty`).
    pub(crate) fn filled<T: Serialize + GoEmpty>(&mut self, key: &str, value: &T) -> &mut Self {
        if value.is_go_empty() {
            self
        } else {
            self.always(key, value)
        }
    }

    /// Writes the field, `null` when it is empty, as Go writes a nil slice or map.
    pub(crate) fn or_null<T: Serialize + GoEmpty>(&mut self, key: &str, value: &T) -> &mut Self {
        if value.is_go_empty() {
            self.always(key, &())
        } else {
            self.always(key, value)
        }
    }

    /// Writes all entries of a map that we only carry along.
    pub(crate) fn rest(&mut self, extra: &serde_json::Map<String, serde_json::Value>) -> &mut Self {
        for (key, value) in extra {
            self.always(key, value);
        }
        self
    }

    pub(crate) fn end(self) -> Result<S::Ok, S::Error> {
        self.map?.end()
    }
}
