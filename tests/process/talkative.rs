//! The most talkative log.

use crate::support::World;

/// What a log may not hold is looked for when the service stops.
#[tokio::test]
async fn at_trace_level_the_log_holds_no_secret() {
    let world = World::with(|config| config.set("telemetry.log", r#""trace""#));
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    world.service.mint(&format!("{token}x")).await.expect_problem(401, "invalid_token");
    world.service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200);
    assert!(world.service.log().iter().any(|line| line["level"] == "TRACE"), "{}", world.service.stderr());
}
