//! One response: its events, spread over the time that it takes to say it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::session::Format;
use super::Transport;
use super::g711::encode;
use super::items::{Item, Items};
use super::outbox::{Out, Outbox};
use super::reply::{Content, Sound, part};
use super::usage::{Tokens, of_response, spoken_by_assistant, written};
use super::wish::Wish;

/// From `response.created` to the first words.
const LATENCY: Duration = Duration::from_millis(250);
/// Between pieces of text and of arguments.
const TYPING: Duration = Duration::from_millis(25);
/// Over a WebSocket audio is sent this much faster than it plays.
const HASTE: u32 = 3;
/// Share of the audio after which all its words have been sent: the model is a little ahead of its voice.
const AHEAD: f64 = 0.92;
/// Characters of a function's arguments in one event.
const ARGUMENT_PIECE: usize = 12;

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    /// `max_output_tokens`.
    Incomplete,
    /// By the user's speech.
    Interrupted,
    /// By the client.
    Cancelled,
}

enum Step {
    Open,
    Say { text: String, samples: Range<usize>, up_to: Duration },
    Finish,
}

pub(super) struct Response {
    pub(super) id: String,
    pub(super) item_id: String,
    call_id: String,
    pub(super) wish: Wish,
    conversation_id: String,
    content: Content,
    steps: VecDeque<(Duration, Step)>,
    opened: bool,
    said: String,
    /// Audio that was sent or is playing.
    audio: Duration,
    format: Format,
    pub(super) input: Tokens,
    before: Tokens,
    cut: bool,
}

/// What a response is made from.
pub(super) struct Plan {
    pub(super) wish: Wish,
    pub(super) content: Content,
    pub(super) conversation_id: String,
    pub(super) transport: Transport,
    pub(super) format: Format,
    pub(super) input: Tokens,
    pub(super) before: Tokens,
    /// When it may be heard at the earliest.
    pub(super) opens: Duration,
}

impl Response {
    pub(super) fn new(plan: Plan, outbox: &mut Outbox) -> Self {
        let steps = steps(&plan.content, plan.opens + LATENCY, plan.transport);
        let cut = plan.wish.max_tokens.is_some_and(|most| tokens(&plan.content) >= most);
        Self {
            id: outbox.id("resp_"),
            item_id: outbox.id("item_"),
            call_id: outbox.id("call_"),
            wish: plan.wish,
            conversation_id: plan.conversation_id,
            content: plan.content,
            steps,
            opened: false,
            said: String::new(),
            audio: Duration::ZERO,
            format: plan.format,
            input: plan.input,
            before: plan.before,
            cut,
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.steps.front().map(|(due, _)| *due)
    }

    /// When its last event is due.
    pub(super) fn ends(&self) -> Option<Duration> {
        self.steps.back().map(|(due, _)| *due)
    }

    /// Takes the next step; true when it was the last one.
    pub(super) fn step(&mut self, items: &mut Items, outbox: &mut Outbox) -> bool {
        match self.steps.pop_front() {
            Some((_, Step::Open)) => self.open(items, outbox),
            Some((_, Step::Say { text, samples, up_to })) => self.say(&text, samples, up_to, outbox),
            Some((_, Step::Finish)) | None => {
                let outcome = if self.cut { Outcome::Incomplete } else { Outcome::Completed };
                self.finish(outcome, items, outbox);
                return true;
            }
        }
        false
    }

    /// The sound that begins with the response's opening, and its length.
    pub(super) fn sounds(&self) -> Option<Duration> {
        match &self.content {
            Content::Speech(speech) if self.opened => Some(speech.duration),
            _ => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened
    }

    fn open(&mut self, items: &mut Items, outbox: &mut Outbox) {
        self.opened = true;
        let item = self.item("in_progress");
        outbox.event("response.output_item.added", self.about_item(json!({"item": item.shown()})));
        if !self.wish.out_of_band {
            // Its id is new: nothing can be in its way.
            let _ = items.add(item, None, outbox);
        }
        let part = match &self.content {
            Content::Speech(_) => json!({"type": "audio", "transcript": ""}),
            Content::Text(_) => json!({"type": "text", "text": ""}),
            Content::Call { .. } => return,
        };
        outbox.event("response.content_part.added", self.about_part(json!({"part": part})));
        if let Content::Speech(speech) = &self.content
            && let Sound::Clip(clip) = &speech.sound
        {
            self.audio = speech.duration;
            outbox.event("output_audio_buffer.started", json!({"response_id": self.id}));
            outbox.push(Out::Play(clip.clone()));
        }
    }

    fn say(&mut self, text: &str, samples: Range<usize>, up_to: Duration, outbox: &mut Outbox) {
        match &self.content {
            Content::Speech(speech) => {
                if let Sound::Samples(all) = &speech.sound {
                    let audio = encode(self.format, all.get(samples).unwrap_or_default());
                    let delta = json!({"delta": STANDARD.encode(audio)});
                    outbox.event("response.output_audio.delta", self.about_part(delta));
                    self.audio = up_to;
                }
                outbox.event("response.output_audio_transcript.delta", self.about_part(json!({"delta": text})));
            }
            Content::Text(_) => outbox.event("response.output_text.delta", self.about_part(json!({"delta": text}))),
            Content::Call { .. } => {
                let delta = json!({"item_id": self.item_id, "call_id": self.call_id, "delta": text});
                outbox.event("response.function_call_arguments.delta", self.about_item(delta));
            }
        }
        self.said.push_str(text);
    }

    /// Ends it, whole or not. Audio that plays on is the conversation's to stop.
    pub(super) fn finish(&mut self, outcome: Outcome, items: &mut Items, outbox: &mut Outbox) {
        self.steps.clear();
        let mut output = Vec::new();
        if self.opened {
            self.finish_part(outbox);
            let status = if outcome == Outcome::Completed { "completed" } else { "incomplete" };
            let item = self.item(status);
            output.push(item.shown().clone());
            let shown = item.shown().clone();
            if !self.wish.out_of_band {
                items.finish(item, outbox);
            }
            outbox.event("response.output_item.done", self.about_item(json!({"item": shown})));
        }
        let usage = of_response(self.input, self.before, self.output());
        outbox.event("response.done", json!({"response": self.shown(Some(outcome), &output, &usage)}));
    }

    fn finish_part(&self, outbox: &mut Outbox) {
        let part = match &self.content {
            Content::Speech(_) => {
                outbox.event("response.output_audio.done", self.about_part(json!({})));
                outbox.event("response.output_audio_transcript.done", self.about_part(json!({"transcript": self.said})));
                json!({"type": "audio", "transcript": self.said})
            }
            Content::Text(_) => {
                outbox.event("response.output_text.done", self.about_part(json!({"text": self.said})));
                json!({"type": "text", "text": self.said})
            }
            Content::Call { name, .. } => {
                let done = json!({"item_id": self.item_id, "call_id": self.call_id, "name": name, "arguments": self.said});
                return outbox.event("response.function_call_arguments.done", self.about_item(done));
            }
        };
        outbox.event("response.content_part.done", self.about_part(json!({"part": part})));
    }

    fn output(&self) -> Tokens {
        Tokens { text: written(&self.said), audio: spoken_by_assistant(self.audio) }
    }

    /// `response`, as events show it. No outcome: in progress.
    pub(super) fn shown(&self, outcome: Option<Outcome>, output: &[Value], usage: &Value) -> Value {
        let (status, details) = match outcome {
            None => ("in_progress", Value::Null),
            Some(Outcome::Completed) => ("completed", Value::Null),
            Some(Outcome::Incomplete) => ("incomplete", json!({"type": "incomplete", "reason": "max_output_tokens"})),
            Some(Outcome::Interrupted) => ("cancelled", json!({"type": "cancelled", "reason": "turn_detected"})),
            Some(Outcome::Cancelled) => ("cancelled", json!({"type": "cancelled", "reason": "client_cancelled"})),
        };
        let mut shown = self.wish.shown(&self.conversation_id);
        for (name, value) in [
            ("id", json!(self.id)),
            ("status", json!(status)),
            ("status_details", details),
            ("output", json!(output)),
            ("usage", usage.clone()),
        ] {
            shown[name] = value;
        }
        shown
    }

    fn item(&self, status: &str) -> Item {
        let parts = |part: Value| if status == "in_progress" { json!([]) } else { json!([part]) };
        let fields = match &self.content {
            Content::Speech(_) => {
                json!({"type": "message", "role": "assistant", "content": parts(json!({"type": "output_audio", "transcript": self.said}))})
            }
            Content::Text(_) => {
                json!({"type": "message", "role": "assistant", "content": parts(json!({"type": "output_text", "text": self.said}))})
            }
            Content::Call { name, .. } => {
                json!({"type": "function_call", "name": name, "call_id": self.call_id, "arguments": self.said})
            }
        };
        Item::new(self.item_id.clone(), status, object(fields), self.audio)
    }

    fn about_item(&self, mut fields: Value) -> Value {
        fields["response_id"] = json!(self.id);
        fields["output_index"] = json!(0);
        fields
    }

    fn about_part(&self, fields: Value) -> Value {
        let mut fields = self.about_item(fields);
        fields["item_id"] = json!(self.item_id);
        fields["content_index"] = json!(0);
        fields
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn tokens(content: &Content) -> u64 {
    match content {
        Content::Speech(speech) => spoken_by_assistant(speech.duration),
        Content::Text(text) => written(text),
        Content::Call { .. } => 0,
    }
}

fn steps(content: &Content, opens: Duration, transport: Transport) -> VecDeque<(Duration, Step)> {
    let (pieces, length) = match content {
        Content::Speech(speech) => {
            let length = speech.duration.mul_f64(AHEAD);
            (words(&speech.text), if transport == Transport::WebSocket { length / HASTE } else { length })
        }
        Content::Text(text) => paced(words(text)),
        Content::Call { arguments, .. } => {
            let characters: Vec<char> = arguments.chars().collect();
            paced(characters.chunks(ARGUMENT_PIECE).map(|piece| piece.iter().collect()).collect())
        }
    };
    let count = pieces.len().max(1);
    let mut steps = VecDeque::from([(opens, Step::Open)]);
    for (index, text) in pieces.into_iter().enumerate() {
        let share =
            |index: usize| f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / f64::from(u32::try_from(count).unwrap_or(1));
        let (samples, up_to) = match content {
            Content::Speech(speech) => {
                let all = if let Sound::Samples(samples) = &speech.sound { samples.len() } else { 0 };
                (part(all, share(index))..part(all, share(index + 1)), speech.duration.mul_f64(share(index + 1)))
            }
            _ => (0..0, Duration::ZERO),
        };
        steps.push_back((opens + length.mul_f64(share(index)), Step::Say { text, samples, up_to }));
    }
    steps.push_back((opens + length, Step::Finish));
    steps
}

fn paced(pieces: Vec<String>) -> (Vec<String>, Duration) {
    let length = TYPING * u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    (pieces, length)
}

/// Words with the spaces before them.
fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}
