//! What a response is to be like: the session's settings, and over them what `response.create` asks for.

use serde_json::{Value, json};

use super::super::session::Session;
use super::super::shape::Fault;

pub(super) struct Wish {
    /// Not added to the conversation.
    pub(super) out_of_band: bool,
    pub(super) in_text: bool,
    /// Absent: as many as it takes.
    pub(super) max_tokens: Option<u64>,
    pub(super) voice: String,
    pub(super) instructions: String,
    pub(super) tools: Vec<Value>,
    pub(super) tool_choice: Value,
    /// What it replies to in place of the conversation.
    pub(super) input: Option<Vec<Value>>,
    metadata: Value,
    format: Value,
}

impl Wish {
    pub(super) fn new(asked: &Value, session: &Session) -> Result<Self, Fault> {
        let field = |name: &str| asked.get(name).filter(|value| !value.is_null()).unwrap_or_else(|| session.field(name));
        let modalities = field("output_modalities");
        if modalities.as_array().is_some_and(|named| named.len() != 1) {
            let message = "Invalid modalities: expected exactly one of ['audio'] and ['text'].";
            return Err(Fault::new("invalid_value", message).about("response.output_modalities"));
        }
        let output = &session.field("audio")["output"];
        Ok(Self {
            out_of_band: asked["conversation"] == "none",
            in_text: modalities[0] == "text",
            max_tokens: field("max_output_tokens").as_u64(),
            voice: asked["audio"]["output"]["voice"].as_str().unwrap_or(session.voice()).to_owned(),
            instructions: field("instructions").as_str().unwrap_or_default().to_owned(),
            tools: field("tools").as_array().cloned().unwrap_or_default(),
            tool_choice: field("tool_choice").clone(),
            input: asked["input"].as_array().cloned(),
            metadata: asked["metadata"].clone(),
            format: output["format"].clone(),
        })
    }

    /// The fields of a response that say what was wished for.
    pub(super) fn shown(&self, conversation_id: &str) -> Value {
        json!({
            "object": "realtime.response",
            "conversation_id": (!self.out_of_band).then_some(conversation_id),
            "output_modalities": [if self.in_text { "text" } else { "audio" }],
            "max_output_tokens": self.max_tokens.map_or_else(|| json!("inf"), |most| json!(most)),
            "audio": {"output": {"format": self.format, "voice": self.voice}},
            "metadata": self.metadata,
        })
    }
}
