//! What the service does with calls that clients opened: `POST /v1/realtime/calls/{call_id}/hangup` (OpenAI, API reference, "Calls").

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};

use super::{Failure, Key, Kind, Shared, Whom};
use crate::domain::clock::SharedClock;
use crate::domain::ids::CallId;
use crate::outbound::{Outbound, Unbuildable};

const DEADLINE: Duration = Duration::from_secs(8);

/// The process's way to calls at all upstreams.
pub(crate) struct Calls {
    client: Client,
    upstreams: Vec<Arc<Shared>>,
    clock: SharedClock,
}

/// A call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HungUp {
    Now,
    /// The upstream knows no such call (any more).
    Before,
    /// The upstream has no way to end a call.
    Never,
}

impl Calls {
    pub(crate) fn new(upstreams: Vec<Arc<Shared>>, outbound: &Outbound, clock: SharedClock) -> Result<Self, Unbuildable> {
        Ok(Self { client: outbound.client(DEADLINE)?, upstreams, clock })
    }

    /// Ends a call. The key that minted its secret is tried first, then the others: a key of another project may not end it.
    pub(crate) async fn hang_up(
        &self,
        upstream: &str,
        minted_by: Option<&str>,
        whom: &Whom,
        call: &CallId,
    ) -> Result<HungUp, Failure> {
        let shared = self.upstreams.iter().find(|shared| shared.settings.name == upstream);
        let shared = shared.ok_or_else(|| Failure::new(Kind::Unavailable, "the upstream is configured no more"))?;
        if shared.settings.dialect.is_preview() {
            return Ok(HungUp::Never);
        }
        let mut keys: Vec<Arc<Key>> = match &shared.on_behalf {
            Some(on_behalf) => on_behalf.held(whom).into_iter().collect(),
            None => shared.ring.usable().collect(),
        };
        keys.sort_by_key(|key| minted_by != Some(&**key.fingerprint()));
        let mut outcome = Err(Failure::new(Kind::AuthFailed, "no key is left"));
        for key in keys {
            let minted = minted_by == Some(&**key.fingerprint());
            match self.attempt(shared, &key, call).await {
                // A key of another project does not see the call.
                Ok(HungUp::Before) if !minted => outcome = Ok(HungUp::Before),
                Err(failure) if matches!(failure.kind, Kind::AuthFailed | Kind::PermissionDenied) => {
                    if outcome.is_err() {
                        outcome = Err(failure);
                    }
                }
                done => return done,
            }
        }
        outcome
    }

    async fn attempt(&self, shared: &Shared, key: &Key, call: &CallId) -> Result<HungUp, Failure> {
        let url = format!("{}/realtime/calls/{}/hangup", shared.settings.base_url, call.as_str());
        let request = self.client.post(url).headers(key.headers_without_body());
        let answer = request.send().await.map_err(|error| Failure::broken(&error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(HungUp::Now),
            StatusCode::NOT_FOUND => Ok(HungUp::Before),
            // What the body says more is for nobody: the call goes on, and it is tried again.
            status => Err(Failure::answered(status, answer.headers(), &[], self.clock.wall())),
        }
    }
}
