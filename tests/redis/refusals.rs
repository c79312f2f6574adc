//! The server answers, and does not do what it is asked: nothing is admitted then.

use crate::support::redis::RedisServer;
use crate::support::{World, eventually};
use crate::{at, minting, refusing};

/// Makes the server refuse, checks what the service does, and sets it right again.
async fn refuses(world: &World, spoil: impl FnOnce(), cause: &str, mend: impl FnOnce()) {
    let alice = world.bearer("alice");
    minting(world, &alice).await;
    spoil();
    refusing(world, &alice).await;
    let minted = world.upstream.minted();
    for name in ["alice", "bob"] {
        world.service.mint(&world.bearer(name)).await.expect_problem(503, "store_unavailable");
    }
    assert_eq!(world.upstream.minted(), minted);
    let told =
        async || world.service.log().iter().any(|line| line["cause"].as_str().is_some_and(|it| it.contains(cause))).then_some(());
    eventually(cause, 5, told).await;
    mend();
    minting(world, &alice).await;
    assert!(!world.service.stderr().contains("panicked"));
}

#[tokio::test]
async fn a_server_without_memory_admits_nothing() {
    let server = RedisServer::start();
    let world = at(&server.url(), |config| config);
    let limit = |bytes: &str| assert_eq!(server.cli(&["config", "set", "maxmemory", bytes]), "OK");
    server.cli(&["config", "set", "maxmemory-policy", "noeviction"]);
    let before = server.connections("normal");
    refuses(&world, || limit("1mb"), "OOM", || limit("0")).await;
    // It is the same server: another connection would help nobody.
    assert_eq!(server.connections("normal"), before);
}

#[tokio::test]
async fn a_server_that_cannot_save_admits_nothing() {
    let server = RedisServer::start();
    let world = at(&server.url(), |config| config);
    let spoil = || {
        server.cli(&["config", "set", "save", "3600 1"]);
        std::fs::remove_dir_all(server.folder()).expect("its folder goes");
        server.cli(&["bgsave"]);
    };
    refuses(&world, spoil, "MISCONF", || drop(server.cli(&["config", "set", "stop-writes-on-bgsave-error", "no"]))).await;
}

#[tokio::test]
async fn a_user_who_may_not_enough_admits_nothing() {
    for (taken, cause) in [("-evalsha", "NOPERM"), ("-hset", "can't run this command")] {
        let server = RedisServer::start();
        let world = at(&server.url(), |config| config.limit("mints_per_minute", 1000));
        let rule = |rule: &str| assert_eq!(server.cli(&["acl", "setuser", "default", rule]), "OK");
        refuses(&world, || rule(taken), cause, || rule("+@all")).await;
    }
}

#[tokio::test]
async fn a_server_that_reads_its_file_admits_nothing_until_it_has() {
    let slow = ["--appendonly", "no", "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::with("redis-server", &slow);
    let world = at(&server.url(), |config| config.limit("monthly_mints", 60));
    let alice = world.bearer("alice");
    for _ in 0..40 {
        world.service.mint(&alice).await.expect_minted();
    }
    assert_eq!(server.cli(&["save"]), "OK");
    server.down();
    server.up();
    assert_eq!(server.cli(&["ping"]).split(' ').next(), Some("LOADING"));
    refusing(&world, &alice).await;
    minting(&world, &alice).await;
    // What was counted before is known again.
    for _ in 41..60 {
        world.service.mint(&alice).await.expect_minted();
    }
    world.service.mint(&alice).await.expect_problem(429, "quota_exhausted");
}
