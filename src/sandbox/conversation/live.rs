//! A session of the Live API, simulated in its outline: it starts, speaks after the user has spoken, counts usage and closes. Delegation,
//! triggers and appended context are answered with an `error` event that says so.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::session::{Session, TurnDetection};
use super::super::voice::{Line, clip};
use super::outbox::{Ending, Out, Outbox};
use super::turns::{Turn, Turns};
use super::{Settings, millis};

/// Between two usage events.
const USAGE: Duration = Duration::from_mins(1);
/// Charged at once; time is counted against it.
const LEAST_BILLED: Duration = Duration::from_secs(15);
const DETECTION: TurnDetection = TurnDetection {
    threshold: 0.5,
    prefix: Duration::from_millis(300),
    silence: Duration::from_millis(700),
    creates_response: true,
    interrupts_response: true,
};

pub(in crate::sandbox) struct Live {
    session: Session,
    id: String,
    /// Unix time in seconds.
    expires_at: u64,
    began: Duration,
    ends: Duration,
    next_usage: Duration,
    turns: Turns,
    turn_began: Duration,
    turns_before: u32,
    outbox: Outbox,
    over: bool,
}

impl Live {
    /// Begins with `session.started`. Of all scenarios `expires` alone changes it.
    pub(in crate::sandbox) fn new(settings: Settings, now: Duration) -> Self {
        let longest = settings.scenario.longest();
        let mut live = Self {
            session: settings.session,
            id: settings.session_id,
            expires_at: settings.unix + longest.as_secs(),
            began: now,
            ends: now + longest,
            next_usage: now + USAGE,
            turns: Turns::default(),
            turn_began: Duration::ZERO,
            turns_before: 0,
            outbox: Outbox::new(settings.seed),
            over: false,
        };
        let session = live.shown();
        live.outbox.event("session.started", json!({"session": session}));
        live
    }

    fn shown(&self) -> Value {
        let mut shown = self.session.shown(&self.id, self.expires_at);
        shown["status"] = json!("active");
        shown
    }

    pub(in crate::sandbox) fn welcome(&mut self) -> String {
        let id = self.outbox.id("event_");
        json!({"type": "session.started", "event_id": id, "session": self.shown()}).to_string()
    }

    pub(in crate::sandbox) fn next(&mut self) -> Option<Out> {
        self.outbox.pop()
    }

    pub(in crate::sandbox) fn due(&self) -> Duration {
        self.next_usage.min(self.ends)
    }

    pub(in crate::sandbox) fn advance(&mut self, now: Duration) {
        if now >= self.ends {
            self.close("expired", None, now);
        } else if now >= self.next_usage {
            self.next_usage = now + USAGE;
            let usage = self.usage(now);
            self.outbox.event("session.usage.updated", json!({"usage": usage, "context_window": {"usage_ratio": 0.01}}));
        }
    }

    fn usage(&self, now: Duration) -> Value {
        json!({"seconds": now.saturating_sub(self.began).max(LEAST_BILLED).as_secs_f64()})
    }

    pub(in crate::sandbox) fn receive(&mut self, text: &str, now: Duration) {
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        let id = event["event_id"].as_str();
        let (code, message) = match event["type"].as_str() {
            Some("session.close") => return self.close("close_requested", id, now),
            Some(kind) => {
                let kind: String = kind.chars().take(64).collect();
                ("not_simulated", format!("The sandbox does not simulate '{kind}'."))
            }
            None => ("invalid_json", "Send one JSON object with a type in each message.".to_owned()),
        };
        let error =
            json!({"type": "invalid_request_error", "code": code, "message": message, "param": "type", "client_event_id": id});
        self.outbox.event("error", json!({"error": error, "client_event_id": id}));
    }

    pub(in crate::sandbox) fn hear(&mut self, level: f32, duration: Duration) {
        match self.turns.hear(level, duration, Some(&DETECTION)) {
            None => {}
            Some(Turn::Began(start)) => {
                self.turn_began = start;
                self.outbox.push(Out::Stop);
            }
            Some(Turn::Ended(end)) => self.answer(end),
        }
    }

    fn answer(&mut self, end: Duration) {
        let said = end.saturating_sub(self.turn_began);
        let text = format!("[simulated transcript: {:.1} s of speech]", said.as_secs_f64());
        let span = json!({"delta": text, "start_ms": millis(self.turn_began), "end_ms": millis(end)});
        self.outbox.event("session.input_transcript.delta", span);
        let line = if self.turns_before == 0 { Line::HeardYou } else { Line::HeardAgain };
        self.turns_before = self.turns_before.saturating_add(1);
        let clip = clip(self.session.voice(), line);
        let heard = self.turns.heard();
        let span = json!({"delta": clip.text(), "start_ms": millis(heard), "end_ms": millis(heard + clip.duration())});
        self.outbox.event("session.output_transcript.delta", span);
        self.outbox.push(Out::Play(clip));
    }

    pub(in crate::sandbox) fn hang_up(&mut self, now: Duration) {
        self.close("close_requested", None, now);
    }

    fn close(&mut self, reason: &str, client_event_id: Option<&str>, now: Duration) {
        if self.over {
            return;
        }
        self.over = true;
        let (session, usage) = (self.shown(), self.usage(now));
        let fields = json!({"reason": reason, "session": session, "usage": usage, "client_event_id": client_event_id});
        self.outbox.event("session.closed", fields);
        self.outbox.push(Out::End(Ending::Clean));
    }
}
