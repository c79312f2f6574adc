//! What the upstream says when it says yes, and how much of it is believed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Reply, World, minted_until, now, secrets};
use crate::upstream::{all_answered, case, outcome};

fn minted_with(name: &str, value: Value) -> Reply {
    let mut body = minted_until(now() + 120);
    body[name] = value;
    Reply::json(200, &body)
}

#[tokio::test]
async fn a_200_that_is_no_secret_is_malformed() {
    let text = |kind, body: &str| Reply::text(200, kind, body);
    let good = minted_until(now() + 120).to_string();
    all_answered(vec![
        case("HTML", text("text/html", "<html>canary-upstream-message</html>"), 502, "upstream_malformed"),
        case("HTML that claims to be JSON", text("application/json", "<html></html>"), 502, "upstream_malformed"),
        case("nothing", text("application/json", ""), 502, "upstream_malformed"),
        case("half", text("application/json", &good[..good.len() / 2]), 502, "upstream_malformed"),
        case("more behind it", text("application/json", &format!("{good}{good}")), 502, "upstream_malformed"),
        case("a list", text("application/json", &format!("[{good}]")), 502, "upstream_malformed"),
        case("null", text("application/json", "null"), 502, "upstream_malformed"),
        case("204", Reply::new(204), 502, "upstream_malformed"),
        case(
            "an error object",
            Reply::json(200, &json!({"error": {"message": "canary-upstream-message"}})),
            502,
            "upstream_malformed",
        ),
        case(
            "compressed",
            Reply::text(200, "application/json", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).header("Content-Encoding", "gzip"),
            502,
            "upstream_malformed",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_200_with_a_wrong_field_is_malformed() {
    let mut cases = vec![case(
        "another expires_at than asked, an hour too far",
        Reply::json(200, &minted_until(now() + 120 + 3600)),
        502,
        "upstream_malformed",
    )];
    for (name, value) in [
        ("an empty value", json!("")),
        ("a value that is null", json!(null)),
        ("a value that is a number", json!(1)),
        ("a value that is a list", json!(["ek_x"])),
        ("a value that is an object", json!({"value": "ek_x"})),
        ("a value that is a space", json!(" ")),
    ] {
        cases.push(case(name, minted_with("value", value), 502, "upstream_malformed"));
    }
    for at in [
        json!(now() - 10),
        json!(0),
        json!(-1),
        json!(null),
        json!((now() + 120).to_string()),
        json!([]),
        json!(4_102_444_800_i64),
        json!(1.0e300),
    ] {
        cases.push(case("expires_at", minted_with("expires_at", at), 502, "upstream_malformed"));
    }
    for name in ["value", "expires_at"] {
        let mut body = minted_until(now() + 120);
        body.as_object_mut().expect("an object").remove(name);
        cases.push(case(name, Reply::json(200, &body), 502, "upstream_malformed"));
    }
    all_answered(cases).await;
}

#[tokio::test]
async fn the_permanent_key_is_not_handed_out_even_when_the_upstream_says_so() {
    let value = minted_with("value", json!(secrets::PRIMARY_KEY));
    all_answered(vec![case("a value that is the permanent key", value, 502, "upstream_malformed")]).await;
}

#[tokio::test]
async fn a_value_with_line_ends_or_markup_does_not_become_an_answer() {
    let cases = ["ek_a\r\nSet-Cookie: x", "ek_a\0b", "ek_\u{202e}abc", "ek_a b"];
    all_answered(cases.map(|value| case("value", minted_with("value", json!(value)), 502, "upstream_malformed")).into()).await;
}

#[tokio::test]
async fn bodies_without_measure_are_cut_off() {
    let huge = format!("{{\"value\":\"ek_x\",\"pad\":\"{}\"}}", "x".repeat(10_000_000));
    for reply in [
        Reply::text(200, "application/json", huge.clone()),
        Reply::endless("application/json", &[b' '; 16 * 1024]),
        Reply::endless("application/json", &br#"{"value":"#.repeat(1000)),
        Reply::text(400, "application/json", huge),
    ] {
        let begun = Instant::now();
        let (answer, _) = outcome(reply).await;
        assert_eq!(answer.status, 502, "{answer}");
        assert!(["upstream_malformed", "upstream_rejected"].contains(&answer.code().as_str()), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn garbage_is_an_error_of_the_gateway() {
    for bytes in [
        &b"\0\x01\x02garbage"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    ] {
        let (answer, _) = outcome(Reply::raw(bytes)).await;
        let code = answer.code();
        assert!(["upstream_malformed", "upstream_unavailable"].contains(&code.as_str()), "{answer}");
        answer.expect_problem(if code == "upstream_malformed" { 502 } else { 503 }, &code);
    }
}

#[tokio::test]
async fn clocks_that_differ_by_a_few_seconds_do_no_harm() {
    let world = World::start();
    for ahead in [0, 1, 4] {
        world.upstream.script(Reply::json(200, &minted_until(now() + 120 + ahead)));
        let answer = world.service.mint(&world.bearer("alice")).await;
        assert_eq!(answer.status, 200, "{ahead} s: {answer}");
    }
}
