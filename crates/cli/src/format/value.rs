//! Values as Go has them, and how its `fmt` prints them: what templates work on.
//!
//! JSON alone does not say what Go prints: a structure (`{a b}`) and a map (`map[k:v]`) are both
//! objects there, and a moment is a string. A [`Shape`](super::shape::Shape) adds what is missing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A value in a template.
#[derive(Debug, Clone, PartialEq)]
pub enum GoValue {
    /// Nothing was found: prints `<no value>`.
    Missing,
    /// A pointer to nothing: prints `<nil>`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number, as JSON spells it.
    Number(String),
    /// A string.
    Text(String),
    /// A moment, in RFC 3339.
    Time(String),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// A list.
    List(Vec<GoValue>),
    /// A map.
    Map(GoMap),
    /// A structure.
    Struct(Record),
}

/// A map with what `index` returns for a key that it lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct GoMap {
    /// The entries.
    pub entries: BTreeMap<String, GoValue>,
    /// The zero value of the element type.
    pub zero: Box<GoValue>,
}

/// A structure: its fields in Go's order, and the JSON that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Go's name of the type, for error texts.
    pub type_name: &'static str,
    /// The fields.
    pub fields: Vec<Field>,
    /// What `json` prints.
    pub json: Value,
}

/// A field of a structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: GoValue,
    /// Whether the fields of the value are the structure's own too.
    pub is_embedded: bool,
}

impl GoValue {
    /// Makes a structure of a flat JSON object, for templates of lists.
    pub fn record(type_name: &'static str, json: &Map<String, Value>) -> Self {
        let fields = json.iter().map(|(name, value)| Field {
            name: name.clone(),
            value: Self::from(value),
            is_embedded: false,
        });
        Self::Struct(Record {
            type_name,
            fields: fields.collect(),
            json: Value::Object(json.clone()),
        })
    }

    /// Prints as `%v` does.
    pub fn show(&self) -> String {
        match self {
            Self::Missing => "<no value>".to_owned(),
            Self::Nil => "<nil>".to_owned(),
            Self::Bool(set) => set.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Number(text) | Self::Text(text) => text.clone(),
            Self::Time(text) => go_time(text),
            Self::Duration(nanoseconds) => go_duration(*nanoseconds),
            Self::List(items) => format!("[{}]", joined(items.iter().map(Self::show_inside))),
            Self::Map(map) => {
                let entry =
                    |(key, value): (&String, &Self)| format!("{key}:{}", value.show_inside());
                format!("map[{}]", joined(map.entries.iter().map(entry)))
            }
            Self::Struct(record) => {
                let fields = record.fields.iter();
                format!(
                    "{{{}}}",
                    joined(fields.map(|field| field.value.show_inside()))
                )
            }
        }
    }

    fn show_inside(&self) -> String {
        match self {
            Self::Missing => "<nil>".to_owned(),
            other => other.show(),
        }
    }

    /// Whether `if` takes it for true.
    pub fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(set) => *set,
            Self::Int(number) | Self::Duration(number) => *number != 0,
            Self::Number(text) => text.parse::<f64>().is_ok_and(|number| number != 0.0),
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Time(_) | Self::Struct(_) => true,
        }
    }

    /// Number of its parts, if it has any.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::List(items) => Some(items.len()),
            Self::Map(map) => Some(map.entries.len()),
            _ => None,
        }
    }

    /// Returns the value as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Missing | Self::Nil => Value::Null,
            Self::Bool(set) => (*set).into(),
            Self::Int(number) | Self::Duration(number) => (*number).into(),
            Self::Number(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            Self::Text(text) | Self::Time(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(map) => {
                let entries = map.entries.iter();
                entries
                    .map(|(key, value)| (key.clone(), value.to_json()))
                    .collect::<Map<_, _>>()
                    .into()
            }
            Self::Struct(record) => record.json.clone(),
        }
    }

    /// Go's name of the type, for error texts.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Number(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::List(_) => "[]string",
            Self::Map(_) => "map[string]string",
            Self::Struct(record) => record.type_name,
        }
    }
}

impl Record {
    /// Finds a field, also one of an embedded structure.
    pub fn field(&self, name: &str) -> Option<&GoValue> {
        let own = self.fields.iter().find(|field| field.name == name);
        own.map(|field| &field.value).or_else(|| {
            let embedded = self.fields.iter().filter(|field| field.is_embedded);
            embedded
                .filter_map(|field| match &field.value {
                    GoValue::Struct(record) => record.field(name),
                    _ => None,
                })
                .next()
        })
    }
}

impl From<Value> for GoValue {
    fn from(json: Value) -> Self {
        Self::from(&json)
    }
}

impl From<&Value> for GoValue {
    fn from(json: &Value) -> Self {
        match json {
            Value::Null => Self::Missing,
            Value::Bool(set) => Self::Bool(*set),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number),
                None => Self::Number(number.to_string()),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(map) => Self::Map(GoMap {
                entries: map
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from(value)))
                    .collect(),
                zero: Box::new(Self::Missing),
            }),
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

/// `2006-01-02T15:04:05Z` in the form of Go's `Time.String`.
fn go_time(text: &str) -> String {
    let Some((date, rest)) = text.split_once('T') else {
        return text.to_owned();
    };
    if let Some(time) = rest.strip_suffix('Z') {
        return format!("{date} {time} +0000 UTC");
    }
    match rest.rfind(['+', '-']) {
        Some(at) => {
            let offset = rest[at..].replace(':', "");
            format!("{date} {} {offset} {offset}", &rest[..at])
        }
        None => text.to_owned(),
    }
}

/// Nanoseconds in the form of Go's `Duration.String`.
fn go_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |unit: u64, name: &str| {
        let rest = format!("{:0width$}", total % unit, width = unit.ilog10() as usize);
        let rest = rest.trim_end_matches('0');
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{}{point}{rest}{name}", total / unit)
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let (minutes, below) = (total / 60_000_000_000, total % 60_000_000_000);
            let nanos = format!("{:09}", below % 1_000_000_000);
            let nanos = nanos.trim_end_matches('0');
            let point = if nanos.is_empty() { "" } else { "." };
            let seconds = format!("{}{point}{nanos}s", below / 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_printed_as_go_does() {
        let check = |text: &str, expected: &str| assert_eq!(go_time(text), expected);
        check("2023-11-14T22:13:20Z", "2023-11-14 22:13:20 +0000 UTC");
        check("2023-11-14T22:13:20.5Z", "2023-11-14 22:13:20.5 +0000 UTC");
        check(
            "2023-11-14T22:13:20+01:00",
            "2023-11-14 22:13:20 +0100 +0100",
        );
        check("now", "now");
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        let check =
            |nanoseconds: i64, expected: &str| assert_eq!(go_duration(nanoseconds), expected);
        check(0, "0s");
        check(15, "15ns");
        check(1_500, "1.5µs");
        check(250_000_000, "250ms");
        check(1_500_000_000, "1.5s");
        check(90_000_000_000, "1m30s");
        check(-3_600_000_000_000, "-1h0m0s");
    }
}
