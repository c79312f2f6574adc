//! Time is handed in, so an hour takes no time.

mod bounds;
mod errors;
mod scenarios;
mod speech;
mod text;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Conversation, Ending, Out, Settings, Transport};
use crate::sandbox::scenario::Scenario;
use crate::sandbox::session::Session;

/// A conversation, the time, and everything that it has said.
struct Stage {
    conversation: Conversation,
    now: Duration,
    events: Vec<Value>,
    /// `play`, `stop`, `clean`, `vanish` and the events' types, in order.
    log: Vec<String>,
}

impl Stage {
    fn new(session: &Value, transport: Transport, scenario: Scenario) -> Self {
        let session = Session::parse(session).expect("settings");
        let settings = Settings { session, session_id: "sess_1".into(), transport, scenario, seed: 7, unix: 1_000 };
        // The fixed point that time counts from is anywhere.
        let now = Duration::from_secs(100);
        let mut stage = Self { conversation: Conversation::new(settings, now), now, events: Vec::new(), log: Vec::new() };
        stage.collect();
        stage
    }

    fn webrtc(session: &Value) -> Self {
        Self::new(session, Transport::WebRtc, Scenario::Happy)
    }

    fn websocket(session: &Value) -> Self {
        Self::new(session, Transport::WebSocket, Scenario::Happy)
    }

    fn collect(&mut self) {
        while let Some(out) = self.conversation.next() {
            match out {
                Out::Event(text) => {
                    let event: Value = serde_json::from_str(&text).expect("JSON");
                    assert!(event["event_id"].as_str().is_some_and(|id| id.starts_with("event_")), "{event}");
                    self.log.push(event["type"].as_str().expect("a type").to_owned());
                    self.events.push(event);
                }
                Out::Play(_) => self.log.push("play".into()),
                Out::Stop => self.log.push("stop".into()),
                Out::End(Ending::Clean) => self.log.push("clean".into()),
                Out::End(Ending::Vanish) => self.log.push("vanish".into()),
            }
        }
    }

    fn send(&mut self, event: &Value) -> &mut Self {
        self.send_text(&event.to_string())
    }

    fn send_text(&mut self, text: &str) -> &mut Self {
        self.conversation.receive(text, self.now);
        self.collect();
        self
    }

    /// Lets time pass, stopping wherever something is due.
    fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(due) = self.conversation.due().filter(|due| *due <= end) {
            assert!(due >= self.now || due <= end, "what is overdue is done");
            self.now = self.now.max(due);
            self.conversation.advance(self.now);
            self.collect();
            if self.log.last().is_some_and(|last| last == "clean" || last == "vanish") {
                break;
            }
        }
        self.now = end;
        self
    }

    /// Speaks at a level into the microphone, in packets of 20 ms.
    fn speak(&mut self, level: f32, time: Duration) -> &mut Self {
        for _ in 0..time.as_millis() / 20 {
            self.pass(Duration::from_millis(20));
            self.conversation.hear(level, Bytes::from_static(b"opus"), Duration::from_millis(20), self.now);
            self.collect();
        }
        self
    }

    /// A second of loud speech and a second of silence.
    fn say_something(&mut self) -> &mut Self {
        self.speak(-20.0, Duration::from_secs(1)).speak(-70.0, Duration::from_secs(1))
    }

    fn type_text(&mut self, text: &str) -> &mut Self {
        let content = json!([{"type": "input_text", "text": text}]);
        self.send(&json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}))
    }

    fn ask(&mut self) -> &mut Self {
        self.send(&json!({"type": "response.create"}))
    }

    /// Forgets what was said so far.
    fn clear(&mut self) -> &mut Self {
        self.log.clear();
        self.events.clear();
        self
    }

    #[track_caller]
    fn event(&self, kind: &str) -> &Value {
        self.events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {:#?}", self.log))
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["type"] == kind).collect()
    }

    /// The log with repeated deltas as one.
    fn order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = self.log.iter().map(String::as_str).collect();
        order.dedup();
        order
    }

    #[track_caller]
    fn expect_error(&mut self, code: &str) -> Value {
        let error = self.event("error")["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
        self.clear();
        error
    }
}

fn realtime() -> Value {
    json!({"type": "realtime"})
}

fn second() -> Duration {
    Duration::from_secs(1)
}

/// PCM16 at 24 kHz: a square wave or silence.
fn pcm(amplitude: i16, time: Duration) -> String {
    let samples = usize::try_from(time.as_millis()).expect("short") * 24;
    let wave = (0..samples).map(|at| if at % 100 < 50 { amplitude } else { -amplitude });
    STANDARD.encode(wave.flat_map(i16::to_le_bytes).collect::<Vec<u8>>())
}
