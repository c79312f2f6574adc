//! Who signs in and out is written down and counted, and nothing that proves it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::introspection::metric;
use crate::support::{Answer, Browser, Issuer, SESSION_COOKIE, Upstream, World, secrets};

async fn entry(world: &World, answer: &Answer) -> Value {
    world.service.audit_of(answer.request_id()).await
}

async fn counted(world: &World, event: &str, outcome: &str) -> u64 {
    metric(world, &format!(r#"ephemint_sign_ins_total{{event="{event}",outcome="{outcome}"}}"#)).await
}

#[tokio::test]
async fn a_user_who_signs_in_and_out_has_an_entry_of_each() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    assert_eq!(world.service.audit(), [json!(null); 0], "nobody has signed in yet");
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let signed_in = browser.get(&asked.answer(&code)).await;
    let signed_in = entry(&world, signed_in.expect(303)).await;
    let minted = browser.post(crate::support::MINT).await;
    minted.expect_minted();
    let minted = entry(&world, &minted).await;
    let signed_out = browser.post("/auth/logout").await;
    let signed_out = entry(&world, signed_out.expect(200)).await;
    for (line, event, outcome, status) in [(&signed_in, "login", "signed_in", 303), (&signed_out, "logout", "signed_out", 200)] {
        assert_eq!((&line["event"], &line["outcome"], &line["status"]), (&json!(event), &json!(outcome), &json!(status)));
        assert_eq!((&line["identity"], &line["user"]), (&json!("login"), &minted["user"]), "{line:#}");
        assert_eq!(counted(&world, event, outcome).await, 1, "{event}");
        for secret in [secrets::USER, secrets::CODE, asked.get("state"), asked.get("nonce"), "canary"] {
            assert!(!line.to_string().contains(secret), "{secret}: {line:#}");
        }
    }
}

#[tokio::test]
async fn a_sign_in_or_out_that_is_refused_has_its_code_and_no_user() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let stray = browser.get("/auth/callback?code=stray-code&state=stray-state").await;
    let asked = browser.ask().await;
    let declined = browser.get(&format!("/auth/callback?error=access_denied&state={}", asked.get("state"))).await;
    let forged = browser.ask().await;
    let id_token = world.issuer.id_token(&forged, "alice").claim("nonce", "another");
    let forged = browser.get(&forged.answer(&world.issuer.code(&forged, &id_token.build()))).await;
    let elsewhere = browser.send(browser.call(Method::POST, "/auth/logout").header("origin", "https://evil.example")).await;
    for (answer, event) in [(&stray, "login"), (&declined, "login"), (&forged, "login"), (&elsewhere, "logout")] {
        let line = entry(&world, answer).await;
        let code = answer.json()["code"].clone();
        assert_eq!((&line["event"], &line["outcome"], &line["identity"]), (&json!(event), &code, &json!("login")), "{line:#}");
        assert_eq!((line["status"].as_u64(), line.get("user")), (Some(answer.status.into()), None), "{line:#}");
        assert!(!line.to_string().contains("stray-"), "{line:#}");
    }
    assert_eq!(counted(&world, "logout", "origin_not_allowed").await, 1);
    assert_eq!(counted(&world, "login", "signed_in").await, 0);
}

#[tokio::test]
async fn a_sign_in_that_cannot_begin_is_written_down() {
    let issuer = Issuer::start();
    issuer.discover("token_endpoint", Value::Null);
    let world = World::with_login_at(issuer, |config| config);
    let answer = Browser::new(&world.service).get("/auth/login").await;
    answer.expect_problem(503, "identity_unavailable");
    assert_eq!(entry(&world, &answer).await["outcome"], "identity_unavailable");
    assert_eq!(counted(&world, "login", "identity_unavailable").await, 1);
}

#[tokio::test]
async fn names_are_in_the_entry_where_that_is_asked_for() {
    let world = World::with_login(|config| config.set("audit.identify_users", r#""plain""#));
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let id_token = world.issuer.id_token(&asked, "alice").claim("sub", "plain-name-0002");
    let signed_in = browser.get(&asked.answer(&world.issuer.code(&asked, &id_token.build()))).await;
    let signed_out = browser.call(Method::POST, "/auth/logout").header("sec-fetch-site", "same-origin").send().await;
    for answer in [signed_in.expect(303), signed_out.expect(200)] {
        assert_eq!(entry(&world, answer).await["user_name"], "plain-name-0002");
    }
}

#[tokio::test]
async fn without_an_entry_there_is_no_session_and_signing_out_still_works() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let written = World::with_login_at(issuer, |config| config);
    let session = Browser::signed_in(&written.service, &written.issuer, "alice").await.session();
    let unwritten = crate::support::Config::new(&written.issuer, &upstream).login(&written.issuer);
    let service = crate::support::Service::start(&unwritten.set("audit.sinks", r#"["file:///dev/full"]"#));
    let mut browser = Browser::new(&service);
    browser.set_cookie(SESSION_COOKIE, &session);
    let asked = browser.ask().await;
    let code = written.issuer.code(&asked, &written.issuer.id_token(&asked, "bob").build());
    let answer = browser.get(&asked.answer(&code)).await;
    answer.expect_problem(503, "audit_unavailable");
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert!(answer.all("set-cookie").iter().all(|cookie| !cookie.starts_with("__Host-ephemint=")), "a session was handed out");
    // Whoever was signed in before still is, until they sign out.
    browser.get("/auth/me").await.expect(200);
    let out = browser.post("/auth/logout").await;
    assert!(out.expect(200).all("set-cookie")[0].starts_with("__Host-ephemint=; "));
    browser.set_cookie(SESSION_COOKIE, &session);
    browser.get("/auth/me").await.expect_problem(401, "invalid_token");
}
