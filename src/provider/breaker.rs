//! When an upstream is left alone, because others can serve in its place.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures one after the other, with no answer between them, from which on it is left alone.
const MOST_FAILURES: u32 = 5;
/// For how long, doubling from the first to the second with each trial that fails.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// How long a trial has before the next request may be one.
const TRIAL: Duration = Duration::from_secs(10);

/// Shared by all workers. Times are steady, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// Trials that failed since the last answer.
    trials: AtomicU32,
    /// Open until then; 0: closed.
    open_until: AtomicU64,
    /// A request is trying whether it can be closed.
    is_tried: AtomicBool,
    /// Has no capacity until then.
    rests_until: AtomicU64,
}

impl Breaker {
    /// Whether a request may go there. While it is open, one at a time finds out whether it can be closed: whoever is told yes has to try.
    pub(super) fn lets_through(&self, now: Duration) -> bool {
        if !self.would_let_through(now) {
            return false;
        }
        let until = self.open_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        // Whoever wins is the trial; the others see it open again.
        let next = millis(now + TRIAL);
        let won = self.open_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            self.is_tried.store(true, Ordering::Relaxed);
        }
        won
    }

    /// The same for whoever may not try after all.
    pub(super) fn would_let_through(&self, now: Duration) -> bool {
        let now = millis(now);
        now >= self.rests_until.load(Ordering::Relaxed) && now >= self.open_until.load(Ordering::Relaxed)
    }

    /// It did not answer, or has a problem of its own. Whether that opened the breaker.
    pub(super) fn failed(&self, now: Duration) -> bool {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < MOST_FAILURES {
            return false;
        }
        let is_open = self.open_until.load(Ordering::Relaxed) != 0;
        // What fails later and began before it opened is no news.
        if is_open && !self.is_tried.swap(false, Ordering::Relaxed) {
            return false;
        }
        let trials = if is_open { self.trials.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        let pause = PAUSES.0.saturating_mul(1 << trials.min(8)).min(PAUSES.1);
        self.open_until.swap(millis(now + pause.mul_f64(1.0 - 0.25 * fastrand::f64())).max(1), Ordering::Relaxed) == 0
    }

    /// It answered. Whether that closed the breaker.
    pub(super) fn answered(&self) -> bool {
        // Looked at first: this is called for every mint.
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.trials.store(0, Ordering::Relaxed);
        self.open_until.swap(0, Ordering::Relaxed) != 0
    }

    /// It can serve nobody for now.
    pub(super) fn rest(&self, now: Duration, pause: Duration) {
        self.rests_until.fetch_max(millis(now + pause.min(PAUSES.1)), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Breaker, Duration};

    const START: Duration = Duration::from_secs(1000);
    const SECOND: Duration = Duration::from_secs(1);

    fn open() -> Breaker {
        let breaker = Breaker::default();
        let opened: Vec<bool> = (0..5).map(|_| breaker.failed(START)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn five_failures_without_an_answer_open_it() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 0..4 {
                assert!(!breaker.failed(START));
            }
            breaker.answered();
        }
        assert!(breaker.lets_through(START));
        assert!(!open().lets_through(START));
    }

    #[test]
    fn one_request_at_a_time_tries_it_again() {
        let breaker = open();
        assert!(!breaker.lets_through(START + 3 * SECOND));
        let later = START + 5 * SECOND;
        assert!(breaker.lets_through(later));
        assert!(!breaker.lets_through(later));
        // A trial that nobody heard of again is not the last.
        assert!(breaker.lets_through(later + 10 * SECOND));
        assert!(breaker.answered());
        assert!(breaker.lets_through(later) && breaker.lets_through(later));
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let (breaker, mut now) = (open(), START);
        for seconds in [5, 10, 20, 40, 60, 60] {
            assert!(!breaker.lets_through(now + Duration::from_secs(seconds) * 7 / 10), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(breaker.lets_through(now), "{seconds}");
            assert!(!breaker.failed(now));
        }
    }

    #[test]
    fn requests_that_were_under_way_when_it_opened_do_not_prolong_it() {
        let breaker = open();
        for _ in 0..100 {
            assert!(!breaker.failed(START + SECOND));
        }
        assert!(breaker.lets_through(START + 5 * SECOND));
        assert!(!breaker.failed(START + 5 * SECOND));
        assert!(!breaker.failed(START + 5 * SECOND));
        assert!(!breaker.lets_through(START + 12 * SECOND) && breaker.lets_through(START + 15 * SECOND));
    }

    #[test]
    fn one_without_capacity_rests_for_as_long_as_it_asks_but_no_longer_than_a_minute() {
        let breaker = Breaker::default();
        breaker.rest(START, 2 * SECOND);
        assert!(!breaker.lets_through(START + SECOND) && breaker.lets_through(START + 2 * SECOND));
        breaker.rest(START, 3600 * SECOND);
        assert!(breaker.lets_through(START + 60 * SECOND));
    }
}
