//! Demonstrating Proof of Possession (RFC 9449): a token that is bound to a key is good only together with a proof, made for this one
//! request, that the caller holds the key.
//!
//! The rule is strict both ways: a bound token needs the DPoP scheme and a proof, and a token that is not bound is refused under it.

mod nonce;
mod proof;
mod replay;
mod target;

use std::sync::Arc;
use std::time::Duration;

use super::jwk::Thumbprint;
use super::{Presented, Principal, Unauthenticated};
use crate::config;
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::secret::Credential;
use nonce::Nonces;
use proof::{AHEAD, BadProof, Proof, Wanted};
use replay::{NotTaken, Replays};
pub(crate) use target::Target;

/// Seconds for which a proof is remembered beyond its use: times are compared in whole seconds, and a thread may pause between the look at
/// the clock and the look at the memory.
const SLACK: u64 = 5;

/// What came with a token under the DPoP scheme.
#[derive(Debug)]
pub(crate) struct Possession {
    /// The `DPoP` header.
    pub(crate) proof: Option<Credential>,
    pub(crate) target: Target,
}

/// What clients are told when DPoP is switched on.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Names of the accepted algorithms, separated by spaces.
    pub(crate) algorithms: Arc<str>,
    /// Present when proofs must carry a nonce.
    pub(crate) nonces: Option<Nonces>,
}

/// Of the `DPoP` scheme, for `WWW-Authenticate` (RFC 9449, section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) fault: Fault,
    /// Names of the accepted algorithms, separated by spaces.
    pub(crate) algorithms: Arc<str>,
    /// Whether the caller may as well come with a bearer token.
    pub(crate) or_bearer: bool,
}

/// What was found wanting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Token,
    Proof,
    /// The proof is good, and made without a nonce of late.
    Nonce,
}

/// Asks for proofs.
pub(super) struct Dpop {
    settings: config::Dpop,
    offer: Offer,
    replays: Replays,
    clock: SharedClock,
}

impl Dpop {
    pub(super) fn new(settings: config::Dpop, names: &Pseudonymizer, clock: SharedClock) -> Self {
        let algorithms = settings.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" ").into();
        let nonces = settings.require_nonce.then(|| Nonces::new(names));
        let lifetime = Duration::from_secs(settings.window_seconds + AHEAD + SLACK);
        let replays = Replays::new(settings.replay_entries, lifetime);
        Self { settings, offer: Offer { algorithms, nonces }, replays, clock }
    }

    pub(super) fn offer(&self) -> Option<Offer> {
        self.settings.offered.then(|| self.offer.clone())
    }

    /// Lets a caller through who is known and holds the key that their token is bound to, if it is bound.
    pub(super) fn held(
        &self,
        presented: &Presented,
        known: Result<Arc<Principal>, Unauthenticated>,
    ) -> Result<Arc<Principal>, Unauthenticated> {
        let Some(possession) = &presented.possession else {
            return match known {
                Ok(principal) if principal.bound_to.is_some() => Err(self.challenge(Fault::Token, false)),
                Err(Unauthenticated::Unbound) => Err(self.challenge(Fault::Token, false)),
                known => known,
            };
        };
        let principal = known.map_err(|cause| {
            let or_bearer = cause != Unauthenticated::Unbound;
            self.challenged(cause, Fault::Token, or_bearer)
        })?;
        let key = principal.bound_to.ok_or_else(|| self.challenge(Fault::Token, true))?;
        self.check(possession, key, presented.credential.reveal(), &principal)?;
        Ok(principal)
    }

    fn check(&self, given: &Possession, key: Thumbprint, token: &str, of: &Principal) -> Result<(), Unauthenticated> {
        let refused = |cause: BadProof| {
            tracing::debug!(%cause, "a DPoP proof was refused");
            self.challenge(Fault::Proof, false)
        };
        let text = given.proof.as_ref().ok_or_else(|| refused(BadProof::Missing))?;
        let proof = Proof::read(text.reveal(), key, &self.settings.algorithms).map_err(refused)?;
        let (target, public_url) = (&given.target, self.settings.public_url.as_ref());
        let (now, window) = (self.clock.unix(), self.settings.window_seconds);
        proof.is_for(&Wanted { target, public_url, token, now, window }).map_err(refused)?;
        let (id, nonce) = (proof.id().map_err(refused)?, proof.nonce().map_err(refused)?);
        if let Some(nonces) = &self.offer.nonces
            && !nonce.is_some_and(|nonce| nonces.knows(nonce, now))
        {
            return Err(self.challenge(Fault::Nonce, false));
        }
        // Last: a proof that is refused is not used up.
        self.replays.take(id, &of.user, self.clock.steady()).map_err(|not_taken| match not_taken {
            NotTaken::Used => refused(BadProof::Used),
            NotTaken::TooManyOfUser => Unauthenticated::TooManyProofs(Duration::from_secs(window)),
            NotTaken::Full => Unauthenticated::Full,
        })
    }

    fn challenge(&self, fault: Fault, or_bearer: bool) -> Unauthenticated {
        self.challenged(Unauthenticated::Invalid, fault, or_bearer)
    }

    fn challenged(&self, cause: Unauthenticated, fault: Fault, or_bearer: bool) -> Unauthenticated {
        let challenge = Challenge { fault, algorithms: self.offer.algorithms.clone(), or_bearer };
        Unauthenticated::Challenged(Box::new((cause, challenge)))
    }
}
