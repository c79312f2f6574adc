//! Users of the server's ACL, and TLS.

use reqwest::Method;
use serde_json::json;

use crate::support::redis::{Authority, RedisServer};
use crate::support::{Config, Issuer, Scope, Service, Upstream, eventually, now};
use crate::{at, stored};

/// What `deploy/docs/store-redis.md` says.
const DOCUMENTATION: &str = include_str!("../../deploy/docs/store-redis.md");
const PASSWORD: &str = "canary-redis-password";

/// The rules of the documented user, for the prefix of these tests.
fn documented_rules() -> Vec<String> {
    let line = DOCUMENTATION.lines().find_map(|line| line.strip_prefix("ACL SETUSER ephemint ")).expect("the documented user");
    line.replace("<password>", PASSWORD).replace("ephemint:", "test:").split(' ').map(str::to_owned).collect()
}

/// A server that knows nobody but the documented user, beside the tests' own.
fn server() -> RedisServer {
    let server = RedisServer::start();
    let rules = documented_rules();
    let words: Vec<&str> = ["acl", "setuser", "ephemint"].into_iter().chain(rules.iter().map(String::as_str)).collect();
    assert_eq!(server.cli(&words), "OK", "{rules:?}");
    server
}

#[tokio::test]
async fn the_documented_user_is_enough_for_everything() {
    let server = server();
    let world = at(&server.url_as("ephemint", PASSWORD), |config| {
        let of_all = config.limit("mints_per_minute", 50).limit("concurrent_calls", 50).limit("monthly_mints", 50);
        of_all.set("limits.global.mints_per_minute", "1000").webhook()
    });
    let (alice, service) = (world.bearer("alice"), &world.service);
    let admin = async |method, path: &str| service.admin(method, path).send().await;
    let session = service.mint(&alice).await.expect_session();
    let again =
        async || service.call(Method::POST, crate::support::MINT).bearer(&alice).header("Idempotency-Key", "one").send().await;
    assert_eq!(again().await.expect_session(), again().await.expect_session());
    world.upstream.script(crate::support::error(500, "server_error", "server_error"));
    service.mint(&alice).await;
    service.report(&session, "rtc_1", &alice).await.expect(204);
    for path in ["/v1/sessions", &format!("/v1/sessions/{session}")] {
        service.get(path, &alice).await.expect(200);
    }
    admin(Method::GET, "/admin/v1/sessions?state=in_call").await.expect(200);
    service.delete(&format!("/v1/sessions/{session}"), &alice).await.expect(204);
    eventually("the call is hung up", 10, async || (world.upstream.hang_ups().len() == 1).then_some(())).await;
    let block = service.admin(Method::PUT, "/admin/v1/users/canary-user-alice/block").json(&json!({"expires_at": now() + 600}));
    block.send().await.expect(200);
    service.mint(&alice).await.expect_problem(403, "user_blocked");
    admin(Method::DELETE, "/admin/v1/users/canary-user-alice/block").await.expect(204);
    service.mint(&alice).await.expect_minted();
    eventually("it listens", 10, async || (!server.connections("pubsub").is_empty()).then_some(())).await;
    assert_eq!(server.cli(&["acl", "log"]), "");
    assert_eq!(crate::failures(service, "refused").await + crate::failures(service, "script").await, 0);
}

#[tokio::test]
async fn the_documented_user_can_do_nothing_else() {
    let server = server();
    server.cli(&["set", "other", "1"]);
    let ask = |words: &[&str]| server.cli(&[&["--user", "ephemint", "--pass", PASSWORD, "--no-auth-warning"], words].concat());
    assert_eq!(ask(&["set", "test:o:1", "1", "EX", "9"]), "OK");
    for words in [
        &["get", "other"][..],
        &["eval", "return redis.call('get', KEYS[1])", "1", "other"],
        &["keys", "*"],
        &["flushall"],
        &["config", "get", "*"],
        &["acl", "list"],
        &["publish", "other", "x"],
        &["function", "list"],
        &["debug", "jmap"],
    ] {
        let said = ask(words);
        assert!(said.contains("NOPERM") || said.contains("can't run") || said.contains("permission"), "{words:?}: {said}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_in_the_log_without_being_named() {
    const WRONG: &str = "canary-redis-wrong";
    let server = server();
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let url = server.url_as("ephemint", WRONG);
    let service = Service::start_unready(&stored(Config::new(&issuer, &upstream), &url));
    for (name, value) in [("the wrong password", WRONG), ("the password", PASSWORD)] {
        service.guard(name, value, Scope::Everywhere);
    }
    service.mint(&issuer.bearer("alice")).await.expect_problem(503, "store_unavailable");
    said(&service, "authentication failed").await;
    assert_eq!(upstream.count(), 0);
}

/// Until the log says why the store cannot be reached.
async fn said(service: &Service, why: &str) {
    let found = async || {
        let is_told = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|it| it.starts_with("the store cannot be reached"))
                && line["cause"].as_str().is_some_and(|cause| cause.contains(why))
        };
        service.log().iter().any(is_told).then_some(())
    };
    eventually(why, 10, found).await;
}

#[tokio::test]
async fn a_private_authority_is_believed_when_it_is_named() {
    let authority = Authority::make();
    let (_server, port) = authority.server();
    let certificate = authority.certificate().display().to_string();
    for host in ["localhost", "127.0.0.1"] {
        let world = at(&format!("rediss://{host}:{port}"), |config| config.env("SSL_CERT_FILE", &certificate));
        world.service.mint(&world.bearer("alice")).await.expect_minted();
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (authority, other) = (Authority::make(), Authority::make());
    let (_server, port) = authority.server();
    let certificate = other.certificate().display().to_string();
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let config = stored(Config::new(&issuer, &upstream), &format!("rediss://localhost:{port}"));
    let service = Service::start_unready(&config.env("SSL_CERT_FILE", &certificate));
    service.mint(&issuer.bearer("alice")).await.expect_problem(503, "store_unavailable");
    said(&service, "certificate").await;
    assert_eq!(upstream.count(), 0);
}
