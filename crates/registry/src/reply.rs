//! Replies that refuse: how a registry's error becomes a text.
//!
//! The texts are those that Buildah prints, so that scripts which look for them keep working. Reading the reply from the
//! wire happens elsewhere; here are values only.

use serde_json::Value;

use crate::challenge::Challenge;

/// The most bytes of an error reply's body that are read.
pub const MAX_ERROR_BODY: usize = 64 * 1024;
/// How much of a body that is no registry error is quoted.
const QUOTED_BODY: usize = 50;

/// An HTTP reply that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ErrorReply {
    /// The HTTP status.
    pub status: u16,
    /// The registry's error code, such as `MANIFEST_UNKNOWN`, where the reply has one.
    pub code: Option<Box<str>>,
    text: Box<str>,
}

/// The error codes of the distribution specification with their standard sentences.
const SENTENCES: [(&str, &str); 18] = [
    ("UNAUTHORIZED", "authentication required"),
    ("DENIED", "requested access to the resource is denied"),
    ("UNSUPPORTED", "The operation is unsupported."),
    ("UNAVAILABLE", "service unavailable"),
    ("TOOMANYREQUESTS", "too many requests"),
    ("UNKNOWN", "unknown error"),
    ("NAME_UNKNOWN", "repository name not known to registry"),
    ("NAME_INVALID", "invalid repository name"),
    ("MANIFEST_UNKNOWN", "manifest unknown"),
    ("MANIFEST_INVALID", "manifest invalid"),
    (
        "MANIFEST_UNVERIFIED",
        "manifest failed signature verification",
    ),
    ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
    (
        "DIGEST_INVALID",
        "provided digest did not match uploaded content",
    ),
    (
        "SIZE_INVALID",
        "provided length did not match content length",
    ),
    ("TAG_INVALID", "manifest tag did not match URI"),
];

impl ErrorReply {
    /// Reads a refusing reply: `status_line` is the number and the reason as sent, `body` may be cut at
    /// [`MAX_ERROR_BODY`].
    pub fn new(status: u16, reason: &str, challenges: &[Challenge], body: &[u8]) -> Self {
        if !(400..500).contains(&status) {
            return Self {
                status,
                code: None,
                text: format!("received unexpected HTTP status: {status} {reason}")
                    .trim_end()
                    .into(),
            };
        }
        if let Some((code, text)) = (status == 401)
            .then(|| from_challenges(challenges))
            .flatten()
        {
            return Self::coded(status, code, text);
        }
        Self::from_body(status, body)
    }

    fn coded(status: u16, code: &str, text: String) -> Self {
        Self {
            status,
            code: Some(code.into()),
            text: text.into(),
        }
    }

    fn from_body(status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if let Some(first) = json.get("errors").and_then(|errors| errors.get(0)) {
            let code = first
                .get("code")
                .and_then(Value::as_str)
                .unwrap_or("UNKNOWN");
            let message = first.get("message").and_then(Value::as_str).unwrap_or("");
            return Self::coded(status, code, sentence(code, message));
        }
        if let Some(details) = json
            .get("details")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
        {
            let code = match status {
                401 => "UNAUTHORIZED",
                429 => "TOOMANYREQUESTS",
                _ => "UNKNOWN",
            };
            return Self::coded(status, code, sentence(code, details));
        }
        if status == 401 {
            return Self::coded(status, "UNAUTHORIZED", "authentication required".to_owned());
        }
        let text = String::from_utf8_lossy(body);
        let quoted: String = match text.char_indices().nth(QUOTED_BODY) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.into_owned(),
        };
        Self {
            status,
            code: None,
            text: format!("StatusCode: {status}, {quoted:?}").into(),
        }
    }

    /// Returns whether a whole copy may be tried again after this reply.
    pub fn is_retryable(&self) -> bool {
        match self.code.as_deref() {
            Some(code) => !matches!(
                code,
                "UNAUTHORIZED" | "DENIED" | "NAME_UNKNOWN" | "MANIFEST_UNKNOWN"
            ),
            None => matches!(self.status, 502..=504),
        }
    }
}

/// A Bearer challenge that says what is wrong with the token takes precedence over the body.
fn from_challenges(challenges: &[Challenge]) -> Option<(&'static str, String)> {
    let bearer = challenges.iter().filter(|known| known.scheme == "bearer");
    bearer
        .filter_map(|challenge| {
            let code = match challenge.parameter("error")? {
                "invalid_token" => "UNAUTHORIZED",
                "insufficient_scope" => "DENIED",
                _ => return None,
            };
            let description = challenge.parameter("error_description").unwrap_or("");
            Some((code, sentence(code, description)))
        })
        .next()
}

fn sentence(code: &str, message: &str) -> String {
    let standard = SENTENCES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("unknown error", |(_, sentence)| *sentence);
    if message.is_empty() || message == standard {
        return standard.to_owned();
    }
    let words = code.to_ascii_lowercase().replace('_', " ");
    format!("{words}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge;

    /// `answer`: status and reason, a `WWW-Authenticate` header, a body.
    fn check(answer: (&str, &str, &str), expected: &str, retryable: bool) {
        let (line, header, body) = answer;
        let (status, reason) = line.split_once(' ').unwrap_or((line, ""));
        let challenges = challenge::parse([header]);
        let reply = ErrorReply::new(
            status.parse().unwrap(),
            reason,
            &challenges,
            body.as_bytes(),
        );
        assert_eq!(reply.to_string(), expected);
        assert_eq!(reply.is_retryable(), retryable, "{expected}");
    }

    fn errors(code: &str, message: &str) -> String {
        format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}},{{"code":"X"}}]}}"#)
    }

    #[test]
    fn refusing_replies_read_as_buildah_prints_them() {
        let unexpected = "received unexpected HTTP status: ";
        let check_status = |line: &str, retryable| {
            check((line, "", "{}"), &format!("{unexpected}{line}"), retryable);
        };
        check_status("500 Internal Server Error", false);
        check_status("503 Service Unavailable", true);
        check_status("302", false);
        let details = r#"{"details":"x"}"#;
        check(("401", "", details), "unauthorized: x", false);
        check(("429", "", details), "toomanyrequests: x", true);
        check(("404", "", details), "unknown: x", true);
        check(("401", "", "<html>"), "authentication required", false);
        check(
            ("404", "", "not here"),
            "StatusCode: 404, \"not here\"",
            false,
        );
        check(("429", "", "slow"), "StatusCode: 429, \"slow\"", false);
        let quoted = format!("StatusCode: 404, \"{}...\"", "y".repeat(50));
        check(("404", "", &"y".repeat(60)), &quoted, false);
    }

    #[test]
    fn error_codes_have_standard_sentences() {
        for (status, code, message, expected, retryable) in [
            (
                "404",
                "MANIFEST_UNKNOWN",
                "manifest unknown",
                "manifest unknown",
                false,
            ),
            ("404", "MANIFEST_UNKNOWN", "", "manifest unknown", false),
            (
                "404",
                "BLOB_UNKNOWN",
                "gone away",
                "blob unknown: gone away",
                true,
            ),
            (
                "403",
                "DENIED",
                "quota exceeded",
                "denied: quota exceeded",
                false,
            ),
            ("400", "ODD_CODE", "strange", "odd code: strange", true),
        ] {
            check((status, "", &errors(code, message)), expected, retryable);
        }
    }

    #[test]
    fn what_a_challenge_says_precedes_the_body() {
        let narrow = "Bearer realm=x,error=\"insufficient_scope\",error_description=\"not yours\"";
        check(
            ("401", narrow, &errors("UNAUTHORIZED", "")),
            "denied: not yours",
            false,
        );
        let stale = "Bearer realm=x,error=\"invalid_token\"";
        check(("401", stale, ""), "authentication required", false);
    }
}
