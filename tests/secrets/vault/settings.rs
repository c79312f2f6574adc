//! `[secrets.vault]`: what is refused, all of it at once, and nothing of it repeated.

use super::refusals::problems;
use super::{KEY, vault};
use crate::support::vault::Auth;
use crate::support::{Config, Issuer, Upstream};

/// A configuration with this one change, and what is said of it.
fn said(auth: Auth, change: impl FnOnce(Config) -> Config) -> Vec<String> {
    let (issuer, upstream, vault) = (Issuer::start(), Upstream::start(), vault());
    let lines = problems(&change(vault.configure(Config::new(&issuer, &upstream), auth, KEY)));
    assert_eq!(vault.asked().len(), 0, "a Vault is asked only when it is known how");
    lines
}

#[test]
fn each_bad_setting_has_its_sentence() {
    use Auth::{AppRole, Kubernetes, Token};
    let other_kind = "is for another kind; set auth.kind, or leave it out";
    let parts = "has letters, digits, '.', '_' and '-', with '/' between its parts";
    let local = "must be env:// or file://: a secret manager cannot be reached with what only a secret manager knows";
    let cases = [
        (Token, "address", r#""vault.example.com""#, "must be a URL, for example \"https://login.example.com/\""),
        (Token, "address", r#""http://vault.example.com:8200""#, "plain http would show the secrets on their way; use https"),
        (Token, "address", r#""https://canary-vault:x@vault.example.com""#, "must not hold a user name or password"),
        (Token, "kv_version", "3", "must be from 1 to 2"),
        (Token, "namespace", r#""team a""#, parts),
        (Token, "namespace", r#""team-a/""#, parts),
        (Token, "auth.mount", r#""../sys""#, parts),
        (Token, "auth.role_id", r#""env://TEST_VAULT_ROLE_ID""#, other_kind),
        (Kubernetes, "auth.secret_id", r#""env://TEST_VAULT_SECRET_ID""#, other_kind),
        (AppRole, "auth.token", r#""env://VAULT_TOKEN""#, other_kind),
        (Token, "auth.kind", r#""aprole""#, "unknown variant, expected one of `token`, `approle`, `kubernetes`"),
        (AppRole, "auth.role_id", r#""vault://secret/ids#role_id""#, local),
        (AppRole, "auth.secret_id", "", "name where it is, for example \"file:///run/secrets/vault-secret-id\""),
        (
            AppRole,
            "auth.secret_id",
            r#""canary-vault-secret-id-0001""#,
            "this looks like a literal secret; write where the secret is instead: env://NAME, file:///path, vault://mount/path#field, aws-sm://name#field, azure-kv://vault/name or gcp-sm://project/name",
        ),
        (Kubernetes, "auth.role", "", "name the role that is bound to the pod's service account"),
    ];
    let wrong: Vec<_> = cases
        .into_iter()
        .filter_map(|(auth, key, value, sentence)| {
            let path = format!("secrets.vault.{key}");
            let lines = said(auth, |config| if value.is_empty() { config.unset(&path) } else { config.set(&path, value) });
            let expected = format!("{path}: {sentence}");
            (!lines.contains(&expected)).then(|| format!("expected {expected}\nsaid {lines:#?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
