//! Proofs that were used, so that none is used twice.
//!
//! Nothing is evicted to make room: what cannot be remembered is refused. One user fills at most a share, so that nobody can keep others
//! out by making proofs. The memory is this process's own and ends with it.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::ids::Pseudonym;
use crate::domain::secret::Sha256;

/// One user fills at most one part in so many.
const SHARES: usize = 50;

pub(super) struct Replays {
    memory: Mutex<Memory>,
    /// At least as long as a proof may be used.
    lifetime: Duration,
    most: usize,
}

/// Two generations, so that what is old is forgotten as a whole: a proof is remembered for one lifetime to two.
#[derive(Default)]
struct Memory {
    current: Generation,
    previous: Generation,
    /// Steady time at which `current` began.
    began: Duration,
}

#[derive(Default)]
struct Generation {
    proofs: HashSet<Sha256>,
    by_user: HashMap<Pseudonym, usize>,
}

/// Why a proof was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It was used before.
    Used,
    /// Its user's share is full.
    TooManyOfUser,
    Full,
}

impl Replays {
    pub(super) fn new(most: usize, lifetime: Duration) -> Self {
        Self { memory: Mutex::default(), lifetime, most }
    }

    /// Takes a proof, once. `now` is steady time.
    pub(super) fn take(&self, proof: Sha256, user: &Pseudonym, now: Duration) -> Result<(), NotTaken> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.forget(now, self.lifetime);
        let Memory { current, previous, .. } = &mut *memory;
        if current.proofs.contains(&proof) || previous.proofs.contains(&proof) {
            return Err(NotTaken::Used);
        }
        let of_user = |generation: &Generation| generation.by_user.get(user).copied().unwrap_or_default();
        if of_user(current) + of_user(previous) >= self.most.div_ceil(SHARES) {
            return Err(NotTaken::TooManyOfUser);
        }
        if current.proofs.len() + previous.proofs.len() >= self.most {
            return Err(NotTaken::Full);
        }
        current.proofs.insert(proof);
        *current.by_user.entry(*user).or_default() += 1;
        Ok(())
    }
}

impl Memory {
    fn forget(&mut self, now: Duration, lifetime: Duration) {
        let age = now.saturating_sub(self.began);
        if age >= lifetime {
            let ended = take(&mut self.current);
            self.previous = if age >= lifetime * 2 { Generation::default() } else { ended };
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{NotTaken, Replays};
    use crate::domain::ids::{Pseudonym, Pseudonymizer};
    use crate::domain::secret::{Secret, Sha256};

    const LIFETIME: Duration = Duration::from_secs(70);

    fn user(name: &str) -> Pseudonym {
        Pseudonymizer::new(&Secret::from("a key of more than sixteen bytes".to_owned())).pseudonym("", "issuer", name)
    }

    fn proof(number: u32) -> Sha256 {
        Sha256::of(&number.to_be_bytes())
    }

    #[test]
    fn a_proof_is_remembered_for_at_least_a_lifetime_and_at_most_two() {
        let alice = user("alice");
        // Proofs of every second of three lifetimes, each tried again at every later one.
        let replays = Replays::new(100_000, LIFETIME);
        let mut taken = Vec::new();
        for second in 0..210 {
            let now = Duration::from_secs(second);
            taken.push((now, proof(u32::try_from(second).unwrap())));
            replays.take(taken.last().unwrap().1, &alice, now).unwrap();
            for (at, proof) in taken.iter().filter(|(at, _)| now < *at + LIFETIME) {
                assert_eq!(replays.take(*proof, &alice, now), Err(NotTaken::Used), "{at:?} at {now:?}");
            }
        }
        let later = Duration::from_secs(209) + LIFETIME * 2;
        assert_eq!(replays.take(taken[209].1, &alice, later), Ok(()));
    }

    #[test]
    fn nothing_is_forgotten_to_make_room_and_nobody_takes_all_of_it() {
        let replays = Replays::new(500, LIFETIME);
        let at = Duration::from_secs(1);
        for number in 0..10 {
            assert_eq!(replays.take(proof(number), &user("mallory"), at), Ok(()));
        }
        assert_eq!(replays.take(proof(10), &user("mallory"), at), Err(NotTaken::TooManyOfUser));
        assert_eq!(replays.take(proof(10), &user("alice"), at), Ok(()));
        for number in 11..500 {
            assert_eq!(replays.take(proof(number), &user(&format!("user {}", number / 9)), at), Ok(()), "{number}");
        }
        assert_eq!(replays.take(proof(500), &user("alice"), at), Err(NotTaken::Full));
        assert_eq!(replays.take(proof(0), &user("alice"), at), Err(NotTaken::Used));
        // The share of a user is counted over both generations.
        assert_eq!(replays.take(proof(501), &user("mallory"), at + LIFETIME), Err(NotTaken::TooManyOfUser));
        assert_eq!(replays.take(proof(501), &user("mallory"), at + LIFETIME * 2), Ok(()));
    }
}
