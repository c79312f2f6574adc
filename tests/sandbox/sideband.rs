//! Sidebands: a server listens to a call and takes part in it.

use serde_json::json;

use crate::client::{End, KEY, Sandbox};

const BEARER: (&str, &str) = ("authorization", "Bearer sk-any");

#[test]
fn a_sideband_hears_the_call_and_may_speak() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime", "instructions": "Be kind."}));
    let id = sandbox.call(&secret);
    let path = format!("/v1/realtime?call_id={id}");
    let (mut one, mut other) =
        (sandbox.connect(&path, &[BEARER]).expect("one"), sandbox.connect(&path, &[BEARER]).expect("another"));
    for sideband in [&mut one, &mut other] {
        assert_eq!(sideband.wait_for("session.created")["session"]["instructions"], "Be kind.");
    }
    one.send(&json!({"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}));
    for sideband in [&mut one, &mut other] {
        assert_eq!(sideband.wait_for("session.updated")["session"]["instructions"], "Be brief.");
    }
    other.type_text("Hello");
    one.until("conversation.item.done");
    one.ask();
    for sideband in [&mut one, &mut other] {
        let done = sideband.wait_for("response.done");
        assert_eq!(done["response"]["status"], "completed", "{done}");
        assert!(done["response"]["usage"]["total_tokens"].as_u64() > Some(0), "{done}");
    }
    sandbox.ask("POST", &format!("/v1/realtime/calls/{id}/hangup"), "Authorization: Bearer sk-any\r\n", "").expect(200);
    for sideband in [&mut one, &mut other] {
        assert_eq!(sideband.finish().1, End::Closed(1000), "the call's end is the sideband's");
    }
}

#[test]
fn who_may_listen() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    let id = sandbox.call(&secret);
    let attempt = |id: &str, key: &str| {
        let bearer = format!("Bearer {key}");
        sandbox.connect(&format!("/v1/realtime?call_id={id}"), &[("authorization", &bearer)]).err().map(|(status, _)| status)
    };
    for (id, key, status) in
        [(id.as_str(), secret.as_str(), Some(401)), (&id, "wrong", Some(401)), ("rtc_none", KEY, Some(404)), (&id, KEY, None)]
    {
        assert_eq!(attempt(id, key), status, "{id} {key}");
    }
}

#[test]
fn sidebands_come_and_go_and_their_number_is_bounded() {
    let sandbox = Sandbox::start();
    let id = sandbox.call(KEY);
    let path = format!("/v1/realtime?call_id={id}");
    for _ in 0..20 {
        let mut passing = sandbox.connect(&path, &[BEARER]).expect("a sideband");
        let _ = passing.next();
    }
    let mut sidebands: Vec<_> = (0..9).map(|_| sandbox.connect(&path, &[BEARER]).expect("a sideband")).collect();
    let welcomed = sidebands.iter_mut().filter_map(|sideband| sideband.next().ok()).count();
    assert!((1..=8).contains(&welcomed), "{welcomed}");
}
