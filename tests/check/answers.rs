//! What an upstream answers about a key, and what that means.

use serde_json::json;

use crate::checked::{check, neighbours};
use crate::support::{Config, Reply, error};

/// A body whose message alone says what it is about.
fn only_words(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}}))
}

fn expect_each(cases: Vec<(Reply, &str, &str, &str)>) {
    let (issuer, upstream) = neighbours();
    let config = Config::new(&issuer, &upstream);
    for (reply, outcome, cause, fix) in cases {
        upstream.answer_probes(reply);
        let checked = check(&config);
        let finding = checked.expect("key", outcome, cause, fix);
        assert!(finding["subject"].as_str().unwrap().starts_with("openai env://TEST_OPENAI_KEY (fingerprint "), "{finding}");
    }
}

#[test]
fn every_common_401_has_its_own_fix() {
    let refused = "invalid_request_error";
    expect_each(vec![
        (
            error(401, refused, "invalid_api_key"),
            "failed",
            "does not know this key (status 401, invalid_api_key)",
            "Create a key",
        ),
        (Reply::new(401), "failed", "does not know this key (status 401)", "Create a key"),
        (error(401, refused, "expired_api_key"), "failed", "has expired", "Create a new key"),
        (error(401, refused, "mismatched_organization"), "failed", "not of this organization", "the upstream's organization"),
        (error(401, refused, "invalid_organization"), "failed", "not of this organization", "the upstream's organization"),
        (error(401, refused, "mismatched_project"), "failed", "not of this project", "the upstream's project"),
        (error(401, refused, "invalid_project"), "failed", "not of this project", "the upstream's project"),
        (error(401, refused, "missing_scope"), "warning", "may not list models", "model.request"),
        (error(401, refused, "ip_not_authorized"), "failed", "IP allow list", "Add the address"),
        (only_words(401, "IP not authorized"), "failed", "IP allow list", "Add the address"),
        (
            only_words(401, "You must be a member of an organization to use the API."),
            "failed",
            "a member of no organization",
            "service account",
        ),
        (
            only_words(401, "OpenAI-Organization header should match organization for API key"),
            "failed",
            "not of this organization",
            "leave it out",
        ),
        (error(401, refused, "account_deactivated"), "failed", "deactivated", "support"),
    ]);
}

#[test]
fn every_common_403_has_its_own_fix() {
    let forbidden = "request_forbidden";
    expect_each(vec![
        (error(403, forbidden, "unsupported_country_region_territory"), "failed", "country or region", "supported country"),
        (error(403, forbidden, "missing_scope"), "warning", "may not list models", "Model capabilities"),
        (error(403, forbidden, "insufficient_permissions"), "warning", "may not list models", "Model capabilities"),
        (error(403, forbidden, "ip_not_authorized"), "failed", "IP allow list", "egress proxy"),
        (only_words(403, "Your IP address is not allowed"), "failed", "IP allow list", "egress proxy"),
        (
            only_words(403, "The project you are requesting has been archived and is no longer accessible"),
            "failed",
            "archived",
            "restore the project",
        ),
        (error(403, forbidden, "not_authorized_invalid_project"), "failed", "not of this project", "proj_"),
        (Reply::text(403, "text/html", "<html>blocked</html>"), "failed", "forbids this (status 403)", "a firewall or proxy"),
    ]);
}

#[test]
fn every_common_429_has_its_own_fix() {
    expect_each(vec![
        (error(429, "insufficient_quota", "insufficient_quota"), "failed", "no credit", "Add credit"),
        (error(429, "insufficient_quota", "credit_balance_exhausted"), "failed", "no credit", "Add credit"),
        (
            error(429, "insufficient_quota", "project_spend_limit_exceeded"),
            "failed",
            "spending limit",
            "Raise the spending limit",
        ),
        (error(429, "insufficient_quota", "organization_spend_limit_exceeded"), "failed", "spending limit", "next month"),
        (error(429, "insufficient_quota", "organization_usage_limit_exceeded"), "failed", "spending limit", "next month"),
        (error(429, "requests", "rate_limit_exceeded"), "warning", "rate limit is used up", "Wait"),
        (error(429, "rate_limit_error", "slow_down"), "warning", "rate limit is used up", "Wait"),
        (Reply::new(429), "warning", "rate limit is used up", "Wait"),
    ]);
}

#[test]
fn what_is_no_api_of_openai_is_a_matter_of_base_url() {
    expect_each(vec![
        (Reply::new(404), "failed", "no such path", "https://api.openai.com/v1"),
        (Reply::new(405), "failed", "no such path", "base_url"),
        (Reply::new(301).header("Location", "https://elsewhere.example/v1/models"), "failed", "redirects", "base_url"),
        (Reply::new(308).header("Location", "/v1/models/"), "failed", "redirects", "base_url"),
        (Reply::new(400), "failed", "does not take the request", "base_url"),
        (Reply::text(200, "text/html", "<html>sign in</html>"), "warning", "no list of models", "a sign-in page"),
        (error(500, "server_error", "server_error"), "failed", "problem of its own (status 500", "status.openai.com"),
        (error(503, "service_unavailable_error", "server_is_overloaded"), "failed", "problem of its own", "status.openai.com"),
        (Reply::raw(b"SSH-2.0-OpenSSH_9\r\n".to_vec()), "failed", "the connection breaks", "look at the port"),
    ]);
}

#[test]
fn a_message_of_the_upstream_is_never_repeated() {
    let (issuer, upstream) = neighbours();
    for code in ["sk-proj-canary-permanent-key-0001", "canary-upstream-message", "a b"] {
        upstream.answer_probes(error(401, code, code));
        let checked = check(&Config::new(&issuer, &upstream));
        checked.expect("key", "failed", "(status 401)", "Create a key");
        assert!(!checked.document.to_string().contains("canary"), "{}", checked.document);
    }
}
