//! What OpenAI tells: whom it blocks is blocked here, once for each delivery, however often it comes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Config, Delivery, WEBHOOK, World, eventually, now, secrets};

fn world() -> World {
    World::with(Config::webhook)
}

/// The pseudonym of a user, as OpenAI knows it: what the last mint sent.
async fn identifier(world: &World, token: &str) -> String {
    world.service.mint(token).await.expect_minted();
    world.upstream.last().header("openai-safety-identifier").unwrap().to_owned()
}

fn block_of(user: &str) -> String {
    format!("/admin/v1/users/{user}/block")
}

fn entries(world: &World, event: &str) -> Vec<Value> {
    world.service.audit().into_iter().filter(|entry| entry["event"] == event).collect()
}

async fn count(world: &World, outcome: &str) -> u64 {
    let metrics = world.service.admin(Method::GET, "/metrics").send().await.expect(200).text();
    let name = format!("ephemint_webhooks_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn whom_openai_blocks_gets_nothing_more_and_loses_the_calls_that_are_under_way() {
    let world = world();
    let (alice, bob) = (world.bearer("alice"), world.bearer("bob"));
    let user = identifier(&world, &alice).await;
    let session = world.service.mint(&alice).await.expect_session();
    let other = world.service.mint(&bob).await.expect_session();
    world.service.report(&session, "rtc_alice", &alice).await.expect(204);
    world.service.report(&other, "rtc_bob", &bob).await.expect(204);
    let answer = Delivery::blocked("wh_1", &user).send(&world.service).await;
    assert!(answer.expect(204).body.is_empty() && answer.header("cache-control") == Some("no-store"), "{answer}");
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
    world.service.mint(&bob).await.expect_minted();
    let done = async || world.upstream.hang_ups().iter().any(|(id, _)| id == "rtc_alice").then_some(());
    eventually("the call is hung up", 10, done).await;
    assert!(world.upstream.hang_ups().iter().all(|(call, _)| call == "rtc_alice"));
    let block = world.service.admin(Method::GET, &block_of(&user)).send().await.expect(200).json();
    let reason = "OpenAI blocked this user: category bio, event evt_wh_1";
    assert_eq!((&block["author"], &block["reason"], &block["expires_at"]), (&json!("openai"), &json!(reason), &Value::Null));
    let written = entries(&world, "block");
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!((&written[0]["user"], &written[0]["author"]), (&json!(user), &json!("openai")));
    assert_eq!((&written[0]["cause"], &written[0]["request_id"]), (&json!(reason), &json!(answer.request_id())));
    assert!(entries(&world, "revoke").iter().all(|entry| entry["author"] == "openai" && entry["user"] == *user));
    assert_eq!((count(&world, "blocked").await, entries(&world, "webhook").len()), (1, 0));
}

#[tokio::test]
async fn a_block_that_an_operator_has_lifted_does_not_come_back_with_a_redelivery() {
    let world = world();
    let alice = world.bearer("alice");
    let user = identifier(&world, &alice).await;
    Delivery::blocked("wh_1", &user).send(&world.service).await.expect(204);
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
    world.service.admin(Method::DELETE, &block_of(&user)).send().await.expect(204);
    for late in [0, 1, 200] {
        Delivery::blocked("wh_1", &user).late_by(late).send(&world.service).await.expect(204);
        world.service.mint(&alice).await.expect_minted();
    }
    assert_eq!((entries(&world, "block").len(), count(&world, "repeated").await), (1, 3));
    Delivery::blocked("wh_2", &user).send(&world.service).await.expect(204);
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
}

#[tokio::test]
async fn a_block_may_end_by_itself_and_never_shortens_one_of_an_operator() {
    let world = World::with(|config| config.webhook().set("webhooks.openai.block_seconds", "2"));
    let alice = world.bearer("alice");
    let user = identifier(&world, &alice).await;
    Delivery::blocked("wh_1", &user).send(&world.service).await.expect(204);
    world.service.mint(&alice).await.expect_problem(403, "user_blocked");
    eventually("the block ends", 10, async || (world.service.mint(&alice).await.status == 200).then_some(())).await;
    for expires_at in [Value::Null, json!(now() + 600)] {
        let by_carol = json!({"reason": "abuse", "author": "carol", "expires_at": expires_at});
        world.service.admin(Method::PUT, &block_of(&user)).json(&by_carol).send().await.expect(200);
        Delivery::blocked(&format!("wh_{expires_at}"), &user).send(&world.service).await.expect(204);
        let block = world.service.admin(Method::GET, &block_of(&user)).send().await.expect(200).json();
        assert_eq!((&block["author"], &block["expires_at"]), (&json!("carol"), &expires_at));
    }
    let written = entries(&world, "webhook");
    assert_eq!(written.len(), 2, "{written:?}");
    assert_eq!((&written[0]["outcome"], &written[0]["user"]), (&json!("blocked_before"), &json!(user)));
    assert_eq!(count(&world, "blocked_before").await, 2);
}

#[tokio::test]
async fn a_longer_block_takes_the_place_of_a_shorter_one() {
    let world = world();
    let alice = world.bearer("alice");
    let user = identifier(&world, &alice).await;
    let short = json!({"author": "carol", "expires_at": now() + 600});
    world.service.admin(Method::PUT, &block_of(&user)).json(&short).send().await.expect(200);
    Delivery::blocked("wh_1", &user).send(&world.service).await.expect(204);
    let block = world.service.admin(Method::GET, &block_of(&user)).send().await.expect(200).json();
    assert_eq!((&block["author"], &block["expires_at"]), (&json!("openai"), &Value::Null));
}

#[tokio::test]
async fn other_events_are_answered_written_down_and_do_nothing() {
    let world = world();
    let event =
        |kind: &str, data: Value| json!({"id": "evt_7", "object": "event", "created_at": now(), "type": kind, "data": data});
    let foreign = json!({"safety_identifier": "somebody@example.com", "safety_category": "bio"});
    for (id, event, outcome, cause) in [
        ("wh_1", event("batch.completed", json!({"id": "batch_1"})), "ignored", "batch.completed, event evt_7"),
        (
            "wh_2",
            event("safety_identifier.blocked", foreign),
            "ignored",
            "safety_identifier.blocked, event evt_7: not an identifier of this service",
        ),
        (
            "wh_3",
            event("safety.warning_issued", json!({"id": "case_1"})),
            "noted",
            "safety.warning_issued, event evt_7, case case_1",
        ),
        (
            "wh_4",
            event("safety.deactivation_issued", json!({"id": "case_2"})),
            "noted",
            "safety.deactivation_issued, event evt_7, case case_2",
        ),
    ] {
        let answer = Delivery::of(id, &event).send(&world.service).await;
        answer.expect(204);
        let entry = world.service.audit_of(answer.request_id()).await;
        assert_eq!((&entry["event"], &entry["outcome"], &entry["status"]), (&json!("webhook"), &json!(outcome), &json!(204)));
        assert_eq!((&entry["cause"], &entry["author"]), (&json!(cause), &json!("openai")));
        assert!(entry.get("user").is_none(), "{entry}");
        Delivery::of(id, &event).send(&world.service).await.expect(204);
        let logged = async || world.service.log().into_iter().find(|line| line["what"] == cause);
        let level = if outcome == "noted" { "WARN" } else { "INFO" };
        assert_eq!(eventually("it is logged", 10, logged).await["level"], level);
    }
    assert_eq!(entries(&world, "webhook").len(), 4, "what comes again is not written down again");
    assert_eq!((count(&world, "ignored").await, count(&world, "noted").await, count(&world, "repeated").await), (2, 2, 4));
    let written = std::fs::read_to_string(world.service.audit_file()).unwrap() + &world.service.stderr();
    assert!(!written.contains("somebody@example.com"), "{written}");
    let blocks = world.service.admin(Method::GET, "/admin/v1/blocks").send().await.expect(200).json();
    assert_eq!(blocks["data"], json!([]));
}

#[tokio::test]
async fn both_secrets_are_good_while_they_are_rotated() {
    let user = "0".repeat(64);
    let (new, old) = (secrets::WEBHOOK_SECRET, secrets::FORMER_WEBHOOK_SECRET);
    let rotated =
        World::with(|config| config.webhook().set("webhooks.openai.previous_secret", r#""env://TEST_FORMER_WEBHOOK_SECRET""#));
    let after = world();
    for (number, signed_with) in [&[new][..], &[old], &[old, new], &[new, old]].into_iter().enumerate() {
        let delivery = Delivery::blocked(&format!("wh_{number}"), &user);
        let signatures: Vec<_> = signed_with.iter().map(|secret| delivery.signature(secret)).collect();
        let delivery = delivery.signed_as(&signatures.join(" "));
        delivery.clone().send(&rotated.service).await.expect(204);
        let answer = delivery.send(&after.service).await;
        if signed_with.contains(&new) {
            answer.expect(204);
        } else {
            answer.expect_problem(401, "invalid_token");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done_and_is_taken_when_it_comes_again() {
    let world = World::with(|config| config.webhook().set("audit.sinks", r#"["file:///dev/full"]"#));
    let user = "0".repeat(64);
    let warning = json!({"id": "evt_1", "type": "safety.warning_issued", "data": {"id": "case_1"}});
    for delivery in [Delivery::blocked("wh_1", &user), Delivery::of("wh_2", &warning)] {
        // Were it remembered as done, the second one would be answered with 204.
        for _ in 0..2 {
            let answer = delivery.clone().send(&world.service).await;
            answer.expect_problem(503, "audit_unavailable");
            assert_eq!(answer.retry_after(), 10);
        }
    }
    world.service.admin(Method::GET, &block_of(&user)).send().await.expect_problem(404, "not_found");
    assert_eq!((count(&world, "failed").await, count(&world, "blocked").await), (4, 0));
}

#[tokio::test]
async fn many_deliveries_of_one_event_at_once_block_once_and_for_all() {
    let world = world();
    let alice = world.bearer("alice");
    let user = identifier(&world, &alice).await;
    let session = world.service.mint(&alice).await.expect_session();
    world.service.report(&session, "rtc_1", &alice).await.expect(204);
    let all = (0..32).map(|_| Delivery::blocked("wh_1", &user).send(&world.service));
    for answer in futures_util::future::join_all(all).await {
        answer.expect(204);
    }
    let done = async || (!world.upstream.hang_ups().is_empty()).then_some(());
    eventually("the call is hung up", 10, done).await;
    assert_eq!(world.upstream.hang_ups().len(), 1);
    assert_eq!(entries(&world, "revoke").len(), 2, "each of the two sessions is revoked once");
    world.service.admin(Method::DELETE, &block_of(&user)).send().await.expect(204);
    Delivery::blocked("wh_1", &user).send(&world.service).await.expect(204);
    world.service.mint(&alice).await.expect_minted();
}

#[tokio::test]
async fn the_path_is_there_only_where_it_is_configured() {
    let without = World::start();
    let delivery = Delivery::blocked("wh_1", &"0".repeat(64));
    delivery.clone().send(&without.service).await.expect_problem(404, "not_found");
    let with = world();
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = with.service.call(method.clone(), WEBHOOK).send().await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    with.service.admin(Method::POST, WEBHOOK).send().await.expect_problem(404, "not_found");
    delivery.send(&with.service).await.expect(204);
}
