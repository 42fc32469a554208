//! Who somebody is, said on another device: a code that a person types there (RFC 8628).

use std::thread::sleep;
use std::time::{Duration, Instant};

use model::Secret;
use registry::{Question, Services};
use serde::Deserialize;
use trust::IdToken;

use super::conversation::Conversation;
use super::error::{OidcError, ServiceError};
use super::oidc::{CHALLENGE_METHOD, Given, Issuer, Proof, SCOPE, decode};
use super::parameters::OidcClient;

type Result<T> = std::result::Result<T, OidcError>;

/// How long between two questions whether the code was typed, when the issuer does not say it (RFC 8628, 3.2); and how
/// much longer when it wants us to be slower (3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// The shortest and the longest time between two questions.
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// The longest that a code is waited for.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What the issuer answers to who announces a device.
#[derive(Deserialize)]
struct Announced {
    device_code: String,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: String,
    interval: Option<u64>,
    #[serde(default)]
    expires_in: u64,
}

/// Gets a token from an issuer after the person has typed a code elsewhere.
pub(super) fn id_token(
    services: &Services,
    client: &OidcClient,
    conversation: &dyn Conversation,
) -> Result<IdToken> {
    let issuer = Issuer::discover(services, client)?;
    let proof = Proof::new()?;
    let announced = announce(&issuer, &proof)?;
    let at = match &*announced.verification_uri_complete {
        "" => &announced.verification_uri,
        complete => complete,
    };
    let (code, valid) = (&announced.user_code, announced.expires_in);
    conversation.tell(&format!(
        "Enter the verification code {code} in your browser at: {at}"
    ));
    conversation.tell(&format!("Code will be valid for {valid} seconds"));
    let end = Instant::now() + Duration::from_secs(valid).min(PATIENCE);
    let mut interval = announced.interval.map_or(INTERVAL, Duration::from_secs);
    let fields = [
        ("grant_type", Secret::new(GRANT)),
        ("device_code", Secret::new(announced.device_code)),
        ("scope", Secret::new(SCOPE)),
        ("code_verifier", proof.verifier),
    ];
    loop {
        match issuer.tokens(&fields)? {
            Given::Tokens(tokens) => {
                conversation.tell("Token received!");
                return issuer.accept(tokens, None);
            }
            Given::Refused(reason) if reason == "authorization_pending" => {}
            Given::Refused(reason) if reason == "slow_down" => interval += INTERVAL,
            Given::Refused(reason) => return Err(OidcError::Denied { reason }),
        }
        interval = interval.clamp(INTERVALS[0], INTERVALS[1]);
        if Instant::now() + interval > end {
            return Err(OidcError::Denied {
                reason: "expired_token".to_owned(),
            });
        }
        sleep(interval);
    }
}

fn announce(issuer: &Issuer<'_>, proof: &Proof) -> Result<Announced> {
    let url = issuer.device_endpoint()?;
    let secret = |text: &str| Secret::new(text);
    let fields = vec![
        ("client_id", secret(&issuer.client.id)),
        ("scope", secret(SCOPE)),
        ("code_challenge_method", secret(CHALLENGE_METHOD)),
        ("code_challenge", secret(&proof.challenge)),
    ];
    let client = None;
    let asked = issuer.services.ask(url, &Question::Form { fields, client });
    let reply = asked.map_err(ServiceError::from)?;
    if reply.status != 200 {
        return Err(ServiceError::refused(&format!("POST {url}"), &reply).into());
    }
    decode("device authorization", &reply.body)
}
