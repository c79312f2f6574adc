//! Nonces for proofs (RFC 9449, section 9), without memory: the MAC of the time. Replicas with the same pseudonym key take each other's.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::ids::Pseudonymizer;

/// How long one nonce is handed out. It is good for as long again.
const SECONDS: u64 = 60;

#[derive(Clone)]
pub(crate) struct Nonces(hmac::Key);

impl Nonces {
    pub(super) fn new(names: &Pseudonymizer) -> Self {
        Self(names.key_for("ephemint: nonces of DPoP proofs"))
    }

    /// The nonce to hand out at `now`, in seconds since 1970.
    pub(crate) fn fresh(&self, now: u64) -> String {
        self.of(now / SECONDS)
    }

    /// Whether `nonce` was handed out lately.
    pub(super) fn knows(&self, nonce: &str, now: u64) -> bool {
        let period = now / SECONDS;
        let same = |period| constant_time::verify_slices_are_equal(self.of(period).as_bytes(), nonce.as_bytes()).is_ok();
        same(period) || period.checked_sub(1).is_some_and(same)
    }

    fn of(&self, period: u64) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &period.to_be_bytes()))
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Nonces, Pseudonymizer, SECONDS};
    use crate::domain::secret::Secret;

    fn nonces(key: &str) -> Nonces {
        Nonces::new(&Pseudonymizer::new(&Secret::from(key.to_owned())))
    }

    #[test]
    fn a_nonce_is_good_for_two_periods_wherever_the_key_is_the_same() {
        let (ours, replica, stranger) =
            (nonces("one key of sixteen bytes"), nonces("one key of sixteen bytes"), nonces("another"));
        let at = 1_790_000_000 / SECONDS * SECONDS;
        let nonce = ours.fresh(at);
        assert_eq!(nonce, ours.fresh(at + SECONDS - 1));
        for (then, good) in [(at - 1, false), (at, true), (at + 2 * SECONDS - 1, true), (at + 2 * SECONDS, false)] {
            assert_eq!((ours.knows(&nonce, then), replica.knows(&nonce, then)), (good, good), "{then}");
            assert!(!stranger.knows(&nonce, then));
        }
        for bad in ["", &nonce[1..], &format!("{nonce}A"), &nonce.to_uppercase()] {
            assert!(!ours.knows(bad, at), "{bad}");
        }
    }
}
