//! Lists: the tags of a repository and the referrers of a manifest, page by page.

use std::sync::Arc;

use model::{Descriptor, Digest, Index, media_type};
use reqwest::Url;
use reqwest::header::{ACCEPT, HeaderName, LINK};
use serde::Deserialize;

use crate::auth::query_escape;
use crate::call::{Answer, Call};
use crate::endpoint::{ManifestRef, Repository};
use crate::error::{Failure, RegistryError};
use crate::manifests::{MAX_MANIFEST, media_type_of};

/// The longest page of a list, in bytes.
const MAX_PAGE: usize = 8 * 1024 * 1024;
/// The most pages of a list.
const MAX_PAGES: usize = 10_000;
/// The most tags of a repository.
const MAX_TAGS: usize = 1_000_000;
/// The most referrers of a manifest.
const MAX_REFERRERS: usize = 10_000;
/// The longest tag.
const MAX_TAG: usize = 128;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The tags of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagList {
    /// The tags in the registry's order.
    pub tags: Vec<String>,
    /// What the registry lists although it cannot be a tag; digests and empty names are left out silently.
    pub invalid: Vec<String>,
}

#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Repository {
    /// Lists all tags.
    ///
    /// # Errors
    /// When the registry does not know the repository or does not list.
    pub fn tags(&self) -> Result<TagList, RegistryError> {
        let mut list = TagList::default();
        let outcome = self.pages(self.api("tags/list"), |answer| {
            let page: TagPage =
                serde_json::from_slice(&answer.body).map_err(|source| Failure::List {
                    what: "tags",
                    source,
                })?;
            for tag in page.tags.unwrap_or_default() {
                if tag.is_empty() || tag.contains(':') && Digest::parse(&tag).is_ok() {
                    continue;
                }
                if is_tag(&tag) {
                    list.tags.push(tag);
                } else {
                    list.invalid.push(tag);
                }
            }
            limit("tags", list.tags.len() + list.invalid.len(), MAX_TAGS)
        });
        outcome
            .map(|()| list)
            .map_err(|source| RegistryError::Tags {
                repository: self.name(),
                source,
            })
    }

    /// Lists the manifests whose subject is `digest`, where wanted those of one type of artifact only. Registries without
    /// the API for it keep them under a tag made of the digest.
    ///
    /// # Errors
    /// When the registry refuses, or when the list is malformed.
    pub fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let wrap = |source| RegistryError::Referrers {
            digest: digest.clone(),
            repository: self.name(),
            source,
        };
        let filter = artifact_type
            .map(|kind| format!("?artifactType={}", query_escape(kind)))
            .unwrap_or_default();
        let path = self.api(&format!("referrers/{digest}{filter}"));
        let mut found = Vec::new();
        let outcome = self.pages(path, |answer| {
            let index: Index =
                serde_json::from_slice(&answer.body).map_err(|source| Failure::List {
                    what: "referrers",
                    source,
                })?;
            let filtered = answer
                .header(&FILTERS)
                .is_some_and(|applied| applied.contains("artifactType"));
            found.extend(
                index
                    .manifests
                    .into_iter()
                    .filter(|entry| filtered || is_kind(entry, artifact_type)),
            );
            limit("referrers", found.len(), MAX_REFERRERS)
        });
        match outcome {
            Ok(()) => Ok(found),
            Err(Failure::Reply(reply)) if matches!(reply.status, 400 | 404 | 405) => {
                let mut listed = self.tagged_referrers(digest).map_err(wrap)?;
                listed.retain(|entry| is_kind(entry, artifact_type));
                Ok(listed)
            }
            Err(source) => Err(wrap(source)),
        }
    }

    fn tagged_referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Failure> {
        let mut tag = digest.as_str().replace(':', "-");
        tag.truncate(MAX_TAG);
        let call = Call::get(self.api(&format!("manifests/{}", ManifestRef::Tag(tag))))
            .scoped(self.scopes())
            .header(ACCEPT, media_type::OCI_INDEX);
        let answer = self.page(call, MAX_MANIFEST)?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let answer = answer.expect(&[200])?;
        if media_type_of(&answer) != media_type::OCI_INDEX {
            return Ok(Vec::new());
        }
        let index: Index =
            serde_json::from_slice(&answer.body).map_err(|source| Failure::List {
                what: "referrers",
                source,
            })?;
        limit("referrers", index.manifests.len(), MAX_REFERRERS)?;
        Ok(index.manifests)
    }

    /// Gets a list page by page. Of the address of the next page only path and query count: it is on the same registry.
    fn pages(
        &self,
        first: String,
        mut each: impl FnMut(Answer) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut next = Some(first);
        let mut seen = 0;
        while let Some(path) = next.take() {
            seen += 1;
            limit("pages of a list", seen, MAX_PAGES)?;
            let answer = self
                .page(Call::get(path).scoped(self.scopes()), MAX_PAGE)?
                .expect(&[200])?;
            next = next_page(&answer.url, answer.header(&LINK));
            each(answer)?;
        }
        Ok(())
    }

    fn page(&self, call: Call, limit: usize) -> Result<Answer, Failure> {
        let client = Arc::clone(&self.endpoint.client);
        self.endpoint
            .http
            .run(async move { client.answer_within(call, limit, "a list").await })
    }
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), Failure> {
    if count > limit {
        Err(Failure::TooMany { what, limit })
    } else {
        Ok(())
    }
}

fn is_kind(entry: &Descriptor, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= MAX_TAG
        && bytes.first().is_some_and(|byte| word(*byte))
        && bytes
            .iter()
            .all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
}

/// Reads the address of the next page out of `Link: <…>; rel="next"` (RFC 8288).
fn next_page(base: &Url, link: Option<&str>) -> Option<String> {
    let mut rest = link?;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>')?;
        let target = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let parameters = &rest[..rest.find('<').unwrap_or(rest.len())];
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split(' ')
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            let url = base.join(target).ok()?;
            let query = url
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            return Some(format!("{}{query}", url.path()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        let base = Url::parse("https://registry.example.com/v2/a/tags/list?n=2").unwrap();
        let check = |link: &str, expected: Option<&str>| {
            assert_eq!(next_page(&base, Some(link)).as_deref(), expected, "{link}");
        };
        check(
            "</v2/a/tags/list?last=b&n=2>; rel=\"next\"",
            Some("/v2/a/tags/list?last=b&n=2"),
        );
        check(
            "<https://elsewhere.example.com/v2/a/tags/list?x=1>; rel=next",
            Some("/v2/a/tags/list?x=1"),
        );
        check("<list?last=c>;rel=\"next\"", Some("/v2/a/tags/list?last=c"));
        check(
            "</p>; rel=\"prev\", </n?a=1,2>; rel=\"last next\"",
            Some("/n?a=1,2"),
        );
        check("</n>; rel=\"prev\"", None);
        check("</n", None);
        check("", None);
        assert_eq!(next_page(&base, None), None);
    }

    #[test]
    fn tags_are_told_from_other_names() {
        for (text, expected) in [
            ("latest", true),
            ("v1.2-x_y", true),
            ("_a", true),
            ("", false),
            (".a", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(is_tag(text), expected, "{text}");
        }
        assert!(is_tag(&"x".repeat(MAX_TAG)) && !is_tag(&"x".repeat(MAX_TAG + 1)));
    }
}
