//! Several kinds of identity at once: what is of one kind is never taken for another, and no refusal makes anybody work.

use reqwest::Method;
use serde_json::json;

use crate::holder::{Holder, challenge, expect_challenge};
use crate::support::{Browser, Introspector, MINT, PUBLIC_URL, SESSION_COOKIE, World};

fn everything() -> (World, Introspector) {
    let server = Introspector::start();
    let world = World::with_login(|config| config.introspection("legacy", &server));
    (world, server)
}

#[tokio::test]
async fn what_has_the_form_of_one_kind_is_judged_by_that_kind_alone() {
    let (world, server) = everything();
    let browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let (token, session) = (world.bearer("alice"), browser.session());
    let asked_before = world.issuer.requests().len();
    // A server of opaque tokens that would vouch for anything.
    for stolen in ["a.b.c", &token[..token.len() - 2], "epk_00000000000000000000"] {
        server.knows(stolen, "mallory");
        world.service.mint(stolen).await.expect_problem(401, "invalid_token");
    }
    assert_eq!(server.count(), 0, "a token was shown to a server that is not its own");
    // A cookie is none under another name, twice, or far too long; and a request without a page behind it changes nothing.
    for cookie in [
        format!("ephemint={session}"),
        format!("__Host-ephemint-login-={session}"),
        format!("__host-ephemint={session}"),
        format!("{SESSION_COOKIE}={session}; {SESSION_COOKIE}={session}"),
        format!("{SESSION_COOKIE}={session}{}", "A".repeat(5000)),
        format!("{SESSION_COOKIE}={token}"),
    ] {
        let answer = world.service.call(Method::POST, MINT).cookie(&cookie).header("origin", PUBLIC_URL).send().await;
        assert_eq!(answer.status, 401, "{cookie}");
    }
    // A server's header means nothing from a user, whatever proves who they are.
    let named = world.service.call(Method::POST, MINT).bearer(&token).header("ephemint-user", "bob").send().await;
    named.expect_minted();
    let own = world.service.mint(&token).await;
    own.expect_minted();
    let users = [world.service.audit_of(named.request_id()).await, world.service.audit_of(own.request_id()).await];
    assert_eq!(users[0]["user"], users[1]["user"]);
    assert_eq!(world.issuer.requests().len(), asked_before, "a refusal made the service ask the issuer");
}

#[tokio::test]
async fn the_dpop_scheme_makes_no_other_credential_good() {
    let (world, server) = everything();
    let browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let bound = Holder::new(&world, "alice");
    server.knows("opaque-token-that-is-not-bound", "alice");
    for credential in ["opaque-token-that-is-not-bound", "epg_a.b", "epk_a"] {
        let holder = Holder { key: bound.key.clone(), token: credential.to_owned() };
        holder.mint(&world, &holder.proof(&world).build()).await.expect_problem(401, "invalid_token");
    }
    // Not even together with a good cookie, which the header replaces.
    let call = browser.call(Method::POST, MINT).header("origin", PUBLIC_URL).bearer(&bound.token).send().await;
    expect_challenge(&call, "invalid_token", &challenge("invalid_token"));
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn refused_sign_ins_ask_the_issuer_for_nothing() {
    let (world, _server) = everything();
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let before = world.issuer.requests().len();
    for query in ["", "state=a&code=b", "state=&code=", "code=b", &format!("state={}x&code=b", asked.get("state"))] {
        browser.call(Method::GET, &format!("/auth/callback?{query}")).send().await.expect_problem(401, "invalid_token");
    }
    let stranger = world.service.call(Method::GET, &asked.answer("code")).cookie("__Host-ephemint-login-aaaaaaaaaa=AQ");
    stranger.send().await.expect_problem(401, "invalid_token");
    for origin in ["null", "https://voice.example.com.evil.example", "http://voice.example.com", "https://voice.example.com:444"]
    {
        let call = browser.call(Method::POST, "/auth/logout").header("origin", origin).header("sec-fetch-site", "same-origin");
        call.send().await.expect_problem(403, "origin_not_allowed");
    }
    assert_eq!(world.issuer.requests().len(), before);
    assert!(world.service.audit().iter().all(|line| line["outcome"] != json!("signed_in")));
}
