//! Azure OpenAI: what its alike answers mean, told apart.

use crate::checked::{check, check_with};
use crate::support::azure::{Azure, CLIENT_ID, Part, TENANT, aadsts};
use crate::support::azure_openai::{API_VERSION, AzureOpenAi, DEPLOYMENT, azure_error, missing_role, no_deployment, wrong_key};
use crate::support::{Config, Issuer, Reply, secrets};

/// One resource, one profile, and its first key.
fn config(issuer: &Issuer, resource: &AzureOpenAi) -> Config {
    Config::bare()
        .issuer("main", &issuer.url())
        .env("TEST_AZURE_KEY", secrets::AZURE_KEY)
        .set("upstreams.azure.kind", r#""azure""#)
        .set("upstreams.azure.base_url", &format!("{:?}", resource.endpoint()))
        .set("upstreams.azure.session.model", &format!("{DEPLOYMENT:?}"))
        .set("upstreams.azure.credential", r#"{ kind = "api_key", keys = ["env://TEST_AZURE_KEY"] }"#)
        .profile("default")
        .unset("profiles.default.session.model")
        .set("profiles.default.upstream", r#""azure""#)
}

fn application(config: Config, entra: &Azure, kind: &str) -> Config {
    entra.gives_tokens_for("https://cognitiveservices.azure.com");
    config
        .set("upstreams.azure.credential", &format!("{{ kind = {kind:?} }}"))
        .env("AZURE_AUTHORITY_HOST", &entra.origin())
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", CLIENT_ID)
        .env("AZURE_CLIENT_SECRET", secrets::AZURE_CLIENT_SECRET)
}

#[test]
fn nothing_is_wrong_with_a_good_resource() {
    let (issuer, resource) = (Issuer::start(), AzureOpenAi::start());
    let config = config(&issuer, &resource);
    let checked = check(&config);
    checked.expect_all_well();
    checked.expect("key", "ok", "accepted, mints", "");
    let found = checked.expect("deployment", "ok", "mints", "");
    assert_eq!(found["subject"], "voice-deployment at azure (profile default)");
    let preview = config
        .set("upstreams.azure.api_version", &format!("{API_VERSION:?}"))
        .set("upstreams.azure.region", r#""eastus2""#)
        .unset("profiles.default.ttl_seconds")
        .unset("profiles.default.max_ttl_seconds");
    check(&preview).expect_all_well();
    assert!(resource.last().target.starts_with("/openai/realtimeapi/sessions?"), "{:?}", resource.last());
    let before = resource.mints().len();
    check_with(&preview, &["--offline"]).expect("deployment", "skipped", "--offline", "");
    assert_eq!(resource.mints().len(), before);
}

#[test]
fn what_azure_answers_alike_is_told_apart() {
    let (issuer, resource) = (Issuer::start(), AzureOpenAi::start());
    for (reply, cause, fix) in [
        (wrong_key(), "not of this resource", "key 1 or key 2"),
        (missing_role(), "may not use the resource", "Cognitive Services OpenAI User"),
        (azure_error(401, "401", "The principal `a` lacks the required data action `b`."), "may not use", "Contributor does not"),
        (azure_error(401, "401", "Token tenant a does not match resource tenant."), "another tenant", "tenant_id"),
        (azure_error(403, "AuthenticationTypeDisabled", "x"), "takes no keys", "Entra ID"),
        (azure_error(403, "403", "Access denied due to Virtual Network/Firewall rules."), "network rules", "private endpoint"),
        (azure_error(404, "404", "Resource not found"), "nothing at this path", "/openai/v1"),
        (azure_error(503, "ServiceUnavailable", "x"), "a problem of its own", "later"),
    ] {
        resource.always(reply);
        check(&config(&issuer, &resource)).expect("key", "failed", cause, fix);
    }
}

#[test]
fn a_missing_deployment_is_not_the_key_s_fault() {
    let (issuer, resource) = (Issuer::start(), AzureOpenAi::start());
    resource.always(no_deployment());
    let checked = check(&config(&issuer, &resource));
    checked.expect("key", "ok", "accepted", "");
    checked.expect("deployment", "failed", "no such deployment", "five minutes");
}

#[test]
fn an_identity_is_tried_and_then_what_it_may() {
    let (issuer, resource, entra) = (Issuer::start(), AzureOpenAi::start(), Azure::start());
    let config = application(config(&issuer, &resource), &entra, "client_secret");
    let checked = check(&config);
    checked.expect_all_well();
    checked.expect("exchange", "ok", "lives 3599 seconds", "");
    checked.expect("deployment", "ok", "mints", "");
    resource.always(missing_role());
    check(&config).expect("key", "failed", "may not use the resource", "Cognitive Services OpenAI User");
    entra.always(Part::Entra, aadsts(401, "invalid_client", 7_000_222));
    let checked = check(&config);
    checked.expect("exchange", "failed", "AADSTS7000222", "azure.md");
    checked.expect("deployment", "skipped", "no credential", "");
}

#[test]
fn of_an_identity_on_behalf_of_users_the_application_is_tried() {
    let (issuer, resource, entra) = (Issuer::start(), AzureOpenAi::start(), Azure::start());
    let config = application(config(&issuer, &resource), &entra, "on_behalf_of");
    let checked = check(&config);
    checked.expect_all_well();
    checked.expect("application", "ok", "Entra ID takes it", "");
    assert_eq!(resource.mints().len(), 0);
    entra.always(Part::Entra, Reply::new(503));
    check(&config).expect("application", "failed", "status 503", "azure.md");
}
