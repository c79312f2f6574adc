//! Against a real server.

#[path = "../../../tests/support/redis.rs"]
#[expect(
    dead_code,
    clippy::disallowed_methods,
    reason = "it is for all tests, and these use a part of it; tests read clocks of their own"
)]
pub(crate) mod server;

use std::sync::Arc;
use std::time::Duration;

use redis::cmd as command;
use tokio::time::timeout;

use super::{Origin, Redis, Script, Unavailable};
use crate::domain::secret::Secret;
use crate::telemetry::metrics::Metrics;
use server::{RedisCluster, RedisServer};

fn store(url: String, deadline: Duration) -> Arc<Redis> {
    let origin = Origin::parse(&Secret::from(url)).expect("a URL");
    Arc::new(Redis::connect(origin, "test".into(), deadline, &Metrics::new(Duration::ZERO).0))
}

/// Many calls, of which most are dropped while they are under way; each of the others gets its own answer.
async fn cancel_many(redis: Arc<Redis>) {
    let script = Arc::new(Script::new("return { KEYS[1], ARGV[1] }"));
    let first: Vec<String> = redis.script(&script, &["test:first"], &["x"]).await.expect("an answer");
    assert_eq!(first, ["test:first", "x"]);
    let calls = (0..2000_u64).map(|number| {
        let (redis, script) = (redis.clone(), script.clone());
        tokio::spawn(async move {
            let (key, word) = (format!("test:{number}"), number.to_string());
            let keys = [key.as_str()];
            let words = [word.as_str()];
            let call = redis.script::<Vec<String>>(&script, &keys, &words);
            // From at once to well after the answer.
            match timeout(Duration::from_micros(number % 40 * 50), call).await {
                Ok(answer) => {
                    assert_eq!(answer.expect("an answer"), [key, word]);
                    1
                }
                Err(_) => 0,
            }
        })
    });
    let mut answered = 0;
    for call in calls.collect::<Vec<_>>() {
        answered += call.await.expect("its own answer");
    }
    assert!(answered < 2000, "none was cancelled");
    let after: Vec<String> = redis.script(&script, &["test:after"], &["y"]).await.expect("an answer");
    assert_eq!(after, ["test:after", "y"]);
}

#[tokio::test]
async fn answers_never_go_to_another_call_than_their_own() {
    let server = RedisServer::start();
    cancel_many(store(server.url(), Duration::from_secs(20))).await;
}

#[tokio::test]
async fn answers_of_a_cluster_never_go_to_another_call_than_their_own() {
    let cluster = RedisCluster::start();
    cancel_many(store(cluster.url(), Duration::from_secs(20))).await;
}

#[tokio::test]
async fn every_call_to_a_server_that_hangs_ends_and_the_connection_is_made_anew() {
    let server = RedisServer::start();
    let redis = store(server.url(), Duration::from_millis(300));
    let ping = async || redis.command::<String>(&command("PING")).await;
    while ping().await != Ok("PONG".into()) {}
    let before = server.connections("normal");
    server.signal("STOP");
    for _ in 0..3 {
        assert_eq!(ping().await, Err(Unavailable::Timeout));
    }
    server.signal("CONT");
    let again = async {
        while ping().await != Ok("PONG".into()) || !server.connections("normal").is_disjoint(&before) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), again).await.expect("it is reached again");
}
