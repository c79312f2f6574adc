//! Short-lived credentials in place of keys: an identity of the platform is traded for a credential that lives minutes to hours, and traded
//! anew before that expires. At Azure that is an access token of Entra ID, at `OpenAI` workload identity federation:
//!
//! `POST https://auth.openai.com/oauth/token` (RFC 8693 in JSON), as `OpenAI`'s Python SDK 3.52 does it (`auth/_workload.py`); subjects from
//! the same place.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::{AGAIN, Care};
use crate::config::{EntraToken, Subject, Workload};
use crate::domain::clock::SharedClock;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::entra::{Identity, Trouble};
use crate::outbound::{self, Outbound, Unbuildable, Unreached};
use crate::provider::Key;
use crate::secrets::{Found, Sources};

const DEADLINE: Duration = Duration::from_secs(8);
const MAX_ANSWER: usize = 64 * 1024;
/// How long before its end a credential is traded anew, at most half of its life (the SDK's default).
const BUFFER: u64 = 1200;
/// Of what an answer may promise.
const LIFETIMES: std::ops::RangeInclusive<u64> = 1..=604_800;
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// As messages name it.
pub(crate) const EXCHANGE: &str = "the exchange";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// Trades, for as long as the process lives. One at a time, and never in a user's request.
pub(super) struct Exchange {
    care: Care,
    trade: Trade,
    /// What was logged last.
    told: Option<String>,
    /// When a request, or an operator, may ask for the next exchange.
    next: Instant,
    /// What it takes then until the one after: longer while the upstream refuses what is traded.
    pause: Duration,
}

/// One way to trade.
pub(crate) enum Trade {
    Federation(Box<Federation>),
    Entra(Box<Identity>, String, SharedClock),
}

/// `OpenAI`'s.
pub(crate) struct Federation {
    auth_url: Url,
    identity_provider_id: String,
    service_account_id: String,
    subject: Subject,
    sources: Arc<Sources>,
    client: Client,
}

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTraded {
    /// Nothing to trade: the platform's token cannot be read.
    #[error("{0}")]
    NoSubject(String),
    #[error("{0} cannot be reached: {1}")]
    Unreached(&'static str, Unreached),
    /// Whose refusal, its status and the name of its error, after a comma.
    #[error("{0} refuses: status {1}{2}")]
    Refused(&'static str, u16, String),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Entra(Trouble),
}

#[derive(Deserialize)]
struct Traded {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct AzureToken {
    access_token: String,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    error: String,
}

impl Exchange {
    pub(super) fn new(care: Care, trade: Trade) -> Self {
        Self { care, trade, told: None, next: Instant::now(), pause: AGAIN }
    }

    pub(super) async fn run(mut self) {
        let mut asked = self.care.upstream.ring().asked();
        let mut reload = self.care.inner.reload.subscribe();
        let mut pause = PAUSES.0;
        loop {
            let number = *asked.borrow_and_update();
            let wait = match self.renew().await {
                Ok(lifetime) => {
                    pause = PAUSES.0;
                    self.told = None;
                    self.trade.refresh_after(lifetime)
                }
                Err(cause) => {
                    self.failed(&cause.to_string()).await;
                    let wait = pause.mul_f64(1.0 - 0.25 * fastrand::f64());
                    pause = (pause * 2).min(PAUSES.1);
                    wait
                }
            };
            self.care.show();
            self.care.upstream.ring().answer(self.care.slot(), number);
            self.wait(&mut asked, &mut reload, wait).await;
        }
    }

    /// Until it is to be traded anew: also when a request has no credential, but not for each of many. The others are told at once that there
    /// is nothing new.
    async fn wait(&mut self, asked: &mut Receiver<u64>, reload: &mut Receiver<u64>, wait: Duration) {
        let end = Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(end) => {
                    self.pause = AGAIN;
                    return;
                }
                _ = reload.changed() => {}
                _ = asked.changed() => {}
            }
            if Instant::now() >= self.next {
                self.next = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(PAUSES.1);
                return;
            }
            self.care.upstream.ring().answer(self.care.slot(), *asked.borrow_and_update());
        }
    }

    async fn failed(&mut self, cause: &str) {
        self.care.count("refused");
        self.care.failed(cause);
        if self.told.as_deref() != Some(cause) {
            tracing::error!(upstream = self.care.name(), cause, "there is no new credential; it is tried again");
            self.care.record("exchange_failed", Some(cause), None, "").await;
            self.told = Some(cause.to_owned());
        }
    }

    /// Puts a new credential in use. For how many seconds it lives.
    async fn renew(&self) -> Result<u64, NotTraded> {
        let (secret, lifetime) = self.trade.trade().await?;
        let expires_at = self.care.inner.clock.unix() + lifetime;
        let key = Key::new(self.care.upstream.settings(), &secret, Some(expires_at));
        let key = key.ok_or(NotTraded::Malformed("the exchange answered with a credential that cannot be sent in a header"))?;
        // Endpoints for managed identities give the same token again until they have another.
        let is_news = self.care.slot().key().is_none_or(|held| held.fingerprint() != key.fingerprint() || held.is_refused());
        if is_news {
            self.care.adopt(key, None, "exchanged").await;
        }
        Ok(lifetime)
    }
}

impl Trade {
    pub(crate) fn federation(settings: &Workload, sources: Arc<Sources>, outbound: &Outbound) -> Result<Self, Unbuildable> {
        Federation::new(settings, sources, outbound).map(Box::new).map(Self::Federation)
    }

    pub(crate) fn entra(
        settings: &EntraToken,
        sources: &Sources,
        outbound: &Outbound,
        clock: SharedClock,
    ) -> Result<Self, Unbuildable> {
        let identity = sources.identity(&settings.identity, outbound.client(DEADLINE)?, clock.clone());
        Ok(Self::Entra(Box::new(identity), settings.scope.clone(), clock))
    }

    /// Trades once. The credential, and for how many seconds it lives.
    pub(crate) async fn trade(&self) -> Result<(Secret, u64), NotTraded> {
        match self {
            Self::Federation(federation) => federation.trade().await,
            Self::Entra(identity, scope, clock) => {
                let granted = identity.ask(scope).await.map_err(NotTraded::Entra)?;
                let lifetime = granted.lifetime(clock.unix()).as_secs();
                if !LIFETIMES.contains(&lifetime) {
                    return Err(NotTraded::Malformed("Entra ID answered with a lifetime that cannot be"));
                }
                Ok((granted.token().clone(), lifetime))
            }
        }
    }

    fn refresh_after(&self, lifetime: u64) -> Duration {
        refresh_after(lifetime, if matches!(self, Self::Federation(_)) { BUFFER } else { lifetime })
    }
}

/// So long before its end that a slow exchange is no outage, but after half of its life, a little earlier at random, so that replicas do not
/// all come at once.
fn refresh_after(lifetime: u64, buffer: u64) -> Duration {
    let left = lifetime - buffer.min(lifetime / 2);
    Duration::from_secs(left).mul_f64(1.0 - 0.1 * fastrand::f64())
}

impl Federation {
    fn new(settings: &Workload, sources: Arc<Sources>, outbound: &Outbound) -> Result<Self, Unbuildable> {
        let subject = match &settings.subject {
            Subject::Token(reference) => Subject::Token(reference.clone()),
            Subject::Azure { endpoint, audience, client_id } => {
                Subject::Azure { endpoint: endpoint.clone(), audience: audience.clone(), client_id: client_id.clone() }
            }
            Subject::Google { endpoint, audience } => Subject::Google { endpoint: endpoint.clone(), audience: audience.clone() },
        };
        Ok(Self {
            auth_url: settings.auth_url.clone(),
            identity_provider_id: settings.identity_provider_id.clone(),
            service_account_id: settings.service_account_id.clone(),
            subject,
            sources,
            client: outbound.client(DEADLINE)?,
        })
    }

    async fn trade(&self) -> Result<(Secret, u64), NotTraded> {
        let (subject, kind) = self.subject_token().await?;
        let body = json!({
            "grant_type": GRANT,
            "subject_token_type": kind,
            "subject_token": subject.reveal(),
            "identity_provider_id": self.identity_provider_id,
            "service_account_id": self.service_account_id,
        });
        let request = self.client.post(self.auth_url.clone()).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let traded = self.answer(EXCHANGE, request.body(body.to_string())).await?;
        let traded: Traded = serde_json::from_slice(&traded)
            .map_err(|_| NotTraded::Malformed("the exchange answered in another form than documented"))?;
        if !LIFETIMES.contains(&traded.expires_in) {
            return Err(NotTraded::Malformed("the exchange answered with a lifetime that cannot be"));
        }
        Ok((Secret::from(traded.access_token), traded.expires_in))
    }

    async fn subject_token(&self) -> Result<(Secret, &'static str), NotTraded> {
        match &self.subject {
            Subject::Token(reference) => Ok((self.token(reference).await?.secret, JWT)),
            Subject::Azure { endpoint, audience, client_id } => {
                let mut url = at(endpoint, "/metadata/identity/oauth2/token");
                url.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", audience);
                if let Some(id) = client_id {
                    url.query_pairs_mut().append_pair("client_id", id);
                }
                let body = self.answer("Azure's metadata service", self.client.get(url).header("Metadata", "true")).await?;
                let token: AzureToken = serde_json::from_slice(&body)
                    .map_err(|_| NotTraded::Malformed("Azure's metadata service answered in another form than documented"))?;
                Ok((Secret::from(token.access_token), JWT))
            }
            Subject::Google { endpoint, audience } => {
                let mut url = at(endpoint, "/computeMetadata/v1/instance/service-accounts/default/identity");
                url.query_pairs_mut().append_pair("audience", audience).append_pair("format", "full");
                let request = self.client.get(url).header("Metadata-Flavor", "Google");
                let body = self.answer("Google's metadata service", request).await?;
                let text = String::from_utf8(body.to_vec())
                    .map_err(|_| NotTraded::Malformed("Google's metadata service answered with no token"))?;
                Ok((Secret::from(text.trim().to_owned()), ID_TOKEN))
            }
        }
    }

    async fn token(&self, reference: &SecretRef) -> Result<Found, NotTraded> {
        self.sources.read(reference).await.map_err(|unreadable| NotTraded::NoSubject(format!("{reference}: {unreadable}")))
    }

    /// The body of a good answer. Of any other, only the name of its error goes on.
    async fn answer(&self, whose: &'static str, request: RequestBuilder) -> Result<bytes::Bytes, NotTraded> {
        let answer = request.send().await.map_err(|error| NotTraded::Unreached(whose, error.into()))?;
        let status = answer.status();
        let body = outbound::body(reqwest::Body::from(answer), MAX_ANSWER).await;
        if status.is_success() {
            return body.map_err(|_| NotTraded::Malformed("the answer broke off, or is larger than 64 KiB"));
        }
        let error = body.ok().and_then(|body| serde_json::from_slice::<Refused>(&body).ok()).map(|refused| refused.error);
        let is_name = |text: &String| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let said = error.filter(is_name).map_or_else(String::new, |error| format!(", {error}"));
        Err(NotTraded::Refused(whose, status.as_u16(), said))
    }
}

fn at(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    url.set_path(path);
    url
}

#[cfg(test)]
mod tests {
    use super::{BUFFER, refresh_after};

    #[test]
    fn a_credential_is_traded_anew_long_before_its_end() {
        for (lifetime, buffer, latest) in
            [(3600, BUFFER, 2400), (600, BUFFER, 300), (1, 1, 1), (86_400, BUFFER, 85_200), (3600, 3600, 1800)]
        {
            let after = refresh_after(lifetime, buffer).as_secs_f64();
            assert!(after <= f64::from(latest) && after >= f64::from(latest) * 0.9, "{lifetime}: {after}");
        }
    }
}
