//! Turns, interruptions, transcripts, audio in events.

use super::{Duration, STANDARD, Stage, json, pcm, realtime, second};
use base64::Engine;

fn transcribing() -> super::Value {
    json!({"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}})
}

#[test]
fn a_spoken_turn_is_heard_written_down_and_answered() {
    let mut stage = Stage::webrtc(&transcribing());
    stage.clear().speak(-70.0, second()).say_something();
    assert_eq!(
        stage.order()[..7],
        [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "rate_limits.updated",
        ]
    );
    let (started, stopped) = (stage.event("input_audio_buffer.speech_started"), stage.event("input_audio_buffer.speech_stopped"));
    assert_eq!(started["audio_start_ms"], 700, "a second of silence less the prefix of 300 ms");
    assert_eq!(stopped["audio_end_ms"], 2000);
    assert_eq!(started["item_id"], stage.event("input_audio_buffer.committed")["item_id"]);
    stage.pass(30 * second());
    let completed = stage.event("conversation.item.input_audio_transcription.completed");
    assert_eq!(completed["transcript"], "[simulated transcript: 1.3 s of speech]");
    let usage = &completed["usage"];
    assert_eq!((&usage["type"], &usage["input_token_details"]["text_tokens"]), (&json!("tokens"), &json!(0)), "{usage}");
    assert_eq!(usage["input_token_details"]["audio_tokens"], 13);
    let done = &stage.event("response.done")["response"];
    assert_eq!(done["status"], "completed");
    assert_eq!(done["usage"]["input_token_details"]["audio_tokens"], 13);
}

#[test]
fn transcripts_are_for_sessions_that_want_them_and_whisper_is_billed_by_time() {
    let mut silent = Stage::webrtc(&realtime());
    silent.say_something().pass(30 * second());
    assert!(silent.all("conversation.item.input_audio_transcription.completed").is_empty());
    let mut whisper = Stage::webrtc(&json!({"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}));
    whisper.say_something().pass(second());
    let usage = &whisper.event("conversation.item.input_audio_transcription.completed")["usage"];
    assert_eq!(usage, &json!({"type": "duration", "seconds": 1.0}), "{usage}");
}

#[test]
fn what_counts_as_speech() {
    let detection = |settings: super::Value| json!({"type": "realtime", "audio": {"input": {"turn_detection": settings}}});
    let usual = detection(json!({"type": "server_vad"}));
    for (session, level, length, heard) in [
        (&usual, -30.0, 300, true),
        (&usual, -39.0, 300, true),
        (&usual, -41.0, 3000, false),
        (&usual, -20.0, 180, false),
        (&detection(json!({"type": "server_vad", "threshold": 0.9})), -30.0, 300, false),
        (&detection(json!({"type": "server_vad", "threshold": 0.1})), -50.0, 300, true),
        (&detection(json!({"type": "semantic_vad", "eagerness": "high"})), -30.0, 300, true),
        (&detection(json!(null)), -10.0, 3000, false),
    ] {
        let mut stage = Stage::webrtc(session);
        stage.clear().speak(level, Duration::from_millis(length)).speak(-80.0, second());
        assert_eq!(!stage.all("input_audio_buffer.speech_started").is_empty(), heard, "{session} {level} {length}");
    }
}

/// As they arrive, measured in 20 ms.
#[test]
fn the_beeps_of_chromiums_fake_microphone_are_not_speech() {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear();
    for _ in 0..40 {
        for level in [-13.0, -8.0, -22.0, -32.0, -36.0, -40.0, -43.0, -46.0, -50.0, -55.0] {
            stage.speak(level, Duration::from_millis(20));
        }
        stage.speak(-90.0, Duration::from_millis(300));
    }
    assert!(stage.log.is_empty(), "{:?}", stage.log);
}

#[test]
fn a_short_pause_is_not_the_end_of_a_turn() {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear();
    for _ in 0..3 {
        stage.speak(-25.0, Duration::from_millis(400)).speak(-80.0, Duration::from_millis(400));
    }
    assert_eq!(stage.order(), ["input_audio_buffer.speech_started"]);
    // Speech that goes on may be a little quieter than speech that begins.
    stage.speak(-44.0, second());
    assert_eq!(stage.order(), ["input_audio_buffer.speech_started"]);
    stage.speak(-80.0, second());
    assert_eq!(stage.all("input_audio_buffer.speech_stopped").len(), 1);
}

#[test]
fn a_microphone_that_is_muted_in_the_middle_of_a_turn_ends_it() {
    let mut stage = Stage::webrtc(&realtime());
    stage.clear().speak(-20.0, second()).pass(second());
    assert_eq!(stage.event("input_audio_buffer.speech_stopped")["audio_end_ms"], 1000);
}

#[test]
fn speech_interrupts_the_assistant() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").ask().pass(second()).clear().speak(-20.0, Duration::from_millis(200));
    let order: Vec<_> = stage.order().into_iter().filter(|kind| !kind.contains("_transcript.delta")).collect();
    assert_eq!(
        order,
        [
            "input_audio_buffer.speech_started",
            "stop",
            "output_audio_buffer.cleared",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "conversation.item.truncated",
        ]
    );
    let done = &stage.event("response.done")["response"];
    assert_eq!((&done["status"], &done["status_details"]["reason"]), (&json!("cancelled"), &json!("turn_detected")), "{done}");
    assert_eq!(done["output"][0]["status"], "incomplete");
    let heard = stage.event("conversation.item.truncated")["audio_end_ms"].as_u64().expect("a number");
    assert!((700..=1000).contains(&heard), "{heard}");
    stage.clear().pass(Duration::from_millis(150));
    assert!(stage.log.is_empty(), "{:?}", stage.log);
}

#[test]
fn settings_of_turns_are_honoured() {
    let session = |settings: super::Value| json!({"type": "realtime", "audio": {"input": {"turn_detection": settings}}});
    let mut patient = Stage::webrtc(&session(json!({"type": "server_vad", "interrupt_response": false})));
    patient.type_text("Hello").ask().pass(second()).clear().say_something().pass(30 * second());
    assert_eq!(patient.event("response.done")["response"]["status"], "completed");
    assert!(patient.all("output_audio_buffer.cleared").is_empty());
    let mut quiet = Stage::webrtc(&session(json!({"type": "server_vad", "create_response": false})));
    quiet.clear().say_something().pass(30 * second());
    assert!(quiet.all("response.created").is_empty() && !quiet.all("input_audio_buffer.committed").is_empty());
    assert_eq!(quiet.ask().all("response.created").len(), 1);
}

#[test]
fn push_to_talk() {
    let session = json!({"type": "realtime", "audio": {"input": {"turn_detection": null}}});
    let mut stage = Stage::webrtc(&session);
    stage.clear().send(&json!({"type": "input_audio_buffer.commit"}));
    stage.expect_error("input_audio_buffer_commit_empty");
    stage.speak(-20.0, 2 * second()).send(&json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(stage.order(), ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]);
    stage.clear().speak(-20.0, second()).send(&json!({"type": "input_audio_buffer.clear"}));
    assert_eq!(stage.order(), ["input_audio_buffer.cleared"]);
    stage.clear().send(&json!({"type": "input_audio_buffer.commit"}));
    stage.expect_error("input_audio_buffer_commit_empty");
}

#[test]
fn a_client_can_cancel_and_silence() {
    let mut stage = Stage::webrtc(&realtime());
    stage.type_text("Hello").ask().pass(second()).clear();
    stage.send(&json!({"type": "response.cancel"})).send(&json!({"type": "output_audio_buffer.clear"}));
    let done = &stage.event("response.done")["response"];
    assert_eq!(done["status_details"]["reason"], "client_cancelled", "{done}");
    assert_eq!(stage.order()[stage.order().len() - 2..], ["stop", "output_audio_buffer.cleared"]);
    stage.clear().ask().pass(second()).clear().send(&json!({"type": "response.cancel"})).pass(second());
    assert_eq!(stage.order()[stage.order().len() - 2..], ["stop", "output_audio_buffer.stopped"], "what is in flight is heard");
}

#[test]
fn audio_over_a_websocket_is_in_the_events() {
    for (format, bytes) in [("audio/pcm", 48), ("audio/pcmu", 8), ("audio/pcma", 8)] {
        let audio = json!({"input": {"format": {"type": format}}, "output": {"format": {"type": format}}});
        let mut stage = Stage::websocket(&json!({"type": "realtime", "audio": audio}));
        stage.type_text("Hello").clear().ask().pass(30 * second());
        assert!(!stage.log.iter().any(|kind| kind.starts_with("output_audio_buffer") || kind == "play"), "{:?}", stage.log);
        let sent: usize = stage
            .all("response.output_audio.delta")
            .iter()
            .map(|event| STANDARD.decode(event["delta"].as_str().expect("text")).expect("base64").len())
            .sum();
        let tokens = &stage.event("response.done")["response"]["usage"]["output_token_details"]["audio_tokens"];
        let millis = tokens.as_u64().expect("a number") * 50;
        assert!(millis.abs_diff(u64::try_from(sent).expect("small") / bytes) <= 60, "{format}: {millis} ms, {sent} bytes");
    }
}

#[test]
fn speech_over_a_websocket_is_heard() {
    let mut stage = Stage::websocket(&transcribing());
    stage.clear();
    let append = |audio: &str| json!({"type": "input_audio_buffer.append", "audio": audio});
    stage.send(&append(&pcm(0, second())));
    // In pieces that are no whole frames.
    for _ in 0..7 {
        stage.send(&append(&pcm(8000, Duration::from_millis(143))));
    }
    stage.send(&append(&pcm(0, second())));
    assert_eq!(stage.event("input_audio_buffer.speech_started")["audio_start_ms"], 700);
    let end = stage.event("input_audio_buffer.speech_stopped")["audio_end_ms"].as_u64().expect("a number");
    assert!((1980..=2020).contains(&end), "{end}");
    stage.pass(30 * second());
    assert_eq!(stage.event("response.done")["response"]["status"], "completed");
    stage.clear().send(&append("not base64!"));
    stage.expect_error("invalid_value");
}

#[test]
fn a_transcription_has_no_assistant() {
    let mut stage =
        Stage::webrtc(&json!({"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}));
    assert_eq!(stage.event("session.created")["session"]["object"], "realtime.transcription_session");
    stage.clear().say_something().pass(10 * second());
    assert!(!stage.log.iter().any(|kind| kind.starts_with("response.")), "{:?}", stage.log);
    stage.event("conversation.item.input_audio_transcription.completed");
    stage.clear().ask();
    stage.expect_error("invalid_value");
}
