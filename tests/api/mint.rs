//! Trading a user's credential for one client secret.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MINT, World, now, secrets};

const TRANSLATIONS: &str = "/v1/realtime/translations/client_secrets";
const TRANSLATION_SESSION: &str = r#"{ model = "gpt-realtime-translate", audio = { output = { language = "fr" } } }"#;
const TRANSCRIPTION_SESSION: &str =
    r#"{ type = "transcription", audio = { input = { transcription = { model = "gpt-4o-transcribe" } } } }"#;

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_signed_in_user_gets_a_client_secret_in_both_shapes() {
    let world = World::start();
    let before = now();
    let answer = world.service.mint(&world.bearer("alice")).await;
    let minted = answer.expect_minted();

    assert_eq!(keys(&minted), ["client_secret", "ephemint", "expires_at", "session", "value"]);
    assert_eq!(minted["client_secret"], json!({"value": minted["value"], "expires_at": minted["expires_at"]}));
    let expires_at = minted["expires_at"].as_i64().expect("unix seconds");
    assert!((before + 120..=now() + 120).contains(&expires_at));
    assert_eq!(keys(&minted["ephemint"]), ["calls_url", "profile", "session_id"]);
    assert_eq!(minted["ephemint"]["profile"], "default");
    let session_id = minted["ephemint"]["session_id"].as_str().expect("an id");
    let session_id = uuid::Uuid::parse_str(session_id).expect("a UUID");
    assert_eq!(session_id.get_version_num(), 7);
    assert_eq!(minted["ephemint"]["calls_url"], format!("{}/realtime/calls", world.upstream.base_url()));
}

#[tokio::test]
async fn the_answer_is_json_that_nobody_may_store() {
    let world = World::start();
    let answer = world.service.mint(&world.bearer("alice")).await;
    answer.expect_minted();
    let content_type = answer.header("content-type").expect("a content type");
    assert!(content_type.starts_with("application/json"), "{content_type}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for header in ["x-request-id", "ratelimit", "ratelimit-policy"] {
        assert!(answer.header(header).is_some(), "{header}: {answer}");
    }
    assert_eq!(answer.header("etag"), None);
}

#[tokio::test]
async fn only_public_fields_of_the_upstreams_session_leave() {
    let world = World::start();
    let minted = world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!(
        minted["session"],
        json!({
            "type": "realtime", "object": "realtime.session", "id": "sess_00000001",
            "model": "gpt-realtime-2.1", "output_modalities": ["audio"],
            "audio": {"output": {"voice": "marin"}},
        })
    );
}

#[tokio::test]
async fn the_upstream_is_asked_with_the_permanent_key_and_the_profiles_session() {
    let world = World::start();
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!(world.upstream.count(), 1);
    let request = world.upstream.last();

    assert_eq!(request.method, "POST");
    assert_eq!(request.target, MINT);
    assert_eq!(request.bearer(), secrets::PRIMARY_KEY);
    assert_eq!(request.header("openai-organization"), Some("org-test"));
    assert_eq!(request.header("openai-project"), Some("proj_test"));
    let content_type = request.header("content-type").expect("a content type");
    assert!(content_type.starts_with("application/json"), "{content_type}");
    assert_eq!(
        request.json(),
        json!({
            "expires_after": {"anchor": "created_at", "seconds": 120},
            "session": {
                "type": "realtime", "model": "gpt-realtime-2.1", "instructions": secrets::INSTRUCTIONS,
                "output_modalities": ["audio"],
                "tools": [{"type": "function", "name": secrets::TOOL, "parameters": {"type": "object"}}],
                "audio": {"output": {"voice": "marin"}},
            },
        })
    );
}

#[tokio::test]
async fn nothing_of_the_caller_reaches_the_upstream_but_a_pseudonym() {
    let world = World::start();
    let token = world.bearer("alice");
    let answer = world
        .service
        .call(Method::POST, MINT)
        .bearer(&token)
        .header("openai-organization", "org-of-the-caller")
        .header("openai-project", "proj-of-the-caller")
        .header("openai-safety-identifier", "chosen-by-the-caller")
        .header("openai-beta", "realtime=v1")
        .header("cookie", "a=b")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-custom", "value-of-the-caller")
        .header("user-agent", "agent-of-the-caller")
        .send()
        .await;
    answer.expect_minted();
    let request = world.upstream.last();
    assert_eq!(request.header("openai-organization"), Some("org-test"));
    assert_eq!(request.header("openai-project"), Some("proj_test"));
    let sent = format!("{request:?}");
    for trace in [token.as_str(), "of-the-caller", "by-the-caller", "realtime=v1", "192.0.2.1", secrets::USER] {
        assert!(!sent.contains(trace), "{trace} went upstream: {sent}");
    }
}

#[tokio::test]
async fn the_safety_identifier_is_stable_for_a_user_and_different_for_each() {
    let world = World::start();
    for user in ["alice", "alice", "bob"] {
        world.service.mint(&world.bearer(user)).await.expect_minted();
    }
    let identifiers: Vec<_> = world
        .upstream
        .requests()
        .iter()
        .map(|request| request.header("openai-safety-identifier").expect("the safety identifier").to_owned())
        .collect();
    for identifier in &identifiers {
        assert_eq!(identifier.len(), 64, "{identifier}");
        assert!(identifier.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')), "{identifier}");
    }
    assert_eq!(identifiers[0], identifiers[1]);
    assert_ne!(identifiers[0], identifiers[2]);
}

#[tokio::test]
async fn the_safety_identifier_depends_on_the_pseudonym_key() {
    let mut identifiers = Vec::new();
    let issuer = crate::support::Issuer::start();
    let upstream = crate::support::Upstream::start();
    for key in [secrets::PSEUDONYM_KEY, "another-pseudonym-key-0123456789abcdef01"] {
        let config = crate::support::Config::new(&issuer, &upstream).env("TEST_PSEUDONYM_KEY", key);
        let service = crate::support::Service::start(&config);
        service.mint(&issuer.bearer("alice")).await.expect_minted();
        let request = upstream.last();
        identifiers.push(request.header("openai-safety-identifier").map(str::to_owned));
    }
    assert_ne!(identifiers[0], identifiers[1]);
}

#[tokio::test]
async fn every_mint_is_a_new_secret_and_a_new_session() {
    let world = World::start();
    let token = world.bearer("alice");
    let first = world.service.mint(&token).await.expect_minted();
    let second = world.service.mint(&token).await.expect_minted();
    assert_ne!(first["value"], second["value"]);
    assert_ne!(first["ephemint"]["session_id"], second["ephemint"]["session_id"]);
}

#[tokio::test]
async fn the_asked_lifetime_goes_upstream() {
    let world = World::start();
    for seconds in [60, 61, 599, 600] {
        let body = json!({"expires_after": {"anchor": "created_at", "seconds": seconds}});
        let minted = world.service.mint_with(&world.bearer("alice"), &body).await.expect_minted();
        let asked = world.upstream.last().json();
        assert_eq!(asked["expires_after"], json!({"anchor": "created_at", "seconds": seconds}));
        let left = minted["expires_at"].as_i64().expect("unix seconds") - now();
        assert!((seconds - 5..=seconds).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn without_organization_and_project_those_headers_are_not_sent() {
    let world = World::with(|config| config.unset("upstreams.openai.organization").unset("upstreams.openai.project"));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    let request = world.upstream.last();
    assert_eq!(request.header("openai-organization"), None);
    assert_eq!(request.header("openai-project"), None);
}

#[tokio::test]
async fn a_transcription_profile_mints_on_the_same_path() {
    let world = World::with(|config| config.other_profile("dictation", "transcription", TRANSCRIPTION_SESSION));
    let token = world.bearer("alice");
    let answer = world.service.mint_from("dictation", &token).await;
    let minted = answer.expect_minted();
    assert_eq!(minted["ephemint"]["profile"], "dictation");
    assert_eq!(minted["session"]["type"], "transcription");
    let public = ["type", "object", "id", "model", "output_modalities", "audio"];
    let beyond: Vec<_> = keys(&minted["session"]).into_iter().filter(|key| !public.contains(key)).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
    let request = world.upstream.last();
    assert_eq!(request.target, MINT);
    assert_eq!(
        request.json()["session"],
        json!({"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}})
    );
}

#[tokio::test]
async fn a_translation_profile_mints_on_its_own_path_and_without_a_type() {
    let world = World::with(|config| config.other_profile("interpreter", "translation", TRANSLATION_SESSION));
    let answer = world
        .service
        .call(Method::POST, &format!("{TRANSLATIONS}?profile=interpreter"))
        .bearer(&world.bearer("alice"))
        .send()
        .await;
    let minted = answer.expect_minted();
    assert_eq!(minted["session"]["type"], "translation");
    assert_eq!(minted["ephemint"]["calls_url"], format!("{}/realtime/translations/calls", world.upstream.base_url()));
    let request = world.upstream.last();
    assert_eq!(request.target, TRANSLATIONS);
    assert_eq!(request.json()["session"], json!({"model": "gpt-realtime-translate", "audio": {"output": {"language": "fr"}}}));
}

#[tokio::test]
async fn a_profile_is_not_served_on_the_path_of_another_api() {
    let world = World::with(|config| config.other_profile("interpreter", "translation", TRANSLATION_SESSION));
    let token = world.bearer("alice");
    world.service.mint_from("interpreter", &token).await.expect_problem(403, "profile_forbidden");
    world.service.call(Method::POST, TRANSLATIONS).bearer(&token).send().await.expect_problem(403, "profile_forbidden");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn one_upstream_connection_serves_one_mint_after_another() {
    let world = World::with(|config| config.set("server.workers", "1"));
    for _ in 0..5 {
        world.service.mint(&world.bearer("alice")).await.expect_minted();
    }
    assert_eq!(world.upstream.count(), 5);
    assert_eq!(world.upstream.connections(), 1);
}
