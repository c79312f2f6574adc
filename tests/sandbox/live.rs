//! Sessions of the Live API.

use serde_json::{Value, json};

use crate::client::{End, KEY, OFFER, Sandbox, expect_refusal};

const LIVE: &str = "/v1/live/sessions";

fn asked() -> Value {
    json!({"session": {"model": "gpt-live-1", "instructions": "Be kind."}, "transport": {"type": "webrtc", "sdp": OFFER}})
}

#[test]
fn a_live_session_from_offer_to_hang_up() {
    let sandbox = Sandbox::start();
    let created = sandbox.post(LIVE, KEY, &asked()).expect(201).json();
    assert!(created["transport"]["sdp"].as_str().is_some_and(|sdp| sdp.contains("m=audio")), "{created}");
    assert_eq!(created["transport"]["type"], "webrtc");
    let id = created["session"]["id"].as_str().expect("an id");
    assert!(id.starts_with("live_"), "{id}");
    let mut sideband =
        sandbox.connect(&format!("{LIVE}/{id}/attach"), &[("authorization", "Bearer sk-any")]).expect("a sideband");
    let started = sideband.next().expect("an event");
    assert_eq!((&started["type"], &started["session"]["id"]), (&json!("session.started"), &json!(id)));
    assert!(started["session"]["expires_at"].as_u64() > Some(1_700_000_000), "{started}");
    sandbox.ask("POST", &format!("{LIVE}/{id}/hangup"), "Authorization: Bearer sk-any\r\n", "").expect(200);
    let (events, end) = sideband.finish();
    let closed = &events[0];
    assert_eq!((&closed["type"], &closed["reason"]), (&json!("session.closed"), &json!("close_requested")));
    assert!(closed["usage"]["seconds"].as_f64() >= Some(15.0), "{closed}");
    assert_eq!(end, End::Closed(1000));
}

#[test]
fn what_is_refused() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    expect_refusal(&sandbox.post(LIVE, &secret, &asked()), 401, "invalid_api_key");
    let with = |pointer: &str, value: Value| {
        let mut body = asked();
        *body.pointer_mut(pointer).expect("a place") = value;
        body
    };
    for (body, code) in [
        (json!({}), "missing_required_parameter"),
        (with("/session", json!({})), "missing_required_parameter"),
        (with("/session", json!({"model": "m", "type": "live"})), "unknown_parameter"),
        (with("/session", json!({"model": "m", "tools": []})), "unknown_parameter"),
        (with("/transport", json!({"type": "sip"})), "invalid_value"),
        (with("/transport", json!({"type": "webrtc"})), "missing_required_parameter"),
        (with("/transport/sdp", json!("garbage")), "invalid_offer"),
    ] {
        expect_refusal(&sandbox.post(LIVE, KEY, &body), 400, code);
    }
    let hang_up = sandbox.ask("POST", &format!("{LIVE}/live_none/hangup"), "Authorization: Bearer sk-any\r\n", "");
    expect_refusal(&hang_up, 404, "call_not_found");
}
