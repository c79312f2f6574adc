//! Make a guest of a visitor: admit, authenticate, audit.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use super::refusal::{Code, Refusal};
use super::token::{Issuer, millis};
use crate::audit::Entry;
use crate::authenticate::GuestToken;
use crate::domain::ids::RequestId;
use crate::domain::secret::Credential;
use crate::domain::trace::Trace;

/// One request of somebody who wants to be a guest.
pub(crate) struct Visitor {
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<Trace>,
    /// Steady time of the request's arrival.
    pub(crate) arrived: Duration,
    pub(crate) from: IpAddr,
}

impl Issuer {
    /// Admits a visitor who shows a good proof, or refuses; either way an entry is written before this returns.
    pub(crate) async fn welcome(
        &self,
        visitor: &Visitor,
        proof: impl Future<Output = Result<Credential, Refusal>>,
    ) -> Result<GuestToken, Refusal> {
        let admitted = self.admit(visitor, proof).await;
        let stages = &self.stages;
        let mut entry = Entry::guest(stages.clock.wall(), visitor.request_id.as_str(), visitor.trace.as_ref().map(Trace::id));
        entry.identity = Some("guest");
        match &admitted {
            Ok(made) => (entry.outcome, entry.status, entry.user) = ("admitted", 200, Some(made.guest)),
            Err(refusal) => (entry.outcome, entry.status) = (refusal.code.row().name, refusal.code.row().status),
        }
        entry.latency_ms = millis(stages.clock.steady().saturating_sub(visitor.arrived));
        match stages.auditor.record(&entry).await {
            // The token is dropped unseen: no entry, no token.
            Err(_) if admitted.is_ok() => Err(Refusal::new(
                Code::AuditUnavailable,
                "The guest could not be written down, so no token was handed out; try again shortly with a new proof.",
            )
            .retry_after(10)),
            _ => admitted,
        }
    }

    async fn admit(
        &self,
        visitor: &Visitor,
        proof: impl Future<Output = Result<Credential, Refusal>>,
    ) -> Result<GuestToken, Refusal> {
        let stages = &self.stages;
        // Without guests the route is not there.
        let guests = stages.authenticator.guests().ok_or_else(|| Refusal::new(Code::NotFound, "There are no guests here."))?;
        let proof = proof.await?;
        stages.admission.admit_proof(&guests.network(visitor.from)).await?;
        Ok(guests.admit(proof, visitor.from).await?)
    }
}
