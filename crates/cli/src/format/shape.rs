//! Which Go types stand behind JSON, so that a template sees the fields and prints them as Go would.

use serde_json::Value;

use super::value::{Field, GoMap, GoValue, Record};

/// The Go type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string.
    Text,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// A moment.
    Time,
    /// A length of time.
    Duration,
    /// Nothing is known: as JSON has it.
    Any,
    /// A pointer, which may be nil.
    Pointer(&'static Shape),
    /// A list.
    List(&'static Shape),
    /// A map with strings as keys.
    Map(&'static Shape),
    /// A structure.
    Struct(&'static StructShape),
}

/// A Go structure.
#[derive(Debug)]
pub struct StructShape {
    /// Its name with the package.
    pub name: &'static str,
    /// Its fields in order.
    pub fields: &'static [FieldShape],
}

/// A field of a Go structure: its name, where its value is in JSON, and its type.
#[derive(Debug)]
pub struct FieldShape(pub &'static str, pub Place, pub Shape);

/// Where the JSON of a field is.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// Under this key.
    Key(&'static str),
    /// In the object of the structure itself: an embedded structure.
    Here,
}

impl Shape {
    /// Reads `json` as this type. What is absent is the zero value.
    pub fn read(self, json: &Value) -> GoValue {
        match (self, json) {
            (Self::Any, json) => GoValue::from(json),
            (Self::Pointer(_), Value::Null) => GoValue::Nil,
            (Self::Pointer(to), json) => to.read(json),
            (Self::Text, Value::String(text)) => GoValue::Text(text.clone()),
            (Self::Time, Value::String(text)) => GoValue::Time(text.clone()),
            (Self::Duration, json) => GoValue::Duration(json.as_i64().unwrap_or(0)),
            (Self::Struct(shape), json) => GoValue::Struct(shape.read(json)),
            (Self::List(items), Value::Array(list)) => {
                GoValue::List(list.iter().map(|item| items.read(item)).collect())
            }
            (Self::Map(items), json) => {
                let entries = json.as_object().into_iter().flatten();
                GoValue::Map(GoMap {
                    entries: entries
                        .map(|(key, value)| (key.clone(), items.read(value)))
                        .collect(),
                    zero: Box::new(items.read(&Value::Null)),
                })
            }
            (Self::Text, Value::Null) => GoValue::Text(String::new()),
            (Self::Bool, Value::Null) => GoValue::Bool(false),
            (Self::Int, Value::Null) => GoValue::Int(0),
            (Self::Time, Value::Null) => GoValue::Time("0001-01-01T00:00:00Z".to_owned()),
            (Self::List(_), Value::Null) => GoValue::List(Vec::new()),
            (_, other) => GoValue::from(other),
        }
    }
}

impl StructShape {
    fn read(&self, json: &Value) -> Record {
        let fields = self.fields.iter().map(|FieldShape(name, place, shape)| {
            let value = match place {
                Place::Key(key) => shape.read(json.get(*key).unwrap_or(&Value::Null)),
                Place::Here => shape.read(json),
            };
            Field {
                name: (*name).to_owned(),
                value,
                is_embedded: matches!(place, Place::Here),
            }
        });
        Record {
            type_name: self.name,
            fields: fields.collect(),
            json: json.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_absent_is_the_zero_value() {
        static INNER: StructShape = StructShape {
            name: "p.Inner",
            fields: &[FieldShape("OS", Place::Key("os"), Shape::Text)],
        };
        static OUTER: StructShape = StructShape {
            name: "p.Outer",
            fields: &[
                FieldShape("Inner", Place::Here, Shape::Struct(&INNER)),
                FieldShape("Labels", Place::Key("labels"), Shape::Map(&Shape::Text)),
                FieldShape("Check", Place::Key("check"), Shape::Pointer(&Shape::Int)),
                FieldShape("At", Place::Key("at"), Shape::Time),
                FieldShape("List", Place::Key("list"), Shape::List(&Shape::Text)),
            ],
        };
        let check = |json: Value, expected: &str| {
            assert_eq!(Shape::Struct(&OUTER).read(&json).show(), expected);
        };
        check(
            json!({}),
            "{{} map[] <nil> 0001-01-01 00:00:00 +0000 UTC []}",
        );
        check(
            json!({"os": "linux", "labels": {"a": "b"}, "check": 3, "at": "2000-01-02T03:04:05Z", "list": ["x"]}),
            "{{linux} map[a:b] 3 2000-01-02 03:04:05 +0000 UTC [x]}",
        );
    }
}
