//! Credentials that resemble an API key.

use reqwest::Method;

use crate::api_keys::{KEY, NEXT_KEY, OTHER_KEY, item, keyed, last_user, mint_for, sha256};
use crate::support::{Introspector, MINT, World, user};

#[tokio::test]
async fn what_is_almost_a_key_is_none() {
    let world = keyed(|config| config);
    let mut swapped = KEY.to_owned();
    swapped.replace_range(KEY.len() - 1.., "q");
    for (name, credential) in [
        ("truncated", KEY[..KEY.len() - 1].to_owned()),
        ("without its first character", KEY[1..].to_owned()),
        ("without its prefix", KEY["epk_".len()..].to_owned()),
        ("lower case", KEY.to_lowercase()),
        ("upper case", KEY.to_uppercase()),
        ("with a suffix", format!("{KEY}x")),
        ("with padding", format!("{KEY}=")),
        ("with a space inside", format!("{} {}", &KEY[..10], &KEY[10..])),
        ("twice", format!("{KEY}{KEY}")),
        ("in a list", format!("{KEY},{KEY}")),
        ("with one other character", swapped),
        ("its hash", sha256(KEY)),
        ("its hash in upper case", sha256(KEY).to_uppercase()),
        ("the hash of its hash", sha256(&sha256(KEY))),
        ("its name", "k1".to_owned()),
        ("its full name", "api_keys.backend/k1".to_owned()),
        ("its name and itself", format!("k1:{KEY}")),
        ("quoted", format!("\"{KEY}\"")),
        ("nothing like it", "epk_".to_owned() + &"0".repeat(64)),
        ("a key that was never configured", NEXT_KEY.to_owned()),
    ] {
        let answer = world.service.call(Method::POST, MINT).header("authorization", &format!("Bearer {credential}")).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{name}: {answer}");
        answer.expect_problem(401, "invalid_token");
    }
    assert_eq!(world.upstream.count(), 0);
    world.service.mint(KEY).await.expect_minted();
}

#[tokio::test]
async fn a_key_is_a_credential_in_its_one_place_only() {
    let world = keyed(|config| config);
    for header in ["x-api-key", "api-key", "cookie", "ephemint-key", "proxy-authorization", "ephemint-user"] {
        let call = world.service.call(Method::POST, MINT).header(header, KEY);
        call.send().await.expect_problem(401, "missing_credentials");
    }
    let bound = world.service.call(Method::POST, MINT).header("authorization", &format!("DPoP {KEY}"));
    bound.send().await.expect_problem(401, "invalid_token");
    for scheme in ["Basic", "ApiKey", "Token"] {
        let call = world.service.call(Method::POST, MINT).header("authorization", &format!("{scheme} {KEY}"));
        call.send().await.expect_problem(401, "missing_credentials");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_rights_of_one_entry_are_not_those_of_another() {
    let world = World::with(|config| {
        config
            .without("identity")
            .profile("phone")
            .set("identity.api_keys.acting.keys", &format!("[{}]", item("k1", KEY, "")))
            .set("identity.api_keys.acting.may_act_for_users", "true")
            .set("identity.api_keys.plain.keys", &format!("[{}]", item("k1", OTHER_KEY, "")))
            .set("identity.api_keys.plain.profiles", r#"["phone"]"#)
    });
    mint_for(&world.service, KEY, &user("alice")).await.expect_minted();
    let alice = last_user(&world);
    world.service.mint_from("phone", OTHER_KEY).await.expect_minted();
    let plain = last_user(&world);
    mint_for(&world.service, OTHER_KEY, &user("alice")).await.expect_problem(403, "profile_forbidden");
    let call = world.service.call(Method::POST, &format!("{MINT}?profile=phone")).bearer(OTHER_KEY);
    call.header("ephemint-user", &user("alice")).send().await.expect_minted();
    assert!(last_user(&world) == plain && plain != alice);
}

#[tokio::test]
async fn naming_the_owner_is_being_the_owner_and_a_name_reaches_no_other_entry() {
    let world = World::with(|config| {
        config
            .without("identity")
            .set("identity.api_keys.one.keys", &format!("[{}]", item("k1", KEY, "")))
            .set("identity.api_keys.one.may_act_for_users", "true")
            .set("identity.api_keys.two.keys", &format!("[{}]", item("k1", OTHER_KEY, "")))
    });
    world.service.mint(OTHER_KEY).await.expect_minted();
    let two = last_user(&world);
    world.service.mint(KEY).await.expect_minted();
    let one = last_user(&world);
    mint_for(&world.service, KEY, "one").await.expect_minted();
    assert_eq!(last_user(&world), one);
    for name in ["two", "api_keys.two", "api_keys.two/two", two.as_str()] {
        mint_for(&world.service, KEY, name).await.expect_minted();
        assert_ne!(last_user(&world), two, "{name} reached another entry's owner");
    }
}

#[tokio::test]
async fn a_key_of_ours_is_shown_to_no_server_of_tokens() {
    let server = Introspector::start();
    let world = World::with(|config| {
        let config = config.without("identity").introspection("legacy", &server);
        config.set("identity.api_keys.backend.keys", &format!("[{}]", item("old", KEY, ", expires = 2020-01-01T00:00:00Z")))
    });
    server.knows(NEXT_KEY, "mallory");
    world.service.mint(KEY).await.expect_problem(401, "token_expired");
    // Withdrawn, or mistyped: it still looks like one of ours.
    world.service.mint(NEXT_KEY).await.expect_problem(401, "invalid_token");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn acting_for_a_user_is_no_way_around_the_web_origin() {
    let world = keyed(|config| config.set("identity.api_keys.backend.may_act_for_users", "true"));
    let call = world.service.call(Method::POST, MINT).bearer(KEY).header("ephemint-user", &user("alice"));
    call.header("origin", "https://evil.example").send().await.expect_problem(403, "origin_not_allowed");
    assert_eq!(world.upstream.count(), 0);
}
