//! One question to the server that issued a token (RFC 7662, section 2), and whether what comes back is an answer.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::form_urlencoded;

use crate::authenticate::trial::Wanting;
use crate::authenticate::verified::Validity;
use crate::config::{self, ClientAuth};
use crate::domain::json::parse_strict;
use crate::domain::live::Live;
use crate::domain::secret::{Credential, Secret};
use crate::outbound::{self, BodyError, Outbound, Unbuildable};

const MAX_BODY: usize = 64 * 1024;
/// Forgiven between the server's clock and ours at `nbf` and `iat`; `exp` holds to the second.
const LEEWAY_SECONDS: u64 = 30;

/// What the server says of a token.
pub(super) enum Answer {
    Inactive,
    /// With everything else that it says of the token.
    Active(Map<String, Value>, Validity),
}

/// Why there is no answer. None of it says that a token is not good.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    #[error("it did not answer in time")]
    TooSlow,
    #[error("it refuses Ephemint itself (status {0})")]
    Refused(StatusCode),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("its answer could not be read")]
    Body(#[source] BodyError<reqwest::Error>),
    #[error("its answer is not of the form of RFC 7662, section 2.2: {0}")]
    Malformed(&'static str),
}

impl From<NoAnswer> for Wanting {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::Http(error) => error.into(),
            NoAnswer::TooSlow => Self::silent(),
            NoAnswer::Refused(status) => Self::Refused(status.as_u16()),
            NoAnswer::Status(status) => Self::status(status),
            NoAnswer::Body(_) | NoAnswer::Malformed(_) => Self::Malformed,
        }
    }
}

pub(super) struct Endpoint {
    client: Client,
    url: Url,
    deadline: Duration,
    client_id: String,
    client_secret: Live<Secret>,
    client_auth: ClientAuth,
}

impl Endpoint {
    pub(super) fn new(settings: &config::Introspection, outbound: &Outbound) -> Result<Self, Unbuildable> {
        Ok(Self {
            client: outbound.client(settings.timeout)?,
            url: settings.endpoint.clone(),
            deadline: settings.timeout,
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            client_auth: settings.client_auth,
        })
    }

    pub(super) async fn ask(&self, token: &Credential) -> Result<Answer, NoAnswer> {
        timeout(self.deadline, self.answer(token)).await.unwrap_or(Err(NoAnswer::TooSlow))
    }

    async fn answer(&self, token: &Credential) -> Result<Answer, NoAnswer> {
        let response = match self.send(token).await {
            // Most often the server has just closed a connection that was idle, and to ask again does no harm.
            Err(error) if error.is_request() && !error.is_timeout() => self.send(token).await,
            outcome => outcome,
        };
        let response = response.map_err(|e| NoAnswer::Http(e.without_url()))?;
        match response.status() {
            StatusCode::OK => read(&body(response).await?).map_err(NoAnswer::Malformed),
            StatusCode::BAD_REQUEST => read_error(&body(response).await?),
            refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(NoAnswer::Refused(refused)),
            other => Err(NoAnswer::Status(other)),
        }
    }

    /// Section 2.1.
    async fn send(&self, token: &Credential) -> Result<Response, reqwest::Error> {
        let (form, basic) = self.form(token);
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form);
        if let Some(basic) = basic {
            request = request.header(AUTHORIZATION, basic);
        }
        request.send().await
    }

    /// The body, and the `Authorization` header if the client proves itself there (RFC 6749, section 2.3.1).
    fn form(&self, token: &Credential) -> (String, Option<HeaderValue>) {
        let current = self.client_secret.get();
        let (id, secret) = (self.client_id.as_str(), current.reveal());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token.reveal()).append_pair("token_type_hint", "access_token");
        match self.client_auth {
            ClientAuth::Post => {
                form.append_pair("client_id", id).append_pair("client_secret", secret);
                (form.finish(), None)
            }
            ClientAuth::Basic => {
                let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
                // Base64 always makes a header value.
                let mut basic = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or_else(|_| HeaderValue::from_static(""));
                basic.set_sensitive(true);
                (form.finish(), Some(basic))
            }
        }
    }
}

async fn body(response: Response) -> Result<Bytes, NoAnswer> {
    outbound::body(reqwest::Body::from(response), MAX_BODY).await.map_err(NoAnswer::Body)
}

/// RFC 6749, section 5.2: a client may be refused with status 400 too. RFC 7009, section 2.2.1: a server may say of a token that it
/// vouches for none of that kind.
fn read_error(body: &[u8]) -> Result<Answer, NoAnswer> {
    let problem = parse_strict(body).unwrap_or_default();
    match problem.get("error").and_then(Value::as_str) {
        Some("unsupported_token_type") => Ok(Answer::Inactive),
        Some("invalid_client" | "unauthorized_client") => Err(NoAnswer::Refused(StatusCode::BAD_REQUEST)),
        _ => Err(NoAnswer::Status(StatusCode::BAD_REQUEST)),
    }
}

/// Section 2.2. What is not of its form is no answer: it is neither believed nor taken for a no.
fn read(body: &[u8]) -> Result<Answer, &'static str> {
    let Ok(Value::Object(claims)) = parse_strict(body) else {
        return Err("not one JSON object without duplicate keys");
    };
    match claims.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Answer::Inactive),
        _ => return Err("active is neither true nor false"),
    }
    let validity = validity(&claims).ok_or("exp, nbf or iat is not in whole seconds")?;
    Ok(Answer::Active(claims, validity))
}

/// Whole seconds, all of them optional.
fn validity(claims: &Map<String, Value>) -> Option<Validity> {
    let seconds = |name: &str, absent: u64| claims.get(name).map_or(Some(absent), Value::as_u64);
    let from = seconds("nbf", 0)?.max(seconds("iat", 0)?).saturating_sub(LEEWAY_SECONDS);
    Some(Validity { from, until: seconds("exp", u64::MAX)? })
}

#[cfg(test)]
mod tests {
    use super::{Answer, read};

    #[test]
    fn an_answer_says_yes_or_no_in_its_own_form() {
        assert!(matches!(read(br#"{"active":true,"exp":7}"#), Ok(Answer::Active(..))));
        assert!(matches!(read(br#"{"active":false,"exp":"x"}"#), Ok(Answer::Inactive)));
        for text in [
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"Active":true}"#,
            r#"{"active":true,"active":false}"#,
            r#"{"active":true,"exp":"4102444800"}"#,
            r#"{"active":true,"exp":1e3}"#,
            r#"{"active":true,"nbf":-1}"#,
            r#"{"active":true,"iat":null}"#,
            r#"[{"active":true}]"#,
            "true",
            "",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
