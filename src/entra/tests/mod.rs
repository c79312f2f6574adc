//! What is remembered of tokens, and for how long.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Granted, Tokens, Trouble};
use crate::config::raw::EntraKind;
use crate::config::secrets::Entra;
use crate::domain::clock::manual::ManualClock;
use crate::outbound::Outbound;

const NOW: u64 = 1_800_000_000;
const MINUTE: Duration = Duration::from_mins(1);

/// A machine whose IMDS gives these answers, one after the other, and then hangs up.
async fn machine(answers: &'static [(u16, &'static str)]) -> (Tokens, Arc<ManualClock>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = 0;
            let mut request = [0; 4096];
            while !request[..read].ends_with(b"\r\n\r\n") {
                read += stream.read(&mut request[read..]).await.unwrap();
            }
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    let settings = Entra {
        kind: EntraKind::ManagedIdentity,
        tenant_id: None,
        client_id: None,
        client_secret: None,
        federated_token: None,
        authority: None,
    };
    let environ = Arc::new([("AZURE_POD_IDENTITY_AUTHORITY_HOST".to_owned(), origin)].into());
    let (client, clock) = (Outbound::new().unwrap().client(MINUTE).unwrap(), ManualClock::at(NOW));
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
