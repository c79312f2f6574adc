//! Counts in this process's memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::iter;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Denied;
use super::count::{Count, Moment, Month, Resumed};
use super::rule::Standing;
use super::subject::{Key, Subject, Subjects, Whose, lease_text};
use crate::domain::clock::SharedClock;
use crate::domain::ids::SessionId;
use crate::domain::ttl::Ttl;
use crate::durable::Unopened;
use crate::store::{self, Journal};

const SHARDS: usize = 64;
/// Subjects counted at most, in each shard of each table: about a million users, as many guests and as many addresses, at roughly
/// 200 bytes each.
const MOST_PER_SHARD: usize = 16_384;
const FIRST_SWEEP: usize = 256;
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

struct Shard {
    counts: HashMap<Key, Count>,
    /// Subjects counted at most.
    most: usize,
    /// At this size idle entries are taken out.
    sweep_at: usize,
    /// Steady time of the last such sweep.
    swept: Duration,
}

/// All counts of one kind of subject.
struct Table(Vec<Mutex<Shard>>);

pub(super) struct Counts {
    /// One for each of [`Whose::ALL`].
    tables: Vec<Table>,
    hasher: RandomState,
    journal: Journal,
}

impl Counts {
    /// With what was written down.
    pub(super) fn restored(journal: Journal, clock: &SharedClock) -> Result<Self, Unopened> {
        let (now, mut counts) = (Moment::now(clock), Self::with_most_per_shard(MOST_PER_SHARD));
        journal.read(store::Table::Counts, |text, stored| {
            let known = Key::parse(text).zip(Count::restored(stored, &now));
            match known.filter(|(_, count)| !count.is_idle(&now)) {
                Some(((whose, key), count)) => drop(counts.shard_of(whose, &key).counts.insert(key, count)),
                None => journal.remove(store::Table::Counts, || text.to_owned()),
            }
        })?;
        journal.read(store::Table::Leases, |text, stored| {
            let known = text.split_once('\n').and_then(|(session, key)| SessionId::parse(session).zip(Key::parse(key)));
            let restored = known.is_some_and(|(session, (whose, key))| {
                counts.shard_of(whose, &key).counts.entry(key).or_default().restore_lease(session, stored, &now)
            });
            if !restored {
                journal.remove(store::Table::Leases, || text.to_owned());
            }
        })?;
        counts.journal = journal;
        Ok(counts)
    }

    fn with_most_per_shard(most: usize) -> Self {
        let shard = || Mutex::new(Shard { counts: HashMap::new(), most, sweep_at: FIRST_SWEEP.min(most), swept: Duration::ZERO });
        let table = |_| Table(iter::repeat_with(shard).take(SHARDS).collect());
        Self { tables: Whose::ALL.into_iter().map(table).collect(), hasher: RandomState::new(), journal: Journal::default() }
    }

    /// Books one mint and a lease for `session` with every subject, or nothing at all. The most restrictive standing, and the month that
    /// it is counted in.
    pub(super) fn book(
        &self,
        subjects: &mut Subjects,
        session: SessionId,
        ttl: Ttl,
        clock: &SharedClock,
    ) -> Result<(Option<Standing>, Month), Denied> {
        let now = Moment::now(clock);
        // All locks are held until all is taken. At most one in each table, and the tables always in the same order: no deadlock.
        let mut first = self.shard(&subjects.first);
        let mut more: Vec<_> = subjects.more.iter().map(|subject| self.shard(subject)).collect();
        let head = first.count(&subjects.first, &self.journal, &now)?;
        let rest = more.iter_mut().zip(&subjects.more).map(|(shard, subject)| shard.count(subject, &self.journal, &now));
        let mut rest: Vec<_> = rest.collect::<Result<_, _>>()?;
        has_room(head, &subjects.first, &now)?;
        for (count, subject) in rest.iter_mut().zip(&subjects.more) {
            has_room(count, subject, &now)?;
        }
        let take = |count: &mut Count, subject: &mut Subject| {
            let standing = count.take(&subject.limits, subject.known_until, session, ttl, &now);
            subject.booked = count.arrival();
            self.write_down(subject, count, session, &now);
            standing
        };
        let standing = take(head, &mut subjects.first);
        let taken = rest.into_iter().zip(&mut subjects.more).map(|(count, subject)| take(count, subject));
        let standing = Standing::tightest(iter::once(standing).chain(taken));
        Ok((standing, now.month))
    }

    /// Gives back what `book` took in `month`.
    pub(super) fn refund(&self, subjects: &Subjects, session: SessionId, month: Month, clock: &SharedClock) {
        let now = Moment::now(clock);
        for subject in subjects.iter() {
            let give_back = |count: &mut Count| count.give_back(&subject.limits, session, month, subject.booked, &now);
            self.change(subject, session, clock, give_back);
        }
    }

    /// Sets the end of a lease, with everyone who holds it, to the expiry of the secret that was minted.
    pub(super) fn hold_until(&self, subjects: &Subjects, session: SessionId, until: Duration, clock: &SharedClock) {
        for subject in subjects.holding() {
            self.change(subject, session, clock, |count| count.hold_until(session, until));
        }
    }

    /// Holds a place, with everyone who counts them, for another secret of a session that was booked before; or takes it again when its
    /// lease has run out. Nothing is taken when there is none.
    pub(super) fn resume(
        &self,
        subjects: &Subjects,
        session: SessionId,
        ttl: Ttl,
        clock: &SharedClock,
    ) -> Result<(Option<Standing>, Vec<Option<Resumed>>), Denied> {
        let now = Moment::now(clock);
        // Locked as in `book`.
        let mut shards: Vec<_> = subjects.iter().map(|subject| self.shard(subject)).collect();
        let counts = shards.iter_mut().zip(subjects.iter()).map(|(shard, subject)| shard.count(subject, &self.journal, &now));
        let mut counts: Vec<_> = counts.collect::<Result<_, _>>()?;
        for (count, subject) in counts.iter_mut().zip(subjects.iter()) {
            count.may_resume(&subject.limits, session, &now).map_err(|exceeded| exceeded.by(subject))?;
        }
        let resume = |count: &mut Count, subject: &Subject| {
            let resumed = count.resume(&subject.limits, session, ttl, &now);
            self.write_down(subject, count, session, &now);
            resumed
        };
        let resumed = counts.iter_mut().zip(subjects.iter()).map(|(count, subject)| resume(count, subject)).collect();
        let standing = counts.iter().zip(subjects.iter()).map(|(count, subject)| count.standing(&subject.limits, now.steady));
        Ok((Standing::tightest(standing), resumed))
    }

    /// Undoes `resume`.
    pub(super) fn suspend(&self, subjects: &Subjects, session: SessionId, resumed: &[Option<Resumed>], clock: &SharedClock) {
        for (subject, resumed) in subjects.iter().zip(resumed).filter_map(|(subject, it)| Some((subject, it.as_ref()?))) {
            self.change(subject, session, clock, |count| count.suspend(session, resumed));
        }
    }

    /// Holds a place with everyone who counts them, whether or not one is free. Where nobody else can be counted, this is not either.
    pub(super) fn hold(&self, subjects: &Subjects, session: SessionId, until: Duration, clock: &SharedClock) {
        let now = Moment::now(clock);
        for subject in subjects.holding() {
            if let Ok(count) = self.shard(subject).count(subject, &self.journal, &now) {
                count.hold(session, until);
                self.write_down(subject, count, session, &now);
            }
        }
    }

    pub(super) fn release(&self, subjects: &Subjects, session: SessionId, clock: &SharedClock) {
        for subject in subjects.holding() {
            self.change(subject, session, clock, |count| count.release(session));
        }
    }

    #[cfg(test)]
    fn holds(&self, subject: &Subject, session: SessionId, now: Duration) -> bool {
        self.shard(subject).counts.get(&subject.key).is_some_and(|count| count.holds(session, now))
    }

    fn change(&self, subject: &Subject, session: SessionId, clock: &SharedClock, change: impl FnOnce(&mut Count)) {
        let now = Moment::now(clock);
        if let Some(count) = self.shard(subject).counts.get_mut(&subject.key) {
            change(count);
            self.write_down(subject, count, session, &now);
        }
    }

    /// A count and the lease of one session in it, each for itself: others' leases are as they were. While its shard is locked, so that
    /// changes are written in the order in which they are made.
    fn write_down(&self, subject: &Subject, count: &mut Count, session: SessionId, now: &Moment) {
        let (journal, text) = (&self.journal, || subject.key.text(subject.whose));
        journal.put(store::Table::Counts, text, || count.stored(now));
        if subject.limits.concurrent_calls.is_none() {
            return;
        }
        for gone in count.take_gone() {
            journal.remove(store::Table::Leases, || lease_text(gone, &text()));
        }
        if count.holds_any(session) {
            journal.put(store::Table::Leases, || lease_text(session, &text()), || count.stored_lease(session, now));
        } else {
            journal.remove(store::Table::Leases, || lease_text(session, &text()));
        }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        self.shard_of(subject.whose, &subject.key)
    }

    fn shard_of(&self, whose: Whose, key: &Key) -> MutexGuard<'_, Shard> {
        // `tables` has one for each.
        let Table(shards) = &self.tables[whose as usize];
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        // Nothing in a critical section can panic half-way through a change, so a poisoned shard is still consistent.
        shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_room(count: &mut Count, subject: &Subject, now: &Moment) -> Result<(), Denied> {
    count.has_room(&subject.limits, now).map_err(|exceeded| exceeded.by(subject))
}

impl Shard {
    fn count(&mut self, subject: &Subject, journal: &Journal, now: &Moment) -> Result<&mut Count, Denied> {
        if self.counts.len() >= self.sweep_at && !self.counts.contains_key(&subject.key) {
            // Doubling, and a second's pause when full, keep the cost of sweeping in proportion to the number of new subjects.
            if self.sweep_at < self.most || now.steady >= self.swept + SWEEP_PAUSE {
                for (key, count) in self.counts.extract_if(|_, count| count.is_idle(now)) {
                    let text = key.text(subject.whose);
                    for session in count.into_leases() {
                        journal.remove(store::Table::Leases, || lease_text(session, &text));
                    }
                    journal.remove(store::Table::Counts, || text);
                }
                self.sweep_at = (self.counts.len() * 2).max(FIRST_SWEEP).min(self.most);
                self.swept = now.steady;
            }
            if self.counts.len() >= self.most {
                return Err(Denied::Full);
            }
        }
        Ok(self.counts.entry(subject.key.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Counts, Denied, Key, MOST_PER_SHARD, SHARDS, SessionId, SharedClock, Subject, Subjects, Ttl, Whose};
    use crate::admit::Rule;
    use crate::admit::subject::Name;
    use crate::config::Limits;
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::ids::Pseudonymizer;
    use crate::domain::secret::Secret;

    /// 2026-11-30T23:59:30Z
    const END_OF_NOVEMBER: u64 = 1_796_083_170;

    fn subject(whose: Whose, name: &str, limits: Limits) -> Subject {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        let key = Key { name: Name::One(names.pseudonym("", "issuer", name)), within: "default".into() };
        Subject { whose, key, limits, known_until: Duration::MAX, booked: Duration::ZERO }
    }

    fn user(name: &str, limits: Limits) -> Subjects {
        Subjects::one(subject(Whose::User, name, limits))
    }

    fn guest(name: &str, limits: Limits, of_address: Limits) -> Subjects {
        Subjects { first: subject(Whose::Guest, name, limits), more: vec![subject(Whose::GuestAddress, "address", of_address)] }
    }

    fn limits(mints_per_minute: u64, concurrent_calls: Option<u64>, monthly_mints: Option<u64>) -> Limits {
        Limits { mints_per_minute: Some(mints_per_minute), concurrent_calls, monthly_mints }
    }

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, Denied>) -> (Rule, u64) {
        match outcome {
            Err(Denied::Limited { rule, retry_after, .. }) => (rule, super::super::rule::ceil_seconds(retry_after)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_monthly_quota_starts_anew_with_the_month() {
        let (counts, clock, ttl) = (Counts::with_most_per_shard(MOST_PER_SHARD), ManualClock::at(END_OF_NOVEMBER), Ttl::MIN);
        let shared: SharedClock = clock.clone();
        let alice = user("alice", limits(100, None, Some(2)));
        let book = || counts.book(&mut alice.clone(), SessionId::new(), ttl, &shared);
        assert!(book().is_ok() && book().is_ok());
        assert_eq!(refusal(book()), (Rule::MonthlyMints, 30));
        clock.advance(Duration::from_secs(29));
        assert_eq!(refusal(book()), (Rule::MonthlyMints, 1));
        clock.advance(Duration::from_secs(1));
        assert!(book().is_ok());
    }

    #[test]
    fn a_lease_ends_when_it_expires_or_is_released() {
        let (counts, clock) = (Counts::with_most_per_shard(MOST_PER_SHARD), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let alice = user("alice", limits(100, Some(2), None));
        let book = |session| counts.book(&mut alice.clone(), session, Ttl::MIN, &shared);
        let (first, second) = (SessionId::new(), SessionId::new());
        assert!(book(first).is_ok());
        clock.advance(Duration::from_secs(20));
        assert!(book(second).is_ok());
        assert_eq!(refusal(book(SessionId::new())), (Rule::ConcurrentCalls, 40));
        counts.release(&alice, first, &shared);
        assert!(book(SessionId::new()).is_ok());
        assert_eq!(refusal(book(SessionId::new())), (Rule::ConcurrentCalls, 60));
        clock.advance(Duration::from_secs(61));
        assert!(book(SessionId::new()).is_ok());
    }

    #[test]
    fn a_lease_that_ran_out_is_taken_again_only_when_a_place_is_free() {
        let (counts, clock) = (Counts::with_most_per_shard(MOST_PER_SHARD), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let alice = user("alice", limits(2, Some(1), Some(2)));
        let book = |session| counts.book(&mut alice.clone(), session, Ttl::MIN, &shared);
        let resume = |session| counts.resume(&alice, session, Ttl::MIN, &shared);
        let (first, second) = (SessionId::new(), SessionId::new());
        assert!(book(first).is_ok());
        clock.advance(Duration::from_mins(1));
        let (_, resumed) = resume(first).ok().unwrap();
        assert_eq!(refusal(book(second)), (Rule::ConcurrentCalls, 60));
        counts.suspend(&alice, first, &resumed, &shared);
        assert!(book(second).is_ok(), "what was resumed was given back, and nothing was booked twice");
        assert_eq!(refusal(resume(first).map(|(standing, _)| standing)), (Rule::ConcurrentCalls, 60));
        clock.advance(Duration::from_mins(1));
        assert!(resume(first).is_ok());
    }

    #[test]
    fn a_retry_that_fails_leaves_the_lease_as_others_need_it() {
        let (counts, clock) = (Counts::with_most_per_shard(MOST_PER_SHARD), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let alice = user("alice", limits(10, Some(1), None));
        let resume = |session| counts.resume(&alice, session, Ttl::MIN, &shared).ok().unwrap().1;
        let (first, second) = (SessionId::new(), SessionId::new());
        let book = || counts.book(&mut alice.clone(), second, Ttl::MIN, &shared);
        assert!(counts.book(&mut alice.clone(), first, Ttl::MIN, &shared).is_ok());
        clock.advance(Duration::from_secs(20));
        let fails = resume(first);
        counts.suspend(&alice, first, &fails, &shared);
        assert_eq!(refusal(book()), (Rule::ConcurrentCalls, 40), "the first secret's lease is as it was");
        let fails = resume(first);
        counts.hold_until(&alice, first, shared.steady() + Duration::from_secs(50), &shared);
        counts.suspend(&alice, first, &fails, &shared);
        assert_eq!(refusal(book()), (Rule::ConcurrentCalls, 50), "another retry's lease is kept");
        let late = resume(first);
        counts.release(&alice, first, &shared);
        counts.suspend(&alice, first, &late, &shared);
        assert!(book().is_ok(), "an ended session does not come back");
    }

    #[test]
    fn a_refund_gives_back_everything() {
        let counts = Counts::with_most_per_shard(MOST_PER_SHARD);
        let clock: SharedClock = ManualClock::at(1000);
        let mut alice = user("alice", limits(1, Some(1), Some(1)));
        for _ in 0..5 {
            let session = SessionId::new();
            let (_, month) = counts.book(&mut alice, session, Ttl::MIN, &clock).unwrap();
            counts.refund(&alice, session, month, &clock);
        }
    }

    #[test]
    fn nothing_is_taken_when_one_rule_refuses() {
        let (counts, clock) = (Counts::with_most_per_shard(MOST_PER_SHARD), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let alice = user("alice", limits(10, Some(1), Some(100)));
        let held = SessionId::new();
        assert!(counts.book(&mut alice.clone(), held, Ttl::MIN, &shared).is_ok());
        for _ in 0..50 {
            assert_eq!(refusal(counts.book(&mut alice.clone(), SessionId::new(), Ttl::MIN, &shared)).0, Rule::ConcurrentCalls);
        }
        counts.release(&alice, held, &shared);
        assert_eq!(counts.book(&mut alice.clone(), held, Ttl::MIN, &shared).unwrap().0.unwrap().remaining, 8);
    }

    #[test]
    fn sixty_four_threads_share_a_limit_of_ten_exactly() {
        let counts = Arc::new(Counts::with_most_per_shard(MOST_PER_SHARD));
        let clock: SharedClock = ManualClock::at(1000);
        let threads: Vec<_> = (0..64)
            .map(|_| {
                let (counts, clock) = (counts.clone(), clock.clone());
                std::thread::spawn(move || {
                    counts.book(&mut user("alice", limits(10, None, None)), SessionId::new(), Ttl::MIN, &clock).is_ok()
                })
            })
            .collect();
        assert_eq!(threads.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|passed| *passed).count(), 10);
    }

    #[test]
    fn users_beyond_the_bound_wait_and_idle_ones_make_room() {
        let (counts, clock) = (Counts::with_most_per_shard(4), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let limits = limits(1, None, None);
        let book = |name: String| counts.book(&mut user(&name, limits), SessionId::new(), Ttl::MIN, &shared);
        let admitted = (0..10 * SHARDS).filter(|i| book(format!("early {i}")) != Err(Denied::Full)).count();
        assert!((SHARDS..=4 * SHARDS).contains(&admitted), "{admitted}");
        clock.advance(Duration::from_secs(61));
        let admitted = (0..SHARDS).filter(|i| book(format!("late {i}")) != Err(Denied::Full)).count();
        assert!(admitted >= SHARDS / 2, "{admitted}");
    }

    #[test]
    fn nothing_is_taken_of_a_guest_whose_address_is_refused_nor_the_other_way_round() {
        let (counts, clock) = (Counts::with_most_per_shard(MOST_PER_SHARD), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let book = |subjects: &Subjects, session| counts.book(&mut subjects.clone(), session, Ttl::MIN, &shared);
        let (narrow, wide) = (limits(100, Some(1), Some(100)), limits(100, Some(2), Some(100)));
        let (first, second, third) = (SessionId::new(), SessionId::new(), SessionId::new());
        let (mut one, other) = (guest("one", narrow, wide), guest("other", wide, wide));
        let (_, month) = counts.book(&mut one, first, Ttl::MIN, &shared).unwrap();
        // The guest is refused: nothing is taken of the address, which has one place left.
        assert!(matches!(book(&one, SessionId::new()), Err(Denied::Limited { whose: Whose::Guest, .. })));
        assert_eq!(book(&other, second).unwrap().0.unwrap().remaining, 98);
        // The address is refused: nothing is taken of the guest.
        assert!(matches!(book(&other, third), Err(Denied::Limited { whose: Whose::GuestAddress, .. })));
        assert!(!counts.holds(&other.first, third, Duration::ZERO));
        counts.refund(&one, first, month, &shared);
        assert_eq!(book(&other, third).unwrap().0.unwrap().remaining, 98);
        assert!(counts.holds(&other.first, third, Duration::from_secs(1000)));
    }

    #[test]
    fn many_guests_of_one_address_share_its_limit_exactly() {
        let counts = Arc::new(Counts::with_most_per_shard(MOST_PER_SHARD));
        let clock: SharedClock = ManualClock::at(1000);
        let guests: Vec<_> = (0..64)
            .map(|i| {
                let (counts, clock) = (counts.clone(), clock.clone());
                std::thread::spawn(move || {
                    let subjects = guest(&format!("guest {i}"), limits(5, Some(5), None), limits(10, Some(10), None));
                    counts.book(&mut subjects.clone(), SessionId::new(), Ttl::MIN, &clock).is_ok()
                })
            })
            .collect();
        assert_eq!(guests.into_iter().map(|t| t.join().unwrap()).filter(|passed| *passed).count(), 10);
    }
}
