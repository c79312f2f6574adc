//! Client secrets, models, paths that are gone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{KEY, OFFER, Sandbox, expect_refusal};
use crate::support::now;

const MINT: &str = "/v1/realtime/client_secrets";

#[test]
fn a_client_secret_with_its_session() {
    let sandbox = Sandbox::start();
    let session = json!({"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Be kind.", "audio": {"output": {"voice": "cedar"}}});
    let asked = json!({"expires_after": {"anchor": "created_at", "seconds": 100}, "session": session});
    let answer = sandbox.post(MINT, KEY, &asked);
    let minted = answer.expect(200).json();
    let value = minted["value"].as_str().expect("a secret");
    assert!(value.len() == 35 && value.starts_with("ek_") && value[3..].bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
    let lives = minted["expires_at"].as_i64().expect("a time") - now();
    assert!((98..=100).contains(&lives), "{lives}");
    for (pointer, expected) in [
        ("/type", json!("realtime")),
        ("/object", json!("realtime.session")),
        ("/expires_at", json!(0)),
        ("/instructions", json!("Be kind.")),
        ("/audio/output/voice", json!("cedar")),
        ("/audio/input/turn_detection/type", json!("server_vad")),
    ] {
        assert_eq!(minted["session"].pointer(pointer), Some(&expected), "{pointer}: {answer}");
    }
    assert!(minted["session"]["id"].as_str().is_some_and(|id| id.starts_with("sess_")), "{answer}");
    assert!(answer.header("openai-version").is_some() && answer.header("openai-processing-ms").is_some(), "{answer}");
    for body in ["", "{}"] {
        let answer = sandbox.ask("POST", MINT, "Authorization: Bearer sk-x\r\n", body);
        assert_eq!(answer.expect(200).json()["session"]["type"], "realtime");
    }
    let transcription = sandbox.post(MINT, KEY, &json!({"session": {"type": "transcription"}}));
    assert_eq!(transcription.expect(200).json()["session"]["object"], "realtime.transcription_session");
    let translation = json!({"session": {"model": "gpt-realtime-translate", "audio": {"output": {"language": "fr"}}}});
    let translation = sandbox.post("/v1/realtime/translations/client_secrets", KEY, &translation);
    assert_eq!(translation.expect(200).json()["session"]["type"], "translation");
    assert!(!sandbox.running.stdout().contains("ek_"), "no secret is printed");
}

#[test]
fn what_is_wrong_is_named() {
    let sandbox = Sandbox::start();
    let session = |session: Value| json!({"session": session});
    let realtime = |field: &str, value: Value| json!({"session": {"type": "realtime", field: value}});
    let seconds = |value: Value| json!({"expires_after": {"anchor": "created_at", "seconds": value}});
    for (body, code, param) in [
        (json!([]), "invalid_type", ""),
        (json!({"client_secret": {}}), "unknown_parameter", "client_secret"),
        (seconds(json!(9)), "integer_below_min_value", "expires_after.seconds"),
        (seconds(json!(7201)), "integer_above_max_value", "expires_after.seconds"),
        (seconds(json!("60")), "invalid_type", "expires_after.seconds"),
        (seconds(json!(60.5)), "invalid_type", "expires_after.seconds"),
        (json!({"expires_after": {"anchor": "now"}}), "invalid_value", "expires_after.anchor"),
        (json!({"expires_after": {"at": 1}}), "unknown_parameter", "expires_after.at"),
        (session(json!({})), "missing_required_parameter", "session.type"),
        (session(json!({"type": "other"})), "invalid_value", "session.type"),
        (session(json!("realtime")), "invalid_type", "session"),
        (realtime("voice", json!("marin")), "unknown_parameter", "session.voice"),
        (realtime("model", json!(7)), "invalid_type", "session.model"),
        (realtime("output_modalities", json!(["text", "audio"])), "invalid_value", "session.output_modalities"),
        (realtime("max_output_tokens", json!(5000)), "integer_above_max_value", "session.max_output_tokens"),
        (realtime("tool_choice", json!("perhaps")), "invalid_value", "session.tool_choice"),
        (realtime("tools", json!([{"type": "robot"}])), "invalid_value", "session.tools[0].type"),
        (realtime("audio", json!({"output": {"speed": 0.1}})), "decimal_below_min_value", "session.audio.output.speed"),
        (realtime("audio", json!({"output": {"voice": "bob"}})), "invalid_value", "session.audio.output.voice"),
        (
            realtime("audio", json!({"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}})),
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            realtime("audio", json!({"input": {"format": {"type": "audio/pcm", "rate": 8000}}})),
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
    ] {
        let error = expect_refusal(&sandbox.post(MINT, KEY, &body), 400, code);
        assert_eq!((&error["param"], &error["type"]), (&json!(param), &json!("invalid_request_error")), "{body}");
    }
    for body in ["{", "nonsense", "{\"session\":", "\u{feff}{}"] {
        let answer = sandbox.ask("POST", MINT, "Authorization: Bearer sk-x\r\n", body);
        expect_refusal(&answer, 400, "invalid_json");
    }
    let typed = json!({"session": {"type": "translation", "model": "m"}});
    expect_refusal(&sandbox.post("/v1/realtime/translations/client_secrets", KEY, &typed), 400, "unknown_parameter");
    let huge = vec![b' '; 1024 * 1024];
    let answer = sandbox.ask("POST", MINT, "Authorization: Bearer sk-x\r\n", huge);
    expect_refusal(&answer, 413, "request_too_large");
}

#[test]
fn who_may_mint() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    for (authorization, code) in [
        ("", ""),
        ("Authorization: Bearer \r\n", ""),
        ("Authorization: Basic sk-any\r\n", ""),
        ("Authorization: Bearer sk-\r\n", "invalid_api_key"),
        ("Authorization: Bearer other\r\n", "invalid_api_key"),
        ("Authorization: Bearer ek_00000000000000000000000000000000\r\n", "invalid_api_key"),
        (format!("Authorization: Bearer {secret}\r\n").as_str(), "invalid_api_key"),
    ] {
        let answer = sandbox.ask("POST", MINT, authorization, "{}");
        expect_refusal(&answer, 401, code);
        assert!(!answer.text().contains(&secret), "{answer}");
    }
}

#[test]
fn a_secret_opens_sessions_until_it_expires() {
    let sandbox = Sandbox::start();
    let asked = json!({"expires_after": {"anchor": "created_at", "seconds": 10}});
    let minted = sandbox.post(MINT, KEY, &asked).expect(200).json();
    let secret = minted["value"].as_str().expect("a secret");
    for _ in 0..2 {
        sandbox.offer("/v1/realtime/calls", secret, OFFER).expect(201);
    }
    let mut session = sandbox.connect("/v1/realtime", &[("authorization", &format!("Bearer {secret}"))]).expect("a session");
    std::thread::sleep(Duration::from_secs(11));
    expect_refusal(&sandbox.offer("/v1/realtime/calls", secret, OFFER), 401, "token_expired");
    let refused = sandbox.connect("/v1/realtime", &[("authorization", &format!("Bearer {secret}"))]);
    assert_eq!(refused.err().map(|(status, body)| (status, body["error"]["code"].clone())), Some((401, json!("token_expired"))));
    session.type_text("What is open stays open.");
    session.until("conversation.item.done");
}

#[test]
fn models() {
    let sandbox = Sandbox::start();
    let list = sandbox.get("/v1/models", KEY).expect(200).json();
    assert_eq!(list["object"], "list");
    for model in list["data"].as_array().expect("a list") {
        let id = model["id"].as_str().expect("an id");
        assert_eq!(&sandbox.get(&format!("/v1/models/{id}"), KEY).expect(200).json(), model);
    }
    expect_refusal(&sandbox.get("/v1/models/gpt-none", KEY), 404, "model_not_found");
    expect_refusal(&sandbox.get("/v1/models", "wrong"), 401, "invalid_api_key");
}

#[test]
fn what_is_gone_and_what_never_was() {
    let sandbox = Sandbox::start();
    for path in ["/v1/realtime/sessions", "/v1/realtime/transcription_sessions", "/v1/realtime?model=gpt-realtime"] {
        expect_refusal(&sandbox.post(path, KEY, &json!({})), 400, "beta_api_shape_disabled");
    }
    let beta = "Authorization: Bearer sk-x\r\nOpenAI-Beta: realtime=v1\r\n";
    for path in [MINT, "/v1/realtime/calls"] {
        expect_refusal(&sandbox.ask("POST", path, beta, "{}"), 400, "beta_api_shape_disabled");
    }
    expect_refusal(&sandbox.post("/v1/chat/completions", KEY, &json!({})), 404, "");
    expect_refusal(&sandbox.get(MINT, KEY), 405, "");
    expect_refusal(&sandbox.post("/v1/models", KEY, &json!({})), 405, "");
}
