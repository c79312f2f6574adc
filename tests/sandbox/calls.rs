//! WebRTC calls over HTTP: offers, forms, hang-ups.

use serde_json::json;

use crate::client::{KEY, OFFER, Sandbox, expect_refusal};

const CALLS: &str = "/v1/realtime/calls";

fn form(sandbox: &Sandbox, key: &str, kind: &str, body: impl AsRef<[u8]>) -> crate::support::Answer {
    sandbox.ask("POST", CALLS, &format!("Authorization: Bearer {key}\r\nContent-Type: {kind}\r\n"), body)
}

fn parts(parts: &[(&str, &str)]) -> String {
    let part = |(name, content): &(&str, &str)| {
        format!("--frontier\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--frontier--\r\n"
}

const FORM: &str = "multipart/form-data; boundary=frontier";

#[test]
fn an_offer_is_answered() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    for (path, key) in [(CALLS, secret.as_str()), (CALLS, KEY), ("/v1/realtime/calls?model=gpt-realtime-2.1&dcid=7", KEY)] {
        let answer = sandbox.offer(path, key, OFFER);
        assert_eq!(answer.expect(201).header("content-type"), Some("application/sdp"), "{answer}");
        let location = answer.header("location").expect("a location");
        assert!(location.starts_with("/v1/realtime/calls/rtc_"), "{location}");
        let sdp = answer.text();
        for line in ["m=audio", "m=application", "a=candidate:", "a=fingerprint:sha-256", "127.0.0.1"] {
            assert!(sdp.contains(line), "{line}: {sdp}");
        }
        assert!(sdp.contains("a=setup:passive") || sdp.contains("a=setup:active"), "{sdp}");
    }
}

#[test]
fn a_server_sends_the_session_along() {
    let sandbox = Sandbox::start();
    let session = r#"{"type":"realtime","model":"gpt-realtime-2.1","audio":{"output":{"voice":"cedar"}}}"#;
    form(&sandbox, KEY, FORM, parts(&[("sdp", OFFER), ("session", session)])).expect(201);
    form(&sandbox, KEY, FORM, parts(&[("session", session), ("sdp", OFFER)])).expect(201);
    form(&sandbox, KEY, FORM, parts(&[("sdp", OFFER)])).expect(201);
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    expect_refusal(&form(&sandbox, &secret, FORM, parts(&[("sdp", OFFER), ("session", session)])), 400, "invalid_request");
}

#[test]
fn forms_that_are_broken() {
    let sandbox = Sandbox::start();
    let bad = r#"{"type":"realtime","voice":"x"}"#;
    let broken = "invalid_multipart_form_data";
    for (kind, body, code) in [
        ("multipart/form-data", parts(&[("sdp", OFFER)]), broken),
        (FORM, String::new(), broken),
        (FORM, "rubbish".into(), broken),
        (FORM, parts(&[("sdp", OFFER)]).replace("--frontier--", ""), broken),
        (FORM, parts(&[("sdp", OFFER), ("sdp", OFFER)]), broken),
        (FORM, parts(&[("session", "{}")]), "missing_required_parameter"),
        (FORM, parts(&[("sdp", OFFER), ("file", "x")]), "unknown_parameter"),
        (FORM, parts(&[("sdp", OFFER), ("session", "{")]), "invalid_json"),
        (FORM, parts(&[("sdp", OFFER), ("session", bad)]), "unknown_parameter"),
        (FORM, parts(&[("sdp", "v=0")]), "invalid_offer"),
    ] {
        expect_refusal(&form(&sandbox, KEY, kind, &body), 400, code);
    }
    let large = parts(&[("sdp", &"x".repeat(70_000))]);
    expect_refusal(&form(&sandbox, KEY, FORM, large), 413, "request_too_large");
}

#[test]
fn offers_that_are_none() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    for offer in
        ["", " ", "v=0", "garbage", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", &OFFER.replace("opus", "speex")[..400]]
    {
        expect_refusal(&sandbox.offer(CALLS, &secret, offer), 400, "invalid_offer");
    }
    let binary = sandbox.ask(
        "POST",
        CALLS,
        &format!("Authorization: Bearer {secret}\r\nContent-Type: application/sdp\r\n"),
        [0xff, 0xfe, 0],
    );
    expect_refusal(&binary, 400, "invalid_offer");
    let json = sandbox.post(CALLS, &secret, &json!({"sdp": OFFER}));
    expect_refusal(&json, 415, "unsupported_content_type");
    expect_refusal(&sandbox.offer(CALLS, &secret, &"x".repeat(70_000)), 413, "request_too_large");
    for dcid in ["x", "-1", "65535", "99999"] {
        expect_refusal(&sandbox.offer(&format!("{CALLS}?dcid={dcid}"), &secret, OFFER), 400, "invalid_value");
    }
    for key in ["ek_unknown", "wrong"] {
        expect_refusal(&sandbox.offer(CALLS, key, OFFER), 401, "invalid_api_key");
    }
    let translation = json!({"session": {"model": "gpt-realtime-translate"}});
    let minted = sandbox.post("/v1/realtime/translations/client_secrets", KEY, &translation).expect(200).json();
    expect_refusal(&sandbox.offer(CALLS, minted["value"].as_str().expect("a secret"), OFFER), 400, "not_simulated");
}

#[test]
fn a_server_hangs_up() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    let id = sandbox.call(&secret);
    let path = format!("{CALLS}/{id}/hangup");
    let hang_up = |key: &str, path: &str| sandbox.ask("POST", path, &format!("Authorization: Bearer {key}\r\n"), "");
    expect_refusal(&hang_up(&secret, &path), 401, "invalid_api_key");
    hang_up(KEY, &path).expect(200);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        hang_up(KEY, &path).status == 404
    });
    assert!(gone, "a call that was hung up is forgotten");
    expect_refusal(&hang_up(KEY, &path), 404, "call_not_found");
    expect_refusal(&hang_up(KEY, "/v1/realtime/calls/rtc_none/hangup"), 404, "call_not_found");
}
