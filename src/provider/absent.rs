//! Deployments and models that an upstream has just said it does not have: there, others serve in its place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For how long an upstream is believed. One that is made anew at Azure takes minutes itself.
const BELIEVED: Duration = Duration::from_mins(1);
/// Profiles name few; clients that may set the model could name any.
const MOST: usize = 64;

/// Shared by all workers. Times are steady.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// Whether there is anything to look at: most often there is not.
    is_any: AtomicBool,
    /// By name: until when.
    names: Mutex<HashMap<Box<str>, Duration>>,
}

impl Absent {
    pub(super) fn has(&self, name: &str, now: Duration) -> bool {
        self.is_any.load(Ordering::Relaxed) && self.lock().get(name).is_some_and(|until| now < *until)
    }

    /// What does not fit is asked for each time.
    pub(super) fn note(&self, name: &str, now: Duration) {
        let mut names = self.lock();
        names.retain(|_, until| now < *until);
        if names.len() < MOST || names.contains_key(name) {
            names.insert(name.into(), now + BELIEVED);
        }
        self.is_any.store(true, Ordering::Relaxed);
    }

    /// It is there after all.
    pub(super) fn found(&self, name: &str) {
        // This is called for every mint.
        if self.is_any.load(Ordering::Relaxed) {
            let mut names = self.lock();
            names.remove(name);
            self.is_any.store(!names.is_empty(), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Duration>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Absent, BELIEVED, Duration, MOST};

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn what_is_absent_is_believed_for_a_while_and_until_it_is_found() {
        let absent = Absent::default();
        assert!(!absent.has("a", START));
        absent.note("a", START);
        absent.note("b", START);
        assert!(absent.has("a", START) && absent.has("b", START) && !absent.has("c", START));
        assert!(!absent.has("a", START + BELIEVED));
        absent.found("a");
        assert!(!absent.has("a", START) && absent.has("b", START));
    }

    #[test]
    fn names_that_clients_make_up_do_not_fill_the_memory() {
        let absent = Absent::default();
        for number in 0..10 * MOST {
            absent.note(&number.to_string(), START);
        }
        assert_eq!(absent.lock().len(), MOST);
        absent.note("later", START + BELIEVED);
        assert!(absent.has("later", START + BELIEVED));
        assert_eq!(absent.lock().len(), 1);
    }
}
