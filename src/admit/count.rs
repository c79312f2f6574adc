//! What is counted of one subject: its rate, its places, its month.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Denied;
use super::rule::{Rate, Rule, Standing};
use super::subject::Subject;
use crate::config::Limits;
use crate::domain::clock::SharedClock;
use crate::domain::ids::SessionId;
use crate::domain::ttl::Ttl;

const FIRST_LEASE_SWEEP: usize = 16;

/// One moment, on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) steady: Duration,
    wall: Duration,
    pub(super) month: Month,
}

impl Moment {
    pub(super) fn now(clock: &SharedClock) -> Self {
        let wall = clock.wall();
        Self { steady: clock.steady(), wall, month: Month::of(wall) }
    }

    /// A moment of steady time, as the wall clock shows it, in microseconds.
    fn wall_of(&self, steady: Duration) -> u64 {
        let wall = (self.wall + steady.saturating_sub(self.steady)).saturating_sub(self.steady.saturating_sub(steady));
        u64::try_from(wall.as_micros()).unwrap_or(u64::MAX)
    }

    fn steady_of(&self, wall: u64) -> Duration {
        let wall = Duration::from_micros(wall);
        (self.steady + wall.saturating_sub(self.wall)).saturating_sub(self.wall.saturating_sub(wall))
    }
}

/// A count on disk, without its leases. Microseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "a")]
    arrival: u64,
    #[serde(rename = "m")]
    month: i32,
    #[serde(rename = "n")]
    mints: u64,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    known_until: Option<u64>,
}

/// What one subject has used.
#[derive(Default)]
pub(super) struct Count {
    /// Theoretical arrival time of the rate, steady.
    arrival: Duration,
    month: Month,
    mints_this_month: u64,
    leases: Leases,
    /// Nobody comes back to this count after that, steady.
    known_until: Duration,
}

/// Sessions that hold a place, and until when, steady.
#[derive(Default)]
struct Leases {
    until: HashMap<SessionId, Duration>,
    /// At this size expired ones are taken out, so that the cost of that stays in proportion to the number of mints.
    sweep_at: usize,
    /// Those that were taken out, until somebody asks.
    gone: Vec<SessionId>,
}

impl Leases {
    /// How many are held now, counted no further than `most`.
    fn held(&mut self, most: u64, now: Duration) -> u64 {
        if self.until.len() as u64 >= most || self.until.len() >= self.sweep_at {
            self.gone.extend(self.until.extract_if(|_, until| *until <= now).map(|(session, _)| session));
            self.sweep_at = (self.until.len() * 2).max(FIRST_LEASE_SWEEP);
        }
        self.until.len() as u64
    }

    /// How long until fewer than `most` are held. There may be more than that: a call that is under way holds its place in any case.
    fn until_free(&self, most: u64, now: Duration) -> Duration {
        let mut ends: Vec<_> = self.until.values().collect();
        ends.sort_unstable();
        let last = usize::try_from(most).ok().and_then(|most| ends.len().checked_sub(most)).and_then(|last| ends.get(last));
        last.map_or(Duration::ZERO, |end| end.saturating_sub(now))
    }
}

/// A lease that a retry relies on.
#[derive(PartialEq, Eq)]
pub(super) struct Resumed {
    /// Its end before, if it was held.
    before: Option<Duration>,
    until: Duration,
}

/// A rule has no room for one more.
#[derive(Clone, Copy)]
pub(super) struct Exceeded {
    pub(super) rule: Rule,
    /// Absent where there is no rate.
    pub(super) standing: Option<Standing>,
    pub(super) retry_after: Duration,
}

impl Exceeded {
    /// As whoever is refused is told.
    pub(super) fn by(self, subject: &Subject) -> Denied {
        let Self { rule, standing, retry_after } = self;
        Denied::Limited { whose: subject.whose, rule, standing, retry_after }
    }
}

impl Count {
    /// Whether there is room for one more mint. Takes nothing.
    pub(super) fn has_room(&mut self, limits: &Limits, now: &Moment) -> Result<(), Exceeded> {
        self.roll_over(now.month);
        let steady = now.steady;
        let exceeded = |rule, standing, retry_after| Err(Exceeded { rule, standing, retry_after });
        let here = self.standing(limits, steady);
        if limits.monthly_mints.is_some_and(|most| self.mints_this_month >= most) {
            return exceeded(Rule::MonthlyMints, here, now.month.end().saturating_sub(now.wall));
        }
        if let Some(most) = limits.concurrent_calls
            && self.leases.held(most, steady) >= most
        {
            return exceeded(Rule::ConcurrentCalls, here, self.leases.until_free(most, steady));
        }
        let Some(rate) = Rate::of(limits) else { return Ok(()) };
        match rate.one_more(self.arrival, steady) {
            Ok(_) => Ok(()),
            Err(wait) => exceeded(Rule::MintsPerMinute, Some(rate.refused(wait)), wait),
        }
    }

    /// Takes one mint, and a place for `session`. There must be room.
    pub(super) fn take(
        &mut self,
        limits: &Limits,
        known_until: Duration,
        session: SessionId,
        ttl: Ttl,
        now: &Moment,
    ) -> Option<Standing> {
        if let Some(rate) = Rate::of(limits) {
            self.arrival = rate.next(self.arrival, now.steady);
        }
        self.mints_this_month += u64::from(limits.monthly_mints.is_some());
        if limits.concurrent_calls.is_some() {
            self.leases.until.insert(session, now.steady + Duration::from_secs(ttl.seconds()));
        }
        self.known_until = self.known_until.max(known_until);
        self.standing(limits, now.steady)
    }

    /// Whether a session that was booked before has its place still, or would find one free. Takes nothing.
    pub(super) fn may_resume(&mut self, limits: &Limits, session: SessionId, now: &Moment) -> Result<(), Exceeded> {
        let steady = now.steady;
        let Some(most) = limits.concurrent_calls.filter(|_| !self.holds(session, steady)) else { return Ok(()) };
        if self.leases.held(most, steady) < most {
            return Ok(());
        }
        let standing = self.standing(limits, steady);
        Err(Exceeded { rule: Rule::ConcurrentCalls, standing, retry_after: self.leases.until_free(most, steady) })
    }

    /// Holds a place for another secret of a session, or takes one again. It must be free to.
    pub(super) fn resume(&mut self, limits: &Limits, session: SessionId, ttl: Ttl, now: &Moment) -> Option<Resumed> {
        limits.concurrent_calls?;
        let before = self.leases.until.get(&session).copied().filter(|until| *until > now.steady);
        let until = before.unwrap_or_default().max(now.steady + Duration::from_secs(ttl.seconds()));
        self.leases.until.insert(session, until);
        Some(Resumed { before, until })
    }

    /// Undoes `resume`, unless the lease was changed since: then others rely on it.
    pub(super) fn suspend(&mut self, session: SessionId, resumed: &Resumed) {
        if self.leases.until.get(&session) == Some(&resumed.until) {
            match resumed.before {
                Some(before) => self.leases.until.insert(session, before),
                None => self.leases.until.remove(&session),
            };
        }
    }

    pub(super) fn arrival(&self) -> Duration {
        self.arrival
    }

    /// Gives back what `take` took in `month`, which made the arrival time `booked`.
    pub(super) fn give_back(&mut self, limits: &Limits, session: SessionId, month: Month, booked: Duration, now: &Moment) {
        if let Some(rate) = Rate::of(limits) {
            self.arrival = rate.one_less(self.arrival, booked, now.steady);
        }
        if self.month == month {
            self.mints_this_month = self.mints_this_month.saturating_sub(1);
        }
        self.release(session);
    }

    pub(super) fn release(&mut self, session: SessionId) {
        self.leases.until.remove(&session);
    }

    /// Holds a place until then, whether or not one is free: a call is under way.
    pub(super) fn hold(&mut self, session: SessionId, until: Duration) {
        self.leases.until.insert(session, until);
    }

    /// Sets the end of a lease, if there is such a one (still).
    pub(super) fn hold_until(&mut self, session: SessionId, until: Duration) {
        if let Some(end) = self.leases.until.get_mut(&session) {
            *end = until;
        }
    }

    pub(super) fn holds(&self, session: SessionId, now: Duration) -> bool {
        self.leases.until.get(&session).is_some_and(|until| *until > now)
    }

    /// Whether there is a lease, run out or not.
    pub(super) fn holds_any(&self, session: SessionId) -> bool {
        self.leases.until.contains_key(&session)
    }

    pub(super) fn standing(&self, limits: &Limits, now: Duration) -> Option<Standing> {
        Rate::of(limits).map(|rate| rate.standing(self.arrival, now))
    }

    fn roll_over(&mut self, month: Month) {
        if self.month != month {
            self.month = month;
            self.mints_this_month = 0;
        }
    }

    /// As it is written down: by the wall clock, which goes on when the process does not.
    pub(super) fn stored(&self, now: &Moment) -> Option<Vec<u8>> {
        let stored = Stored {
            arrival: now.wall_of(self.arrival),
            month: self.month.0,
            mints: self.mints_this_month,
            known_until: (self.known_until < Duration::MAX).then(|| now.wall_of(self.known_until)),
        };
        serde_json::to_vec(&stored).ok()
    }

    /// What was written down. `None` when it is not of this form.
    pub(super) fn restored(stored: &[u8], now: &Moment) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(stored).ok()?;
        Some(Self {
            arrival: now.steady_of(stored.arrival),
            month: Month(stored.month),
            mints_this_month: stored.mints,
            leases: Leases::default(),
            known_until: stored.known_until.map_or(Duration::MAX, |until| now.steady_of(until)),
        })
    }

    /// The end of a lease as it is written down, if there is one.
    pub(super) fn stored_lease(&self, session: SessionId, now: &Moment) -> Option<Vec<u8>> {
        self.leases.until.get(&session).map(|until| now.wall_of(*until).to_string().into_bytes())
    }

    /// Puts a lease back that was written down. `false` when it is not of this form, or has run out.
    pub(super) fn restore_lease(&mut self, session: SessionId, stored: &[u8], now: &Moment) -> bool {
        let until = std::str::from_utf8(stored).ok().and_then(|until| until.parse().ok()).map(|until| now.steady_of(until));
        let until = until.filter(|until| *until > now.steady);
        until.map(|until| self.leases.until.insert(session, until)).is_some()
    }

    /// Leases that have run out and are counted no more; each is told once.
    pub(super) fn take_gone(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.leases.gone)
    }

    /// All leases, run out or not.
    pub(super) fn into_leases(self) -> impl Iterator<Item = SessionId> {
        self.leases.until.into_keys().chain(self.leases.gone)
    }

    /// Whether forgetting it changes no answer.
    pub(super) fn is_idle(&self, now: &Moment) -> bool {
        self.arrival <= now.steady
            && (self.month != now.month || self.mints_this_month == 0 || self.known_until <= now.steady)
            && self.leases.until.values().all(|until| *until <= now.steady)
    }
}

/// A calendar month in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Month(i32);

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
