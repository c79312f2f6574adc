//! The rules, and where a caller stands under them.

use std::time::Duration;

use crate::config::Limits;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    MintsPerMinute,
    ConcurrentCalls,
    MonthlyMints,
}

impl Rule {
    pub(super) const ALL: [Self; 3] = [Self::MintsPerMinute, Self::ConcurrentCalls, Self::MonthlyMints];

    /// The name of the limit in the configuration and of the policy in the `RateLimit` headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MintsPerMinute => "mints_per_minute",
            Self::ConcurrentCalls => "concurrent_calls",
            Self::MonthlyMints => "monthly_mints",
        }
    }
}

/// What is left of the tightest rate that a mint comes under (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Mints within a minute.
    pub(crate) quota: u64,
    /// Mints that would be admitted now.
    pub(crate) remaining: u64,
    /// Seconds until all of the quota is there again; after a refusal, until a retry would be admitted.
    pub(crate) reset: u64,
}

impl Standing {
    /// The one that leaves least.
    pub(super) fn tightest(all: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        all.flatten().min_by_key(|it| (it.remaining, std::cmp::Reverse(it.reset)))
    }
}

/// A rate of so many per minute with a burst of the same size (GCRA: ITU-T I.371, annex A).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    quota: u64,
    interval: Duration,
}

const WINDOW: Duration = Duration::from_mins(1);

impl Rate {
    /// Absent where there is none.
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        limits.mints_per_minute.map(Self::per_minute)
    }

    fn per_minute(quota: u64) -> Self {
        let nanos = WINDOW.as_nanos() / u128::from(quota.max(1));
        Self { quota, interval: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)) }
    }

    /// The theoretical arrival time after one more.
    pub(super) fn next(self, arrival: Duration, now: Duration) -> Duration {
        arrival.max(now) + self.interval
    }

    /// The same, or how long to wait for that.
    pub(super) fn one_more(self, arrival: Duration, now: Duration) -> Result<Duration, Duration> {
        let next = self.next(arrival, now);
        let latest = now + WINDOW;
        match next.checked_sub(latest) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(next),
        }
    }

    /// Without one that made the arrival time `booked`. Only what of its interval has not gone by is given back: others have had the rest.
    pub(super) fn one_less(self, arrival: Duration, booked: Duration, now: Duration) -> Duration {
        arrival.saturating_sub(self.interval.min(booked.saturating_sub(now)))
    }

    pub(super) fn standing(self, arrival: Duration, now: Duration) -> Standing {
        let debt = arrival.saturating_sub(now);
        let free = WINDOW.saturating_sub(debt).as_nanos() / self.interval.as_nanos().max(1);
        Standing {
            quota: self.quota,
            remaining: u64::try_from(free).unwrap_or(u64::MAX).min(self.quota),
            reset: ceil_seconds(debt),
        }
    }

    pub(super) fn refused(self, wait: Duration) -> Standing {
        Standing { quota: self.quota, remaining: 0, reset: ceil_seconds(wait) }
    }
}

/// Whole seconds, rounded up: a client that waits so long is not too early.
pub(crate) fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Rate};

    #[test]
    fn a_burst_of_the_whole_quota_passes_and_then_one_at_each_interval() {
        let rate = Rate::per_minute(10);
        let now = Duration::from_secs(1000);
        let mut arrival = Duration::ZERO;
        for left in (0..10).rev() {
            arrival = rate.one_more(arrival, now).unwrap();
            assert_eq!(rate.standing(arrival, now).remaining, left);
        }
        assert_eq!(rate.one_more(arrival, now), Err(Duration::from_secs(6)));
        assert!(rate.one_more(arrival, now + Duration::from_secs(6)).is_ok());
        assert_eq!(rate.one_more(rate.one_less(arrival, arrival, now), now), Ok(arrival));
        let later = now + Duration::from_mins(1);
        assert_eq!(rate.one_less(arrival, arrival, later), arrival, "its time has gone by");
        assert_eq!(rate.standing(arrival, now + Duration::from_mins(1)).remaining, 10);
    }
}
