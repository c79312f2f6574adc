//! Behaviour by name.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{End, KEY, OFFER, Sandbox, expect_refusal};

const MINT: &str = "/v1/realtime/client_secrets";
const CALLS: &str = "/v1/realtime/calls";

#[test]
fn failures_come_wherever_they_are_asked_for() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    for (name, status, code, kind) in [
        ("rate_limited", 429, "rate_limit_exceeded", "requests"),
        ("quota_exhausted", 429, "insufficient_quota", "insufficient_quota"),
        ("server_error", 500, "server_error", "server_error"),
    ] {
        let header = format!("Authorization: Bearer sk-x\r\nx-sandbox-scenario: {name}\r\n");
        let answers = [
            sandbox.post(&format!("{MINT}?scenario={name}"), KEY, &json!({})),
            sandbox.ask("POST", MINT, &header, "{}"),
            sandbox.post(&format!("/scenarios/{name}{MINT}"), KEY, &json!({})),
            sandbox.offer(&format!("{CALLS}?scenario={name}"), &secret, OFFER),
            sandbox.offer(&format!("/scenarios/{name}{CALLS}"), &secret, OFFER),
        ];
        for answer in &answers {
            assert_eq!(expect_refusal(answer, status, code)["type"], kind);
            let retry = (name == "rate_limited").then_some("1");
            assert_eq!(answer.header("retry-after"), retry, "{answer}");
        }
        let socket = sandbox.connect(&format!("/scenarios/{name}/v1/realtime?model=m"), &[("authorization", "Bearer sk-x")]);
        assert_eq!(socket.err().map(|(status, body)| (status, body["error"]["code"].clone())), Some((status, json!(code))));
        assert_eq!(sandbox.get(&format!("/scenarios/{name}/v1/models"), KEY).status, 200, "models are never affected");
    }
    sandbox.offer(CALLS, &secret, OFFER).expect(201);
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let sandbox = Sandbox::start();
    for path in [format!("{MINT}?scenario=strange"), format!("/scenarios/strange{MINT}")] {
        let error = expect_refusal(&sandbox.post(&path, KEY, &json!({})), 400, "unknown_scenario");
        let message = error["message"].as_str().expect("a message");
        for name in ["happy", "slow", "rate_limited", "quota_exhausted", "server_error", "drops_mid_call", "hangs_up", "echo"] {
            assert!(message.contains(name), "{message}");
        }
    }
}

#[test]
fn slow() {
    let sandbox = Sandbox::start();
    let begun = Instant::now();
    let minted = sandbox.post(&format!("/scenarios/slow{MINT}"), KEY, &json!({})).expect(200).json();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let bearer = format!("Bearer {}", minted["value"].as_str().expect("a secret"));
    let mut session = sandbox.connect("/v1/realtime", &[("authorization", &bearer)]).expect("a session");
    assert!(begun.elapsed() >= Duration::from_secs(2), "the secret remembers: {:?}", begun.elapsed());
    session.type_text("Hello");
    session.ask();
    session.until("response.created");
    let begun = Instant::now();
    session.until("response.output_audio_transcript.delta");
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let mut happy = sandbox.connect("/v1/realtime?scenario=happy", &[("authorization", &bearer)]).expect("a session");
    happy.until("session.created");
    assert!(begun.elapsed() < Duration::from_secs(2), "the request's own scenario counts more: {:?}", begun.elapsed());
}

fn conversation(scenario: &str) -> (Vec<Value>, End) {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session(&format!("model=m&scenario={scenario}"));
    session.type_text("Hello");
    session.ask();
    session.finish()
}

#[test]
fn drops_mid_call() {
    let begun = Instant::now();
    let (events, end) = conversation("drops_mid_call");
    assert_eq!(end, End::Cut, "without a goodbye");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let has = |kind: &str| events.iter().any(|event| event["type"] == kind);
    assert!(has("response.output_audio.delta") && !has("response.done"), "{:#?}", events.last());
}

#[test]
fn hangs_up() {
    let (events, end) = conversation("hangs_up");
    assert_eq!(end, End::Closed(1000));
    assert_eq!(events.last().map(|event| event["response"]["status"].clone()), Some(json!("completed")));
}

#[test]
fn a_base_url_chooses_for_calls_too() {
    let sandbox = Sandbox::start();
    let minted = sandbox.post(&format!("/scenarios/hangs_up{MINT}"), KEY, &json!({})).expect(200).json();
    let id = sandbox.call(minted["value"].as_str().expect("a secret"));
    let mut sideband = sandbox
        .connect(&format!("/scenarios/hangs_up/v1/realtime?call_id={id}"), &[("authorization", "Bearer sk-x")])
        .expect("a sideband");
    sideband.until("session.created");
    sideband.type_text("Hello");
    sideband.ask();
    let (events, end) = sideband.finish();
    assert_eq!(end, End::Closed(1000));
    assert!(events.iter().any(|event| event["type"] == "output_audio_buffer.stopped"), "{:#?}", events.last());
}
