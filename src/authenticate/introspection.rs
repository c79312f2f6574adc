//! Opaque tokens: the server that issued them is asked (RFC 7662).

mod endpoint;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::claims::{Reading, names_audience};
use super::memory::Memory;
use super::trial::Wanting;
use super::verified::Validity;
use super::{Principal, Unauthenticated};
use crate::config::{self, ClaimPath};
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::secret::{Credential, Sha256};
use crate::outbound::{Outbound, Unbuildable, causes};
use crate::telemetry::metrics::{IntrospectionLabels, Metrics};
use endpoint::{Answer, Endpoint, NoAnswer};

const MAX_TOKEN: usize = 8 * 1024;
/// Tokens that were refused; they are small.
const MOST_REFUSED: u64 = 20_000;
/// Questions that wait for an answer at once; beyond that callers are asked to come back.
const MOST_ASKED: usize = 256;
/// Secrets of ours and of the provider's that callers mistake for a token. No other server may see them.
const SECRETS: [&str; 4] = ["epk_", "sk-proj-", "sk-svcacct-", "sk-admin-"];
const RETRY: Duration = Duration::from_secs(5);

/// A token that its server vouched for.
#[derive(Clone)]
struct Active {
    principal: Arc<Principal>,
    validity: Validity,
}

/// What is known of a token. An outage is no knowledge.
type Finding = Result<Active, Unauthenticated>;

/// See [`super::trial::introspection`].
pub(super) async fn try_out(settings: &config::Introspection, token: &Credential, outbound: &Outbound) -> Result<(), Wanting> {
    match Endpoint::new(settings, outbound)?.ask(token).await? {
        Answer::Inactive => Ok(()),
        Answer::Active(..) => Err(Wanting::TakesAnything),
    }
}

/// One server.
pub(super) struct Introspection {
    settings: config::Introspection,
    identity: Arc<str>,
    endpoint: Endpoint,
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

/// A question under way. However it ends, it is then under way no more.
struct Question {
    asking: Arc<Introspection>,
    digest: Sha256,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.asking.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

impl Introspection {
    /// Must run inside the process's runtime.
    pub(super) fn new(
        settings: config::Introspection,
        most_remembered: u64,
        asked_claims: Arc<[ClaimPath]>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Unbuildable> {
        Ok(Arc::new(Self {
            identity: format!("introspection.{}", settings.name).into(),
            endpoint: Endpoint::new(&settings, outbound)?,
            asked_claims,
            names,
            good: Memory::of(most_remembered),
            bad: Memory::of(MOST_REFUSED),
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
        let finding = if let Some(finding) = self.remembered(&digest) {
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

    fn remembered(&self, digest: &Sha256) -> Option<Finding> {
        self.good.get(digest).map(Ok).or_else(|| self.bad.get(digest).map(Err))
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
        // One may have been answered since the caller looked. What was found is remembered before the question is over.
        let (answered, answer) = watch::channel(self.remembered(&digest));
        if answer.borrow().is_some() {
            return Some(answer);
        }
        if asked.len() >= MOST_ASKED {
            self.count("busy");
            return None;
        }
        asked.insert(digest, answer.clone());
        // A runtime that is ending drops the question at once, which then takes this lock.
        drop(asked);
        let (question, token) = (Question { asking: self.clone(), digest }, Credential::from(token));
        self.runtime.spawn(async move {
            let finding = question.asking.ask(&token).await;
            question.asking.remember(digest, &finding);
            drop(question);
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
        match self.endpoint.ask(token).await {
            Ok(Answer::Inactive) => {
                self.count("inactive");
                Err(Unauthenticated::Invalid)
            }
            Ok(Answer::Active(claims, validity)) => {
                self.count("active");
                self.judge(&claims, validity)
            }
            Err(no_answer) => {
                self.count(if matches!(no_answer, NoAnswer::Refused(_)) { "client_refused" } else { "failed" });
                self.log(&no_answer);
                Err(self.unavailable())
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.introspections.get_or_create(&IntrospectionLabels { server: self.settings.name.clone(), outcome }).inc();
    }

    /// Whether an active token is an access token for this service, and whose. Whatever does not fit is refused as if it were inactive.
    fn judge(&self, claims: &Map<String, Value>, validity: Validity) -> Finding {
        let settings = &self.settings;
        validity.check(self.clock.unix())?;
        let issuer_fits =
            !settings.is_issuer_strict || claims.get("iss").is_none_or(|iss| iss.as_str() == Some(settings.issuer.as_str()));
        let audience_fits = settings.audience.is_empty() || names_audience(claims.get("aud"), &settings.audience);
        if !issuer_fits || !audience_fits || !is_for_access(claims) {
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
        let cause = causes(no_answer);
        let server = self.settings.name.as_str();
        if matches!(no_answer, NoAnswer::Refused(_)) {
            tracing::error!(server, error = %no_answer, "tokens cannot be checked; look at client_id, client_secret and client_auth of identity.introspection");
        } else {
            tracing::warn!(server, error = %no_answer, cause, "a token cannot be checked");
        }
    }
}

/// `b64token` of RFC 6750, section 2.1, of a sane length, and no secret of another kind: nothing else is worth a question.
fn is_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !SECRETS.iter().any(|prefix| token.starts_with(prefix))
        && (1..=MAX_TOKEN).contains(&token.len())
        && !body.is_empty()
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// `token_type_hint` is but a hint: a refresh token is active too. A token of the type `DPoP` is bound to a key
/// (RFC 9449, section 6.2), which [`Principal`] then asks for.
fn is_for_access(claims: &Map<String, Value>) -> bool {
    let one_of = |name: &str, kinds: &[&str]| {
        let fits = |value: &Value| value.as_str().is_some_and(|kind| kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)));
        claims.get(name).is_none_or(fits)
    };
    // Without a binding there would be no key to prove.
    let is_bound = claims.contains_key("cnf") && one_of("token_type", &["DPoP"]);
    (is_bound || one_of("token_type", &["Bearer", "access_token"])) && one_of("token_use", &["access_token", "access"])
}

#[cfg(test)]
mod tests {
    use super::is_token;

    #[test]
    fn only_what_can_be_a_token_is_asked_about() {
        for good in ["a", "2YotnFZFEjr1zCsicMWpAA", "a-._~+/b=="] {
            assert!(is_token(good), "{good}");
        }
        for bad in ["", "=", "a b", "a=b", "a\"b", "ü", "a,b", "a{b", "epk_a", "sk-proj-a", &"a".repeat(8 * 1024 + 1)] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
