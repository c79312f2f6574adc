//! Opaque tokens: the server that issued them is asked.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::introspector::{CLIENT_SECRET, Introspector, form};
use crate::support::{Config, Issuer, Reply, Scope, Service, Upstream, now, user};

const TOKEN: &str = "canary.opaque-0001~alice";

/// A service whose users bring opaque tokens, and JWTs too.
struct Asking {
    service: Service,
    server: Introspector,
    issuer: Issuer,
    upstream: Upstream,
}

impl Asking {
    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (server, issuer, upstream) = (Introspector::start(), Issuer::start(), Upstream::start());
        let service = Service::start(&change(server.configure("legacy", Config::new(&issuer, &upstream))));
        service.guard("the introspection secret", CLIENT_SECRET, Scope::Everywhere);
        Self { service, server, issuer, upstream }
    }

    fn start() -> Self {
        Self::with(|config| config)
    }

    fn knowing(claims: &Value) -> Self {
        let asking = Self::start();
        asking.server.know(TOKEN, claims);
        asking
    }
}

fn alice() -> Value {
    json!({"sub": user("alice"), "exp": now() + 300})
}

#[tokio::test]
async fn a_token_that_its_server_vouches_for_mints() {
    let asking = Asking::knowing(&alice());
    let answer = asking.service.mint(TOKEN).await;
    answer.expect_minted();
    let line = asking.service.audit_of(answer.request_id()).await;
    assert_eq!(line["identity"], "introspection.legacy", "{line:#}");
    assert_eq!(asking.upstream.count(), 1);
}

#[tokio::test]
async fn the_question_is_that_of_rfc_7662_with_basic_client_authentication() {
    let asking = Asking::knowing(&alice());
    asking.service.mint(TOKEN).await.expect_minted();
    let [question] = &asking.server.questions()[..] else { panic!("one question") };
    assert_eq!((question.method.as_str(), question.target.as_str()), ("POST", "/introspect"));
    assert_eq!(question.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(question.header("accept"), Some("application/json"));
    let sent = form(question);
    assert_eq!(
        sent.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(),
        [("token", TOKEN), ("token_type_hint", "access_token")]
    );
    let pair = STANDARD.encode("ephemint+client:canary-introspection-secret%3A+100%25");
    assert_eq!(question.header("authorization"), Some(format!("Basic {pair}").as_str()));
}

#[tokio::test]
async fn client_authentication_may_stand_in_the_form() {
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.client_auth", r#""post""#));
    asking.server.know(TOKEN, &alice());
    asking.service.mint(TOKEN).await.expect_minted();
    let question = &asking.server.questions()[0];
    let sent = form(question);
    assert_eq!((sent["client_id"].as_str(), sent["client_secret"].as_str()), ("ephemint client", CLIENT_SECRET));
    assert_eq!(question.header("authorization"), None);
}

#[tokio::test]
async fn a_token_that_its_server_does_not_know_is_refused() {
    let asking = Asking::start();
    asking.service.mint("canary-opaque-unknown").await.expect_problem(401, "invalid_token");
    assert_eq!(asking.upstream.count(), 0);
}

#[tokio::test]
async fn what_does_not_fit_of_an_active_token_is_refused() {
    let asking = Asking::with(|config| {
        config
            .set("identity.introspection.legacy.issuer", r#""https://login.example.com/""#)
            .set("identity.introspection.legacy.audience", r#"["voice"]"#)
            .set("identity.introspection.legacy.tenant_claim", r#""org""#)
            .set("identity.introspection.legacy.required_claims", r#"{ "/realm/level" = [1, 2] }"#)
    });
    let good = json!({
        "active": true, "sub": user("alice"), "iss": "https://login.example.com/", "aud": ["other", "voice"], "org": "t1",
        "exp": now() + 300, "nbf": now() - 5, "iat": now() - 5, "realm": {"level": 2},
    });
    asking.server.answer(TOKEN, good.clone());
    asking.service.mint(TOKEN).await.expect_minted();
    let mut wrong = Vec::new();
    for (name, value) in [
        ("active", json!(false)),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\u{0}b")),
        ("sub", json!("x".repeat(257))),
        ("iss", json!("https://login.example.com")),
        ("iss", json!(["https://login.example.com/"])),
        ("aud", json!("other")),
        ("aud", json!(["voice", 1])),
        ("aud", Value::Null),
        ("org", json!("")),
        ("org", Value::Null),
        ("exp", json!((now() + 300).to_string())),
        ("exp", json!(300.5)),
        ("exp", json!(-1)),
        ("nbf", json!(now() + 120)),
        ("nbf", json!("soon")),
        ("iat", json!(now() + 120)),
        ("realm", json!({"level": 3})),
        ("realm", json!({})),
        ("realm", json!("level")),
        ("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})),
        ("cnf", json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"})),
    ] {
        let mut answer = good.clone();
        answer[name] = value.clone();
        wrong.push((format!("{name} = {value}"), answer));
    }
    for (i, (what, answer)) in wrong.into_iter().enumerate() {
        let token = format!("canary-opaque-wrong-{i}");
        asking.server.answer(&token, answer);
        let answer = asking.service.mint(&token).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        answer.expect_problem(401, "invalid_token");
    }
    assert_eq!(asking.upstream.count(), 1);
}

#[tokio::test]
async fn an_expired_token_is_told_so_and_a_missing_scope_too() {
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.required_scopes", r#"["voice:mint"]"#));
    asking.server.know("canary-opaque-old", &json!({"sub": user("alice"), "exp": now() - 1, "scope": "voice:mint"}));
    asking.service.mint("canary-opaque-old").await.expect_problem(401, "token_expired");
    asking.server.know("canary-opaque-poor", &json!({"sub": user("alice"), "scope": "voice"}));
    asking.service.mint("canary-opaque-poor").await.expect_problem(403, "insufficient_scope");
    asking.server.know("canary-opaque-good", &json!({"sub": user("alice"), "scope": "openid voice:mint"}));
    asking.service.mint("canary-opaque-good").await.expect_minted();
}

#[tokio::test]
async fn an_answer_is_remembered_until_the_token_expires() {
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.cache_seconds", "300"));
    asking.server.know(TOKEN, &json!({"sub": user("alice"), "exp": now() + 3}));
    for _ in 0..5 {
        asking.service.mint(TOKEN).await.expect_minted();
    }
    assert_eq!(asking.server.questions().len(), 1);
    crate::support::eventually("the token expires", 10, async || {
        let answer = asking.service.mint(TOKEN).await;
        (answer.status == 401).then(|| answer.expect_problem(401, "token_expired"))
    })
    .await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_once_the_answer_is_forgotten() {
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.cache_seconds", "1"));
    asking.server.know(TOKEN, &alice());
    asking.service.mint(TOKEN).await.expect_minted();
    asking.server.forget(TOKEN);
    crate::support::eventually("the answer is forgotten", 10, async || {
        let answer = asking.service.mint(TOKEN).await;
        (answer.status == 401).then(|| answer.expect_problem(401, "invalid_token"))
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_remembered_for_a_moment_and_a_memory_of_none_asks_every_time() {
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.negative_cache_seconds", "60"));
    for _ in 0..5 {
        asking.service.mint(TOKEN).await.expect_problem(401, "invalid_token");
    }
    assert_eq!(asking.server.questions().len(), 1);
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.cache_seconds", "0"));
    asking.server.know(TOKEN, &alice());
    for _ in 0..3 {
        asking.service.mint(TOKEN).await.expect_minted();
    }
    assert_eq!(asking.server.questions().len(), 3);
}

#[tokio::test]
async fn all_callers_with_one_token_share_one_question() {
    let asking = Asking::knowing(&alice());
    let slowly = Reply::json(200, &json!({"active": true, "sub": user("alice")})).after(Duration::from_millis(300));
    asking.server.always(Some(slowly));
    let answers = join_all((0..50).map(|_| asking.service.mint(TOKEN))).await;
    for answer in answers {
        answer.expect_minted();
    }
    assert_eq!(asking.server.questions().len(), 1);
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_an_outage_and_never_a_yes() {
    let asking = Asking::with(|config| config.set("identity.introspection.legacy.timeout_seconds", "1"));
    let active = json!({"active": true, "sub": user("alice")});
    for (what, reply) in [
        ("error", Reply::json(500, &active)),
        ("redirect", Reply::json(307, &active).header("Location", "http://127.0.0.1:9/elsewhere")),
        ("created", Reply::json(201, &active)),
        ("our secret is refused", Reply::json(401, &json!({"error": "invalid_client"}))),
        ("forbidden", Reply::json(403, &active)),
        ("HTML", Reply::text(200, "text/html", "<html>active: true</html>")),
        ("no answer", Reply::json(200, &json!({}))),
        ("text for a boolean", Reply::json(200, &json!({"active": "true", "sub": user("alice")}))),
        ("a number for a boolean", Reply::json(200, &json!({"active": 1, "sub": user("alice")}))),
        ("a list", Reply::json(200, &json!([active]))),
        ("twice", Reply::text(200, "application/json", r#"{"active":false,"active":true,"sub":"canary-user-x"}"#)),
        ("too deep", Reply::text(200, "application/json", format!(r#"{{"active":true,"sub":"x","a":{}}}"#, "[".repeat(100)))),
        ("too large", Reply::json(200, &json!({"active": true, "sub": user("alice"), "pad": "x".repeat(70_000)}))),
        ("endless", Reply::endless("application/json", b" ")),
        ("silent", Reply::never()),
    ] {
        asking.server.always(Some(reply));
        let answer = asking.service.mint(&format!("canary-opaque-{}", what.replace(' ', "-"))).await;
        assert_eq!(answer.status, 503, "{what}: {answer}");
        answer.expect_problem(503, "identity_unavailable");
    }
    asking.server.always(None);
    asking.server.refuse();
    asking.service.mint(TOKEN).await.expect_problem(503, "identity_unavailable");
    assert_eq!(asking.upstream.count(), 0);
    let told = asking.service.log().iter().any(|line| line["level"] == "ERROR" && line["server"] == "legacy");
    assert!(told, "an operator is told that the client secret is refused: {}", asking.service.stderr());
}

#[tokio::test]
async fn an_outage_is_forgotten_with_its_end_and_remembered_tokens_go_on_through_it() {
    let asking = Asking::knowing(&alice());
    asking.server.always(Some(Reply::new(503)));
    asking.service.mint(TOKEN).await.expect_problem(503, "identity_unavailable");
    asking.server.always(None);
    asking.service.mint(TOKEN).await.expect_minted();
    asking.server.refuse();
    asking.service.mint(TOKEN).await.expect_minted();
    let other = asking.service.mint("canary-opaque-other").await;
    other.expect_problem(503, "identity_unavailable");
}

#[tokio::test]
async fn the_form_of_a_token_decides_who_is_asked() {
    let asking = Asking::knowing(&alice());
    let jwt = asking.issuer.bearer("bob");
    asking.service.mint(&jwt).await.expect_minted();
    for forged in [format!("{jwt}x"), "a.b.c".to_owned(), "..".to_owned()] {
        asking.service.mint(&forged).await.expect_problem(401, "invalid_token");
    }
    for garbage in ["canary token", "canary{token}", "canary=token", &"x".repeat(8 * 1024 + 1)] {
        asking.service.mint(garbage).await.expect_problem(401, "invalid_token");
    }
    assert_eq!(asking.server.questions().len(), 0, "only opaque tokens are asked about");
    asking.service.mint(TOKEN).await.expect_minted();
}

#[tokio::test]
async fn without_an_issuer_of_jwts_a_jwt_is_as_opaque_as_any_token() {
    let asking = Asking::with(|config| config.without("identity.jwt"));
    let jwt = asking.issuer.bearer("bob");
    asking.service.mint(&jwt).await.expect_problem(401, "invalid_token");
    assert_eq!(form(&asking.server.questions()[0])["token"], jwt);
}

#[tokio::test]
async fn several_servers_are_told_apart_by_how_their_tokens_begin() {
    let (second, issuer, upstream) = (Introspector::start(), Issuer::start(), Upstream::start());
    let first = Introspector::start();
    let config = first.configure("a", second.configure("b", Config::new(&issuer, &upstream)));
    let service = Service::start(
        &config.set("identity.introspection.a.token_prefix", r#""aa-""#).set("identity.introspection.b.token_prefix", r#""bb-""#),
    );
    second.know("bb-canary-opaque-0001", &alice());
    service.mint("bb-canary-opaque-0001").await.expect_minted();
    service.mint("cc-canary-opaque-0001").await.expect_problem(401, "invalid_token");
    assert_eq!((first.questions().len(), second.questions().len()), (0, 1));
}

#[tokio::test]
async fn one_name_at_two_issuers_is_two_users() {
    let asking = Asking::knowing(&alice());
    let session = asking.service.mint(TOKEN).await.expect_session();
    let list = asking.service.get("/v1/sessions", &asking.issuer.bearer("alice")).await;
    assert!(!list.expect(200).text().contains(&session), "{list}");
    asking.service.get(&format!("/v1/sessions/{session}"), TOKEN).await.expect(200);
}

#[tokio::test]
async fn questions_are_counted_by_outcome() {
    let asking = Asking::knowing(&alice());
    asking.service.mint(TOKEN).await.expect_minted();
    asking.service.mint("canary-opaque-unknown").await.expect_problem(401, "invalid_token");
    let metrics = asking.service.admin(reqwest::Method::GET, "/metrics").send().await.text();
    for outcome in ["active", "inactive"] {
        let line = format!(r#"ephemint_introspections_total{{server="legacy",outcome="{outcome}"}} 1"#);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}
