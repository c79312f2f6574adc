//! A session's settings: checked, completed with the API's defaults, changed by `session.update`.

pub(super) mod fields;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::shape::{Fault, Record, Shape};

/// The model of a session that names none.
pub(super) const DEFAULT_MODEL: &str = "gpt-realtime-2.1";
const DEFAULT_INSTRUCTIONS: &str = "You are a helpful, witty, and friendly AI. Talk quickly.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Realtime,
    Transcription,
    Translation,
    Live,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Transcription => "transcription",
            Self::Translation => "translation",
            Self::Live => "live",
        }
    }

    fn object(self) -> &'static str {
        match self {
            Self::Realtime => "realtime.session",
            Self::Transcription => "realtime.transcription_session",
            Self::Translation => "realtime.translation_session",
            Self::Live => "live.session",
        }
    }

    fn record(self) -> &'static Record {
        match self {
            Self::Realtime => &fields::REALTIME,
            Self::Transcription => &fields::TRANSCRIPTION_SESSION,
            Self::Translation => &fields::TRANSLATION_SESSION,
            Self::Live => &fields::LIVE_SESSION,
        }
    }
}

/// When a turn of the user's begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TurnDetection {
    /// 0 to 1: how loud speech has to be.
    pub(super) threshold: f64,
    pub(super) prefix: Duration,
    pub(super) silence: Duration,
    pub(super) creates_response: bool,
    pub(super) interrupts_response: bool,
}

/// How audio over a WebSocket is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pcm,
    MuLaw,
    ALaw,
}

/// Effective settings.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) kind: Kind,
    fields: Map<String, Value>,
}

impl Session {
    /// Settings with `type`: a realtime or a transcription session.
    pub(super) fn parse(asked: &Value) -> Result<Self, Fault> {
        let types = [("realtime", Kind::Realtime), ("transcription", Kind::Transcription)];
        Shape::Map.check(asked, "session")?;
        let kind = asked.get("type").ok_or_else(|| Fault::missing("session.type"))?.as_str().unwrap_or_default();
        match types.iter().find(|(name, _)| *name == kind) {
            Some((_, kind)) => Self::of_kind(*kind, asked),
            None => Err(Fault::word("session.type", kind, types.iter().map(|(name, _)| *name))),
        }
    }

    /// Settings without `type`, which the endpoint implies.
    pub(super) fn untyped(kind: Kind, asked: &Value) -> Result<Self, Fault> {
        if asked.get("type").is_some() {
            return Err(Fault::unknown("session.type"));
        }
        Self::of_kind(kind, asked)
    }

    fn of_kind(kind: Kind, asked: &Value) -> Result<Self, Fault> {
        let mut session = Self { kind, fields: defaults(kind) };
        session.merge(asked)?;
        Ok(session)
    }

    /// Applies the settings of a `session.update`. After the first spoken answer the voice stays.
    pub(super) fn update(&mut self, change: &Value, has_spoken: bool) -> Result<(), Fault> {
        Shape::Map.check(change, "session")?;
        let kind = change.get("type").ok_or_else(|| Fault::missing("session.type"))?;
        if kind != self.kind.name() {
            let message =
                format!("Passing a '{}' session update event to a {} session is not allowed.", text(kind), self.kind.name());
            return Err(Fault::new("invalid_value", message).about("session.type"));
        }
        let before = self.clone();
        let mut after = before.clone();
        after.merge(change)?;
        if after.fields.get("model") != before.fields.get("model") {
            return Err(Fault::new("cannot_update_model", "Cannot update a session's model.").about("session.model"));
        }
        if has_spoken && after.voice_field() != before.voice_field() {
            let message = "Cannot update a conversation's voice if assistant audio is present.";
            return Err(Fault::new("cannot_update_voice", message).about("session.audio.output.voice"));
        }
        *self = after;
        Ok(())
    }

    fn merge(&mut self, change: &Value) -> Result<(), Fault> {
        let Some(change) = change.as_object() else { return Shape::Map.check(change, "session") };
        self.kind.record().check(change, "session")?;
        if change.get("output_modalities").and_then(Value::as_array).is_some_and(|named| named.len() != 1) {
            let message = "Invalid modalities: expected exactly one of ['audio'] and ['text'].";
            return Err(Fault::new("invalid_value", message).about("session.output_modalities"));
        }
        for (name, value) in change.iter().filter(|(name, _)| *name != "type") {
            match (name.as_str(), self.fields.get_mut(name)) {
                ("audio", Some(audio)) => merge_audio(audio, value),
                _ => {
                    self.fields.insert(name.clone(), value.clone());
                }
            }
        }
        Ok(())
    }

    /// The session as servers show it. `expires_at` is 0 until the session is open.
    pub(super) fn shown(&self, id: &str, expires_at: u64) -> Value {
        let mut shown = self.fields.clone();
        for (name, value) in [
            ("type", json!(self.kind.name())),
            ("object", json!(self.kind.object())),
            ("id", json!(id)),
            ("expires_at", json!(expires_at)),
        ] {
            shown.insert(name.into(), value);
        }
        Value::Object(shown)
    }

    pub(super) fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    /// The name of the voice; of a voice of one's own, its id.
    pub(super) fn voice(&self) -> &str {
        let voice = self.voice_field();
        voice.as_str().or_else(|| voice["id"].as_str()).unwrap_or("marin")
    }

    fn voice_field(&self) -> &Value {
        &self.field("audio")["output"]["voice"]
    }

    pub(super) fn input_format(&self) -> Format {
        format(&self.field("audio")["input"]["format"])
    }

    pub(super) fn output_format(&self) -> Format {
        format(&self.field("audio")["output"]["format"])
    }

    /// The model that writes down what the user says, when it is to be written down.
    pub(super) fn transcription_model(&self) -> Option<&str> {
        let transcription = self.field("audio")["input"]["transcription"].as_object()?;
        Some(transcription.get("model").and_then(Value::as_str).unwrap_or("whisper-1"))
    }

    pub(super) fn turn_detection(&self) -> Option<TurnDetection> {
        let asked = self.field("audio")["input"]["turn_detection"].as_object()?;
        let number = |name: &str, otherwise: u64| asked.get(name).and_then(Value::as_u64).unwrap_or(otherwise);
        let flag = |name: &str| asked.get(name).and_then(Value::as_bool).unwrap_or(true);
        let silence = match (asked.get("type").and_then(Value::as_str), asked.get("eagerness").and_then(Value::as_str)) {
            (Some("semantic_vad"), Some("low")) => 1500,
            (Some("semantic_vad"), Some("high")) => 400,
            (Some("semantic_vad"), _) => 800,
            _ => number("silence_duration_ms", 500),
        };
        Some(TurnDetection {
            threshold: asked.get("threshold").and_then(Value::as_f64).unwrap_or(0.5),
            prefix: Duration::from_millis(number("prefix_padding_ms", 300)),
            silence: Duration::from_millis(silence),
            creates_response: flag("create_response"),
            interrupts_response: flag("interrupt_response"),
        })
    }
}

/// `audio.input` and `audio.output` keep what a change does not name.
fn merge_audio(audio: &mut Value, change: &Value) {
    for (side, settings) in change.as_object().into_iter().flatten() {
        for (name, value) in settings.as_object().into_iter().flatten() {
            audio[side.as_str()][name.as_str()] = with_turn_defaults(name, value);
        }
    }
}

fn with_turn_defaults(name: &str, value: &Value) -> Value {
    match (name, value["type"].as_str()) {
        ("turn_detection", Some("server_vad")) => {
            let mut filled = server_vad();
            for (key, set) in value.as_object().into_iter().flatten() {
                filled[key.as_str()] = set.clone();
            }
            filled
        }
        _ => value.clone(),
    }
}

fn server_vad() -> Value {
    json!({
        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500, "idle_timeout_ms": null,
        "create_response": true, "interrupt_response": true,
    })
}

fn defaults(kind: Kind) -> Map<String, Value> {
    let format = json!({"type": "audio/pcm", "rate": 24000});
    let input = json!({"format": format, "transcription": null, "noise_reduction": null, "turn_detection": server_vad()});
    let all = match kind {
        Kind::Realtime => json!({
            "model": DEFAULT_MODEL, "instructions": DEFAULT_INSTRUCTIONS, "output_modalities": ["audio"], "tools": [],
            "tool_choice": "auto", "max_output_tokens": "inf", "tracing": null, "truncation": "auto", "prompt": null, "include": null,
            "audio": {"input": input, "output": {"format": format, "voice": "marin", "speed": 1.0}},
        }),
        Kind::Transcription => json!({"audio": {"input": input}, "include": null}),
        Kind::Translation => {
            json!({"audio": {"input": {"transcription": null, "noise_reduction": null}, "output": {"language": "en"}}})
        }
        Kind::Live => json!({"audio": {"output": {"voice": "marin"}}, "instructions": "", "store": false}),
    };
    match all {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn format(field: &Value) -> Format {
    match field["type"].as_str() {
        Some("audio/pcmu") => Format::MuLaw,
        Some("audio/pcma") => Format::ALaw,
        _ => Format::Pcm,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
