//! Time, handed in. The only place that reads the system's clocks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a stage gets its time from.
pub(crate) trait Clock: Send + Sync {
    /// Time since the Unix epoch. May jump when an operator or NTP sets the clock.
    fn wall(&self) -> Duration;

    /// Time since some fixed point. Never goes back and never jumps.
    fn steady(&self) -> Duration;

    /// Whole seconds since the Unix epoch.
    fn unix(&self) -> u64 {
        self.wall().as_secs()
    }
}

/// The clock that every stage of one process shares.
pub(crate) type SharedClock = Arc<dyn Clock>;

/// The operating system's clocks.
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    pub(crate) fn shared() -> SharedClock {
        Arc::new(Self { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn wall(&self) -> Duration {
        // A clock before 1970 reads as 1970: every token is then "not yet valid" or the answer "malformed"; nothing panics.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn steady(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
pub(crate) mod manual {
    //! A clock that tests set.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::Clock;

    /// Wall and steady time move together, by hand.
    pub(crate) struct ManualClock(AtomicU64);

    impl ManualClock {
        pub(crate) fn at(unix: u64) -> Arc<Self> {
            Arc::new(Self(AtomicU64::new(unix * 1000)))
        }

        pub(crate) fn advance(&self, by: Duration) {
            self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        }
    }

    impl Clock for ManualClock {
        fn wall(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }

        fn steady(&self) -> Duration {
            self.wall()
        }
    }
}
