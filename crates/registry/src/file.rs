//! Files of the web of any size, such as the source of an ADD: fetched as a stream, without a registry's protocol.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use reqwest::Url;
use reqwest::header::{HeaderMap, LAST_MODIFIED};
use tokio::sync::mpsc;

use crate::call::Call;
use crate::endpoint::Endpoint;
use crate::error::{Failure, RegistryError};
use crate::pause::http_date;
use crate::wire::shown;

/// How many pieces wait between the network thread and the reader.
const DEPTH: usize = 4;

/// What is known of a file that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    /// How many bytes it has.
    pub size: u64,
    /// When it was last changed, if the server says so.
    pub modified: Option<SystemTime>,
}

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server or the way to it.
    #[error(transparent)]
    Remote(#[from] RegistryError),
    /// The server answers with another status than 200.
    #[error("invalid response status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// It has more bytes than it may have.
    #[error("fetching {url}: the file is larger than {limit} bytes")]
    TooLarge {
        /// The address, without its query.
        url: String,
        /// The most that it may have.
        limit: u64,
    },
    /// It could not be kept.
    #[error("keeping what is fetched")]
    Write(#[source] io::Error),
}

impl Endpoint {
    /// Gets a file of at most `limit` bytes from any `http` or `https` address, with the proxies and the trust of this
    /// endpoint but without its credentials, and writes it to `out`.
    ///
    /// # Errors
    /// When the server does not answer or refuses, the file is too large, or `out` fails.
    pub fn fetch_file(
        &self,
        url: &str,
        out: &mut dyn Write,
        limit: u64,
    ) -> Result<FetchedFile, FetchError> {
        let Ok(parsed) = Url::parse(url) else {
            let source = Failure::Url {
                url: url.to_owned(),
            };
            let url = url.to_owned();
            return Err(RegistryError::FetchUrl { url, source }.into());
        };
        let name = shown(&parsed);
        let failed = |source| RegistryError::FetchUrl {
            url: name.clone(),
            source,
        };
        let (to_reader, mut pieces) = mpsc::channel(DEPTH);
        let client = Arc::clone(&self.client);
        let call = Call::elsewhere(parsed);
        let begin = async move {
            let response = client.execute(call).await?;
            let status = response.status();
            if !status.is_success() {
                return Ok(Err(status.as_u16()));
            }
            let modified = last_modified(response.headers());
            tokio::spawn(async move { client.pump(response, to_reader).await });
            Ok(Ok(modified))
        };
        let modified = match self.http.run(begin).map_err(failed)? {
            Ok(modified) => modified,
            Err(status) => return Err(FetchError::Status { status }),
        };
        let mut size = 0;
        while let Some(piece) = pieces.blocking_recv() {
            let piece = piece.map_err(failed)?;
            size += piece.len() as u64;
            if size > limit {
                return Err(FetchError::TooLarge { url: name, limit });
            }
            out.write_all(&piece).map_err(FetchError::Write)?;
        }
        Ok(FetchedFile { size, modified })
    }
}

/// RFC 9110, 8.8.2. A date that cannot be read counts as none.
fn last_modified(headers: &HeaderMap) -> Option<SystemTime> {
    let time = http_date(headers.get(LAST_MODIFIED)?.to_str().ok()?)?;
    Some(time.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |text: &'static str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_MODIFIED, text.parse().expect("a header"));
            let time = expected.map(|s| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(s));
            assert_eq!(last_modified(&headers), time, "{text}");
        };
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("yesterday", None);
    }
}
