//! Sessions that grow old, and refresh tokens: used once, together, and trusted no further than their answer.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Browser, Issuer, MINT, PUBLIC_URL, Reply, SESSION_COOKIE, World, eventually, now, secrets, user};

fn refresh_token(number: u32) -> String {
    format!("{}-{number}", secrets::REFRESH_TOKEN)
}

/// Signed in as alice, with a refresh token whose time has come.
async fn due(world: &World) -> Browser<'_> {
    let mut browser = fresh(world).await;
    browser.change_session(&world.issuer, |session| session["refresh"]["due"] = json!(now() - 1));
    browser
}

/// Signed in as alice, with a refresh token.
async fn fresh(world: &World) -> Browser<'_> {
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let id_token = world.issuer.id_token(&asked, "alice").claim("groups", json!(["first"])).build();
    let answer = json!({"id_token": id_token, "refresh_token": refresh_token(1), "expires_in": 300});
    browser.get(&asked.answer(&world.issuer.code_for(&asked, answer))).await.expect(303);
    browser
}

/// A refreshed ID token of a user.
fn id_token(issuer: &Issuer, name: &str) -> crate::support::Token {
    issuer.token(&user(name)).claim("aud", crate::support::CLIENT_ID)
}

fn tokens(id_token: &str) -> Value {
    json!({"access_token": "x", "token_type": "Bearer", "id_token": id_token, "refresh_token": refresh_token(2), "expires_in": 300})
}

async fn groups(browser: &mut Browser<'_>) -> Value {
    browser.get("/auth/me").await.expect(200).json()["groups"].clone()
}

fn refreshes(world: &World) -> Vec<String> {
    let requests = world.issuer.token_requests();
    let refreshing = requests.iter().filter(|form| form["grant_type"] == "refresh_token");
    refreshing.map(|form| form["refresh_token"].clone()).collect()
}

#[tokio::test]
async fn a_session_that_was_not_used_ends_and_so_does_one_that_is_used_for_too_long() {
    let world = World::with_login(|config| config);
    for (created, seen, good) in
        [(0, 0, true), (1795, 1795, true), (1801, 1801, false), (43_190, 60, true), (43_201, 60, false), (-60, -60, true)]
    {
        let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
        browser.change_session(&world.issuer, |session| {
            (session["created"], session["seen"]) = (json!(now() - created), json!(now() - seen));
        });
        for answer in [browser.get("/auth/me").await, browser.post(MINT).await, browser.get("/v1/sessions").await] {
            if good {
                answer.expect(200);
            } else {
                answer.expect_problem(401, "token_expired");
            }
        }
    }
}

#[tokio::test]
async fn a_session_that_is_used_is_renewed_but_not_beyond_its_end() {
    let world = World::with_login(|config| config);
    for (created, seen, renewed) in [(170, 170, None), (190, 190, Some(1800)), (43_000, 1000, Some(200))] {
        let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
        browser.change_session(&world.issuer, |session| {
            (session["created"], session["seen"]) = (json!(now() - created), json!(now() - seen));
        });
        let answer = browser.post(MINT).await;
        answer.expect_minted();
        let seconds = answer.header("set-cookie").map(|cookie| {
            let (_, after) = cookie.split_once("Max-Age=").unwrap();
            after.split(';').next().unwrap().parse::<i64>().unwrap()
        });
        match renewed {
            None => assert_eq!(seconds, None),
            Some(most) => assert!((most - 10..=most).contains(&seconds.unwrap()), "{seconds:?}"),
        }
    }
}

#[tokio::test]
async fn a_refresh_token_is_used_when_its_time_has_come_and_replaced_by_the_next() {
    let world = World::with_login(|config| config);
    let mut browser = fresh(&world).await;
    assert_eq!((groups(&mut browser).await, refreshes(&world).len()), (json!(["first"]), 0));
    let mut browser = due(&world).await;
    let token = id_token(&world.issuer, "alice").claim("groups", json!(["second"]));
    world.issuer.refresh_with(Reply::json(200, &tokens(&token.build())));
    let before = browser.session();
    assert_eq!(groups(&mut browser).await, json!(["second"]));
    assert_ne!(browser.session(), before);
    assert_eq!(refreshes(&world), [refresh_token(1)]);
    assert_eq!((groups(&mut browser).await, refreshes(&world).len()), (json!(["second"]), 1));
    browser.change_session(&world.issuer, |session| {
        assert_eq!(session["refresh"]["token"], json!(refresh_token(2)));
        session["refresh"]["due"] = json!(now() - 1);
    });
    // An issuer may give neither another refresh token nor another ID token.
    world.issuer.refresh_with(Reply::json(200, &json!({"access_token": "x", "expires_in": "300"})));
    assert_eq!(groups(&mut browser).await, json!(["second"]));
    browser.change_session(&world.issuer, |session| {
        assert_eq!(session["refresh"]["token"], json!(refresh_token(2)));
        assert!((290..=300).contains(&(session["refresh"]["due"].as_i64().unwrap() - now())));
    });
    assert_eq!(refreshes(&world), [refresh_token(1), refresh_token(2)]);
}

#[tokio::test]
async fn requests_of_one_moment_and_latecomers_share_one_use_of_the_refresh_token() {
    let world = World::with_login(|config| config);
    let mut browser = due(&world).await;
    let token = id_token(&world.issuer, "alice").build();
    world.issuer.refresh_with(Reply::json(200, &tokens(&token)).after(Duration::from_millis(300)));
    let cookie = browser.cookie_header();
    let call = |i: usize| {
        let (method, path) = if i.is_multiple_of(2) { (Method::POST, MINT) } else { (Method::GET, "/v1/sessions") };
        world.service.call(method, path).header("origin", PUBLIC_URL).cookie(&cookie).send()
    };
    let answers: Vec<Answer> = futures_util::future::join_all((0..10).map(call)).await;
    for answer in answers {
        answer.expect(200);
        assert!(answer.header("set-cookie").is_some());
    }
    browser.get("/auth/me").await.expect(200);
    assert_eq!(refreshes(&world).len(), 1);
}

#[tokio::test]
async fn a_browser_that_goes_away_does_not_lose_the_next_refresh_token() {
    let world = World::with_login(|config| config);
    let mut browser = due(&world).await;
    world
        .issuer
        .refresh_with(Reply::json(200, &tokens(&id_token(&world.issuer, "alice").build())).after(Duration::from_millis(300)));
    let request = format!("GET /auth/me HTTP/1.1\r\nHost: ephemint\r\nCookie: {}\r\n\r\n", browser.cookie_header());
    let impatient = world.service.raw().patience(Duration::from_millis(50));
    tokio::task::spawn_blocking(move || impatient.exchange(request.as_bytes())).await.unwrap();
    eventually("the refresh", 5, async || (refreshes(&world).len() == 1).then_some(())).await;
    browser.get("/auth/me").await.expect(200);
    browser.change_session(&world.issuer, |session| assert_eq!(session["refresh"]["token"], json!(refresh_token(2))));
    assert_eq!(refreshes(&world).len(), 1);
}

#[tokio::test]
async fn a_refused_refresh_token_ends_the_session() {
    let world = World::with_login(|config| config);
    let mut browser = due(&world).await;
    for path in ["/auth/me", "/v1/sessions"] {
        browser.get(path).await.expect_problem(401, "token_expired");
    }
    browser.post(MINT).await.expect_problem(401, "token_expired");
    assert_eq!((refreshes(&world).len(), world.upstream.count()), (1, 0));
}

#[tokio::test]
async fn an_id_token_that_is_not_the_users_ends_the_session() {
    let world = World::with_login(|config| config);
    let bad = [
        ("another user", id_token(&world.issuer, "bob").build()),
        ("another audience", id_token(&world.issuer, "alice").claim("aud", "voice").build()),
        ("another nonce", id_token(&world.issuer, "alice").claim("nonce", "x").build()),
        ("expired", id_token(&world.issuer, "alice").claim("exp", now() - 60).build()),
        ("no token", "x".to_owned()),
    ];
    for (what, token) in bad {
        let mut browser = due(&world).await;
        // Each has an exchange of its own.
        browser.change_session(&world.issuer, |session| {
            session["refresh"]["token"] = json!(format!("{}-{what}", secrets::REFRESH_TOKEN));
        });
        world.issuer.refresh_with(Reply::json(200, &tokens(&token)));
        let answer = browser.get("/auth/me").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "token_expired"), "{what}");
    }
    assert_eq!(refreshes(&world).len(), 5);
}

#[tokio::test]
async fn during_an_outage_the_session_goes_on_and_the_issuer_is_left_alone() {
    let world = World::with_login(|config| config);
    for reply in [
        Reply::new(500),
        Reply::text(200, "text/html", "<html>"),
        Reply::json(401, &json!({"error": "invalid_client"})),
        Reply::never(),
    ] {
        let mut browser = due(&world).await;
        let number = refreshes(&world).len();
        browser.change_session(&world.issuer, |session| {
            session["refresh"]["token"] = json!(format!("{}-x{number}", secrets::REFRESH_TOKEN));
        });
        world.issuer.break_token_endpoint(Some(reply));
        for _ in 0..3 {
            assert_eq!(groups(&mut browser).await, json!(["first"]));
            browser.post(MINT).await.expect_minted();
        }
        assert_eq!(refreshes(&world).len(), number + 1);
        // Not beyond its own end.
        browser.change_session(&world.issuer, |session| session["seen"] = json!(now() - 1801));
        browser.get("/auth/me").await.expect_problem(401, "token_expired");
        world.issuer.break_token_endpoint(None);
    }
}

#[tokio::test]
async fn a_refresh_token_that_does_not_fit_is_dropped_and_the_session_stays() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let id_token = world.issuer.id_token(&asked, "alice").build();
    let token = format!("{}-{}", secrets::REFRESH_TOKEN, "r".repeat(3000));
    let answer = json!({"id_token": id_token, "refresh_token": token, "expires_in": 300});
    let answer = browser.get(&asked.answer(&world.issuer.code_for(&asked, answer))).await;
    answer.expect(303);
    assert!(browser.session().len() < 1000);
    browser.get("/auth/me").await.expect(200);
    browser.change_session(&world.issuer, |session| assert_eq!(session.get("refresh"), None));
    eventually("the log to say so", 5, async || world.service.stderr().contains("refresh token does not fit").then_some(()))
        .await;
    assert!(browser.cookie(SESSION_COOKIE).is_some());
}
