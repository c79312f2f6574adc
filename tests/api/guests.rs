//! Guests: a proof that somebody vouches for, a token of our own, and the profiles that are for guests.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::siteverify::{HOST, SECRET, Siteverify, TOKEN_KEY, vouched};
use crate::support::{Answer, Config, Issuer, Reply, Scope, Service, Upstream, World, eventually, now};

pub(crate) const GUEST: &str = "/auth/guest";

/// A service that lets guests in.
pub(crate) struct House {
    pub(crate) service: Service,
    pub(crate) provider: Siteverify,
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
}

impl House {
    pub(crate) fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (provider, issuer, upstream) = (Siteverify::start(), Issuer::start(), Upstream::start());
        let service = Service::start(&change(provider.configure(Config::new(&issuer, &upstream))));
        service.guard("the siteverify secret", SECRET, Scope::Everywhere);
        service.guard("the key of guest tokens", TOKEN_KEY, Scope::Everywhere);
        Self { service, provider, issuer, upstream }
    }

    fn start() -> Self {
        Self::with(|config| config)
    }

    /// With further members of `identity.guest.proof`.
    fn judging(members: &str) -> Self {
        Self::with(|config| config.amend("identity.guest.proof", members))
    }

    pub(crate) async fn show(&self, proof: &str) -> Answer {
        self.service.guard("a proof", proof, Scope::Everywhere);
        self.service.call(Method::POST, GUEST).json(&json!({"proof": proof})).send().await
    }

    /// The token of a new guest.
    pub(crate) async fn guest(&self, proof: &str) -> String {
        self.show(proof).await.expect(200).json()["access_token"].as_str().expect("a token").to_owned()
    }
}

/// A guest token as this file's own reading of its form makes it.
fn forged(key: &str, until: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let payload = [&hmac::sign(&key, b"key id").as_ref()[..4], &until.to_be_bytes(), &[7; 16]].concat();
    let mac = hmac::sign(&key, &[b"guest token\n", &payload[..]].concat());
    format!("epg_{}", URL_SAFE_NO_PAD.encode([&payload, mac.as_ref()].concat()))
}

#[tokio::test]
async fn a_good_proof_makes_a_guest_who_mints_from_the_guests_profile_alone() {
    let house = House::start();
    let answer = house.show("good-proof-of-a-visitor-0001").await;
    assert_eq!(answer.expect(200).header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 3, "{answer}");
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let token = body["access_token"].as_str().unwrap();
    assert!(token.starts_with("epg_"));

    let minted = house.service.mint_from("guest", token).await;
    let session = minted.expect_session();
    house.service.mint(token).await.expect_problem(403, "profile_forbidden");
    assert_eq!(house.upstream.count(), 1);
    let (welcome, mint) = (house.service.audit_of(answer.request_id()).await, house.service.audit_of(minted.request_id()).await);
    assert_eq!(
        (&welcome["event"], &welcome["outcome"], &welcome["identity"]),
        (&json!("guest"), &json!("admitted"), &json!("guest"))
    );
    assert_eq!((&mint["identity"], &mint["user"]), (&json!("guest"), &welcome["user"]));

    // What a guest has is a guest's own.
    let other = house.guest("good-proof-of-a-visitor-0002").await;
    house.service.get(&format!("/v1/sessions/{session}"), &other).await.expect_problem(404, "not_found");
    house.service.delete(&format!("/v1/sessions/{session}"), token).await.expect(204);
}

#[tokio::test]
async fn the_question_is_the_documented_form() {
    let house = House::start();
    house.guest("good-proof+with/odd=letters").await;
    let [question] = &house.provider.questions()[..] else { panic!("one question") };
    assert_eq!((question.method.as_str(), question.target.as_str()), ("POST", "/siteverify"));
    assert_eq!(question.header("content-type"), Some("application/x-www-form-urlencoded"));
    let sent: Vec<_> = question.form().into_iter().collect();
    let wanted = [("response", "good-proof+with/odd=letters"), ("secret", SECRET)];
    assert_eq!(sent, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let house = House::judging("send_address = true");
    house.guest("good-proof-with-its-address").await;
    assert_eq!(house.provider.questions()[0].form()["remoteip"], "127.0.0.1");
}

#[tokio::test]
async fn without_guests_there_is_no_such_path_and_no_such_token() {
    let world = World::start();
    world.service.call(Method::POST, GUEST).json(&json!({"proof": "p"})).send().await.expect_problem(404, "not_found");
    world.service.mint(&forged(TOKEN_KEY, now() + 60)).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_proof_counts_once_however_many_show_it_at_once() {
    let house = House::start();
    house.provider.answer("the-same-proof-again-and-again", vouched());
    let answers = futures_util::future::join_all((0..20).map(|_| house.show("the-same-proof-again-and-again"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.expect_problem(401, "invalid_token");
    }
    assert_eq!(house.provider.questions().len(), 1);
}

#[tokio::test]
async fn what_the_provider_does_not_vouch_for_is_refused() {
    let house = House::start();
    house.show("a-bad-proof-of-nothing-at-all").await.expect_problem(401, "invalid_token");
    let changed = |name: &str, value: Value| {
        let mut answer = vouched();
        answer[name] = value;
        answer
    };
    let refused = |code: &str| json!({"success": false, "error-codes": [code]});
    for (i, answer) in [
        refused("timeout-or-duplicate"),
        refused("invalid-input-response"),
        refused("invalid-or-already-seen-response"),
        refused("a-code-of-tomorrow"),
        json!({"success": false}),
        changed("hostname", json!("evil.example.com")),
        changed("hostname", json!("app.example.com.evil.example")),
        changed("hostname", json!("not-provided")),
        changed("hostname", json!(["app.example.com"])),
        changed("hostname", Value::Null),
        json!({"success": true}),
    ]
    .into_iter()
    .enumerate()
    {
        let proof = format!("proof-of-another-kind-{i:04}");
        house.provider.answer(&proof, answer);
        house.show(&proof).await.expect_problem(401, "invalid_token");
    }
    house.provider.always(Some(Reply::json(400, &refused("invalid-input-response"))));
    house.show("proof-that-is-no-good-request").await.expect_problem(401, "invalid_token");
    house.provider.always(None);
    house.provider.answer("proof-with-capital-letters", changed("hostname", json!("APP.example.com")));
    house.show("proof-with-capital-letters").await.expect(200);
}

#[tokio::test]
async fn the_action_and_the_score_must_be_as_configured() {
    let ours = || json!({"success": true, "hostname": HOST, "action": "voice", "score": 0.7});
    for (kind, members, passes, fails) in [
        ("turnstile", r#"action = "voice""#, json!("voice"), [json!("login"), json!("VOICE"), Value::Null, json!(1)]),
        ("recaptcha", "min_score = 0.5", json!(0.5), [json!(0.49), json!("0.9"), Value::Null, json!(true)]),
        ("hcaptcha", "max_score = 0.5", json!(0.5), [json!(0.51), json!("0.1"), Value::Null, json!([0.1])]),
    ] {
        let house = House::with(|config| {
            config.amend("identity.guest.proof", members).replace("identity.guest.proof", "turnstile", kind)
        });
        let name = if kind == "turnstile" { "action" } else { "score" };
        let answer_with = |value: &Value| {
            let mut answer = ours();
            answer[name] = value.clone();
            answer
        };
        house.provider.answer("proof-that-is-judged-well", answer_with(&passes));
        house.show("proof-that-is-judged-well").await.expect(200);
        for (i, value) in fails.iter().enumerate() {
            let proof = format!("proof-that-is-judged-badly-{i}");
            house.provider.answer(&proof, answer_with(value));
            house.show(&proof).await.expect_problem(401, "invalid_token");
        }
    }
}

#[tokio::test]
async fn a_provider_that_does_not_say_is_an_outage_and_the_proof_may_be_shown_again() {
    let house = House::start();
    let json = |text: &str| Reply::text(200, "application/json", text);
    let named = |code: &str| Reply::json(200, &json!({"success": false, "error-codes": [code]}));
    for (what, reply) in [
        ("500", Reply::json(500, &vouched())),
        ("201", Reply::json(201, &vouched())),
        ("400", Reply::json(400, &vouched())),
        ("a redirect", Reply::new(302).header("Location", "/elsewhere")),
        ("nothing", Reply::raw("")),
        ("no JSON", json("<html>success: true</html>")),
        ("no object", json("true")),
        ("no success", json("{}")),
        ("a text", json(r#"{"success":"true","hostname":"app.example.com"}"#)),
        ("a number", json(r#"{"success":1,"hostname":"app.example.com"}"#)),
        ("two answers", json(r#"{"success":false,"success":true,"hostname":"app.example.com"}"#)),
        ("internal-error", named("internal-error")),
        ("a body without end", Reply::endless("application/json", &[b' '; 4096])),
    ] {
        house.provider.always(Some(reply));
        let answer = house.show("good-proof-that-waits-for-better-days").await;
        assert_eq!(answer.status, 503, "{what}: {answer}");
        answer.expect_problem(503, "identity_unavailable");
    }
    assert_eq!(house.provider.questions().len(), 13, "no redirect is followed, nothing is asked twice");
    house.provider.always(None);
    house.show("good-proof-that-waits-for-better-days").await.expect(200);
    house.provider.refuse();
    house.show("good-proof-that-nobody-can-judge").await.expect_problem(503, "identity_unavailable");
}

#[tokio::test]
async fn a_provider_that_is_silent_is_given_up() {
    let house = House::start();
    house.provider.always(Some(Reply::never()));
    let answer = tokio::time::timeout(Duration::from_secs(15), house.show("good-proof-for-a-silent-provider")).await;
    answer.expect("an answer").expect_problem(503, "identity_unavailable");
}

#[tokio::test]
async fn a_secret_that_the_provider_refuses_is_an_error_for_the_operator() {
    for status in [200, 400] {
        let house = House::start();
        let body = json!({"success": false, "error-codes": ["invalid-input-secret"]});
        house.provider.always(Some(Reply::json(status, &body)));
        house.show("good-proof-for-another-account").await.expect_problem(503, "identity_unavailable");
        let told = || {
            house
                .service
                .log()
                .iter()
                .any(|line| line["level"] == "ERROR" && line.to_string().contains("identity.guest.proof.secret"))
        };
        eventually("an error in the log", 10, async || told().then_some(())).await;
    }
}

#[tokio::test]
async fn a_body_is_the_proof_and_nothing_else() {
    let house = House::start();
    let post = || house.service.call(Method::POST, GUEST);
    for body in [
        "",
        "[]",
        "{}",
        r#"{"proof":null}"#,
        r#"{"proof":""}"#,
        r#"{"proof":7}"#,
        r#"{"proof":"a b"}"#,
        r#"{"proof":"ü"}"#,
        r#"{"proof":"a","proof":"b"}"#,
        r#"{"proof":"a"}x"#,
    ] {
        post().body("application/json", body).send().await.expect_problem(400, "invalid_json");
    }
    let long = json!({"proof": "p".repeat(8193)});
    post().json(&long).send().await.expect_problem(400, "invalid_json");
    post().json(&json!({"proof": "p".repeat(17_000)})).send().await.expect_problem(413, "body_too_large");
    post().json(&json!({"proof": "p", "remoteip": "192.0.2.1"})).send().await.expect_problem(400, "unknown_field");
    post().body("text/plain", r#"{"proof":"p"}"#).send().await.expect_problem(415, "unsupported_media_type");
    post().header("accept", "text/html").json(&json!({"proof": "p"})).send().await.expect_problem(406, "not_acceptable");
    house.service.call(Method::GET, GUEST).send().await.expect_problem(405, "method_not_allowed");
    assert!(house.provider.questions().is_empty());
}

#[tokio::test]
async fn pages_of_other_origins_make_no_guests() {
    let house = House::start();
    let from = |origin: &str, proof: &str| {
        house.service.call(Method::POST, GUEST).header("origin", origin).json(&json!({"proof": proof})).send()
    };
    from("https://evil.example.com", "good-proof-from-another-page").await.expect_problem(403, "origin_not_allowed");
    assert!(house.provider.questions().is_empty());
    let answer = from("https://app.example.com", "good-proof-from-our-own-page").await;
    assert_eq!(answer.expect(200).header("access-control-allow-origin"), Some("https://app.example.com"));
    let preflight = house.service.call(Method::OPTIONS, GUEST).header("origin", "https://app.example.com");
    preflight.header("access-control-request-method", "POST").send().await.expect(204);
}

#[tokio::test]
async fn a_refused_visitor_has_an_entry_too() {
    let house = House::start();
    let answer = house.show("a-bad-proof-that-is-written-down").await;
    let line = house.service.audit_of(answer.request_id()).await;
    assert_eq!((&line["event"], &line["outcome"], &line["status"]), (&json!("guest"), &json!("invalid_token"), &json!(401)));
    assert!(line.get("user").is_none(), "{line:#}");
}

#[tokio::test]
async fn a_token_that_was_tampered_with_is_refused() {
    let house = House::start();
    let token = house.guest("good-proof-for-a-token-to-change").await;
    let mut attacks: Vec<String> = (0..token.len())
        .map(|at| {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        })
        .collect();
    attacks.extend((4..token.len()).map(|length| token[..length].to_owned()));
    attacks.extend([format!("{token}="), format!("{token}A"), format!("{token}AAAA"), token.replacen("epg_", "EPG_", 1)]);
    attacks.push(forged("another key of more than thirty-two characters", now() + 60));
    attacks.push(forged("", now() + 60));
    for attack in &attacks {
        house.service.mint_from("guest", attack).await.expect_problem(401, "invalid_token");
    }
    assert_eq!(house.upstream.count(), 0);
    house.service.mint_from("guest", &token).await.expect_minted();
}

#[tokio::test]
async fn a_token_ends_when_it_says_so() {
    let house = House::start();
    house.service.mint_from("guest", &forged(TOKEN_KEY, now() + 60)).await.expect_minted();
    for until in [now(), 1, 0] {
        house.service.mint_from("guest", &forged(TOKEN_KEY, until)).await.expect_problem(401, "token_expired");
    }
}

#[tokio::test]
async fn keys_are_rotated_without_losing_guests() {
    const NEW: &str = "canary-new-guest-key-0123456789abcdef0123456789";
    let house = House::with(|config| {
        config.env("TEST_NEW_KEY", NEW).set("identity.guest.token_keys", r#"["env://TEST_NEW_KEY", "env://TEST_GUEST_KEY"]"#)
    });
    house.service.mint_from("guest", &forged(TOKEN_KEY, now() + 60)).await.expect_minted();
    house.service.mint_from("guest", &forged(NEW, now() + 60)).await.expect_minted();
    let fresh = house.guest("good-proof-for-the-new-key").await;
    let old = House::start();
    old.service.mint_from("guest", &fresh).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_users_own_token_works_beside_guests_and_is_not_confined() {
    let house = House::start();
    house.service.mint(&house.issuer.bearer("alice")).await.expect_minted();
    house.service.mint_from("guest", &house.issuer.bearer("alice")).await.expect_minted();
}
