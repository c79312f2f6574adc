//! What is only refused in production.

use super::run::{good, print, serve};
use crate::support::Config;

/// A configuration that is good in production.
pub(super) fn prod() -> Config {
    good()
        .set("environment", r#""prod""#)
        .set("server.public_url", r#""https://voice.example.com""#)
        .set("identity.jwt.main.issuer", r#""https://login.example.com/""#)
        .set("upstreams.openai.base_url", r#""https://api.openai.com/v1""#)
}

#[track_caller]
pub(super) fn refused_in_prod_alone(config: &Config, key: &str, word: &str) {
    serve(config).done().expect_problem(key, word);
    assert_eq!(serve(config).done().expect_refused().len(), 1);
    for environment in ["dev", "staging"] {
        print(&config.clone().set("environment", &format!("{environment:?}"))).done().expect(0);
    }
}

#[test]
fn a_good_configuration_is_accepted() {
    print(&prod()).done().expect(0);
}

#[test]
fn prod_is_what_is_meant_when_nothing_is_said() {
    let config = prod().unset("environment").unset("privacy.pseudonym_key");
    serve(&config).done().expect_problem("privacy.pseudonym_key", "prod");
}

#[test]
fn an_upstream_over_plain_http_is_refused() {
    let config = prod().set("upstreams.openai.base_url", r#""http://api.openai.com/v1""#);
    refused_in_prod_alone(&config, "upstreams.openai.base_url", "plain http");
}

#[test]
fn an_issuer_over_plain_http_is_refused() {
    let config = prod().set("identity.jwt.main.issuer", r#""http://login.example.com/""#);
    refused_in_prod_alone(&config, "identity.jwt.main.issuer", "plain http");
}

#[test]
fn a_key_set_over_plain_http_is_refused() {
    let config = prod().set("identity.jwt.main.jwks_url", r#""http://login.example.com/jwks""#);
    refused_in_prod_alone(&config, "identity.jwt.main.jwks_url", "plain http");
}

/// A good configuration that asks a server about opaque tokens.
fn introspecting() -> Config {
    prod()
        .without("identity")
        .set("identity.introspection.legacy.endpoint", r#""https://login.example.com/introspect""#)
        .set("identity.introspection.legacy.client_id", r#""ephemint""#)
        .set("identity.introspection.legacy.client_secret", r#""env://TEST_INTROSPECTION_SECRET""#)
        .set("identity.introspection.legacy.audience", r#"["voice"]"#)
}

#[test]
fn introspection_over_plain_http_is_refused() {
    print(&introspecting()).done().expect(0);
    let config = introspecting().set("identity.introspection.legacy.endpoint", r#""http://login.example.com/introspect""#);
    refused_in_prod_alone(&config, "identity.introspection.legacy.endpoint", "plain http");
}

#[test]
fn introspection_of_tokens_for_whichever_service_is_refused() {
    let open = introspecting().unset("identity.introspection.legacy.audience");
    refused_in_prod_alone(&open, "identity.introspection.legacy.audience", "another service");
    for (key, value) in [("required_scopes", r#"["voice"]"#), ("required_claims", r#"{ client_id = "app" }"#)] {
        print(&open.clone().set(&format!("identity.introspection.legacy.{key}"), value)).done().expect(0);
    }
}

#[test]
fn proofs_without_a_url_of_the_service_are_refused() {
    let prod = prod().unset("server.public_url");
    print(&prod).done().expect(0);
    for config in [prod.clone().append("[identity.dpop]"), prod.clone().set("identity.jwt.main.require_dpop", "true")] {
        refused_in_prod_alone(&config, "server.public_url", "DPoP");
    }
    // A URL that cannot be read is one problem, not two.
    let config = prod.set("server.public_url", r#""voice.example.com""#).append("[identity.dpop]");
    assert_eq!(serve(&config).done().expect_refused().len(), 1);
}

#[test]
fn a_missing_pseudonym_key_is_refused() {
    refused_in_prod_alone(&prod().unset("privacy.pseudonym_key"), "privacy.pseudonym_key", "pseudonym");
}

#[test]
fn an_admin_listener_beyond_loopback_without_a_token_is_refused() {
    for address in ["0.0.0.0:9090", "[::]:9090", "192.0.2.1:9090"] {
        let config = prod().set("admin.listen", &format!("{address:?}")).unset("admin.token");
        refused_in_prod_alone(&config, "admin.token", "beyond loopback");
        print(&prod().set("admin.listen", &format!("{address:?}"))).done().expect(0);
    }
    for address in ["127.0.0.1:9090", "[::1]:9090", "127.8.8.8:9090"] {
        print(&prod().set("admin.listen", &format!("{address:?}")).unset("admin.token")).done().expect(0);
    }
}

#[test]
fn nobody_who_could_sign_in_is_refused_everywhere() {
    for environment in ["dev", "staging", "prod"] {
        let config = prod().without("identity").set("environment", &format!("{environment:?}"));
        serve(&config).done().expect_problem("identity", "ephemint dev");
    }
}
