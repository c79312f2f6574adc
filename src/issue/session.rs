//! What becomes of a session after its mint: its call is reported, its owner ends it, an operator revokes it.

use futures_util::future::join_all;

use super::refusal::Refusal;
use super::sentences::unknown_session;
use super::token::Stages;
use crate::audit::Entry;
use crate::authenticate::Principal;
use crate::bind::{Binding, By, LONGEST_CALL, NotReported, State, Which};
use crate::block::ShutOut;
use crate::domain::ids::{CallId, RequestId, SessionId};
use crate::store::StoreDown;

/// Sessions that are ended between two looks at what is left.
const LOOKED_UP: usize = 10_000;
/// Sessions that are ended at once.
const AT_ONCE: usize = 32;

impl Stages {
    /// Ends one of the caller's own sessions. Again is fine.
    pub(crate) async fn end(&self, request: &RequestId, caller: &Principal, session: SessionId) -> Result<(), Refusal> {
        let (binding, newly) = self.bindings.end(caller.user(), session, By::Owner).await?.ok_or_else(unknown_session)?;
        self.over(binding, newly, request, None).await
    }

    /// Ends anybody's session in the name of `author`. Again is fine.
    pub(crate) async fn revoke(&self, request: &RequestId, author: &str, session: SessionId) -> Result<(), Refusal> {
        let unknown = || Refusal { detail: "There is no such session; it may have expired.".into(), ..unknown_session() };
        let user = self.bindings.find(session).await?.ok_or_else(unknown)?.owner().user;
        let (binding, newly) = self.bindings.end(&user, session, By::Operator).await?.ok_or_else(unknown)?;
        self.over(binding, newly, request, Some(author)).await
    }

    /// Ends all live sessions that are meant, in the name of `author`, those in call first. How many; goes on past those that cannot be
    /// ended now, and then says so.
    pub(crate) async fn revoke_all(&self, request: &RequestId, author: &str, which: &Which) -> Result<u64, Refusal> {
        let (mut revoked, mut outcome) = (0, Ok(()));
        for state in [State::InCall, State::Issued] {
            let which = Which { state: Some(state), ..which.clone() };
            loop {
                let found = self.bindings.list(&which, LOOKED_UP).await?;
                let mut ended = 0;
                for group in found.chunks(AT_ONCE) {
                    for one in join_all(group.iter().map(|known| self.revoke_one(request, author, known))).await {
                        match one {
                            Ok(newly) => ended += u64::from(newly),
                            Err(refusal) => outcome = Err(refusal),
                        }
                    }
                }
                revoked += ended;
                if found.len() < LOOKED_UP || ended == 0 {
                    break;
                }
            }
        }
        outcome.map(|()| revoked)
    }

    async fn revoke_one(&self, request: &RequestId, author: &str, known: &Binding) -> Result<bool, Refusal> {
        let ended = self.bindings.end(&known.owner().user, known.session(), By::Operator).await?;
        let Some((binding, newly)) = ended else { return Ok(false) };
        self.over(binding, newly, request, Some(author)).await?;
        Ok(newly)
    }

    /// Binds the call that the caller opened to the session whose secret it was opened with. Its places are held until it is over.
    pub(crate) async fn report(
        &self,
        request: &RequestId,
        caller: &Principal,
        session: SessionId,
        call: &CallId,
    ) -> Result<(), Refusal> {
        let binding = match self.bindings.report(caller.user(), session, call).await {
            Ok(binding) => binding,
            Err(NotReported::Over(binding)) => {
                let binding = *binding;
                self.write_down("call", "hung_up", &binding, request, None).await;
                self.hang_ups.start(binding.clone());
                return Err(NotReported::Over(Box::new(binding)).into());
            }
            Err(not_reported) => return Err(not_reported.into()),
        };
        // A lockdown lets calls go on unless it says otherwise.
        if self.blocks.check(caller) == Err(ShutOut::Blocked) {
            if let Some((binding, newly)) = self.bindings.end(caller.user(), session, By::Operator).await? {
                self.over(binding, newly, request, None).await?;
            }
            return Err(ShutOut::Blocked.into());
        }
        let until = binding.call().map_or(0, |call| call.reported_at + LONGEST_CALL);
        self.admission.hold(binding.owner(), session, until).await?;
        // Whoever ended it in between has let go of its places before they were held.
        if !self.bindings.is_open(caller.user(), session).await? {
            self.admission.release(binding.owner(), session).await?;
        }
        self.write_down("call", "reported", &binding, request, None).await;
        Ok(())
    }

    /// Lets go of what a session that is over still holds.
    async fn over(&self, binding: Binding, newly: bool, request: &RequestId, author: Option<&str>) -> Result<(), Refusal> {
        // Also when it had ended before: whoever ended it may not have come this far.
        let released: Result<(), StoreDown> = self.admission.release(binding.owner(), binding.session()).await;
        if newly {
            let by_owner = binding.end().is_some_and(|end| end.by == By::Owner);
            let (event, outcome) = if by_owner { ("end", "ended") } else { ("revoke", "revoked") };
            self.write_down(event, outcome, &binding, request, author).await;
        }
        // Whoever ended it may not have come this far. Another replica would have left it in the queue that all take up from.
        if newly || !self.bindings.are_shared() {
            self.hang_ups.start(binding);
        }
        Ok(released?)
    }

    /// A call that has to end ends whether or not it can be written down; the auditor logs why it could not.
    async fn write_down(
        &self,
        event: &'static str,
        outcome: &'static str,
        binding: &Binding,
        request: &RequestId,
        author: Option<&str>,
    ) {
        let mut entry = Entry::about(event, self.clock.wall(), request.as_str());
        entry.session(binding);
        (entry.outcome, entry.author) = (outcome, author);
        let _ = self.auditor.record(&entry).await;
    }
}
