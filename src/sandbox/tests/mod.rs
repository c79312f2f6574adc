//! Whole calls, from the client secret to the last word of the answer.

mod calls;
mod crowd;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::media::browser::Browser;
use super::voice::opus::{FRAME, SILENCE};
use super::voice::{Line, clip};
use super::{Keys, World};

/// For a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(1);

fn start(world: World) -> SocketAddr {
    let address = world.url().strip_prefix("http://").unwrap().parse().unwrap();
    world.start(Keys::AnyThatLooksLikeOne, |error| panic!("the sandbox ended: {error}")).unwrap();
    address
}

/// The body of a good answer to a POST. `headers` beside those that every request has, each with its line end.
async fn post(address: SocketAddr, path: &str, key: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    body.to_owned()
}

/// A call that has begun. `headers` of the offer.
async fn call(address: SocketAddr, headers: &str) -> Browser {
    let wish = json!({"session": {"type": "realtime", "model": "gpt-realtime-2.1"}}).to_string();
    let minted = post(address, "/v1/realtime/client_secrets", "sk-any", "Content-Type: application/json\r\n", &wish).await;
    let minted: Value = serde_json::from_str(&minted).unwrap();
    let (mut browser, offer) = Browser::offering(None).await;
    let headers = format!("Content-Type: application/sdp\r\n{headers}");
    browser.accept(&post(address, "/v1/realtime/calls", minted["value"].as_str().unwrap(), &headers, &offer).await);
    assert!(browser.live(PATIENCE, |browser| browser.open && !browser.texts.is_empty()).await);
    assert_eq!(kinds(&browser), ["session.created"]);
    browser
}

fn events(browser: &Browser) -> Vec<Value> {
    browser.texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn kinds(browser: &Browser) -> Vec<String> {
    events(browser).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Forgets what was heard so far, types a question, and listens to the answer.
async fn ask(browser: &mut Browser) {
    browser.texts.clear();
    browser.heard.clear();
    let content = json!([{"type": "input_text", "text": "Hello!"}]);
    browser.send(
        &json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}).to_string(),
    );
    browser.send(&json!({"type": "response.create"}).to_string());
    listen(browser).await;
}

/// Until the voice has stopped and its last packets, which may still be on their way then, are followed by silence.
async fn listen(browser: &mut Browser) {
    let stopped = |browser: &Browser| browser.texts.last().is_some_and(|text| text.contains("output_audio_buffer.stopped"));
    assert!(browser.live(PATIENCE, stopped).await, "{:#?}", browser.texts);
    let silent = |browser: &Browser| browser.heard.iter().rev().take(5).all(|(packet, _)| packet == SILENCE);
    assert!(browser.live(PATIENCE, silent).await);
}

/// All events about an answer to a typed question, in the order of the real API, with all its words.
fn expect_events(browser: &Browser, line: Line) {
    let (all, mut order) = (events(browser), kinds(browser));
    order.dedup();
    assert_eq!(
        order,
        [
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "output_audio_buffer.started",
            "response.output_audio_transcript.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "output_audio_buffer.stopped",
        ]
    );
    let deltas: String = all.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, line.text());
    let done = &all.iter().find(|event| event["type"] == "response.done").unwrap()["response"];
    assert_eq!((&done["status"], &done["output"][0]["content"][0]["transcript"]), (&json!("completed"), &json!(line.text())));
    assert!(done["usage"]["output_tokens"].as_u64().unwrap() > 0, "{done}");
}

/// That the packets of `line` were heard, in their order and at their pace. Yields how many of its frames were not: those that were lost, and
/// those for which the voice was held up.
fn missed(browser: &Browser, line: Line) -> usize {
    let clip = clip("marin", line);
    let heard: Vec<_> = browser.heard.iter().filter(|(packet, _)| packet != SILENCE).collect();
    // Alike frames of one clip are told apart by their order.
    let mut rest = clip.packets();
    for (packet, _) in &heard {
        let at = rest.iter().position(|sent| sent == packet);
        let at =
            at.unwrap_or_else(|| panic!("out of order, twice, or never sent: {} of {} to go", rest.len(), clip.packets().len()));
        rest = &rest[at + 1..];
    }
    assert!(heard.windows(2).all(|pair| pair[0].1 < pair[1].1), "time goes on");
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else { return clip.packets().len() };
    let lasted = usize::try_from((last.1 - first.1) / u64::from(FRAME)).unwrap() + 1;
    lasted.max(clip.packets().len()) - heard.len()
}
