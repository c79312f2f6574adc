//! Typed messages, responses and functions.

use super::{Duration, Stage, Value, json, realtime, second};

const SPOKEN: &[&str] = &[
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "output_audio_buffer.started",
    "play",
    "response.output_audio_transcript.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "output_audio_buffer.stopped",
];

#[test]
fn a_session_begins_with_its_settings_and_then_nothing() {
    let mut stage = Stage::webrtc(&json!({"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Be kind."}));
    assert_eq!(stage.log, ["session.created"]);
    let session = &stage.event("session.created")["session"];
    for (pointer, value) in [
        ("/object", json!("realtime.session")),
        ("/type", json!("realtime")),
        ("/instructions", json!("Be kind.")),
        ("/expires_at", json!(1_000 + 3600)),
        ("/audio/output/voice", json!("marin")),
        ("/audio/input/turn_detection/type", json!("server_vad")),
        ("/output_modalities/0", json!("audio")),
    ] {
        assert_eq!(session.pointer(pointer), Some(&value), "{pointer}");
    }
    stage.clear().pass(Duration::from_mins(10));
    assert!(stage.log.is_empty(), "the real API does not greet: {:?}", stage.log);
}

#[test]
fn a_typed_message_is_answered_aloud_in_the_order_of_the_real_api() {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear().type_text("Hello");
    assert_eq!(stage.log, ["conversation.item.added", "conversation.item.done"]);
    let item = &stage.event("conversation.item.done")["item"];
    assert_eq!((&item["object"], &item["status"], &item["role"]), (&json!("realtime.item"), &json!("completed"), &json!("user")));
    stage.clear().ask().pass(30 * second());
    assert_eq!(stage.order(), SPOKEN);
    let deltas: String =
        stage.all("response.output_audio_transcript.delta").iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(stage.event("response.output_audio_transcript.done")["transcript"], deltas.as_str());
    let done = &stage.event("response.done")["response"];
    assert_eq!((&done["status"], &done["output"][0]["content"][0]["transcript"]), (&json!("completed"), &json!(deltas)));
    assert_eq!(done["output"][0]["content"][0]["type"], "output_audio");
    assert!(done["conversation_id"].as_str().is_some_and(|id| id.starts_with("conv_")), "{done}");
}

#[test]
fn words_keep_pace_with_the_voice() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").clear().ask().pass(Duration::from_millis(240));
    assert_eq!(stage.log, ["response.created", "rate_limits.updated"], "a moment's thought");
    stage.pass(second());
    let early = stage.all("response.output_audio_transcript.delta").len();
    assert!(early > 0 && !stage.log.contains(&"response.done".to_owned()), "{:?}", stage.log);
    stage.pass(second());
    assert!(stage.all("response.output_audio_transcript.delta").len() > early);
}

#[test]
fn text_is_answered_in_text_when_that_is_wished() {
    let mut stage = Stage::webrtc(&json!({"type": "realtime", "output_modalities": ["text"]}));
    stage.type_text("Hello").clear().ask().pass(10 * second());
    assert_eq!(
        stage.order(),
        [
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
    );
    assert_eq!(stage.event("response.content_part.added")["part"]["type"], "text");
    let usage = &stage.event("response.done")["response"]["usage"];
    assert_eq!(usage["output_token_details"]["audio_tokens"], 0, "{usage}");
    assert!(usage["output_token_details"]["text_tokens"].as_u64() > Some(5), "{usage}");
}

#[test]
fn usage_adds_up_and_grows_with_the_conversation() {
    let mut stage = Stage::webrtc(&json!({"type": "realtime", "instructions": "x".repeat(1000)}));
    let mut inputs = Vec::new();
    for _ in 0..3 {
        stage.clear().type_text("Hello again").ask().pass(30 * second());
        let usage = stage.event("response.done")["response"]["usage"].clone();
        let number =
            |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {usage}"));
        assert_eq!(number("/total_tokens"), number("/input_tokens") + number("/output_tokens"));
        let (input, output) = ("/input_token_details", "/output_token_details");
        for (whole, parts) in [("/input_tokens", input), ("/output_tokens", output)] {
            assert_eq!(number(whole), number(&format!("{parts}/text_tokens")) + number(&format!("{parts}/audio_tokens")));
        }
        let cached = number(&format!("{input}/cached_tokens"));
        assert_eq!(
            cached,
            number(&format!("{input}/cached_tokens_details/text_tokens"))
                + number(&format!("{input}/cached_tokens_details/audio_tokens"))
        );
        assert!(cached <= number("/input_tokens"), "{usage}");
        assert!(number(&format!("{output}/audio_tokens")) > 20, "seconds of speech: {usage}");
        inputs.push((number("/input_tokens"), cached));
    }
    assert!(inputs[0].0 > 250 && inputs[0].1 == 0, "{inputs:?}");
    assert!(inputs.windows(2).all(|pair| pair[0].0 < pair[1].0) && inputs[2].1 > 0, "{inputs:?}");
}

fn with_tools(choice: &Value) -> Value {
    let weather = json!({
        "type": "function", "name": "get_weather", "description": "Weather",
        "parameters": {"type": "object", "required": ["city", "unit", "days"], "properties": {
            "city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}, "days": {"type": "integer", "minimum": 3},
            "optional": {"type": "string"},
        }},
    });
    let light = json!({"type": "function", "name": "switch_light", "parameters": {"type": "object", "properties": {}}});
    json!({"type": "realtime", "tools": [weather, light], "tool_choice": choice})
}

#[test]
fn a_function_is_called_with_arguments_that_fit_and_its_result_is_answered() {
    let mut stage = Stage::webrtc(&with_tools(&json!("auto")));
    stage.type_text("How is the weather?").clear().ask().pass(5 * second());
    assert_eq!(
        stage.order(),
        [
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
    );
    let done = stage.event("response.function_call_arguments.done");
    assert_eq!(done["name"], "get_weather");
    let arguments: Value = serde_json::from_str(done["arguments"].as_str().expect("text")).expect("JSON");
    assert_eq!(arguments, json!({"city": "example city", "unit": "c", "days": 3}));
    let pieces: String =
        stage.all("response.function_call_arguments.delta").iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(done["arguments"], pieces.as_str());
    let output = &stage.event("response.done")["response"]["output"][0];
    assert_eq!((&output["type"], &output["call_id"]), (&json!("function_call"), &done["call_id"]));
    let result = json!({"type": "function_call_output", "call_id": done["call_id"], "output": "{\"degrees\":21}"});
    stage.clear().send(&json!({"type": "conversation.item.create", "item": result})).clear().ask().pass(30 * second());
    assert_eq!(stage.order(), SPOKEN, "a result is answered in words");
}

#[test]
fn which_function_is_called_and_when() {
    for (choice, texts, called) in [
        (json!("none"), vec!["weather"], vec![None]),
        (json!("auto"), vec!["hello", "hello", "the light please"], vec![Some("get_weather"), None, Some("switch_light")]),
        (json!("required"), vec!["hello", "the light"], vec![Some("get_weather"), Some("switch_light")]),
        (json!({"type": "function", "name": "switch_light"}), vec!["weather"], vec![Some("switch_light")]),
    ] {
        let mut stage = Stage::webrtc(&with_tools(&choice));
        for (text, expected) in texts.iter().zip(called) {
            stage.clear().type_text(text).ask().pass(30 * second());
            let name = stage.all("response.function_call_arguments.done").first().and_then(|event| event["name"].as_str());
            assert_eq!(name, expected, "{choice} {text}");
        }
    }
}

#[test]
fn a_response_out_of_band_leaves_no_trace_in_the_conversation() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").clear();
    let response = json!({
        "conversation": "none", "metadata": {"topic": "summary"}, "output_modalities": ["text"],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Summarize."}]}],
    });
    stage.send(&json!({"type": "response.create", "response": response})).pass(10 * second());
    assert!(stage.all("conversation.item.added").is_empty() && stage.all("conversation.item.done").is_empty());
    let done = &stage.event("response.done")["response"];
    assert_eq!((&done["conversation_id"], &done["metadata"]["topic"]), (&Value::Null, &json!("summary")), "{done}");
}

#[test]
fn max_output_tokens_cuts_a_response_short() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").clear();
    stage.send(&json!({"type": "response.create", "response": {"max_output_tokens": 20}})).pass(30 * second());
    let done = &stage.event("response.done")["response"];
    assert_eq!(
        (&done["status"], &done["status_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens")),
        "{done}"
    );
    assert_eq!(done["usage"]["output_token_details"]["audio_tokens"], 20, "{done}");
}

#[test]
fn items_can_be_put_anywhere_shown_and_removed() {
    let mut stage = Stage::webrtc(&realtime());
    let item = |id: &str| json!({"id": id, "type": "message", "role": "system", "content": [{"type": "input_text", "text": id}]});
    let create =
        |id: &str, after: Value| json!({"type": "conversation.item.create", "item": item(id), "previous_item_id": after});
    for (id, after, previous) in [
        ("a", Value::Null, Value::Null),
        ("b", Value::Null, json!("a")),
        ("c", json!("root"), Value::Null),
        ("d", json!("a"), json!("a")),
        ("e", Value::Null, json!("b")),
    ] {
        stage.clear().send(&create(id, after));
        assert_eq!(stage.event("conversation.item.added")["previous_item_id"], previous, "{id}");
    }
    stage.clear().send(&json!({"type": "conversation.item.retrieve", "item_id": "d"}));
    assert_eq!(stage.event("conversation.item.retrieved")["item"]["content"][0]["text"], "d");
    stage.clear().send(&json!({"type": "conversation.item.delete", "item_id": "d"}));
    assert_eq!(stage.event("conversation.item.deleted")["item_id"], "d");
    stage.clear().send(&json!({"type": "conversation.item.retrieve", "item_id": "d"}));
    stage.expect_error("item_retrieve_invalid_item_id");
}
