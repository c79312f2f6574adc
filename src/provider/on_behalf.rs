//! Access tokens on behalf of users: one for each user and tenant, kept until it expires, and renewed ahead of that while the user mints.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::key::Key;
use super::{Failure, Kind, Served};
use crate::config;
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonym;
use crate::domain::secret::{Secret, Sha256};
use crate::entra::{Identity, NotOnBehalf, Trouble};

/// Users whose tokens are kept. Beyond that, those who come least often are asked for anew.
const MOST: u64 = 100_000;
/// A user who has not minted for so long is forgotten.
const IDLE: Duration = Duration::from_hours(1);
/// Seconds before its end from which on a token is not used any more: it has to reach Azure and to be judged there.
const MARGIN: u64 = 60;
/// After a renewal failed: seconds before the next, while the token of before is good.
const AGAIN: u64 = 30;
/// For how long Entra ID's no to a user's token is believed.
const BELIEVED: Duration = Duration::from_secs(10);

/// All tokens on behalf of users at one upstream.
pub(super) struct OnBehalf {
    settings: Arc<config::Upstream>,
    identity: Identity,
    scope: String,
    /// The tenant of the configuration is everybody's.
    has_one_tenant: bool,
    users: Cache<Whom, Arc<User>>,
    clock: SharedClock,
}

/// A user in a tenant.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Whom {
    pub(crate) user: Pseudonym,
    pub(crate) tenant: Box<str>,
}

impl Hash for Whom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.as_str().hash(state);
        self.tenant.hash(state);
    }
}

#[derive(Default)]
struct User {
    held: ArcSwapOption<Held>,
    /// Whoever holds it asks, for all who wait for it.
    turn: Arc<Mutex<()>>,
    refused: StdMutex<Option<Refused>>,
}

struct Held {
    key: Arc<Key>,
    /// Seconds since 1970.
    renewed_from: u64,
    good_until: u64,
}

/// Entra ID said no to this very token of the user.
struct Refused {
    assertion: Sha256,
    /// Steady time.
    until: Duration,
    failure: Failure,
}

impl OnBehalf {
    pub(super) fn new(
        settings: &Arc<config::Upstream>,
        token: &config::EntraToken,
        identity: Identity,
        clock: &SharedClock,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings: settings.clone(),
            identity,
            scope: token.scope.clone(),
            has_one_tenant: token.identity.tenant_id.is_some(),
            users: Cache::builder().max_capacity(MOST).time_to_idle(IDLE).build(),
            clock: clock.clone(),
        })
    }

    /// The credential that speaks for a user. `assertion` is their own access token, which was verified and is for this application.
    pub(super) async fn key(self: &Arc<Self>, whom: &Whom, assertion: Option<&Secret>) -> Result<Arc<Key>, Failure> {
        let Some(assertion) = assertion else {
            return Err(self.failure(Kind::UserRefused, "the user came without an access token that could be traded"));
        };
        let user = self.users.get_with(whom.clone(), Arc::default);
        let now = self.clock.unix();
        if let Some(held) = user.held.load_full().filter(|held| now < held.good_until) {
            if now >= held.renewed_from
                && let Ok(turn) = user.turn.clone().try_lock_owned()
            {
                self.renew_beside(user, turn, whom, assertion);
            }
            return Ok(held.key.clone());
        }
        let _turn = user.turn.lock().await;
        // Whoever had the turn before may have asked for this one too.
        if let Some(held) = user.held.load_full().filter(|held| self.clock.unix() < held.good_until) {
            return Ok(held.key.clone());
        }
        let digest = Sha256::of(assertion.reveal().as_bytes());
        if let Some(failure) = user.refusal(&digest, self.clock.steady()) {
            return Err(failure);
        }
        self.ask(&user, whom, assertion).await.inspect_err(|failure| {
            if !failure.retryable {
                let until = self.clock.steady() + BELIEVED;
                user.remember(Refused { assertion: digest, until, failure: failure.clone() });
            }
        })
    }

    /// The credential that speaks for a user who is not here, as long as there is one.
    pub(super) fn held(&self, whom: &Whom) -> Option<Arc<Key>> {
        let held = self.users.get(whom)?.held.load_full()?;
        (self.clock.unix() < held.good_until).then(|| held.key.clone())
    }

    /// Azure does not take it (any more).
    pub(super) fn forget(&self, whom: &Whom, key: &Arc<Key>) {
        if let Some(user) = self.users.get(whom)
            && user.held.load().as_ref().is_some_and(|held| Arc::ptr_eq(&held.key, key))
        {
            user.held.store(None);
        }
    }

    /// While the token of before goes on.
    fn renew_beside(self: &Arc<Self>, user: Arc<User>, turn: OwnedMutexGuard<()>, whom: &Whom, assertion: &Secret) {
        let (on_behalf, whom, assertion) = (self.clone(), whom.clone(), assertion.clone());
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(failure) = on_behalf.ask(&user, &whom, &assertion).await {
                let upstream = on_behalf.settings.name.as_str();
                tracing::warn!(upstream, cause = failure.cause, "a token on behalf of a user is not renewed yet");
                let renewed_from = on_behalf.clock.unix() + AGAIN;
                if let Some(held) = user.held.load_full() {
                    user.held.store(Some(Arc::new(Held { key: held.key.clone(), renewed_from, good_until: held.good_until })));
                }
            }
        });
    }

    async fn ask(&self, user: &User, whom: &Whom, assertion: &Secret) -> Result<Arc<Key>, Failure> {
        let tenant = Some(&*whom.tenant).filter(|tenant| !self.has_one_tenant && !tenant.is_empty());
        let granted = self.identity.on_behalf(&self.scope, assertion, tenant).await.map_err(|not| self.refused(not))?;
        let now = self.clock.unix();
        let lifetime = granted.lifetime(now).as_secs();
        let key = Key::new(&self.settings, granted.token(), Some(now + lifetime));
        let key = key.ok_or_else(|| self.failure(Kind::NoCredential, "Entra ID gave a token that cannot be sent in a header"))?;
        let (good_until, half) = (now + lifetime.saturating_sub(MARGIN), lifetime / 2);
        let renewed_from = now + half - half.min(fastrand::u64(0..=half / 10));
        user.held.store(Some(Arc::new(Held { key: key.clone(), renewed_from, good_until })));
        Ok(key)
    }

    fn refused(&self, not: NotOnBehalf) -> Failure {
        match not {
            NotOnBehalf::Interaction { claims } => {
                let failure = self.failure(Kind::Interaction, "Entra ID wants to see the user");
                Failure { claims: claims.map(Into::into), ..failure }
            }
            NotOnBehalf::User(cause) => self.failure(Kind::UserRefused, cause),
            NotOnBehalf::Trouble(Trouble::Wrong(cause)) => self.failure(Kind::NoCredential, cause),
            NotOnBehalf::Trouble(Trouble::Away(cause)) => Failure { retryable: true, ..self.failure(Kind::NoCredential, cause) },
        }
    }

    fn failure(&self, kind: Kind, cause: impl Into<String>) -> Failure {
        Failure { served: Served::of(&self.settings), ..Failure::new(kind, cause) }
    }
}

impl User {
    fn refusal(&self, assertion: &Sha256, now: Duration) -> Option<Failure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|it| it.assertion == *assertion && now < it.until).map(|it| it.failure.clone())
    }

    fn remember(&self, refused: Refused) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }
}
