//! Counts in this process's memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::rule::{Rate, Rule, Standing};
use super::{Denied, UserOfProfile};
use crate::config::Limits;
use crate::domain::clock::SharedClock;
use crate::domain::ids::SessionId;
use crate::domain::ttl::Ttl;

const SHARDS: usize = 64;
/// Users counted at most, in each shard: about a million in all, at roughly 200 bytes each.
const MOST_PER_SHARD: usize = 16_384;
const FIRST_SWEEP: usize = 256;
const FIRST_LEASE_SWEEP: usize = 16;
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// One user's counts within one profile.
#[derive(Default)]
struct Count {
    /// Theoretical arrival time of the rate, steady.
    arrival: Duration,
    month: Month,
    mints_this_month: u64,
    leases: Leases,
}

/// Sessions that hold a place, and until when, steady.
#[derive(Default)]
struct Leases {
    until: HashMap<SessionId, Duration>,
    /// At this size expired ones are taken out, so that the cost of that stays in proportion to the number of mints.
    sweep_at: usize,
}

/// A lease that a retry relies on.
#[derive(PartialEq, Eq)]
pub(super) struct Resumed {
    /// Its end before, if it was held.
    before: Option<Duration>,
    until: Duration,
}

impl Leases {
    /// How many are held now, counted no further than `most`.
    fn held(&mut self, most: u64, now: Duration) -> u64 {
        if self.until.len() as u64 >= most || self.until.len() >= self.sweep_at {
            self.until.retain(|_, until| *until > now);
            self.sweep_at = (self.until.len() * 2).max(FIRST_LEASE_SWEEP);
        }
        self.until.len() as u64
    }

    fn first_free(&self, now: Duration) -> Duration {
        self.until.values().min().map_or(Duration::ZERO, |first| first.saturating_sub(now))
    }
}

/// A calendar month in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Month(i32);

struct Shard {
    counts: HashMap<UserOfProfile, Count>,
    /// Users counted at most.
    most: usize,
    /// At this size idle entries are taken out.
    sweep_at: usize,
    /// Steady time of the last such sweep.
    swept: Duration,
}

pub(super) struct Counts {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl Default for Counts {
    fn default() -> Self {
        Self::with_most_per_shard(MOST_PER_SHARD)
    }
}

impl Counts {
    fn with_most_per_shard(most: usize) -> Self {
        let shard = || Mutex::new(Shard { counts: HashMap::new(), most, sweep_at: FIRST_SWEEP.min(most), swept: Duration::ZERO });
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), hasher: RandomState::new() }
    }
}

impl Counts {
    /// Books one mint and a lease for `session`, or nothing at all.
    pub(super) fn book(
        &self,
        user: &UserOfProfile,
        session: SessionId,
        limits: &Limits,
        ttl: Ttl,
        clock: &SharedClock,
    ) -> Result<Standing, Denied> {
        let (now, wall) = (clock.steady(), clock.wall());
        let month = Month::of(wall);
        let rate = Rate::per_minute(limits.mints_per_minute);
        let mut shard = self.shard(user);
        let count = shard.count(user, now, month)?;
        count.roll_over(month);
        let deny = |rule, standing, retry_after| Err(Denied::Limited { rule, standing, retry_after });
        let here = rate.standing(count.arrival, now);
        if limits.monthly_mints.is_some_and(|most| count.mints_this_month >= most) {
            return deny(Rule::MonthlyMints, here, month.end().saturating_sub(wall));
        }
        if limits.concurrent_calls.is_some_and(|most| count.leases.held(most, now) >= most) {
            return deny(Rule::ConcurrentCalls, here, count.leases.first_free(now));
        }
        match rate.one_more(count.arrival, now) {
            Ok(arrival) => count.arrival = arrival,
            Err(wait) => return deny(Rule::MintsPerMinute, rate.refused(wait), wait),
        }
        count.mints_this_month += u64::from(limits.monthly_mints.is_some());
        if limits.concurrent_calls.is_some() {
            count.leases.until.insert(session, now + Duration::from_secs(ttl.seconds()));
        }
        Ok(rate.standing(count.arrival, now))
    }

    /// Gives back what `book` took.
    pub(super) fn refund(&self, user: &UserOfProfile, session: SessionId, limits: &Limits) {
        if let Some(count) = self.shard(user).counts.get_mut(user) {
            count.arrival = Rate::per_minute(limits.mints_per_minute).one_less(count.arrival);
            count.mints_this_month = count.mints_this_month.saturating_sub(1);
            count.leases.until.remove(&session);
        }
    }

    /// Sets the end of a lease to the expiry of the secret that was minted. `false` when there is no such lease (any more).
    pub(super) fn hold_until(&self, user: &UserOfProfile, session: SessionId, until: Duration) -> bool {
        let mut shard = self.shard(user);
        let lease = shard.counts.get_mut(user).and_then(|count| count.leases.until.get_mut(&session));
        lease.map(|end| *end = until).is_some()
    }

    /// Holds a place for another secret of a session that was booked before, or takes one again when its lease has run out.
    pub(super) fn resume(
        &self,
        user: &UserOfProfile,
        session: SessionId,
        limits: &Limits,
        ttl: Ttl,
        clock: &SharedClock,
    ) -> Result<(Standing, Option<Resumed>), Denied> {
        let (now, wall) = (clock.steady(), clock.wall());
        let mut shard = self.shard(user);
        let count = shard.count(user, now, Month::of(wall))?;
        let standing = Rate::per_minute(limits.mints_per_minute).standing(count.arrival, now);
        let Some(most) = limits.concurrent_calls else { return Ok((standing, None)) };
        let before = count.leases.until.get(&session).copied().filter(|until| *until > now);
        if before.is_none() && count.leases.held(most, now) >= most {
            let retry_after = count.leases.first_free(now);
            return Err(Denied::Limited { rule: Rule::ConcurrentCalls, standing, retry_after });
        }
        let until = before.max(Some(now + Duration::from_secs(ttl.seconds()))).unwrap_or_default();
        count.leases.until.insert(session, until);
        Ok((standing, Some(Resumed { before, until })))
    }

    /// Undoes `resume`, unless the lease was changed since: then others rely on it.
    pub(super) fn suspend(&self, user: &UserOfProfile, session: SessionId, resumed: &Resumed) {
        let mut shard = self.shard(user);
        let Some(count) = shard.counts.get_mut(user) else { return };
        if count.leases.until.get(&session) == Some(&resumed.until) {
            match resumed.before {
                Some(before) => count.leases.until.insert(session, before),
                None => count.leases.until.remove(&session),
            };
        }
    }

    pub(super) fn release(&self, user: &UserOfProfile, session: SessionId) {
        if let Some(count) = self.shard(user).counts.get_mut(user) {
            count.leases.until.remove(&session);
        }
    }

    fn shard(&self, user: &UserOfProfile) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(user) % SHARDS as u64).unwrap_or_default();
        // Nothing in a critical section can panic half-way through a change, so a poisoned shard is still consistent.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn count(&mut self, user: &UserOfProfile, now: Duration, month: Month) -> Result<&mut Count, Denied> {
        if self.counts.len() >= self.sweep_at && !self.counts.contains_key(user) {
            // Doubling, and a second's pause when full, keep the cost of sweeping in proportion to the number of new users.
            if self.sweep_at < self.most || now >= self.swept + SWEEP_PAUSE {
                self.counts.retain(|_, count| !count.is_idle(now, month));
                self.sweep_at = (self.counts.len() * 2).max(FIRST_SWEEP).min(self.most);
                self.swept = now;
            }
            if self.counts.len() >= self.most {
                return Err(Denied::Full);
            }
        }
        Ok(self.counts.entry(user.clone()).or_default())
    }
}

impl Count {
    fn roll_over(&mut self, month: Month) {
        if self.month != month {
            self.month = month;
            self.mints_this_month = 0;
        }
    }

    /// Whether forgetting it changes no answer.
    fn is_idle(&self, now: Duration, month: Month) -> bool {
        self.arrival <= now
            && (self.month != month || self.mints_this_month == 0)
            && self.leases.until.values().all(|until| *until <= now)
    }
}

impl Month {
    fn of(wall: Duration) -> Self {
        let date = Self::date(wall);
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// The first moment of the next month, since 1970.
    fn end(self) -> Duration {
        let next = self.0 + 1;
        let first = i16::try_from(next.div_euclid(12)).ok().zip(i8::try_from(next.rem_euclid(12) + 1).ok());
        let first = first.and_then(|(year, month)| Date::new(year, month, 1).ok());
        let start = first.and_then(|date| date.to_zoned(TimeZone::UTC).ok()).map(|moment| moment.timestamp().as_second());
        Duration::from_secs(start.and_then(|second| u64::try_from(second).ok()).unwrap_or_default())
    }

    fn date(wall: Duration) -> Date {
        let second = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC).date()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Counts, Denied, Limits, Rule, SHARDS, SessionId, SharedClock, Ttl, UserOfProfile};
    use crate::domain::clock::Clock as _;
    use crate::domain::clock::manual::ManualClock;
    use crate::domain::ids::Pseudonymizer;
    use crate::domain::secret::Secret;

    /// 2026-11-30T23:59:30Z
    const END_OF_NOVEMBER: u64 = 1_796_083_170;

    fn user(name: &str) -> UserOfProfile {
        let names = Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned()));
        UserOfProfile { user: names.pseudonym("", "issuer", name), profile: "default".into() }
    }

    fn limits(mints_per_minute: u64, concurrent_calls: Option<u64>, monthly_mints: Option<u64>) -> Limits {
        Limits { mints_per_minute, concurrent_calls, monthly_mints }
    }

    fn refusal(outcome: Result<super::Standing, Denied>) -> (Rule, u64) {
        match outcome {
            Err(Denied::Limited { rule, retry_after, .. }) => (rule, super::super::rule::ceil_seconds(retry_after)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_monthly_quota_starts_anew_with_the_month() {
        let (counts, clock, ttl) = (Counts::default(), ManualClock::at(END_OF_NOVEMBER), Ttl::MIN);
        let shared: SharedClock = clock.clone();
        let (alice, limits) = (user("alice"), limits(100, None, Some(2)));
        let book = || counts.book(&alice, SessionId::new(), &limits, ttl, &shared);
        assert!(book().is_ok() && book().is_ok());
        assert_eq!(refusal(book()), (Rule::MonthlyMints, 30));
        clock.advance(Duration::from_secs(29));
        assert_eq!(refusal(book()), (Rule::MonthlyMints, 1));
        clock.advance(Duration::from_secs(1));
        assert!(book().is_ok());
    }

    #[test]
    fn a_lease_ends_when_it_expires_or_is_released() {
        let (counts, clock) = (Counts::default(), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let (alice, limits) = (user("alice"), limits(100, Some(2), None));
        let book = |session| counts.book(&alice, session, &limits, Ttl::MIN, &shared);
        let (first, second) = (SessionId::new(), SessionId::new());
        assert!(book(first).is_ok());
        clock.advance(Duration::from_secs(20));
        assert!(book(second).is_ok());
        assert_eq!(refusal(book(SessionId::new())), (Rule::ConcurrentCalls, 40));
        counts.release(&alice, first);
        assert!(book(SessionId::new()).is_ok());
        assert_eq!(refusal(book(SessionId::new())), (Rule::ConcurrentCalls, 60));
        clock.advance(Duration::from_secs(61));
        assert!(book(SessionId::new()).is_ok());
    }

    #[test]
    fn a_lease_that_ran_out_is_taken_again_only_when_a_place_is_free() {
        let (counts, clock) = (Counts::default(), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let (alice, limits) = (user("alice"), limits(2, Some(1), Some(2)));
        let book = |session| counts.book(&alice, session, &limits, Ttl::MIN, &shared);
        let resume = |session| counts.resume(&alice, session, &limits, Ttl::MIN, &shared);
        let (first, second) = (SessionId::new(), SessionId::new());
        assert!(book(first).is_ok());
        clock.advance(Duration::from_mins(1));
        let (_, resumed) = resume(first).ok().unwrap();
        assert_eq!(refusal(book(second)), (Rule::ConcurrentCalls, 60));
        counts.suspend(&alice, first, &resumed.unwrap());
        assert!(book(second).is_ok(), "what was resumed was given back, and nothing was booked twice");
        assert_eq!(refusal(resume(first).map(|(standing, _)| standing)), (Rule::ConcurrentCalls, 60));
        clock.advance(Duration::from_mins(1));
        assert!(resume(first).is_ok());
    }

    #[test]
    fn a_retry_that_fails_leaves_the_lease_as_others_need_it() {
        let (counts, clock) = (Counts::default(), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let (alice, limits) = (user("alice"), limits(10, Some(1), None));
        let resume = |session| counts.resume(&alice, session, &limits, Ttl::MIN, &shared).ok().unwrap().1.unwrap();
        let (first, second) = (SessionId::new(), SessionId::new());
        let book = || counts.book(&alice, second, &limits, Ttl::MIN, &shared);
        assert!(counts.book(&alice, first, &limits, Ttl::MIN, &shared).is_ok());
        clock.advance(Duration::from_secs(20));
        let fails = resume(first);
        counts.suspend(&alice, first, &fails);
        assert_eq!(refusal(book()), (Rule::ConcurrentCalls, 40), "the first secret's lease is as it was");
        let fails = resume(first);
        assert!(counts.hold_until(&alice, first, clock.steady() + Duration::from_secs(50)));
        counts.suspend(&alice, first, &fails);
        assert_eq!(refusal(book()), (Rule::ConcurrentCalls, 50), "another retry's lease is kept");
        let late = resume(first);
        counts.release(&alice, first);
        counts.suspend(&alice, first, &late);
        assert!(book().is_ok(), "an ended session does not come back");
    }

    #[test]
    fn a_refund_gives_back_everything() {
        let counts = Counts::default();
        let clock: SharedClock = ManualClock::at(1000);
        let (alice, limits) = (user("alice"), limits(1, Some(1), Some(1)));
        for _ in 0..5 {
            let session = SessionId::new();
            assert!(counts.book(&alice, session, &limits, Ttl::MIN, &clock).is_ok());
            counts.refund(&alice, session, &limits);
        }
    }

    #[test]
    fn nothing_is_taken_when_one_rule_refuses() {
        let (counts, clock) = (Counts::default(), ManualClock::at(1000));
        let shared: SharedClock = clock.clone();
        let (alice, limits) = (user("alice"), limits(10, Some(1), Some(100)));
        let held = SessionId::new();
        assert!(counts.book(&alice, held, &limits, Ttl::MIN, &shared).is_ok());
        for _ in 0..50 {
            assert_eq!(refusal(counts.book(&alice, SessionId::new(), &limits, Ttl::MIN, &shared)).0, Rule::ConcurrentCalls);
        }
        counts.release(&alice, held);
        assert_eq!(counts.book(&alice, held, &limits, Ttl::MIN, &shared).unwrap().remaining, 8);
    }

    #[test]
    fn sixty_four_threads_share_a_limit_of_ten_exactly() {
        let counts = Arc::new(Counts::default());
        let clock: SharedClock = ManualClock::at(1000);
        let threads: Vec<_> = (0..64)
            .map(|_| {
                let (counts, clock) = (counts.clone(), clock.clone());
                std::thread::spawn(move || {
                    counts.book(&user("alice"), SessionId::new(), &limits(10, None, None), Ttl::MIN, &clock).is_ok()
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
        let book = |name: String| counts.book(&user(&name), SessionId::new(), &limits, Ttl::MIN, &shared);
        let admitted = (0..10 * SHARDS).filter(|i| book(format!("early {i}")) != Err(Denied::Full)).count();
        assert!((SHARDS..=4 * SHARDS).contains(&admitted), "{admitted}");
        clock.advance(Duration::from_secs(61));
        let admitted = (0..SHARDS).filter(|i| book(format!("late {i}")) != Err(Denied::Full)).count();
        assert!(admitted >= SHARDS / 2, "{admitted}");
    }
}
