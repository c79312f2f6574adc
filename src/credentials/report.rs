//! What operators see of the credentials. Never a key: fingerprints.

use serde::Serialize;

use super::Credentials;
use crate::config::Credential;
use crate::provider::{Shared, State};

/// The credentials of all upstreams.
#[derive(Serialize)]
pub(crate) struct Report {
    upstreams: Vec<Upstream>,
}

#[derive(Serialize)]
struct Upstream {
    upstream: String,
    kind: &'static str,
    /// Fingerprint of the one in use.
    in_use: Option<String>,
    credentials: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    /// Where it comes from.
    source: String,
    fingerprint: Option<String>,
    state: &'static str,
    /// When this value was first seen here, seconds since 1970.
    since: u64,
    /// When it was made, where that is known.
    made_at: Option<u64>,
    /// Since it was made, or first seen.
    age_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    last_failure: Option<Failure>,
}

#[derive(Serialize)]
struct Failure {
    at: u64,
    cause: String,
}

impl Credentials {
    pub(crate) fn report(&self) -> Report {
        let now = self.0.clock.unix();
        Report { upstreams: self.0.upstreams.iter().map(|shared| upstream(shared, now)).collect() }
    }
}

fn upstream(shared: &Shared, now: u64) -> Upstream {
    let states = shared.ring().states();
    let entry = |(slot, state): (&crate::provider::Slot, &State)| {
        let (key, history) = (slot.key(), slot.history().clone());
        Entry {
            source: slot.name().to_owned(),
            fingerprint: key.as_ref().map(|key| key.fingerprint().to_string()),
            state: name(*state),
            since: history.since,
            made_at: history.made_at,
            age_seconds: now.saturating_sub(history.made_at.unwrap_or(history.since)),
            expires_at: key.and_then(|key| key.expires_at()),
            last_failure: history.last_failure.map(|(at, cause)| Failure { at, cause }),
        }
    };
    let credentials: Vec<_> = shared.ring().slots().iter().zip(&states).map(entry).collect();
    // Also when it rests: where all do, the first is tried all the same.
    let used = shared.ring().pick(&[]);
    Upstream {
        upstream: shared.settings().name.clone(),
        kind: match &shared.settings().credential {
            Credential::Keys(_) => "api_key",
            Credential::Workload(_) => "workload_identity",
            Credential::Entra(token) => token.identity.kind.name(),
            Credential::OnBehalf(_) => "on_behalf_of",
        },
        in_use: used.map(|key| key.fingerprint().to_string()),
        credentials,
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::InUse => "in_use",
        State::Ready => "ready",
        State::Resting => "resting",
        State::Missing => "missing",
    }
}
