//! What a conversation wants done, in order, and the ids that it gives away.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::shape::Fault;
use super::super::voice::Clip;

/// Something for the driver to do.
pub(in crate::sandbox) enum Out {
    /// A server event, for the client and every sideband.
    Event(String),
    /// Speaks, after what is already queued.
    Play(Clip),
    /// Falls silent at once.
    Stop,
    /// The session is over.
    End(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Ending {
    /// With a goodbye of the transport.
    Clean,
    /// As if a cable had been cut.
    Vanish,
}

pub(super) struct Outbox {
    queue: VecDeque<Out>,
    chance: fastrand::Rng,
}

impl Outbox {
    pub(super) fn new(seed: u64) -> Self {
        Self { queue: VecDeque::new(), chance: fastrand::Rng::with_seed(seed) }
    }

    /// A new id such as `item_` and 21 letters and digits. Not a secret.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        let mut id = prefix.to_owned();
        id.extend(std::iter::repeat_with(|| self.chance.alphanumeric()).take(21));
        id
    }

    pub(super) fn push(&mut self, out: Out) {
        self.queue.push_back(out);
    }

    pub(super) fn pop(&mut self) -> Option<Out> {
        self.queue.pop_front()
    }

    /// A server event: `fields` with `type` and `event_id`.
    pub(super) fn event(&mut self, kind: &str, mut fields: Value) {
        fields["type"] = json!(kind);
        fields["event_id"] = json!(self.id("event_"));
        self.push(Out::Event(fields.to_string()));
    }

    /// An `error` event about the client event `event_id`. The session goes on.
    pub(super) fn error(&mut self, fault: &Fault, event_id: Option<&str>) {
        let error = json!({
            "type": "invalid_request_error", "code": fault.code, "message": fault.message, "param": fault.param, "event_id": event_id,
        });
        self.event("error", json!({"error": error}));
    }
}
