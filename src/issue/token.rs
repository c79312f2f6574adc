//! Mint one client secret: authenticate, authorize, admit, provider, bind, audit, in this order and nothing else.

use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::refusal::{Code, Refusal};
use crate::admit::{Admission, Denied, IdempotencyKey, Permit, Standing};
use crate::audit::{Auditor, Entry};
use crate::authenticate::{Authenticator, Presented, Principal};
use crate::authorize::{Door, Forbidden, Grant, Policy, Profile};
use crate::bind::{Binding, Bindings};
use crate::domain::ask::Ask;
use crate::domain::clock::SharedClock;
use crate::domain::ids::RequestId;
use crate::domain::trace::Trace;
use crate::provider::{Minted, Provider};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// One request for a client secret, as far as it is known before its body is read.
pub(crate) struct Call {
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<Trace>,
    /// Steady time of the request's arrival.
    pub(crate) arrived: Duration,
    pub(crate) door: Door,
    pub(crate) profile: Box<str>,
}

/// A body, parsed, and the retry it may be.
pub(crate) struct Wish {
    pub(crate) ask: Ask,
    pub(crate) retry_of: Option<IdempotencyKey>,
}

/// What the caller came for.
pub(crate) struct Issued {
    pub(crate) minted: Minted,
    pub(crate) binding: Binding,
    pub(crate) standing: Standing,
}

/// What all workers share.
pub(crate) struct Stages {
    pub(crate) authenticator: Authenticator,
    pub(crate) policy: Policy,
    pub(crate) admission: Admission,
    pub(crate) bindings: Bindings,
    pub(crate) auditor: Auditor,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Tasks,
    /// Mints by profile.
    pub(crate) mints: HashMap<Arc<str>, Counter>,
    pub(crate) metrics: Metrics,
}

/// One worker's mint.
pub(crate) struct Issuer {
    pub(crate) stages: Arc<Stages>,
    pub(crate) provider: Provider,
}

impl Issuer {
    /// Mints, or refuses; either way an entry is written before this returns.
    ///
    /// The body is read only after the credential was found good. From admission on the work goes on even when the caller is gone, so
    /// that every secret that the upstream gave out has its entry.
    pub(crate) async fn issue(
        self: &Rc<Self>,
        call: Rc<Call>,
        presented: Result<Presented, Refusal>,
        body: impl Future<Output = Result<Wish, Refusal>>,
    ) -> Result<Issued, Refusal> {
        let (principal, granted) = self.granted(&call, presented, body).await;
        let (grant, retry_of) = match granted {
            Ok(granted) => granted,
            Err(refusal) => return Err(self.refused(&call, principal.as_deref(), refusal).await),
        };
        let (issuer, minting) = (self.clone(), call.clone());
        let work = Box::pin(async move { issuer.mint(&minting, &grant, retry_of.as_ref()).await });
        match self.stages.tasks.finish(work).await {
            Ok(outcome) => outcome,
            Err(unfinished) => Err(self.refused(&call, principal.as_deref(), unfinished.into()).await),
        }
    }

    /// Writes down a refusal that was decided outside the stages. Gives it back.
    pub(crate) async fn refused(&self, call: &Call, principal: Option<&Principal>, refusal: Refusal) -> Refusal {
        let mut entry = self.entry(call);
        if let Some(principal) = principal {
            name(&mut entry, principal);
            // A name that is not a profile of the caller's is none in the entry either.
            if let Some(profile) = self.stages.policy.profile_for(principal, call.door, &call.profile) {
                name_profile(&mut entry, profile);
            }
        }
        self.record_refusal(entry, call, refusal).await
    }

    async fn granted(
        &self,
        call: &Call,
        presented: Result<Presented, Refusal>,
        body: impl Future<Output = Result<Wish, Refusal>>,
    ) -> (Option<Arc<Principal>>, Result<(Grant, Option<IdempotencyKey>), Refusal>) {
        let authenticated = match presented {
            Ok(presented) => self.stages.authenticator.authenticate(&presented).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        let principal = match authenticated {
            Ok(principal) => principal,
            Err(refusal) => return (None, Err(refusal)),
        };
        let granted = match body.await {
            Ok(wish) => self
                .stages
                .policy
                .authorize(&principal, call.door, &call.profile, &wish.ask)
                .map(|grant| (grant, wish.retry_of))
                .map_err(Refusal::from),
            Err(refusal) => Err(self.within_profile(&principal, call, refusal)),
        };
        (Some(principal), granted)
    }

    /// A body that asks for a lifetime that no secret has is told what this profile's have.
    fn within_profile(&self, principal: &Principal, call: &Call, refusal: Refusal) -> Refusal {
        let profile = self.stages.policy.profile_for(principal, call.door, &call.profile);
        match profile.filter(|_| refusal.code == Code::TtlOutOfRange) {
            Some(profile) => Forbidden::Ttl(profile.max_ttl()).into(),
            None => refusal,
        }
    }

    async fn mint(&self, call: &Call, grant: &Grant, retry_of: Option<&IdempotencyKey>) -> Result<Issued, Refusal> {
        let mut entry = self.entry(call);
        name(&mut entry, grant.principal());
        name_profile(&mut entry, grant.profile());
        let (permit, minted, binding) = match self.admitted(&mut entry, call, grant, retry_of).await {
            Ok(minted) => minted,
            Err(refusal) => return Err(self.record_refusal(entry, call, refusal).await),
        };
        entry.served(minted.served());
        entry.expires_at = Some(minted.expires_at());
        (entry.outcome, entry.status) = ("minted", 200);
        entry.latency_ms = self.latency_ms(call);
        if self.stages.auditor.record(&entry).await.is_err() {
            // The secret is dropped unseen: no entry, no token. A retry's session stays bound: an earlier secret of it is out.
            if !permit.is_retry() {
                self.stages.bindings.forget(grant.principal().user(), binding.session());
            }
            return Err(Refusal::new(
                Code::AuditUnavailable,
                "The mint could not be written down, so no secret was handed out; try again shortly.",
            )
            .retry_after(10));
        }
        let standing = permit.standing();
        permit.spend(minted.expires_at());
        self.stages.mints.get(grant.profile().name()).map(Counter::inc);
        Ok(Issued { minted, binding, standing })
    }

    async fn admitted(
        &self,
        entry: &mut Entry<'_>,
        call: &Call,
        grant: &Grant,
        retry_of: Option<&IdempotencyKey>,
    ) -> Result<(Permit, Minted, Binding), Refusal> {
        let stages = &self.stages;
        let is_open = |session| stages.bindings.is_open(grant.principal().user(), session);
        let permit = stages.admission.admit(grant, retry_of, is_open).await?;
        entry.session_id = Some(permit.session());
        let minted = self.provider.mint(grant, &permit, call.trace.as_ref()).await?;
        // Ended while its retry was under way: the secret is dropped unseen.
        let binding = stages.bindings.bind(grant, permit.session(), &minted).ok_or(Denied::IdempotencyConflict)?;
        Ok((permit, minted, binding))
    }

    fn entry<'a>(&self, call: &'a Call) -> Entry<'a> {
        Entry::mint(self.stages.clock.wall(), call.request_id.as_str(), call.trace.as_ref().map(Trace::id))
    }

    /// A refusal stays one whether or not it can be written down; the auditor has logged why it could not.
    async fn record_refusal(&self, mut entry: Entry<'_>, call: &Call, refusal: Refusal) -> Refusal {
        let row = refusal.code.row();
        (entry.outcome, entry.status) = (row.name, row.status);
        if let Some(failure) = &refusal.failure {
            entry.served(&failure.served);
        }
        entry.cause = refusal.cause();
        entry.latency_ms = self.latency_ms(call);
        let _ = self.stages.auditor.record(&entry).await;
        refusal
    }

    fn latency_ms(&self, call: &Call) -> f64 {
        millis(self.stages.clock.steady().saturating_sub(call.arrived))
    }
}

/// As the audit trail writes how long something took.
pub(super) fn millis(duration: Duration) -> f64 {
    u32::try_from(duration.as_micros()).map_or(f64::from(u32::MAX), f64::from) / 1000.0
}

pub(super) fn name<'a>(entry: &mut Entry<'a>, principal: &'a Principal) {
    entry.user = Some(*principal.user());
    entry.user_name = principal.user_name();
    entry.identity = Some(principal.identity());
    entry.tenant = Some(principal.tenant()).filter(|tenant| !tenant.is_empty());
}

fn name_profile<'a>(entry: &mut Entry<'a>, profile: &'a Profile) {
    entry.profile = Some(profile.name());
    entry.upstream(profile.upstream());
}
