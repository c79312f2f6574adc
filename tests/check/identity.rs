//! Issuers, introspection, sign-in, proofs of guests, and the platform's own identity.

use serde_json::json;
use tempfile::TempDir;

use crate::checked::{check, neighbours};
use crate::support::siteverify::{self, Siteverify};
use crate::support::{Algorithm, Config, Introspector, Key, Reply, Request, Responder};

#[test]
fn issuers_are_asked_for_their_keys() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    let broken = |fix: &str, cause: &str| check(&config).expect("issuer", "failed", cause, fix).clone();
    issuer.break_discovery(Some(Reply::new(404)));
    broken("/.well-known/openid-configuration", "no discovery document");
    issuer.break_discovery(Some(Reply::text(200, "text/html", "<html>")));
    broken("a sign-in page", "no discovery document or no key set");
    issuer.break_discovery(Some(Reply::new(502)));
    broken("Check again later", "problem of its own (status 502)");
    issuer.break_discovery(None);
    issuer.break_key_set(Some(Reply::new(404)));
    broken("jwks_url", "no key set (status 404)");
    issuer.break_key_set(None);
    issuer.publish(&[]);
    broken("algorithms", "no key for the accepted algorithms");
    issuer.publish(&issuer.keys);
    let other = Config::new(&issuer, &upstream).issuer("main", issuer.url().trim_end_matches('/'));
    check(&other).expect("issuer", "failed", "names another issuer", "a slash at the end");
    let narrow = config.clone().set("identity.jwt.main.algorithms", r#"["PS512"]"#);
    issuer.publish(&[Key::new("only", Algorithm::ES256)]);
    check(&narrow).expect("issuer", "failed", "no key for the accepted algorithms", "Add the algorithm");
    issuer.refuse();
    broken("host and port", "nobody listens there");
}

#[test]
fn the_provider_of_sign_in_is_asked_where_users_sign_in() {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream).login(&issuer);
    check(&config).expect_all_well();
    issuer.discover("authorization_endpoint", serde_json::Value::Null);
    let checked = check(&config);
    let finding = checked.expect("issuer", "failed", "does not say where users sign in", "authorization_endpoint");
    assert!(finding["subject"].as_str().is_some_and(|it| it.starts_with("login ")), "{finding}");
}

#[test]
fn servers_of_opaque_tokens_are_asked_about_one_that_nobody_issued() {
    let (issuer, upstream) = neighbours();
    let server = Introspector::start();
    let config = Config::new(&issuer, &upstream).introspection("legacy", &server);
    check(&config).expect_all_well();
    assert_eq!(server.count(), 1);
    let wrong = config.clone().env("TEST_INTROSPECTION_SECRET", "canary-introspection-secret-of-another");
    check(&wrong).expect("issuer", "failed", "refuses this service's own account (status 401)", "client_secret");
    let elsewhere = config.clone().set("identity.introspection.legacy.endpoint", &format!("{:?}", server.origin()));
    check(&elsewhere).expect("issuer", "failed", "none of RFC 7662 (status 404)", "Check endpoint");
    server.breaks(Reply::json(200, &json!({"active": true})));
    check(&config).expect("issuer", "failed", "a token that nobody issued is called active", "everybody would be let in");
    server.breaks(Reply::text(200, "text/html", "<html>"));
    check(&config).expect("issuer", "failed", "none of RFC 7662", "not the issuer");
    server.refuse();
    check(&config).expect("issuer", "failed", "nobody listens there", "host and port");
}

#[test]
fn the_provider_of_proofs_is_asked_about_one_that_nobody_made() {
    let (issuer, upstream) = neighbours();
    let provider = Siteverify::start();
    let config = provider.configure(Config::new(&issuer, &upstream));
    check(&config).expect("guests", "ok", "says no of a proof", "");
    let wrong = config.clone().env("TEST_SITEVERIFY", "canary-siteverify-secret-of-another");
    check(&wrong).expect("guests", "failed", "refuses the secret", "site key");
    provider.always(Some(Reply::json(200, &siteverify::vouched())));
    check(&config).expect("guests", "failed", "a proof that nobody made is called good", "the widget's own secret key");
    provider.always(Some(Reply::new(404)));
    check(&config).expect("guests", "failed", "does not answer as documented", "verify_url");
}

/// An exchange that gives this reply.
fn exchange(reply: Reply) -> Responder {
    Responder::start(move |_: &Request| reply.clone())
}

#[test]
fn the_platforms_identity_is_traded_once() {
    let (issuer, upstream) = neighbours();
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "canary-permanent-key-subject").expect("a file");
    let config = |exchange: &Responder, token: &str| {
        let credential = format!(
            r#"{{ kind = "workload_identity", identity_provider_id = "idp_1", service_account_id = "sa_1", auth_url = "http://{}/oauth/token", subject = {{ kind = "file", token = "file://{token}" }} }}"#,
            exchange.address()
        );
        Config::new(&issuer, &upstream).set("upstreams.openai.credential", &credential)
    };
    let path = token.display().to_string();
    upstream.accept("canary-permanent-key-traded");
    let good = exchange(Reply::json(200, &json!({"access_token": "canary-permanent-key-traded", "expires_in": 3600})));
    let checked = check(&config(&good, &path));
    checked.expect("exchange", "ok", "lives 3600 seconds", "");
    checked.expect("key", "ok", "accepted, 2 models", "");
    checked.expect_all_well();
    let absent = folder.path().join("absent").display().to_string();
    check(&config(&good, &absent)).expect("exchange", "failed", "the platform's token cannot be read", "Mount the token");
    let refusing = exchange(Reply::json(401, &json!({"error": "invalid_grant", "error_description": "canary-permanent-key"})));
    check(&config(&refusing, &path)).expect("exchange", "failed", "status 401, invalid_grant", "identity_provider_id");
    let strange = exchange(Reply::text(200, "text/html", "<html>"));
    check(&config(&strange, &path)).expect("exchange", "failed", "does not answer as documented", "auth_url");
    let other = exchange(Reply::json(200, &json!({"access_token": "canary-permanent-key-other", "expires_in": 3600})));
    check(&config(&other, &path)).expect("key", "failed", "does not know this key", "Create a key");
    good.refuse();
    check(&config(&good, &path)).expect("exchange", "failed", "nobody listens there", "host and port");
}
