//! Which profile a user may have, and what a client may choose in it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MINT, World, secrets};

fn with_claim(world: &World, name: &str, value: &Value) -> String {
    world.issuer.token("canary-user-alice").claim(name, value.clone()).build()
}

#[tokio::test]
async fn a_profile_that_does_not_exist_is_as_forbidden_as_one_that_is_not_allowed() {
    let world = World::with(|config| config.profile("internal").set("profiles.internal.allow", r#"{ groups = ["staff"] }"#));
    let token = world.bearer("alice");
    let mut told = Vec::new();
    for name in ["no-such-profile", "internal", "Default", "default%20", "default%00", "..%2Fdefault", ""] {
        let answer = world.service.mint_from(name, &token).await;
        let problem = answer.expect_problem(403, "profile_forbidden");
        told.push(problem["title"].clone());
    }
    assert_eq!(told[0], told[1], "the answer tells which profiles exist");
    assert_eq!(world.upstream.count(), 0);
    world.service.mint_from("default", &token).await.expect_minted();
}

#[tokio::test]
async fn two_profiles_in_one_request_are_not_a_choice() {
    let world = World::with(|config| config.profile("second"));
    let answer = world.service.mint_from("default&profile=second", &world.bearer("alice")).await;
    assert!([400, 403].contains(&answer.status), "{answer}");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn groups_open_a_profile() {
    let world = World::with(|config| config.set("profiles.default.allow", r#"{ groups = ["support", "sales"] }"#));
    for groups in [
        json!(null),
        json!([]),
        json!(["Support"]),
        json!(["supporters"]),
        json!("supporters"),
        json!(["a", "b"]),
        json!([["support"]]),
        json!({"support": true}),
    ] {
        let answer = world.service.mint(&with_claim(&world, "groups", &groups)).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "profile_forbidden"), "{groups}");
        answer.expect_problem(403, "profile_forbidden");
    }
    world.service.mint(&world.bearer("alice")).await.expect_problem(403, "profile_forbidden");
    assert_eq!(world.upstream.count(), 0);
    for groups in [json!(["support"]), json!(["other", "sales"])] {
        world.service.mint(&with_claim(&world, "groups", &groups)).await.expect_minted();
    }
}

#[tokio::test]
async fn groups_are_read_from_the_configured_claim() {
    let world = World::with(|config| {
        config.set("profiles.default.allow", r#"{ groups = ["support"] }"#).set("identity.jwt.main.groups_claim", r#""roles""#)
    });
    let answer = world.service.mint(&with_claim(&world, "groups", &json!(["support"]))).await;
    answer.expect_problem(403, "profile_forbidden");
    world.service.mint(&with_claim(&world, "roles", &json!(["support"]))).await.expect_minted();
}

#[tokio::test]
async fn claims_open_a_profile() {
    let world = World::with(|config| {
        config.set("profiles.default.allow", r#"{ claims = { plan = ["gold", "silver"], active = true } }"#)
    });
    let token =
        |plan: Value, active: Value| world.issuer.token("canary-user-alice").claim("plan", plan).claim("active", active).build();
    for (plan, active) in [
        (json!("bronze"), json!(true)),
        (json!("gold"), json!(false)),
        (json!("gold"), json!("true")),
        (json!("gold"), json!(null)),
        (json!(null), json!(true)),
        (json!("goldfish"), json!(true)),
        (json!("GOLD"), json!(true)),
        (json!(1), json!(true)),
    ] {
        let answer = world.service.mint(&token(plan.clone(), active.clone())).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "profile_forbidden"), "{plan} {active}");
    }
    world.service.mint(&world.bearer("alice")).await.expect_problem(403, "profile_forbidden");
    assert_eq!(world.upstream.count(), 0);
    for plan in ["gold", "silver"] {
        world.service.mint(&token(json!(plan), json!(true))).await.expect_minted();
    }
}

#[tokio::test]
async fn each_profile_has_its_own_session_and_lifetime() {
    let world = World::with(|config| {
        config
            .profile("short")
            .set("profiles.short.session.model", r#""gpt-realtime-2.1-mini""#)
            .set("profiles.short.ttl_seconds", "60")
            .set("profiles.short.max_ttl_seconds", "60")
    });
    let token = world.bearer("alice");
    let minted = world.service.mint_from("short", &token).await.expect_minted();
    assert_eq!(minted["ephemint"]["profile"], "short");
    assert_eq!(minted["session"]["model"], "gpt-realtime-2.1-mini");
    let asked = world.upstream.last().json();
    assert_eq!(asked["expires_after"]["seconds"], 60);
    let call = world.service.call(Method::POST, &format!("{MINT}?profile=short")).bearer(&token);
    let answer = call.json(&json!({"expires_after": {"seconds": 61}})).send().await;
    answer.expect_problem(400, "ttl_out_of_range");
}

#[tokio::test]
async fn a_client_sets_what_the_profile_lets_it_set() {
    let world = World::start();
    let token = world.bearer("alice");
    let body = json!({"session": {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}});
    let minted = world.service.mint_with(&token, &body).await.expect_minted();
    assert_eq!(minted["session"]["audio"]["output"]["voice"], "cedar");
    let sent = world.upstream.last().json();
    assert_eq!(sent["session"]["audio"], json!({"output": {"voice": "cedar"}}));
    assert_eq!(sent["session"]["instructions"], secrets::INSTRUCTIONS);
    world.service.mint(&token).await.expect_minted();
    let sent = world.upstream.last().json();
    assert_eq!(sent["session"]["audio"]["output"]["voice"], "marin", "one client's choice became another's");
}

#[tokio::test]
async fn allowed_values_are_the_only_ones() {
    let world = World::with(|config| {
        config.set(
            "profiles.default.client_may_set",
            r#"[{ pointer = "/audio/output/speed", one_of = [1.0, 1.25] }, { pointer = "/audio/output/voice", one_of = ["cedar"] }]"#,
        )
    });
    let token = world.bearer("alice");
    let ask = |output: Value| json!({"session": {"audio": {"output": output}}});
    for speed in [json!(1.0), json!(1), json!(1.25)] {
        world.service.mint_with(&token, &ask(json!({"speed": speed}))).await.expect_minted();
        let sent = &world.upstream.last().json()["session"]["audio"]["output"]["speed"];
        assert_eq!(sent.as_f64(), speed.as_f64());
    }
    let before = world.upstream.count();
    for (output, pointer) in [
        (json!({"speed": 1.5}), "/audio/output/speed"),
        (json!({"speed": "1.25"}), "/audio/output/speed"),
        (json!({"speed": null}), "/audio/output/speed"),
        (json!({"speed": [1.25]}), "/audio/output/speed"),
        (json!({"speed": 1.25, "voice": "shimmer"}), "/audio/output/voice"),
        (json!({"speed": 1.25, "format": {"type": "audio/pcmu"}}), "/audio/output/format"),
    ] {
        let answer = world.service.mint_with(&token, &ask(output.clone())).await;
        let problem = answer.expect_problem(403, "session_field_not_allowed");
        let param = problem["error"]["param"].as_str().expect("a pointer");
        assert!(param.starts_with(pointer), "{param} for {output}");
    }
    assert_eq!(world.upstream.count(), before);
    for voice in ["marin", "cedar"] {
        world.service.mint_with(&token, &ask(json!({"voice": voice}))).await.expect_minted();
    }
}

#[tokio::test]
async fn an_allowed_value_goes_up_as_it_was_sent_without_the_profiles_own_members() {
    let world = World::with(|config| {
        config
            .set("profiles.default.session.audio.input.turn_detection", r#"{ type = "server_vad", threshold = 0.6 }"#)
            .set("profiles.default.session.audio.input.transcription", r#"{ model = "whisper-1", language = "en" }"#)
            .set(
                "profiles.default.client_may_set",
                r#"[{ pointer = "/audio/input/turn_detection", one_of = [{ type = "semantic_vad" }] }, "/audio/input/transcription"]"#,
            )
    });
    let input = json!({"turn_detection": {"type": "semantic_vad"}, "transcription": {"model": "gpt-4o-transcribe"}});
    let body = json!({"session": {"audio": {"input": input}}});
    world.service.mint_with(&world.bearer("alice"), &body).await.expect_minted();
    let sent = world.upstream.last().json();
    assert_eq!(sent["session"]["audio"], json!({"input": input, "output": {"voice": "marin"}}));
    let body = json!({"session": {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}});
    world.service.mint_with(&world.bearer("alice"), &body).await.expect_minted();
    let sent = world.upstream.last().json();
    assert_eq!(sent["session"]["audio"]["input"]["transcription"], json!({"model": "whisper-1", "language": "en"}));
}

#[tokio::test]
async fn an_allowed_pointer_covers_its_own_place_only() {
    let world = World::with(|config| config.set("profiles.default.client_may_set", r#"["/audio/input/transcription/language"]"#));
    let token = world.bearer("alice");
    let ask = |session: Value| json!({"session": session});
    let allowed = ask(json!({"audio": {"input": {"transcription": {"language": "fr"}}}}));
    world.service.mint_with(&token, &allowed).await.expect_minted();
    let sent = world.upstream.last().json();
    assert_eq!(sent["session"]["audio"]["input"], json!({"transcription": {"language": "fr"}}));
    assert_eq!(sent["session"]["audio"]["output"]["voice"], "marin");
    let before = world.upstream.count();
    for session in [
        json!({"audio": {"input": {"transcription": {"language": "fr", "model": "whisper-1"}}}}),
        json!({"audio": {"input": {"transcription": {"languages": ["fr"]}}}}),
        json!({"audio": {"input": {"language": "fr"}}}),
        json!({"language": "fr"}),
        json!({"audio/input/transcription/language": "fr"}),
    ] {
        let answer = world.service.mint_with(&token, &ask(session)).await;
        answer.expect_problem(403, "session_field_not_allowed");
    }
    assert_eq!(world.upstream.count(), before);
}
