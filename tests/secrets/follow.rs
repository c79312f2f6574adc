//! Secrets that are not permanent keys: replaced where they are, in use within seconds.

use reqwest::Method;

use crate::support::{Introspector, Scope, World, eventually, secrets};
use crate::{KeyFile, is_logged};

const NEW_TOKEN: &str = "canary-admin-token-that-came-later-0123456789";

#[tokio::test]
async fn the_admin_token_is_replaced_without_a_restart() {
    let file = KeyFile::holding(secrets::ADMIN_TOKEN);
    let world = World::with(|config| config.set("admin.token", &format!("{:?}", file.reference())));
    world.service.guard("the new admin token", NEW_TOKEN, Scope::Everywhere);
    let status = async |token: &str| {
        world.service.admin_without_token(Method::GET, "/admin/v1/credentials").bearer(token).send().await.status
    };
    assert_eq!((status(secrets::ADMIN_TOKEN).await, status(NEW_TOKEN).await), (200, 401));
    file.write(NEW_TOKEN);
    eventually("the new token is good", 5, async || (status(NEW_TOKEN).await == 200).then_some(())).await;
    assert_eq!(status(secrets::ADMIN_TOKEN).await, 401);
    file.write("too-short");
    eventually("the short one is refused", 5, async || is_logged(&world.service, "a new value is not used").then_some(())).await;
    assert_eq!((status("too-short").await, status(NEW_TOKEN).await), (401, 200));
    std::fs::remove_file(file.path()).unwrap();
    world.service.signal("HUP");
    assert_eq!(status(NEW_TOKEN).await, 200);
    // Whoever asks the test's own client next has the old one again.
    file.write(secrets::ADMIN_TOKEN);
    eventually("the first token is good again", 5, async || (status(secrets::ADMIN_TOKEN).await == 200).then_some(())).await;
}

#[tokio::test]
async fn a_client_secret_for_introspection_is_replaced_without_a_restart() {
    let (server, file) = (Introspector::start(), KeyFile::holding("canary-introspection-secret-that-is-wrong"));
    server.knows("opaque-token", "alice");
    let world = World::with(|config| {
        config
            .introspection("legacy", &server)
            .set("identity.introspection.legacy.client_secret", &format!("{:?}", file.reference()))
    });
    world.service.mint("opaque-token").await.expect_problem(503, "identity_unavailable");
    file.write(secrets::INTROSPECTION_SECRET);
    let is_minted = async || (world.service.mint("opaque-token").await.status == 200).then_some(());
    eventually("the new secret is used", 10, is_minted).await;
}
