//! Whole calls, from the client secret to the last word of the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use super::media::browser::{Browser, CROWD};
use super::{Keys, World};

const CALLS: usize = 100;
/// For a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(1);

fn start() -> SocketAddr {
    let world = World::bind(0).unwrap();
    let address = world.url().strip_prefix("http://").unwrap().parse().unwrap();
    world.start(Keys::AnyThatLooksLikeOne, |error| panic!("the sandbox ended: {error}")).unwrap();
    address
}

/// The body of a good answer to a POST.
async fn post(address: SocketAddr, path: &str, key: &str, kind: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    body.to_owned()
}

fn events(browser: &Browser, kind: &str) -> impl Iterator<Item = Value> {
    let parsed = browser.texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    parsed.filter(move |event| event["type"] == kind)
}

/// Connects, waits for everyone else, types a question, and hears what is said to it.
async fn call(address: SocketAddr, everyone: Arc<Barrier>) {
    let wish = json!({"session": {"type": "realtime", "model": "gpt-realtime-2.1"}}).to_string();
    let minted = post(address, "/v1/realtime/client_secrets", "sk-any", "application/json", &wish).await;
    let minted: Value = serde_json::from_str(&minted).unwrap();
    let (mut browser, offer) = Browser::offering(None).await;
    let secret = minted["value"].as_str().unwrap();
    browser.accept(&post(address, "/v1/realtime/calls", secret, "application/sdp", &offer).await);
    assert!(browser.live(PATIENCE, |browser| browser.open && events(browser, "session.created").count() == 1).await);
    tokio::select! {
        _ = everyone.wait() => {}
        _ = browser.live(PATIENCE, |_| false) => panic!("not everyone has connected"),
    }
    let content = json!([{"type": "input_text", "text": "Hello!"}]);
    browser.send(
        &json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}).to_string(),
    );
    browser.send(&json!({"type": "response.create"}).to_string());
    let heard = |browser: &Browser| events(browser, "output_audio_buffer.stopped").count() == 1 && !browser.words().is_empty();
    assert!(browser.live(PATIENCE, heard).await, "{:#?}", browser.texts);
    let done = events(&browser, "response.done").next().unwrap();
    assert_eq!(done["response"]["status"], "completed", "{done}");
    assert!(done["response"]["usage"]["output_tokens"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(events(&browser, "error").count(), 0);
}

/// Whether all of a hundred calls at once came to their end.
async fn a_hundred_calls(address: SocketAddr) -> bool {
    let everyone = Arc::new(Barrier::new(CALLS));
    let calls: Vec<_> = (0..CALLS).map(|_| tokio::spawn(call(address, everyone.clone()))).collect();
    let mut all_well = true;
    for call in calls {
        all_well &= call.await.is_ok();
    }
    all_well
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_at_once_are_minted_connected_asked_and_answered() {
    let _alone = CROWD.lock().await;
    // Two cores are enough, but others may be using them: one attempt of three has to be undisturbed.
    for _ in 0..3 {
        if a_hundred_calls(start()).await {
            return;
        }
    }
    panic!("some calls did not come to their end; what they said is above");
}
