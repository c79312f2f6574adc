//! The books that replicas share: one script at Redis for each admission, in as few cluster slots as the limits that apply have.

mod answer;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::rule::Standing;
use super::subject::Subjects;
use super::{Denied, IdempotencyKey};
use crate::domain::ids::{Pseudonym, SessionId, hex};
use crate::domain::ttl::Ttl;
use crate::redis::{Redis, Script};
use crate::store::StoreDown;
use answer::Answer;
use slot::{Keys, Slot};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What was taken is given back in the background when the first attempt fails; leases expire by themselves.
const GIVE_BACK_PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];
/// Bookings at most that are to be given back later: in a long outage, all others are left to expire.
const MOST_OWED: usize = 10_000;
/// Added to the time that a first request under a key may take.
const SLACK: Duration = Duration::from_secs(5);

/// A way to the books.
pub(super) struct SharedBooks {
    redis: Arc<Redis>,
    script: Script,
    keys: Keys,
    /// How many bookings are to be given back later.
    owed: AtomicUsize,
    /// The process's runtime: what is given back is given back also when the worker is gone.
    runtime: Handle,
}

/// What was booked. Given back in the background when it is dropped before it was spent or given back.
pub(super) struct Hold {
    books: Arc<SharedBooks>,
    slots: Arc<[Slot]>,
    session: SessionId,
    /// Digest of the request, under an idempotency key.
    request: String,
    state: Booked,
}

/// What a hold still owes.
#[derive(Clone, PartialEq, Eq)]
enum Booked {
    /// Booked for this mint, or perhaps booked; to be given back.
    Here,
    /// Booked by the first request under the same key. The leases' ends of each slot, before and now, as the script says them.
    Before(Vec<Vec<String>>),
    Spent,
}

/// What came of a request.
enum Outcome {
    Booked(Option<Standing>, Hold),
    /// The key's first request was booked for this session.
    Retry(SessionId),
}

impl SharedBooks {
    /// Must run inside the process's runtime.
    pub(super) fn new(redis: Arc<Redis>) -> Arc<Self> {
        let is_cluster = redis.is_cluster();
        Self::with(redis, Script::new(include_str!("admit.lua")), is_cluster)
    }

    /// With a script of the caller's: tests set its clock.
    pub(super) fn with(redis: Arc<Redis>, script: Script, is_cluster: bool) -> Arc<Self> {
        let keys = Keys { prefix: redis.prefix().to_owned(), is_cluster };
        Arc::new(Self { redis, script, keys, owed: AtomicUsize::new(0), runtime: Handle::current() })
    }

    /// Books one mint; or, when it is a retry, only what a retry needs.
    pub(super) async fn admit(
        self: &Arc<Self>,
        subjects: &Subjects,
        user: &Pseudonym,
        retry_of: Option<&IdempotencyKey>,
        patience: Duration,
        ttl: Ttl,
        is_open: impl AsyncFn(SessionId) -> Result<bool, StoreDown>,
    ) -> Result<(Option<Standing>, Hold), Denied> {
        match (self.book(subjects, user, retry_of, patience, ttl).await?, retry_of) {
            (Outcome::Booked(standing, hold), _) => Ok((standing, hold)),
            (Outcome::Retry(session), Some(key)) if is_open(session).await? => {
                self.resume(subjects, user, key, session, ttl).await
            }
            (Outcome::Retry(_), _) => Err(Denied::IdempotencyConflict),
        }
    }

    /// Books one mint with every subject, or nothing. Under a key whose first request is under way it waits, at most for `patience`.
    async fn book(
        self: &Arc<Self>,
        subjects: &Subjects,
        user: &Pseudonym,
        key: Option<&IdempotencyKey>,
        patience: Duration,
        ttl: Ttl,
    ) -> Result<Outcome, Denied> {
        let deadline = Instant::now() + patience;
        loop {
            let session = SessionId::new();
            let slots = self.keys.slots(subjects, user, session, key).into();
            let request = key.map_or_else(String::new, |key| hex(&key.request.0));
            let hold = Hold { books: self.clone(), slots, session, request, state: Booked::Here };
            match hold.book(Duration::from_secs(ttl.seconds()), patience + SLACK).await? {
                Some(outcome) => return Ok(outcome),
                None if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                None => return Err(Denied::UnderWay),
            }
        }
    }

    /// What a retry needs: a place, with everyone who counts calls.
    async fn resume(
        self: &Arc<Self>,
        subjects: &Subjects,
        user: &Pseudonym,
        key: &IdempotencyKey,
        session: SessionId,
        ttl: Ttl,
    ) -> Result<(Option<Standing>, Hold), Denied> {
        let slots: Arc<[Slot]> = self.keys.slots(subjects, user, session, Some(key)).into();
        let (request, state) = (hex(&key.request.0), Booked::Before(Vec::new()));
        let mut hold = Hold { books: self.clone(), slots: slots.clone(), session, request, state };
        let mut standings = Vec::new();
        for slot in slots.iter() {
            let answer = hold.run("resume", slot, Duration::from_secs(ttl.seconds()), Duration::ZERO, &[]).await?;
            let (arrivals, ends) = match answer.taken("resumed", slot) {
                Ok(taken) => taken,
                Err(denied) => {
                    hold.give_back().await;
                    return Err(denied);
                }
            };
            standings.push(slot.standing(arrivals, answer.now));
            if let Booked::Before(all) = &mut hold.state {
                all.push(ends.to_vec());
            }
        }
        Ok((Standing::tightest(standings.into_iter()), hold))
    }

    /// Counts one event that nobody gives back.
    pub(super) async fn count(self: &Arc<Self>, subjects: &Subjects, user: &Pseudonym) -> Result<(), Denied> {
        match self.book(subjects, user, None, Duration::ZERO, Ttl::MIN).await? {
            Outcome::Booked(_, hold) => {
                hold.spend();
                Ok(())
            }
            Outcome::Retry(_) => Err(StoreDown.into()),
        }
    }

    /// Holds the places of a session for so long.
    pub(super) async fn hold(
        &self,
        subjects: &Subjects,
        user: &Pseudonym,
        session: SessionId,
        span: Duration,
    ) -> Result<(), StoreDown> {
        self.on_all("hold", subjects, user, session, span).await
    }

    pub(super) async fn release(&self, subjects: &Subjects, user: &Pseudonym, session: SessionId) -> Result<(), StoreDown> {
        self.on_all("release", subjects, user, session, Duration::ZERO).await
    }

    async fn on_all(
        &self,
        operation: &str,
        subjects: &Subjects,
        user: &Pseudonym,
        session: SessionId,
        span: Duration,
    ) -> Result<(), StoreDown> {
        let slots = self.keys.slots(subjects, user, session, None);
        let calls = slots.iter().map(|slot| self.run(operation, slot, session, "", span, Duration::ZERO, &[]));
        join_all(calls).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    #[expect(clippy::too_many_arguments, reason = "they are the script's")]
    async fn run(
        &self,
        operation: &str,
        slot: &Slot,
        session: SessionId,
        request: &str,
        span: Duration,
        patience: Duration,
        more: &[String],
    ) -> Result<Answer, StoreDown> {
        let mut arguments = vec![
            operation.to_owned(),
            session.to_string(),
            span.as_micros().to_string(),
            // The record of the key is kept in one slot alone.
            if slot.has_record() { request.to_owned() } else { String::new() },
            patience.as_micros().to_string(),
        ];
        arguments.extend_from_slice(&slot.rules);
        arguments.extend_from_slice(more);
        let keys: Vec<&str> = slot.keys.iter().map(String::as_str).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Answer::read(self.redis.script(&self.script, &keys, &arguments).await?)
    }
}

impl Hold {
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn is_retry(&self) -> bool {
        matches!(self.state, Booked::Before(_))
    }

    /// Sets the leases' end to that of the secret, so long from now.
    pub(super) async fn keep(&self, span: Duration) -> Result<(), StoreDown> {
        let calls = self.slots.iter().map(|slot| self.run("keep", slot, span, Duration::ZERO, &[]));
        join_all(calls).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    pub(super) fn spend(mut self) {
        self.state = Booked::Spent;
    }

    /// Gives back what was taken; what cannot be given back now, in the background.
    pub(super) async fn give_back(mut self) {
        if let Some(giving) = self.take_giving() {
            giving.now().await;
        }
    }

    /// `None` while another first request under the same key is under way.
    async fn book(mut self, span: Duration, patience: Duration) -> Result<Option<Outcome>, Denied> {
        let slots = self.slots.clone();
        let (own, others) = slots.split_first().ok_or(StoreDown)?;
        // The user's own slot alone decides whether this is a first request. An answer that is lost may have been a yes: dropping the hold
        // gives it back.
        let answer = self.run("book", own, span, patience, &[]).await?;
        let (arrivals, _) = match answer.word.as_str() {
            "booked" => answer.taken("booked", own)?,
            other => {
                self.state = Booked::Spent;
                return match other {
                    "pending" => Ok(None),
                    "retry" => Ok(answer.fields.first().and_then(|id| SessionId::parse(id)).map(Outcome::Retry)),
                    _ => Err(answer.denied(own)),
                };
            }
        };
        let mut standings = vec![own.standing(arrivals, answer.now)];
        let answers = join_all(others.iter().map(|slot| self.run("book", slot, span, patience, &[]))).await;
        for (answer, slot) in answers.into_iter().zip(others) {
            let taken = answer.map_err(Denied::from).and_then(|answer| {
                let (arrivals, _) = answer.taken("booked", slot)?;
                Ok(slot.standing(arrivals, answer.now))
            });
            match taken {
                Ok(standing) => standings.push(standing),
                Err(denied) => {
                    self.give_back().await;
                    return Err(denied);
                }
            }
        }
        Ok(Some(Outcome::Booked(Standing::tightest(standings.into_iter()), self)))
    }

    async fn run(
        &self,
        operation: &str,
        slot: &Slot,
        span: Duration,
        patience: Duration,
        more: &[String],
    ) -> Result<Answer, StoreDown> {
        self.books.run(operation, slot, self.session, &self.request, span, patience, more).await
    }

    fn take_giving(&mut self) -> Option<Giving> {
        let state = std::mem::replace(&mut self.state, Booked::Spent);
        let (books, slots) = (self.books.clone(), self.slots.clone());
        (state != Booked::Spent).then(|| Giving { books, slots, session: self.session, request: self.request.clone(), state })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(giving) = self.take_giving() {
            self.books.runtime.spawn(giving.now());
        }
    }
}

/// What is to be given back.
struct Giving {
    books: Arc<SharedBooks>,
    slots: Arc<[Slot]>,
    session: SessionId,
    request: String,
    state: Booked,
}

impl Giving {
    /// Tries once, and goes on in the background if that fails.
    async fn now(self) {
        if self.attempt().await.is_err() {
            let books = self.books.clone();
            if books.owed.fetch_add(1, Ordering::Relaxed) < MOST_OWED {
                books.runtime.spawn(async move {
                    let books = self.books.clone();
                    self.later().await;
                    books.owed.fetch_sub(1, Ordering::Relaxed);
                });
            } else {
                books.owed.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    async fn later(self) {
        for pause in GIVE_BACK_PAUSES {
            sleep(pause).await;
            if self.attempt().await.is_ok() {
                return;
            }
        }
        tracing::warn!(session = %self.session, "what was booked for a mint that failed could not be given back: its rate and month stay counted, its lease expires");
    }

    async fn attempt(&self) -> Result<(), StoreDown> {
        let run = |operation: &'static str, slot, more| {
            self.books.run(operation, slot, self.session, &self.request, Duration::ZERO, Duration::ZERO, more)
        };
        let answers = match &self.state {
            Booked::Here => join_all(self.slots.iter().map(|slot| run("give_back", slot, &[][..]))).await,
            Booked::Before(ends) => {
                join_all(self.slots.iter().zip(ends).map(|(slot, ends)| run("suspend", slot, ends.as_slice()))).await
            }
            Booked::Spent => return Ok(()),
        };
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    }
}
