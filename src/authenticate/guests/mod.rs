//! Anonymous visitors: a proof that somebody vouches for in, a token of our own out, and that token in again.

mod proof;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::runtime::Handle;

use super::trial::Wanting;
use super::{Principal, Unauthenticated, Visit};
use crate::config;
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer, hex};
use crate::domain::secret::{Credential, Secret, Sha256};
use crate::outbound::{Outbound, Unbuildable};
use proof::{Provider, Verdict};
use token::Keys;
pub(super) use token::is_token;

/// As the audit trail names guests.
const IDENTITY: &str = "guest";
/// Longer than any provider's proofs are good: Turnstile's for 300 s, the others' for 120.
const PROOF_MEMORY: Duration = Duration::from_mins(10);
const MOST_PROOFS: u64 = 100_000;

pub(crate) struct Guests {
    provider: Arc<Provider>,
    keys: Keys,
    lifetime: Duration,
    identity: Arc<str>,
    profiles: Arc<[String]>,
    /// Proofs that were shown here before. A provider takes a proof once too; this holds even when one does not.
    shown: Cache<Sha256, ()>,
    names: Pseudonymizer,
    clock: SharedClock,
    /// The process's runtime: connections to the provider outlive the worker that opened them.
    runtime: Handle,
}

/// What a visitor became.
pub(crate) struct GuestToken {
    pub(crate) token: Secret,
    pub(crate) guest: Pseudonym,
    pub(crate) lifetime: Duration,
}

/// Why a visitor did not become a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAGuest {
    #[error("the proof is not accepted")]
    Refused,
    #[error("the proof cannot be checked")]
    Unavailable,
}

impl Guests {
    /// Must run inside the process's runtime.
    pub(super) fn new(
        settings: config::Guest,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
    ) -> Result<Self, Unbuildable> {
        for missing in &settings.unlimited {
            tracing::warn!(key = missing.key, "guests are let in without this limit, which prod refuses");
        }
        Ok(Self {
            provider: Arc::new(Provider::new(settings.proof, outbound)?),
            keys: Keys::new(&settings.token_keys),
            lifetime: settings.token_lifetime,
            identity: IDENTITY.into(),
            profiles: settings.profiles,
            shown: Cache::builder()
                .max_capacity(MOST_PROOFS)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(PROOF_MEMORY)
                .build(),
            names,
            clock,
            runtime: Handle::current(),
        })
    }

    /// See [`super::trial::guests`].
    pub(super) async fn try_out(proof: &config::Proof, token: &Credential, outbound: &Outbound) -> Result<(), Wanting> {
        Provider::new(proof.clone(), outbound)?.try_out(token).await
    }

    /// The name that limits of an address are kept under.
    pub(crate) fn network(&self, from: IpAddr) -> Pseudonym {
        self.names.network(from)
    }

    /// Makes a guest of a visitor who shows a proof for the first time.
    pub(crate) async fn admit(&self, proof: Credential, from: IpAddr) -> Result<GuestToken, NotAGuest> {
        let digest = Sha256::of(proof.reveal().as_bytes());
        if !self.shown.entry(digest).or_insert(()).is_fresh() {
            return Err(NotAGuest::Refused);
        }
        let provider = self.provider.clone();
        let verdict = self.runtime.spawn(async move { provider.ask(&proof, from).await }).await;
        match verdict.unwrap_or(Verdict::None) {
            Verdict::Good => {}
            Verdict::Bad => return Err(NotAGuest::Refused),
            Verdict::None => {
                // Nobody has judged it, so that it may be shown again.
                self.shown.invalidate(&digest);
                return Err(NotAGuest::Unavailable);
            }
        }
        let made = self.keys.make(self.clock.unix() + self.lifetime.as_secs());
        let (token, id) = made.ok_or(NotAGuest::Unavailable)?;
        Ok(GuestToken { token, guest: self.pseudonym(&id), lifetime: self.lifetime })
    }

    /// Who holds a guest token.
    pub(super) fn authenticate(&self, token: &str, from: Option<IpAddr>) -> Result<Arc<Principal>, Unauthenticated> {
        let read = self.keys.read(token).ok_or(Unauthenticated::Invalid)?;
        if self.clock.unix() >= read.until {
            return Err(Unauthenticated::Expired);
        }
        let network = self.network(from.ok_or(Unauthenticated::Invalid)?);
        Ok(Arc::new(Principal {
            identity: self.identity.clone(),
            user: self.pseudonym(&read.id),
            user_name: None,
            tenant: "".into(),
            groups: Vec::new(),
            claims: Vec::new(),
            profiles: Some(self.profiles.clone()),
            bound_to: None,
            visit: Some(Visit { network, until: read.until }),
        }))
    }

    fn pseudonym(&self, id: &token::GuestId) -> Pseudonym {
        self.names.pseudonym("", IDENTITY, &hex(id))
    }
}
