//! Which session belongs to whom. A [`Permit`] and a [`Minted`] in, a [`Binding`] out. The secret itself is not kept, only its SHA-256.

mod embedded;
mod redis;
mod stored;

use std::sync::Arc;

use crate::admit::{Owner, Permit};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{CallId, Pseudonym, SessionId};
use crate::domain::secret::Sha256;
use crate::durable::Unopened;
use crate::provider::Minted;
use crate::store::{Store, StoreDown};
use embedded::Memory;
use redis::SharedSessions;

/// A call ends after that at the latest (OpenAI, "Realtime conversations": a session lasts up to 60 minutes). Seconds.
pub(crate) const LONGEST_CALL: u64 = 3600;
/// A session stays known this long after its secret has expired and its call is over: as long as a call lasts that was opened in the
/// secret's last moment and not reported, so that whoever hangs up can end it. Must not be shorter than idempotency keys are kept: an
/// ended session's key could not be told from one that is good. Seconds.
const KEPT: u64 = LONGEST_CALL;

/// Sessions that a user is shown at once.
const LISTED: usize = 100;

/// One session and its owner. Only this stage can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    session: SessionId,
    owner: Owner,
    upstream: Arc<str>,
    /// Fingerprint of the permanent key that minted.
    key: Option<Arc<str>>,
    secret: Sha256,
    /// Seconds since 1970.
    issued_at: u64,
    expires_at: u64,
    call: Option<Call>,
    end: Option<End>,
}

/// The call that a client opened with its secret, as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    /// Seconds since 1970.
    pub(crate) reported_at: u64,
}

/// How a session came to its end before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) by: By,
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// Whether the provider may still carry the call.
    pub(crate) hang_up: bool,
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Owner,
    Operator,
}

impl By {
    /// As stores write it.
    fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Operator => "operator",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Owner, Self::Operator].into_iter().find(|by| by.word() == word)
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its secret is out and has not expired.
    Issued,
    /// Its call was reported, and may be going on.
    InCall,
    /// Its owner ended it, or its call has lasted as long as a call can.
    Ended,
    /// An operator ended it.
    Revoked,
    /// Its secret expired, and no call was reported.
    Expired,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::Issued, Self::InCall, Self::Ended, Self::Revoked, Self::Expired];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::InCall => "in_call",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// Whether it is neither over nor expired.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Issued | Self::InCall)
    }
}

/// Why a call was not bound to a session.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReported {
    #[error("there is no such session")]
    Unknown,
    /// The session is over, so its call has to end. It is noted down for that.
    #[error("the session is over")]
    Over(Box<Binding>),
    #[error("the session has another call, or the call another session")]
    AlreadyReported,
    #[error(transparent)]
    StoreDown(#[from] StoreDown),
}

/// Which sessions are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) user: Option<Pseudonym>,
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) profile: Option<Box<str>>,
    pub(crate) state: Option<State>,
}

impl Which {
    fn takes(&self, binding: &Binding, now: u64) -> bool {
        let owner = &binding.owner;
        self.user.is_none_or(|user| user == owner.user)
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == owner.tenant)
            && self.profile.as_ref().is_none_or(|profile| **profile == *owner.profile)
            && self.state.is_none_or(|state| state == binding.state(now))
    }
}

impl Binding {
    fn new(permit: &Permit, minted: &Minted, now: u64) -> Self {
        Self {
            session: permit.session(),
            owner: permit.owner().clone(),
            upstream: minted.served().upstream.as_ref().map_or("", |upstream| upstream.name.as_str()).into(),
            key: minted.served().key.clone(),
            secret: minted.token().digest(),
            issued_at: now,
            expires_at: minted.expires_at(),
            call: None,
            end: None,
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn upstream(&self) -> &str {
        &self.upstream
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// SHA-256 of the client secret: tells whose a secret is that turned up somewhere.
    pub(crate) fn secret(&self) -> &Sha256 {
        &self.secret
    }

    pub(crate) fn issued_at(&self) -> u64 {
        self.issued_at
    }

    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at
    }

    pub(crate) fn call(&self) -> Option<&Call> {
        self.call.as_ref()
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) fn state(&self, now: u64) -> State {
        match (&self.end, &self.call) {
            (Some(End { by: By::Operator, .. }), _) => State::Revoked,
            (None, Some(call)) if now < call.reported_at + LONGEST_CALL => State::InCall,
            (Some(End { by: By::Owner, .. }), _) | (None, Some(_)) => State::Ended,
            (None, None) if now < self.expires_at => State::Issued,
            (None, None) => State::Expired,
        }
    }

    /// The call that somebody has to hang up.
    pub(crate) fn to_hang_up(&self) -> Option<&CallId> {
        let end = self.end.filter(|end| end.hang_up)?;
        self.call.as_ref().filter(|call| end.at < call.reported_at + LONGEST_CALL).map(|call| &call.id)
    }

    /// Nothing can be alive of it after that, and nobody asks for it any more, seconds since 1970.
    fn known_until(&self) -> u64 {
        let call = self.call.as_ref().map_or(0, |call| call.reported_at + LONGEST_CALL);
        self.expires_at.max(call) + KEPT
    }

    /// `false` when it had ended before.
    fn end_by(&mut self, by: By, now: u64) -> bool {
        if self.end.is_some() {
            return false;
        }
        let hang_up = self.state(now) == State::InCall;
        self.end = Some(End { by, at: now, hang_up });
        true
    }

    fn report(&mut self, id: &CallId, now: u64) -> Result<(), NotReported> {
        match (&self.call, self.end) {
            (Some(call), _) if call.id != *id => return Err(NotReported::AlreadyReported),
            (Some(_), None) => return Ok(()),
            (Some(_), Some(_)) => {}
            (None, None) => self.call = Some(Call { id: id.clone(), reported_at: now }),
            (None, Some(end)) => {
                self.call = Some(Call { id: id.clone(), reported_at: now });
                self.end = Some(End { hang_up: true, ..end });
            }
        }
        if self.end.is_some() { Err(NotReported::Over(Box::new(self.clone()))) } else { Ok(()) }
    }
}

/// All sessions that are known.
pub(crate) enum Bindings {
    /// To this process alone.
    Here(Memory),
    /// To all replicas. What is bound while they are out of reach is known here, if that is asked for.
    Shared(SharedSessions, Option<Memory>),
}

impl Bindings {
    pub(crate) fn new(store: &Store, clock: &SharedClock) -> Result<Self, Unopened> {
        let memory = || Memory::restored(store.journal(), clock.clone());
        Ok(match store {
            Store::Memory | Store::File(_) => Self::Here(memory()?),
            Store::Shared(shared) => {
                let alone = shared.alone_among.map(|_| memory()).transpose()?;
                Self::Shared(SharedSessions::new(shared.redis.clone(), clock.clone()), alone)
            }
        })
    }

    /// Remembers who holds the secret that was just minted. A retry under the same session replaces what was bound before; `None` when
    /// that session has ended, and stays so.
    pub(crate) async fn bind(&self, permit: &Permit, minted: &Minted) -> Result<Option<Binding>, StoreDown> {
        let new = |now| Binding::new(permit, minted, now);
        match self {
            Self::Here(memory) => {
                let bound = memory.bind(new(memory.now()));
                memory.settled().await?;
                Ok(bound)
            }
            Self::Shared(sessions, alone) => {
                let binding = new(sessions.now());
                match (sessions.bind(&binding).await, alone) {
                    (Err(StoreDown), Some(memory)) => Ok(memory.bind(binding)),
                    (bound, _) => bound,
                }
            }
        }
    }

    /// The newest of a user's own sessions.
    pub(crate) async fn of(&self, user: &Pseudonym) -> Result<Vec<Binding>, StoreDown> {
        match self {
            Self::Here(memory) => Ok(memory.of(user)),
            Self::Shared(sessions, None) => sessions.of(user, LISTED).await,
            Self::Shared(sessions, Some(memory)) => {
                let mut known = memory.of(user);
                known.extend(sessions.of(user, LISTED).await.unwrap_or_default());
                known.sort_unstable_by_key(|binding| std::cmp::Reverse(binding.session));
                known.truncate(LISTED);
                Ok(known)
            }
        }
    }

    /// One session, if it is the user's.
    pub(crate) async fn own(&self, user: &Pseudonym, session: SessionId) -> Result<Option<Binding>, StoreDown> {
        match self {
            Self::Here(memory) => Ok(memory.own(user, session)),
            Self::Shared(sessions, alone) => match alone.as_ref().and_then(|memory| memory.own(user, session)) {
                Some(known) => Ok(Some(known)),
                None => sessions.own(user, session).await,
            },
        }
    }

    /// Whether the user may have another secret for this session, expired or not: it is known and not ended.
    pub(crate) async fn is_open(&self, user: &Pseudonym, session: SessionId) -> Result<bool, StoreDown> {
        Ok(self.own(user, session).await?.is_some_and(|binding| binding.end.is_none()))
    }

    /// Ends a user's session, also when its secret has expired. The session as it is then, and whether this ended it; `None` when it is
    /// not theirs, or known no more.
    pub(crate) async fn end(&self, user: &Pseudonym, session: SessionId, by: By) -> Result<Option<(Binding, bool)>, StoreDown> {
        match self {
            Self::Here(memory) => {
                let ended = memory.end(user, session, by);
                memory.settled().await?;
                Ok(ended)
            }
            Self::Shared(sessions, alone) => match alone.as_ref().and_then(|memory| memory.end(user, session, by)) {
                Some(ended) => Ok(Some(ended)),
                None => sessions.end(user, session, by).await,
            },
        }
    }

    /// Notes the call that a client opened with a session's secret.
    pub(crate) async fn report(&self, user: &Pseudonym, session: SessionId, call: &CallId) -> Result<Binding, NotReported> {
        match self {
            Self::Here(memory) => {
                let reported = memory.report(user, session, call);
                memory.settled().await?;
                reported
            }
            Self::Shared(sessions, alone) => match alone.as_ref().map(|memory| memory.report(user, session, call)) {
                None | Some(Err(NotReported::Unknown)) => sessions.report(user, session, call).await,
                Some(reported) => reported,
            },
        }
    }

    /// Nobody has to hang up any more.
    pub(crate) async fn hung_up(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        match self {
            Self::Here(memory) => {
                memory.hung_up(user, session);
                Ok(())
            }
            Self::Shared(sessions, alone) => {
                if let Some(memory) = alone {
                    memory.hung_up(user, session);
                }
                sessions.hung_up(user, session).await
            }
        }
    }

    /// Forgets a session whose secret never left.
    pub(crate) async fn forget(&self, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        match self {
            Self::Here(memory) => {
                memory.forget(user, session);
                Ok(())
            }
            Self::Shared(sessions, alone) => {
                if let Some(memory) = alone {
                    memory.forget(user, session);
                }
                sessions.forget(user, session).await
            }
        }
    }

    /// Whose ever it is.
    pub(crate) async fn find(&self, session: SessionId) -> Result<Option<Binding>, StoreDown> {
        match self {
            Self::Here(memory) => Ok(memory.find(session)),
            Self::Shared(sessions, alone) => match alone.as_ref().and_then(|memory| memory.find(session)) {
                Some(known) => Ok(Some(known)),
                None => sessions.find(session).await,
            },
        }
    }

    /// At most so many of those that are meant, the newest first.
    pub(crate) async fn list(&self, which: &Which, most: usize) -> Result<Vec<Binding>, StoreDown> {
        match self {
            Self::Here(memory) => Ok(memory.list(which, most)),
            Self::Shared(sessions, None) => sessions.list(which, most).await,
            Self::Shared(sessions, Some(memory)) => {
                let mut known = memory.list(which, most);
                known.extend(sessions.list(which, most).await.unwrap_or_default());
                known.sort_unstable_by_key(|binding| std::cmp::Reverse(binding.session));
                known.truncate(most);
                Ok(known)
            }
        }
    }

    /// Whether other replicas bind and end sessions too.
    pub(crate) fn are_shared(&self) -> bool {
        matches!(self, Self::Shared(..))
    }

    /// Sessions whose call somebody was to hang up and has not: whose request was cut off, another replica that is gone, or this process
    /// before it was restarted.
    pub(crate) async fn left_to_hang_up(&self, most: usize) -> Result<Vec<Binding>, StoreDown> {
        match self {
            Self::Here(memory) => Ok(memory.left_to_hang_up(most)),
            Self::Shared(sessions, alone) => {
                let mut left = alone.as_ref().map(|memory| memory.left_to_hang_up(most)).unwrap_or_default();
                left.extend(sessions.claim_hang_ups(most).await.unwrap_or_default());
                Ok(left)
            }
        }
    }
}
