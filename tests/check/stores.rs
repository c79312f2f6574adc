//! The store: in memory, in a file, at Redis.

use crate::checked::{check, neighbours};
use crate::support::redis::{Authority, RedisCluster, RedisSentinel, RedisServer};
use crate::support::{Config, Service};

#[test]
fn memory_and_files_are_told_apart() {
    let (issuer, upstream) = neighbours();
    let folder = tempfile::TempDir::new().expect("a folder");
    let config = Config::new(&issuer, &upstream);
    let staging = config.clone().set("environment", r#""staging""#).set("store.kind", r#""embedded""#);
    check(&staging).expect("store", "warning", "in memory only", "store.path");
    let path = folder.path().join("store");
    let filed = config.set("store.path", &format!("{:?}", path.display().to_string()));
    check(&filed).expect("store", "ok", "can be written", "");
    assert!(!path.exists() && std::fs::read_dir(folder.path()).unwrap().count() == 0, "something was left behind");
    let service = Service::start(&filed);
    check(&filed).expect("store", "warning", "another process has the file", "the running service");
    drop(service);
    check(&filed).expect("store", "ok", "can be written", "");
    std::fs::write(&path, "not ours").expect("a file");
    check(&filed).expect("store", "failed", "is not a file of ephemint", "name another path");
    assert_eq!(std::fs::read(&path).expect("the file"), b"not ours");
}

#[test]
fn a_redis_is_asked_to_do_what_a_mint_needs() {
    let (issuer, upstream) = neighbours();
    let config = |url: &str| {
        let config = Config::new(&issuer, &upstream).env("TEST_STORE_URL", url);
        config.set("store.kind", r#""redis""#).set("store.url", r#""env://TEST_STORE_URL""#)
    };
    let mut server = RedisServer::with("redis-server", &["--requirepass", "canary-permanent-key-redis"]);
    let good = server.url_as("default", "canary-permanent-key-redis");
    check(&config(&good)).expect("store", "ok", "runs scripts", "");
    check(&config(&server.url())).expect("store", "failed", "does not take the user or the password", "redis://user:password");
    let wrong = server.url_as("default", "canary-permanent-key-wrong");
    check(&config(&wrong)).expect("store", "failed", "does not take the user or the password", "redis://user:password");
    check(&config(&good.replace("redis://", "rediss://"))).expect("store", "failed", "no answer within the time", "expects TLS");
    let cluster = good.replace("redis://", "redis+cluster://");
    check(&config(&cluster)).expect("store", "failed", "is no cluster", "Write redis://");
    server.down();
    check(&config(&good)).expect("store", "failed", "nobody listens there", "host and port");
}

#[test]
fn what_a_redis_does_not_do_is_told_apart() {
    let (issuer, upstream) = neighbours();
    let config = |url: &str| {
        let config = Config::new(&issuer, &upstream).env("TEST_STORE_URL", url);
        config.set("store.kind", r#""redis""#).set("store.url", r#""env://TEST_STORE_URL""#)
    };
    let server = RedisServer::start();
    server.cli(&["acl", "setuser", "weak", "on", ">canary-permanent-key-weak", "~*", "&*", "+@read", "+ping"]);
    let weak = server.url_as("weak", "canary-permanent-key-weak");
    check(&config(&weak)).expect("store", "failed", "may not do what is needed", "store-redis.md");
    let minimal =
        "resetkeys ~ephemint:* resetchannels &ephemint:* nocommands +eval +evalsha +set +del +time +ping +select +role +info";
    let words = [&["acl", "setuser", "right", "on", ">canary-permanent-key-right"][..], &minimal.split(' ').collect::<Vec<_>>()];
    server.cli(&words.concat());
    check(&config(&server.url_as("right", "canary-permanent-key-right"))).expect("store", "ok", "runs scripts", "");
    let replica = RedisServer::with("redis-server", &["--replicaof", "127.0.0.1", &server.port().to_string()]);
    check(&config(&replica.url())).expect("store", "failed", "takes no writes", "Name the master");
    let (secure, port) = Authority::make().server();
    let untrusted = format!("rediss://127.0.0.1:{port}");
    check(&config(&untrusted)).expect("store", "failed", "of no authority that this machine trusts", "SSL_CERT_FILE");
    drop(secure);
    let nodes = RedisCluster::start();
    check(&config(&nodes.url())).expect("store", "ok", "runs scripts", "");
    // A key of one try may be this very node's.
    let one = nodes.url().replace("redis+cluster://", "redis://");
    let one = one.split(',').next().expect("a node");
    let told =
        (0..20).map(|_| check(&config(one))).find(|checked| checked.document["ok"] == false).expect("a key of another node");
    told.expect("store", "failed", "a node of a cluster", "redis+cluster://");
    let watched = RedisSentinel::start();
    check(&config(&watched.url())).expect("store", "ok", "runs scripts", "");
    let unknown = watched.url().replace("/main", "/other");
    check(&config(&unknown)).expect("store", "failed", "Sentinel knows no such master", "sentinel masters");
}
