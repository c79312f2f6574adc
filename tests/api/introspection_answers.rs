//! Which tokens are asked about, and what is made of the answers.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Config, Introspector, MINT, Reply, World, active, now, user};

/// Section 2.2 of RFC 7662, byte for byte but for the line breaks.
const EXAMPLE: &str = r#"{
     "active": true,
     "client_id": "l238j323ds-23ij4",
     "username": "jdoe",
     "scope": "read write dolphin",
     "sub": "Z5O3upPC88QrAjx00dis",
     "aud": "https://protected.example.net/resource",
     "iss": "https://server.example.com/",
     "exp": 1419356238,
     "iat": 1419350238,
     "extension_field": "twenty-seven"
    }"#;

fn asking(change: impl FnOnce(Config) -> Config) -> (World, Introspector) {
    let server = Introspector::start();
    let world = World::with(|config| change(config.without("identity").introspection("legacy", &server)));
    (world, server)
}

fn set(name: &str, value: &str) -> impl FnOnce(Config) -> Config {
    move |config| config.set(&format!("identity.introspection.legacy.{name}"), value)
}

/// An answer about alice with one member changed, or removed by null.
fn with(member: &str, value: Value) -> Value {
    let mut answer = active("alice");
    if value.is_null() {
        answer.as_object_mut().expect("an object").remove(member);
    } else {
        answer[member] = value;
    }
    answer
}

/// Says each answer of a token of its own, and expects the outcome of a mint.
async fn outcomes(world: &World, server: &Introspector, rows: Vec<(&str, Value, u16, &str)>) {
    for (number, (name, answer, status, code)) in rows.into_iter().enumerate() {
        let token = format!("opaque-token-{status}-of-row-{number:04}");
        server.says(&token, answer);
        let answer = world.service.mint(&token).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {answer}");
    }
}

#[tokio::test]
async fn the_example_of_the_specification_is_understood() {
    let (world, server) = asking(|config| {
        let config = set("audience", r#"["https://protected.example.net/resource"]"#)(config);
        let config = set("issuer", r#""https://server.example.com/""#)(config);
        set("required_scopes", r#"["dolphin"]"#)(config)
    });
    server.breaks(Reply::text(200, "application/json", EXAMPLE));
    world.service.mint("opaque-token-of-2014").await.expect_problem(401, "token_expired");
    let today = EXAMPLE.replace("1419356238", &(now() + 60).to_string());
    server.breaks(Reply::text(200, "application/json;charset=UTF-8", today));
    world.service.mint("opaque-token-of-today").await.expect_minted();
    server.breaks(Reply::text(200, "application/json", "{\n     \"active\": false\n    }"));
    world.service.mint("opaque-token-of-nobody").await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_no_yes() {
    let (world, server) = asking(set("issuer", r#""https://login.example.com/""#));
    let (invalid, expired, unavailable) = ("invalid_token", "token_expired", "identity_unavailable");
    let twin = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let refused = vec![
        ("no sub", with("sub", json!(null)), 401, invalid),
        ("a number for sub", with("sub", json!(7)), 401, invalid),
        ("an empty sub", with("sub", json!("")), 401, invalid),
        ("a line break in sub", with("sub", json!("a\nb")), 401, invalid),
        ("a long sub", with("sub", json!("x".repeat(257))), 401, invalid),
        ("another issuer", with("iss", json!("https://evil.example/")), 401, invalid),
        ("the issuer without its slash", with("iss", json!("https://login.example.com")), 401, invalid),
        ("a list of issuers", with("iss", json!(["https://login.example.com/"])), 401, invalid),
        ("another audience", with("aud", json!("billing")), 401, invalid),
        ("no audience", with("aud", json!(null)), 401, invalid),
        ("a list with a number", with("aud", json!(["voice", 7])), 401, invalid),
        ("exp in the past", with("exp", json!(now() - 1)), 401, expired),
        ("exp in 1970", with("exp", json!(0)), 401, expired),
        ("nbf in the future", with("nbf", json!(now() + 600)), 401, invalid),
        ("iat in the future", with("iat", json!(now() + 600)), 401, invalid),
        ("a refresh token", with("token_type", json!("refresh_token")), 401, invalid),
        ("used for refreshing", with("token_use", json!("refresh_token")), 401, invalid),
        ("an ID token", with("token_use", json!("id")), 401, invalid),
        ("bound to a key", with("cnf", twin), 401, invalid),
        ("bound to a key by its type", with("token_type", json!("DPoP")), 401, invalid),
        ("active as text", with("active", json!("true")), 503, unavailable),
        ("active as a number", with("active", json!(1)), 503, unavailable),
        ("active is missing", with("active", json!(null)), 503, unavailable),
        ("active as a list", with("active", json!([true])), 503, unavailable),
        ("exp as text", with("exp", json!("4102444800")), 503, unavailable),
        ("exp with a fraction", with("exp", json!(4_102_444_800.5)), 503, unavailable),
        ("nbf below zero", with("nbf", json!(-1)), 503, unavailable),
        ("iat as an object", with("iat", json!({})), 503, unavailable),
        ("inactive and everything else good", with("active", json!(false)), 401, invalid),
    ];
    outcomes(&world, &server, refused).await;
    assert_eq!(world.upstream.count(), 0);
    let good = vec![
        ("the right issuer", with("iss", json!("https://login.example.com/")), 200, ""),
        ("several audiences", with("aud", json!(["billing", "voice"])), 200, ""),
        ("no exp", with("exp", json!(null)), 200, ""),
        ("clocks that differ a little", with("iat", json!(now() + 10)), 200, ""),
        ("no type", with("token_type", json!(null)), 200, ""),
        ("bearer in lower case", with("token_type", json!("bearer")), 200, ""),
        ("used for access", with("token_use", json!("access_token")), 200, ""),
    ];
    outcomes(&world, &server, good).await;
}

#[tokio::test]
async fn a_server_that_vouches_for_no_such_token_has_said_no() {
    let (world, server) = asking(|config| config);
    server.breaks(Reply::json(400, &json!({"error": "unsupported_token_type", "active": true})));
    for _ in 0..2 {
        world.service.mint("opaque-token-of-another-kind").await.expect_problem(401, "invalid_token");
    }
    assert_eq!((server.count(), world.upstream.count()), (1, 0));
}

#[tokio::test]
async fn claims_are_mapped_and_asked_for_as_those_of_a_jwt() {
    let (world, server) = asking(|config| {
        let config = set("required_scopes", r#"["voice.mint"]"#)(config);
        let config = set("required_claims", "{ email_verified = true }")(config);
        let config = set("user_claim", r#""/profile/id""#)(config);
        set("groups_claim", r#""roles""#)(config).set("profiles.default.allow", r#"{ groups = ["support"] }"#)
    });
    let good = json!({"active": true, "aud": "voice", "scope": "openid voice.mint", "email_verified": true,
        "roles": ["support"], "profile": {"id": user("alice")}, "sub": user("somebody-else")});
    let but = |member: &str, value: Value| {
        let mut answer = good.clone();
        answer[member] = value;
        answer
    };
    let rows = vec![
        ("good", good.clone(), 200, ""),
        ("no scope", but("scope", json!("openid")), 403, "insufficient_scope"),
        ("an unverified address", but("email_verified", json!("true")), 401, "invalid_token"),
        ("another group", but("roles", json!(["sales"])), 403, "profile_forbidden"),
        ("no user", but("profile", json!({})), 401, "invalid_token"),
    ];
    outcomes(&world, &server, rows).await;
}

#[tokio::test]
async fn a_token_without_an_audience_will_do_where_none_is_asked_for() {
    let (world, server) =
        asking(|config| set("required_scopes", r#"["voice"]"#)(config.unset("identity.introspection.legacy.audience")));
    let mut answer = with("aud", json!(null));
    answer["scope"] = json!("voice");
    outcomes(&world, &server, vec![("no audience", answer, 200, "")]).await;
}

#[tokio::test]
async fn what_cannot_be_an_access_token_is_asked_about_by_nobody() {
    let (world, server) = asking(|config| config);
    server.breaks(Reply::json(200, &active("alice")));
    for text in [
        "=",
        "a b",
        "a,b",
        "a\"b",
        "a=b",
        "{\"a\":1}",
        "token&client_id=x",
        "a%20b",
        "../../admin",
        "sk-proj-0123456789abcdef0123456789abcdef",    // ephemint:allow
        "sk-svcacct-0123456789abcdef0123456789abcdef", // ephemint:allow
        "sk-admin-0123456789abcdef0123456789abcdef",   // ephemint:allow
        "epk_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", // ephemint:allow
        &"x".repeat(8 * 1024 + 1),
    ] {
        let answer = world.service.call(Method::POST, MINT).header("authorization", &format!("Bearer {text}")).send().await;
        let asked = server.count();
        if text == "../../admin" {
            // Dots and slashes are allowed in a token, which goes nowhere but into a form.
            answer.expect_minted();
            assert_eq!((asked, server.requests()[0].target.as_str()), (1, "/introspect"));
            server.breaks(Reply::new(500));
            continue;
        }
        answer.expect_problem(401, "invalid_token");
        assert!(asked <= 1, "{text:?} was asked about");
    }
    assert_eq!(world.upstream.count(), 1);
    world.service.mint(&"x".repeat(8 * 1024)).await.expect_problem(503, "identity_unavailable");
}

#[tokio::test]
async fn a_jwt_goes_to_its_issuer_and_is_shown_to_no_other_server() {
    let server = Introspector::start();
    let world = World::with(|config| config.introspection("legacy", &server));
    let jwt = world.bearer("alice");
    world.service.mint(&jwt).await.expect_minted();
    let forged = world.issuer.token("canary-user-mallory").claim("exp", now() - 600).build();
    server.says(&forged, active("alice"));
    world.service.mint(&forged).await.expect_problem(401, "token_expired");
    let (message, signature) = jwt.rsplit_once('.').expect("a signature");
    for token in [format!("{message}.AAAA{signature}"), "a.b.c".to_owned()] {
        server.says(&token, active("alice"));
        world.service.mint(&token).await.expect_problem(401, "invalid_token");
    }
    assert_eq!(server.count(), 0);
    server.knows("opaque-token-beside-jwts", "bob");
    world.service.mint("opaque-token-beside-jwts").await.expect_minted();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn without_jwt_issuers_a_jwt_is_as_opaque_as_any_token() {
    let (world, server) = asking(|config| config);
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_problem(401, "invalid_token");
    let other = world.issuer.token(&user("alice")).claim("jti", "2").build();
    server.knows(&other, "alice");
    world.service.mint(&other).await.expect_minted();
    assert_eq!(server.count(), 2);
}

/// Two servers whose tokens begin with `aa_` and `bb_`.
fn two(change: impl FnOnce(Config, &Introspector, &Introspector) -> Config) -> (World, Introspector, Introspector) {
    let (one, two) = (Introspector::start(), Introspector::start());
    let world = World::with(|config| {
        let config = config.introspection("one", &one).introspection("two", &two);
        let config = config.set("identity.introspection.one.token_prefix", r#""aa_""#);
        change(config.set("identity.introspection.two.token_prefix", r#""bb_""#), &one, &two)
    });
    (world, one, two)
}

#[tokio::test]
async fn how_a_token_begins_says_who_is_asked() {
    let (world, one, two) = two(|config, _, _| config);
    for server in [&one, &two] {
        for token in ["aa_opaque-token-0001", "bb_opaque-token-0001", "cc_opaque-token-0001"] {
            server.knows(token, "twin");
        }
    }
    world.service.mint("aa_opaque-token-0001").await.expect_minted();
    let first = world.upstream.last();
    assert_eq!((one.count(), two.count()), (1, 0));
    world.service.mint("bb_opaque-token-0001").await.expect_minted();
    let second = world.upstream.last();
    assert_eq!((one.count(), two.count()), (1, 1));
    for stray in ["cc_opaque-token-0001", "a", "AA_opaque-token-0001"] {
        world.service.mint(stray).await.expect_problem(401, "invalid_token");
    }
    assert_eq!((one.count(), two.count()), (1, 1));
    let name = "openai-safety-identifier";
    assert_ne!(first.header(name), second.header(name), "one subject of two servers is two users");
}

#[tokio::test]
async fn one_issuer_behind_a_jwt_and_an_opaque_token_is_one_user() {
    let server = Introspector::start();
    let world = World::with(|config| {
        let issuer =
            config.toml(std::path::Path::new("/")).lines().find_map(|it| it.strip_prefix("issuer = ").map(str::to_owned));
        let config = config.introspection("legacy", &server);
        config.set("identity.introspection.legacy.issuer", &issuer.expect("the issuer of the JWTs"))
    });
    server.knows("opaque-token-of-alice", "alice");
    let session = world.service.mint(&world.bearer("alice")).await.expect_session();
    world.service.get(&format!("/v1/sessions/{session}"), "opaque-token-of-alice").await.expect(200);
}
