//! Several permanent keys: when the next one takes over, and when it must not.

use crate::support::{Config, World, error, secrets};

#[tokio::test]
async fn the_fallback_key_takes_over_from_a_key_that_is_refused() {
    let world = World::with(|config: Config| config.keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]));
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
    world.service.mint(&token).await.expect_minted();
    let keys: Vec<_> = world.upstream.requests().iter().map(|request| request.bearer().to_owned()).collect();
    let (first, second) = (secrets::PRIMARY_KEY, secrets::FALLBACK_KEY);
    assert_eq!(keys, [first, first, second, second], "a key that was just refused is not tried again at once");
    world.upstream.revoke(secrets::FALLBACK_KEY);
    world.service.mint(&token).await.expect_problem(502, "upstream_auth_failed");
}

#[tokio::test]
async fn the_fallback_key_is_not_used_for_what_it_cannot_mend() {
    for (reply, code) in [
        (error(401, "invalid_request_error", "missing_scope"), "upstream_permission_denied"),
        (error(403, "request_forbidden", "unsupported_country_region_territory"), "upstream_permission_denied"),
        (error(400, "invalid_request_error", "unknown_parameter"), "upstream_rejected"),
    ] {
        let world = World::with(|config| config.keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]));
        world.upstream.always(reply);
        world.service.mint(&world.bearer("alice")).await.expect_problem(502, code);
        assert_eq!(world.upstream.count(), 1, "{code}");
        assert_eq!(world.upstream.last().bearer(), secrets::PRIMARY_KEY);
    }
}

#[tokio::test]
async fn a_key_that_was_refused_once_is_not_given_up_for_ever() {
    let world = World::with(|config| config.keys(&["TEST_OPENAI_KEY", "TEST_OPENAI_KEY_FALLBACK"]));
    let token = world.bearer("alice");
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
    world.upstream.restore(secrets::PRIMARY_KEY);
    world.upstream.revoke(secrets::FALLBACK_KEY);
    let answer = world.service.mint(&token).await;
    assert_eq!(answer.status, 200, "one of the two keys is good: {answer}");
}
