//! The conversation's side of a response: begun, spoken, interrupted, played to its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::scenario::{SLOWNESS, Scenario};
use super::super::shape::Fault;
use super::outbox::Out;
use super::reply::Situation;
use super::response::{Outcome, Plan, Response};
use super::usage::{Tokens, written};
use super::wish::Wish;
use super::{Conversation, Playing, Transport};

/// When `drops_mid_call` cuts the line, and after which share of the response at the latest.
const CUT: (Duration, f64) = (Duration::from_secs(3), 0.6);
/// From the last word to the end of the call in `hangs_up`.
const FAREWELL: Duration = Duration::from_millis(300);
/// Audio that is on its way when the client cancels a response.
const IN_FLIGHT: Duration = Duration::from_millis(200);
const REQUEST_LIMIT: u64 = 1000;
const TOKEN_LIMIT: u64 = 250_000;

impl Conversation {
    /// Begins a response.
    pub(super) fn respond(&mut self, asked: &Value, now: Duration) -> Result<(), Fault> {
        if let Some(active) = &self.active {
            let message = format!(
                "Conversation already has an active response in progress: {}. Wait until the response is finished before creating a new one.",
                active.id
            );
            return Err(Fault::new("conversation_already_has_active_response", message));
        }
        let wish = Wish::new(asked, &self.session)?;
        let situation = Situation {
            items: &self.items,
            scenario: self.scenario,
            transport: self.transport,
            own_words: &self.own_words,
            before: self.responses,
        };
        let content = situation.content(&wish);
        let late = if self.scenario == Scenario::Slow { SLOWNESS } else { Duration::ZERO };
        let silent = self.playing.as_ref().map_or(now, |playing| playing.until.max(now));
        let plan = Plan {
            input: self.input_tokens(&wish),
            content,
            wish,
            conversation_id: self.conversation_id.clone(),
            transport: self.transport,
            format: self.session.output_format(),
            before: self.before,
            opens: silent + late,
        };
        let response = Response::new(plan, &mut self.outbox);
        self.outbox.event("response.created", json!({"response": response.shown(None, &[], &Value::Null)}));
        self.responses += 1;
        self.tokens += response.input.total();
        self.before = response.input;
        let (requests, tokens) = (REQUEST_LIMIT.saturating_sub(self.responses), TOKEN_LIMIT.saturating_sub(self.tokens));
        self.outbox.event(
            "rate_limits.updated",
            json!({"rate_limits": [
                {"name": "requests", "limit": REQUEST_LIMIT, "remaining": requests, "reset_seconds": 60.0},
                {"name": "tokens", "limit": TOKEN_LIMIT, "remaining": tokens, "reset_seconds": 60.0},
            ]}),
        );
        if self.scenario == Scenario::DropsMidCall && self.cut.is_none() {
            let length = response.ends().unwrap_or(now).saturating_sub(now);
            self.cut = Some(now + CUT.0.min(length.mul_f64(CUT.1)));
        }
        self.active = Some(response);
        Ok(())
    }

    fn input_tokens(&self, wish: &Wish) -> Tokens {
        let tools: u64 = wish.tools.iter().map(|tool| written(&tool.to_string())).sum();
        let settings = Tokens { text: written(&wish.instructions) + tools, audio: 0 };
        let context = match &wish.input {
            None => self.items.tokens(),
            Some(input) => Tokens { text: input.iter().map(|item| written(&item.to_string())).sum(), audio: 0 },
        };
        [settings, context].into_iter().sum()
    }

    /// Takes the active response's steps that are due.
    pub(super) fn speak_on(&mut self, now: Duration) {
        while let Some(mut response) = self.active.take_if(|response| response.due().is_some_and(|due| due <= now)) {
            let was_open = response.is_open();
            let done = response.step(&mut self.items, &mut self.outbox);
            if let Some(length) = response.sounds().filter(|_| !was_open) {
                self.has_spoken = true;
                self.playing = (self.transport == Transport::WebRtc).then(|| Playing {
                    response_id: response.id.clone(),
                    item_id: response.item_id.clone(),
                    from: now,
                    until: now + length,
                    cut: false,
                });
            }
            if done {
                self.take_leave(now);
            } else {
                self.active = Some(response);
            }
        }
    }

    /// After the first response of `hangs_up`, heard to its end or not.
    fn take_leave(&mut self, now: Duration) {
        if self.scenario == Scenario::HangsUp && self.farewell.is_none() {
            let silent = self.playing.as_ref().map_or(now, |playing| playing.until);
            self.farewell = Some(silent + FAREWELL);
        }
    }

    /// Notes the end of what was played.
    pub(super) fn play_on(&mut self, now: Duration) {
        if let Some(playing) = self.playing.take_if(|playing| playing.until <= now) {
            if playing.cut {
                self.outbox.push(Out::Stop);
            }
            self.outbox.event("output_audio_buffer.stopped", json!({"response_id": playing.response_id}));
        }
    }

    /// The user speaks: the assistant does not.
    pub(super) fn interrupt(&mut self, now: Duration) {
        let playing = self.playing.as_ref().map(|playing| (playing.item_id.clone(), playing.from));
        self.fall_silent();
        if let Some(mut response) = self.active.take() {
            response.finish(Outcome::Interrupted, &mut self.items, &mut self.outbox);
            self.take_leave(now);
        }
        if let Some((item_id, from)) = playing {
            // Of an item that is deleted or not of this conversation there is nothing to cut.
            let _ = self.items.truncate(&item_id, 0, now.saturating_sub(from), &mut self.outbox);
        }
    }

    /// Drops what is left to play.
    pub(super) fn fall_silent(&mut self) {
        if let Some(playing) = self.playing.take() {
            self.outbox.push(Out::Stop);
            self.outbox.event("output_audio_buffer.cleared", json!({"response_id": playing.response_id}));
        }
    }

    /// `response.cancel`. What is on its way is still heard.
    pub(super) fn cancel(&mut self, id: Option<&str>, now: Duration) -> Result<(), Fault> {
        let Some(mut response) = self.active.take_if(|response| id.is_none_or(|id| id == response.id)) else {
            return Err(Fault::new("response_cancel_not_active", "Cancellation failed: no active response found"));
        };
        response.finish(Outcome::Cancelled, &mut self.items, &mut self.outbox);
        if let Some(playing) = self.playing.as_mut().filter(|playing| playing.response_id == response.id) {
            playing.until = playing.until.min(now + IN_FLIGHT);
            playing.cut = true;
        }
        Ok(())
    }
}
