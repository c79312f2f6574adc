//! Proofs of possession.

use crate::config::check::Check;
use crate::config::raw::{Environment, RawDpop, RawIdentity};
use crate::config::{Dpop, Server};

const URL: &str = "server.public_url";

impl Check<'_> {
    /// `server` says under which URL proofs are made.
    pub(super) fn dpop(&mut self, raw: &RawIdentity, server: Option<&Server>) -> Dpop {
        let offered = raw.dpop.is_some() || raw.jwt.values().any(|issuer| issuer.require_dpop);
        let public_url = server.and_then(|server| server.public_url.clone());
        let is_missing = server.is_some() && public_url.is_none() && !self.problems.iter().any(|problem| problem.key == URL);
        if offered && is_missing && self.environment == Environment::Prod {
            self.problem(
                URL,
                "DPoP proofs name the URL they are made for; in prod set the one under which callers reach the service, so that a proof made for another service is not taken here",
            );
        }
        let defaults = RawDpop::default();
        let settings = raw.dpop.as_ref().unwrap_or(&defaults);
        let replay_entries = self.range("identity.dpop.replay_entries", settings.replay_entries, 1000, 10_000_000);
        Dpop {
            offered,
            public_url,
            algorithms: self.algorithms("identity.dpop.algorithms", &settings.algorithms),
            window_seconds: self.range("identity.dpop.iat_window_seconds", settings.iat_window_seconds, 5, 300),
            require_nonce: settings.require_nonce,
            replay_entries: usize::try_from(replay_entries).unwrap_or(usize::MAX),
        }
    }
}
