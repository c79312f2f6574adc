//! What clients may send.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::session::fields::{INSTRUCTIONS, MAX_OUTPUT_TOKENS, OUTPUT_MODALITIES, REASONING, TOOL_CHOICE, TOOL_LIST};
use super::super::shape::{Fault, Record, Shape};

/// Longest id that a client may choose, in characters. Longer ones could never be items' ids.
const ID: usize = 64;
/// Longest text of a message and longest output of a function, in characters.
const TEXT: usize = 64 * 1024;
/// Longest audio of one event in base64, in characters: what the real API takes.
const AUDIO: usize = 15 * 1024 * 1024;
const EVENT_ID: usize = 512;

const ITEM_ID: Shape = Shape::Text(ID);

const CONTENT: Shape = Shape::List(
    &Shape::Tagged(&[
        ("input_text", &Record { required: &["text"], fields: &[("text", Shape::Text(TEXT))] }),
        ("output_text", &Record { required: &["text"], fields: &[("text", Shape::Text(TEXT))] }),
        ("text", &Record { required: &["text"], fields: &[("text", Shape::Text(TEXT))] }),
        (
            "input_audio",
            &Record {
                required: &["audio"],
                fields: &[("audio", Shape::Text(AUDIO)), ("transcript", Shape::Either(&[Shape::Null, Shape::Text(TEXT)]))],
            },
        ),
        ("output_audio", &Record { required: &[], fields: &[("audio", Shape::Text(AUDIO)), ("transcript", Shape::Text(TEXT))] }),
        (
            "input_image",
            &Record {
                required: &["image_url"],
                fields: &[("image_url", Shape::Text(AUDIO)), ("detail", Shape::Word(&["auto", "low", "high"]))],
            },
        ),
    ]),
    64,
);

const STATUS: Shape = Shape::Word(&["completed", "incomplete", "in_progress"]);
const OBJECT: Shape = Shape::Word(&["realtime.item"]);

const ITEM: Shape = Shape::Tagged(&[
    (
        "message",
        &Record {
            required: &["role", "content"],
            fields: &[
                ("id", ITEM_ID),
                ("object", OBJECT),
                ("status", STATUS),
                ("role", Shape::Word(&["user", "assistant", "system"])),
                ("content", CONTENT),
                ("phase", Shape::Anything),
            ],
        },
    ),
    (
        "function_call",
        &Record {
            required: &["name", "arguments"],
            fields: &[
                ("id", ITEM_ID),
                ("object", OBJECT),
                ("status", STATUS),
                ("call_id", Shape::Text(ID)),
                ("name", Shape::Text(256)),
                ("arguments", Shape::Text(TEXT)),
            ],
        },
    ),
    (
        "function_call_output",
        &Record {
            required: &["call_id", "output"],
            fields: &[
                ("id", ITEM_ID),
                ("object", OBJECT),
                ("status", STATUS),
                ("call_id", Shape::Text(ID)),
                ("output", Shape::Text(TEXT)),
            ],
        },
    ),
    (
        "mcp_approval_response",
        &Record {
            required: &["approval_request_id", "approve"],
            fields: &[
                ("id", ITEM_ID),
                ("approval_request_id", Shape::Text(ID)),
                ("approve", Shape::Flag),
                ("reason", Shape::Either(&[Shape::Null, Shape::Text(TEXT)])),
            ],
        },
    ),
]);

const RESPONSE: Shape = Shape::Record(&Record {
    required: &[],
    fields: &[
        ("instructions", Shape::Text(INSTRUCTIONS)),
        ("output_modalities", OUTPUT_MODALITIES),
        ("max_output_tokens", MAX_OUTPUT_TOKENS),
        ("audio", Shape::Map),
        ("conversation", Shape::Word(&["auto", "none"])),
        ("metadata", Shape::Either(&[Shape::Null, Shape::Map])),
        ("input", Shape::List(&Shape::Map, 512)),
        ("tools", TOOL_LIST),
        ("tool_choice", TOOL_CHOICE),
        ("parallel_tool_calls", Shape::Flag),
        ("reasoning", REASONING),
        ("prompt", Shape::Either(&[Shape::Null, Shape::Map])),
    ],
});

const EVENTS: &[(&str, &Record)] = &[
    ("session.update", &Record { required: &["session"], fields: &[("session", Shape::Anything)] }),
    ("input_audio_buffer.append", &Record { required: &["audio"], fields: &[("audio", Shape::Text(AUDIO))] }),
    ("input_audio_buffer.commit", &Record { required: &[], fields: &[] }),
    ("input_audio_buffer.clear", &Record { required: &[], fields: &[] }),
    (
        "conversation.item.create",
        &Record {
            required: &["item"],
            fields: &[("item", ITEM), ("previous_item_id", Shape::Either(&[Shape::Null, Shape::Text(ID)]))],
        },
    ),
    ("conversation.item.retrieve", &Record { required: &["item_id"], fields: &[("item_id", ITEM_ID)] }),
    ("conversation.item.delete", &Record { required: &["item_id"], fields: &[("item_id", ITEM_ID)] }),
    (
        "conversation.item.truncate",
        &Record {
            required: &["item_id", "content_index", "audio_end_ms"],
            fields: &[
                ("item_id", ITEM_ID),
                ("content_index", Shape::Integer(0, 1024)),
                ("audio_end_ms", Shape::Integer(0, 100_000_000)),
            ],
        },
    ),
    ("response.create", &Record { required: &[], fields: &[("response", Shape::Either(&[Shape::Null, RESPONSE]))] }),
    ("response.cancel", &Record { required: &[], fields: &[("response_id", Shape::Text(ID))] }),
    ("output_audio_buffer.clear", &Record { required: &[], fields: &[] }),
];

/// A client event whose form is right.
pub(super) enum ClientEvent {
    UpdateSession(Value),
    AppendAudio(String),
    CommitAudio,
    ClearAudio,
    CreateItem { item: Map<String, Value>, after: Option<String> },
    RetrieveItem(String),
    DeleteItem(String),
    TruncateItem { id: String, content_index: u64, end: Duration },
    CreateResponse(Value),
    CancelResponse(Option<String>),
    ClearOutput,
}

/// The event, and the id that the client gave it.
pub(super) fn parse(text: &str) -> (Result<ClientEvent, Fault>, Option<String>) {
    let Ok(Value::Object(mut event)) = serde_json::from_str(text) else {
        let message = "We could not parse the JSON body of your event: send one JSON object in each message.";
        return (Err(Fault::new("invalid_json", message)), None);
    };
    let id = match event.remove("event_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.chars().count() <= EVENT_ID => Some(id),
        Some(other) => return (Err(Shape::Text(EVENT_ID).check(&other, "event_id").err().unwrap_or_else(bad_id)), None),
    };
    (checked(event), id)
}

fn bad_id() -> Fault {
    Fault::new("invalid_value", "Invalid 'event_id'.").about("event_id")
}

fn checked(mut event: Map<String, Value>) -> Result<ClientEvent, Fault> {
    let kind = event.get("type").cloned().unwrap_or_default();
    let whole = Value::Object(event);
    Shape::Tagged(EVENTS).check(&whole, "")?;
    event = match whole {
        Value::Object(event) => event,
        _ => Map::new(),
    };
    let mut take = |name: &str| event.remove(name).unwrap_or_default();
    Ok(match kind.as_str().unwrap_or_default() {
        "session.update" => ClientEvent::UpdateSession(take("session")),
        "input_audio_buffer.append" => ClientEvent::AppendAudio(string(take("audio"))),
        "input_audio_buffer.commit" => ClientEvent::CommitAudio,
        "input_audio_buffer.clear" => ClientEvent::ClearAudio,
        "conversation.item.create" => ClientEvent::CreateItem {
            item: match take("item") {
                Value::Object(item) => item,
                _ => Map::new(),
            },
            after: Some(string(take("previous_item_id"))).filter(|id| !id.is_empty()),
        },
        "conversation.item.retrieve" => ClientEvent::RetrieveItem(string(take("item_id"))),
        "conversation.item.delete" => ClientEvent::DeleteItem(string(take("item_id"))),
        "conversation.item.truncate" => ClientEvent::TruncateItem {
            id: string(take("item_id")),
            content_index: take("content_index").as_u64().unwrap_or_default(),
            end: Duration::from_millis(take("audio_end_ms").as_u64().unwrap_or_default()),
        },
        "response.create" => ClientEvent::CreateResponse(take("response")),
        "response.cancel" => ClientEvent::CancelResponse(Some(string(take("response_id"))).filter(|id| !id.is_empty())),
        _ => ClientEvent::ClearOutput,
    })
}

fn string(value: Value) -> String {
    match value {
        Value::String(text) => text,
        _ => String::new(),
    }
}
