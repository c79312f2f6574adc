//! Opaque tokens: the server that issued them is asked (RFC 7662).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use url::form_urlencoded;

use super::claims::{Reading, names_audience};
use super::memory::Memory;
use super::verified::Validity;
use super::{Principal, Unauthenticated};
use crate::config::{self, ClaimPath, ClientAuth};
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::json::parse_strict;
use crate::domain::secret::{Credential, Secret, Sha256};
use crate::outbound::{self, BodyError, Outbound, Unbuildable};
use crate::telemetry::metrics::{IntrospectionLabels, Metrics};

const MAX_TOKEN: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;
const MOST_REMEMBERED: u64 = 100_000;
/// Questions that wait for an answer at once; beyond that callers are asked to come back.
const MOST_ASKED: usize = 256;
/// Forgiven between the server's clock and ours.
const LEEWAY_SECONDS: u64 = 30;
const RETRY: Duration = Duration::from_secs(5);

/// A token that its server vouched for.
#[derive(Clone)]
struct Active {
    principal: Arc<Principal>,
    validity: Validity,
}

/// What is known of a token. An outage is no knowledge.
type Finding = Result<Active, Unauthenticated>;

/// One server.
pub(super) struct Introspection {
    settings: config::Introspection,
    identity: Arc<str>,
    client: Client,
    /// Claims that profiles ask for.
    asked_claims: Arc<[ClaimPath]>,
    names: Pseudonymizer,
    good: Memory<Active>,
    /// Apart, so that a flood of bad tokens does not make good ones forgotten.
    bad: Memory<Unauthenticated>,
    /// Questions under way: all callers with one token share one.
    asked: Mutex<HashMap<Sha256, watch::Receiver<Option<Finding>>>>,
    /// The process's runtime: an answer is worth having even when the caller who asked first is gone.
    runtime: Handle,
    clock: SharedClock,
    metrics: Metrics,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    #[error("it refuses Ephemint's own client id or secret (status {0})")]
    Refused(StatusCode),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("its answer could not be read")]
    Body(#[source] BodyError<reqwest::Error>),
    #[error("its answer is not of the form of RFC 7662, section 2.2")]
    Malformed,
}

impl Introspection {
    /// Must run inside the process's runtime.
    pub(super) fn new(
        settings: config::Introspection,
        asked_claims: Arc<[ClaimPath]>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Unbuildable> {
        Ok(Arc::new(Self {
            identity: format!("introspection.{}", settings.name).into(),
            client: outbound.client(settings.timeout)?,
            asked_claims,
            names,
            good: Memory::of(MOST_REMEMBERED),
            bad: Memory::of(MOST_REMEMBERED),
            asked: Mutex::default(),
            runtime: Handle::current(),
            clock,
            metrics,
            settings,
        }))
    }

    /// Whether a token of this form is this server's to judge.
    pub(super) fn takes(&self, token: &str) -> bool {
        token.starts_with(&self.settings.token_prefix)
    }

    /// Asks about a token, or remembers the answer. A token whose server cannot be asked is not refused, and not let in either.
    pub(super) async fn authenticate(self: &Arc<Self>, token: &str, digest: Sha256) -> Result<Arc<Principal>, Unauthenticated> {
        if !is_token(token) {
            return Err(Unauthenticated::Invalid);
        }
        let remembered = self.good.get(&digest).map(Ok).or_else(|| self.bad.get(&digest).map(Err));
        let finding = if let Some(finding) = remembered {
            self.metrics.token_cache_hits.inc();
            finding
        } else {
            self.metrics.token_cache_misses.inc();
            self.ask_once(token, digest).await
        };
        let active = finding?;
        active.validity.check(self.clock.unix())?;
        Ok(active.principal)
    }

    async fn ask_once(self: &Arc<Self>, token: &str, digest: Sha256) -> Finding {
        let mut answer = self.question(token, digest).ok_or_else(|| self.unavailable())?;
        let finding = answer.wait_for(Option::is_some).await.ok().and_then(|finding| finding.clone());
        // Whoever was to answer has gone, with the runtime.
        finding.unwrap_or_else(|| Err(self.unavailable()))
    }

    /// The question about this token that is under way, or a new one. `None` when too many are.
    fn question(self: &Arc<Self>, token: &str, digest: Sha256) -> Option<watch::Receiver<Option<Finding>>> {
        // Nothing in a critical section can panic half-way through a change.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = asked.get(&digest) {
            return Some(answer.clone());
        }
        if asked.len() >= MOST_ASKED {
            return None;
        }
        let (answered, answer) = watch::channel(None);
        asked.insert(digest, answer.clone());
        let (asking, token) = (self.clone(), Credential::from(token));
        self.runtime.spawn(async move {
            let finding = asking.ask(&token).await;
            asking.remember(digest, &finding);
            asking.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest);
            answered.send_replace(Some(finding));
        });
        Some(answer)
    }

    fn remember(&self, digest: Sha256, finding: &Finding) {
        match finding {
            Ok(active) => {
                let left = Duration::from_secs(active.validity.until.saturating_sub(self.clock.unix()));
                self.good.put(digest, active.clone(), left.min(self.settings.remember_good));
            }
            Err(Unauthenticated::Unavailable(..)) => {}
            Err(refusal) => self.bad.put(digest, refusal.clone(), self.settings.remember_bad),
        }
    }

    async fn ask(&self, token: &Credential) -> Finding {
        let answer = self.answer(token).await;
        let finding = match &answer {
            Ok(claims) => self.judge(claims),
            Err(cause) => {
                self.log(cause);
                Err(self.unavailable())
            }
        };
        let outcome = match &finding {
            Ok(_) => "active",
            Err(Unauthenticated::Unavailable(..)) => "failed",
            Err(_) => "inactive",
        };
        self.metrics.introspections.get_or_create(&IntrospectionLabels { server: self.settings.name.clone(), outcome }).inc();
        finding
    }

    /// Section 2.1.
    async fn answer(&self, token: &Credential) -> Result<Map<String, Value>, NoAnswer> {
        let (form, basic) = self.form(token);
        let mut request = self
            .client
            .post(self.settings.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form);
        if let Some(basic) = basic {
            request = request.header(reqwest::header::AUTHORIZATION, basic);
        }
        let response = request.send().await.map_err(|e| NoAnswer::Http(e.without_url()))?;
        match response.status() {
            StatusCode::OK => {}
            refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => return Err(NoAnswer::Refused(refused)),
            other => return Err(NoAnswer::Status(other)),
        }
        let body = outbound::body(reqwest::Body::from(response), MAX_BODY).await.map_err(NoAnswer::Body)?;
        match parse_strict(&body) {
            Ok(Value::Object(claims)) if claims.get("active").is_some_and(Value::is_boolean) => Ok(claims),
            _ => Err(NoAnswer::Malformed),
        }
    }

    /// The body, and the `Authorization` header if the client proves itself there (RFC 6749, section 2.3.1).
    fn form(&self, token: &Credential) -> (String, Option<HeaderValue>) {
        let (id, secret): (&str, &Secret) = (&self.settings.client_id, &self.settings.client_secret);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token.reveal()).append_pair("token_type_hint", "access_token");
        match self.settings.client_auth {
            ClientAuth::Post => {
                form.append_pair("client_id", id).append_pair("client_secret", secret.reveal());
                (form.finish(), None)
            }
            ClientAuth::Basic => {
                let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret.reveal())));
                // Base64 always makes a header value.
                let mut basic = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or_else(|_| HeaderValue::from_static(""));
                basic.set_sensitive(true);
                (form.finish(), Some(basic))
            }
        }
    }

    /// Section 2.2. Whatever of an active token does not fit is refused as if it were inactive.
    fn judge(&self, claims: &Map<String, Value>) -> Finding {
        let settings = &self.settings;
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(Unauthenticated::Invalid);
        }
        let validity = validity(claims).ok_or(Unauthenticated::Invalid)?;
        let issuer_fits =
            !settings.is_issuer_strict || claims.get("iss").is_none_or(|iss| iss.as_str() == Some(settings.issuer.as_str()));
        let audience_fits = settings.audience.is_empty() || names_audience(claims.get("aud"), &settings.audience);
        if !issuer_fits || !audience_fits {
            return Err(Unauthenticated::Invalid);
        }
        let reading = Reading {
            mapping: &settings.mapping,
            identity: &self.identity,
            issuer: &settings.issuer,
            asked: &self.asked_claims,
            names: &self.names,
        };
        Ok(Active { principal: Arc::new(reading.principal(claims)?), validity })
    }

    fn unavailable(&self) -> Unauthenticated {
        Unauthenticated::Unavailable(self.identity.clone(), RETRY)
    }

    fn log(&self, no_answer: &NoAnswer) {
        let cause = std::error::Error::source(no_answer).map(ToString::to_string);
        let server = self.settings.name.as_str();
        if matches!(no_answer, NoAnswer::Refused(_)) {
            tracing::error!(server, error = %no_answer, "tokens cannot be checked; see identity.introspection for client_id and client_secret");
        } else {
            tracing::warn!(server, error = %no_answer, cause, "a token cannot be checked");
        }
    }
}

/// `b64token` of RFC 6750, section 2.1, of a sane length: nothing else is worth a question.
fn is_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    (1..=MAX_TOKEN).contains(&token.len())
        && !body.is_empty()
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// Whole seconds, all of them optional (section 2.2).
fn validity(claims: &Map<String, Value>) -> Option<Validity> {
    let seconds = |name: &str, absent: u64| claims.get(name).map_or(Some(absent), Value::as_u64);
    let from = seconds("nbf", 0)?.max(seconds("iat", 0)?).saturating_sub(LEEWAY_SECONDS);
    Some(Validity { from, until: seconds("exp", u64::MAX)? })
}

#[cfg(test)]
mod tests {
    use super::is_token;

    #[test]
    fn only_what_can_be_a_token_is_asked_about() {
        for good in ["a", "2YotnFZFEjr1zCsicMWpAA", "a-._~+/b=="] {
            assert!(is_token(good), "{good}");
        }
        for bad in ["", "=", "a b", "a=b", "a\"b", "ü", "a,b", "a{b", &"a".repeat(8 * 1024 + 1)] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
