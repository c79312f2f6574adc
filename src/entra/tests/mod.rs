//! What is remembered of tokens, and for how long.

mod arc;
mod on_behalf;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Granted, Identity, ReadLocal, Tokens, Trouble};
use crate::config::load::Environ;
use crate::config::raw::EntraKind;
use crate::config::secrets::Entra;
use crate::domain::clock::manual::ManualClock;
use crate::domain::clock::{Clock, SharedClock};
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::outbound::Outbound;

const NOW: u64 = 1_800_000_000;
const MINUTE: Duration = Duration::from_mins(1);

/// An answer: status, header lines, body.
type Scripted = (u16, String, String);

/// A server that gives these answers, one after the other, and then hangs up; where it is, and the heads and bodies that it was sent.
async fn server(answers: Vec<Scripted>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        for (status, headers, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                let mut chunk = [0; 4096];
                let length = stream.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..length]);
            }
            seen.lock().unwrap().push(String::from_utf8(request).unwrap());
            let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    (origin, asked)
}

/// Head and body, where the head says how long the body is.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// Who Ephemint is, with these settings in this environment.
fn identity(settings: &Entra, environ: &[(&str, &str)], clock: SharedClock) -> Identity {
    let environ: Environ = environ.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let client = Outbound::new().unwrap().client(MINUTE).unwrap();
    let read: ReadLocal = |reference, environ| match reference {
        SecretRef::Env(name) => environ.get(name).cloned().map(Secret::from).ok_or_else(|| "is not set".into()),
        _ => Err("nothing else is read".into()),
    };
    Identity::new(settings, &Arc::new(environ), client, read, clock)
}

/// A machine whose IMDS gives these answers, one after the other, and then hangs up.
async fn machine(answers: &[(u16, &str)]) -> (Tokens, Arc<ManualClock>) {
    let answers = answers.iter().map(|(status, body)| (*status, String::new(), (*body).to_owned())).collect();
    let ((origin, _), clock) = (server(answers).await, ManualClock::at(NOW));
    let settings = Entra { kind: EntraKind::ManagedIdentity, ..Entra::default() };
    let environ = Arc::new([("AZURE_POD_IDENTITY_AUTHORITY_HOST".to_owned(), origin)].into());
    let client = Outbound::new().unwrap().client(MINUTE).unwrap();
    let scope = "https://vault.azure.net/.default".to_owned();
    (Tokens::new(&settings, scope, &environ, client, |_, _| Err("nothing is read".into()), clock.clone()), clock)
}

async fn token(tokens: &Tokens) -> Result<String, Trouble> {
    tokens.token().await.map(|token| token.reveal().to_owned())
}

const FIRST: (u16, &str) = (200, r#"{"access_token": "first", "expires_in": "3600"}"#);
const SECOND: (u16, &str) = (200, r#"{"access_token": "second", "expires_in": "3600"}"#);

#[tokio::test]
async fn a_token_is_renewed_five_minutes_before_it_expires() {
    let (tokens, clock) = machine(&[FIRST, SECOND]).await;
    let all = join_all((0..8).map(|_| token(&tokens))).await;
    assert!(all.iter().all(|token| token.as_deref() == Ok("first")), "{all:?}");
    clock.advance(Duration::from_secs(55 * 60 - 1));
    assert_eq!(token(&tokens).await.unwrap(), "first");
    clock.advance(Duration::from_secs(1));
    assert_eq!(token(&tokens).await.unwrap(), "second");
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_used_while_it_lasts() {
    let (tokens, clock) = machine(&[FIRST, (400, ""), (400, ""), (400, ""), SECOND]).await;
    assert_eq!(token(&tokens).await.unwrap(), "first");
    clock.advance(55 * MINUTE);
    // One attempt in half a minute: the last answer would be taken otherwise.
    for _ in 0..8 {
        assert_eq!(token(&tokens).await.unwrap(), "first");
    }
    clock.advance(Duration::from_secs(5 * 60 - 1));
    assert_eq!(token(&tokens).await.unwrap(), "first");
    clock.advance(Duration::from_secs(1));
    assert!(matches!(token(&tokens).await, Err(Trouble::Wrong(_))));
    assert_eq!(token(&tokens).await.unwrap(), "second");
}

#[tokio::test]
async fn a_token_that_was_refused_is_forgotten() {
    let (tokens, _) = machine(&[FIRST, SECOND]).await;
    assert_eq!(token(&tokens).await.unwrap(), "first");
    tokens.forget();
    assert_eq!(token(&tokens).await.unwrap(), "second");
}

/// Every look at it takes three seconds.
struct SlowClock(AtomicU64);

impl Clock for SlowClock {
    fn wall(&self) -> Duration {
        Duration::from_secs(NOW)
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(3, Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_machine_that_is_slow_and_updating_is_not_asked_for_long() {
    let answers = [404, 410, 503, 429].map(|status| (status, String::new(), String::new()));
    let (origin, asked) = server(answers.into()).await;
    let settings = Entra { kind: EntraKind::ManagedIdentity, ..Entra::default() };
    let environ = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", origin.as_str())];
    let identity = identity(&settings, &environ, Arc::new(SlowClock(AtomicU64::new(0))));
    assert!(matches!(identity.ask("https://vault.azure.net/.default").await, Err(Trouble::Away(_))));
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn lifetimes_are_numbers_or_text_and_count_from_now_or_from_1970() {
    for (times, seconds) in [
        (r#""expires_in": 3599"#, 3599),
        (r#""expires_in": "3599""#, 3599),
        (r#""expires_in": "3599", "expires_on": "1""#, 3599),
        (r#""expires_on": "1800000060""#, 60),
        (r#""expires_on": 1800000060"#, 60),
        (r#""expires_on": "1""#, 0),
        (r#""expires_in": -1"#, 0),
        (r#""expires_in": null"#, 0),
        (r#""expires_in": "11/05/2026 10:00:00 +00:00""#, 0),
    ] {
        let granted = Granted::parse(format!(r#"{{"access_token": "a", {times}}}"#).as_bytes()).unwrap();
        assert_eq!(granted.lifetime(NOW), Duration::from_secs(seconds), "{times}");
    }
}
