//! Sign a browser in and out: authenticate, audit.

use std::time::Duration;

use super::refusal::{Code, Refusal};
use super::token::{Issuer, millis, name};
use crate::audit::Entry;
use crate::authenticate::{ClaimsRequest, Cookies, Jar, Login, Principal, SignedIn};
use crate::domain::ids::RequestId;
use crate::domain::trace::Trace;
use crate::telemetry::metrics::VisitLabels;

/// One request of a browser whose user signs in or out.
pub(crate) struct Asking {
    pub(crate) request_id: RequestId,
    pub(crate) trace: Option<Trace>,
    /// Steady time of the request's arrival.
    pub(crate) arrived: Duration,
}

impl Issuer {
    /// Where the browser goes to sign in. Only a refusal is written down: nobody has signed in yet.
    pub(crate) async fn lead(
        &self,
        asking: &Asking,
        return_to: Option<&str>,
        claims: Result<Option<ClaimsRequest>, Refusal>,
        cookies: &Cookies<'_>,
        jar: &Jar,
    ) -> Result<String, Refusal> {
        let led = async { Ok(self.login()?.begin(return_to, claims?.as_ref(), cookies, jar).await?) }.await;
        if let Err(refusal) = &led {
            self.write_down(asking, "login", None, Err(refusal)).await;
        }
        led
    }

    /// Signs in who comes back from the issuer, or refuses; either way an entry is written before this returns. Where to go then.
    pub(crate) async fn sign_in(
        &self,
        asking: &Asking,
        query: &str,
        cookies: &Cookies<'_>,
        jar: &Jar,
    ) -> Result<String, Refusal> {
        let (login, arrived) = match self.returned(query, cookies, jar).await {
            Ok(returned) => returned,
            Err(refusal) => {
                self.write_down(asking, "login", None, Err(&refusal)).await;
                return Err(refusal);
            }
        };
        if !self.write_down(asking, "login", Some(arrived.principal()), Ok("signed_in")).await {
            // The session is dropped unseen: no entry, no cookie.
            return Err(Refusal::new(
                Code::AuditUnavailable,
                "The sign-in could not be written down, so there is no session; sign in again shortly.",
            )
            .retry_after(10));
        }
        Ok(login.keep(arrived, jar))
    }

    /// Signs out, unless `allowed` is a refusal. A session ends whether or not that can be written down.
    pub(crate) async fn sign_out(
        &self,
        asking: &Asking,
        allowed: Result<(), Refusal>,
        cookies: &Cookies<'_>,
        jar: &Jar,
    ) -> Result<Option<String>, Refusal> {
        match allowed.and_then(|()| self.login()) {
            Ok(login) => {
                let (whose, place) = login.end(cookies, jar);
                self.write_down(asking, "logout", whose.as_ref(), Ok("signed_out")).await;
                Ok(place)
            }
            Err(refusal) => {
                self.write_down(asking, "logout", None, Err(&refusal)).await;
                Err(refusal)
            }
        }
    }

    async fn returned(&self, query: &str, cookies: &Cookies<'_>, jar: &Jar) -> Result<(&Login, SignedIn), Refusal> {
        let login = self.login()?;
        Ok((login, login.complete(query, cookies, jar).await?))
    }

    /// Without sign-in its routes are not there.
    pub(crate) fn login(&self) -> Result<&Login, Refusal> {
        let login = self.stages.authenticator.login();
        login.ok_or_else(|| Refusal::new(Code::NotFound, "Nobody signs in here."))
    }

    /// Whether the entry is written, or need not be.
    async fn write_down(
        &self,
        asking: &Asking,
        event: &'static str,
        whose: Option<&Principal>,
        outcome: Result<&'static str, &Refusal>,
    ) -> bool {
        let stages = &self.stages;
        let trace = asking.trace.as_ref().map(Trace::id);
        let mut entry = Entry::visit(event, stages.clock.wall(), asking.request_id.as_str(), trace);
        entry.identity = Some("login");
        if let Some(principal) = whose {
            name(&mut entry, principal);
        }
        (entry.outcome, entry.status) = match outcome {
            Ok(done) => (done, if event == "login" { 303 } else { 200 }),
            Err(refusal) => (refusal.code.row().name, refusal.code.row().status),
        };
        entry.latency_ms = millis(stages.clock.steady().saturating_sub(asking.arrived));
        let recorded = stages.auditor.record(&entry).await;
        let is_lost = recorded.is_err() && event == "login" && outcome.is_ok();
        let outcome = if is_lost { Code::AuditUnavailable.row().name } else { entry.outcome };
        stages.metrics.visits.get_or_create(&VisitLabels { event, outcome }).inc();
        recorded.is_ok()
    }
}
