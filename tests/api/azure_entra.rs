//! Azure OpenAI with access tokens of Entra ID in place of a key: each way to get one mints, and is asked exactly as documented.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::support::azure::{Azure, CLIENT_ID, OBJECT_ID, Part, RESOURCE_ID, TENANT, aadsts};
use crate::support::azure_openai::{AzureOpenAi, DEPLOYMENT, missing_role};
use crate::support::certificate::{Certificate, kept};
use crate::support::{Answer, Config, Issuer, Reply, Service, eventually, secrets};

const COGNITIVE_SERVICES: &str = "https://cognitiveservices.azure.com";

/// A resource, the fake of Entra ID and of identities, and the service between them.
struct Place {
    service: Service,
    issuer: Issuer,
    entra: Azure,
    resource: AzureOpenAi,
}

impl Place {
    /// With this credential, in the words of the configuration.
    fn with(entra: Azure, credential: &str, change: impl FnOnce(&Azure, Config) -> Config) -> Self {
        let (issuer, resource) = (Issuer::start(), AzureOpenAi::start());
        let config = Config::bare()
            .issuer("main", &issuer.url())
            .set("upstreams.azure.kind", r#""azure""#)
            .set("upstreams.azure.base_url", &format!("{:?}", resource.endpoint()))
            .set("upstreams.azure.session.model", &format!("{DEPLOYMENT:?}"))
            .set("upstreams.azure.credential", &format!("{{ {credential} }}"))
            .profile("default")
            .unset("profiles.default.session.model")
            .set("profiles.default.upstream", r#""azure""#)
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &entra.origin());
        let service = Service::start(&change(&entra, config));
        Self { service, issuer, entra, resource }
    }

    async fn mint(&self) -> Answer {
        self.service.mint(&self.issuer.bearer("alice")).await
    }

    /// Until there is a token. Then one mint, with a token of the fake in the header of tokens.
    async fn expect_mint(&self) {
        let minted = async || (self.mint().await.status == 200).then_some(());
        eventually("a mint", 10, minted).await;
        let asked = self.resource.last();
        assert!(asked.bearer().starts_with("canary-azure-access-token"), "{asked:?}");
        assert_eq!(asked.header("api-key"), None);
    }
}

fn entra() -> Azure {
    let azure = Azure::start();
    azure.gives_tokens_for(COGNITIVE_SERVICES);
    azure
}

fn here(_: &Azure, config: Config) -> Config {
    config
}

fn application(azure: &Azure, config: Config) -> Config {
    config
        .env("AZURE_AUTHORITY_HOST", &azure.origin())
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", CLIENT_ID)
        .env("AZURE_CLIENT_SECRET", secrets::AZURE_CLIENT_SECRET)
}

fn in_pod(token: &Path) -> impl FnOnce(&Azure, Config) -> Config {
    let token = token.display().to_string();
    move |azure, config| application(azure, config).env("AZURE_FEDERATED_TOKEN_FILE", &token)
}

#[tokio::test]
async fn the_identity_of_a_machine_mints_without_any_secret() {
    let place = Place::with(entra(), r#"kind = "managed_identity""#, here);
    place.expect_mint().await;
    let asked = place.entra.asked(Part::Imds);
    let target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
    assert_eq!((asked[0].target.as_str(), asked[0].header("metadata")), (target, Some("true")));
}

#[tokio::test]
async fn a_user_assigned_identity_mints_by_any_of_its_names() {
    for (key, id) in [("client_id", CLIENT_ID), ("object_id", OBJECT_ID), ("resource_id", RESOURCE_ID)] {
        let place = Place::with(entra(), &format!(r#"kind = "managed_identity", {key} = {id:?}"#), here);
        place.expect_mint().await;
    }
}

#[tokio::test]
async fn the_identity_of_a_container_mints_with_the_header_of_its_platform() {
    let container = |azure: &Azure, config: Config| {
        config
            .env("IDENTITY_ENDPOINT", &format!("{}/msi/token", azure.origin()))
            .env("IDENTITY_HEADER", secrets::AZURE_IDENTITY_HEADER)
    };
    let place = Place::with(entra(), r#"kind = "managed_identity""#, container);
    place.expect_mint().await;
    let asked = place.entra.asked(Part::AppService);
    let target = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
    assert_eq!((asked[0].target.as_str(), place.entra.asked(Part::Imds).len()), (target, 0));
}

#[tokio::test]
async fn a_pod_mints_with_its_federated_token() {
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("azure-identity-token");
    std::fs::write(&token, secrets::AZURE_FEDERATED_TOKEN).expect("the token");
    let place = Place::with(entra(), r#"kind = "workload_identity""#, in_pod(&token));
    place.expect_mint().await;
    let form = place.entra.asked(Part::Entra)[0].form();
    assert_eq!(form["scope"], "https://cognitiveservices.azure.com/.default");
    assert_eq!(form["client_assertion"], secrets::AZURE_FEDERATED_TOKEN);
}

#[tokio::test]
async fn an_application_mints_with_its_secret_in_the_cloud_and_for_the_scope_that_are_set() {
    let azure = Azure::start();
    azure.gives_tokens_for("https://ai.azure.com");
    let credential = format!(
        r#"kind = "client_secret", tenant_id = "{TENANT}", client_id = "{CLIENT_ID}", client_secret = "env://THE_SECRET", authority = "{}", scope = "https://ai.azure.com/.default""#,
        azure.origin()
    );
    let place = Place::with(azure, &credential, |_, config| config.env("THE_SECRET", secrets::AZURE_CLIENT_SECRET));
    place.expect_mint().await;
    let asked = place.entra.asked(Part::Entra);
    assert_eq!(asked[0].target, format!("/{TENANT}/oauth2/v2.0/token"));
    assert_eq!(asked[0].form()["client_secret"], secrets::AZURE_CLIENT_SECRET);
}

#[tokio::test]
async fn an_application_mints_with_its_certificate() {
    let (azure, certificate, folder) = (entra(), Certificate::new(), TempDir::new().expect("a folder"));
    azure.trusts(certificate.uploaded());
    let reference = kept(folder.path(), "it.pem", certificate.key() + &certificate.certificate());
    let place = Place::with(azure, &format!(r#"kind = "client_certificate", certificate = {reference:?}"#), application);
    place.expect_mint().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_no_mint_waits_for_it() {
    let azure = entra();
    azure.tokens_live(4);
    let place = Place::with(azure, r#"kind = "managed_identity""#, here);
    place.expect_mint().await;
    let first = place.resource.last().bearer().to_owned();
    // From now on, every mint is served: a token is never used up.
    let renewed = async || {
        place.mint().await.expect_minted();
        (place.resource.last().bearer() != first).then_some(())
    };
    eventually("a new token is in use", 10, renewed).await;
}

/// As the kubelet does it: whoever still has the token of before is refused.
#[tokio::test]
async fn a_federated_token_that_is_rewritten_under_load_costs_no_mint() {
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("azure-identity-token");
    std::fs::write(&token, secrets::AZURE_FEDERATED_TOKEN).expect("the token");
    let azure = entra();
    azure.tokens_live(4);
    azure.renews(token.clone());
    let place = Place::with(azure, r#"kind = "workload_identity""#, in_pod(&token));
    place.expect_mint().await;
    let asked = |place: &Place| place.entra.asked(Part::Entra).len();
    let renewed = async || {
        let tokens: Vec<String> = (0..8).map(|caller| place.issuer.bearer(&format!("caller-{caller}"))).collect();
        for answer in join_all(tokens.iter().map(|token| place.service.mint(token))).await {
            answer.expect_minted();
        }
        (asked(&place) >= 3).then_some(())
    };
    eventually("tokens are renewed", 20, renewed).await;
    let forms = place.entra.asked(Part::Entra);
    assert_eq!(forms[0].form()["client_assertion"], secrets::AZURE_FEDERATED_TOKEN);
    assert_eq!(forms[1].form()["client_assertion"], format!("{}-renewed", secrets::AZURE_FEDERATED_TOKEN));
}

#[tokio::test]
async fn mints_do_not_wait_for_an_endpoint_that_is_slow() {
    let azure = entra();
    azure.tokens_live(8);
    let place = Place::with(azure, r#"kind = "managed_identity""#, here);
    place.expect_mint().await;
    let good = json!({"access_token": "canary-azure-access-token-slow", "expires_in": "3600", "token_type": "Bearer"});
    place.entra.next(Part::Imds, [Reply::json(200, &good).after(Duration::from_secs(2))]);
    let first = place.resource.last().bearer().to_owned();
    let arrived = async || {
        let answer = tokio::time::timeout(Duration::from_millis(1500), place.mint()).await.expect("it waits for nothing");
        answer.expect_minted();
        (place.resource.last().bearer() != first).then_some(())
    };
    eventually("the slow token is in use", 15, arrived).await;
    assert_eq!(place.resource.last().bearer(), "canary-azure-access-token-slow");
}

#[tokio::test]
async fn the_last_token_serves_until_it_expires_and_then_mints_are_refused_for_a_while() {
    let azure = entra();
    azure.tokens_live(5);
    let place = Place::with(azure, r#"kind = "managed_identity""#, here);
    place.expect_mint().await;
    place.entra.always(Part::Imds, Reply::new(500));
    place.mint().await.expect_minted();
    let refused = async || {
        let answer = place.mint().await;
        (answer.status != 200).then_some(answer)
    };
    let answer = eventually("the token has expired", 10, refused).await;
    answer.expect_problem(503, "credential_unavailable");
    assert!(answer.retry_after() >= 1);
    let entry = place.service.audit_of(answer.request_id()).await;
    assert_eq!(entry["outcome"], "credential_unavailable");
}

#[tokio::test]
async fn endpoints_that_are_updating_are_asked_again() {
    for status in [404, 410, 429, 500, 503] {
        let azure = entra();
        azure.next(Part::Imds, [Reply::new(status), Reply::new(status)]);
        let place = Place::with(azure, r#"kind = "managed_identity""#, here);
        place.expect_mint().await;
        assert!(place.entra.asked(Part::Imds).len() >= 3, "{status}");
    }
}

#[tokio::test]
async fn what_entra_id_refuses_is_told_to_the_operator_and_not_to_callers() {
    let azure = entra();
    azure.always(Part::Entra, aadsts(401, "invalid_client", 7_000_215));
    let place = Place::with(azure, r#"kind = "client_secret""#, application);
    let answer = place.mint().await;
    answer.expect_problem(503, "credential_unavailable");
    assert!(!answer.text().contains("AADSTS"), "{answer}");
    let told = async || {
        let report = place.service.admin(reqwest::Method::GET, "/admin/v1/credentials").send().await.expect(200).json();
        let cause = report["upstreams"][0]["credentials"][0]["last_failure"]["cause"].as_str()?.to_owned();
        assert_eq!(report["upstreams"][0]["kind"], "client_secret", "{report}");
        Some(cause)
    };
    let cause = eventually("the failure is shown", 10, told).await;
    assert!(cause.contains("AADSTS7000215") && cause.contains("the client secret is wrong"), "{cause}");
}

/// Azure takes minutes until a new role counts.
#[tokio::test]
async fn a_role_that_is_missing_is_no_reason_to_ask_for_another_token() {
    let place = Place::with(entra(), r#"kind = "managed_identity""#, here);
    place.expect_mint().await;
    place.resource.always(missing_role());
    let asked = place.entra.asked(Part::Imds).len();
    for _ in 0..5 {
        place.mint().await.expect_problem(502, "upstream_auth_failed");
    }
    assert_eq!(place.entra.asked(Part::Imds).len(), asked);
    place.resource.always(None);
    place.mint().await.expect_minted();
}
