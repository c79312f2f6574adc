//! Bodies and headers of answers.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::HeaderName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admit::{Rule, Standing};
use crate::bind::{Binding, State};
use crate::domain::ids::{SessionId, hex};
use crate::issue::token::Issued;
use crate::provider::PublicSession;

/// The answer to a mint.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientSecret<'a> {
    /// The client secret, `ek_…`. Good until `expires_at`, for opening sessions with the provider.
    value: &'a str,
    /// Seconds since 1970.
    expires_at: u64,
    session: &'a PublicSession,
    client_secret: Repeated<'a>,
    ephemint: Ours<'a>,
}

/// The same secret in the shape that older sample apps read.
#[derive(Serialize, ToSchema)]
struct Repeated<'a> {
    value: &'a str,
    expires_at: u64,
}

#[derive(Serialize, ToSchema)]
struct Ours<'a> {
    /// Names the session at `/v1/sessions/{id}`.
    #[schema(value_type = String)]
    session_id: SessionId,
    profile: &'a str,
    /// Where to send the SDP offer, with the client secret.
    calls_url: &'a str,
}

impl<'a> From<&'a Issued> for ClientSecret<'a> {
    fn from(issued: &'a Issued) -> Self {
        let (value, expires_at) = (issued.minted.token().reveal_to_owner(), issued.minted.expires_at());
        let ephemint = Ours {
            session_id: issued.binding.session(),
            profile: issued.binding.profile(),
            calls_url: issued.minted.calls_url(),
        };
        Self { value, expires_at, session: issued.minted.session(), client_secret: Repeated { value, expires_at }, ephemint }
    }
}

/// One of the caller's sessions.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    #[schema(value_type = String)]
    session_id: SessionId,
    profile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant: String,
    /// `issued` until the secret expires, `ended` when its owner ended it.
    state: &'static str,
    /// Seconds since 1970.
    issued_at: u64,
    /// Seconds since 1970.
    expires_at: u64,
    /// SHA-256 of the client secret, in hexadecimal.
    secret_sha256: String,
}

impl From<&Binding> for Session {
    fn from(binding: &Binding) -> Self {
        Self {
            session_id: binding.session(),
            profile: binding.profile().to_string(),
            tenant: binding.tenant().to_owned(),
            state: match binding.state() {
                State::Issued => "issued",
                State::Ended => "ended",
            },
            issued_at: binding.issued_at(),
            expires_at: binding.expires_at(),
            secret_sha256: hex(&binding.secret().0),
        }
    }
}

/// The caller's sessions, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Sessions {
    object: &'static str,
    data: Vec<Session>,
}

impl From<Vec<Session>> for Sessions {
    fn from(data: Vec<Session>) -> Self {
        Self { object: "list", data }
    }
}

/// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10, section 2).
pub(super) fn rate_limit(response: &mut HttpResponseBuilder, standing: Standing) {
    let name = Rule::MintsPerMinute.name();
    response.insert_header((HeaderName::from_static("ratelimit-policy"), format!("\"{name}\";q={};w=60", standing.quota)));
    response.insert_header((
        HeaderName::from_static("ratelimit"),
        format!("\"{name}\";r={};t={}", standing.remaining, standing.reset),
    ));
}

/// Serializes into a buffer that holds a whole mint answer without growing.
pub(super) fn json(answer: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(1024);
    serde_json::to_writer(&mut text, answer)?;
    Ok(text)
}
