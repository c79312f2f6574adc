//! Bodies and headers of answers.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::HeaderName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admit::{Rule, Standing};
use crate::bind::Binding;
use crate::domain::ids::{Pseudonym, SessionId, hex};
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
            profile: &issued.binding.owner().profile,
            calls_url: issued.minted.calls_url(),
        };
        Self { value, expires_at, session: issued.minted.session(), client_secret: Repeated { value, expires_at }, ephemint }
    }
}

/// One session.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    #[schema(value_type = String)]
    session_id: SessionId,
    /// The pseudonym of its user. For operators alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    user: Option<Pseudonym>,
    profile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant: String,
    /// `issued` until the secret expires or its call is reported; `in_call` until the call is over; then `ended`, `revoked` by an
    /// operator, or `expired`.
    #[schema(value_type = String)]
    state: &'static str,
    /// Seconds since 1970.
    issued_at: u64,
    /// Seconds since 1970.
    expires_at: u64,
    /// The call at the provider, once it was reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    /// When it was ended or revoked, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<u64>,
    /// SHA-256 of the client secret, in hexadecimal.
    secret_sha256: String,
}

impl Session {
    /// As its own user sees it.
    pub(super) fn of(binding: &Binding, now: u64) -> Self {
        Self {
            session_id: binding.session(),
            user: None,
            profile: binding.owner().profile.to_string(),
            tenant: binding.owner().tenant.to_string(),
            state: binding.state(now).name(),
            issued_at: binding.issued_at(),
            expires_at: binding.expires_at(),
            call_id: binding.call().map(|call| call.id.as_str().to_owned()),
            ended_at: binding.end().map(|end| end.at),
            secret_sha256: hex(&binding.secret().0),
        }
    }

    /// As operators see it.
    pub(super) fn of_anybody(binding: &Binding, now: u64) -> Self {
        Self { user: Some(binding.owner().user), ..Self::of(binding, now) }
    }
}

/// Sessions, the newest first.
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
