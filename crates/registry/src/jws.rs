//! The payload of a signed manifest of schema 1: the text without its signatures, of which digests are taken.
//!
//! The signatures are not looked at; nobody has trusted them for ten years.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

#[derive(Deserialize)]
struct Signed {
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    protected: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: usize,
    format_tail: String,
}

/// Returns the payload of a signed manifest of schema 1: what its digest is of, and all that may be believed. `None` when
/// the bytes are no such manifest.
pub fn payload(bytes: &[u8]) -> Option<Vec<u8>> {
    let signed: Signed = serde_json::from_slice(bytes).ok()?;
    let mut payload: Option<Vec<u8>> = None;
    for signature in &signed.signatures {
        let protected = URL_SAFE_NO_PAD.decode(&signature.protected).ok()?;
        let protected: Protected = serde_json::from_slice(&protected).ok()?;
        let mut found = bytes.get(..protected.format_length)?.to_vec();
        found.extend(URL_SAFE_NO_PAD.decode(&protected.format_tail).ok()?);
        // Several signatures must agree on what they sign.
        if payload.as_ref().is_some_and(|known| *known != found) {
            return None;
        }
        payload = Some(found);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_the_text_without_signatures() {
        let protected = URL_SAFE_NO_PAD.encode(format!(
            "{{\"formatLength\":{},\"formatTail\":\"{}\",\"time\":\"x\"}}",
            "{\"a\":1".len(),
            URL_SAFE_NO_PAD.encode("\n}")
        ));
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                payload(text.as_bytes()).as_deref(),
                expected.map(str::as_bytes),
                "{text}"
            );
        };
        let entry = format!("{{\"protected\":\"{protected}\",\"signature\":\"s\"}}");
        check(
            &format!("{{\"a\":1,\"signatures\":[{entry}]}}"),
            Some("{\"a\":1\n}"),
        );
        check(
            &format!("{{\"a\":1,\"signatures\":[{entry},{entry}]}}"),
            Some("{\"a\":1\n}"),
        );
        check("{\"a\":1,\"signatures\":[]}", None);
        check("{\"a\":1}", None);
        check("{\"signatures\":[{\"protected\":\"!\"}]}", None);
        let long = URL_SAFE_NO_PAD.encode("{\"formatLength\":9999,\"formatTail\":\"\"}");
        check(
            &format!("{{\"signatures\":[{{\"protected\":\"{long}\"}}]}}"),
            None,
        );
    }
}
