//! What books promise, written down as plainly as possible: one caller at a time, nothing is ever forgotten. Times are microseconds since 1970.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::admit::rule::{Rule, Standing};
use crate::admit::subject::{Name, Subject, Subjects, Whose};
use crate::domain::ids::Pseudonym;

const MINUTE: u64 = 60_000_000;
const MOST_RETRIES: u8 = 3;

/// What one subject has used.
#[derive(Default)]
struct Used {
    /// When all of its rate is free again.
    arrival: u64,
    by_month: HashMap<usize, u64>,
    leases: HashMap<usize, u64>,
}

/// An idempotency key whose first secret is out.
pub(super) struct Known {
    pub(super) session: usize,
    pub(super) request: u8,
    pub(super) retries: u8,
}

/// What an admission must come to. Sessions are numbered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Booked(Option<Standing>),
    Resumed(usize, Option<Standing>),
    Limited { whose: Whose, rule: Rule, standing: Option<Standing>, retry_after: Duration },
    Conflict,
}

/// The leases of a session before and after a retry, by subject.
pub(super) type Resumed = Vec<(Option<u64>, u64)>;

pub(super) struct Model {
    pub(super) now: u64,
    /// Ends of this month and of the next ones.
    pub(super) months: Vec<u64>,
    pub(super) keys: HashMap<(usize, u8), Known>,
    /// On a cluster the user's own slot answers first.
    pub(super) own_first: bool,
    used: HashMap<String, Used>,
}

impl Model {
    pub(super) fn new(now: u64, months: Vec<u64>, own_first: bool) -> Self {
        Self { now, months, keys: HashMap::new(), own_first, used: HashMap::new() }
    }

    pub(super) fn month(&self) -> usize {
        self.months.iter().filter(|end| **end <= self.now).count()
    }

    fn used(&mut self, subject: &Subject) -> &mut Used {
        self.used.entry(subject.key.text(subject.whose)).or_default()
    }

    pub(super) fn book(&mut self, subjects: &Subjects, user: &Pseudonym, session: usize, ttl: u64) -> Expected {
        if let Some(refusal) = self.in_order(subjects, user).into_iter().find_map(|subject| self.refusal(subject)) {
            return refusal;
        }
        let (now, month) = (self.now, self.month());
        for subject in subjects.iter() {
            let its = self.used(subject);
            if let Some(quota) = subject.limits.mints_per_minute {
                its.arrival = its.arrival.max(now) + MINUTE / quota;
            }
            *its.by_month.entry(month).or_default() += 1;
            its.leases.insert(session, now + ttl);
        }
        Expected::Booked(self.tightest(subjects, user))
    }

    /// A further request under a key that is known.
    pub(super) fn retry(
        &mut self,
        subjects: &Subjects,
        user: &Pseudonym,
        key: (usize, u8),
        (request, is_open, ttl): (u8, bool, u64),
    ) -> (Expected, Resumed) {
        let known = &self.keys[&key];
        let session = known.session;
        if known.request != request || known.retries >= MOST_RETRIES || !is_open {
            return (Expected::Conflict, Vec::new());
        }
        let now = self.now;
        for subject in self.in_order(subjects, user) {
            let is_held = self.used(subject).leases.get(&session).is_some_and(|end| *end > now);
            if let Some(refusal) = self.no_place(subject).filter(|_| !is_held) {
                // The user's own slot has counted it already.
                let is_others = self.own_first && !is_own(subject, user);
                self.keys.get_mut(&key).unwrap().retries += u8::from(is_others);
                return (refusal, Vec::new());
            }
        }
        self.keys.get_mut(&key).unwrap().retries += 1;
        let resume = |subject| {
            let leases = &mut self.used(subject).leases;
            let before = leases.get(&session).copied().filter(|end| *end > now);
            let end = before.unwrap_or_default().max(now + ttl);
            leases.insert(session, end);
            (before, end)
        };
        let resumed = subjects.iter().map(resume).collect();
        (Expected::Resumed(session, self.tightest(subjects, user)), resumed)
    }

    /// The arrival times of those who were just booked.
    pub(super) fn arrivals(&mut self, subjects: &Subjects) -> Vec<u64> {
        subjects.iter().map(|subject| self.used(subject).arrival).collect()
    }

    /// As if the mint, which was booked in that month and made these arrival times, had not been: but what has gone by has gone by.
    pub(super) fn give_back(&mut self, subjects: &Subjects, session: usize, month: usize, arrivals: &[u64]) {
        for (subject, booked) in subjects.iter().zip(arrivals) {
            let left = booked.saturating_sub(self.now);
            let used = self.used(subject);
            let interval = subject.limits.mints_per_minute.map_or(0, |quota| MINUTE / quota);
            used.arrival = used.arrival.saturating_sub(interval.min(left));
            *used.by_month.get_mut(&month).unwrap() -= 1;
            used.leases.remove(&session);
        }
    }

    /// As if the retry had not been, for leases that are as it left them.
    pub(super) fn suspend(&mut self, subjects: &Subjects, session: usize, resumed: &Resumed) {
        for (subject, (before, end)) in subjects.iter().zip(resumed) {
            let leases = &mut self.used(subject).leases;
            if leases.get(&session) == Some(end) {
                match before {
                    Some(before) => leases.insert(session, *before),
                    None => leases.remove(&session),
                };
            }
        }
    }

    pub(super) fn keep(&mut self, subjects: &Subjects, session: usize, until: u64) {
        for subject in subjects.iter() {
            self.used(subject).leases.entry(session).and_modify(|end| *end = until);
        }
    }

    pub(super) fn hold(&mut self, subjects: &Subjects, session: usize, until: u64) {
        for subject in subjects.iter() {
            self.used(subject).leases.insert(session, until);
        }
    }

    pub(super) fn release(&mut self, subjects: &Subjects, session: usize) {
        for subject in subjects.iter() {
            self.used(subject).leases.remove(&session);
        }
    }

    /// Whether a lease of the session has run out.
    pub(super) fn has_run_out(&mut self, subjects: &Subjects, session: usize) -> bool {
        let now = self.now;
        subjects.iter().any(|subject| self.used(subject).leases.get(&session).is_some_and(|end| *end <= now))
    }

    fn in_order<'s>(&self, subjects: &'s Subjects, user: &Pseudonym) -> Vec<&'s Subject> {
        let mut all: Vec<_> = subjects.iter().collect();
        if self.own_first {
            all.sort_by_key(|subject| !is_own(subject, user));
        }
        all
    }

    fn refusal(&mut self, subject: &Subject) -> Option<Expected> {
        let (now, month, standing) = (self.now, self.month(), self.standing(subject));
        let month_ends = self.months[month];
        let used = self.used(subject);
        let limited = |rule, standing, wait| {
            Some(Expected::Limited { whose: subject.whose, rule, standing, retry_after: Duration::from_micros(wait) })
        };
        let this_month = used.by_month.get(&month).copied().unwrap_or_default();
        if subject.limits.monthly_mints.is_some_and(|most| this_month >= most) {
            return limited(Rule::MonthlyMints, standing, month_ends - now);
        }
        let next = subject.limits.mints_per_minute.map(|quota| (quota, used.arrival.max(now) + MINUTE / quota));
        if let Some(refusal) = self.no_place(subject) {
            return Some(refusal);
        }
        let (quota, next) = next.filter(|(_, next)| *next > now + MINUTE)?;
        let wait = next - now - MINUTE;
        limited(Rule::MintsPerMinute, Some(Standing { quota, remaining: 0, reset: wait.div_ceil(1_000_000) }), wait)
    }

    fn no_place(&mut self, subject: &Subject) -> Option<Expected> {
        let (now, standing) = (self.now, self.standing(subject));
        let mut ends: Vec<_> = self.used(subject).leases.values().copied().filter(|end| *end > now).collect();
        ends.sort_unstable();
        // Calls under way hold more places than there are.
        let over = ends.len().checked_sub(usize::try_from(subject.limits.concurrent_calls?).unwrap())?;
        let retry_after = Duration::from_micros(ends[over] - now);
        Some(Expected::Limited { whose: subject.whose, rule: Rule::ConcurrentCalls, standing, retry_after })
    }

    fn standing(&mut self, subject: &Subject) -> Option<Standing> {
        let quota = subject.limits.mints_per_minute?;
        let debt = self.used(subject).arrival.saturating_sub(self.now);
        let remaining = (MINUTE - debt) / (MINUTE / quota);
        Some(Standing { quota, remaining, reset: debt.div_ceil(1_000_000) })
    }

    fn tightest(&mut self, subjects: &Subjects, user: &Pseudonym) -> Option<Standing> {
        let standings = self.in_order(subjects, user).into_iter().filter_map(|subject| self.standing(subject));
        standings.min_by_key(|standing| (standing.remaining, Reverse(standing.reset)))
    }
}

fn is_own(subject: &Subject, user: &Pseudonym) -> bool {
    matches!(subject.whose, Whose::User | Whose::Guest | Whose::Person) && subject.key.name == Name::One(*user)
}
