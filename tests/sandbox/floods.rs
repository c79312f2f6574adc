//! Clients that send too much, too slowly, or nothing that makes sense.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use tungstenite::Message;

use crate::client::{KEY, Sandbox};

#[test]
fn ten_thousand_events_are_all_answered() {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session("model=m");
    let mut writer = session.stream().try_clone().expect("the same connection");
    let flood = std::thread::spawn(move || {
        let event = br#"{"type":"response.cancel"}"#;
        // A text frame, masked with zeros.
        let frame = [&[0x81, 0x9a, 0, 0, 0, 0][..], event].concat();
        (0..10_000).try_for_each(|_| writer.write_all(&frame)).expect("the events are taken");
    });
    for _ in 0..10_000 {
        assert_eq!(session.next().expect("an answer")["error"]["code"], "response_cancel_not_active");
    }
    flood.join().expect("the flood");
    session.type_text("Still there?");
    session.until("conversation.item.done");
}

#[test]
fn a_client_that_never_reads_harms_nobody_else() {
    let sandbox = Sandbox::start();
    let mut deaf = sandbox.session("model=m");
    let mut writer = deaf.stream().try_clone().expect("the same connection");
    writer.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let event = format!(r#"{{"type":"conversation.item.create","item":{{"type":"{}"}}}}"#, "x".repeat(30_000));
    let length = u16::try_from(event.len()).expect("short").to_be_bytes();
    let frame = [&[0x81, 0xfe, length[0], length[1], 0, 0, 0, 0][..], event.as_bytes()].concat();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) && writer.write_all(&frame).is_ok() {}
    let mut other = sandbox.session("model=m");
    other.type_text("Hello");
    other.until("conversation.item.done");
    assert_eq!(sandbox.get("/v1/models", KEY).status, 200);
}

#[test]
fn a_message_beyond_every_bound_ends_the_session() {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session("model=m");
    let mut stream = session.stream().try_clone().expect("the same connection");
    // A frame that says that a gigabyte follows.
    stream.write_all(&[0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]).expect("taken");
    let _ = stream.write_all(&vec![b'x'; 64 * 1024]);
    let begun = Instant::now();
    let (_, end) = session.finish();
    assert!(begun.elapsed() < Duration::from_secs(10), "{end:?}");
}

#[test]
fn frames_that_are_none_end_the_session() {
    let sandbox = Sandbox::start();
    for bytes in [&[0xff_u8; 64][..], &[0x83, 0x80, 0, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut session = sandbox.session("model=m");
        session.stream().write_all(bytes).expect("taken");
        let begun = Instant::now();
        let _ = session.finish();
        assert!(begun.elapsed() < Duration::from_secs(10), "{bytes:?}");
    }
    sandbox.session("model=m");
}

#[test]
fn a_large_piece_of_audio_is_taken() {
    let sandbox = Sandbox::start();
    let mut session = sandbox.session("model=m");
    let audio = crate::client::base64(&vec![0; 2 * 1024 * 1024]);
    session.send_message(Message::text(json!({"type": "input_audio_buffer.append", "audio": audio}).to_string()));
    session.type_text("Still there?");
    session.until("conversation.item.done");
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    let sandbox = Sandbox::start();
    let mut stream = TcpStream::connect(sandbox.address).expect("a connection");
    stream.write_all(b"POST /v1/realtime/calls HTTP/1.1\r\nHost: 127.0.0.1\r\n").expect("taken");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(begun.elapsed() < Duration::from_secs(12), "{}", String::from_utf8_lossy(&answer));
}
