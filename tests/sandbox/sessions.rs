//! Sessions over WebSocket.

use serde_json::{Value, json};
use tungstenite::Message;

use crate::client::{End, KEY, Sandbox};

#[test]
fn how_a_session_is_opened() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime", "instructions": "Be kind."}));
    let protocols = format!("realtime, openai-insecure-api-key.{secret}, openai-agents-sdk.0.20.0");
    let mut browser =
        sandbox.connect("/v1/realtime?model=gpt-realtime-2.1", &[("sec-websocket-protocol", &protocols)]).expect("a session");
    assert_eq!(browser.protocol.as_deref(), Some("realtime"), "a browser fails a socket that selects none");
    let created = browser.next().expect("an event");
    assert_eq!((&created["type"], &created["session"]["instructions"]), (&json!("session.created"), &json!("Be kind.")));
    let bearer = format!("Bearer {secret}");
    let mut native = sandbox.connect("/v1/realtime", &[("authorization", &bearer)]).expect("a session");
    assert_eq!(native.protocol, None, "none was offered");
    native.until("session.created");
    let mut server =
        sandbox.connect("/v1/realtime?model=gpt-realtime-2", &[("authorization", "Bearer sk-any")]).expect("a session");
    assert_eq!(server.wait_for("session.created")["session"]["model"], "gpt-realtime-2");
    let transcription = "/v1/realtime?intent=transcription";
    let mut transcription = sandbox.connect(transcription, &[("authorization", "Bearer sk-any")]).expect("a session");
    assert_eq!(transcription.wait_for("session.created")["session"]["type"], "transcription");
}

#[test]
fn how_it_is_not() {
    let sandbox = Sandbox::start();
    let code = |path: &str, headers: &[(&str, &str)]| {
        sandbox
            .connect(path, headers)
            .err()
            .map(|(status, body)| (status, body["error"]["code"].as_str().unwrap_or_default().to_owned()))
    };
    let key = ("authorization", "Bearer sk-any");
    let expect = |status: u16, code: &str| Some((status, code.to_owned()));
    assert_eq!(code("/v1/realtime?model=m", &[]), expect(401, ""));
    assert_eq!(code("/v1/realtime?model=m", &[("authorization", "Bearer ek_unknown")]), expect(401, "invalid_api_key"));
    let unknown = "realtime, openai-insecure-api-key.ek_unknown";
    assert_eq!(code("/v1/realtime?model=m", &[("sec-websocket-protocol", unknown)]), expect(401, "invalid_api_key"));
    assert_eq!(code("/v1/realtime", &[key]), expect(400, "missing_model"));
    assert_eq!(code("/v1/realtime?model=m&scenario=strange", &[key]), expect(400, "unknown_scenario"));
    assert_eq!(sandbox.get("/v1/realtime?model=m", KEY).status, 400, "a plain GET");
    let mut beta = sandbox.connect("/v1/realtime?model=m", &[key, ("openai-beta", "realtime=v1")]).expect("a socket");
    let (events, end) = beta.finish();
    assert_eq!((&events[0]["error"]["code"], end), (&json!("beta_api_shape_disabled"), End::Closed(4000)));
}

#[test]
fn a_spoken_conversation() {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session("model=gpt-realtime-2.1");
    let transcription = json!({"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}});
    session.send(&json!({"type": "session.update", "session": {"type": "realtime", "audio": transcription}}));
    session.until("session.updated");
    let append = |loud: bool| {
        let sample: [u8; 2] = if loud { 9000_i16.to_le_bytes() } else { [0, 0] };
        let samples: Vec<u8> = std::iter::repeat_n(sample, 24_000).flatten().collect();
        json!({"type": "input_audio_buffer.append", "audio": crate::client::base64(&samples)})
    };
    for loud in [false, true, false] {
        session.send(&append(loud));
    }
    let events = session.until("response.done");
    let all = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    for kind in [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_audio.done",
    ] {
        assert_eq!(all(kind).len(), 1, "{kind}");
    }
    assert!(all("response.output_audio.delta").len() > 3);
    let said: String = all("response.output_audio_transcript.delta").iter().filter_map(|event| event["delta"].as_str()).collect();
    let done: &Value = events.last().expect("the last");
    assert_eq!(done["response"]["output"][0]["content"][0]["transcript"], said.as_str());
    assert!(said.len() > 10, "{said}");
}

#[test]
fn bad_events_are_answered_and_the_session_lives() {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session("model=gpt-realtime-2.1");
    for (message, code) in [
        (Message::text("{"), "invalid_json"),
        (Message::text("[]"), "invalid_json"),
        (Message::binary(vec![0_u8, 1, 2]), "invalid_json"),
        (Message::text(r#"{"type":"no.such.event"}"#), "invalid_value"),
        (Message::text(r#"{"type":"response.cancel"}"#), "response_cancel_not_active"),
        (Message::text(r#"{"type":"conversation.item.delete","item_id":"item_x"}"#), "item_delete_invalid_item_id"),
        (Message::text(r#"{"type":"session.update","session":{"type":"realtime","model":"other"}}"#), "cannot_update_model"),
    ] {
        session.send_message(message);
        assert_eq!(session.wait_for("error")["error"]["code"], code);
    }
    session.type_text("Still there?");
    session.until("conversation.item.done");
}

#[test]
fn a_function_call_over_a_websocket() {
    let sandbox = Sandbox::start();
    let tool = json!({
        "type": "function", "name": "get_time",
        "parameters": {"type": "object", "required": ["zone"], "properties": {"zone": {"type": "string"}}},
    });
    let secret = sandbox.mint(&json!({"type": "realtime", "tools": [tool]}));
    let bearer = format!("Bearer {secret}");
    let mut session = sandbox.connect("/v1/realtime", &[("authorization", &bearer)]).expect("a session");
    session.type_text("What time is it?");
    session.ask();
    let call = session.wait_for("response.function_call_arguments.done");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().expect("text")).expect("JSON");
    assert!(arguments["zone"].is_string(), "{call}");
    session.until("response.done");
    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "noon"});
    session.send(&json!({"type": "conversation.item.create", "item": output}));
    session.ask();
    assert_eq!(session.wait_for("response.done")["response"]["output"][0]["type"], "message");
}
