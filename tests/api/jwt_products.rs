//! Tokens in the forms of well-known identity products, under the very settings that deploy/docs/identity.md recommends for them.

use serde_json::{Value, json};

use crate::support::{Config, Issuer, Service, Token, Upstream, now, user};

const RECIPES: &str = include_str!("../../deploy/docs/identity.md");
const TENANT: &str = "11111111-2222-3333-4444-555555555555";

/// The recipe under this heading, for an issuer on this machine.
fn recipe(product: &str, issuer: &Issuer) -> String {
    let (_, section) = RECIPES.split_once(&format!("\n### {product}\n")).expect("the product's section");
    let (_, rest) = section.split_once("```toml\n").expect("a block of TOML");
    let (block, _) = rest.split_once("```").expect("its end");
    let here = |line: &str| match line.split_once(" = ") {
        Some(("issuer", _)) => format!("issuer = {:?}\n", issuer.url()),
        Some(("jwks_url", _)) => format!("jwks_url = {:?}\n", issuer.jwks_url()),
        // The test's keys are of every kind.
        Some(("algorithms", _)) => "algorithms = [\"ES256\"]\n".to_owned(),
        _ => format!("{line}\n"),
    };
    block.lines().map(here).collect()
}

struct Product {
    service: Service,
    issuer: Issuer,
    claims: Value,
    _upstream: Upstream,
}

/// What is wrong, the change that makes it so, and how it is refused.
type Miss = (&'static str, fn(&mut Value), u16, &'static str);

impl Product {
    /// A service for users of this product who are in `group`, and a good token's claims beside issuer and times.
    fn start(name: &str, group: &str, claims: Value) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let config = Config::new(&issuer, &upstream)
            .without("identity.jwt")
            .set("profiles.default.allow", &format!("{{ groups = [{group:?}] }}"))
            .append(&recipe(name, &issuer));
        let service = Service::start(&config);
        Self { service, issuer, claims, _upstream: upstream }
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims.clone();
        claims["iss"] = json!(self.issuer.url());
        claims["iat"] = json!(now());
        claims["exp"] = json!(now() + 300);
        change(&mut claims);
        Token::new(&self.issuer.keys[0], claims).build()
    }

    async fn expect(&self, refused: &[Miss]) {
        self.service.mint(&self.token(|_| {})).await.expect_minted();
        for (what, change, status, code) in refused {
            let answer = self.service.mint(&self.token(change)).await;
            assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{what}: {answer}");
        }
    }
}

fn without(claims: &mut Value, name: &str) {
    claims.as_object_mut().expect("claims").remove(name);
}

const INVALID: (u16, &str) = (401, "invalid_token");
const SCOPE: (u16, &str) = (403, "insufficient_scope");
const PROFILE: (u16, &str) = (403, "profile_forbidden");

#[tokio::test]
async fn auth0() {
    let claims = json!({
        "sub": user("auth0|5f7c8ec7c33c6c004bbafe82"), "aud": ["https://voice.example.com", "https://example.eu.auth0.com/userinfo"],
        "azp": "my_client_id", "scope": "openid profile email", "https://example.com/roles": ["support"], "permissions": [],
    });
    let product = Product::start("Auth0", "support", claims);
    product
        .service
        .mint(&product.token(|c| {
            c["https://example.com/roles"] = json!([]);
            c["permissions"] = json!(["support"]);
        }))
        .await
        .expect_minted();
    product
        .expect(&[
            ("an ID token", |c| c["aud"] = json!("my_client_id"), INVALID.0, INVALID.1),
            ("a token for userinfo alone", |c| c["aud"] = json!(["https://example.eu.auth0.com/userinfo"]), INVALID.0, INVALID.1),
            (
                "a nested claim in place of the named one",
                |c| {
                    without(c, "https://example.com/roles");
                    c["https:"] = json!({"": {"example.com": {"roles": ["support"]}}});
                },
                PROFILE.0,
                PROFILE.1,
            ),
            ("no role", |c| without(c, "https://example.com/roles"), PROFILE.0, PROFILE.1),
        ])
        .await;
}

#[tokio::test]
async fn keycloak() {
    let claims = json!({
        "sub": user("f:550e8400"), "typ": "Bearer", "azp": "web", "aud": ["voice", "account"], "sid": "s", "acr": "1",
        "realm_access": {"roles": ["offline_access", "support"]}, "resource_access": {"account": {"roles": ["manage-account"]}},
        "scope": "openid profile email", "preferred_username": "x",
    });
    let product = Product::start("Keycloak", "support", claims);
    product
        .service
        .mint(&product.token(|c| {
            without(c, "realm_access");
            c["resource_access"] = json!({"voice": {"roles": ["support"]}});
        }))
        .await
        .expect_minted();
    product
        .expect(&[
            ("without the audience mapper", |c| c["aud"] = json!("account"), INVALID.0, INVALID.1),
            ("an ID token", |c| c["typ"] = json!("ID"), INVALID.0, INVALID.1),
            ("a refresh token", |c| c["typ"] = json!("Refresh"), INVALID.0, INVALID.1),
            ("no typ claim", |c| without(c, "typ"), INVALID.0, INVALID.1),
            (
                "another client's role",
                |c| {
                    without(c, "realm_access");
                    c["resource_access"] = json!({"other": {"roles": ["support"]}});
                },
                PROFILE.0,
                PROFILE.1,
            ),
            ("a role that is no list", |c| c["realm_access"] = json!({"roles": {"support": true}}), PROFILE.0, PROFILE.1),
            ("a list on the way", |c| c["realm_access"] = json!([{"roles": ["support"]}]), PROFILE.0, PROFILE.1),
        ])
        .await;
}

fn entra(version: &str, audience: &str) -> Value {
    json!({
        "aud": audience, "tid": TENANT, "oid": user("00000000-0000-0000-66f3-3332eca7ea81"), "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "ver": version, "scp": "Voice.Mint User.Read", "roles": ["support"], "nbf": now() - 5,
    })
}

const ENTRA: [Miss; 8] = [
    ("another tenant", |c| c["tid"] = json!("99999999-2222-3333-4444-555555555555"), INVALID.0, INVALID.1),
    ("no tenant", |c| without(c, "tid"), INVALID.0, INVALID.1),
    ("no oid", |c| without(c, "oid"), INVALID.0, INVALID.1),
    ("an ID token", |c| c["aud"] = json!("6731de76-14a6-49ae-97bc-6eba6914391e"), INVALID.0, INVALID.1),
    ("a token of the other version", |c| c["ver"] = json!(if c["ver"] == "1.0" { "2.0" } else { "1.0" }), INVALID.0, INVALID.1),
    ("an app by itself", |c| without(c, "scp"), SCOPE.0, SCOPE.1),
    ("another scope", |c| c["scp"] = json!("Voice.Minter"), SCOPE.0, SCOPE.1),
    (
        "groups that are kept elsewhere",
        |c| {
            without(c, "roles");
            c["_claim_names"] = json!({"groups": "src1"});
            c["_claim_sources"] = json!({"src1": {"endpoint": "https://graph.windows.net/x/users/y/getMemberObjects"}});
        },
        PROFILE.0,
        PROFILE.1,
    ),
];

#[tokio::test]
async fn entra_id_version_2() {
    let claims = entra("2.0", "66666666-7777-8888-9999-000000000000");
    let product = Product::start("Entra ID, version 2 tokens", "support", claims);
    product.expect(&ENTRA).await;
    product
        .service
        .mint(&product.token(|c| {
            without(c, "roles");
            c["groups"] = json!(["support"]);
        }))
        .await
        .expect_minted();
}

#[tokio::test]
async fn entra_id_version_1() {
    Product::start("Entra ID, version 1 tokens", "support", entra("1.0", "api://voice")).expect(&ENTRA).await;
}

#[tokio::test]
async fn cognito() {
    let claims = json!({
        "sub": user("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"), "client_id": "1example23456789", "token_use": "access", "auth_time": now(),
        "scope": "aws.cognito.signin.user.admin", "cognito:groups": ["support"], "username": "x", "version": 2, "jti": "j",
    });
    Product::start("Cognito", "support", claims)
        .expect(&[
            (
                "an ID token",
                |c| {
                    without(c, "client_id");
                    c["aud"] = json!("1example23456789");
                    c["token_use"] = json!("id");
                },
                INVALID.0,
                INVALID.1,
            ),
            ("an ID token with a client id", |c| c["token_use"] = json!("id"), INVALID.0, INVALID.1),
            ("another app client", |c| c["client_id"] = json!("2example23456789"), INVALID.0, INVALID.1),
            (
                "aud in place of client_id",
                |c| {
                    without(c, "client_id");
                    c["aud"] = json!("1example23456789");
                },
                INVALID.0,
                INVALID.1,
            ),
            ("no group", |c| without(c, "cognito:groups"), PROFILE.0, PROFILE.1),
        ])
        .await;
}

#[tokio::test]
async fn firebase() {
    let claims = json!({
        "aud": "example-project", "sub": user("uid"), "user_id": "uid", "auth_time": now(), "groups": ["support"],
        "firebase": {"identities": {"email": ["x@example.com"]}, "sign_in_provider": "password"},
    });
    Product::start("Firebase", "support", claims)
        .expect(&[
            ("an anonymous user", |c| c["firebase"]["sign_in_provider"] = json!("anonymous"), INVALID.0, INVALID.1),
            ("a provider that is not listed", |c| c["firebase"]["sign_in_provider"] = json!("phone"), INVALID.0, INVALID.1),
            ("no provider", |c| c["firebase"] = json!({}), INVALID.0, INVALID.1),
            ("another project", |c| c["aud"] = json!("other-project"), INVALID.0, INVALID.1),
        ])
        .await;
}

#[tokio::test]
async fn supabase() {
    let claims = json!({
        "aud": "authenticated", "sub": user("uuid"), "role": "authenticated", "aal": "aal1", "is_anonymous": false,
        "app_metadata": {"provider": "email", "providers": ["email"], "roles": ["support"]}, "user_metadata": {"roles": ["admin"]},
    });
    Product::start("Supabase", "support", claims)
        .expect(&[
            ("an anonymous user", |c| c["is_anonymous"] = json!(true), INVALID.0, INVALID.1),
            ("text for a boolean", |c| c["is_anonymous"] = json!("false"), INVALID.0, INVALID.1),
            ("the service role", |c| c["role"] = json!("service_role"), INVALID.0, INVALID.1),
            ("another audience", |c| c["aud"] = json!("anon"), INVALID.0, INVALID.1),
            (
                "a role that users give themselves",
                |c| {
                    c["app_metadata"] = json!({"provider": "email"});
                    c["user_metadata"] = json!({"roles": ["support"]});
                },
                PROFILE.0,
                PROFILE.1,
            ),
        ])
        .await;
}

#[tokio::test]
async fn okta() {
    let claims = json!({
        "ver": 1, "jti": "AT.0mP4", "aud": "api://voice", "cid": "nmdP1fcyvdVO11AL7ECm", "uid": user("00ujmkLgagxeRrAg20g3"),
        "scp": ["openid", "voice:mint"], "sub": "x@example.com", "groups": ["Everyone", "support"],
    });
    Product::start("Okta", "support", claims)
        .expect(&[
            ("a client by itself", |c| without(c, "uid"), INVALID.0, INVALID.1),
            ("a token of the org server", |c| c["aud"] = json!("https://example.okta.com"), INVALID.0, INVALID.1),
            ("no scope", |c| c["scp"] = json!(["openid"]), SCOPE.0, SCOPE.1),
            ("no group", |c| c["groups"] = json!(["Everyone"]), PROFILE.0, PROFILE.1),
        ])
        .await;
}

#[tokio::test]
async fn names_in_plain_are_for_the_audit_trail_alone() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let service = Service::start(&Config::new(&issuer, &upstream).set("audit.identify_users", r#""plain""#));
    let name = "auth0|plain-name-0001";
    let answer = service.mint(&issuer.token(name).build()).await;
    answer.expect_minted();
    let line = service.audit_of(answer.request_id()).await;
    assert_eq!(line["user_name"], name, "{line:#}");
    assert_ne!(line["user"], name, "{line:#}");
    let metrics = service.admin(reqwest::Method::GET, "/metrics").send().await.text();
    assert!(!service.stderr().contains("plain-name") && !metrics.contains("plain-name"));
    assert!(service.log().iter().any(|line| line["level"] == "WARN" && line["message"].to_string().contains("identify_users")));
}
