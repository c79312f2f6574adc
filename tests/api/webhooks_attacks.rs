//! Deliveries that are not OpenAI's, or not as it sends them: refused, without a hint at what was wrong.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Config, Delivery, WEBHOOK, World, find, secrets};

fn world() -> World {
    World::with(Config::webhook)
}

fn user() -> String {
    "0".repeat(64)
}

/// Nobody was blocked and nothing was written down.
async fn untouched(world: &World) {
    let blocks = world.service.admin(Method::GET, "/admin/v1/blocks").send().await.expect(200).json();
    assert_eq!(blocks["data"], json!([]));
    assert!(world.service.audit().is_empty(), "{:?}", world.service.audit());
}

#[tokio::test]
async fn a_delivery_that_is_not_signed_as_it_is_sent_is_refused_without_a_hint() {
    let world = world();
    let good = Delivery::blocked("wh_1", &user());
    let with_secret = |secret: &str| good.clone().signed_as(&good.signature(secret));
    let sealed = good.clone().sealed();
    let signature = sealed.signatures.clone();
    let mac = signature.strip_prefix("v1,").unwrap();
    let text_key = format!("whsec_{}", secrets::WEBHOOK_SECRET);
    let of_text = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, text_key.as_bytes());
    let by_text = aws_lc_rs::hmac::sign(&of_text, format!("{}.{}.{}", good.id, good.timestamp, good.body).as_bytes());
    let by_text = format!("v1,{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, by_text));
    let stars = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let mut details = Vec::new();
    for (what, delivery) in [
        ("another secret", with_secret(secrets::FORMER_WEBHOOK_SECRET)),
        ("the secret as text", good.clone().signed_as(&by_text)),
        ("another body", Delivery { body: sealed.body.replace("bio", "bip"), ..sealed.clone() }),
        ("a space more", Delivery { body: format!("{} ", sealed.body), ..sealed.clone() }),
        ("no body", Delivery { body: String::new(), ..sealed.clone() }),
        ("another name", Delivery { id: "wh_2".into(), ..sealed.clone() }),
        ("another time", Delivery { timestamp: format!("0{}", sealed.timestamp), ..sealed.clone() }),
        ("too old", good.clone().late_by(310)),
        ("too early", good.clone().late_by(-310)),
        ("a time that is none", Delivery { timestamp: "yesterday".into(), ..good.clone() }),
        ("a time with a sign", Delivery { timestamp: format!("+{}", good.timestamp), ..good.clone() }),
        ("a fraction of a second", Delivery { timestamp: format!("{}.5", good.timestamp), ..good.clone() }),
        ("a time beyond counting", Delivery { timestamp: "9".repeat(40), ..good.clone() }),
        ("no time", Delivery { timestamp: String::new(), ..good.clone() }),
        ("no name", Delivery { id: String::new(), ..good.clone() }),
        ("a name with a full stop", Delivery { id: "wh.1".into(), ..good.clone() }),
        ("a name with a space", Delivery { id: "wh 1".into(), ..good.clone() }),
        ("a name that is too long", Delivery { id: "w".repeat(257), ..good.clone() }),
        ("no version", good.clone().signed_as(mac)),
        ("version 2", good.clone().signed_as(&format!("v2,{mac}"))),
        ("version 1a under our secret", good.clone().signed_as(&format!("v1a,{mac}"))),
        ("version 1a alone", good.clone().signed_as(stars)),
        ("commas between entries", good.clone().signed_as(&format!("{stars},{signature}"))),
        ("hexadecimal", good.clone().signed_as("v1,83484cf52b04f8e4cf2531adfed9882ad4b2665137b852442d594d20e2c9d4e1")),
        ("half a signature", good.clone().signed_as(&signature[..25])),
        ("an empty signature", good.clone().signed_as("v1,")),
        ("bytes that are no text", good.clone().signed_as("v1,\u{fc}")),
        ("a thousand guesses", good.clone().signed_as(&vec!["v1,AAAA"; 1000].join(" "))),
    ] {
        let answer = delivery.send(&world.service).await;
        let problem = answer.expect_problem(401, "invalid_token");
        assert!(answer.header("www-authenticate").is_some(), "{what}: {answer}");
        details.push(problem["detail"].clone());
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    untouched(&world).await;
    sealed.signed_as(&format!("{stars} v1, v1,AAAA   v9 {signature} junk")).send(&world.service).await.expect(204);
}

#[tokio::test]
async fn headers_that_are_missing_or_sent_twice_are_refused() {
    let world = world();
    let sealed = Delivery::blocked("wh_1", &user()).sealed();
    let headers = [
        ("webhook-id", sealed.id.as_str()),
        ("webhook-timestamp", sealed.timestamp.as_str()),
        ("webhook-signature", sealed.signatures.as_str()),
    ];
    let bare = || world.service.call(Method::POST, WEBHOOK).body("application/json", sealed.body.clone());
    let none = bare().send().await;
    none.expect_problem(401, "missing_credentials");
    assert!(none.header("www-authenticate").is_some(), "{none}");
    for left_out in 0..3 {
        let sent = headers.iter().enumerate().filter(|(i, _)| *i != left_out);
        let call = sent.fold(bare(), |call, (_, (name, value))| call.header(name, value));
        call.send().await.expect_problem(401, "invalid_token");
    }
    for (name, value) in headers {
        for twice in [value, "x"] {
            let answer = sealed.clone().call(&world.service).header(name, twice).send().await;
            let problem = answer.expect_problem(400, "duplicate_header");
            assert_eq!(problem["error"]["param"], name);
        }
    }
    untouched(&world).await;
}

#[tokio::test]
async fn no_other_credential_opens_the_path_and_none_is_needed() {
    let world = world();
    let bare = || world.service.call(Method::POST, WEBHOOK).json(&json!({}));
    bare().bearer(&world.bearer("alice")).send().await.expect_problem(401, "missing_credentials");
    bare().bearer(secrets::ADMIN_TOKEN).send().await.expect_problem(401, "missing_credentials");
    let delivery = |id: &str| Delivery::blocked(id, &user()).call(&world.service);
    delivery("wh_1").header("authorization", "Bearer nonsense").send().await.expect(204);
    let elsewhere = delivery("wh_2").header("origin", "https://evil.example").send().await;
    elsewhere.expect_problem(403, "origin_not_allowed");
    delivery("wh_2").header("origin", "https://app.example.com").send().await.expect(204);
    for kind in ["text/plain", "application/json; charset=utf-8", "application/octet-stream"] {
        let plain = Delivery::blocked(kind.split('/').next().unwrap(), &user());
        let sealed = plain.sealed();
        let call = world.service.call(Method::POST, WEBHOOK).header("webhook-id", &sealed.id);
        let call = call.header("webhook-timestamp", &sealed.timestamp).header("webhook-signature", &sealed.signatures);
        call.body(kind, sealed.body).send().await.expect(204);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_too_slow_is_given_up() {
    let world = world();
    let large = |bytes: usize| Delivery { body: " ".repeat(bytes), ..Delivery::blocked("wh_1", &user()) };
    large(64 * 1024).send(&world.service).await.expect_problem(400, "invalid_json");
    large(64 * 1024 + 1).send(&world.service).await.expect_problem(413, "body_too_large");
    let signed = large(10).sealed();
    let head = |length: &str| {
        format!(
            "POST {WEBHOOK} HTTP/1.1\r\nHost: ephemint\r\nwebhook-id: wh_1\r\nwebhook-timestamp: {}\r\nwebhook-signature: {}\r\n{length}\r\n\r\n",
            signed.timestamp, signed.signatures
        )
    };
    let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024 + 1, " ".repeat(64 * 1024 + 1));
    let chunked = format!("{}{chunk}0\r\n\r\n", head("Transfer-Encoding: chunked"));
    world.service.raw().ask(chunked.as_bytes()).expect_problem(413, "body_too_large");
    let slow = world.service.raw().trickle(head("Content-Length: 60000").as_bytes(), b" ", std::time::Duration::from_millis(200));
    assert!(find(&slow, b"HTTP/1.1 408").is_some(), "{:?}", String::from_utf8_lossy(&slow));
    Answer::parse(&slow).unwrap().expect_problem(408, "request_timeout");
    untouched(&world).await;
}

#[tokio::test]
async fn a_signed_text_that_is_no_event_is_refused_and_taken_once_it_is_one() {
    let world = world();
    for body in [
        "",
        "{",
        "[]",
        r#"{"type":7}"#,
        r#"{"type":"safety_identifier.blocked"}"#,
        r#"{"type":"safety_identifier.blocked","data":{"safety_identifier":null}}"#,
        r#"{"type":"batch.completed","type":"safety_identifier.blocked"}"#,
    ] {
        let delivery = Delivery { body: body.to_owned(), ..Delivery::blocked("wh_1", &user()) };
        delivery.send(&world.service).await.expect_problem(400, "invalid_json");
    }
    untouched(&world).await;
    Delivery::blocked("wh_1", &user()).send(&world.service).await.expect(204);
}

#[tokio::test]
async fn what_an_event_says_cannot_forge_a_line_of_the_trail() {
    let world = world();
    let data =
        json!({"safety_identifier": user(), "safety_category": format!("bio\n{{\"event\":\"mint\"}}{}", "x".repeat(10_000))});
    let event = json!({"id": "evt\u{1b}[31m", "type": "safety_identifier.blocked", "data": data});
    Delivery::of("wh_1", &event).send(&world.service).await.expect(204);
    let audit = world.service.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(audit[0]["cause"], "OpenAI blocked this user: category bio, event evt");
}

#[tokio::test]
async fn deliveries_are_not_counted_among_the_mints() {
    let world = world();
    Delivery::blocked("wh_1", &user()).send(&world.service).await.expect(204);
    Delivery::blocked("wh_1", &user()).late_by(400).send(&world.service).await.expect_problem(401, "invalid_token");
    let metrics = world.service.admin(Method::GET, "/metrics").send().await.expect(200).text();
    for line in ["ephemint_webhooks_total{outcome=\"blocked\"} 1", "ephemint_webhooks_total{outcome=\"refused\"} 1"] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    assert!(
        metrics.lines().filter(|line| line.starts_with("ephemint_mints_total")).all(|line| line.ends_with(" 0")),
        "{metrics}"
    );
    assert_eq!(world.upstream.count(), 0);
}
