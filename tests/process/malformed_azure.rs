//! Upstreams at Azure that cannot be: each is refused with its key and what to do.

use super::run::{good, serve};
use crate::support::{Config, secrets};

const KEYS: &str = r#"{ kind = "api_key", keys = ["env://TEST_AZURE_KEY"] }"#;

/// The profile's first upstream is a resource at Azure.
fn at_azure() -> Config {
    good()
        .env("TEST_AZURE_KEY", secrets::AZURE_KEY)
        .set("upstreams.azure.kind", r#""azure""#)
        .set("upstreams.azure.base_url", r#""https://RESOURCE.openai.azure.com""#)
        .set("upstreams.azure.credential", KEYS)
        .set("profiles.default.upstream", r#""azure""#)
}

fn preview() -> Config {
    at_azure()
        .set("upstreams.azure.api_version", r#""2025-04-01-preview""#)
        .set("upstreams.azure.region", r#""swedencentral""#)
        .set("profiles.default.ttl_seconds", "60")
        .set("profiles.default.max_ttl_seconds", "60")
}

/// Where a value is written, the value, the key in the message (`""`: the same), words of the cause.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[track_caller]
fn refuses(config: fn() -> Config, rows: &[Row]) {
    for (path, value, key, words) in rows {
        eprintln!("{path} = {value}");
        let key = if key.is_empty() { path } else { key };
        serve(&config().set(path, value)).done().expect_problem(key, words);
    }
}

#[test]
fn an_endpoint_is_one_of_a_resource() {
    serve(&at_azure().unset("upstreams.azure.base_url"))
        .done()
        .expect_problem("upstreams.azure.base_url", "name the resource's endpoint");
    refuses(
        at_azure,
        &[
            ("upstreams.azure.base_url", r#""RESOURCE.openai.azure.com""#, "", "URL"),
            (
                "upstreams.azure.base_url",
                r#""https://RESOURCE.openai.azure.com/openai/deployments/voice""#,
                "",
                "cut it behind the host",
            ),
            ("upstreams.azure.region", r#""swedencentral""#, "", "is for api_version"),
            ("upstreams.azure.api_version", r#""2025-04-01-preview""#, "upstreams.azure.region", "name the resource's region"),
            ("upstreams.azure.organization", r#""org-a""#, "", "is for kind = \"openai\""),
            ("upstreams.azure.project", r#""proj_a""#, "", "is for kind = \"openai\""),
            ("upstreams.openai.api_version", r#""2025-04-01-preview""#, "", "is for kind = \"azure\""),
        ],
    );
    refuses(
        preview,
        &[
            ("upstreams.azure.api_version", r#""v1&x=y""#, "", "must be a version"),
            ("upstreams.azure.region", r#""evil.example/""#, "", "must be a region as Azure writes it"),
        ],
    );
}

#[test]
fn a_session_is_one_that_the_upstream_can_be_told() {
    refuses(
        at_azure,
        &[
            ("profiles.default.api", r#""translation""#, "", "has no translation sessions"),
            ("profiles.default.upstream", r#"["azure", "azure"]"#, "", "names an upstream twice"),
            ("profiles.default.upstream", r#"["azure", "nowhere"]"#, "", "name one of the upstreams: azure, openai"),
            ("profiles.default.upstream", "[]", "", "name one of the upstreams"),
            ("profiles.default.sessions.openai", "{ model = \"m\" }", "", "does not use"),
        ],
    );
    refuses(
        preview,
        &[
            ("profiles.default.session.tracing", r#""auto""#, "", "has no counterpart in the api_version"),
            ("profiles.default.ttl_seconds", "120", "", "60"),
            (
                "profiles.default.client_may_set",
                r#"["/model"]"#,
                "profiles.default.client_may_set[0]",
                "cannot be set by clients",
            ),
        ],
    );
    let filtered = good().set("profiles.default.webrtc_filter", "true");
    serve(&filtered).done().expect_problem("profiles.default.webrtc_filter", "is for upstreams of kind \"azure\"");
}

#[test]
fn a_credential_has_what_its_kind_needs_and_nothing_else() {
    const CREDENTIAL: &str = "upstreams.azure.credential";
    for (credential, key, words) in [
        (r#"{ kind = "api_key" }"#, "keys", "name at least one key"),
        (r#"{ kind = "api_key", keys = ["env://TEST_AZURE_KEY"], scope = "https://a/.default" }"#, "scope", "another kind"),
        (r#"{ kind = "managed_identity", keys = ["env://TEST_AZURE_KEY"] }"#, "keys", "another kind"),
        (r#"{ kind = "managed_identity", subject = { kind = "file" } }"#, "subject", "another kind"),
        (r#"{ kind = "managed_identity", tenant_id = "t" }"#, "tenant_id", "is not for managed_identity"),
        (r#"{ kind = "managed_identity", scope = "https://cognitiveservices.azure.com" }"#, "scope", "/.default"),
        (r#"{ kind = "client_secret", certificate = "file:///a" }"#, "certificate", "another kind"),
        (r#"{ kind = "client_secret", client_id = "a/b" }"#, "client_id", "must be an id"),
        (r#"{ kind = "client_certificate", federated_token = "file:///a" }"#, "federated_token", "another kind"),
        (r#"{ kind = "client_certificate", authority = "http://login.example.com" }"#, "authority", "https"),
        (r#"{ kind = "workload_identity", client_secret = "env://A" }"#, "client_secret", "another kind"),
        (r#"{ kind = "password" }"#, "kind", "`managed_identity`"),
    ] {
        eprintln!("{credential}");
        serve(&at_azure().set(CREDENTIAL, credential)).done().expect_problem(&format!("{CREDENTIAL}.{key}"), words);
    }
    let twice = r#"{ kind = "on_behalf_of", client_secret = "env://A", certificate = "file:///a" }"#;
    serve(&at_azure().set(CREDENTIAL, twice)).done().expect_problem(CREDENTIAL, "in more than one way");
    let openai_key = at_azure().env("TEST_AZURE_KEY", secrets::PRIMARY_KEY);
    serve(&openai_key).done().expect_problem(&format!("{CREDENTIAL}.keys[0]"), "is a key of OpenAI's own");
    let at_openai = good().set("upstreams.openai.credential", r#"{ kind = "managed_identity" }"#);
    serve(&at_openai).done().expect_problem("upstreams.openai.credential.kind", "is for upstreams of kind \"azure\"");
    let mixed = at_azure()
        .set(CREDENTIAL, r#"{ kind = "on_behalf_of", tenant_id = "t", client_id = "c" }"#)
        .set("profiles.default.upstream", r#"["azure", "openai"]"#);
    serve(&mixed).done().expect_problem("profiles.default.upstream", "mixes upstreams with and without on_behalf_of");
}
