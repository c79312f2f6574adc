//! Several keys: which one is used, when the next one is, and how a refused one comes back.

use serde_json::json;

use crate::support::{Config, World, error, eventually, secrets};
use crate::{count, credentials, entries, fingerprint};

const BOTH: [&str; 2] = ["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"];

fn with_both() -> World {
    World::with(|config: Config| config.keys(&BOTH))
}

fn bearers(world: &World) -> Vec<String> {
    world.upstream.requests().iter().map(|request| request.bearer().to_owned()).collect()
}

#[tokio::test]
async fn a_refused_key_is_asked_about_in_the_background_and_used_again_when_it_is_good() {
    let world = with_both();
    let token = world.bearer("alice");
    world.upstream.revoke(secrets::PRIMARY_KEY);
    for _ in 0..5 {
        world.service.mint(&token).await.expect_minted();
    }
    let sent = bearers(&world);
    assert_eq!(
        sent.iter().filter(|key| *key == secrets::PRIMARY_KEY).count(),
        1,
        "users' requests do not try it again: {sent:?}"
    );
    eventually("somebody asks about it", 5, async || (world.upstream.probes().len() >= 2).then_some(())).await;
    assert!(world.upstream.probes().iter().all(|key| key == secrets::PRIMARY_KEY));
    let shown = credentials(&world.service).await;
    assert_eq!(shown["credentials"][0]["state"], "resting");
    assert_eq!(shown["credentials"][1]["state"], "in_use");
    assert_eq!(shown["credentials"][0]["last_failure"]["cause"], "status 401, invalid_api_key");
    world.upstream.restore(secrets::PRIMARY_KEY);
    crate::used(&world, &token, secrets::PRIMARY_KEY).await;
    assert_eq!(entries(&world.service, "accepted_again").len(), 1);
    assert_eq!(entries(&world.service, "rested")[0]["cause"], "status 401, invalid_request_error, invalid_api_key");
    assert_eq!(count(&world.service, "accepted_again").await, 1);
}

/// Where keys are not asked about, the next request is the question, ever less often.
#[tokio::test]
async fn without_questions_a_refused_key_is_tried_again_by_few_requests() {
    let references = BOTH.map(|name| format!("env://{name}"));
    let world = World::with(|config| {
        config.set("upstreams.openai.credential", &format!(r#"{{ keys = {references:?}, verify = "none" }}"#))
    });
    let token = world.bearer("alice");
    world.upstream.revoke(secrets::PRIMARY_KEY);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(4);
    while std::time::Instant::now() < deadline {
        world.service.mint(&token).await.expect_minted();
    }
    let tried = bearers(&world).iter().filter(|key| *key == secrets::PRIMARY_KEY).count();
    assert!((2..=5).contains(&tried), "{tried}");
    world.upstream.restore(secrets::PRIMARY_KEY);
    let is_used = async || {
        world.service.mint(&token).await.expect_minted();
        (world.upstream.last().bearer() == secrets::PRIMARY_KEY).then_some(())
    };
    eventually("it is used again", 20, is_used).await;
    assert_eq!(world.upstream.probes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_that_may_not_list_models_comes_back_too() {
    let world = with_both();
    let token = world.bearer("alice");
    world.upstream.answer_probes(error(401, "invalid_request_error", "missing_scope"));
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
    world.upstream.restore(secrets::PRIMARY_KEY);
    crate::used(&world, &token, secrets::PRIMARY_KEY).await;
}

#[tokio::test]
async fn when_all_keys_are_refused_the_caller_is_told_and_no_key_is_given_up() {
    let world = with_both();
    let token = world.bearer("alice");
    for key in [secrets::PRIMARY_KEY, secrets::FALLBACK_KEY] {
        world.upstream.revoke(key);
    }
    for _ in 0..3 {
        world.service.mint(&token).await.expect_problem(502, "upstream_auth_failed");
    }
    let shown = credentials(&world.service).await;
    assert_eq!(shown["in_use"], json!(fingerprint(secrets::PRIMARY_KEY)), "{shown}");
    world.upstream.restore(secrets::FALLBACK_KEY);
    let is_minted = async || (world.service.mint(&token).await.status == 200).then_some(());
    eventually("the fallback is found good", 5, is_minted).await;
}

#[tokio::test]
async fn a_single_key_that_was_refused_is_used_as_soon_as_it_is_good() {
    let world = World::start();
    let token = world.bearer("alice");
    world.upstream.script(error(401, "invalid_request_error", "invalid_api_key"));
    world.service.mint(&token).await.expect_problem(502, "upstream_auth_failed");
    world.service.mint(&token).await.expect_minted();
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_problem(502, "upstream_auth_failed");
    world.upstream.restore(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn rate_limits_go_on_to_the_next_key_only_where_that_is_asked_for() {
    let limited = || error(429, "rate_limit_error", "rate_limit_exceeded").header("x-should-retry", "false");
    let world = with_both();
    world.upstream.script(limited());
    world.service.mint(&world.bearer("alice")).await.expect_problem(503, "upstream_rate_limited");
    assert_eq!(bearers(&world), [secrets::PRIMARY_KEY]);

    let references = BOTH.map(|name| format!("env://{name}"));
    let world = World::with(|config| {
        let credential = format!(r#"{{ keys = {references:?}, rotate_on = ["rate_limit"] }}"#);
        config.set("upstreams.openai.credential", &credential)
    });
    let token = world.bearer("alice");
    world.upstream.script(limited().header("retry-after", "2"));
    world.service.mint(&token).await.expect_minted();
    world.service.mint(&token).await.expect_minted();
    assert_eq!(bearers(&world), [secrets::PRIMARY_KEY, secrets::FALLBACK_KEY, secrets::FALLBACK_KEY]);
    assert_eq!(credentials(&world.service).await["credentials"][0]["state"], "resting");
    assert_eq!(world.upstream.probes(), Vec::<String>::new(), "a rate limit is no reason to ask about a key");
    crate::used(&world, &token, secrets::PRIMARY_KEY).await;
}

#[tokio::test]
async fn money_and_permissions_never_go_on_to_the_next_key() {
    let references = BOTH.map(|name| format!("env://{name}"));
    for (reply, code) in [
        (error(429, "insufficient_quota", "insufficient_quota"), "upstream_billing"),
        (error(403, "request_forbidden", "unsupported_country_region_territory"), "upstream_permission_denied"),
    ] {
        let world = World::with(|config| {
            let credential = format!(r#"{{ keys = {references:?}, rotate_on = ["rate_limit"] }}"#);
            config.set("upstreams.openai.credential", &credential)
        });
        world.upstream.script(reply);
        world.service.mint(&world.bearer("alice")).await.expect_problem(502, code);
        assert_eq!(bearers(&world), [secrets::PRIMARY_KEY], "{code}");
    }
}

#[tokio::test]
async fn a_call_is_hung_up_with_the_key_that_minted_it_or_the_one_that_took_over() {
    let world = with_both();
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    world.service.report(&session, "rtc_1", &token).await.expect(204);
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.upstream.script_hang_up(error(401, "invalid_request_error", "invalid_api_key"));
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    let is_over = async || (world.upstream.hang_ups().len() == 2).then_some(());
    eventually("the call is hung up", 10, is_over).await;
    let keys: Vec<_> = world.upstream.hang_ups().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [secrets::PRIMARY_KEY, secrets::FALLBACK_KEY]);
}

/// A key of another project does not see the call.
#[tokio::test]
async fn not_to_know_a_call_ends_it_only_for_the_key_that_minted_it() {
    let file = crate::KeyFile::holding(secrets::PRIMARY_KEY);
    let references = [file.reference(), "env://TEST_OPENAI_KEY_FALLBACK".to_owned()];
    let world = World::with(|config| crate::references(config, &[&references[0], &references[1]]));
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    world.service.report(&session, "rtc_1", &token).await.expect(204);
    world.upstream.accept(&crate::key(3));
    file.write(&crate::key(3));
    crate::used(&world, &token, &crate::key(3)).await;
    world.upstream.script_hang_up(error(404, "invalid_request_error", "call_not_found"));
    world.service.delete(&format!("/v1/sessions/{session}"), &token).await.expect(204);
    let is_over = async || service_hung_up(&world).then_some(());
    eventually("the call is hung up", 10, is_over).await;
    let keys: Vec<_> = world.upstream.hang_ups().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, [crate::key(3), secrets::FALLBACK_KEY.to_owned()]);
}

fn service_hung_up(world: &World) -> bool {
    world.service.audit().iter().any(|entry| entry["event"] == "hang_up" && entry["outcome"] == "hung_up")
}
