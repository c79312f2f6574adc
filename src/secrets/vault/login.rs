//! The token for Vault: from where it is named, or from a login; renewed at half its life.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::api::{Answer, Api};
use crate::config::load::Environ;
use crate::config::secrets::VaultAuth;
use crate::domain::clock::SharedClock;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::secrets::{Unreadable, read_local};

/// What requests are made with.
#[derive(Clone)]
pub(super) struct Token {
    secret: Secret,
    /// When it was asked for, on the steady clock: its life began no earlier.
    since: Duration,
    /// Absent: it does not end, or nothing is known of its end.
    life: Option<Duration>,
    is_renewable: bool,
}

impl Token {
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    fn is_over(&self, now: Duration) -> bool {
        self.life.is_some_and(|life| now >= self.since.saturating_add(life))
    }

    fn is_due(&self, now: Duration) -> bool {
        self.is_renewable && self.life.is_some_and(|life| now >= self.since.saturating_add(life / 2))
    }

    fn is(&self, other: &Secret) -> bool {
        self.secret.reveal() == other.reveal()
    }
}

pub(super) struct Login {
    auth: VaultAuth,
    environ: Arc<Environ>,
    clock: SharedClock,
    /// Locked for as long as a login takes: others wait for its token and do not log in themselves.
    held: Mutex<Option<Token>>,
}

impl Login {
    pub(super) fn new(auth: &VaultAuth, environ: &Arc<Environ>, clock: SharedClock) -> Self {
        Self { auth: auth.clone(), environ: environ.clone(), clock, held: Mutex::default() }
    }

    /// On the steady clock.
    pub(super) fn now(&self) -> Duration {
        self.clock.steady()
    }

    /// A token that is good as far as is known here.
    pub(super) async fn token(&self, api: &Api) -> Result<Token, Unreadable> {
        let mut held = self.held.lock().await;
        let known = match &self.auth {
            VaultAuth::Token(reference) => Some(self.given(reference, held.as_ref(), api).await?),
            _ => held.clone().filter(|token| !token.is_over(self.now())),
        };
        let token = match known {
            Some(token) if token.is_due(self.now()) => self.renewed(token, api).await?,
            Some(token) => token,
            None => self.log_in(api).await?,
        };
        *held = Some(token.clone());
        Ok(token)
    }

    /// Another token than one that was refused after `began`. One that is no older than that, or was just read where it is named, is the
    /// best there is.
    pub(super) async fn instead_of(&self, refused: &Token, began: Duration, api: &Api) -> Result<Option<Token>, Unreadable> {
        let is_given = matches!(self.auth, VaultAuth::Token(_));
        if is_given || refused.since >= began {
            return Ok(None);
        }
        let mut held = self.held.lock().await;
        let other = match held.clone().filter(|token| !token.is(&refused.secret)) {
            Some(other) => other,
            None => self.log_in(api).await?,
        };
        *held = Some(other.clone());
        Ok(Some(other))
    }

    /// What else may cure a refusal.
    pub(super) fn other_cure(&self) -> String {
        match &self.auth {
            VaultAuth::Token(reference) => format!(", or put a good token where {reference} is"),
            VaultAuth::AppRole { .. } | VaultAuth::Kubernetes { .. } => String::new(),
        }
    }

    /// The token as it is where it is named now: an agent may have put another one there. Of one that is new, its life is asked for.
    async fn given(&self, reference: &SecretRef, held: Option<&Token>, api: &Api) -> Result<Token, Unreadable> {
        let secret = self.local("token", reference).await?;
        if let Some(held) = held.filter(|held| held.is(&secret)) {
            return Ok(held.clone());
        }
        let since = self.now();
        let answer = api.get("auth/token/lookup-self", &secret).await?;
        // Not every token may look at itself; what it may read is then all there is to know.
        let lease = answer.body.get("data").and_then(Value::as_object).filter(|_| answer.status.is_success());
        let (life, is_renewable) = lease.map(|lease| terms(lease, "ttl")).unwrap_or_default();
        Ok(Token { secret, since, life, is_renewable })
    }

    async fn renewed(&self, token: Token, api: &Api) -> Result<Token, Unreadable> {
        let since = self.now();
        match api.post("auth/token/renew-self", &json!({}), Some(&token.secret)).await {
            Ok(answer) if answer.status.is_success() => Ok(issued(&answer, since).unwrap_or(token)),
            Ok(_) if matches!(self.auth, VaultAuth::Token(_)) => Ok(Token { is_renewable: false, ..token }),
            Ok(_) => self.log_in(api).await,
            // It is still good; the next reading tries again.
            Err(_) => Ok(token),
        }
    }

    async fn log_in(&self, api: &Api) -> Result<Token, Unreadable> {
        let (mount, body) = match &self.auth {
            VaultAuth::Token(reference) => return self.given(reference, None, api).await,
            VaultAuth::AppRole { mount, role_id, secret_id } => {
                let (role_id, secret_id) = (self.local("role_id", role_id).await?, self.local("secret_id", secret_id).await?);
                (mount, json!({ "role_id": role_id.reveal(), "secret_id": secret_id.reveal() }))
            }
            VaultAuth::Kubernetes { mount, role, token } => {
                let token = self.local("service_account_token", token).await?;
                (mount, json!({ "role": role, "jwt": token.reveal() }))
            }
        };
        let since = self.now();
        let answer = api.post(&format!("auth/{mount}/login"), &body, None).await?;
        if answer.status.is_success() { issued(&answer, since) } else { Err(self.refused(mount, answer.status)) }
    }

    fn refused(&self, mount: &str, status: StatusCode) -> Unreadable {
        let cure = match &self.auth {
            VaultAuth::Kubernetes { role, .. } => format!(
                "bind the role {role} to the pod's service account and namespace, and have its token be one that Vault takes (audience, expiry)"
            ),
            _ => "put ids that are good and not used up where role_id and secret_id name them".into(),
        };
        Unreadable::Wrong(format!(
            "Vault refuses the login at auth/{mount} (status {}): {cure}, or correct secrets.vault.auth.mount or secrets.vault.namespace",
            status.as_u16()
        ))
    }

    /// What the setting `name` names, as it is now.
    async fn local(&self, name: &str, reference: &SecretRef) -> Result<Secret, Unreadable> {
        let explain = |cause: &str| format!("secrets.vault.auth.{name}: {reference}: {cause}");
        match read_local(reference, &self.environ, None).await {
            Ok(found) => Ok(found.secret),
            Err(Unreadable::Wrong(cause)) => Err(Unreadable::Wrong(explain(&cause))),
            Err(Unreadable::Away(cause)) => Err(Unreadable::Away(explain(&cause))),
        }
    }
}

/// The token of an answer to a login or to its renewal.
fn issued(answer: &Answer, since: Duration) -> Result<Token, Unreadable> {
    let auth = answer.body.get("auth").and_then(Value::as_object);
    let token = auth.and_then(|auth| Some((auth, auth.get("client_token")?.as_str().filter(|token| !token.is_empty())?)));
    match token {
        Some((auth, token)) => {
            let (life, is_renewable) = terms(auth, "lease_duration");
            Ok(Token { secret: Secret::from(token.to_owned()), since, life, is_renewable })
        }
        None if auth.is_some_and(|auth| auth.get("mfa_requirement").is_some_and(Value::is_object)) => {
            Err(Unreadable::Wrong("Vault asks for a second factor at the login; exempt the role from it".into()))
        }
        None => Err(Unreadable::Away("Vault answers the login without a token; check secrets.vault.address".into())),
    }
}

/// How long a token lives, in seconds where it is said, and whether that can be prolonged. 0: without end.
fn terms(lease: &Map<String, Value>, life: &str) -> (Option<Duration>, bool) {
    let life = lease.get(life).and_then(Value::as_u64).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    (life, lease.get("renewable").and_then(Value::as_bool).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{Secret, Token, terms};

    #[test]
    fn a_token_is_renewed_from_half_its_life_and_is_over_at_its_end() {
        let token = |seconds: u64, is_renewable: bool| {
            let lease = json!({ "lease_duration": seconds, "renewable": is_renewable });
            let (life, is_renewable) = terms(lease.as_object().unwrap(), "lease_duration");
            Token { secret: Secret::from("t".to_owned()), since: Duration::from_secs(100), life, is_renewable }
        };
        let at = |token: &Token, seconds: u64| {
            (token.is_due(Duration::from_secs(seconds)), token.is_over(Duration::from_secs(seconds)))
        };
        let hour = token(3600, true);
        assert_eq!(
            [100, 1899, 1900, 3699, 3700].map(|now| at(&hour, now)),
            [(false, false), (false, false), (true, false), (true, false), (true, true)]
        );
        assert_eq!(at(&token(3600, false), 3699), (false, false), "what cannot be renewed is used to its end");
        for endless in [token(0, true), token(u64::MAX, true)] {
            assert_eq!(at(&endless, 1_000_000_000), (false, false));
        }
    }
}
