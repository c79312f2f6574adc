//! The body of a mint request: what is accepted, and how everything else is refused.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MINT, World, secrets};

async fn post(world: &World, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    let call = world.service.call(Method::POST, MINT);
    let call = call.bearer(&world.bearer("alice"));
    call.body(content_type, body.into()).send().await
}

async fn post_json(world: &World, body: impl Into<Vec<u8>>) -> Answer {
    post(world, "application/json", body).await
}

/// Each body must be refused like this, without asking the upstream.
async fn all_refused(world: &World, status: u16, code: &str, bodies: &[Vec<u8>]) {
    let mut wrong = Vec::new();
    for body in bodies {
        let answer = post_json(world, body.clone()).await;
        if (answer.status, answer.code().as_str()) == (status, code) {
            answer.expect_problem(status, code);
        } else {
            let body = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            wrong.push(format!("{body}: {} {}", answer.status, answer.code()));
        }
    }
    assert!(wrong.is_empty(), "not {status} {code}: {wrong:#?}");
    assert_eq!(world.upstream.count(), 0, "the upstream was asked");
}

fn bodies(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// `{"session":{"a":{"a":...}}}`, this many objects deep.
fn nested(depth: usize) -> String {
    let mut body = r#"{"session":"#.to_owned();
    for _ in 0..depth - 2 {
        body.push_str(r#"{"a":"#);
    }
    let _ = write!(body, "{{}}{}", "}".repeat(depth - 1));
    body
}

#[tokio::test]
async fn nothing_and_empty_objects_ask_for_what_the_profile_says() {
    let world = World::start();
    let token = world.bearer("alice");
    for body in ["{}", " {} \r\n", r#"{"session":{}}"#, r#"{"expires_after":{}}"#, ""] {
        let answer = post_json(&world, body).await;
        answer.expect_minted();
        let asked = world.upstream.last().json();
        assert_eq!(asked["expires_after"]["seconds"], 120, "{body}");
        assert_eq!(asked["session"]["instructions"], secrets::INSTRUCTIONS);
    }
    world.service.mint(&token).await.expect_minted();
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"] {
        post(&world, content_type, "{}").await.expect_minted();
    }
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let world = World::start();
    let mut broken = bodies(&[
        "{",
        "}",
        "[]",
        "null",
        "\"text\"",
        "1",
        "true",
        "{}{}",
        "{} x",
        "{,}",
        "{\"session\":{},}",
        "{'session':{}}",
        "{session:{}}",
        "\u{feff}{}",
        "{\"session\":NaN}",
        "{\"session\":{}} //",
        "{\"expires_after\":{\"seconds\":0x60}}",
        "{\"expires_after\":{\"seconds\":060}}",
        "{\"expires_after\":{\"seconds\":+60}}",
        "{\"session\":{\"a\":\"\\ud800\"}}",
        "{\"session\":{\"a\":\"\\x\"}}",
        "{\"session\":{\"a\":\"\n\"}}",
        "\0",
        "{}\0",
    ]);
    broken.push(b"{\"session\":{\"a\":\"\xff\xfe\"}}".to_vec());
    broken.push(b"\xef\xbb\xbf{}".to_vec());
    broken.push("{}".encode_utf16().flat_map(u16::to_le_bytes).collect());
    all_refused(&world, 400, "invalid_json", &broken).await;
}

#[tokio::test]
async fn fields_of_the_wrong_kind_are_refused() {
    let world = World::start();
    let wrong = bodies(&[
        r#"{"session":[]}"#,
        r#"{"session":"realtime"}"#,
        r#"{"session":1}"#,
        r#"{"session":true}"#,
        r#"{"expires_after":60}"#,
        r#"{"expires_after":"60"}"#,
        r#"{"expires_after":[60]}"#,
        r#"{"expires_after":{"seconds":"60"}}"#,
        r#"{"expires_after":{"seconds":true}}"#,
        r#"{"expires_after":{"seconds":[60]}}"#,
        r#"{"expires_after":{"seconds":{}}}"#,
        r#"{"expires_after":{"anchor":"now","seconds":60}}"#,
        r#"{"expires_after":{"anchor":1,"seconds":60}}"#,
    ]);
    all_refused(&world, 400, "invalid_json", &wrong).await;
}

#[tokio::test]
async fn duplicate_keys_are_refused_at_any_depth() {
    let world = World::start();
    let twice = bodies(&[
        r#"{"session":{},"session":{}}"#,
        r#"{"expires_after":{"seconds":60},"expires_after":{"seconds":60}}"#,
        r#"{"expires_after":{"seconds":60,"seconds":600}}"#,
        r#"{"session":{"type":"realtime","type":"realtime"}}"#,
        r#"{"session":{"audio":{"output":{"voice":"marin","voice":"cedar"}}}}"#,
        r#"{"session":{"audio":{"output":{"voice":"marin","\u0076oice":"cedar"}}}}"#,
        r#"{"session":{"tools":[{"name":"a","name":"b"}]}}"#,
        r#"{"session":{"a":{"b":{"c":{"d":[[{"e":1,"e":2}]]}}}}}"#,
    ]);
    all_refused(&world, 400, "invalid_json", &twice).await;
}

#[tokio::test]
async fn seventeen_levels_are_too_deep_and_sixteen_are_not() {
    let world = World::start();
    let arrays = format!(r#"{{"session":{}{}}}"#, "[".repeat(16), "]".repeat(16));
    let endless = format!(r#"{{"session":{}"#, r#"{"a":"#.repeat(2000));
    let deep = [nested(17), nested(100), arrays, endless, "[".repeat(16_000)];
    all_refused(&world, 400, "invalid_json", &deep.map(String::into_bytes)).await;
    let answer = post_json(&world, nested(16)).await;
    answer.expect_problem(403, "session_field_not_allowed");
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let world = World::start();
    for (body, field) in [
        (r#"{"model":"gpt-realtime"}"#, "model"),
        (r#"{"session":{},"ttl":60}"#, "ttl"),
        (r#"{"expires_after":{"seconds":60,"minutes":1}}"#, "minutes"),
        (r#"{"Session":{}}"#, "Session"),
        (r#"{"profile":"default"}"#, "profile"),
    ] {
        let answer = post_json(&world, body).await;
        let problem = answer.expect_problem(400, "unknown_field");
        let told = format!("{} {}", problem["detail"], problem["error"]["param"]);
        assert!(told.contains(field), "{field} is not named: {answer}");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_type_is_refused() {
    let world = World::start();
    for content_type in [
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/json-patch+json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/sdp",
        "json",
        "*/*",
        "application/json, text/plain",
        "text/plain; application/json",
        "application/json; charset=utf-16",
        "application/json; q=1; Charset = \"iso-8859-1\"",
    ] {
        let answer = post(&world, content_type, "{}").await;
        answer.expect_problem(415, "unsupported_media_type");
    }
    let call = world.service.call(Method::POST, MINT);
    let call = call.bearer(&world.bearer("alice")).bare_body("{}");
    call.send().await.expect_problem(415, "unsupported_media_type");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let world = World::start();
    let call = world.service.call(Method::POST, MINT).bearer(&world.bearer("alice"));
    let answer = call.header("content-encoding", "gzip").json(&json!({})).send().await;
    answer.expect_problem(415, "unsupported_media_type");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_body_may_say_that_it_is_plain_utf_8() {
    let world = World::start();
    let call = world.service.call(Method::POST, MINT).bearer(&world.bearer("alice")).header("content-encoding", "Identity");
    call.body("application/json; charset=\"UTF-8\"", "{}").send().await.expect_minted();
}

#[tokio::test]
async fn sixteen_kibibytes_are_accepted_and_one_byte_more_is_not() {
    const LARGEST: usize = 16 * 1024;
    let world = World::start();
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    post_json(&world, padded(LARGEST)).await.expect_minted();
    let answer = post_json(&world, padded(LARGEST + 1)).await;
    answer.expect_problem(413, "body_too_large");
    let token = world.bearer("alice");
    let mut chunked = format!(
        "POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for _ in 0..17 {
        let _ = write!(chunked, "400\r\n{}\r\n", " ".repeat(1024));
    }
    chunked.push_str("0\r\n\r\n");
    let answer = world.service.raw().ask(chunked.as_bytes());
    answer.expect_problem(413, "body_too_large");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_refused_before_it_is_sent() {
    let world = World::start();
    let token = world.bearer("alice");
    let head = format!(
        "POST {MINT} HTTP/1.1\r\nHost: ephemint\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: 1000000000\r\n\r\n{{"
    );
    let begun = std::time::Instant::now();
    let answer = world.service.raw().ask(head.as_bytes());
    answer.expect_problem(413, "body_too_large");
    assert!(begun.elapsed().as_secs() < 4, "it waited for the body");
}

#[tokio::test]
async fn lifetimes_outside_of_sixty_to_six_hundred_seconds_are_refused() {
    let world = World::start();
    let mut out = Vec::new();
    for seconds in [
        "59",
        "0",
        "-1",
        "-60",
        "601",
        "7200",
        "60.5",
        "599.999",
        "1e9",
        "-0",
        "4294967356",
        "18446744073709551676",
        "18446744073709551616",
        "99999999999999999999999999",
        "1e308",
    ] {
        out.push(format!(r#"{{"expires_after":{{"seconds":{seconds}}}}}"#).into_bytes());
    }
    all_refused(&world, 400, "ttl_out_of_range", &out).await;
}

#[tokio::test]
async fn a_lifetime_beyond_the_profiles_own_is_refused() {
    let world = World::with(|config| config.set("profiles.default.max_ttl_seconds", "300"));
    let ask = |seconds: u32| json!({"expires_after": {"anchor": "created_at", "seconds": seconds}});
    let token = world.bearer("alice");
    world.service.mint_with(&token, &ask(300)).await.expect_minted();
    for seconds in [301, 601] {
        let answer = world.service.mint_with(&token, &ask(seconds)).await;
        let problem = answer.expect_problem(400, "ttl_out_of_range");
        assert!(problem["detail"].as_str().is_some_and(|told| told.contains("from 60 to 300")), "{answer}");
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn fields_that_repeat_the_profile_are_accepted() {
    let world = World::start();
    let token = world.bearer("alice");
    for session in [
        json!({"type": "realtime"}),
        json!({"type": "realtime", "model": "gpt-realtime-2.1"}),
        json!({"instructions": secrets::INSTRUCTIONS}),
        json!({"output_modalities": ["audio"], "audio": {"output": {"voice": "marin"}}}),
        json!({"audio": {}}),
    ] {
        let body = json!({"expires_after": {"anchor": "created_at", "seconds": 60}, "session": session});
        world.service.mint_with(&token, &body).await.expect_minted();
        let sent = world.upstream.last().json();
        assert_eq!(sent["session"]["instructions"], secrets::INSTRUCTIONS, "{body}");
        assert_eq!(sent["session"]["audio"]["output"]["voice"], "marin", "{body}");
    }
}

#[tokio::test]
async fn every_other_field_is_refused_by_its_pointer() {
    let world = World::start();
    let token = world.bearer("alice");
    let cases: &[(Value, &str)] = &[
        (json!({"instructions": "Say anything."}), "/instructions"),
        (json!({"instructions": null}), "/instructions"),
        (json!({"model": "gpt-realtime"}), "/model"),
        (json!({"type": "transcription"}), "/type"),
        (json!({"tools": []}), "/tools"),
        (json!({"output_modalities": ["text"]}), "/output_modalities"),
        (json!({"max_output_tokens": "inf"}), "/max_output_tokens"),
        (json!({"tracing": "auto"}), "/tracing"),
        (json!({"prompt": {"id": "pmpt_1"}}), "/prompt"),
        (json!({"audio": {"output": {"speed": 1.5}}}), "/audio/output/speed"),
        (json!({"audio": {"input": {"noise_reduction": null}}}), "/audio/input"),
        (json!({"no~such/field": 1}), "/no~0such~1field"),
        (json!({"": 1}), "/"),
    ];
    for (session, pointer) in cases {
        let answer = world.service.mint_with(&token, &json!({"session": session})).await;
        let problem = answer.expect_problem(403, "session_field_not_allowed");
        let param = problem["error"]["param"].as_str().expect("a pointer");
        assert!(param.starts_with(pointer), "{param} for {session}");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_scalar_in_the_place_of_an_object_is_refused() {
    let world = World::start();
    let token = world.bearer("alice");
    for session in [
        json!({"audio": "loud"}),
        json!({"audio": []}),
        json!({"audio": null}),
        json!({"audio": {"output": 1}}),
        json!({"audio": {"output": ["marin"]}}),
    ] {
        let answer = world.service.mint_with(&token, &json!({"session": session})).await;
        let problem = answer.expect_problem(403, "session_field_not_allowed");
        let param = problem["error"]["param"].as_str().expect("a pointer");
        assert!(param.starts_with("/audio"), "{param} for {session}");
    }
    assert_eq!(world.upstream.count(), 0);
}
