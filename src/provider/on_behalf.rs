//! Access tokens on behalf of users: one for each user and tenant, kept until it expires, and renewed ahead of that while the user mints.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
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
/// No token is believed to live longer. Seconds.
const LONGEST: u64 = 172_800;

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
    misfortune: StdMutex<Misfortune>,
}

/// What went wrong for a user, so that nobody asks for them again and again.
#[derive(Default)]
struct Misfortune {
    refused: Option<Refused>,
    /// Failures since the last mint, but for those that are the user's.
    count: u32,
}

struct Held {
    key: Arc<Key>,
    /// Seconds since 1970.
    renewed_from: u64,
    good_until: u64,
}

/// What everybody who comes for the user is told for a while.
struct Refused {
    /// The user's token that Entra ID said no to. Absent: it is not about that.
    assertion: Option<Sha256>,
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
        self.ask(&user, whom, assertion).await.inspect_err(|failure| user.remember(failure, digest, self.clock.steady()))
    }

    /// The credential that speaks for a user who is not here, as long as there is one.
    pub(super) fn held(&self, whom: &Whom) -> Option<Arc<Key>> {
        let held = self.users.get(whom)?.held.load_full()?;
        (self.clock.unix() < held.good_until).then(|| held.key.clone())
    }

    /// Azure does not take it (any more). The first time, a new one is asked for at once.
    pub(super) fn forget(&self, whom: &Whom, key: &Arc<Key>, failure: &Failure) {
        let Some(user) = self.users.get(whom) else { return };
        if user.held.load().as_ref().is_some_and(|held| Arc::ptr_eq(&held.key, key)) {
            user.held.store(None);
            let mut misfortune = user.misfortune();
            let until = self.clock.steady() + pause(misfortune.count);
            misfortune.count += 1;
            misfortune.refused = Some(Refused { assertion: None, until, failure: failure.clone() });
        }
    }

    /// Azure has minted for the user.
    pub(super) fn accepted(&self, whom: &Whom) {
        if let Some(user) = self.users.get(whom) {
            *user.misfortune() = Misfortune::default();
        }
    }

    /// While the token of before goes on, unless it is the user who is refused.
    fn renew_beside(self: &Arc<Self>, user: Arc<User>, turn: OwnedMutexGuard<()>, whom: &Whom, assertion: &Secret) {
        let (on_behalf, whom, assertion) = (self.clone(), whom.clone(), assertion.clone());
        tokio::spawn(async move {
            let _turn = turn;
            let before = user.held.load_full();
            let Err(failure) = on_behalf.ask(&user, &whom, &assertion).await else { return };
            let upstream = on_behalf.settings.name.as_str();
            tracing::warn!(upstream, cause = failure.cause, "a token on behalf of a user is not renewed");
            let after = if matches!(failure.kind, Kind::Interaction | Kind::UserRefused) {
                let digest = Sha256::of(assertion.reveal().as_bytes());
                user.remember(&failure, digest, on_behalf.clock.steady());
                None
            } else {
                let renewed_from = on_behalf.clock.unix() + AGAIN;
                before.as_ref().map(|held| Held { key: held.key.clone(), renewed_from, good_until: held.good_until })
            };
            // Unless it was forgotten meanwhile.
            user.held.compare_and_swap(&before, after.map(Arc::new));
        });
    }

    async fn ask(&self, user: &User, whom: &Whom, assertion: &Secret) -> Result<Arc<Key>, Failure> {
        let tenant = Some(&*whom.tenant).filter(|tenant| !self.has_one_tenant && !tenant.is_empty());
        let granted = self.identity.on_behalf(&self.scope, assertion, tenant).await.map_err(|not| self.refused(not))?;
        let now = self.clock.unix();
        let lifetime = granted.lifetime(now).as_secs().min(LONGEST);
        let key = Key::new(&self.settings, granted.token(), Some(now + lifetime));
        let key = key.ok_or_else(|| self.failure(Kind::NoCredential, "Entra ID gave a token that cannot be sent in a header"))?;
        let usable = lifetime.saturating_sub(MARGIN);
        let (good_until, half) = (now + usable, usable / 2);
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
    fn misfortune(&self) -> MutexGuard<'_, Misfortune> {
        self.misfortune.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, assertion: &Sha256, now: Duration) -> Option<Failure> {
        let misfortune = self.misfortune();
        let is_about = |it: &&Refused| it.assertion.is_none_or(|refused| refused == *assertion) && now < it.until;
        misfortune.refused.as_ref().filter(is_about).map(|it| it.failure.clone())
    }

    fn remember(&self, failure: &Failure, assertion: Sha256, now: Duration) {
        let mut misfortune = self.misfortune();
        let is_of_user = matches!(failure.kind, Kind::Interaction | Kind::UserRefused);
        let (assertion, wait) = if is_of_user {
            (Some(assertion), BELIEVED)
        } else {
            misfortune.count += 1;
            (None, pause(misfortune.count))
        };
        misfortune.refused = Some(Refused { assertion, until: now + wait, failure: failure.clone() });
    }
}

/// After so many failures before this one: none, then one second, three, seven, up to a minute.
fn pause(before: u32) -> Duration {
    Duration::from_secs((1 << before.min(6)) - 1)
}
