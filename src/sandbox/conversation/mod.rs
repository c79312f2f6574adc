//! One realtime session as a state machine: client events and the user's audio levels in, server events and speech out. No I/O and no
//! clock: time is handed in, as the time since some fixed point.
//!
//! It speaks when it is asked to (`response.create`) and after the user has spoken, never unasked: like the real API.

mod client;
mod g711;
mod input;
mod items;
mod live;
mod outbox;
mod reply;
mod response;
mod speaking;
#[cfg(test)]
mod tests;
mod tools;
mod turns;
mod usage;
mod wish;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::scenario::Scenario;
use super::session::{Kind, Session};
use super::shape::Fault;
use client::ClientEvent;
use input::{Input, Voice};
use items::{Item, Items};
pub(super) use live::Live;
use outbox::Outbox;
pub(super) use outbox::{Ending, Out};
use response::{Response, object};
use turns::Turn;
use usage::{Tokens, of_transcription};

/// Least audio that can be committed.
const LEAST_COMMIT: Duration = Duration::from_millis(100);
/// From the end of a turn to its transcript.
const TRANSCRIBING: Duration = Duration::from_millis(300);
/// Transcripts that may be waited for at once.
const MOST_TRANSCRIPTS: usize = 64;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Speech is played by the other side's peer connection.
    WebRtc,
    /// Speech is sent in events.
    WebSocket,
}

/// What a session begins with.
pub(super) struct Settings {
    pub(super) session: Session,
    pub(super) session_id: String,
    pub(super) transport: Transport,
    pub(super) scenario: Scenario,
    /// Decides the ids of items, responses and events.
    pub(super) seed: u64,
    /// Unix time in seconds.
    pub(super) unix: u64,
}

/// Speech that is being played (WebRTC).
struct Playing {
    response_id: String,
    item_id: String,
    from: Duration,
    until: Duration,
    /// It ends before its end.
    cut: bool,
}

struct Transcript {
    due: Duration,
    item_id: String,
    audio: Duration,
}

pub(super) struct Conversation {
    session: Session,
    session_id: String,
    conversation_id: String,
    transport: Transport,
    scenario: Scenario,
    /// Unix time in seconds.
    expires_at: u64,
    ends: Duration,
    outbox: Outbox,
    items: Items,
    input: Input,
    own_words: Vec<Voice>,
    active: Option<Response>,
    playing: Option<Playing>,
    transcripts: VecDeque<Transcript>,
    cut: Option<Duration>,
    farewell: Option<Duration>,
    has_spoken: bool,
    responses: u64,
    tokens: u64,
    before: Tokens,
    over: bool,
}

impl Conversation {
    /// Begins with `session.created`.
    pub(super) fn new(settings: Settings, now: Duration) -> Self {
        let mut outbox = Outbox::new(settings.seed);
        let mut conversation = Self {
            expires_at: settings.unix + settings.scenario.longest().as_secs(),
            ends: now + settings.scenario.longest(),
            session: settings.session,
            session_id: settings.session_id,
            conversation_id: outbox.id("conv_"),
            transport: settings.transport,
            input: Input::new(settings.scenario == Scenario::Echo),
            scenario: settings.scenario,
            outbox,
            items: Items::default(),
            own_words: Vec::new(),
            active: None,
            playing: None,
            transcripts: VecDeque::new(),
            cut: None,
            farewell: None,
            has_spoken: false,
            responses: 0,
            tokens: 0,
            before: Tokens::default(),
            over: false,
        };
        let session = conversation.shown();
        conversation.outbox.event("session.created", json!({"session": session}));
        conversation
    }

    fn shown(&self) -> Value {
        self.session.shown(&self.session_id, self.expires_at)
    }

    /// The first event of a sideband that joins now.
    pub(super) fn welcome(&mut self) -> String {
        let id = self.outbox.id("event_");
        json!({"type": "session.created", "event_id": id, "session": self.shown()}).to_string()
    }

    /// The next thing to do.
    pub(super) fn next(&mut self) -> Option<Out> {
        self.outbox.pop()
    }

    /// When [`Conversation::advance`] has something to do; never, once the session is over.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.over {
            return None;
        }
        let muted = self.input.muted_at().filter(|_| self.transport == Transport::WebRtc);
        let played = self.playing.as_ref().map(|playing| playing.until);
        let response = self.active.as_ref().and_then(Response::due);
        let transcript = self.transcripts.front().map(|transcript| transcript.due);
        [Some(self.ends), muted, played, response, transcript, self.cut, self.farewell].into_iter().flatten().min()
    }

    /// Does everything that is due.
    pub(super) fn advance(&mut self, now: Duration) {
        while self.due().is_some_and(|due| due <= now) {
            if self.cut.is_some_and(|cut| cut <= now) {
                return self.end(Ending::Vanish);
            }
            if self.ends <= now {
                return self.expire();
            }
            if self.farewell.is_some_and(|farewell| farewell <= now) {
                return self.end(Ending::Clean);
            }
            self.speak_on(now);
            self.play_on(now);
            while let Some(transcript) = self.transcripts.pop_front_if(|transcript| transcript.due <= now) {
                self.transcribe(&transcript);
            }
            if self.transport == Transport::WebRtc && self.input.muted_at().is_some_and(|due| due <= now) {
                let detection = self.session.turn_detection();
                let turn = self.input.miss(detection.as_ref(), now);
                if let Some(turn) = turn {
                    self.take_turn(&turn, now);
                }
            }
        }
    }

    /// Ends the session as an operator's hang-up does.
    pub(super) fn hang_up(&mut self) {
        self.end(Ending::Clean);
    }

    fn end(&mut self, ending: Ending) {
        if !self.over {
            self.over = true;
            self.outbox.push(Out::End(ending));
        }
    }

    fn expire(&mut self) {
        let length = match self.scenario.longest().as_secs() {
            seconds if seconds < 60 => format!("{seconds} seconds"),
            seconds => format!("{} minutes", seconds / 60),
        };
        let message = format!("Your session hit the maximum duration of {length}.");
        self.outbox.error(&Fault::new("session_expired", message), None);
        self.end(Ending::Clean);
    }

    /// Takes one message of the client's, or of a sideband's.
    pub(super) fn receive(&mut self, text: &str, now: Duration) {
        if self.over {
            return;
        }
        let (event, id) = client::parse(text);
        let outcome = event.and_then(|event| self.obey(event, now));
        if let Err(fault) = outcome {
            self.outbox.error(&fault, id.as_deref());
        }
    }

    /// Takes one packet of the user's audio.
    pub(super) fn hear(&mut self, level: f32, packet: Bytes, duration: Duration, now: Duration) {
        if !self.over {
            self.hear_voice(level, duration, Voice::Packet(packet), now);
        }
    }

    fn hear_voice(&mut self, level: f32, duration: Duration, voice: Voice, now: Duration) {
        let detection = self.session.turn_detection();
        let turn = self.input.hear(level, duration, voice, detection.as_ref(), now);
        if let Some(turn) = turn {
            self.take_turn(&turn, now);
        }
    }

    fn obey(&mut self, event: ClientEvent, now: Duration) -> Result<(), Fault> {
        if self.session.kind != Kind::Realtime && event.wants_an_answer() {
            let message = format!("This event is not available in {} sessions.", self.session.kind.name());
            return Err(Fault::new("invalid_value", message).about("type"));
        }
        match event {
            ClientEvent::UpdateSession(change) => {
                self.session.update(&change, self.has_spoken)?;
                let session = self.shown();
                self.outbox.event("session.updated", json!({"session": session}));
            }
            ClientEvent::AppendAudio(audio) => {
                for (level, duration, voice) in self.input.frames(&audio, self.session.input_format())? {
                    self.hear_voice(level, duration, voice, now);
                }
            }
            ClientEvent::CommitAudio => {
                if self.input.buffered < LEAST_COMMIT {
                    let message = format!(
                        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but buffer only has {:.2}ms of audio.",
                        self.input.buffered.as_secs_f64() * 1000.0
                    );
                    return Err(Fault::new("input_audio_buffer_commit_empty", message));
                }
                self.commit(self.input.buffered, now);
            }
            ClientEvent::ClearAudio => {
                self.input.take();
                self.outbox.event("input_audio_buffer.cleared", json!({}));
            }
            ClientEvent::CreateItem { item, after } => self.create_item(item, after.as_deref())?,
            ClientEvent::RetrieveItem(id) => self.items.retrieve(&id, &mut self.outbox)?,
            ClientEvent::DeleteItem(id) => self.items.delete(&id, &mut self.outbox)?,
            ClientEvent::TruncateItem { id, content_index, end } => {
                self.items.truncate(&id, content_index, end, &mut self.outbox)?;
            }
            ClientEvent::CreateResponse(asked) => self.respond(&asked, now)?,
            ClientEvent::CancelResponse(id) => self.cancel(id.as_deref(), now)?,
            ClientEvent::ClearOutput => self.fall_silent(),
        }
        Ok(())
    }

    fn create_item(&mut self, mut fields: Map<String, Value>, after: Option<&str>) -> Result<(), Fault> {
        // The last words are no longer those that were spoken into the microphone.
        self.own_words.clear();
        let id = fields.get("id").and_then(Value::as_str).map_or_else(|| self.outbox.id("item_"), str::to_owned);
        let mut audio = Duration::ZERO;
        for part in fields.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
            // Audio and images are weighed and not kept.
            let part = part.as_object_mut();
            if let Some(Value::String(sound)) = part.and_then(|part| part.remove("audio")) {
                audio += input::length(&sound, self.session.input_format())?;
            }
        }
        if fields.get("type").is_some_and(|kind| kind == "function_call") && !fields.contains_key("call_id") {
            fields.insert("call_id".into(), json!(self.outbox.id("call_")));
        }
        let status = fields.get("status").and_then(Value::as_str).filter(|status| *status != "in_progress");
        let status = status.unwrap_or("completed").to_owned();
        self.items.add(Item::new(id, &status, fields, audio), after, &mut self.outbox)
    }

    fn take_turn(&mut self, turn: &Turn, now: Duration) {
        let detection = self.session.turn_detection();
        match turn {
            Turn::Began(start) => {
                let id = self.outbox.id("item_");
                self.input.item = Some(id.clone());
                self.outbox.event("input_audio_buffer.speech_started", json!({"audio_start_ms": millis(*start), "item_id": id}));
                if detection.is_some_and(|detection| detection.interrupts_response) {
                    self.interrupt(now);
                }
            }
            Turn::Ended(end) => {
                let id = self.input.item.clone();
                self.outbox.event("input_audio_buffer.speech_stopped", json!({"audio_end_ms": millis(*end), "item_id": id}));
                self.commit(end.saturating_sub(self.input.began), now);
                let answers =
                    detection.is_some_and(|detection| detection.creates_response) && self.session.kind == Kind::Realtime;
                if answers && self.active.is_none() {
                    // Cannot fail: nothing was asked for, and no response is active.
                    let _ = self.respond(&Value::Null, now);
                }
            }
        }
    }

    /// What was said becomes an item.
    fn commit(&mut self, audio: Duration, now: Duration) {
        let id = self.input.item.take().unwrap_or_else(|| self.outbox.id("item_"));
        let previous = self.items.last_id();
        self.own_words = self.input.take();
        self.outbox.event("input_audio_buffer.committed", json!({"previous_item_id": previous, "item_id": id}));
        let content = json!([{"type": "input_audio", "transcript": null}]);
        let fields = object(json!({"type": "message", "role": "user", "content": content}));
        // The id is new: nothing can be in its way.
        let _ = self.items.add(Item::new(id.clone(), "completed", fields, audio), None, &mut self.outbox);
        if self.session.transcription_model().is_some() && self.transcripts.len() < MOST_TRANSCRIPTS {
            self.transcripts.push_back(Transcript { due: now + TRANSCRIBING, item_id: id, audio });
        }
    }

    fn transcribe(&mut self, transcript: &Transcript) {
        let Some(model) = self.session.transcription_model() else { return };
        let text = format!("[simulated transcript: {:.1} s of speech]", transcript.audio.as_secs_f64());
        let usage = of_transcription(model, transcript.audio, &text);
        let id = &transcript.item_id;
        let event = |suffix: &str| format!("conversation.item.input_audio_transcription.{suffix}");
        self.outbox.event(&event("delta"), json!({"item_id": id, "content_index": 0, "delta": text}));
        self.outbox.event(&event("completed"), json!({"item_id": id, "content_index": 0, "transcript": text, "usage": usage}));
        self.items.transcribed(id, &text);
    }
}

impl ClientEvent {
    /// Whether it is about an assistant, which transcriptions do not have.
    fn wants_an_answer(&self) -> bool {
        matches!(self, Self::CreateResponse(_) | Self::CancelResponse(_) | Self::ClearOutput | Self::CreateItem { .. })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
