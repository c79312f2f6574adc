//! The issuer as a sign-in sees it: where it is, and what it says at its token endpoint.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::authenticate::Unauthenticated;
use crate::authenticate::jwt::Issuer;
use crate::config::Client;
use crate::domain::secret::{Credential, Secret};
use crate::outbound;

/// Of one exchange with the token endpoint, body included.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 64 * 1024;
const RETRY: Duration = Duration::from_secs(5);

pub(super) struct Provider {
    pub(super) issuer: Issuer,
    pub(super) http: reqwest::Client,
    pub(super) client: Client,
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    /// The process's own, which outlives a browser that goes away in the middle.
    pub(super) runtime: Handle,
}

/// What discovery says of sign-in: OpenID Connect Discovery 1.0, RP-Initiated Logout 1.0, RFC 7009, RFC 9207.
pub(super) struct Endpoints {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) end_session: Option<Url>,
    pub(super) revocation: Option<Url>,
    /// The issuer always names itself when it sends a browser back.
    pub(super) names_itself: bool,
}

impl Endpoints {
    /// `None` when one that is needed is missing, or one of an https issuer is not https.
    pub(super) fn read(issuer: &str, discovery: &Map<String, Value>) -> Option<Self> {
        let is_https = issuer.starts_with("https://");
        let endpoint = |name: &str| match discovery.get(name).and_then(Value::as_str) {
            None => Some(None),
            Some(text) => {
                Url::parse(text).ok().filter(|url| url.scheme() == "https" || !is_https && url.scheme() == "http").map(Some)
            }
        };
        Some(Self {
            authorization: endpoint("authorization_endpoint")??,
            token: endpoint("token_endpoint")??,
            end_session: endpoint("end_session_endpoint")?,
            revocation: endpoint("revocation_endpoint")?,
            names_itself: discovery.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        })
    }
}

/// What the token endpoint gave.
pub(super) struct Tokens {
    pub(super) id_token: Option<Credential>,
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    /// Seconds.
    pub(super) expires_in: Option<u64>,
}

/// Why the token endpoint gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTokens {
    /// The code or refresh token is not good, or not any more.
    Refused,
    /// It cannot be asked, or does not take this client.
    Unavailable,
}

impl Provider {
    /// As far as known now.
    pub(super) fn known_endpoints(&self) -> Option<Endpoints> {
        Endpoints::read(&self.issuer.settings.issuer, self.issuer.keys.current().ok()?.discovery())
    }

    /// Waits for the first fetch, if that has not ended.
    pub(super) async fn endpoints(&self) -> Result<Endpoints, Unauthenticated> {
        self.issuer.keys.first_fetch().await;
        self.known_endpoints().ok_or_else(|| {
            tracing::warn!("discovery does not say where users of identity.login sign in: authorization_endpoint and token_endpoint are missing, not URLs, or not https");
            self.unavailable()
        })
    }

    pub(super) fn unavailable(&self) -> Unauthenticated {
        Unauthenticated::Unavailable(self.issuer.settings.name.as_str().into(), RETRY)
    }

    /// Trades a code for tokens (RFC 6749, section 4.1.3; RFC 7636, section 4.5).
    pub(super) async fn exchange(self: &Arc<Self>, code: &str, verifier: &str) -> Result<Tokens, NoTokens> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
        ];
        let (provider, form) = (self.clone(), self.form(&form));
        let asking = self.runtime.spawn(async move { provider.ask(form).await });
        asking.await.unwrap_or(Err(NoTokens::Unavailable))
    }

    /// Trades a refresh token for fresh tokens (RFC 6749, section 6). To be called on the process's own runtime.
    pub(super) async fn refresh(&self, token: &Secret) -> Result<Tokens, NoTokens> {
        self.ask(self.form(&[("grant_type", "refresh_token"), ("refresh_token", token.reveal())])).await
    }

    /// Gives a refresh token back (RFC 7009), without waiting for whether the issuer takes it.
    pub(super) fn revoke(self: &Arc<Self>, token: &Secret) {
        let Some(url) = self.known_endpoints().and_then(|endpoints| endpoints.revocation) else { return };
        let (provider, form) = (self.clone(), self.form(&[("token", token.reveal()), ("token_type_hint", "refresh_token")]));
        self.runtime.spawn(async move {
            let answer = provider.post(url, &form).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                tracing::debug!("a refresh token could not be revoked");
            }
        });
    }

    async fn ask(&self, form: Secret) -> Result<Tokens, NoTokens> {
        let token_endpoint = self.known_endpoints().ok_or(NoTokens::Unavailable)?.token;
        self.answer(self.post(token_endpoint, &form)).await.map_err(|error| {
            if matches!(error, AskError::InvalidGrant) {
                tracing::debug!(%error, "no tokens for a user of identity.login");
                return NoTokens::Refused;
            }
            tracing::warn!(%error, "the token endpoint of identity.login is of no use");
            NoTokens::Unavailable
        })
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Tokens, AskError> {
        let answer = request.send().await.map_err(|e| AskError::NoAnswer(e.without_url()))?;
        let status = answer.status();
        let body = outbound::body(reqwest::Body::from(answer), MAX_BODY).await.map_err(|_| AskError::Malformed)?;
        if status == StatusCode::OK {
            let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| AskError::Malformed)?;
            return Ok(answer.into());
        }
        if !status.is_client_error() {
            return Err(AskError::Status(status));
        }
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|_| AskError::Status(status))?;
        Err(if refusal.error == "invalid_grant" {
            AskError::InvalidGrant
        } else {
            AskError::Client(status, known(&refusal.error))
        })
    }

    fn post(&self, url: Url, form: &Secret) -> RequestBuilder {
        let request =
            self.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").header(ACCEPT, "application/json");
        let request = match &self.client {
            Client::Basic(secret) => request.header(AUTHORIZATION, basic(&self.client_id, &secret.get())),
            Client::Public | Client::Post(_) => request,
        };
        request.body(form.reveal().to_owned())
    }

    /// Names the client, where that is not done in a header.
    fn form(&self, fields: &[(&str, &str)]) -> Secret {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(fields);
        match &self.client {
            Client::Basic(_) => {}
            Client::Public => {
                form.append_pair("client_id", &self.client_id);
            }
            Client::Post(secret) => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.get().reveal());
            }
        }
        Secret::from(form.finish())
    }
}

/// RFC 6749, section 2.3.1: both parts are encoded as in a form before they are joined.
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!("{}:{}", encoded(client_id), encoded(secret.reveal()));
    // Base64 is a header's value always.
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(joined))).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// RFC 6749, section 5.1; OpenID Connect Core 1.0, section 3.1.3.3. The access token is for others and not looked into.
#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    /// Some issuers write the number as text.
    expires_in: Option<Value>,
}

impl From<TokenAnswer> for Tokens {
    fn from(answer: TokenAnswer) -> Self {
        Self {
            id_token: answer.id_token.map(|text| Credential::from(text.as_str())),
            access_token: answer.access_token.filter(|text| !text.is_empty()).map(Secret::from),
            refresh_token: answer.refresh_token.filter(|text| !text.is_empty()).map(Secret::from),
            expires_in: answer.expires_in.and_then(|seconds| seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok())),
        }
    }
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The issuer's error code, for the log. Other text of theirs stays out of it.
fn known(error: &str) -> &'static str {
    let codes = [
        "invalid_request",
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "temporarily_unavailable",
    ];
    codes.into_iter().find(|code| *code == error).unwrap_or("another error")
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no answer: {0}")]
    NoAnswer(#[source] reqwest::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("status {0}, {1}: check client_id, client_secret and client_auth")]
    Client(StatusCode, &'static str),
    #[error("invalid_grant")]
    InvalidGrant,
    #[error("the answer is not of OpenID Connect's form")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Endpoints, Secret, basic, known};

    fn read(issuer: &str, discovery: &Value) -> Option<Endpoints> {
        Endpoints::read(issuer, discovery.as_object().unwrap())
    }

    #[test]
    fn endpoints_of_an_https_issuer_are_https() {
        let (secure, plain) = ("https://login.example", "http://login.example");
        let document = json!({"authorization_endpoint": format!("{secure}/a"), "token_endpoint": format!("{secure}/t")});
        assert!(read(secure, &document).is_some_and(|found| !found.names_itself && found.end_session.is_none()));
        for name in ["authorization_endpoint", "token_endpoint", "end_session_endpoint", "revocation_endpoint"] {
            for bad in [json!(format!("{plain}/x")), json!("javascript:alert(1)"), json!("no url")] {
                let mut document = document.clone();
                document[name] = bad;
                assert!(read(secure, &document).is_none(), "{document}");
            }
        }
        for name in ["authorization_endpoint", "token_endpoint"] {
            let mut document = document.clone();
            document[name] = Value::Null;
            assert!(read(secure, &document).is_none(), "{document}");
        }
        assert!(
            read(plain, &json!({"authorization_endpoint": format!("{plain}/a"), "token_endpoint": format!("{secure}/t")}))
                .is_some()
        );
    }

    #[test]
    fn the_clients_secret_is_encoded_before_it_is_joined() {
        let header = basic("a:b", &Secret::from("c d%".to_owned()));
        assert_eq!(header.to_str().unwrap(), "Basic YSUzQWI6YytkJTI1");
        assert!(header.is_sensitive());
    }

    #[test]
    fn an_issuers_own_words_are_not_logged() {
        assert_eq!(known("invalid_client"), "invalid_client");
        assert_eq!(known("canary: your code was abc"), "another error");
    }
}
