//! Small files that are not part of the protocol, such as signatures on a web server.

use std::sync::Arc;

use reqwest::Url;

use crate::call::Call;
use crate::endpoint::Endpoint;
use crate::error::{Failure, RegistryError};
use crate::wire::shown;

impl Endpoint {
    /// Gets a file of at most `limit` bytes from any `http` or `https` address, with the proxies and the trust of this
    /// endpoint but without its credentials. Returns nothing when there is no such file.
    ///
    /// # Errors
    /// When the server does not answer, refuses, or sends more.
    pub fn fetch(&self, url: &str, limit: usize) -> Result<Option<Vec<u8>>, RegistryError> {
        let wrong = |url: String, source| RegistryError::FetchUrl { url, source };
        let Ok(parsed) = Url::parse(url) else {
            let source = Failure::Url {
                url: url.to_owned(),
            };
            return Err(wrong(url.to_owned(), source));
        };
        let call = Call::elsewhere(parsed.clone());
        let client = Arc::clone(&self.client);
        let fetched = self
            .http
            .run(async move { client.answer_within(call, limit, "the file").await })
            .and_then(|answer| answer.expect(&[200, 404]));
        match fetched {
            Ok(answer) if answer.status == 404 => Ok(None),
            Ok(answer) => Ok(Some(answer.body.to_vec())),
            Err(source) => Err(wrong(shown(&parsed), source)),
        }
    }
}
