//! Documents of scanners, put together as Buildah does, and the package URLs in them.

use std::collections::BTreeSet;

use model::go_json;
use serde_json::{Map, Value, json};

use super::Bill;

/// How documents are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// One behind the other; nothing is known of their content.
    Cat,
    /// CycloneDX: components that an earlier document has with the same name and version are left out.
    CycloneDx,
    /// SPDX: packages that an earlier document has with the same name and version are left out, and so are licences
    /// with the same identifier.
    Spdx,
}

/// Why documents cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A scanner has written something else than JSON.
    #[error("scan result {index} is not a JSON document")]
    Json {
        /// Which, from 0.
        index: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// An entry is not as its format has it.
    #[error("merging the {field:?} field of scan results: {fault}")]
    Entry {
        /// The member of the document.
        field: &'static str,
        /// What is wrong.
        fault: &'static str,
    },
}

impl Strategy {
    /// Reads the word of `--sbom-merge-strategy`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "cat" => Some(Self::Cat),
            "merge-cyclonedx-by-component-name-and-version" => Some(Self::CycloneDx),
            "merge-spdx-by-package-name-and-versioninfo" => Some(Self::Spdx),
            _ => None,
        }
    }

    /// Puts documents together. A single one stays as it is.
    pub(super) fn merge(self, documents: &[Vec<u8>]) -> Result<Bill, MergeError> {
        if self == Self::Cat {
            return Ok(Bill {
                document: documents.concat(),
                packages: packages_document(&BTreeSet::new()),
            });
        }
        let mut merged = Map::new();
        let mut packages = BTreeSet::new();
        for (index, document) in documents.iter().enumerate() {
            // A stream may go on behind the document.
            let parsed = serde_json::Deserializer::from_slice(document)
                .into_iter::<Map<String, Value>>()
                .next()
                .unwrap_or_else(|| Ok(Map::new()))
                .map_err(|source| MergeError::Json { index, source })?;
            let next = if index == 0 {
                let first = parsed.clone();
                merged = parsed;
                first
            } else {
                parsed
            };
            match self {
                Self::CycloneDx => join(&mut merged, next, "components", |entry| {
                    component(entry, &mut packages)
                })?,
                Self::Cat | Self::Spdx => {
                    let mut next = next;
                    let licences = next.remove("hasExtractedLicensingInfos");
                    join(&mut merged, next, "packages", |entry| {
                        package(entry, &mut packages)
                    })?;
                    let licences = licences.map(|all| {
                        Map::from_iter([("hasExtractedLicensingInfos".to_owned(), all)])
                    });
                    join(
                        &mut merged,
                        licences.unwrap_or_default(),
                        "hasExtractedLicensingInfos",
                        licence,
                    )?;
                }
            }
        }
        let document = match documents {
            [one] => one.clone(),
            _ => line(&Value::Object(merged)),
        };
        Ok(Bill {
            document,
            packages: packages_document(&packages),
        })
    }
}

/// Adds to a list of `base` the entries of the same list of `next` whose keys it lacks.
fn join(
    base: &mut Map<String, Value>,
    mut next: Map<String, Value>,
    field: &'static str,
    mut key: impl FnMut(&Value) -> Result<String, &'static str>,
) -> Result<(), MergeError> {
    let entries = |document: &mut Map<String, Value>| match document.get_mut(field) {
        Some(Value::Array(entries)) => std::mem::take(entries),
        _ => Vec::new(),
    };
    let refused = |fault| MergeError::Entry { field, fault };
    let mut joined = entries(base);
    let mut known = joined
        .iter()
        .map(&mut key)
        .collect::<Result<BTreeSet<String>, _>>()
        .map_err(refused)?;
    for entry in entries(&mut next) {
        if known.insert(key(&entry).map_err(refused)?) {
            joined.push(entry);
        }
    }
    if !joined.is_empty() {
        base.insert(field.to_owned(), Value::Array(joined));
    }
    Ok(())
}

/// The key of a component, `NAME@VERSION`; its package URL is noted.
fn component(entry: &Value, packages: &mut BTreeSet<String>) -> Result<String, &'static str> {
    if let Some(package) = text(entry, "purl", "a purl is not a string")? {
        packages.insert(package.to_owned());
    }
    versioned(entry, "version")
}

/// The key of a package, `NAME@VERSION`; its package URL is noted.
fn package(entry: &Value, packages: &mut BTreeSet<String>) -> Result<String, &'static str> {
    let references = entry.get("externalRefs").and_then(Value::as_array);
    let mut found = None;
    for reference in references.into_iter().flatten() {
        let is =
            |name: &str, value: &str| reference.get(name).and_then(Value::as_str) == Some(value);
        if is("referenceCategory", "PACKAGE-MANAGER") && is("referenceType", "purl") {
            found = text(reference, "referenceLocator", "a purl is not a string")?.or(found);
        }
    }
    if let Some(package) = found.filter(|package| !package.is_empty()) {
        packages.insert(package.to_owned());
    }
    versioned(entry, "versionInfo")
}

fn licence(entry: &Value) -> Result<String, &'static str> {
    let identifier = text(entry, "licenseId", "a licenseId is not a string")?;
    identifier
        .map(str::to_owned)
        .ok_or("a license has no licenseId")
}

fn versioned(entry: &Value, version: &str) -> Result<String, &'static str> {
    if !entry.is_object() {
        return Err("an entry is not an object");
    }
    let name = text(entry, "name", "a name is not a string")?.ok_or("an entry has no name")?;
    match text(entry, version, "a version is not a string")? {
        None | Some("") => Ok(name.to_owned()),
        Some(version) => Ok(format!("{name}@{version}")),
    }
}

/// The text of an entry's member, if it has that member.
fn text<'a>(
    entry: &'a Value,
    name: &str,
    fault: &'static str,
) -> Result<Option<&'a str>, &'static str> {
    entry
        .get(name)
        .map(|value| value.as_str().ok_or(fault))
        .transpose()
}

fn packages_document(packages: &BTreeSet<String>) -> Vec<u8> {
    let contents = if packages.is_empty() {
        json!({})
    } else {
        json!({ "dependencies": packages })
    };
    line(&json!({ "image_contents": contents }))
}

fn line(value: &Value) -> Vec<u8> {
    let mut bytes = go_json::to_vec(value).expect("all keys are strings");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(strategy: Strategy, documents: &[&str]) -> Result<[String; 2], String> {
        let documents: Vec<Vec<u8>> = documents
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        strategy
            .merge(&documents)
            .map(|bill| [text(bill.document), text(bill.packages)])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn documents_are_merged() {
        let check = |strategy, documents: &[&str], document: &str, packages: &str| {
            let expected = [document.to_owned(), packages.to_owned()];
            assert_eq!(merged(strategy, documents), Ok(expected), "{documents:?}");
        };
        let none = "{\"image_contents\":{}}\n";
        check(Strategy::Cat, &["a\n", "b\n"], "a\nb\n", none);
        let one = r#"{ "components": [{"name":"a","purl":"pkg:x/a?b&c"}] }"#;
        check(
            Strategy::CycloneDx,
            &[one],
            one,
            "{\"image_contents\":{\"dependencies\":[\"pkg:x/a?b\\u0026c\"]}}\n",
        );
        check(
            Strategy::CycloneDx,
            &[
                r#"{"z":1,"components":[{"name":"a","version":"1","purl":"p2"}]}"#,
                r#"{"y":2,"components":[{"name":"a","version":"1","purl":"p1"},{"name":"a"}]}"#,
                r#"{"components":null}"#,
            ],
            "{\"components\":[{\"name\":\"a\",\"purl\":\"p2\",\"version\":\"1\"},{\"name\":\"a\"}],\"z\":1}\n",
            "{\"image_contents\":{\"dependencies\":[\"p1\",\"p2\"]}}\n",
        );
        let reference = r#""externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"p"},{"referenceType":"cpe"}]"#;
        check(
            Strategy::Spdx,
            &[
                &format!(r#"{{"packages":[{{"name":"a",{reference}}}]}}"#),
                r#"{"packages":[{"name":"a","versionInfo":""},{"name":"b"}],"hasExtractedLicensingInfos":[{"licenseId":"l"},{"licenseId":"l"}]}"#,
            ],
            &format!(
                "{{\"hasExtractedLicensingInfos\":[{{\"licenseId\":\"l\"}}],\"packages\":[{{{},\"name\":\"a\"}},{{\"name\":\"b\"}}]}}\n",
                r#""externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceLocator":"p","referenceType":"purl"},{"referenceType":"cpe"}]"#
            ),
            "{\"image_contents\":{\"dependencies\":[\"p\"]}}\n",
        );
    }

    #[test]
    fn odd_documents_are_refused() {
        let check = |documents: &[&str], expected: &str| {
            let found = merged(Strategy::CycloneDx, documents);
            assert_eq!(found, Err(expected.to_owned()), "{documents:?}");
        };
        check(&["{}", "x"], "scan result 1 is not a JSON document");
        check(
            &[r#"{"components":[{"version":"1"}]}"#],
            "merging the \"components\" field of scan results: an entry has no name",
        );
        check(
            &["{}", r#"{"components":[3]}"#],
            "merging the \"components\" field of scan results: an entry is not an object",
        );
    }
}
