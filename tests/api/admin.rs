//! The operators' listener: who may read the metrics, and what is in them.

use reqwest::Method;
use serde_json::json;

use crate::support::{World, error, secrets};

/// The sum of all samples of a metric whose labels contain all of these.
fn sample(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples: Vec<f64> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let fits = found == name && labels.iter().all(|label| rest.contains(label));
            fits.then(|| value.parse().ok())?
        })
        .collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

async fn metrics(world: &World) -> String {
    let answer = world.service.admin(Method::GET, "/metrics").send().await;
    let type_of = answer.expect(200).header("content-type").unwrap_or_default().to_owned();
    assert!(type_of.starts_with("text/plain") || type_of.starts_with("application/openmetrics-text"), "{type_of}");
    answer.text()
}

#[tokio::test]
async fn metrics_need_the_admin_token() {
    let world = World::start();
    let service = &world.service;
    let user = world.bearer("alice");
    let nearly = &secrets::ADMIN_TOKEN[..secrets::ADMIN_TOKEN.len() - 1];
    let longer = format!("{}x", secrets::ADMIN_TOKEN);
    let answer = service.admin_without_token(Method::GET, "/metrics").send().await;
    assert!(answer.expect(401).header("www-authenticate").is_some(), "{answer}");
    for wrong in ["", "x", &user, nearly, &longer, &secrets::ADMIN_TOKEN.to_uppercase(), secrets::PRIMARY_KEY] {
        let call = service.admin_without_token(Method::GET, "/metrics");
        let answer = call.header("authorization", &format!("Bearer {wrong}")).send().await;
        assert_eq!(answer.status, 401, "{answer}");
        assert!(!answer.text().contains("ephemint_mints"), "{answer}");
    }
    let call = service.admin_without_token(Method::GET, &format!("/metrics?token={}", secrets::ADMIN_TOKEN));
    call.send().await.expect(401);
    let call = service.admin_without_token(Method::GET, "/metrics");
    call.header("authorization", &format!("Basic {}", secrets::ADMIN_TOKEN)).send().await.expect(401);
    metrics(&world).await;
}

#[tokio::test]
async fn metrics_can_be_opened() {
    let world = World::with(|config| config.set("admin.open_metrics", "true"));
    let answer = world.service.admin_without_token(Method::GET, "/metrics").send().await;
    assert!(answer.expect(200).text().contains("ephemint_mints_total"), "{answer}");
}

#[tokio::test]
async fn opened_metrics_judge_no_credential() {
    let world = World::with(|config| config.set("admin.open_metrics", "true"));
    let call = world.service.admin_without_token(Method::GET, "/metrics").header("authorization", "Basic b3BzOng=");
    assert!(call.send().await.expect(200).text().contains("ephemint_mints"));
}

#[tokio::test]
async fn a_scraper_gets_the_format_that_it_asks_for() {
    let world = World::start();
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    let plain = ("text/plain; version=0.0.4; charset=utf-8", "# TYPE ephemint_mints_total counter");
    let open = ("application/openmetrics-text; version=1.0.0; charset=utf-8", "# TYPE ephemint_mints counter");
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, (kind, type_line)) in [("*/*", plain), ("text/plain;version=0.0.4", plain), (prometheus, open)] {
        let answer = world.service.admin(Method::GET, "/metrics").header("accept", accept).send().await;
        assert_eq!(answer.expect(200).header("content-type"), Some(kind), "{accept}");
        let text = answer.text();
        assert!(text.lines().any(|line| line == type_line), "{accept}: {text}");
        assert_eq!(text.ends_with("# EOF\n"), kind == open.0, "{text}");
        assert_eq!(sample(&text, "ephemint_mints_total", &[]), Some(1.0), "{text}");
    }
}

#[tokio::test]
async fn who_sends_no_admin_token_is_asked_for_that() {
    let world = World::start();
    let answer = world.service.admin_without_token(Method::GET, "/metrics").send().await;
    let problem = answer.expect_problem(401, "missing_credentials");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("admin token")), "{problem:#}");
}

#[tokio::test]
async fn the_admin_listener_mints_for_nobody() {
    let world = World::start();
    let call = world.service.admin_without_token(Method::POST, crate::support::MINT);
    let answer = call.bearer(&world.bearer("alice")).send().await;
    assert!([401, 404].contains(&answer.status), "{answer}");
    let answer = world.service.admin(Method::POST, crate::support::MINT).send().await;
    answer.expect(404);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn mints_and_refusals_are_counted() {
    let world = World::with(|config| config.limit("mints_per_minute", 2));
    let token = world.bearer("alice");
    for _ in 0..2 {
        world.service.mint(&token).await.expect_minted();
    }
    for _ in 0..3 {
        world.service.mint(&token).await.expect_problem(429, "rate_limited");
    }
    world.service.mint("not-a-token").await.expect_problem(401, "invalid_token");
    world.service.mint_with(&token, &json!({"x": 1})).await.expect_problem(400, "unknown_field");
    let text = metrics(&world).await;
    assert_eq!(sample(&text, "ephemint_mints_total", &[]), Some(2.0), "{text}");
    for (code, count) in [("rate_limited", 3.0), ("invalid_token", 1.0), ("unknown_field", 1.0)] {
        let label = format!("code=\"{code}\"");
        assert_eq!(sample(&text, "ephemint_refusals_total", &[&label]), Some(count), "{code}: {text}");
    }
    assert_eq!(sample(&text, "ephemint_refusals_total", &[]), Some(5.0), "{text}");
}

#[tokio::test]
async fn the_upstream_is_timed_and_requests_in_flight_are_counted() {
    let world = World::start();
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    world.upstream.script(error(400, "invalid_request_error", "unknown_parameter"));
    world.service.mint(&token).await.expect_problem(502, "upstream_rejected");
    let text = metrics(&world).await;
    assert_eq!(sample(&text, "ephemint_upstream_duration_seconds_count", &[]), Some(2.0), "{text}");
    let sum = sample(&text, "ephemint_upstream_duration_seconds_sum", &[]).expect("a sum");
    assert!((0.0..10.0).contains(&sum), "{sum}");
    assert!(sample(&text, "ephemint_upstream_duration_seconds_bucket", &["le=\"+Inf\""]).is_some(), "{text}");
    assert_eq!(sample(&text, "ephemint_requests_in_flight", &[]), Some(0.0), "{text}");
}

#[tokio::test]
async fn remembered_tokens_are_counted() {
    let world = World::start();
    let token = world.bearer("alice");
    for _ in 0..4 {
        world.service.mint(&token).await.expect_minted();
    }
    let text = metrics(&world).await;
    assert_eq!(sample(&text, "ephemint_token_cache_hits_total", &[]), Some(3.0), "{text}");
}

#[tokio::test]
async fn no_label_names_a_user_a_session_or_what_a_caller_invents() {
    let world = World::with(|config| config.limit("mints_per_minute", 1));
    let token = world.bearer("alice");
    let session = world.service.mint(&token).await.expect_session();
    let identifier = world.upstream.last().header("openai-safety-identifier").expect("an identifier").to_owned();
    world.service.mint(&token).await.expect_problem(429, "rate_limited");
    world.service.mint_from("invented-profile", &token).await.expect_problem(403, "profile_forbidden");
    world.service.get("/invented-path", &token).await.expect_problem(404, "not_found");
    world.service.get(&format!("/v1/sessions/{session}"), &token).await.expect(200);
    world.service.call(Method::from_bytes(b"INVENTED").expect("a method"), crate::support::MINT).send().await;
    let forged =
        world.issuer.token("canary-user-x").head("kid", "invented-kid").claim("iss", "https://invented.example/").build();
    world.service.mint(&forged).await.expect_problem(401, "invalid_token");
    let text = metrics(&world).await;
    for trace in [secrets::USER, &session, &identifier, "nvented", "NVENTED"] {
        assert!(!text.contains(trace), "{trace}: {text}");
    }
    assert_eq!(text.matches("# EOF").count(), usize::from(text.trim_end().ends_with("# EOF")), "{text}");
}
