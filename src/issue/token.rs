//! Mint one client secret: authenticate, authorize, admit, provider, bind, audit, in this order and nothing else.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
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
use crate::block::Blocks;
use crate::domain::ask::Ask;
use crate::domain::clock::SharedClock;
use crate::domain::ids::RequestId;
use crate::domain::secret::Secret;
use crate::domain::trace::Trace;
use crate::leash::HangUps;
use crate::provider::{Minted, Provider};
use crate::store::Store;
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

/// What a mint needs beside its grant.
struct More {
    retry_of: Option<IdempotencyKey>,
    /// The caller's own access token, where the upstream is asked on their behalf.
    assertion: Option<Secret>,
}

/// What the caller came for.
pub(crate) struct Issued {
    pub(crate) minted: Minted,
    pub(crate) binding: Binding,
    pub(crate) standing: Option<Standing>,
}

/// What all workers share.
pub(crate) struct Stages {
    pub(crate) authenticator: Authenticator,
    pub(crate) policy: Policy,
    pub(crate) admission: Admission,
    pub(crate) blocks: Blocks,
    pub(crate) bindings: Arc<Bindings>,
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) hang_ups: HangUps,
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Tasks,
    /// Mints by profile, and by the place of the upstream in it.
    pub(crate) mints: HashMap<Arc<str>, Box<[Counter]>>,
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
        let from = presented.as_ref().ok().and_then(|presented| presented.from);
        let (principal, granted) = self.granted(&call, presented, body).await;
        let (grant, more) = match granted {
            Ok(granted) => granted,
            Err(refusal) => return Err(self.refused(&call, principal.as_deref(), refusal).await),
        };
        let (issuer, minting) = (self.clone(), call.clone());
        let work = Box::pin(async move { issuer.mint(&minting, &grant, from, &more).await });
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
    ) -> (Option<Arc<Principal>>, Result<(Grant, More), Refusal>) {
        let authenticator = &self.stages.authenticator;
        let authenticated = match presented {
            Ok(presented) => authenticator.authenticate(&presented).await.map(|it| (presented, it)).map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        let (presented, principal) = match authenticated {
            Ok(authenticated) => authenticated,
            Err(refusal) => return (None, Err(refusal)),
        };
        if let Err(shut_out) = self.stages.blocks.check(&principal) {
            return (Some(principal), Err(shut_out.into()));
        }
        let granted = match body.await {
            Ok(wish) => self
                .stages
                .policy
                .authorize(&principal, call.door, &call.profile, &wish.ask)
                .map(|grant| {
                    let is_on_behalf = grant.profile().is_on_behalf();
                    let assertion = if is_on_behalf { authenticator.assertion(&presented, &principal) } else { None };
                    (grant, More { retry_of: wish.retry_of, assertion })
                })
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

    async fn mint(&self, call: &Call, grant: &Grant, from: Option<IpAddr>, more: &More) -> Result<Issued, Refusal> {
        let mut entry = self.entry(call);
        name(&mut entry, grant.principal());
        name_profile(&mut entry, grant.profile());
        let (permit, minted, binding) = match self.admitted(&mut entry, call, grant, from, more).await {
            Ok(minted) => minted,
            Err(refusal) => return Err(self.record_refusal(entry, call, refusal).await),
        };
        entry.served(minted.served());
        entry.expires_at = Some(minted.expires_at());
        (entry.outcome, entry.status) = ("minted", 200);
        entry.latency_ms = self.latency_ms(call);
        if self.stages.auditor.record(&entry).await.is_err() {
            // The secret is dropped unseen: no entry, no token.
            self.take_back(permit, grant).await;
            return Err(Refusal::new(
                Code::AuditUnavailable,
                "The mint could not be written down, so no secret was handed out; try again shortly.",
            )
            .retry_after(10));
        }
        let standing = permit.standing();
        permit.spend();
        let counters = self.stages.mints.get(grant.profile().name());
        counters.and_then(|by_route| by_route.get(minted.route())).map(Counter::inc);
        Ok(Issued { minted, binding, standing })
    }

    async fn admitted(
        &self,
        entry: &mut Entry<'_>,
        call: &Call,
        grant: &Grant,
        from: Option<IpAddr>,
        more: &More,
    ) -> Result<(Permit, Minted, Binding), Refusal> {
        let stages = &self.stages;
        let user = grant.principal().user();
        let permit = stages
            .admission
            .admit(grant, from, more.retry_of.as_ref(), async |session| stages.bindings.is_open(user, session).await)
            .await?;
        entry.session_id = Some(permit.session());
        let minted = match self.provider.mint(grant, &permit, call.trace.as_ref(), more.assertion.as_ref()).await {
            Ok(minted) => minted,
            Err(failure) => {
                permit.give_back().await;
                return Err(failure.into());
            }
        };
        match self.bound(&permit, &minted, grant).await {
            Ok(binding) => Ok((permit, minted, binding)),
            Err(refusal) => {
                self.take_back(permit, grant).await;
                Err(refusal)
            }
        }
    }

    /// Remembers whose the secret is and makes sure of what was booked. Whoever was shut out while the secret was made does not get it:
    /// the one who shut them out ended all that was bound before this looks.
    async fn bound(&self, permit: &Permit, minted: &Minted, grant: &Grant) -> Result<Binding, Refusal> {
        let stages = &self.stages;
        let (bound, kept) = tokio::join!(stages.bindings.bind(permit, minted), permit.keep(minted.expires_at()));
        // Ended while its retry was under way.
        let binding = bound?.ok_or(Denied::IdempotencyConflict)?;
        kept?;
        stages.blocks.check(grant.principal())?;
        Ok(binding)
    }

    /// The secret is dropped unseen. A retry's session stays bound: an earlier secret of it is out.
    async fn take_back(&self, permit: Permit, grant: &Grant) {
        if !permit.is_retry()
            && let Err(error) = self.stages.bindings.forget(grant.principal().user(), permit.session()).await
        {
            tracing::warn!(%error, "a session that nobody got a secret of stays known until it expires");
        }
        permit.give_back().await;
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
    if let Some(upstream) = profile.upstream() {
        entry.upstream(upstream);
    }
}
