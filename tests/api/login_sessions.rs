//! Session cookies: what is accepted, from which pages, for how long, and under which key.

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Browser, CLIENT_ID, Issuer, MINT, PUBLIC_URL, SESSION_COOKIE, Service, Upstream, World, eventually, secrets,
};

const ORIGIN: &str = "https://app.example.com";

#[tokio::test]
async fn a_tampered_cookie_is_refused_whichever_byte_it_is() {
    let world = World::with_login(|config| config);
    let browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let cookie = browser.session();
    let mut wrong = Vec::new();
    for at in 0..cookie.len() {
        let other = if &cookie[at..=at] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &cookie[..at], &cookie[at + 1..]);
        let answer = world.service.call(Method::GET, "/auth/me").cookie(&format!("{SESSION_COOKIE}={changed}")).send().await;
        if (answer.status, answer.code().as_str()) != (401, "invalid_token") {
            wrong.push(at);
        }
    }
    assert_eq!(wrong, Vec::<usize>::new());
    let truncated = [0, 1, 10, cookie.len() / 2, cookie.len() - 1].map(|length| cookie[..length].to_owned());
    let others = [format!("{cookie}A"), format!("\"{cookie}\""), "x".repeat(8000), "%00".into(), format!("{cookie}=")];
    for changed in truncated.into_iter().chain(others) {
        let call = world.service.call(Method::POST, MINT).header("origin", PUBLIC_URL);
        let answer = call.cookie(&format!("{SESSION_COOKIE}={changed}")).send().await;
        answer.expect_problem(401, "invalid_token");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn only_the_one_cookie_of_the_right_name_counts() {
    let world = World::with_login(|config| config);
    let cookie = Browser::signed_in(&world.service, &world.issuer, "alice").await.session();
    let refused = [
        (format!("ephemint={cookie}"), "missing_credentials"),
        (format!("__host-ephemint={cookie}"), "missing_credentials"),
        (format!("__Host-ephemint-2={cookie}"), "missing_credentials"),
        (format!("{SESSION_COOKIE}={cookie}; {SESSION_COOKIE}={cookie}"), "invalid_token"),
        (format!("{SESSION_COOKIE}=x; {SESSION_COOKIE}={cookie}"), "invalid_token"),
    ];
    for (cookies, code) in refused {
        let call = world.service.call(Method::POST, MINT).header("origin", PUBLIC_URL);
        call.cookie(&cookies).send().await.expect_problem(401, code);
    }
    for around in ["a=b; COOKIE;c", "a=gr\u{fc}n; COOKIE", "COOKIE; a=\"b; c\"", "=; COOKIE; ="] {
        let cookies = around.replace("COOKIE", &format!("{SESSION_COOKIE}={cookie}"));
        world.service.call(Method::GET, "/auth/me").cookie(&cookies).send().await.expect(200);
    }
    let call = world.service.call(Method::POST, &format!("{MINT}?{SESSION_COOKIE}={cookie}")).header("origin", PUBLIC_URL);
    call.body("application/x-www-form-urlencoded", format!("{SESSION_COOKIE}={cookie}"))
        .send()
        .await
        .expect_problem(401, "missing_credentials");
}

#[tokio::test]
async fn an_authorization_header_wins_over_the_cookie() {
    let world = World::with_login(|config| config);
    let browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    // As a bearer's, the request needs no page to come from.
    browser.call(Method::POST, MINT).bearer(&world.bearer("bob")).send().await.expect_minted();
    assert_eq!(world.service.audit()[1]["identity"], "jwt.main");
    let bad = browser.call(Method::POST, MINT).header("origin", PUBLIC_URL).bearer(&format!("{}x", world.bearer("bob")));
    bad.send().await.expect_problem(401, "invalid_token");
    for other in ["Basic YTpi", "Bearer", ""] {
        let call = browser.call(Method::POST, MINT).header("origin", PUBLIC_URL).header("authorization", other);
        call.send().await.expect_problem(401, "missing_credentials");
    }
    let me = browser.call(Method::GET, "/auth/me").bearer(&world.bearer("bob"));
    me.send().await.expect_problem(401, "missing_credentials");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_cookie_is_no_bearer_token_and_a_token_no_cookie() {
    let world = World::with_login(|config| config);
    let cookie = Browser::signed_in(&world.service, &world.issuer, "alice").await.session();
    // Not as `bearer`, which would have the canary look for the cookie in answers too.
    let call = world.service.call(Method::POST, MINT).header("authorization", &format!("Bearer {cookie}"));
    call.send().await.expect_problem(401, "invalid_token");
    let token = world.issuer.bearer("alice");
    let call = world.service.call(Method::POST, MINT).header("origin", PUBLIC_URL).cookie(&format!("{SESSION_COOKIE}={token}"));
    call.send().await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn what_changes_something_must_come_from_an_allowed_page() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let session = browser.post(MINT).await.expect_session();
    let minted = world.upstream.count();
    let ending = format!("/v1/sessions/{session}");
    let requests = [
        (Method::POST, MINT),
        (Method::POST, "/v1/realtime/translations/client_secrets"),
        (Method::DELETE, &ending),
        (Method::POST, "/auth/logout"),
    ];
    let foreign: [&[(&str, &str)]; 9] = [
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin, cross-site")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    ];
    for (method, path) in &requests {
        for headers in foreign {
            let call = browser.call(method.clone(), path);
            let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
            let answer = call.send().await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "origin_not_allowed"), "{method} {path} {headers:?}");
            answer.expect_problem(403, "origin_not_allowed");
        }
    }
    assert_eq!(world.upstream.count(), minted);
    browser.get("/auth/me").await.expect(200);
    for (name, value) in [("sec-fetch-site", "same-origin"), ("origin", ORIGIN), ("origin", PUBLIC_URL)] {
        browser.send(browser.call(Method::POST, MINT).header(name, value)).await.expect_minted();
    }
    // Pages of another origin may not have the answer with cookies.
    let answer = browser.send(browser.call(Method::POST, MINT).header("origin", ORIGIN)).await;
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    browser.send(browser.call(Method::DELETE, &ending).header("sec-fetch-site", "same-origin")).await.expect(204);
}

#[tokio::test]
async fn a_refused_page_is_written_down() {
    let world = World::with_login(|config| config);
    let browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let answer = browser.call(Method::POST, MINT).send().await;
    let entry = world.service.audit_of(answer.request_id()).await;
    assert_eq!((&entry["outcome"], entry.get("user")), (&json!("origin_not_allowed"), None));
}

#[tokio::test]
async fn after_signing_out_a_copy_of_the_cookie_is_refused() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let other = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let copy = format!("{SESSION_COOKIE}={}", browser.session());
    browser.post("/auth/logout").await.expect(200);
    for (method, path) in [(Method::POST, MINT), (Method::GET, "/v1/sessions"), (Method::GET, "/auth/me")] {
        let call = world.service.call(method, path).header("origin", PUBLIC_URL).cookie(&copy);
        call.send().await.expect_problem(401, "invalid_token");
    }
    other.call(Method::GET, "/auth/me").send().await.expect(200);
}

#[tokio::test]
async fn each_sign_in_has_a_session_of_its_own_and_ends_the_one_before() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let before = browser.session();
    let asked = browser.ask().await;
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "bob").build());
    browser.get(&asked.answer(&code)).await.expect(303);
    assert_ne!(browser.session(), before);
    browser.get("/auth/me").await.expect(200);
    let copy = world.service.call(Method::GET, "/auth/me").cookie(&format!("{SESSION_COOKIE}={before}"));
    copy.send().await.expect_problem(401, "invalid_token");
}

/// The service with these cookie keys.
fn with_keys(issuer: &Issuer, upstream: &Upstream, keys: &[&str]) -> Service {
    let references: Vec<_> = (0..keys.len()).map(|i| format!("env://COOKIE_KEY_{i}")).collect();
    let config = crate::support::Config::new(issuer, upstream).login(issuer);
    let config = config.set("identity.login.cookie_keys", &format!("{references:?}"));
    let config = keys
        .iter()
        .enumerate()
        .fold(config, |config, (i, key)| config.env(&format!("COOKIE_KEY_{i}"), &format!("{}-{key}", secrets::COOKIE_KEY)));
    Service::start(&config)
}

#[tokio::test]
async fn cookies_outlive_a_change_of_keys_and_are_made_anew_under_the_new_one() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let service = with_keys(&issuer, &upstream, &["old"]);
    let old = Browser::signed_in(&service, &issuer, "alice").await.session();
    drop(service);
    let service = with_keys(&issuer, &upstream, &["new", "old"]);
    let mut browser = Browser::new(&service);
    browser.set_cookie(SESSION_COOKIE, &old);
    let answer = browser.post(MINT).await;
    answer.expect_minted();
    let renewed = answer.header("set-cookie").expect("made anew");
    assert!(
        renewed.starts_with("__Host-ephemint=") && renewed.ends_with("; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax; Secure")
    );
    let new = browser.session();
    browser.get("/auth/me").await.expect(200);
    assert_eq!(browser.session(), new, "made anew twice");
    drop(service);
    let service = with_keys(&issuer, &upstream, &["new"]);
    for (cookie, status) in [(&new, 200), (&old, 401)] {
        let call = service.call(Method::GET, "/auth/me").cookie(&format!("{SESSION_COOKIE}={cookie}"));
        call.send().await.expect(status);
    }
}

#[tokio::test]
async fn a_cookie_is_made_anew_also_when_the_request_is_refused() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let service = with_keys(&issuer, &upstream, &["old"]);
    let old = Browser::signed_in(&service, &issuer, "alice").await.session();
    drop(service);
    let service = with_keys(&issuer, &upstream, &["new", "old"]);
    let mut browser = Browser::new(&service);
    browser.set_cookie(SESSION_COOKIE, &old);
    let answer = browser.post(&format!("{MINT}?profile=none")).await;
    answer.expect_problem(403, "profile_forbidden");
    assert!(answer.header("set-cookie").is_some() && browser.session() != old);
}

#[tokio::test]
async fn cookies_for_another_client_or_issuer_are_refused() {
    let world = World::with_login(|config| config);
    let cookie = Browser::signed_in(&world.service, &world.issuer, "alice").await.session();
    let World { service, issuer, upstream } = world;
    drop(service);
    let world = World {
        service: Service::start(
            &crate::support::Config::new(&issuer, &upstream)
                .login(&issuer)
                .set("identity.login.client_id", &format!("{:?}", format!("{CLIENT_ID}-2"))),
        ),
        issuer,
        upstream,
    };
    let call = world.service.call(Method::GET, "/auth/me").cookie(&format!("{SESSION_COOKIE}={cookie}"));
    call.send().await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn rules_that_became_stricter_hold_for_sessions_from_before() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let config = || crate::support::Config::new(&issuer, &upstream).login(&issuer);
    let service = Service::start(&config());
    let cookie = Browser::signed_in(&service, &issuer, "alice").await.session();
    drop(service);
    let service = Service::start(&config().set("identity.login.required_claims", "{ email_verified = true }"));
    let call = service.call(Method::GET, "/auth/me").cookie(&format!("{SESSION_COOKIE}={cookie}"));
    call.send().await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn claims_that_do_not_fit_into_a_cookie_make_no_session_and_the_log_says_so() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    for (groups, status) in [(40, 303), (250, 401)] {
        let asked = browser.ask().await;
        let groups: Vec<_> = (0..groups).map(|i| format!("group-{i:08}")).collect();
        let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").claim("groups", groups).build());
        let answer = browser.get(&asked.answer(&code)).await;
        answer.expect(status);
        assert!(answer.all("set-cookie").iter().all(|cookie| cookie.len() <= 4096));
    }
    eventually("the log to say why", 5, async || world.service.stderr().contains("list fewer groups").then_some(())).await;
}

#[tokio::test]
async fn claims_that_nobody_asks_for_take_no_room() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let token = world.issuer.id_token(&asked, "alice").claim("picture", "p".repeat(5000));
    browser.get(&asked.answer(&world.issuer.code(&asked, &token.build()))).await.expect(303);
    assert!(browser.session().len() < 600, "{}", browser.session().len());
}
