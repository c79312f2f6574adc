//! Where claims are found: names, pointers, several claims at once, and an audience under another name.

use serde_json::{Value, json};

use crate::range::{Range, row};
use crate::support::{Config, Token, World};

const FOR_SUPPORT: &str = r#"{ groups = ["support"] }"#;

fn grouped(claims: &str) -> World {
    World::with(|config| config.set("profiles.default.allow", FOR_SUPPORT).set("identity.jwt.main.groups_claim", claims))
}

fn token(world: &World, claims: Value) -> Token {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    claims.into_iter().fold(world.issuer.token("canary-user-alice"), |token, (name, value)| token.claim(&name, value))
}

/// Which of these claim sets mint from a profile for the group `support`.
async fn expect(world: &World, cases: Vec<(Value, bool)>) {
    for (claims, in_group) in cases {
        let answer = world.service.mint(&token(world, claims.clone()).build()).await;
        if in_group {
            assert_eq!(answer.status, 200, "{claims}: {answer}");
        } else {
            assert_eq!((answer.status, answer.code().as_str()), (403, "profile_forbidden"), "{claims}");
        }
    }
}

#[tokio::test]
async fn the_groups_of_several_claims_are_taken_together() {
    let world = grouped(r#"["groups", "roles", "/realm_access/roles"]"#);
    let cases = vec![
        (json!({"groups": ["support"]}), true),
        (json!({"roles": ["a", "support"]}), true),
        (json!({"realm_access": {"roles": ["support"]}}), true),
        (json!({"groups": ["a"], "roles": "support", "realm_access": {"roles": []}}), true),
        (json!({"groups": 7, "roles": {"support": true}, "realm_access": {"roles": ["support"]}}), true),
        (json!({"groups": ["a"], "roles": ["b"], "realm_access": {"roles": ["c"]}}), false),
        (json!({"groups": ["sup", "port"]}), false),
        (json!({"groups": "sup", "roles": "port"}), false),
        (json!({"realm_access": ["support"]}), false),
        (json!({"/realm_access/roles": ["support"]}), false),
        (json!({}), false),
    ];
    expect(&world, cases).await;
}

#[tokio::test]
async fn one_text_is_one_group() {
    let world = grouped(r#""groups""#);
    let cases = [("support", true), ("support sales", false), ("support,sales", false), (" support", false), ("", false)];
    expect(&world, cases.map(|(groups, in_group)| (json!({"groups": groups}), in_group)).into()).await;
}

#[tokio::test]
async fn a_name_is_a_name_whatever_is_in_it() {
    for (written, name) in [
        ("https://example.com/groups", "https://example.com/groups"),
        ("cognito:groups", "cognito:groups"),
        ("a.b[0]", "a.b[0]"),
        ("a~1b/c", "a~1b/c"),
        ("/https:~1~1example.com~1groups", "https://example.com/groups"),
        ("/~01", "~1"),
        ("/a/", "a"),
    ] {
        let world = grouped(&format!("[{written:?}]"));
        let nested = if written == "/a/" { json!({name: {"": ["support"]}}) } else { json!({name: ["support"]}) };
        expect(&world, vec![(nested, true), (json!({"groups": ["support"]}), false)]).await;
    }
}

#[tokio::test]
async fn a_pointer_goes_through_objects_alone() {
    let world = grouped(r#""/resource_access/voice~1api/roles""#);
    let at = |value: Value| json!({"resource_access": value});
    let cases = vec![
        (at(json!({"voice/api": {"roles": ["support"]}})), true),
        (at(json!({"voice~1api": {"roles": ["support"]}})), false),
        (at(json!({"voice": {"api": {"roles": ["support"]}}})), false),
        (at(json!({"voice/api": [{"roles": ["support"]}]})), false),
        (at(json!({"voice/api": {"roles": {"0": "support"}}})), false),
        (at(json!({"voice/api": "support"})), false),
        (at(json!(null)), false),
        (json!({"voice/api": {"roles": ["support"]}}), false),
    ];
    expect(&world, cases).await;
    let world = grouped(r#""/teams/0""#);
    expect(&world, vec![(json!({"teams": ["support"]}), false), (json!({"teams": {"0": "support"}}), true)]).await;
}

#[tokio::test]
async fn user_and_tenant_may_be_nested() {
    let world = World::with(|config| {
        config
            .set("identity.jwt.main.user_claim", r#""/user/id""#)
            .set("identity.jwt.main.tenant_claim", r#""/https:~1~1example.com~1org/id""#)
    });
    let good = || json!({"user": {"id": "canary-user-nested"}, "https://example.com/org": {"id": "acme"}});
    let answer = world.service.mint(&token(&world, good()).build()).await;
    answer.expect_minted();
    let line = world.service.audit_of(answer.request_id()).await;
    assert_eq!(line["tenant"], "acme", "{line:#}");
    let acme = world.upstream.last().header("openai-safety-identifier").map(str::to_owned);
    // The same user of another tenant is another user.
    world
        .service
        .mint(&token(&world, good()).claim("https://example.com/org", json!({"id": "other"})).build())
        .await
        .expect_minted();
    assert_ne!(world.upstream.last().header("openai-safety-identifier").map(str::to_owned), acme);
    for (name, value) in [
        ("user", json!(null)),
        ("user", json!("canary-user-nested")),
        ("user", json!({"id": ""})),
        ("user", json!({"id": ["canary-user-nested"]})),
        ("user", json!({"ID": "canary-user-nested"})),
        ("https://example.com/org", json!({})),
        ("https://example.com/org", json!({"id": ""})),
        ("https://example.com/org", json!({"id": 7})),
        ("https://example.com/org", json!("acme")),
    ] {
        let answer = world.service.mint(&token(&world, good()).claim(name, value.clone()).build()).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{name} {value}");
    }
}

#[tokio::test]
async fn the_audience_is_looked_for_where_the_configuration_says() {
    let range = Range::start();
    range
        .all_refused(vec![row("client_id in place of aud", range.token().without("aud").claim("client_id", "voice").build())])
        .await;
    for (claim, name) in [("client_id", "client_id"), ("/app/id", "app")] {
        let world = World::with(|config: Config| {
            config
                .set("identity.jwt.main.audience", r#"["app-1", "app-2"]"#)
                .set("identity.jwt.main.audience_claim", &format!("{claim:?}"))
        });
        let with = |value: Value| {
            let value = if name == "app" { json!({"id": value}) } else { value };
            world.issuer.token("canary-user-alice").without("aud").claim(name, value)
        };
        for good in [json!("app-1"), json!(["other", "app-2"])] {
            world.service.mint(&with(good).build()).await.expect_minted();
        }
        // What aud says then counts for nothing, neither way.
        world.service.mint(&with(json!("app-1")).claim("aud", "other").build()).await.expect_minted();
        let before = world.upstream.count();
        for bad in
            [json!("app-3"), json!("App-1"), json!(""), json!(null), json!(1), json!([]), json!([["app-1"]]), json!(["app-1", 7])]
        {
            let answer = world.service.mint(&with(bad.clone()).build()).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{claim} {bad}");
        }
        let aud = world.issuer.token("canary-user-alice").claim("aud", "app-1");
        world.service.mint(&aud.build()).await.expect_problem(401, "invalid_token");
        assert_eq!(world.upstream.count(), before);
    }
}

#[tokio::test]
async fn required_claims_may_be_nested_and_hold_one_of_several_values() {
    let range = Range::with(|config| {
        config.set(
            "identity.jwt.main.required_claims",
            r#"{ "/a/b" = ["x", 2, true], "https://example.com/plan" = "gold", level = 3 }"#,
        )
    });
    let with = |nested: Value, plan: Value, level: Value| {
        range.token().claim("a", json!({"b": nested})).claim("https://example.com/plan", plan).claim("level", level).build()
    };
    let (gold, three) = (json!("gold"), json!(3));
    let world = &range.world;
    for nested in [json!("x"), json!(2), json!(2.0), json!(true), json!(["y", "x"]), json!([false, 2])] {
        let answer = world.service.mint(&with(nested.clone(), gold.clone(), three.clone())).await;
        assert_eq!(answer.status, 200, "{nested}: {answer}");
    }
    world.service.mint(&with(json!("x"), json!(["gold", "silver"]), json!([3]))).await.expect_minted();
    let mut rows = Vec::new();
    for nested in [
        json!("X"),
        json!("2"),
        json!(1),
        json!(false),
        json!("true"),
        json!(null),
        json!([]),
        json!([["x"]]),
        json!({"x": true}),
    ] {
        rows.push(row(&format!("/a/b {nested}"), with(nested, gold.clone(), three.clone())));
    }
    for plan in [json!("Gold"), json!("gold "), json!(["silver"]), json!(null), json!({"gold": 1})] {
        rows.push(row(&format!("plan {plan}"), with(json!("x"), plan, three.clone())));
    }
    for level in [json!("3"), json!(3.5), json!(-3), json!(null), json!(true)] {
        rows.push(row(&format!("level {level}"), with(json!("x"), gold.clone(), level)));
    }
    rows.push(row("a list on the way", range.token().claim("a", json!([{"b": "x"}])).claim("level", 3).build()));
    for (name, token) in rows {
        let answer = world.service.mint(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{name}");
    }
}
