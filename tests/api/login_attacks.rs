//! Attacks on the way to the issuer and back (RFC 9700), on ID tokens (RFC 8725), and an issuer that misbehaves.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Algorithm, Answer, Asked, Browser, CLIENT_ID, End, Issuer, Key, MINT, Reply, SESSION_COOKIE, SIGN_IN_COOKIE, Token, World,
    assemble, base64url, now, secrets,
};

/// The callback is refused, leaves no session, and ends the sign-in if it was one.
#[track_caller]
fn expect_no_session(browser: &Browser<'_>, answer: &Answer) {
    answer.expect_problem(401, "invalid_token");
    assert_eq!(browser.cookie(SESSION_COOKIE), None, "{answer}");
    assert!(!answer.all("set-cookie").iter().any(|cookie| cookie.starts_with("__Host-ephemint=")), "{answer}");
}

#[tokio::test]
async fn an_answer_that_this_browser_did_not_ask_for_is_refused() {
    let world = World::with_login(|config| config);
    let mut alice = Browser::new(&world.service);
    let mut mallory = Browser::new(&world.service);
    let (hers, his) = (alice.ask().await, mallory.ask().await);
    let his_code = world.issuer.code(&his, &world.issuer.id_token(&his, "mallory").build());
    let state = hers.get("state").to_owned();
    for query in [
        String::new(),
        format!("code={his_code}"),
        format!("code={his_code}&state="),
        format!("code={his_code}&state=x"),
        // Login CSRF: his whole answer, in her browser.
        format!("code={his_code}&state={}", his.get("state")),
        format!("code={his_code}&state={state}x"),
        format!("code={his_code}&state={}", &state[..42]),
        format!("code={his_code}&state={}{}", &state[..10], "A".repeat(33)),
        format!("code={his_code}&state={state}&state={state}"),
        format!("code={his_code}&code={his_code}&state={state}"),
        format!("code={his_code}&state=%00%0d%0aSet-Cookie:a=b"),
        format!("code={his_code}&state={}", "s".repeat(20_000)),
    ] {
        let cookies = alice.cookie_header();
        let answer = alice.get(&format!("/auth/callback?{query}")).await;
        expect_no_session(&alice, &answer);
        let (name, value) = cookies.split_once('=').unwrap();
        alice.set_cookie(name, value);
    }
    assert_eq!(world.issuer.token_requests().len(), 0, "the issuer was asked");
    // Her own is still good.
    let code = world.issuer.code(&hers, &world.issuer.id_token(&hers, "alice").build());
    alice.get(&hers.answer(&code)).await.expect(303);
}

#[tokio::test]
async fn an_answer_without_the_cookie_or_with_another_ones_is_refused() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let (asked, other) = (browser.ask().await, browser.ask().await);
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let names: Vec<_> = browser.names().iter().map(|name| (*name).to_owned()).collect();
    let others = browser.cookie(&names[1]).unwrap().to_owned();
    let mut none = Browser::new(&world.service);
    let answer = none.get(&asked.answer(&code)).await;
    expect_no_session(&none, &answer);
    let mut swapped = Browser::new(&world.service);
    swapped.set_cookie(&names[0], &others);
    let answer = swapped.get(&asked.answer(&code)).await;
    expect_no_session(&swapped, &answer);
    let mut twice = Browser::new(&world.service);
    twice.set_cookie("a", &format!("b; {}={others}; {}={others}", names[1], names[1]));
    let answer = twice.get(&other.answer(&code)).await;
    expect_no_session(&twice, &answer);
    assert_eq!(world.issuer.token_requests().len(), 0, "the issuer was asked");
}

#[tokio::test]
async fn an_answer_is_good_once_even_with_a_copy_of_the_cookie() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let copy = browser.cookie_header();
    let token = world.issuer.id_token(&asked, "alice").build();
    let path = asked.answer(&world.issuer.code(&asked, &token));
    browser.get(&path).await.expect(303);
    for again in [path, asked.answer(&world.issuer.code(&asked, &token))] {
        let answer = world.service.call(Method::GET, &again).cookie(&copy).send().await;
        answer.expect_problem(401, "invalid_token");
    }
    assert_eq!(world.issuer.token_requests().len(), 1);
}

#[tokio::test]
async fn a_code_that_was_put_into_another_sign_in_is_refused() {
    let world = World::with_login(|config| config);
    let (mut alice, mut mallory) = (Browser::new(&world.service), Browser::new(&world.service));
    let (hers, his) = (alice.ask().await, mallory.ask().await);
    // Code injection: her code in his sign-in. PKCE makes the issuer refuse it ...
    let stolen = world.issuer.code(&hers, &world.issuer.id_token(&hers, "alice").build());
    let answer = mallory.get(&his.answer(&stolen)).await;
    expect_no_session(&mallory, &answer);
    // ... and the nonce makes an issuer that does not check PKCE harmless.
    let his = mallory.ask().await;
    let stolen = world.issuer.code(&his, &world.issuer.id_token(&hers, "alice").build());
    let answer = mallory.get(&his.answer(&stolen)).await;
    expect_no_session(&mallory, &answer);
    assert_eq!(world.issuer.token_requests().len(), 2);
}

#[tokio::test]
async fn an_answer_that_names_another_issuer_is_refused_before_the_code_is_used() {
    let world = World::with_login(|config| config);
    let url = world.issuer.url();
    let mut browser = Browser::new(&world.service);
    for iss in ["https://evil.example/", "", url.trim_end_matches('/'), &url.to_uppercase()] {
        let asked = browser.ask().await;
        let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
        let iss: String = url::form_urlencoded::byte_serialize(iss.as_bytes()).collect();
        let answer = browser.get(&format!("{}&iss={iss}", asked.answer(&code))).await;
        expect_no_session(&browser, &answer);
    }
    assert_eq!(world.issuer.token_requests().len(), 0);
    let asked = browser.ask().await;
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let own: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    browser.get(&format!("{}&iss={own}", asked.answer(&code))).await.expect(303);
}

#[tokio::test]
async fn an_issuer_that_always_names_itself_has_to() {
    let issuer = Issuer::start();
    issuer.discover("authorization_response_iss_parameter_supported", true);
    let world = World::with_login_at(issuer, |config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let answer = browser.get(&asked.answer(&code)).await;
    expect_no_session(&browser, &answer);
    assert_eq!(world.issuer.token_requests().len(), 0);
}

/// What is wrong with an ID token, by name.
fn bad_id_tokens(issuer: &Issuer, asked: &Asked) -> Vec<(&'static str, String)> {
    let good = issuer.id_token(asked, "alice");
    let claim = |name: &str, value: Value| good.clone().claim(name, value).build();
    let stranger = Key::stranger("ec-1", Algorithm::ES256);
    let (header, claims) = (json!({"alg": "none", "kid": "ec-1"}).to_string(), good.claims.to_string());
    let hs256 = json!({"alg": "HS256", "kid": "ec-1"}).to_string();
    let mac = |message: &[u8]| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secrets::LOGIN_SECRET.as_bytes());
        aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
    };
    vec![
        ("no nonce", good.clone().without("nonce").build()),
        ("another nonce", claim("nonce", json!("A".repeat(43)))),
        ("a nonce in a list", claim("nonce", json!([asked.get("nonce")]))),
        ("no audience", good.clone().without("aud").build()),
        ("another audience", claim("aud", json!("voice"))),
        ("an audience that begins alike", claim("aud", json!(format!("{CLIENT_ID}-2")))),
        ("several audiences and no party", claim("aud", json!([CLIENT_ID, "voice"]))),
        ("another party", claim("azp", json!("voice"))),
        (
            "several audiences and another party",
            good.clone().claim("aud", json!([CLIENT_ID, "voice"])).claim("azp", "voice").build(),
        ),
        ("another issuer", claim("iss", json!("https://evil.example/"))),
        ("no issuer", good.clone().without("iss").build()),
        ("no subject", good.clone().without("sub").build()),
        ("an empty subject", claim("sub", json!(""))),
        ("a subject that is a number", claim("sub", json!(7))),
        ("expired", claim("exp", json!(now() - 60))),
        ("no expiry", good.clone().without("exp").build()),
        ("issued in the future", claim("iat", json!(now() + 300))),
        ("never issued", good.clone().without("iat").build()),
        ("an access token", good.clone().head("typ", "at+jwt").build()),
        ("unsigned", format!("{}.{}.", base64url(&header), base64url(&claims))),
        ("a signature of nothing", assemble(header.as_bytes(), claims.as_bytes(), |_| b"x".to_vec())),
        ("signed with the client's secret", assemble(hs256.as_bytes(), claims.as_bytes(), mac)),
        ("a stranger's signature", good.clone().signed_by(&stranger).build()),
        ("an unknown key", good.clone().head("kid", "unknown").build()),
        ("no token", String::new()),
        ("another token's signature", format!("{}.{}", good.message(), claim("exp", json!(1)).rsplit('.').next().unwrap())),
    ]
}

#[tokio::test]
async fn an_id_token_that_is_wrong_in_one_way_makes_no_session() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    for i in 0..bad_id_tokens(&world.issuer, &browser.ask().await).len() {
        let asked = browser.ask().await;
        let (what, token) = bad_id_tokens(&world.issuer, &asked).swap_remove(i);
        let answer = browser.get(&asked.answer(&world.issuer.code(&asked, &token))).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{what}: {answer}");
        expect_no_session(&browser, &answer);
    }
    let asked = browser.ask().await;
    let several = world.issuer.id_token(&asked, "alice").claim("aud", json!(["voice", CLIENT_ID])).claim("azp", CLIENT_ID);
    browser.get(&asked.answer(&world.issuer.code(&asked, &several.build()))).await.expect(303);
}

#[tokio::test]
async fn an_id_token_that_is_missing_or_lacks_a_required_claim_makes_no_session() {
    let world = World::with_login(|config| config.set("identity.login.required_claims", "{ email_verified = true }"));
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let answer = browser.get(&asked.answer(&world.issuer.code_for(&asked, json!({"access_token": "x"})))).await;
    expect_no_session(&browser, &answer);
    let signed = |token: Token| token.build();
    let asked = browser.ask().await;
    let code = world.issuer.code(&asked, &signed(world.issuer.id_token(&asked, "alice").claim("email_verified", false)));
    let answer = browser.get(&asked.answer(&code)).await;
    expect_no_session(&browser, &answer);
    let asked = browser.ask().await;
    let code = world.issuer.code(&asked, &signed(world.issuer.id_token(&asked, "alice").claim("email_verified", true)));
    browser.get(&asked.answer(&code)).await.expect(303);
}

#[tokio::test]
async fn nobody_is_led_to_another_site() {
    let world = World::with_login(|config| config);
    let long = format!("/{}", "a".repeat(5000));
    for return_to in [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "/%0d%0aLocation:https://evil.example",
        "/%09/evil.example",
        "%09//evil.example",
        "/%5Cevil.example",
        "/.//evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "@evil.example",
        ".evil.example",
        "/%00",
        "",
        "/&return_to=//evil.example",
        "/auth/login",
        "/auth/logout",
        &long,
    ] {
        let mut browser = Browser::new(&world.service);
        let asked = browser.ask_from(&format!("/auth/login?return_to={return_to}")).await;
        let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
        let answer = browser.get(&asked.answer(&code)).await;
        assert_eq!(answer.expect(303).header("location"), Some("/"), "{return_to}");
    }
}

/// A link that chooses who signs in, or what comes into the ID token, would be a stranger's way into somebody's session.
#[tokio::test]
async fn a_link_asks_the_issuer_for_nothing_but_stronger_sign_in() {
    let world = World::with_login(|config| config);
    let base64 = |json: &str| STANDARD.encode(json).replace('+', "%2B");
    let good = base64(r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#);
    let long = base64(&format!(r#"{{"access_token":{{"a":"{}"}}}}"#, "a".repeat(4096)));
    for claims in [
        base64(r#"{"id_token":{"sub":{"value":"mallory"}}}"#),
        base64(r#"{"access_token":{},"id_token":{"sub":{"value":"mallory"}}}"#),
        base64(r#"{"access_token":"c1"}"#),
        base64("[]"),
        format!("{good}&claims={good}"),
        format!("{good}&claims="),
        "%7B%22access_token%22%3A%7B%7D%7D".into(),
        String::new(),
        long,
    ] {
        let answer = Browser::new(&world.service).get(&format!("/auth/login?claims={claims}")).await;
        answer.expect_problem(400, "invalid_json");
        assert!(answer.all("set-cookie").is_empty(), "{answer}");
    }
    assert_eq!(Browser::new(&world.service).ask_from("/auth/login").await.get("claims"), "");
}

#[tokio::test]
async fn a_redirect_uri_or_scope_from_the_browser_changes_nothing() {
    let world = World::with_login(|config| config);
    let query = "redirect_uri=https://evil.example&scope=admin&client_id=x&response_mode=fragment&prompt=none&nonce=1&state=2";
    let asked = Browser::new(&world.service).ask_from(&format!("/auth/login?{query}")).await;
    assert_eq!((asked.get("redirect_uri"), asked.get("scope")), ("https://voice.example.com/auth/callback", "openid"));
    assert_eq!((asked.get("response_mode"), asked.get("prompt"), asked.get("client_id")), ("", "", CLIENT_ID));
    assert!(asked.get("nonce").len() == 43 && asked.get("state").len() == 43);
}

#[tokio::test]
async fn what_the_issuer_says_of_a_refusal_is_not_repeated() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let words = "error_description=%3Cscript%3Ecanary-words%3C/script%3E&error_uri=https://evil.example/canary-words";
    for accept in ["text/html,application/xhtml+xml,*/*;q=0.8", "application/json"] {
        let asked = browser.ask().await;
        let path = format!("/auth/callback?error=access_denied%22%3E&{words}&state={}", asked.get("state"));
        let answer = browser.send(browser.call(Method::GET, &path).header("accept", accept)).await;
        answer.expect(401);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        for word in ["canary-words", "evil", "script", "access_denied"] {
            assert!(!answer.text().contains(word) && !format!("{:?}", answer.headers).contains(word), "{word}: {answer}");
        }
        let is_page = accept.starts_with("text/html");
        let kind = if is_page { "text/html; charset=utf-8" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), Some(kind));
        if is_page {
            assert!(answer.text().contains("not completed at the identity provider"), "{answer}");
            assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none';"));
        }
        assert!(browser.names().is_empty(), "the sign-in is not over: {:?}", browser.names());
        // It is over: a code that comes later is of no use.
        let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
        browser.get(&asked.answer(&code)).await.expect_problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_does_not_work_is_503_and_no_session() {
    let world = World::with_login(|config| config);
    let redirect = Reply::new(307).header("Location", &format!("{}token2", world.issuer.url()));
    for (what, reply) in [
        ("500", Reply::json(500, &json!({"error": "invalid_grant"}))),
        ("HTML", Reply::text(200, "text/html", "<html>canary-upstream-message</html>")),
        ("HTML refusal", Reply::text(403, "text/html", "<html>canary-upstream-message</html>")),
        ("a redirect", redirect),
        (
            "the client is refused",
            Reply::json(401, &json!({"error": "invalid_client", "error_description": secrets::UPSTREAM_MESSAGE})),
        ),
        ("an unknown refusal", Reply::json(400, &json!({"error": secrets::UPSTREAM_MESSAGE}))),
        ("cut", Reply::json(200, &json!({"id_token": "x".repeat(100)})).cut(20, End::Close)),
        ("reset", Reply::new(200).end(End::Reset).cut(0, End::Reset)),
        ("too large", Reply::json(200, &json!({"id_token": "x".repeat(100_000)}))),
        ("endless", Reply::endless("application/json", &[b' '; 4096])),
        ("never", Reply::never()),
    ] {
        let mut browser = Browser::new(&world.service);
        let asked = browser.ask().await;
        world.issuer.break_token_endpoint(Some(reply));
        let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
        let answer = browser.get(&asked.answer(&code)).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "identity_unavailable"), "{what}: {answer}");
        answer.expect_problem(503, "identity_unavailable");
        assert_eq!(browser.cookie(SESSION_COOKIE), None, "{what}");
        world.issuer.break_token_endpoint(None);
    }
    assert!(!world.issuer.requests().iter().any(|request| request.target == "/token2"), "the redirect was followed");
}

#[tokio::test]
async fn a_slow_token_endpoint_is_waited_for() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let id_token = world.issuer.id_token(&asked, "alice").build();
    world.issuer.break_token_endpoint(Some(Reply::json(200, &json!({"id_token": id_token})).after(Duration::from_millis(500))));
    browser.get(&asked.answer("any")).await.expect(303);
}

#[tokio::test]
async fn an_issuer_out_of_reach_or_without_endpoints_is_503() {
    let issuer = Issuer::start();
    issuer.discover("token_endpoint", Value::Null);
    let world = World::with_login_at(issuer, |config| config);
    let mut browser = Browser::new(&world.service);
    browser.get("/auth/login").await.expect_problem(503, "identity_unavailable");
    let answer = browser.send(browser.call(Method::GET, "/auth/login").header("accept", "text/html")).await;
    assert_eq!(answer.expect(503).header("content-type"), Some("text/html; charset=utf-8"));
    assert!(browser.names().is_empty());
}

#[tokio::test]
async fn a_sign_ins_cookie_is_no_session_and_a_session_no_sign_in() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let session = browser.session();
    let asked = browser.ask().await;
    let name = browser.names().into_iter().find(|name| name.starts_with(SIGN_IN_COOKIE)).unwrap().to_owned();
    let pending = browser.cookie(&name).unwrap().to_owned();
    browser.set_cookie(SESSION_COOKIE, &pending);
    browser.post(MINT).await.expect_problem(401, "invalid_token");
    browser.set_cookie(&name, &session);
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    browser.get(&asked.answer(&code)).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_code_leaves_the_callback_in_no_referrer_no_history_and_no_frame() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let good = browser.get(&asked.answer(&code)).await;
    assert_eq!(good.expect(303).header("location"), Some("/"));
    let again = browser.send(browser.call(Method::GET, &asked.answer(&code)).header("accept", "text/html")).await;
    assert!(again.expect(401).header("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
    for answer in [good, again] {
        assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), (Some("no-referrer"), Some("no-store")));
        assert!([code.as_str(), asked.get("state")].iter().all(|secret| !answer.text().contains(secret)), "{}", answer.text());
    }
}
