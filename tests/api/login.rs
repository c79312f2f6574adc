//! Browser sign-in as it goes well: to the issuer, back, a session, a mint, and out again.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::support::{
    Answer, Asked, Browser, CLIENT_ID, Config, Issuer, MINT, PUBLIC_URL, Reply, SESSION_COOKIE, SIGN_IN_COOKIE, Service,
    Upstream, World, base64url, eventually, now, secrets, user,
};

fn no_store(answer: &Answer) -> &Answer {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
    answer
}

#[tokio::test]
async fn signing_in_leads_to_the_issuer_with_all_that_protects_the_way_back() {
    let world = World::with_login(|config| config.set("identity.login.scopes", r#"["profile", "openid", "offline_access"]"#));
    let mut browser = Browser::new(&world.service);
    let answer = browser.get("/auth/login?return_to=/talk").await;
    let location = no_store(answer.expect(302)).header("location").unwrap().to_owned();
    assert!(location.starts_with(&format!("{}authorize?", world.issuer.url())), "{location}");
    let asked = Asked::read(&location);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", "https://voice.example.com/auth/callback"),
        ("scope", "openid profile offline_access"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked.get(name), value, "{name}");
    }
    let random = ["state", "nonce", "code_challenge"].map(|name| asked.get(name).to_owned());
    assert!(random.iter().all(|text| text.len() == 43), "256 bits each: {random:?}");
    let again = browser.ask().await;
    assert!(random.iter().all(|text| ["state", "nonce", "code_challenge"].iter().all(|name| again.get(name) != text)));
    let cookie = answer.header("set-cookie").unwrap();
    let (value, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
    assert!(value.starts_with(SIGN_IN_COOKIE), "{cookie}");
    assert!(!location.contains(value.split_once('=').unwrap().1), "the cookie is in the address");
}

#[tokio::test]
async fn a_query_of_the_authorization_endpoint_is_kept() {
    let issuer = Issuer::start();
    issuer.discover("authorization_endpoint", format!("{}authorize?tenant=a%20b", issuer.url()));
    let world = World::with_login_at(issuer, |config| config);
    assert_eq!(Browser::new(&world.service).ask().await.get("tenant"), "a b");
}

#[tokio::test]
async fn a_good_answer_makes_a_session_and_leads_to_where_the_user_was() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask_from("/auth/login?return_to=%2Ftalk%3Fprofile%3Da%23b").await;
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let answer = browser.get(&asked.answer(&code)).await;
    assert_eq!(no_store(answer.expect(303)).header("location"), Some("/talk?profile=a#b"));
    let cookies = answer.all("set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    let gone = cookies.iter().find(|cookie| cookie.starts_with(SIGN_IN_COOKIE)).unwrap();
    assert!(gone.ends_with("=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"), "{gone}");
    let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-ephemint=")).unwrap();
    assert!(session.ends_with("; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax; Secure"), "{session}");
    assert_eq!(browser.names(), [SESSION_COOKIE]);
    // RFC 6749, sections 2.3.1 and 4.1.3: who asks, in a header, and for what.
    let requests = world.issuer.requests();
    let asking = requests.iter().find(|request| request.target == "/token").unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(secrets::LOGIN_SECRET.as_bytes()).collect();
    let basic = asking.header("authorization").unwrap().strip_prefix("Basic ").unwrap().trim_end_matches('=').replace('+', "-");
    assert_eq!(basic.replace('/', "_"), base64url(format!("{CLIENT_ID}:{encoded}")));
    let form = &world.issuer.token_requests()[0];
    assert_eq!(form.keys().collect::<Vec<_>>(), ["code", "code_verifier", "grant_type", "redirect_uri"]);
    assert_eq!(form["code_verifier"].len(), 43);
}

#[tokio::test]
async fn without_a_place_to_return_to_the_browser_goes_home() {
    let world = World::with_login(|config| config.set("server.public_url", r#""https://example.com/voice""#));
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    assert_eq!(asked.get("redirect_uri"), "https://example.com/voice/auth/callback");
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let answer = browser.get(&asked.answer(&code)).await;
    assert_eq!(answer.expect(303).header("location"), Some("/voice"));
}

#[tokio::test]
async fn the_secret_goes_where_the_configuration_says() {
    for (change, wanted) in [("post", Some(secrets::LOGIN_SECRET)), ("public", None)] {
        let world = World::with_login(|config| match change {
            "post" => config.set("identity.login.client_auth", r#""post""#),
            _ => config.unset("identity.login.client_secret"),
        });
        Browser::signed_in(&world.service, &world.issuer, "alice").await;
        let requests = world.issuer.requests();
        let asking = requests.iter().find(|request| request.target == "/token").unwrap();
        assert_eq!(asking.header("authorization"), None, "{change}");
        let form = &world.issuer.token_requests()[0];
        assert_eq!(form.get("client_id").map(String::as_str), Some(CLIENT_ID), "{change}");
        assert_eq!(form.get("client_secret").map(String::as_str), wanted, "{change}");
    }
}

#[tokio::test]
async fn a_signed_in_user_is_told_who_they_are() {
    let world = World::with_login(|config| config.set("identity.login.tenant_claim", r#""tid""#));
    let mut browser = Browser::new(&world.service);
    browser.get("/auth/me").await.expect_problem(401, "missing_credentials");
    let asked = browser.ask().await;
    let name = user("Alice Liddell");
    let token = world.issuer.id_token(&asked, "alice").claim("name", name.as_str()).claim("tid", "acme");
    let token = token.claim("groups", json!(["support", "staff"]));
    let code = world.issuer.code(&asked, &token.build());
    browser.get(&asked.answer(&code)).await.expect(303);
    let answer = browser.get("/auth/me").await;
    let mut me = no_store(answer.expect(200)).json();
    let expires_at = me.as_object_mut().unwrap().remove("expires_at").and_then(|at| at.as_i64()).unwrap();
    assert!((1790..=1800).contains(&(expires_at - now())), "{expires_at}");
    assert_eq!(me, json!({"signed_in": true, "user": name, "tenant": "acme", "groups": ["support", "staff"]}));
    assert_eq!(answer.all("set-cookie"), Vec::<&str>::new(), "renewed too early");
}

#[tokio::test]
async fn without_a_name_the_user_is_called_by_their_id() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let me = browser.get("/auth/me").await.expect(200).json();
    assert_eq!((&me["user"], &me["tenant"], &me["groups"]), (&json!(user("alice")), &Value::Null, &json!([])));
}

#[tokio::test]
async fn a_session_mints_lists_and_ends_as_the_same_user_as_a_token_of_the_issuer() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let by_cookie = browser.post(MINT).await.expect_session();
    let by_token = world.service.mint(&world.bearer("alice")).await.expect_session();
    world.service.mint(&world.bearer("bob")).await.expect_minted();
    let listed = browser.get("/v1/sessions").await.expect(200).json();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|session| session["session_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [by_token.as_str(), by_cookie.as_str()]);
    let entries: Vec<_> = world.service.audit().into_iter().filter(|entry| entry["event"] == "mint").collect();
    assert_eq!((&entries[0]["identity"], &entries[1]["identity"]), (&json!("login"), &json!("jwt.main")));
    assert_eq!(entries[0]["user"], entries[1]["user"]);
    assert_ne!(entries[0]["user"], entries[2]["user"]);
    let path = format!("/v1/sessions/{by_token}");
    let ending = browser.call(Method::DELETE, &path).header("origin", PUBLIC_URL);
    browser.send(ending).await.expect(204);
}

#[tokio::test]
async fn the_groups_of_the_id_token_decide_what_a_session_may_have() {
    let world = World::with_login(|config| {
        config.profile("support").set("profiles.support.allow", r#"{ groups = ["support"], claims = { "/plan/name" = "pro" } }"#)
    });
    for (groups, plan, status) in [("support", "pro", 200), ("staff", "pro", 403), ("support", "free", 403)] {
        let mut browser = Browser::new(&world.service);
        let asked = browser.ask().await;
        let token = world.issuer.id_token(&asked, "alice").claim("groups", json!([groups]));
        let code = world.issuer.code(&asked, &token.claim("plan", json!({"name": plan, "other": "x"})).build());
        browser.get(&asked.answer(&code)).await.expect(303);
        browser.post(&format!("{MINT}?profile=support")).await.expect(status);
    }
}

#[tokio::test]
async fn several_tabs_may_sign_in_at_once_and_their_cookies_stay_few() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::new(&world.service);
    let mut asked = Vec::new();
    for _ in 0..7 {
        asked.push(browser.ask().await);
        assert!(browser.names().len() <= 4, "{:?}", browser.names());
    }
    for tab in &asked[3..] {
        let code = world.issuer.code(tab, &world.issuer.id_token(tab, "alice").build());
        browser.get(&tab.answer(&code)).await.expect(303);
    }
    let code = world.issuer.code(&asked[2], &world.issuer.id_token(&asked[2], "alice").build());
    browser.get(&asked[2].answer(&code)).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn signing_out_ends_the_session_here_and_says_where_to_end_it_at_the_issuer() {
    let world = World::with_login(|config| config);
    let mut browser = Browser::signed_in(&world.service, &world.issuer, "alice").await;
    let answer = browser.post("/auth/logout").await;
    assert_eq!(no_store(answer.expect(200)).json(), json!({"signed_in": false, "logout_url": null}));
    assert_eq!(answer.all("set-cookie"), ["__Host-ephemint=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"]);
    browser.get("/auth/me").await.expect_problem(401, "missing_credentials");
    browser.post(MINT).await.expect_problem(401, "missing_credentials");
    // Twice is as good as once.
    browser.post("/auth/logout").await.expect(200);
}

#[tokio::test]
async fn an_issuer_that_signs_users_out_is_told_by_the_browser() {
    let issuer = Issuer::start();
    issuer.discover("end_session_endpoint", format!("{}logout?a=b", issuer.url()));
    issuer.discover("revocation_endpoint", format!("{}revoke", issuer.url()));
    let world = World::with_login_at(issuer, |config| config);
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    let token = format!("{}-1", secrets::REFRESH_TOKEN);
    let id_token = world.issuer.id_token(&asked, "alice").build();
    let code = world.issuer.code_for(&asked, json!({"id_token": id_token, "refresh_token": token, "expires_in": 3600}));
    browser.get(&asked.answer(&code)).await.expect(303);
    let answer = browser.post("/auth/logout").await.expect(200).json();
    let url = Url::parse(answer["logout_url"].as_str().unwrap()).unwrap();
    let query: Vec<_> = url.query_pairs().into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        query,
        [pair("a", "b"), pair("client_id", CLIENT_ID), pair("post_logout_redirect_uri", "https://voice.example.com/")]
    );
    // RFC 7009: the refresh token is given back.
    let revoked = eventually("the refresh token to be revoked", 5, async || {
        world.issuer.requests().into_iter().find(|request| request.target == "/revoke")
    });
    let body = String::from_utf8(revoked.await.body).unwrap();
    assert_eq!(body, format!("token={token}&token_type_hint=refresh_token"));
}

#[tokio::test]
async fn without_the_configuration_nobody_signs_in() {
    let world = World::start();
    for (method, path) in
        [(Method::GET, "/auth/login"), (Method::GET, "/auth/callback"), (Method::POST, "/auth/logout"), (Method::GET, "/auth/me")]
    {
        world.service.call(method, path).send().await.expect_problem(404, "not_found");
    }
    let call = world.service.call(Method::POST, MINT).header("origin", "https://app.example.com");
    call.cookie("__Host-ephemint=x; ephemint=y").send().await.expect_problem(401, "missing_credentials");
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_work() {
    let world = World::with_login(|config| config);
    for (method, path, allow) in [
        (Method::POST, "/auth/login", "GET"),
        (Method::POST, "/auth/callback", "GET"),
        (Method::GET, "/auth/logout", "POST"),
        (Method::POST, "/auth/me", "GET, HEAD"),
        (Method::OPTIONS, "/auth/logout", "POST"),
    ] {
        let answer = world.service.call(method, path).header("origin", PUBLIC_URL).send().await;
        answer.expect_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
}

#[tokio::test]
async fn on_a_developers_machine_cookies_work_without_https() {
    let world = World::with_login(|config| config.set("server.public_url", r#""http://127.0.0.1:8080""#));
    let mut browser = Browser::new(&world.service);
    let asked = browser.ask().await;
    assert!(browser.names()[0].starts_with("ephemint-login-"), "{:?}", browser.names());
    let code = world.issuer.code(&asked, &world.issuer.id_token(&asked, "alice").build());
    let answer = browser.get(&asked.answer(&code)).await;
    let cookies = answer.expect(303).all("set-cookie");
    let session = cookies.iter().find(|cookie| cookie.starts_with("ephemint=")).unwrap();
    assert!(session.ends_with("; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax"), "{session}");
    browser.get("/auth/me").await.expect(200);
}

#[tokio::test]
async fn the_demo_page_signs_in_here() {
    let world = World::with_login(|config| config.set("demo.enabled", "true"));
    let settings = Browser::new(&world.service).get("/demo.json").await.expect(200).json();
    assert_eq!(settings["sign_in"], "login");
}

#[tokio::test]
async fn a_service_is_ready_once_it_has_the_issuers_keys() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let other = Issuer::start();
    other.break_discovery(Some(Reply::new(500)));
    let config = Config::new(&issuer, &upstream).login(&other);
    let service = Service::start_unready(&config);
    service.call(Method::GET, "/readyz").send().await.expect(503);
    other.break_discovery(None);
    eventually("readiness", 10, async || (service.call(Method::GET, "/readyz").send().await.status == 200).then_some(())).await;
}
