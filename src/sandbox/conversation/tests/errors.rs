//! What clients do wrong, and what they are told.

use super::{Stage, Value, json, realtime, second};

/// Sends each event and expects the error's code and parameter.
#[track_caller]
fn expect_errors(cases: &[(Value, &str, &str)]) {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear();
    for (event, code, param) in cases {
        stage.send(event);
        let error = stage.expect_error(code);
        assert_eq!((&error["param"], &error["type"]), (&json!(param), &json!("invalid_request_error")), "{event}");
    }
    stage.send(&json!({"type": "session.update", "session": realtime()}));
    assert_eq!(stage.log, ["session.updated"], "the session goes on");
}

#[test]
fn events_of_the_wrong_form() {
    expect_errors(&[
        (json!({}), "missing_required_parameter", "type"),
        (json!({"type": 7}), "invalid_type", "type"),
        (json!({"type": "no.such.event"}), "invalid_value", "type"),
        (json!({"type": "session.update"}), "missing_required_parameter", "session"),
        (json!({"type": "session.update", "session": {}, "more": 1}), "unknown_parameter", "more"),
        (json!({"type": "response.cancel", "event_id": 7}), "invalid_type", "event_id"),
        (
            json!({"type": "response.create", "response": {"output_modalities": ["smell"]}}),
            "invalid_value",
            "response.output_modalities[0]",
        ),
    ]);
}

#[test]
fn items_of_the_wrong_form_and_items_that_are_not_there() {
    let long = "x".repeat(64 * 1024 + 1);
    let create = |item| json!({"type": "conversation.item.create", "item": item});
    let message = |part| create(json!({"type": "message", "role": "user", "content": [part]}));
    let about = |verb: &str| json!({"type": format!("conversation.item.{verb}"), "item_id": "item_none"});
    let mut truncate = about("truncate");
    truncate["content_index"] = json!(0);
    truncate["audio_end_ms"] = json!(1);
    expect_errors(&[
        (json!({"type": "conversation.item.create"}), "missing_required_parameter", "item"),
        (create(json!({"type": "message", "role": "user"})), "missing_required_parameter", "item.content"),
        (create(json!({"type": "strange"})), "invalid_value", "item.type"),
        (message(json!({"type": "input_text"})), "missing_required_parameter", "item.content[0].text"),
        (message(json!({"type": "input_text", "text": long})), "string_above_max_length", "item.content[0].text"),
        (message(json!({"type": "input_audio", "audio": "%"})), "invalid_value", "item.content[0].audio"),
        (about("delete"), "item_delete_invalid_item_id", "item_id"),
        (about("retrieve"), "item_retrieve_invalid_item_id", "item_id"),
        (about("truncate"), "missing_required_parameter", "content_index"),
        (truncate, "item_truncate_invalid_item_id", "item_id"),
    ]);
}

#[test]
fn settings_of_the_wrong_form() {
    let update = |session| json!({"type": "session.update", "session": session});
    let with = |field: &str, value: Value| update(json!({"type": "realtime", field: value}));
    expect_errors(&[
        (update(json!([])), "invalid_type", "session"),
        (update(json!({})), "missing_required_parameter", "session.type"),
        (update(json!({"type": "transcription"})), "invalid_value", "session.type"),
        (with("voice", json!("marin")), "unknown_parameter", "session.voice"),
        (with("model", json!("gpt-other")), "cannot_update_model", "session.model"),
        (with("audio", json!({"output": {"speed": 2.0}})), "decimal_above_max_value", "session.audio.output.speed"),
        (with("audio", json!({"output": {"voice": "nobody"}})), "invalid_value", "session.audio.output.voice"),
        (with("output_modalities", json!(["text", "audio"])), "invalid_value", "session.output_modalities"),
        (with("max_output_tokens", json!(0)), "integer_below_min_value", "session.max_output_tokens"),
        (with("tools", json!([{"type": "function"}])), "missing_required_parameter", "session.tools[0].name"),
    ]);
}

#[test]
fn what_is_no_event_at_all_is_answered_too() {
    let mut stage = Stage::webrtc(&realtime());
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for text in ["", "{", "null", "[]", "7", "\"text\"", "{\"type\":\"response.create\"}}", "\u{0}", &deep] {
        stage.clear().send_text(text);
        stage.expect_error("invalid_json");
    }
}

#[test]
fn errors_name_the_event_that_they_are_about() {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear().send(&json!({"type": "response.cancel", "event_id": "mine"}));
    assert_eq!(stage.expect_error("response_cancel_not_active")["event_id"], "mine");
}

#[test]
fn one_response_at_a_time() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").ask().clear().ask();
    let error = stage.expect_error("conversation_already_has_active_response");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("resp_")), "{error}");
    stage.send(&json!({"type": "response.cancel", "response_id": "resp_other"}));
    stage.expect_error("response_cancel_not_active");
    stage.pass(30 * second()).clear().ask();
    assert_eq!(stage.order(), ["response.created", "rate_limits.updated"]);
}

#[test]
fn the_voice_stays_once_it_was_heard() {
    let voice =
        |voice: &str| json!({"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": voice}}}});
    let mut stage = Stage::webrtc(&realtime());
    stage.clear().send(&voice("cedar"));
    assert_eq!(stage.event("session.updated")["session"]["audio"]["output"]["voice"], "cedar");
    stage.type_text("Hello").ask().pass(30 * second()).clear().send(&voice("alloy"));
    stage.expect_error("cannot_update_voice");
    stage.send(&voice("cedar"));
    assert_eq!(stage.order(), ["session.updated"], "the same voice is no change");
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let mut stage = Stage::webrtc(&json!({"type": "realtime", "instructions": "Be kind."}));
    let audio = json!({"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}});
    stage.clear().send(&json!({"type": "session.update", "session": {"type": "realtime", "audio": audio}}));
    let session = &stage.event("session.updated")["session"];
    assert_eq!(session["instructions"], "Be kind.");
    assert_eq!(session["audio"]["input"]["turn_detection"]["silence_duration_ms"], 900);
    assert_eq!(session["audio"]["input"]["turn_detection"]["threshold"], 0.5);
    assert_eq!(session["audio"]["output"]["voice"], "marin");
    // A bad field undoes the good ones beside it.
    let bad = json!({"type": "realtime", "instructions": "Be rude.", "tool_choice": "maybe"});
    stage.clear().send(&json!({"type": "session.update", "session": bad}));
    stage.expect_error("invalid_value");
    stage.send(&json!({"type": "session.update", "session": realtime()}));
    assert_eq!(stage.event("session.updated")["session"]["instructions"], "Be kind.");
}

#[test]
fn only_spoken_answers_can_be_truncated_and_only_to_shorter_ones() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").ask().pass(30 * second());
    let (user, assistant) = (
        stage.event("conversation.item.done")["item"]["id"].clone(),
        stage.event("response.output_item.done")["item"]["id"].clone(),
    );
    let truncate =
        |id, end| json!({"type": "conversation.item.truncate", "item_id": id, "content_index": 0, "audio_end_ms": end});
    stage.clear().send(&truncate(&user, 10));
    stage.expect_error("invalid_value");
    stage.send(&truncate(&assistant, 3_600_000));
    stage.expect_error("invalid_value");
    stage.send(&truncate(&assistant, 500));
    assert_eq!(stage.event("conversation.item.truncated")["audio_end_ms"], 500);
    stage.send(&json!({"type": "conversation.item.retrieve", "item_id": assistant}));
    assert_eq!(stage.event("conversation.item.retrieved")["item"]["content"][0]["transcript"], "");
}
