//! What a session leaves at the server goes away by itself.

use reqwest::Method;

use crate::at;
use crate::support::redis::RedisServer;
use crate::support::{MINT, error, eventually};

#[tokio::test]
async fn everything_that_is_kept_of_a_session_expires() {
    let server = RedisServer::start();
    let world =
        at(&server.url(), |config| config.limit("mints_per_minute", 50).limit("concurrent_calls", 50).limit("monthly_mints", 50));
    for name in ["alice", "bob", "carol"] {
        let token = world.bearer(name);
        let session = world.service.mint(&token).await.expect_session();
        let other =
            world.service.call(Method::POST, MINT).bearer(&token).header("Idempotency-Key", "one").send().await.expect_session();
        world.service.report(&session, &format!("rtc_{name}"), &token).await.expect(204);
        for session in [session, other] {
            world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
        }
        world.upstream.script(error(400, "invalid_request_error", "invalid_value"));
        assert_ne!(world.service.mint(&token).await.status, 200);
    }
    eventually("all calls are hung up", 10, async || (world.upstream.hang_ups().len() == 3).then_some(())).await;
    let keys = || server.cli(&["keys", "*"]).lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("nothing is left to hang up", 10, async || (!keys().contains(&"test:hang-ups".into())).then_some(())).await;
    assert!(keys().len() > 12, "{:?}", keys());
    for key in keys() {
        let seconds: i64 = server.cli(&["ttl", &key]).parse().expect("a number");
        assert!(seconds > 0 && seconds < 40 * 86400, "{key}: {seconds} s");
    }
}

#[tokio::test]
async fn nothing_at_the_server_is_a_secret_or_names_a_user() {
    let server = RedisServer::start();
    let world = at(&server.url(), |config| config);
    let minted = world.service.mint(&world.bearer("alice")).await.expect_minted();
    let saved = {
        assert_eq!(server.cli(&["config", "set", "rdbcompression", "no"]), "OK");
        assert_eq!(server.cli(&["save"]), "OK");
        std::fs::read(server.folder().join("dump.rdb")).expect("what it saved")
    };
    let saved = String::from_utf8_lossy(&saved);
    assert!(saved.contains(minted["ephemint"]["session_id"].as_str().unwrap()));
    for secret in ["canary", minted["value"].as_str().unwrap()] {
        assert!(!saved.contains(secret), "{secret}");
    }
}
