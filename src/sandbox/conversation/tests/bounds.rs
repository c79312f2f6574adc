//! Limits of time and memory.

use super::{Duration, Scenario, Settings, Stage, Transport, Value, json, realtime, second};
use crate::sandbox::conversation::{Live, Out};
use crate::sandbox::session::{Kind, Session};

#[test]
fn a_session_ends_after_an_hour() {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear().pass(Duration::from_secs(3599));
    assert!(stage.log.is_empty(), "{:?}", stage.log);
    stage.pass(2 * second());
    assert_eq!(stage.log, ["error", "clean"]);
    let error = stage.expect_error("session_expired");
    assert_eq!(error["message"], "Your session hit the maximum duration of 60 minutes.");
    stage.ask().type_text("Hello").say_something();
    assert!(stage.log.is_empty(), "what is over says nothing: {:?}", stage.log);
}

#[test]
fn or_after_ten_seconds_in_the_scenario_that_shows_it() {
    let mut stage = Stage::new(&realtime(), Transport::WebSocket, Scenario::Expires);
    assert_eq!(stage.event("session.created")["session"]["expires_at"], 1_010);
    stage.clear().pass(Duration::from_millis(9_900));
    assert!(stage.log.is_empty(), "{:?}", stage.log);
    assert_eq!(stage.pass(second()).log, ["error", "clean"]);
    assert_eq!(stage.expect_error("session_expired")["message"], "Your session hit the maximum duration of 10 seconds.");
}

#[test]
fn old_items_are_forgotten() {
    let mut stage = Stage::webrtc(&realtime());
    let create = |id: String, text: &str| {
        let content = json!([{"type": "input_text", "text": text}]);
        json!({"type": "conversation.item.create", "item": {"id": id, "type": "message", "role": "user", "content": content}})
    };
    for number in 0..600 {
        stage.send(&create(format!("small_{number}"), "x"));
    }
    for (id, there) in [("small_0", false), ("small_87", false), ("small_88", true), ("small_599", true)] {
        stage.clear().send(&json!({"type": "conversation.item.retrieve", "item_id": id}));
        assert_eq!(stage.log == ["conversation.item.retrieved"], there, "{id}");
    }
    let text = "x".repeat(60_000);
    for number in 0..60 {
        stage.clear().send(&create(format!("large_{number}"), &text));
    }
    stage.clear().send(&json!({"type": "conversation.item.retrieve", "item_id": "large_0"}));
    stage.expect_error("item_retrieve_invalid_item_id");
    assert!(stage.conversation.items.iter().count() < 40);
}

/// A live session that began after a second.
fn live(scenario: Scenario) -> Live {
    let session = Session::untyped(Kind::Live, &json!({"model": "gpt-live-1"})).expect("settings");
    let transport = Transport::WebRtc;
    Live::new(Settings { session, session_id: "live_1".into(), transport, scenario, seed: 7, unix: 1_000 }, second())
}

fn said(live: &mut Live) -> Vec<String> {
    let mut log = Vec::new();
    while let Some(out) = live.next() {
        log.push(match out {
            Out::Event(text) => {
                let event: Value = serde_json::from_str(&text).expect("JSON");
                event["type"].as_str().expect("a type").to_owned()
            }
            Out::Play(_) => "play".into(),
            Out::Stop => "stop".into(),
            Out::End(_) => "end".into(),
        });
    }
    log
}

#[test]
fn a_live_session_ends_after_an_hour_or_as_its_scenario_says() {
    for (scenario, seconds) in [(Scenario::Happy, 3600), (Scenario::Expires, 10)] {
        let mut live = live(scenario);
        while live.due() < Duration::from_secs(1 + seconds) {
            live.advance(live.due());
        }
        said(&mut live);
        live.advance(Duration::from_secs(1 + seconds));
        assert_eq!(said(&mut live), ["session.closed", "end"], "{scenario:?}");
    }
}

#[test]
fn a_live_session_starts_speaks_counts_and_closes() {
    let mut live = live(Scenario::Happy);
    assert_eq!(said(&mut live), ["session.started"]);
    for _ in 0..50 {
        live.hear(-20.0, Duration::from_millis(20));
    }
    for _ in 0..50 {
        live.hear(-80.0, Duration::from_millis(20));
    }
    assert_eq!(said(&mut live), ["stop", "session.input_transcript.delta", "session.output_transcript.delta", "play"]);
    assert_eq!(live.due(), 61 * second());
    live.advance(61 * second());
    assert_eq!(said(&mut live), ["session.usage.updated"]);
    live.receive(r#"{"type":"session.close","event_id":"bye"}"#, 62 * second());
    assert_eq!(said(&mut live), ["session.closed", "end"]);
    live.hang_up(63 * second());
    assert!(said(&mut live).is_empty());
}
