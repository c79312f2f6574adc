//! Access tokens of Entra ID for Ephemint itself: as a managed identity, with the federated token of a pod, or as an application with a client
//! secret or a certificate.
//!
//! Plain REST, each flow one request (deploy/docs/decisions/0007).

mod application;
mod arc;
mod assertion;
mod certificate;
mod exchange;
mod managed;
mod on_behalf;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::load::Environ;
use crate::config::raw::EntraKind;
use crate::config::secrets::Entra;
use crate::domain::clock::SharedClock;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use arc::KeyFolder;
#[cfg(feature = "azure")]
pub(crate) use exchange::{exchange, is_passing, place};
pub(crate) use on_behalf::NotOnBehalf;

/// Before a token expires: a new one is asked for.
const EARLY: Duration = Duration::from_mins(5);
/// After a renewal failed: before the next attempt, as long as the token of before is good.
const RETRY: Duration = Duration::from_secs(30);
/// No token is believed to live longer. Those of managed identities live a day.
const LONGEST: Duration = Duration::from_hours(48);

/// Reads a secret of this machine. The error says what the operator has to do.
pub(crate) type ReadLocal = fn(&SecretRef, &Environ) -> Result<Secret, String>;

/// Why Azure did not give what it was asked for. The sentence is for the operator: it says what to do, and holds nothing of a secret
/// or of what a server wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// A name, a permission or a setting has to be changed.
    #[error("{0}")]
    Wrong(String),
    /// No answer, or not now. Worth another attempt.
    #[error("{0}")]
    Away(String),
}

/// Access tokens of one identity for one scope.
pub(crate) struct Tokens {
    identity: Identity,
    scope: String,
    clock: SharedClock,
    held: ArcSwapOption<Held>,
    /// Whoever holds it asks, for all who wait for it. When the last attempt failed, in steady time, and why.
    turn: Mutex<Option<(Duration, Trouble)>>,
}

/// Times are steady.
struct Held {
    token: Secret,
    renewed_from: Duration,
    expires: Duration,
}

/// Who Ephemint is at Entra ID.
pub(crate) struct Identity {
    settings: Entra,
    environ: Arc<Environ>,
    client: Client,
    read: ReadLocal,
    clock: SharedClock,
    arc: KeyFolder,
}

impl Tokens {
    /// Asks nobody yet. `scope` is of the form `https://resource/.default`.
    pub(crate) fn new(
        settings: &Entra,
        scope: String,
        environ: &Arc<Environ>,
        client: Client,
        read: ReadLocal,
        clock: SharedClock,
    ) -> Self {
        let identity = Identity::new(settings, environ, client, read, clock.clone());
        Self { identity, scope, clock, held: ArcSwapOption::empty(), turn: Mutex::default() }
    }

    /// A token that is good, most often for some minutes more. Callers at the same time share one question and its answer, and do not wait
    /// for it where they need not.
    pub(crate) async fn token(&self) -> Result<Secret, Trouble> {
        let asked = self.clock.steady();
        if let Some(token) = self.held(|held| asked < held.renewed_from) {
            return Ok(token);
        }
        let mut failed = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => match self.held(|held| asked < held.expires) {
                Some(token) => return Ok(token),
                None => self.turn.lock().await,
            },
        };
        let now = self.clock.steady();
        if let Some(token) = self.held(|held| now < held.renewed_from) {
            return Ok(token);
        }
        // It failed while this caller waited: that was the answer to this question too.
        if let Some((_, trouble)) = failed.as_ref().filter(|(at, _)| *at > asked) {
            return Err(trouble.clone());
        }
        let trouble = match self.ask().await {
            Ok(token) => return Ok(token),
            Err(trouble) => trouble,
        };
        *failed = Some((self.clock.steady(), trouble.clone()));
        self.postpone(trouble)
    }

    /// Forgets the token: whoever was shown it refused it.
    pub(crate) fn forget(&self) {
        self.held.store(None);
    }

    async fn ask(&self) -> Result<Secret, Trouble> {
        let granted = self.identity.ask(&self.scope).await?;
        let (now, lifetime) = (self.clock.steady(), granted.lifetime(self.clock.unix()).min(LONGEST));
        let token = granted.token().clone();
        let renewed_from = now + lifetime.saturating_sub(EARLY);
        self.held.store(Some(Arc::new(Held { token: token.clone(), renewed_from, expires: now + lifetime })));
        Ok(token)
    }

    fn held(&self, is_good: impl FnOnce(&Held) -> bool) -> Option<Secret> {
        self.held.load().as_deref().filter(|held| is_good(held)).map(|held| held.token.clone())
    }

    /// The token of before, where it has not expired yet.
    fn postpone(&self, trouble: Trouble) -> Result<Secret, Trouble> {
        let now = self.clock.steady();
        let Some(held) = self.held.load_full().filter(|held| now < held.expires) else { return Err(trouble) };
        tracing::warn!(scope = self.scope, cause = %trouble, "an access token of Entra ID is not renewed yet; the one of before is still good");
        let (token, renewed_from) = (held.token.clone(), held.expires.min(now + RETRY));
        self.held.store(Some(Arc::new(Held { token: token.clone(), renewed_from, expires: held.expires })));
        Ok(token)
    }
}

impl Identity {
    /// Asks nobody yet.
    pub(crate) fn new(settings: &Entra, environ: &Arc<Environ>, client: Client, read: ReadLocal, clock: SharedClock) -> Self {
        Self { settings: settings.clone(), environ: environ.clone(), client, read, clock, arc: KeyFolder::default() }
    }

    /// A new token each time: whoever needs it again remembers it. `scope` is of the form `https://resource/.default`.
    pub(crate) async fn ask(&self, scope: &str) -> Result<Granted, Trouble> {
        match self.settings.kind {
            EntraKind::ManagedIdentity => self.managed(scope).await,
            EntraKind::WorkloadIdentity | EntraKind::ClientSecret | EntraKind::ClientCertificate => self.application(scope).await,
        }
    }

    /// A variable of the environment. An empty one is as good as none.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environ.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    async fn read(&self, reference: SecretRef) -> Result<Secret, Trouble> {
        let (read, environ) = (self.read, self.environ.clone());
        on_a_thread(move || read(&reference, &environ).map_err(|cause| format!("{reference}: {cause}"))).await
    }
}

/// A file system may hang.
async fn on_a_thread<T: Send + 'static>(read: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, Trouble> {
    spawn_blocking(read).await.map_err(|_| Trouble::Away("the reading was cut off".into()))?.map_err(Trouble::Wrong)
}

/// Of Entra ID (RFC 6749, section 5.1), where times are numbers, and of endpoints for managed identities, where they are text.
#[derive(Deserialize)]
pub(crate) struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: Secret,
    /// Seconds.
    expires_in: Option<Value>,
    /// Seconds since 1970. The only time where App Service answers.
    expires_on: Option<Value>,
}

impl Granted {
    /// What cannot be read says nothing: serde's own text may quote it.
    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|granted: &Self| !granted.access_token.reveal().is_empty())
    }

    pub(crate) fn token(&self) -> &Secret {
        &self.access_token
    }

    /// A token that does not say how long it lives is used once.
    pub(crate) fn lifetime(&self, unix_now: u64) -> Duration {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let left = self.expires_in.as_ref().and_then(number);
        let left = left.or_else(|| Some(self.expires_on.as_ref().and_then(number)?.saturating_sub(unix_now)));
        Duration::from_secs(left.unwrap_or_default())
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::from)
}
