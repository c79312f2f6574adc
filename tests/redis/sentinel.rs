//! The master is another one.

use crate::support::eventually;
use crate::support::redis::{RedisSentinel, RedisServer};
use crate::{at, minting, refusing};

#[tokio::test]
async fn when_the_master_dies_the_new_one_is_found() {
    let mut servers = RedisSentinel::start();
    let world = at(&servers.url(), |config| config);
    let alice = world.bearer("alice");
    let session = world.service.mint(&alice).await.expect_session();
    let copied = async || servers.replica.cli(&["keys", "*"]).contains(&session).then_some(());
    eventually("the session is at the replica", 10, copied).await;
    servers.master.down();
    minting(&world, &alice).await;
    assert!(servers.replica.cli(&["role"]).starts_with("master"));
    world.service.get(&format!("/v1/sessions/{session}"), &alice).await.expect(200);
}

#[tokio::test]
async fn when_the_master_becomes_a_replica_the_new_one_is_found() {
    let servers = RedisSentinel::start();
    let world = at(&servers.url(), |config| config);
    let alice = world.bearer("alice");
    world.service.mint(&alice).await.expect_minted();
    servers.swap();
    let swapped = async || servers.master.cli(&["role"]).starts_with("slave").then_some(());
    eventually("the roles are swapped", 20, swapped).await;
    minting(&world, &alice).await;
    assert!(servers.replica.cli(&["role"]).starts_with("master"));
}

#[tokio::test]
async fn a_node_that_takes_no_writes_is_asked_anew_each_time() {
    let server = RedisServer::start();
    let world = at(&server.url(), |config| config);
    let alice = world.bearer("alice");
    world.service.mint(&alice).await.expect_minted();
    let before = server.connections("normal");
    // Of a master that is not there.
    server.cli(&["replicaof", "127.0.0.1", "1"]);
    refusing(&world, &alice).await;
    eventually("another connection", 10, async || server.connections("normal").is_disjoint(&before).then_some(())).await;
    server.cli(&["replicaof", "no", "one"]);
    minting(&world, &alice).await;
    assert_eq!(world.upstream.minted(), 2);
}
