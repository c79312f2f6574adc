//! What the provider tells: verify, act once, audit.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::Value;

use super::refusal::{Code, Refusal};
use super::shut_out::unwritten;
use super::token::Stages;
use crate::audit::Entry;
use crate::authenticate::{Delivery, Envelope, Sender};
use crate::bind::Which;
use crate::block::{Block, Target};
use crate::config::Webhook;
use crate::domain::ids::{Pseudonym, RequestId};
use crate::domain::json::parse_strict;
use crate::telemetry::metrics::{Metrics, OutcomeLabel};

/// Who blocks, in entries and lists.
const AUTHOR: &str = "openai";
/// Characters of a name that the provider gives.
const MOST_NAME: usize = 64;

/// Takes the provider's webhook.
pub(crate) struct Receiver {
    sender: Sender,
    /// Absent: blocks are in force until they are lifted.
    block_seconds: Option<u64>,
    stages: Arc<Stages>,
    outcomes: Family<OutcomeLabel, Counter>,
}

/// What is done about an event (`openai-python`, `types/webhooks`).
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// `safety_identifier.blocked`, of a user of ours.
    Blocked { user: Pseudonym, reason: String },
    /// What an operator should know. Holds its type, its id and what it is about.
    Safety(String),
    /// Not ours to act on. Holds its type and its id.
    Other(String),
}

impl Receiver {
    pub(crate) fn new(settings: Webhook, stages: Arc<Stages>, metrics: &Metrics) -> Self {
        let sender = Sender::new(settings.keys, stages.clock.clone());
        Self { sender, block_seconds: settings.block_seconds, stages, outcomes: metrics.webhooks.clone() }
    }

    /// Does what a delivery asks for, once, however often it comes. An error has it delivered again.
    ///
    /// Goes on when the sender is gone: a user who is blocked also loses the calls that are under way.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        request: RequestId,
        envelope: &Envelope<'_>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let delivery = self.sender.verify(envelope, body).ok_or_else(not_from_the_provider)?;
        let receiver = self.clone();
        let work = Box::pin(async move { receiver.act(&request, &delivery).await });
        let outcome = self.stages.tasks.finish(work).await??;
        self.count(outcome);
        Ok(())
    }

    /// Counts a delivery that was refused, whoever it was from.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.count(if refusal.code.row().status < 500 { "refused" } else { "failed" });
    }

    fn count(&self, outcome: &'static str) {
        self.outcomes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Two deliveries of one event at once do the same, and the second changes nothing.
    async fn act(&self, request: &RequestId, delivery: &Delivery) -> Result<&'static str, Refusal> {
        let blocks = &self.stages.blocks;
        if blocks.was_seen(delivery.id()).await? {
            return Ok("repeated");
        }
        let outcome = match Event::parse(delivery.body())? {
            Event::Blocked { user, reason } => self.block(request, user, reason).await?,
            Event::Safety(what) => {
                tracing::warn!(request_id = request.as_str(), what, "OpenAI has a complaint; see its dashboard");
                self.note(request, None, "noted", &what).await?
            }
            Event::Other(what) => {
                tracing::info!(request_id = request.as_str(), what, "an event of OpenAI's was ignored");
                self.note(request, None, "ignored", &what).await?
            }
        };
        blocks.mark_seen(delivery.id()).await?;
        Ok(outcome)
    }

    /// A block that an operator has put in force for longer stays.
    async fn block(&self, request: &RequestId, user: Pseudonym, reason: String) -> Result<&'static str, Refusal> {
        let (stages, target, now) = (&self.stages, Target::User(user), self.stages.clock.unix());
        let block = Block {
            reason: reason.into(),
            author: AUTHOR.into(),
            created_at: now,
            expires_at: self.block_seconds.map(|seconds| now.saturating_add(seconds)),
        };
        if stages.blocks.of(&target).is_none_or(|known| !known.outlasts(&block)) {
            stages.shut_out(request, &target, block, true).await?;
            return Ok("blocked");
        }
        let outcome = self.note(request, Some(user), "blocked_before", &block.reason).await?;
        // Whoever put that block in force may not have come as far as this.
        stages.revoke_all(request, AUTHOR, &Which { user: Some(user), ..Which::default() }).await?;
        Ok(outcome)
    }

    async fn note(
        &self,
        request: &RequestId,
        user: Option<Pseudonym>,
        outcome: &'static str,
        what: &str,
    ) -> Result<&'static str, Refusal> {
        let mut entry = Entry::about("webhook", self.stages.clock.wall(), request.as_str());
        (entry.outcome, entry.status, entry.user) = (outcome, 204, user);
        (entry.author, entry.cause) = (Some(AUTHOR), Some(what));
        self.stages.auditor.record(&entry).await.map_err(unwritten)?;
        Ok(outcome)
    }
}

impl Event {
    /// An event of a form that is not the provider's is refused, so that it shows there as not delivered: it may be a block.
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |sentence: &'static str| Refusal::new(Code::InvalidJson, sentence);
        let parsed = parse_strict(body).map_err(|e| Refusal::new(Code::InvalidJson, e.to_string()))?;
        let kind = parsed.get("type").and_then(Value::as_str).ok_or_else(|| malformed("An event has a type.").about("/type"))?;
        let id = name(parsed.get("id"));
        let data = |field: &str| parsed.get("data").and_then(|data| data.get(field));
        match kind {
            "safety_identifier.blocked" => {
                let identifier = data("safety_identifier").and_then(Value::as_str);
                let identifier = identifier.ok_or_else(|| malformed("Name who is blocked.").about("/data/safety_identifier"))?;
                let category = name(data("safety_category"));
                Ok(match Pseudonym::parse(identifier) {
                    Some(user) => {
                        Self::Blocked { user, reason: format!("OpenAI blocked this user: category {category}, event {id}") }
                    }
                    None => Self::Other(format!("{kind}, event {id}: not an identifier of this service")),
                })
            }
            "safety.warning_issued" | "safety.deactivation_issued" => {
                Ok(Self::Safety(format!("{kind}, event {id}, case {}", name(data("id")))))
            }
            _ => Ok(Self::Other(format!("{}, event {id}", name(parsed.get("type"))))),
        }
    }
}

/// A name that the provider gives, fit for a log and an entry: cut where it is no name any more.
fn name(value: Option<&Value>) -> &str {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let end = text.bytes().take(MOST_NAME).take_while(|b| b.is_ascii_alphanumeric() || b"._-/".contains(b)).count();
    text.get(..end).filter(|name| !name.is_empty()).unwrap_or("unknown")
}

/// Never says which check failed.
fn not_from_the_provider() -> Refusal {
    Refusal::new(
        Code::InvalidToken,
        "This is no delivery that was signed with the secret of this endpoint within the last five minutes.",
    )
}

#[cfg(test)]
mod tests {
    use super::{Event, Pseudonym};
    use crate::issue::refusal::Code;

    const USER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parse(body: &str) -> Result<Event, Code> {
        Event::parse(body.as_bytes()).map_err(|refusal| refusal.code)
    }

    fn blocked(category: &str) -> String {
        format!(
            r#"{{"id":"evt_1","type":"safety_identifier.blocked","data":{{"safety_identifier":"{USER}","safety_category":{category}}}}}"#
        )
    }

    #[test]
    fn the_reason_of_a_block_is_short_and_has_nothing_but_names_in_it() {
        let long = format!("\"{}\"", "a".repeat(10_000));
        let cut = "a".repeat(64);
        for (category, wanted) in [
            (r#""bio""#, "bio"),
            (r#""self-harm/intent""#, "self-harm/intent"),
            (r#""bio\n{\"event\":\"mint\"}""#, "bio"),
            (r#""\u0000""#, "unknown"),
            (r#""""#, "unknown"),
            ("null", "unknown"),
            ("[1]", "unknown"),
            (&long, &cut),
        ] {
            let reason = format!("OpenAI blocked this user: category {wanted}, event evt_1");
            assert_eq!(parse(&blocked(category)), Ok(Event::Blocked { user: Pseudonym::parse(USER).unwrap(), reason }));
        }
    }

    #[test]
    fn what_is_not_ours_is_ignored_and_what_cannot_be_read_is_refused() {
        let other = |text: &str| Ok(Event::Other(text.to_owned()));
        assert_eq!(parse(r#"{"id":"evt_1","type":"batch.completed","data":[]}"#), other("batch.completed, event evt_1"));
        assert_eq!(parse(r#"{"type":"a b"}"#), other("a, event unknown"));
        let foreign = r#"{"id":"evt_1","type":"safety_identifier.blocked","data":{"safety_identifier":"somebody@example.com"}}"#;
        assert_eq!(parse(foreign), other("safety_identifier.blocked, event evt_1: not an identifier of this service"));
        let warned = r#"{"id":"evt_1","type":"safety.warning_issued","data":{"id":"case_1"}}"#;
        assert_eq!(parse(warned), Ok(Event::Safety("safety.warning_issued, event evt_1, case case_1".to_owned())));
        for bad in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"x","type":"safety_identifier.blocked"}"#,
            r#"{"type":"safety_identifier.blocked"}"#,
            r#"{"type":"safety_identifier.blocked","data":{"safety_identifier":1}}"#,
        ] {
            assert_eq!(parse(bad), Err(Code::InvalidJson), "{bad}");
        }
    }
}
