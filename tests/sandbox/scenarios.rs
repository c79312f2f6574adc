//! Behaviour by name.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{End, KEY, OFFER, Sandbox, Socket, base64, expect_refusal, from_base64};

const MINT: &str = "/v1/realtime/client_secrets";
const CALLS: &str = "/v1/realtime/calls";
const BEARER: (&str, &str) = ("authorization", "Bearer sk-x");

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
            sandbox.ask(
                "POST",
                CALLS,
                &header.replace("sk-x", &secret).replace("x-sandbox", "Content-Type: application/sdp\r\nx-sandbox"),
                OFFER,
            ),
            sandbox.offer(&format!("/scenarios/{name}{CALLS}"), &secret, OFFER),
        ];
        for answer in &answers {
            assert_eq!(expect_refusal(answer, status, code)["type"], kind);
            let retry = (name == "rate_limited").then_some("1");
            assert_eq!(answer.header("retry-after"), retry, "{answer}");
        }
        for (path, headers) in [
            (format!("/scenarios/{name}/v1/realtime?model=m"), &[BEARER][..]),
            (format!("/v1/realtime?model=m&scenario={name}"), &[BEARER]),
            ("/v1/realtime?model=m".into(), &[BEARER, ("x-sandbox-scenario", name)]),
        ] {
            let socket = sandbox.connect(&path, headers);
            assert_eq!(socket.err().map(|(status, body)| (status, body["error"]["code"].clone())), Some((status, json!(code))));
        }
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
        for name in
            ["happy", "slow", "rate_limited", "quota_exhausted", "server_error", "drops_mid_call", "hangs_up", "echo", "expires"]
        {
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

/// Everything that was said, in the order of its events.
fn said(events: &[Value]) -> String {
    let deltas = events.iter().filter(|event| event["type"] == "response.output_audio_transcript.delta");
    deltas.filter_map(|event| event["delta"].as_str()).collect()
}

fn has(events: &[Value], kind: &str) -> bool {
    events.iter().any(|event| event["type"] == kind)
}

const LONG: &str = "Interrupt me whenever you like. I count slowly. One, two, three, four, five, six, seven, eight, nine, ten.";
const GOODBYE: &str = "Thank you for trying the simulation. Goodbye!";

/// A response that is asked for at once, or after a typed question.
fn conversation(scenario: &str, asks: bool) -> (Vec<Value>, End) {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session(&format!("model=m&scenario={scenario}"));
    if asks {
        session.type_text("Hello");
    }
    session.ask();
    session.finish()
}

#[test]
fn drops_mid_call() {
    for asks in [false, true] {
        let begun = Instant::now();
        let (events, end) = conversation("drops_mid_call", asks);
        assert_eq!(end, End::Cut, "without a goodbye");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert!(has(&events, "response.output_audio.delta") && !has(&events, "response.done"), "{:#?}", events.last());
        let said = said(&events);
        assert!(said.starts_with("Interrupt me whenever you like. "), "{asks}: {said}");
        assert!(LONG.starts_with(&said) && said.len() < LONG.len(), "{asks}: {said}");
    }
}

#[test]
fn hangs_up() {
    for asks in [false, true] {
        let (events, end) = conversation("hangs_up", asks);
        assert_eq!(end, End::Closed(1000));
        assert_eq!(events.last().map(|event| event["response"]["status"].clone()), Some(json!("completed")));
        assert_eq!(said(&events), GOODBYE, "{asks}");
    }
}

#[test]
fn expires() {
    let sandbox = Sandbox::start();
    let begun = Instant::now();
    let mut session = sandbox.connect("/v1/realtime?model=m&scenario=expires", &[BEARER]).expect("a session");
    let created = session.wait_for("session.created");
    let call = sandbox.offer(&format!("{CALLS}?scenario=expires"), KEY, OFFER);
    let id = call.expect(201).header("location").and_then(|location| location.rsplit('/').next()).expect("a call").to_owned();
    let mut call = sandbox.connect(&format!("/v1/realtime?call_id={id}"), &[BEARER]).expect("a sideband");
    session.ask();
    session.until("response.done");
    assert!(begun.elapsed() < Duration::from_secs(10), "there is time for an answer: {:?}", begun.elapsed());
    for (name, (events, end)) in [("session", session.finish()), ("call", call.finish())] {
        assert_eq!(end, End::Closed(1000), "{name}");
        let error = &events.last().expect("an error")["error"];
        assert_eq!(error["code"], "session_expired", "{name}");
        assert_eq!(error["message"], "Your session hit the maximum duration of 10 seconds.", "{name}");
    }
    assert!((10..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    let expired = created["session"]["expires_at"].as_u64().expect("a time");
    assert!(now >= expired && now - expired < 10, "the time that the session named: {expired}, {now}");
    let hang_up = sandbox.ask("POST", &format!("{CALLS}/{id}/hangup"), "Authorization: Bearer sk-x\r\n", "");
    expect_refusal(&hang_up, 404, "call_not_found");
}

#[test]
fn a_base_url_chooses_for_calls_too() {
    let sandbox = Sandbox::start();
    let minted = sandbox.post(&format!("/scenarios/hangs_up{MINT}"), KEY, &json!({})).expect(200).json();
    let id = sandbox.call(minted["value"].as_str().expect("a secret"));
    let mut sideband = sandbox.connect(&format!("/scenarios/hangs_up/v1/realtime?call_id={id}"), &[BEARER]).expect("a sideband");
    sideband.until("session.created");
    sideband.type_text("Hello");
    sideband.ask();
    let (events, end) = sideband.finish();
    assert_eq!(end, End::Closed(1000));
    assert!(has(&events, "output_audio_buffer.stopped"), "{:#?}", events.last());
}

/// How a header may choose a scenario: by the request that opens a session, or by the mint before it.
#[derive(Clone, Copy, Debug)]
enum Chosen {
    Call,
    Socket,
    MintForCall,
    MintForSocket,
}

/// The client's end of what was opened: of a call its sideband.
fn open(sandbox: &Sandbox, scenario: &str, chosen: Chosen) -> Socket {
    let header = |named: bool| if named { format!("x-sandbox-scenario: {scenario}\r\n") } else { String::new() };
    let by_mint = matches!(chosen, Chosen::MintForCall | Chosen::MintForSocket);
    let minted = sandbox.ask("POST", MINT, &format!("Authorization: Bearer {KEY}\r\n{}", header(by_mint)), "{}");
    let bearer = format!("Bearer {}", minted.expect(200).json()["value"].as_str().expect("a secret"));
    match chosen {
        Chosen::Socket => {
            sandbox.connect("/v1/realtime", &[("authorization", &bearer), ("x-sandbox-scenario", scenario)]).expect("a session")
        }
        Chosen::MintForSocket => sandbox.connect("/v1/realtime", &[("authorization", &bearer)]).expect("a session"),
        Chosen::Call | Chosen::MintForCall => {
            let headers = format!("Authorization: {bearer}\r\nContent-Type: application/sdp\r\n{}", header(!by_mint));
            let call = sandbox.ask("POST", CALLS, &headers, OFFER);
            let id = call.expect(201).header("location").and_then(|location| location.rsplit('/').next()).expect("a call");
            sandbox.connect(&format!("/v1/realtime?call_id={id}"), &[BEARER]).expect("a sideband")
        }
    }
}

/// Whether the session that was opened is one of the scenario's.
fn expect_behaviour(mut socket: Socket, scenario: &str, how: &str) {
    let created = socket.wait_for("session.created");
    if scenario == "expires" {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
        assert!(created["session"]["expires_at"].as_u64().expect("a time") <= now + 10, "{how}: {created}");
        return;
    }
    if scenario == "echo" {
        for loud in [true, false] {
            socket.send(&tone(loud));
        }
        let events = socket.until("response.done");
        assert_eq!(said(&events), "[the user's own words]", "{how}");
        return;
    }
    let begun = Instant::now();
    socket.ask();
    match scenario {
        "drops_mid_call" => {
            let (events, _) = socket.finish();
            assert!(said(&events).starts_with("Interrupt me") && !has(&events, "response.done"), "{how}: {}", said(&events));
        }
        "hangs_up" => {
            let (events, end) = socket.finish();
            assert_eq!((said(&events).as_str(), end), (GOODBYE, End::Closed(1000)), "{how}");
        }
        _ => {
            let first = said(&socket.until("response.output_audio_transcript.delta"));
            assert_eq!(first, "Hello! ", "{how}");
            assert!(scenario == "happy" || begun.elapsed() >= Duration::from_secs(2), "{how}: {:?}", begun.elapsed());
        }
    }
}

/// A second of loud samples, or of silence.
fn tone(loud: bool) -> Value {
    let sample: [u8; 2] = if loud { 9000_i16.to_le_bytes() } else { [0, 0] };
    let samples: Vec<u8> = std::iter::repeat_n(sample, 24_000).flatten().collect();
    json!({"type": "input_audio_buffer.append", "audio": base64(&samples)})
}

#[test]
fn a_header_chooses_at_the_mint_at_the_call_and_at_the_socket() {
    let sandbox = Sandbox::start();
    let all = [Chosen::Call, Chosen::Socket, Chosen::MintForCall, Chosen::MintForSocket];
    std::thread::scope(|threads| {
        for scenario in ["happy", "slow", "drops_mid_call", "hangs_up", "echo", "expires"] {
            let sandbox = &sandbox;
            threads.spawn(move || {
                for chosen in all {
                    expect_behaviour(open(sandbox, scenario, chosen), scenario, &format!("{scenario} {chosen:?}"));
                }
            });
        }
    });
}

#[test]
fn slow_requests_take_their_time_when_a_header_says_so() {
    let sandbox = Sandbox::start();
    let secret = sandbox.mint(&json!({"type": "realtime"}));
    let late = |request: &dyn Fn()| {
        let begun = Instant::now();
        request();
        begun.elapsed() >= Duration::from_secs(2)
    };
    let headers =
        |key: &str, kind: &str| format!("Authorization: Bearer {key}\r\nContent-Type: {kind}\r\nx-sandbox-scenario: slow\r\n");
    let bearer = format!("Bearer {secret}");
    let named = [("authorization", bearer.as_str()), ("x-sandbox-scenario", "slow")];
    assert!(late(&|| drop(sandbox.ask("POST", MINT, &headers(KEY, "application/json"), "{}"))));
    assert!(late(&|| drop(sandbox.ask("POST", CALLS, &headers(&secret, "application/sdp"), OFFER))));
    assert!(late(&|| drop(sandbox.connect("/v1/realtime", &named))));
    assert!(!late(&|| drop(sandbox.offer(CALLS, &secret, OFFER))), "the secret was not minted as a slow one");
}

#[test]
fn the_echo_of_a_session_is_what_was_sent() {
    let sandbox = Sandbox::start();
    for (format, loud, quiet) in [("audio/pcm", [0x28, 0x23].as_slice(), [0, 0].as_slice()), ("audio/pcmu", &[0x85], &[0xff])] {
        let mut session = sandbox.session("model=m&scenario=echo");
        let kind = json!({"type": format});
        let audio = json!({"input": {"format": kind}, "output": {"format": kind}});
        session.send(&json!({"type": "session.update", "session": {"type": "realtime", "audio": audio}}));
        session.until("session.updated");
        let second = if format == "audio/pcm" { 24_000 } else { 8_000 };
        for length in [second, second * 2] {
            for sample in [loud, quiet] {
                let audio = base64(&sample.repeat(length));
                session.send(&json!({"type": "input_audio_buffer.append", "audio": audio}));
            }
            let events = session.until("response.done");
            let deltas = events.iter().filter(|event| event["type"] == "response.output_audio.delta");
            let heard: Vec<u8> = deltas.flat_map(|event| from_base64(event["delta"].as_str().expect("text"))).collect();
            let count = heard.chunks_exact(loud.len()).filter(|sample| *sample == loud).count();
            assert_eq!(count, length, "{format}: every sample of the words comes back, and none twice");
            assert!(heard.len() / loud.len() < length + second, "{format}: with their pauses, which are short");
        }
    }
}
