//! HashiCorp Vault and OpenBao.

mod refusals;
mod rotation;
mod settings;

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::vault::{Auth, Vault, lease, version_2};
use crate::support::{Config, End, Reply, World, secrets};

/// Where the key is, unless a test says otherwise, and how it is asked for in either version of the engine.
const KEY: &str = "vault://secret/ephemint/openai#api_key";
const READ_V1: &str = "GET /v1/secret/ephemint/openai";
const READ: &str = "GET /v1/secret/data/ephemint/openai";
const LOGIN: &str = "POST /v1/auth/approle/login";
const LOOKUP: &str = "GET /v1/auth/token/lookup-self";
const RENEWAL: &str = "POST /v1/auth/token/renew-self";

/// A Vault that has the key in version 2.
fn vault() -> Vault {
    let vault = Vault::start();
    vault.keep_v2("secret", "ephemint/openai", &fields());
    vault
}

fn fields() -> Value {
    json!({"api_key": secrets::PRIMARY_KEY, "other": secrets::FALLBACK_KEY})
}

fn sealed() -> Reply {
    Reply::json(503, &json!({"errors": ["Vault is sealed"]}))
}

/// A service whose key is at this Vault.
fn world(vault: &Vault, auth: Auth, change: impl FnOnce(Config) -> Config) -> World {
    World::with(|config| change(vault.configure(config, auth, KEY)))
}

/// A mint, and the key with which the upstream saw it.
async fn mints_with(world: &World, key: &str) {
    world.service.mint(&world.bearer("anna")).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), key);
}

#[tokio::test]
async fn every_login_serves_a_mint_with_a_key_of_either_version_of_the_engine() {
    for auth in [Auth::Token, Auth::AppRole, Auth::Kubernetes] {
        for version in [1, 2] {
            let vault = Vault::start();
            vault.keep_v1("secret/ephemint/openai", &fields());
            vault.keep_v2("secret", "ephemint/openai", &fields());
            let world = world(&vault, auth, |config| config.set("secrets.vault.kv_version", &version.to_string()));
            mints_with(&world, secrets::PRIMARY_KEY).await;
            let first = match auth {
                Auth::Token => LOOKUP,
                Auth::AppRole => LOGIN,
                Auth::Kubernetes => "POST /v1/auth/kubernetes/login",
            };
            vault.expect_asked(&[first, if version == 1 { READ_V1 } else { READ }]);
        }
    }
}

#[tokio::test]
async fn a_token_goes_where_it_belongs_and_nowhere_else() {
    let vault = vault();
    let world = world(&vault, Auth::AppRole, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    let asked = vault.requests();
    assert_eq!(asked[0].header("x-vault-token"), None, "a login has none");
    assert_eq!(asked[1].header("x-vault-token"), Some("hvs.canary-vault-issued-0001"));
    for request in &asked {
        assert_eq!(request.header("x-vault-request"), Some("true"));
        assert_eq!(request.header("x-vault-namespace"), None);
        assert_eq!(request.header("authorization"), None);
    }
}

#[tokio::test]
async fn address_and_namespace_come_from_the_settings_and_else_from_the_environment() {
    let vault = vault();
    vault.namespace("team-a/voice");
    let environment = |config: Config| {
        config
            .unset("secrets.vault.address")
            .env("VAULT_ADDR", &format!("{}/", vault.address()))
            .env("VAULT_NAMESPACE", "team-a/voice")
    };
    mints_with(&world(&vault, Auth::AppRole, environment), secrets::PRIMARY_KEY).await;
    let settings = |config: Config| {
        config
            .set("secrets.vault.namespace", r#""team-a/voice""#)
            .env("VAULT_ADDR", "https://127.0.0.1:9")
            .env("VAULT_NAMESPACE", "team-b")
    };
    mints_with(&world(&vault, Auth::Token, settings), secrets::PRIMARY_KEY).await;
}

#[tokio::test]
async fn mounts_and_a_path_before_the_api_are_as_they_are_set() {
    let vault = Vault::start();
    let (login, read) = ("POST /proxy/v1/auth/teams/voice/login", "GET /proxy/v1/kv-2/team/data/team%20a/key+1@x");
    vault.script(login, lease("hvs.canary-vault-scripted", 60));
    vault.script(read, Reply::json(200, &version_2(&fields(), "")));
    let world = World::with(|config| {
        vault
            .configure(config, Auth::AppRole, "vault://kv-2%2Fteam/team a/key+1@x#api_key")
            .set("secrets.vault.address", &format!("\"{}/proxy\"", vault.address()))
            .set("secrets.vault.auth.mount", r#""teams/voice""#)
    });
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[login, read]);
}

#[tokio::test]
async fn all_secrets_are_read_with_one_login() {
    let vault = vault();
    vault.keep_v2("secret", "ephemint/admin", &json!({"token": format!("{}\n", secrets::ADMIN_TOKEN)}));
    let world = world(&vault, Auth::AppRole, |config| {
        let keys = r#"{ keys = ["vault://secret/ephemint/openai#api_key", "vault://secret/ephemint/openai#other"] }"#;
        config.set("upstreams.openai.credential", keys).set("admin.token", r#""vault://secret/ephemint/admin#token""#)
    });
    mints_with(&world, secrets::PRIMARY_KEY).await;
    world.service.admin(reqwest::Method::GET, "/admin/v1/sessions").send().await.expect(200);
    let asked = vault.asked();
    let logins: Vec<_> = asked.iter().enumerate().filter(|(_, asked)| *asked == LOGIN).map(|(at, _)| at).collect();
    assert_eq!(logins, [0], "{asked:?}");
}

/// A reading that Vault cannot serve now, after which `hook` has run. The next one is a second later, the last one three more.
fn away(vault: &Vault, hook: impl FnOnce(&mut Vec<String>) + Send + 'static) {
    vault.script_after(READ, sealed(), hook);
}

#[tokio::test]
async fn a_vault_that_comes_up_late_is_waited_for() {
    let vault = vault();
    vault.script(LOGIN, sealed());
    away(&vault, |_| {});
    let world = world(&vault, Auth::AppRole, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOGIN, LOGIN, READ, READ]);
}

#[tokio::test]
async fn a_connection_that_was_just_closed_is_made_again_at_once() {
    let vault = vault();
    for asked in [LOGIN, READ] {
        vault.script(asked, Reply::raw(Vec::new()).end(End::Reset));
    }
    let world = world(&vault, Auth::AppRole, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOGIN, LOGIN, READ, READ]);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_once() {
    for (auth, login) in [(Auth::AppRole, LOGIN), (Auth::Kubernetes, "POST /v1/auth/kubernetes/login")] {
        let vault = vault();
        away(&vault, Vec::clear);
        let world = world(&vault, auth, |config| config);
        mints_with(&world, secrets::PRIMARY_KEY).await;
        vault.expect_asked(&[login, READ, READ, login, READ]);
    }
}

#[tokio::test]
async fn a_token_is_renewed_at_half_its_life() {
    let (role, given) = (vault(), vault());
    for vault in [&role, &given] {
        vault.tokens_live(8);
        away(vault, |_| {});
        away(vault, |_| {});
    }
    let worlds = [world(&role, Auth::AppRole, |config| config), world(&given, Auth::Token, |config| config)];
    for world in &worlds {
        mints_with(world, secrets::PRIMARY_KEY).await;
    }
    role.expect_asked(&[LOGIN, READ, READ, RENEWAL, READ]);
    given.expect_asked(&[LOOKUP, READ, READ, RENEWAL, READ]);
    for vault in [&role, &given] {
        let tokens: Vec<_> = vault.requests().iter().filter_map(|it| it.header("x-vault-token").map(str::to_owned)).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_replaced() {
    let vault = vault();
    vault.tokens_live(8);
    away(&vault, |_| {});
    away(&vault, Vec::clear);
    let world = world(&vault, Auth::AppRole, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOGIN, READ, READ, RENEWAL, LOGIN, READ]);
}

#[tokio::test]
async fn an_outage_of_renewal_leaves_the_token_in_use() {
    let vault = vault();
    vault.tokens_live(8);
    away(&vault, |_| {});
    away(&vault, |_| {});
    vault.script(RENEWAL, sealed());
    let world = world(&vault, Auth::AppRole, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOGIN, READ, READ, RENEWAL, READ]);
}

#[tokio::test]
async fn a_token_whose_life_is_over_is_not_sent() {
    let vault = vault();
    vault.tokens_live(1);
    away(&vault, |_| {});
    let world = world(&vault, Auth::AppRole, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOGIN, READ, LOGIN, READ]);
}

#[tokio::test]
async fn a_token_without_end_is_neither_renewed_nor_replaced() {
    for (auth, first) in [(Auth::AppRole, LOGIN), (Auth::Token, LOOKUP)] {
        let vault = vault();
        vault.tokens_live(0);
        away(&vault, |_| {});
        away(&vault, |_| {});
        let world = world(&vault, auth, |config| config);
        mints_with(&world, secrets::PRIMARY_KEY).await;
        vault.expect_asked(&[first, READ, READ, READ]);
    }
}

#[tokio::test]
async fn a_token_that_may_do_nothing_but_read_is_enough() {
    let vault = vault();
    vault.no_token_may_look_at_itself();
    let world = world(&vault, Auth::Token, |config| config);
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOOKUP, READ]);
}

#[tokio::test]
async fn a_token_that_an_agent_replaces_in_its_file_is_picked_up() {
    let folder = TempDir::new().expect("a temporary directory");
    let sink = folder.path().join("token");
    fs::write(&sink, format!("{}\n", secrets::VAULT_TOKEN)).expect("a file");
    let vault = vault();
    let (new, path) = (format!("hvs.{}-next", secrets::VAULT), sink.clone());
    let next = new.clone();
    away(&vault, move |tokens| {
        fs::write(path, &next).expect("a file");
        *tokens = vec![next];
    });
    let world =
        world(&vault, Auth::Token, |config| config.set("secrets.vault.auth.token", &format!("\"file://{}\"", sink.display())));
    mints_with(&world, secrets::PRIMARY_KEY).await;
    vault.expect_asked(&[LOOKUP, READ, LOOKUP, READ]);
    assert_eq!(vault.requests().last().and_then(|it| it.header("x-vault-token")), Some(new.as_str()));
}
