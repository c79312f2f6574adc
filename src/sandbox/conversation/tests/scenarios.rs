//! What a scenario says and how it ends.

use super::{Duration, STANDARD, Scenario, Stage, Transport, Value, json, pcm, realtime, second};
use crate::sandbox::voice::Line;
use base64::Engine;

fn with_tools() -> Value {
    json!({"type": "realtime", "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}]})
}

fn in_text() -> Value {
    json!({"type": "realtime", "output_modalities": ["text"]})
}

/// Everything that was said, by voice or in writing.
fn words(stage: &Stage) -> String {
    let said = ["response.output_audio_transcript.delta", "response.output_text.delta"].map(|kind| stage.all(kind)).concat();
    said.iter().filter_map(|event| event["delta"].as_str()).collect()
}

/// A scenario's words are said whatever the session is and however the response comes about.
#[track_caller]
fn for_every_opening(scenario: Scenario, check: impl Fn(&Stage, &str)) {
    for (session, name) in [(realtime(), "plain"), (with_tools(), "tools"), (in_text(), "text")] {
        for transport in [Transport::WebRtc, Transport::WebSocket] {
            let stage = || Stage::new(&session, transport, scenario);
            let (mut unasked, mut typed, mut spoken, mut aside, mut forced) = (stage(), stage(), stage(), stage(), stage());
            unasked.ask();
            typed.type_text("How is the weather?").ask();
            spoken.say_something();
            let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]});
            aside.send(&json!({"type": "response.create", "response": {"conversation": "none", "input": [item]}}));
            forced.type_text("Hello").send(&json!({"type": "response.create", "response": {"tool_choice": "required"}}));
            for (stage, opening) in [
                (&mut unasked, "unasked"),
                (&mut typed, "typed"),
                (&mut spoken, "spoken"),
                (&mut aside, "aside"),
                (&mut forced, "forced"),
            ] {
                stage.pass(30 * second());
                check(stage, &format!("{name} {opening} {transport:?}"));
            }
        }
    }
}

#[test]
fn slow_lets_every_response_wait() {
    let mut slow = Stage::new(&realtime(), Transport::WebRtc, Scenario::Slow);
    for _ in 0..2 {
        slow.type_text("Hello").clear().ask().pass(2 * second());
        assert!(!slow.log.contains(&"play".to_owned()), "{:?}", slow.log);
        assert!(slow.pass(second()).log.contains(&"play".to_owned()), "{:?}", slow.log);
        slow.pass(20 * second());
    }
}

#[test]
fn drops_mid_call_vanishes_in_the_middle_of_its_long_line() {
    for_every_opening(Scenario::DropsMidCall, |stage, how| {
        let said = words(stage);
        assert!(said.starts_with("Interrupt me whenever you like. "), "{how}: {said:?}");
        assert!(Line::Long.text().starts_with(&said) && said.len() < Line::Long.text().len(), "{how}: {said:?}");
        assert_eq!(stage.log.last().map(String::as_str), Some("vanish"), "{how}");
        assert!(!stage.log.contains(&"response.done".to_owned()), "{how}: {:?}", stage.log);
    });
    let mut drops = Stage::new(&realtime(), Transport::WebRtc, Scenario::DropsMidCall);
    drops.ask().pass(Duration::from_millis(2_900));
    assert!(!drops.log.contains(&"vanish".to_owned()), "{:?}", drops.log);
    drops.pass(Duration::from_millis(200));
    assert_eq!(drops.log.last().map(String::as_str), Some("vanish"), "3 s into it");
}

#[test]
fn hangs_up_says_goodbye_and_then_ends() {
    for_every_opening(Scenario::HangsUp, |stage, how| {
        assert_eq!(words(stage), Line::Goodbye.text(), "{how}");
        assert_eq!(stage.all("response.done").len(), 1, "{how}");
        assert_eq!(stage.event("response.done")["response"]["status"], "completed", "{how}");
        assert_eq!(stage.log.last().map(String::as_str), Some("clean"), "{how}");
    });
    let mut heard = Stage::new(&realtime(), Transport::WebRtc, Scenario::HangsUp);
    heard.ask().pass(20 * second());
    assert_eq!(heard.order()[heard.order().len() - 2..], ["output_audio_buffer.stopped", "clean"]);
    let mut interrupted = Stage::new(&realtime(), Transport::WebRtc, Scenario::HangsUp);
    interrupted.ask().pass(second()).speak(-20.0, Duration::from_millis(240)).pass(second());
    assert_eq!(interrupted.log.last().map(String::as_str), Some("clean"));
}

#[test]
fn the_echo_is_as_long_as_what_was_said() {
    let mut rtc = Stage::new(&realtime(), Transport::WebRtc, Scenario::Echo);
    rtc.say_something().pass(10 * second());
    let tokens = &rtc.event("response.done")["response"]["usage"]["output_token_details"]["audio_tokens"];
    assert!((20..=40).contains(&tokens.as_u64().expect("a number")), "a second, its pauses, and no more: {tokens}");
    let mut socket = Stage::new(&realtime(), Transport::WebSocket, Scenario::Echo);
    let append = |audio: &str| json!({"type": "input_audio_buffer.append", "audio": audio});
    socket.send(&append(&pcm(8000, 2 * second()))).send(&append(&pcm(0, second()))).pass(10 * second());
    let tokens = &socket.event("response.done")["response"]["usage"]["output_token_details"]["audio_tokens"];
    assert!((40..=60).contains(&tokens.as_u64().expect("a number")), "{tokens}");
}

/// Samples that were said, joined.
fn samples(stage: &Stage) -> Vec<u8> {
    let decoded = |event: &&Value| STANDARD.decode(event["delta"].as_str().expect("text")).expect("base64");
    stage.all("response.output_audio.delta").iter().flat_map(decoded).collect()
}

#[test]
fn the_echo_answers_every_spoken_turn_and_only_those() {
    let append = |audio: &str| json!({"type": "input_audio_buffer.append", "audio": audio});
    let mut echo = Stage::new(&with_tools(), Transport::WebSocket, Scenario::Echo);
    for amplitude in [8000, 3000] {
        let words = pcm(amplitude, second());
        echo.clear().send(&append(&words)).send(&append(&pcm(0, second()))).pass(10 * second());
        let (said, heard) = (STANDARD.decode(words).expect("base64"), samples(&echo));
        assert!(heard.windows(said.len()).any(|part| part == said), "{amplitude}: {} of {}", heard.len(), said.len());
    }
    // Words that were typed, or recorded elsewhere, are not the user's last spoken ones.
    let recorded = json!([{"type": "input_audio", "audio": pcm(5000, second())}]);
    for content in [json!([{"type": "input_text", "text": "Hello"}]), recorded] {
        let item = json!({"type": "message", "role": "user", "content": content});
        echo.clear().send(&json!({"type": "conversation.item.create", "item": item}));
        echo.send(&json!({"type": "response.create", "response": {"tool_choice": "none"}})).pass(10 * second());
        assert!(!words(&echo).is_empty() && !words(&echo).contains("own words"), "{}", words(&echo));
    }
    let mut written = Stage::new(&in_text(), Transport::WebRtc, Scenario::Echo);
    written.say_something().pass(10 * second());
    assert_eq!(words(&written), "[the user's own words]");
}
