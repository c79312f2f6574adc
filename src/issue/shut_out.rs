//! Shut somebody out, or let them in again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::refusal::{Code, Refusal};
use super::token::Stages;
use crate::audit::{Entry, SinkError};
use crate::bind::Which;
use crate::block::{Block, NotBlocked, Target};
use crate::domain::ids::RequestId;

/// All replicas have heard of a block after that.
const HEARD_OF: Duration = Duration::from_secs(2);

impl Stages {
    /// Puts a block in force, then ends all live sessions of whom it shuts out if `revokes`. How many those were.
    ///
    /// In this order: a secret that is being made now is either ended here or finds the block before it is handed out. A replica that has
    /// not heard of the block yet may still hand one out, so among several that is looked for again.
    pub(crate) async fn shut_out(
        self: &Arc<Self>,
        request: &RequestId,
        target: &Target,
        block: Block,
        revokes: bool,
    ) -> Result<u64, Refusal> {
        self.write_down_block("block", "blocked", request, target, &block).await?;
        self.blocks.set(target.clone(), block.clone()).await?;
        if !revokes {
            return Ok(0);
        }
        let which = which(target);
        let ended = self.revoke_all(request, &block.author, &which).await;
        if ended.is_err() || self.bindings.are_shared() {
            let (stages, request) = (self.clone(), request.clone());
            self.hang_ups.runtime().spawn(async move {
                sleep(HEARD_OF).await;
                // Who asked was told what could not be done at first.
                let _ = stages.revoke_all(&request, &block.author, &which).await;
            });
        }
        ended
    }

    /// Lifts a block. Again is fine.
    pub(crate) async fn let_in(&self, request: &RequestId, target: &Target) -> Result<(), Refusal> {
        if let Some(block) = self.blocks.of(target) {
            self.write_down_block("unblock", "unblocked", request, target, &block).await?;
        }
        // Also when it is not known here: another replica may have heard of it first.
        Ok(self.blocks.lift(target).await?)
    }

    /// What an operator does is written down before it is done.
    async fn write_down_block(
        &self,
        event: &'static str,
        outcome: &'static str,
        request: &RequestId,
        target: &Target,
        block: &Block,
    ) -> Result<(), Refusal> {
        let mut entry = Entry::about(event, self.clock.wall(), request.as_str());
        match target {
            Target::Everybody if event == "block" => entry.event = "lockdown",
            Target::Everybody => entry.event = "end_lockdown",
            Target::Tenant(tenant) => entry.tenant = Some(tenant),
            Target::User(user) => entry.user = Some(*user),
        }
        (entry.outcome, entry.author, entry.cause) = (outcome, Some(&*block.author), Some(&*block.reason));
        entry.expires_at = block.expires_at;
        self.auditor.record(&entry).await.map(drop).map_err(unwritten)
    }
}

/// What cannot be written down is not done.
pub(super) fn unwritten(_: SinkError) -> Refusal {
    Refusal::new(Code::AuditUnavailable, "This could not be written down, so it was not done; try again shortly.").retry_after(10)
}

fn which(target: &Target) -> Which {
    match target {
        Target::Everybody => Which::default(),
        Target::Tenant(tenant) => Which { tenant: Some(tenant.clone()), ..Which::default() },
        Target::User(user) => Which { user: Some(*user), ..Which::default() },
    }
}

impl From<NotBlocked> for Refusal {
    fn from(not_blocked: NotBlocked) -> Self {
        match not_blocked {
            NotBlocked::Full => {
                Self::new(Code::Overloaded, "There are as many blocks as there may be; lift those that are needed no more.")
            }
            NotBlocked::StoreDown(down) => down.into(),
        }
    }
}
