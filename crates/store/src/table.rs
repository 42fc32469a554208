//! A list of records as one state file has it.
//!
//! Every record keeps the text it was read as. A record that is not touched is written back
//! as that text, and a record that this program cannot read (but another may) survives too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::error::{Result, StoreError};
use crate::record::Record;

/// One record: its text, and what was understood of it.
#[derive(Clone, Debug)]
struct Slot<R> {
    text: Option<Arc<str>>,
    record: Option<Arc<R>>,
}

/// The records of one file, in file order.
#[derive(Clone, Debug)]
pub(crate) struct Table<R> {
    slots: Vec<Slot<R>>,
    // Invariant: the position in `slots` of every understood record; the first of equal keys.
    places: HashMap<Box<str>, usize>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<R: Record> Table<R> {
    /// Reads a state file's bytes. Empty and `null` mean no records.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let items: Option<Vec<&RawValue>> =
            serde_json::from_slice(bytes).map_err(|source| StoreError::Parse {
                path: path.to_path_buf(),
                source,
            })?;
        let slots = items
            .unwrap_or_default()
            .into_iter()
            .map(|item| Slot {
                text: Some(item.get().into()),
                record: serde_json::from_str(item.get()).ok().map(Arc::new),
            })
            .collect();
        let mut table = Self {
            slots,
            places: HashMap::new(),
        };
        table.index();
        Ok(table)
    }

    fn index(&mut self) {
        self.places.clear();
        for (place, slot) in self.slots.iter().enumerate() {
            if let Some(record) = &slot.record {
                self.places.entry(record.key().into()).or_insert(place);
            }
        }
    }

    /// Returns the file's bytes.
    pub(crate) fn to_bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = vec![b'['];
        for slot in &self.slots {
            if bytes.len() > 1 {
                bytes.push(b',');
            }
            match (&slot.text, &slot.record) {
                (Some(text), _) => bytes.extend_from_slice(text.as_bytes()),
                (None, Some(record)) => {
                    let text =
                        model::go_json::to_vec(&**record).map_err(|source| StoreError::Encode {
                            path: path.to_path_buf(),
                            source,
                        })?;
                    bytes.extend_from_slice(&text);
                }
                (None, None) => unreachable!("a slot has its text or its record"),
            }
        }
        bytes.push(b']');
        Ok(bytes)
    }

    /// Returns the understood records in file order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<R>> {
        self.slots.iter().filter_map(|slot| slot.record.as_ref())
    }

    /// Returns the record of an identifier.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<R>> {
        self.places
            .get(key)
            .and_then(|place| self.slots[*place].record.as_ref())
    }

    /// Appends a record.
    pub(crate) fn push(&mut self, record: R) {
        self.places
            .entry(record.key().into())
            .or_insert(self.slots.len());
        self.slots.push(Slot {
            text: None,
            record: Some(Arc::new(record)),
        });
    }

    /// Changes a record in place; tells whether it exists.
    pub(crate) fn update(&mut self, key: &str, change: impl FnOnce(&mut R)) -> bool {
        let Some(place) = self.places.get(key) else {
            return false;
        };
        let slot = &mut self.slots[*place];
        let Some(record) = &mut slot.record else {
            return false;
        };
        change(Arc::make_mut(record));
        slot.text = None;
        true
    }

    /// Removes a record; tells whether it existed.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let Some(place) = self.places.get(key).copied() else {
            return false;
        };
        self.slots.remove(place);
        self.index();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LayerRecord;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn parse(text: &str) -> Table<LayerRecord> {
        Table::parse(text.as_bytes(), Path::new("layers.json")).unwrap()
    }

    #[test]
    fn absent_empty_and_null_are_no_records() {
        for text in ["", "null", "[]", " \n"] {
            assert_eq!(parse(text).slots.len(), 0, "{text:?}");
        }
        assert!(Table::<LayerRecord>::parse(b"[{", Path::new("x")).is_err());
    }

    #[test]
    fn untouched_records_are_written_as_they_came() {
        let text = format!(
            r#"[{{"id":"{A}","created":"2026-11-21T09:16:52.738857621+01:00","zzz":{{"b":1,"a":1.50}}}},{{"id":"odd name","x":1}}]"#
        );
        let table = parse(&text);
        assert_eq!(table.iter().count(), 1);
        assert_eq!(table.to_bytes(Path::new("x")).unwrap(), text.as_bytes());
    }

    #[test]
    fn touched_records_keep_unknown_fields() {
        let mut table = parse(&format!(
            r#"[{{"id":"{A}","created":"2026-11-21T09:16:52Z","new-field":[1,2],"names":null}},{{"id":"odd"}}]"#
        ));
        assert!(table.update(A, |layer| layer.metadata = Some("<m>".to_owned())));
        let text = String::from_utf8(table.to_bytes(Path::new("x")).unwrap()).unwrap();
        assert_eq!(
            text,
            format!(
                r#"[{{"id":"{A}","metadata":"\u003cm\u003e","created":"2026-11-21T09:16:52Z","new-field":[1,2]}},{{"id":"odd"}}]"#
            )
        );
    }

    #[test]
    fn records_are_found_after_removal() {
        let mut table = parse(&format!(
            r#"[{{"id":"{A}"}},{{"id":"{B}","parent":"{A}"}}]"#
        ));
        assert!(table.remove(A));
        assert!(!table.remove(A));
        assert_eq!(table.get(B).unwrap().parent.as_ref().unwrap().as_str(), A);
        assert!(table.get(A).is_none());
    }
}
