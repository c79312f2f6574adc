//! Azure Key Vault and Entra ID.

mod certificates;
mod refusals;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::azure::{Azure, CLIENT_ID, KEY, OBJECT_ID, Part, RESOURCE_ID, TENANT, secret, vault_error};
use crate::support::{Config, Reply, World, eventually, secrets};
use crate::{count, credentials, is_logged, key, used};

const SECOND_KEY: &str = "azure-kv://my-vault/openai-key-2";
const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
const APP_SERVICE: &str = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net";

fn as_is(config: Config) -> Config {
    config
}

fn with_two_keys(config: Config) -> Config {
    config.set("upstreams.openai.credential", &format!("{{ kind = \"api_key\", keys = [{KEY:?}, {SECOND_KEY:?}] }}"))
}

/// On App Service, Functions or Container Apps.
fn in_container(azure: &Azure, config: Config) -> Config {
    config
        .env("IDENTITY_ENDPOINT", &format!("{}/msi/token", azure.origin()))
        .env("IDENTITY_HEADER", secrets::AZURE_IDENTITY_HEADER)
        .env("MSI_ENDPOINT", "http://127.0.0.1:9/")
}

fn with_client_secret(azure: &Azure, config: Config) -> Config {
    config
        .entra("kind", "client_secret")
        .entra("authority", &azure.origin())
        .entra("tenant_id", TENANT)
        .entra("client_id", CLIENT_ID)
        .env("AZURE_CLIENT_SECRET", secrets::AZURE_CLIENT_SECRET)
}

/// In a pod, whose environment the webhook of AKS has filled.
fn in_pod(azure: &Azure, token: &Path, config: Config) -> Config {
    config
        .entra("kind", "workload_identity")
        .env("AZURE_AUTHORITY_HOST", &format!("{}/", azure.origin()))
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", CLIENT_ID)
        .env("AZURE_FEDERATED_TOKEN_FILE", &token.display().to_string())
}

fn federated_token() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("azure-identity-token");
    std::fs::write(&file, secrets::AZURE_FEDERATED_TOKEN).expect("the token");
    (folder, file)
}

/// Starts the service with its key at Key Vault and mints: the upstream is shown the key that is kept there.
async fn expect_mint(azure: &Azure, change: impl FnOnce(Config) -> Config) {
    let world = World::with(|config| change(config.azure(azure).set("telemetry.log", r#""trace""#)));
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), secrets::PRIMARY_KEY);
}

#[tokio::test]
async fn a_machine_reads_the_key_with_its_managed_identity() {
    let azure = Azure::start();
    expect_mint(&azure, as_is).await;
    let [asked] = azure.asked(Part::Imds).try_into().expect("one question");
    assert_eq!((asked.target.as_str(), asked.header("metadata")), (IMDS, Some("true")));
    assert_eq!(azure.asked(Part::KeyVault)[0].target, "/vaults/my-vault/secrets/openai-key?api-version=7.4");
}

#[tokio::test]
async fn a_user_assigned_identity_is_asked_for_by_its_client_id() {
    let azure = Azure::start();
    // The variable names the application of a pod, not this.
    expect_mint(&azure, |config| config.entra("client_id", CLIENT_ID).env("AZURE_CLIENT_ID", "another")).await;
    assert_eq!(azure.asked(Part::Imds)[0].target, format!("{IMDS}&client_id={CLIENT_ID}"));
    expect_mint(&azure, |config| in_container(&azure, config).entra("client_id", CLIENT_ID)).await;
    assert_eq!(azure.asked(Part::AppService)[0].target, format!("{APP_SERVICE}&client_id={CLIENT_ID}"));
}

#[tokio::test]
async fn a_user_assigned_identity_is_asked_for_by_its_object_id_or_its_resource_id() {
    let azure = Azure::start();
    let encoded = RESOURCE_ID.replace('/', "%2F");
    for (key, value, machine, container) in [
        ("object_id", OBJECT_ID, format!("&object_id={OBJECT_ID}"), format!("&principal_id={OBJECT_ID}")),
        ("resource_id", RESOURCE_ID, format!("&msi_res_id={encoded}"), format!("&mi_res_id={encoded}")),
    ] {
        expect_mint(&azure, |config| config.entra(key, value)).await;
        assert_eq!(azure.asked(Part::Imds).last().map(|it| it.target.clone()), Some(format!("{IMDS}{machine}")));
        expect_mint(&azure, |config| in_container(&azure, config).entra(key, value)).await;
        assert_eq!(azure.asked(Part::AppService).last().map(|it| it.target.clone()), Some(format!("{APP_SERVICE}{container}")));
    }
}

#[tokio::test]
async fn a_container_app_reads_the_key_with_its_managed_identity() {
    let azure = Azure::start();
    expect_mint(&azure, |config| in_container(&azure, config)).await;
    let [asked] = azure.asked(Part::AppService).try_into().expect("one question");
    assert_eq!((asked.target.as_str(), asked.header("metadata")), (APP_SERVICE, None));
    assert_eq!(azure.asked(Part::Imds).len(), 0);
}

#[tokio::test]
async fn a_pod_reads_the_key_with_its_workload_identity() {
    let (azure, (_folder, token)) = (Azure::start(), federated_token());
    expect_mint(&azure, |config| in_pod(&azure, &token, config)).await;
    assert_eq!((azure.asked(Part::Entra).len(), azure.asked(Part::Imds).len()), (1, 0));
}

#[tokio::test]
async fn what_is_configured_wins_over_the_environment_of_a_pod() {
    let (azure, (_folder, token)) = (Azure::start(), federated_token());
    let change = |config: Config| {
        let config = in_pod(&azure, "/nowhere".as_ref(), config).env("AZURE_AUTHORITY_HOST", "login.example.invalid");
        let config = config.env("AZURE_TENANT_ID", "another").env("AZURE_CLIENT_ID", "another");
        let config = config.entra("authority", &azure.origin()).entra("tenant_id", TENANT).entra("client_id", CLIENT_ID);
        config.entra("federated_token", &format!("file://{}", token.display()))
    };
    expect_mint(&azure, change).await;
}

#[tokio::test]
async fn an_application_reads_the_key_with_its_client_secret() {
    let azure = Azure::start();
    expect_mint(&azure, |config| with_client_secret(&azure, config)).await;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("client-secret");
    std::fs::write(&file, format!("{}\n", secrets::AZURE_CLIENT_SECRET)).expect("the secret");
    let reference = format!("file://{}", file.display());
    expect_mint(&azure, |config| {
        with_client_secret(&azure, config).env("AZURE_CLIENT_SECRET", "").entra("client_secret", &reference)
    })
    .await;
    assert_eq!(azure.asked(Part::Entra).len(), 2);
}

#[tokio::test]
async fn all_keys_are_read_with_one_token() {
    let azure = Azure::start();
    expect_mint(&azure, with_two_keys).await;
    let (tokens, secrets) = (azure.asked(Part::Imds).len(), azure.asked(Part::KeyVault).len());
    assert!(tokens == 1 && secrets >= 2, "{tokens} tokens for {secrets} secrets");
}

/// The second question of the same start finds another token in the file: the first one is not remembered.
#[tokio::test]
async fn a_federated_token_is_read_anew_for_each_question() {
    let (azure, (_folder, token)) = (Azure::start(), federated_token());
    azure.tokens_live(300);
    azure.renews(token.clone());
    expect_mint(&azure, |config| with_two_keys(in_pod(&azure, &token, config))).await;
    let asked = azure.asked(Part::Entra);
    let shown: Vec<_> = asked.iter().map(|request| request.form()["client_assertion"].clone()).collect();
    assert_eq!(shown[..2], [secrets::AZURE_FEDERATED_TOKEN.to_owned(), format!("{}-renewed", secrets::AZURE_FEDERATED_TOKEN)]);
}

#[tokio::test]
async fn an_identity_endpoint_that_is_updating_is_asked_again() {
    let azure = Azure::start();
    azure.next(Part::Imds, [404, 410, 429, 500].map(Reply::new));
    expect_mint(&azure, as_is).await;
    assert_eq!(azure.asked(Part::Imds).len(), 5);
}

#[tokio::test]
async fn a_start_outlasts_a_vault_that_is_busy() {
    let azure = Azure::start();
    azure.next(Part::KeyVault, [vault_error(429, "Throttled", None), Reply::new(503)]);
    expect_mint(&azure, as_is).await;
    let (tokens, answers) = (azure.asked(Part::Imds).len(), azure.asked(Part::KeyVault).len());
    assert!(tokens == 1 && answers >= 3, "{tokens} tokens for {answers} answers");
}

/// Tells the service to reload until something is so: a manager is not asked twice within a second.
async fn reloaded(world: &World, what: &str, is_so: impl AsyncFn() -> bool) {
    let attempt = async || {
        world.service.signal("HUP");
        is_so().await.then_some(())
    };
    eventually(what, 10, attempt).await;
}

#[tokio::test]
async fn a_new_version_is_used_and_an_outage_changes_nothing() {
    let azure = Azure::start();
    let world = World::with(|config| config.azure(&azure));
    let token = world.bearer("alice");
    used(&world, &token, secrets::PRIMARY_KEY).await;
    world.upstream.accept(&key(3));
    azure.keeps("my-vault/openai-key", secret(&key(3)));
    let is_adopted = async || count(&world.service, "adopted").await == 1;
    reloaded(&world, "the new version is read", is_adopted).await;
    used(&world, &token, &key(3)).await;
    assert_eq!(credentials(&world.service).await["credentials"][0]["made_at"], 1_493_938_410);

    azure.refuse();
    reloaded(&world, "the outage is seen", async || count(&world.service, "unreadable").await > 0).await;
    used(&world, &token, &key(3)).await;
    azure.up();
    reloaded(&world, "its end is seen", async || is_logged(&world.service, "the key can be read again")).await;
    assert_eq!(azure.asked(Part::Imds).len(), 1, "one token was enough");
}

#[tokio::test]
async fn an_access_token_that_the_vault_refuses_is_replaced() {
    let azure = Azure::start();
    let world = World::with(|config| config.azure(&azure));
    azure.revokes_tokens();
    reloaded(&world, "the refusal is seen", async || count(&world.service, "unreadable").await > 0).await;
    reloaded(&world, "its end is seen", async || is_logged(&world.service, "the key can be read again")).await;
    assert_eq!(azure.asked(Part::Imds).len(), 2);
}
