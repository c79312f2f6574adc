//! Blocks reach every replica, whatever becomes of the messages about them.

use reqwest::Method;
use serde_json::json;

use crate::stored;
use crate::support::redis::RedisServer;
use crate::support::{Config, Issuer, Service, Upstream, eventually};

const PATH: &str = "/admin/v1/users/canary-user-alice/block";

#[tokio::test]
async fn a_block_reaches_the_other_replica_also_when_messages_are_lost() {
    let server = RedisServer::start();
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let config = stored(Config::new(&issuer, &upstream), &server.url());
    let [here, there] = [&config, &config].map(Service::start);
    let alice = issuer.bearer("alice");
    let becomes = async |service: &Service, status: u16| {
        eventually("the block is known", 5, async || (service.mint(&alice).await.status == status).then_some(())).await;
    };
    let block = async |method| {
        let request = here.admin(method, PATH).json(&json!({}));
        assert!(request.send().await.status < 300);
    };
    becomes(&there, 200).await;
    let listening = async || (server.connections("pubsub").len() == 2).then_some(());
    for _ in 0..2 {
        eventually("both listen", 10, listening).await;
        block(Method::PUT).await;
        becomes(&there, 403).await;
        block(Method::DELETE).await;
        becomes(&there, 200).await;
        server.cli(&["client", "kill", "type", "pubsub"]);
        block(Method::PUT).await;
        becomes(&there, 403).await;
        block(Method::DELETE).await;
        becomes(&there, 200).await;
    }
    // A change of which nobody is told: what the script does without its message.
    block(Method::PUT).await;
    becomes(&there, 403).await;
    let all = server.cli(&["hkeys", "test:{blocks}:all"]);
    assert_eq!(server.cli(&["hdel", "test:{blocks}:all", &all]), "1");
    server.cli(&["set", "test:{blocks}:last", "another change"]);
    becomes(&there, 200).await;
    becomes(&here, 200).await;
}

#[tokio::test]
async fn a_block_outlives_an_outage_of_the_store() {
    let server = RedisServer::start();
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let service = Service::start(&stored(Config::new(&issuer, &upstream), &server.url()));
    let alice = issuer.bearer("alice");
    service.admin(Method::PUT, PATH).json(&json!({})).send().await.expect(200);
    service.mint(&alice).await.expect_problem(403, "user_blocked");
    let mut server = server;
    server.down();
    for _ in 0..3 {
        assert_ne!(service.mint(&alice).await.status, 200);
    }
    assert_eq!(upstream.count(), 0);
}
