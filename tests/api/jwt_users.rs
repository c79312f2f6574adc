//! Who a token speaks for, and what else it must say.

use serde_json::{Value, json};

use crate::range::{Range, row};
use crate::support::World;

#[tokio::test]
async fn the_user_is_named_by_text() {
    let range = Range::start();
    let mut rows = vec![row("no sub", range.token().without("sub").build())];
    for sub in [json!(""), json!(null), json!(7), json!(true), json!([]), json!(["canary-user-mallory"]), json!({"id": 1})] {
        rows.push(row(&format!("sub {sub}"), range.token().claim("sub", sub.clone()).build()));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn a_missing_scope_is_named_as_such() {
    let range = Range::with(|config| config.set("identity.jwt.main.required_scopes", r#"["voice.mint", "voice.use"]"#));
    let service = &range.world.service;
    for scope in [
        json!(null),
        json!(""),
        json!("voice.mint"),
        json!("voice.minter voice.use"),
        json!("voice.mint,voice.use"),
        json!("VOICE.MINT voice.use"),
        json!(7),
        json!({"voice.mint": true, "voice.use": true}),
        json!(["voice.mint"]),
    ] {
        let token = range.token().claim("scope", scope.clone()).build();
        let answer = service.mint(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "insufficient_scope"), "scope {scope}");
        answer.expect_problem(403, "insufficient_scope");
    }
    let answer = service.mint(&range.token().build()).await;
    answer.expect_problem(403, "insufficient_scope");
    assert_eq!(range.world.upstream.count(), 0);
    for (claim, scope) in [("scope", json!("openid voice.use voice.mint")), ("scp", json!(["voice.mint", "voice.use"]))] {
        service.mint(&range.token().claim(claim, scope).build()).await.expect_minted();
    }
}

#[tokio::test]
async fn a_missing_required_claim_makes_the_token_invalid() {
    let range = Range::with(|config| {
        config.set("identity.jwt.main.required_claims", r#"{ email_verified = true, region = ["eu", "us"] }"#)
    });
    let service = &range.world.service;
    let mut cases: Vec<(Value, Value)> = [json!(false), json!("true"), json!(1), json!(null)].map(|it| (it, json!("eu"))).into();
    cases.extend([json!("EU"), json!("eu,us"), json!(null), json!("")].map(|it| (json!(true), it)));
    for (verified, region) in cases {
        let token = range.token().claim("email_verified", verified.clone()).claim("region", region.clone()).build();
        let answer = service.mint(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{verified} {region}");
    }
    service.mint(&range.token().build()).await.expect_problem(401, "invalid_token");
    assert_eq!(range.world.upstream.count(), 0);
    let token = range.token().claim("email_verified", true).claim("region", "us").build();
    service.mint(&token).await.expect_minted();
}

#[tokio::test]
async fn the_same_subject_of_two_issuers_is_two_users() {
    let range = Range::start();
    let service = &range.world.service;
    let (ours, theirs) = (range.world.bearer("twin"), range.other.bearer("twin"));
    let session = service.mint(&ours).await.expect_session();
    let first = range.world.upstream.last();
    service.mint(&theirs).await.expect_minted();
    let second = range.world.upstream.last();
    let name = "openai-safety-identifier";
    assert_ne!(first.header(name), second.header(name));
    service.get(&format!("/v1/sessions/{session}"), &ours).await.expect(200);
    service.get(&format!("/v1/sessions/{session}"), &theirs).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn subjects_that_look_alike_are_different_users() {
    let world = World::start();
    let mut seen = Vec::new();
    for sub in [
        "canary-user-zoe",
        "canary-user-Zoe",
        "canary-user-zo\u{e9}",
        "canary-user-zoe\u{301}",
        "canary-user-zoe ",
        "canary-user-z\u{43e}e",
        "canary-user-zoe\u{200b}",
        "canary-user-zoe|x",
        "canary-user-zoe:x",
        "canary-user-zoe\0",
        "canary-user-zoe\0x",
        "canary-user-zoe\n",
    ] {
        let before = world.upstream.count();
        let answer = world.service.mint(&world.issuer.token(sub).build()).await;
        if answer.status == 401 {
            answer.expect_problem(401, "invalid_token");
            assert_eq!(world.upstream.count(), before);
            continue;
        }
        answer.expect_minted();
        let name = world.upstream.last().header("openai-safety-identifier").map(str::to_owned);
        assert!(!seen.contains(&name), "{sub:?} is taken for somebody else");
        seen.push(name);
    }
    assert!(seen.len() >= 5, "ordinary names of users must be accepted");
}
