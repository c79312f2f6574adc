//! Opaque tokens: who is asked about them, how, and how often.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{CLIENT_ID, Config, Introspector, Reply, World, active, eventually, secrets, user};

const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA-opaque_0001";

/// A world whose only identity is `legacy`, a server that knows [`TOKEN`] as one of alice.
fn asking(change: impl FnOnce(Config) -> Config) -> (World, Introspector) {
    let server = Introspector::start();
    server.knows(TOKEN, "alice");
    let world = World::with(|config| change(config.without("identity").introspection("legacy", &server)));
    (world, server)
}

fn seconds(name: &str, value: &str) -> impl FnOnce(Config) -> Config {
    move |config| config.set(&format!("identity.introspection.legacy.{name}"), value)
}

/// The value of a metric.
pub(crate) async fn metric(world: &World, name: &str) -> u64 {
    let answer = world.service.admin(Method::GET, "/metrics").send().await;
    let text = answer.expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

#[tokio::test]
async fn an_active_token_mints_and_is_asked_about_once() {
    let (world, server) = asking(|config| config);
    let answer = world.service.mint(TOKEN).await;
    answer.expect_minted();
    world.service.mint(TOKEN).await.expect_minted();
    world.service.get("/v1/sessions", TOKEN).await.expect(200);

    let [request] = server.requests().try_into().expect("one question");
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/introspect"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.body, format!("token={TOKEN}&token_type_hint=access_token").into_bytes());
    let pair = STANDARD.encode("voice%3A+service:canary-introspection-secret%2F0001+%2B%3A%25");
    assert_eq!(request.header("authorization"), Some(format!("Basic {pair}").as_str()));
    world.service.guard("the client's credentials", &pair, crate::support::Scope::Everywhere);

    let line = world.service.audit_of(answer.request_id()).await;
    assert_eq!(line["identity"], "introspection.legacy");
    assert!(!format!("{:?}", world.upstream.last()).contains(TOKEN), "the token reached the upstream");
    for (name, value) in [
        (r#"ephemint_introspections_total{server="legacy",outcome="active"}"#, 1),
        ("ephemint_token_cache_hits_total", 2),
        ("ephemint_token_cache_misses_total", 1),
    ] {
        assert_eq!(metric(&world, name).await, value, "{name}");
    }
}

#[tokio::test]
async fn the_client_can_prove_itself_in_the_form() {
    let (world, server) = asking(|config| config.set("identity.introspection.legacy.client_auth", r#""post""#));
    world.service.mint(TOKEN).await.expect_minted();
    let [request] = server.requests().try_into().expect("one question");
    assert_eq!(request.header("authorization"), None);
    let fields = [
        ("token", TOKEN),
        ("token_type_hint", "access_token"),
        ("client_id", CLIENT_ID),
        ("client_secret", secrets::INTROSPECTION_SECRET),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    assert_eq!(String::from_utf8_lossy(&request.body), form);
}

#[tokio::test]
async fn fifty_callers_with_one_token_ask_once() {
    let (world, server) = asking(|config| config);
    let reply = Reply::json(200, &active("alice")).after(Duration::from_millis(500));
    server.breaks(reply);
    let calls = (0..50).map(|_| world.service.mint(TOKEN));
    for answer in join_all(calls).await {
        answer.expect_minted();
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn an_answer_is_kept_though_the_caller_has_gone() {
    let (world, server) = asking(|config| config);
    server.breaks(Reply::json(200, &active("alice")).after(Duration::from_millis(700)));
    let gone = tokio::time::timeout(Duration::from_millis(200), world.service.mint(TOKEN)).await;
    assert!(gone.is_err(), "the answer came too early for this test");
    world.service.mint(TOKEN).await.expect_minted();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_refused_token_is_not_asked_about_again_for_a_while() {
    let (world, server) = asking(|config| config);
    let forged = "forged-opaque-token-0123456789";
    for _ in 0..3 {
        world.service.mint(forged).await.expect_problem(401, "invalid_token");
    }
    assert_eq!((server.count(), world.upstream.count()), (1, 0));
    assert_eq!(metric(&world, r#"ephemint_introspections_total{server="legacy",outcome="inactive"}"#).await, 1);
    world.service.mint(TOKEN).await.expect_minted();
}

#[tokio::test]
async fn a_token_that_became_good_is_accepted_when_the_refusal_is_forgotten() {
    let (world, server) = asking(seconds("negative_cache_seconds", "1"));
    let late = "late-opaque-token-0123456789";
    world.service.mint(late).await.expect_problem(401, "invalid_token");
    server.knows(late, "bob");
    eventually("the token is asked about again", 10, async || (world.service.mint(late).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn nothing_is_remembered_for_no_seconds() {
    let (world, server) = asking(|config| seconds("negative_cache_seconds", "0")(seconds("cache_seconds", "0")(config)));
    for _ in 0..2 {
        world.service.mint(TOKEN).await.expect_minted();
        world.service.mint("forged-opaque-token-0123456789").await.expect_problem(401, "invalid_token");
    }
    assert_eq!(server.count(), 4);
    server.revoke(TOKEN);
    world.service.mint(TOKEN).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_revoked_token_is_refused_when_the_answer_is_forgotten() {
    let (world, server) = asking(seconds("cache_seconds", "1"));
    world.service.mint(TOKEN).await.expect_minted();
    server.revoke(TOKEN);
    let refused = eventually("the token is asked about again", 10, async || {
        let answer = world.service.mint(TOKEN).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_exp_and_nobody_is_asked() {
    let (world, server) = asking(seconds("cache_seconds", "300"));
    let mut answer = active("alice");
    answer["exp"] = json!(crate::support::now() + 2);
    server.says(TOKEN, answer);
    world.service.mint(TOKEN).await.expect_minted();
    let refused = eventually("the token expires", 10, async || {
        let answer = world.service.mint(TOKEN).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.expect_problem(401, "token_expired");
}

#[tokio::test]
async fn no_outage_is_remembered_and_none_lets_anybody_in() {
    let other = Introspector::start();
    other.knows(TOKEN, "alice");
    let (world, server) = asking(seconds("timeout_seconds", "1"));
    let yes = active("alice");
    let redirect = |status| Reply::new(status).header("Location", &other.url());
    let padded = json!({"active": true, "sub": user("alice"), "aud": "voice", "padding": "x".repeat(70_000)});
    for (name, reply) in [
        ("500", Reply::json(500, &yes)),
        ("503", Reply::json(503, &yes)),
        ("404", Reply::json(404, &yes)),
        ("201", Reply::json(201, &yes)),
        ("204", Reply::new(204)),
        ("301", redirect(301)),
        ("307", redirect(307)),
        ("401", Reply::json(401, &json!({"error": "invalid_client"}))),
        ("400", Reply::json(400, &json!({"error": "invalid_client"}))),
        ("another 400", Reply::json(400, &json!({"active": true, "error": "invalid_request"}))),
        ("403", Reply::json(403, &yes)),
        ("HTML", Reply::text(200, "text/html", "<html>maintenance</html>")),
        ("nothing", Reply::text(200, "application/json", "")),
        ("a list", Reply::json(200, &json!([yes.clone()]))),
        ("active twice", Reply::text(200, "application/json", r#"{"active":false,"active":true,"sub":"x"}"#)),
        ("a large body", Reply::json(200, &padded)),
        ("an endless body", Reply::endless("application/json", b"                ")),
        ("a cut body", Reply::json(200, &yes).cut(20, crate::support::End::Close)),
        ("a reset", Reply::json(200, &yes).cut(0, crate::support::End::Reset)),
        ("what is not HTTP", Reply::raw("SSH-2.0-OpenSSH_9.2\r\n")),
        ("silence", Reply::never()),
    ] {
        server.breaks(reply);
        let answer = world.service.mint(TOKEN).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "identity_unavailable"), "{name}: {answer}");
        answer.expect_problem(503, "identity_unavailable");
        let ready = world.service.call(Method::GET, "/readyz").send().await;
        assert_eq!(ready.status, 200, "{name}: one server of tokens takes nobody else's service down");
    }
    server.refuse();
    world.service.mint(TOKEN).await.expect_problem(503, "identity_unavailable");
    assert_eq!((world.upstream.count(), other.count()), (0, 0));
    server.up();
    server.breaks(None);
    world.service.mint(TOKEN).await.expect_minted();
    let refused = r#"ephemint_introspections_total{server="legacy",outcome="client_refused"}"#;
    assert_eq!(metric(&world, refused).await, 3);
    let errors = world.service.log().into_iter().filter(|line| line["level"] == "ERROR" && line["server"] == "legacy");
    assert_eq!(errors.count(), 3, "what only an operator can mend is an error");
}

#[tokio::test]
async fn a_remembered_token_outlasts_an_outage() {
    let (world, server) = asking(|config| config);
    world.service.mint(TOKEN).await.expect_minted();
    server.refuse();
    world.service.mint(TOKEN).await.expect_minted();
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_no_outage() {
    let (world, server) = asking(|config| config);
    server.breaks(Reply::json(200, &active("alice")).end(crate::support::End::Close));
    for number in 0..20 {
        world.service.mint(&format!("opaque-token-number-{number:04}")).await.expect_minted();
    }
}

#[tokio::test]
async fn a_flood_of_forged_tokens_is_bounded_and_stops_no_known_one() {
    let (world, server) = asking(seconds("timeout_seconds", "3"));
    world.service.mint(TOKEN).await.expect_minted();
    server.breaks(Reply::never());
    let forged: Vec<_> = (0..400).map(|number| format!("forged-opaque-token-{number:06}")).collect();
    let known = async {
        eventually("the flood is under way", 10, async || (server.count() > 100).then_some(())).await;
        world.service.mint(TOKEN).await
    };
    let (refused, known) = tokio::join!(join_all(forged.iter().map(|token| world.service.mint(token))), known);
    known.expect_minted();
    for answer in refused {
        answer.expect_problem(503, "identity_unavailable");
    }
    assert!(server.count() <= 257, "{} questions at once", server.count());
    assert!(metric(&world, r#"ephemint_introspections_total{server="legacy",outcome="busy"}"#).await >= 1);
}
