//! What is wrong, and what to do: the sentences of a start that fails.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::{SECOND_KEY, as_is, federated_token, in_container, in_pod, with_client_secret, with_two_keys};
use crate::support::azure::{Azure, CLIENT_ID, KEY, OBJECT_ID, Part, RESOURCE_ID, TENANT, aadsts, secret, vault_error};
use crate::support::{Canary, Config, End, Place, Reply, Responder, Service, secrets};

/// A change of the configuration.
type Change<'a> = Box<dyn Fn(Config) -> Config + 'a>;

/// Starts the service, which does not want to: what it says of its first key.
#[track_caller]
pub(super) fn refusal(azure: &Azure, change: impl FnOnce(Config) -> Config) -> String {
    let said = complaint(azure, change);
    let place = format!("ephemint: ephemint.toml: upstreams.openai.credential.keys[0]: {KEY}: ");
    let sentence = said.lines().find_map(|line| line.strip_prefix(&place));
    sentence.unwrap_or_else(|| panic!("no word of {KEY}: {said}")).replace(&azure.place(), "AZURE")
}

#[track_caller]
fn complaint(azure: &Azure, change: impl FnOnce(Config) -> Config) -> String {
    let folder = TempDir::new().expect("a folder");
    let config =
        Config::bare().issuer("main", "http://127.0.0.1:9/").set("upstreams.openai.base_url", r#""http://127.0.0.1:9/v1""#);
    let config = change(config.profile("default").azure(azure));
    std::fs::write(folder.path().join("ephemint.toml"), config.toml(folder.path())).expect("the configuration");
    let arguments = ["serve", "--config", "ephemint.toml"];
    let output = Service::command(&config).args(arguments).current_dir(folder.path()).output().expect("the binary runs");
    let canary = Canary::new();
    canary.saw(Place::Log, "stdout", &output.stdout);
    canary.saw(Place::Log, "stderr", &output.stderr);
    assert_eq!(canary.complaints(), Vec::<String>::new());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    said
}

#[test]
fn a_token_that_nobody_gives_is_asked_for_once_for_all_keys() {
    let azure = Azure::start();
    azure.always(Part::Imds, Reply::new(400).after(Duration::from_millis(300)));
    let said = complaint(&azure, with_two_keys);
    for place in [format!("keys[0]: {KEY}: "), format!("keys[1]: {SECOND_KEY}: ")] {
        assert!(said.contains(&format!("{place}the instance metadata service")), "{said}");
    }
    assert_eq!((azure.asked(Part::Imds).len(), azure.asked(Part::KeyVault).len()), (1, 0));
}

/// A token and the key that it gives are worth as much as each other, so neither goes where an answer points.
#[test]
fn no_redirect_is_followed() {
    let azure = Azure::start();
    let elsewhere = Responder::start(|_| Reply::new(200));
    let redirect = |status| Reply::new(status).header("Location", &format!("http://{}/", elsewhere.address()));
    azure.next(Part::KeyVault, [redirect(307)]);
    assert_eq!(refusal(&azure, as_is), "Key Vault (AZURE) answers with status 307; look at vault_url");
    azure.next(Part::Entra, [redirect(308)]);
    let said = refusal(&azure, |config| with_client_secret(&azure, config));
    assert_eq!(said, "Entra ID (AZURE) answers with status 308; look at authority and tenant_id");
    azure.next(Part::Imds, [redirect(302)]);
    assert_eq!(refusal(&azure, as_is), "the instance metadata service (AZURE) answers with status 302");
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn what_key_vault_refuses_is_told_with_its_cure() {
    let role = "does not let the identity read secrets; give it the role \"Key Vault Secrets User\"";
    let disabled = "is disabled at Key Vault; enable the newest version, or make a new one";
    let mut off = secret(secrets::PRIMARY_KEY);
    off["attributes"]["enabled"] = false.into();
    let another = Reply::json(401, &json!({"error": {"code": "Unauthorized", "message": "AKV10032: Invalid issuer."}}));
    let table = [
        (
            vault_error(401, "Unauthorized", None),
            "IT refuses the access token; vault_url and authority have to be of the same cloud".into(),
        ),
        (another, "IT belongs to another directory than the identity (AKV10032); look at tenant_id".to_owned()),
        (vault_error(403, "Forbidden", Some("ForbiddenByRbac")), format!("IT {role} on the vault, and a few minutes")),
        (
            vault_error(403, "Forbidden", Some("AccessDenied")),
            "IT does not let the identity read secrets; give it the permission Get for secrets in the vault's access policies"
                .into(),
        ),
        (vault_error(403, "Forbidden", None), format!("IT {role}, or Get in the vault's access policies")),
        (
            vault_error(403, "Forbidden", Some("ForbiddenByFirewall")),
            "IT is closed to this address by its firewall; allow the address, or use a private endpoint".into(),
        ),
        (
            vault_error(403, "Forbidden", Some("ForbiddenByConnection")),
            "IT is closed to this connection; its name has to lead to its private endpoint".into(),
        ),
        (vault_error(403, "Forbidden", Some("SecretDisabled")), disabled.into()),
        (Reply::json(200, &off), disabled.into()),
        (vault_error(404, "SecretNotFound", None), "IT has no secret of this name".into()),
        (Reply::new(404), "IT answers with status 404; look at vault_url".into()),
        (vault_error(400, "BadParameter", None), "IT answers with status 400; look at vault_url".into()),
        (Reply::text(200, "text/html", secrets::AZURE), "IT answers with something else than a secret; look at vault_url".into()),
        (Reply::json(200, &json!({"value": 7})), "IT answers with something else than a secret; look at vault_url".into()),
        (Reply::json(200, &secret(" \n")), "is empty".into()),
        (Reply::json(200, &secret(&"x".repeat(65 * 1024))), "is larger than 64 KiB; name what holds the secret alone".into()),
        (Reply::json(200, &secret(&"x".repeat(1024 * 1024))), "IT answers with more than 1 MiB".into()),
        (Reply::endless("application/json", &[b' '; 4096]), "IT answers with more than 1 MiB".into()),
    ];
    let azure = Azure::start();
    for (reply, sentence) in table {
        azure.next(Part::KeyVault, [reply]);
        assert_eq!(refusal(&azure, as_is), sentence.replace("IT", "Key Vault (AZURE)"));
    }
}

#[test]
fn what_entra_id_refuses_is_told_with_its_cure() {
    let azure = Azure::start();
    for (status, error, code, sentence) in [
        (
            401,
            "invalid_client",
            7_000_215,
            "refuses (AADSTS7000215): the client secret is wrong; what counts is the secret's value, not its id",
        ),
        (
            401,
            "invalid_client",
            7_000_222,
            "refuses (AADSTS7000222): the client secret has expired; make a new one in the app registration",
        ),
        (
            400,
            "unauthorized_client",
            700_016,
            "refuses (AADSTS700016): the directory has no such application; look at client_id and tenant_id",
        ),
        (400, "invalid_request", 90_002, "refuses (AADSTS90002): there is no such directory; look at tenant_id"),
        (400, "invalid_request", 900_023, "refuses (AADSTS900023): there is no such directory; look at tenant_id"),
        (
            401,
            "invalid_client",
            700_213,
            "refuses (AADSTS700213): no federated credential fits the token; compare its issuer, subject and audience (api://AzureADTokenExchange)",
        ),
        (
            401,
            "invalid_client",
            700_024,
            "refuses (AADSTS700024): the federated token has expired or is not a token; whoever writes its file has to renew it; of a certificate, this machine's clock is wrong",
        ),
        (
            400,
            "invalid_resource",
            500_011,
            "refuses (AADSTS500011): the directory does not know what the token is for; authority has to be of the same cloud",
        ),
        (400, "invalid_grant", 53_003, "refuses (AADSTS53003): Conditional Access forbids it to this address or application"),
        (
            401,
            "invalid_client",
            1,
            "refuses with invalid_client (AADSTS1): look at client_id and at what the application proves itself with",
        ),
        (400, "unauthorized_client", 2, "refuses with unauthorized_client (AADSTS2): look at client_id and tenant_id"),
        (400, "invalid_request", 3, "refuses with invalid_request (AADSTS3): look at tenant_id and client_id"),
        (400, "canary-azure-error", 4, "answers with status 400 (AADSTS4); look at authority and tenant_id"),
    ] {
        azure.next(Part::Entra, [aadsts(status, error, code)]);
        assert_eq!(refusal(&azure, |config| with_client_secret(&azure, config)), format!("Entra ID (AZURE) {sentence}"));
    }
    for reply in [
        Reply::text(200, "text/html", secrets::AZURE),
        Reply::json(200, &json!({"access_token": "", "expires_in": 3599})),
        Reply::json(200, &json!({"access_token": [secrets::AZURE], "expires_in": 3599})),
    ] {
        azure.next(Part::Entra, [reply]);
        let said = refusal(&azure, |config| with_client_secret(&azure, config));
        assert_eq!(said, "Entra ID (AZURE) answers with something else than a token; look at authority");
    }
    azure.next(Part::Entra, [Reply::json(200, &json!({"access_token": "canary-azure\r\nX: y", "expires_in": 3599}))]);
    let said = refusal(&azure, |config| with_client_secret(&azure, config));
    assert_eq!(said, "Entra ID gave an access token that does not fit into a header");
}

#[test]
fn an_identity_that_is_not_there_is_told_with_its_cure() {
    let azure = Azure::start();
    let imds = "the instance metadata service (AZURE)";
    let elsewhere = "where there is no managed identity, as beyond Azure, set another kind of credential";
    azure.next(Part::Imds, [Reply::new(400)]);
    let sentence = "has no identity to give; assign one to this machine or container and, if it is user-assigned, set client_id";
    assert_eq!(refusal(&azure, as_is), format!("{imds} {sentence}"));
    azure.next(Part::Imds, [Reply::new(400)]);
    let sentence =
        format!("has no identity with client_id {CLIENT_ID}; assign it to this machine or container, or correct client_id");
    assert_eq!(refusal(&azure, |config| config.entra("client_id", CLIENT_ID)), format!("{imds} {sentence}"));
    azure.next(Part::Imds, [Reply::text(403, "text/plain", secrets::AZURE)]);
    assert_eq!(refusal(&azure, as_is), format!("{imds} refuses (status 403); {elsewhere}"));
    azure.next(Part::Imds, [Reply::text(200, "text/html", secrets::AZURE)]);
    assert_eq!(refusal(&azure, as_is), format!("{imds} answers with something else than a token"));
    azure.next(Part::AppService, [Reply::new(401)]);
    let said = refusal(&azure, |config| in_container(&azure, config));
    assert_eq!(said, "the endpoint for managed identities (AZURE) answers with status 401");
}

#[test]
fn an_environment_that_does_not_fit_is_told() {
    let (azure, (_folder, token)) = (Azure::start(), federated_token());
    let unsupported = |what: &str| format!("managed identities of {what} are not supported; set another kind of credential");
    let neither = |key: &str, variable: &str| format!("{key} is not set, and neither is the environment variable {variable}");
    let container = |config: Config, name: &str, value: &str| in_container(&azure, config).env(name, value);
    let pod = |config: Config, name: &str, value: &str| in_pod(&azure, &token, config).env(name, value);
    let arc = |config| container(config, "IMDS_ENDPOINT", "http://127.0.0.1:9").env("IDENTITY_HEADER", "");
    let of_arc = |key: &str| format!("Azure Arc has the system-assigned identity alone; leave out {key}");
    let table: Vec<(Change<'_>, String)> = vec![
        (Box::new(|c| container(c, "IDENTITY_SERVER_THUMBPRINT", "AB")), unsupported("Service Fabric")),
        (
            Box::new(|c| arc(c).env("IDENTITY_ENDPOINT", "http://arc.example.com/metadata/identity/oauth2/token")),
            "the environment variable IDENTITY_ENDPOINT is not an http URL of this machine, as that of Azure Arc is".into(),
        ),
        (Box::new(|c| arc(c).entra("client_id", CLIENT_ID)), of_arc("client_id")),
        (Box::new(|c| arc(c).entra("object_id", OBJECT_ID)), of_arc("object_id")),
        (Box::new(|c| arc(c).entra("resource_id", RESOURCE_ID)), of_arc("resource_id")),
        (Box::new(|c| c.env("MSI_ENDPOINT", "http://127.0.0.1:9")), unsupported("Cloud Shell and Azure Machine Learning")),
        (
            Box::new(|c| container(c, "IDENTITY_ENDPOINT", "canary-azure")),
            "the environment variable IDENTITY_ENDPOINT is not a URL".into(),
        ),
        (
            Box::new(|c| container(c, "IDENTITY_HEADER", "canary-azure\n")),
            "the environment variable IDENTITY_HEADER does not fit into a header".into(),
        ),
        (Box::new(|c| pod(c, "AZURE_TENANT_ID", "")), neither("tenant_id", "AZURE_TENANT_ID")),
        (Box::new(|c| pod(c, "AZURE_CLIENT_ID", "")), neither("client_id", "AZURE_CLIENT_ID")),
        (
            Box::new(|c| pod(c, "AZURE_FEDERATED_TOKEN_FILE", "")),
            neither("federated_token", "AZURE_FEDERATED_TOKEN_FILE")
                + "; AKS sets it in pods with the label azure.workload.identity/use: \"true\"",
        ),
        (
            Box::new(|c| pod(c, "AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token")),
            "file:///nowhere/token: cannot be read: No such file or directory (os error 2)".into(),
        ),
        (
            Box::new(|c| pod(c, "AZURE_AUTHORITY_HOST", "http://login.example.com")),
            "the environment variable AZURE_AUTHORITY_HOST is not an https URL".into(),
        ),
        (
            Box::new(|c| with_client_secret(&azure, c).env("AZURE_CLIENT_SECRET", "\n")),
            "env://AZURE_CLIENT_SECRET: is empty".into(),
        ),
        (
            Box::new(|c| with_client_secret(&azure, c).entra("client_secret", "env://NOT_SET")),
            "env://NOT_SET: the environment variable is not set".into(),
        ),
    ];
    for (change, sentence) in table {
        assert_eq!(refusal(&azure, change), sentence);
    }
    assert_eq!(azure.asked(Part::Entra).len() + azure.asked(Part::KeyVault).len(), 0);
}

#[test]
fn settings_that_do_not_fit_are_refused_before_anybody_is_asked() {
    let azure = Azure::start();
    let literal = "canary-azure-literal";
    for (key, value, cause) in [
        (
            "vault_url",
            "https://my-vault.vault.azure.net",
            "must have {vault}, which stands for a vault's name; without it all names mean the same vault",
        ),
        ("vault_url", "http://{vault}.vault.azure.net", "plain http would show the secrets on their way; use https"),
        ("credential.authority", "http://login.microsoftonline.com", "plain http would show the secrets on their way; use https"),
        ("credential.tenant_id", "../evil", "must be an id, as the portal shows it"),
        ("credential.client_id", "", "must be an id, as the portal shows it"),
        ("credential.object_id", "../evil", "must be an id, as the portal shows it"),
        (
            "credential.resource_id",
            "ephemint",
            "must be a resource id, as `az identity show --query id` prints it: /subscriptions/...",
        ),
        (
            "credential.tenant_id",
            TENANT,
            "is not for managed_identity, which is of the platform's own directory; set kind, or leave it out",
        ),
        (
            "credential.authority",
            "https://login.microsoftonline.us",
            "is not for managed_identity, which is of the platform's own directory; set kind, or leave it out",
        ),
        ("credential.certificate", "file:///a", "is for another kind; set kind, or leave it out"),
        ("credential.certificate_password", "env://A", "is for another kind; set kind, or leave it out"),
        (
            "credential.certificate",
            KEY,
            "must be env:// or file://: a secret manager cannot be reached with what only a secret manager knows",
        ),
        ("credential.client_secret", "env://A", "is for another kind; set kind, or leave it out"),
        ("credential.federated_token", "file:///a", "is for another kind; set kind, or leave it out"),
        (
            "credential.federated_token",
            KEY,
            "must be env:// or file://: a secret manager cannot be reached with what only a secret manager knows",
        ),
        (
            "credential.client_secret",
            literal,
            "this looks like a literal secret; write where the secret is instead: env://NAME, file:///path, vault://mount/path#field, aws-sm://name#field, azure-kv://vault/name or gcp-sm://project/name",
        ),
    ] {
        let said = complaint(&azure, |config| config.set(&format!("secrets.azure.{key}"), &format!("{value:?}")));
        let line = format!("ephemint: ephemint.toml: secrets.azure.{key}: {cause}");
        assert!(said.lines().any(|it| it == line), "no {line:?} in {said}");
    }
    let said = complaint(&azure, |config| config.entra("client_id", CLIENT_ID).entra("object_id", OBJECT_ID));
    let twice = "secrets.azure.credential: names a user-assigned identity more than once; keep one of client_id, object_id and resource_id";
    assert!(said.lines().any(|it| it == format!("ephemint: ephemint.toml: {twice}")), "{said}");
    let said = complaint(&azure, |config| config.entra("kind", "workload_identity").entra("resource_id", RESOURCE_ID));
    let misplaced = "secrets.azure.credential.resource_id: is for another kind; set kind, or leave it out";
    assert!(said.lines().any(|it| it == format!("ephemint: ephemint.toml: {misplaced}")), "{said}");
    assert_eq!(azure.asked(Part::Imds).len(), 0);
}

/// Each takes the three attempts of a start, so all start at the same time.
#[test]
fn who_does_not_answer_is_named() {
    type Case<'a> = (&'a str, fn(&Azure), fn(&Azure, Config) -> Config);
    let cases: [Case<'_>; 6] = [
        ("Key Vault (AZURE) answers with status 503", |azure| azure.always(Part::KeyVault, Reply::new(503)), |_, config| config),
        ("Entra ID (AZURE) answers with status 429", |azure| azure.always(Part::Entra, aadsts(429, "x", 1)), with_client_secret),
        (
            "Entra ID (AZURE) answers with status 400",
            |azure| azure.always(Part::Entra, aadsts(400, "temporarily_unavailable", 90_033)),
            with_client_secret,
        ),
        (
            "Entra ID (AZURE) does not answer: client error (Connect): tcp connect error: Connection refused (os error 111)",
            Azure::refuse,
            with_client_secret,
        ),
        (
            "the instance metadata service (AZURE) does not answer: client error (Connect): tcp connect error: Connection refused (os error 111); where there is no managed identity, as beyond Azure, set another kind of credential",
            Azure::refuse,
            |_, config| config,
        ),
        (
            "Key Vault (AZURE) does not answer in time",
            |azure| azure.always(Part::KeyVault, Reply::new(200).end(End::Hang).after(Duration::from_hours(1))),
            |_, config| config,
        ),
    ];
    std::thread::scope(|scope| {
        for (sentence, prepare, change) in cases {
            scope.spawn(move || {
                let azure = Azure::start();
                prepare(&azure);
                assert_eq!(refusal(&azure, |config| change(&azure, config)), sentence);
            });
        }
    });
}
