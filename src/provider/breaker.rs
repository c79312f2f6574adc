//! When an upstream is left alone, because others can serve in its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Failures one after the other, with no answer between them, from which on it is left alone.
const MOST_FAILURES: u32 = 5;
/// For how long, doubling from the first to the second with each trial that fails.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// How long a trial has before the next request may be one.
const TRIAL: Duration = Duration::from_secs(10);

/// Shared by all workers. Times are steady.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Whether there is anything to look at: most often there is not.
    is_troubled: AtomicBool,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    /// Left alone until then.
    open_until: Option<Duration>,
    /// A request is finding out whether that can be over.
    is_tried: bool,
    /// Trials that failed since the last answer.
    trials: u32,
    /// Has no capacity until then.
    rests_until: Duration,
}

impl Breaker {
    /// Whether a request may go there. While it is open, one at a time finds out whether it can be closed: whoever is told yes has to try.
    pub(super) fn lets_through(&self, now: Duration) -> bool {
        let Some(mut trouble) = self.trouble() else { return true };
        if !trouble.would_let_through(now) {
            return false;
        }
        if trouble.open_until.is_some() {
            (trouble.open_until, trouble.is_tried) = (Some(now + TRIAL), true);
        }
        true
    }

    /// The same for whoever may not try after all.
    pub(super) fn would_let_through(&self, now: Duration) -> bool {
        self.trouble().is_none_or(|trouble| trouble.would_let_through(now))
    }

    /// It did not answer, or has a problem of its own. Whether that opened the breaker.
    pub(super) fn failed(&self, now: Duration) -> bool {
        let mut trouble = self.lock();
        self.is_troubled.store(true, Ordering::Relaxed);
        trouble.failures = trouble.failures.saturating_add(1);
        let was_tried = std::mem::take(&mut trouble.is_tried);
        match trouble.open_until {
            None if trouble.failures < MOST_FAILURES => return false,
            // What fails later and began before it opened is no news.
            Some(until) if !was_tried && now < until => return false,
            Some(_) if was_tried => trouble.trials += 1,
            _ => {}
        }
        let pause = PAUSES.0.saturating_mul(1 << trouble.trials.min(8)).min(PAUSES.1);
        trouble.open_until.replace(now + pause.mul_f64(1.0 - 0.25 * fastrand::f64())).is_none()
    }

    /// It answered. Whether that closed the breaker.
    pub(super) fn answered(&self, now: Duration) -> bool {
        // This is called for every mint.
        let Some(mut trouble) = self.trouble() else { return false };
        let was_open = trouble.open_until.is_some();
        *trouble = Trouble { rests_until: trouble.rests_until, ..Trouble::default() };
        self.is_troubled.store(now < trouble.rests_until, Ordering::Relaxed);
        was_open
    }

    /// It can serve nobody for now.
    pub(super) fn rest(&self, now: Duration, pause: Duration) {
        let mut trouble = self.lock();
        self.is_troubled.store(true, Ordering::Relaxed);
        trouble.rests_until = trouble.rests_until.max(now + pause.min(PAUSES.1));
    }

    fn trouble(&self) -> Option<MutexGuard<'_, Trouble>> {
        self.is_troubled.load(Ordering::Relaxed).then(|| self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    fn would_let_through(&self, now: Duration) -> bool {
        now >= self.rests_until && self.open_until.is_none_or(|until| now >= until)
    }
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
            assert!(!breaker.answered(START));
        }
        assert!(breaker.lets_through(START));
        assert!(!open().lets_through(START));
    }

    #[test]
    fn one_request_at_a_time_tries_it_again() {
        let breaker = open();
        assert!(!breaker.lets_through(START + 3 * SECOND));
        let later = START + 5 * SECOND;
        assert!(breaker.would_let_through(later) && breaker.lets_through(later));
        assert!(!breaker.lets_through(later));
        // A trial that nobody heard of again is not the last.
        assert!(breaker.lets_through(later + 10 * SECOND));
        assert!(breaker.answered(later));
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

    /// Where nobody else could serve, it is asked without a trial.
    #[test]
    fn a_failure_after_its_pause_opens_it_again() {
        let breaker = open();
        assert!(!breaker.failed(START + 20 * SECOND));
        assert!(!breaker.lets_through(START + 23 * SECOND) && breaker.lets_through(START + 25 * SECOND));
    }

    #[test]
    fn one_without_capacity_rests_for_as_long_as_it_asks_but_no_longer_than_a_minute() {
        let breaker = Breaker::default();
        breaker.rest(START, 2 * SECOND);
        breaker.answered(START + SECOND);
        assert!(!breaker.lets_through(START + SECOND) && breaker.lets_through(START + 2 * SECOND));
        breaker.rest(START, 3600 * SECOND);
        assert!(breaker.lets_through(START + 60 * SECOND));
    }
}
