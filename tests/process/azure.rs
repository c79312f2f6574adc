//! The configurations that the page on Azure shows and that the module for Container Apps writes.

use toml::{Table, Value};

use super::run::{FILE, ephemint};

const PAGE: &str = include_str!("../../deploy/docs/azure.md");
const TEMPLATE: &str = include_str!("../../deploy/azure/ephemint.toml.tftpl");
/// What a sample of the page leaves to its reader.
const REST: &str = r#"
[server]
public_url = "https://voice.example.com"
[privacy]
pseudonym_key = "env://EPHEMINT_PSEUDONYM_KEY"
[identity.jwt.main]
issuer = "https://login.example.com/"
audience = ["voice"]
"#;

/// What is between the fences, whatever they are indented by.
fn samples() -> Vec<Table> {
    let texts = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("an end"));
    texts.map(|text| toml::from_str(text).expect("TOML")).collect()
}

/// `sample` with all that it lacks, and a profile at its first upstream.
fn whole(sample: Table) -> Table {
    let mut whole: Table = toml::from_str(REST).expect("TOML");
    for (key, value) in sample {
        match (whole.get_mut(&key), value) {
            (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
            (_, value) => {
                whole.insert(key, value);
            }
        }
    }
    let openai = r#"openai.credential = { kind = "api_key", keys = ["env://OPENAI_API_KEY"] }"#;
    let openai: Table = toml::from_str(openai).expect("TOML");
    let upstreams = whole.entry("upstreams").or_insert(openai.into());
    let upstream = upstreams.as_table().and_then(|it| it.keys().next()).expect("an upstream").clone();
    let session = if upstream == "openai" { r#"{ type = "realtime", model = "m" }"# } else { r#"{ type = "realtime" }"# };
    let profile = format!("ttl_seconds = 60\nmax_ttl_seconds = 60\nupstream = \"{upstream}\"\nsession = {session}");
    let profiles: Table = toml::from_str(&format!("[default]\n{profile}")).expect("TOML");
    whole.entry("profiles").or_insert(profiles.into());
    whole
}

fn loads(text: &str) {
    let run = ephemint(&["config", "print", "--config", FILE]).file(FILE, text);
    let file = "/var/run/secrets/azure/tokens/azure-identity-token";
    run.env("AZURE_TENANT_ID", "t").env("AZURE_CLIENT_ID", "c").env("AZURE_FEDERATED_TOKEN_FILE", file).done().expect(0);
}

#[test]
fn every_sample_of_the_page_on_azure_loads() {
    let samples = samples();
    assert!(samples.len() > 5, "{samples:?}");
    for sample in samples {
        loads(&whole(sample).to_string());
    }
}

#[test]
fn the_configuration_that_the_module_for_container_apps_writes_loads() {
    let mut text = TEMPLATE.to_owned();
    for (name, value) in [
        ("config_dir", "/mnt/ephemint"),
        ("public_url", "https://ephemint.calm-sea.westeurope.azurecontainerapps.io"),
        ("allowed_origins", r#"["https://app.example.com"]"#),
        ("issuer", "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0"),
        ("audience", r#"["66666666-7777-8888-9999-000000000000"]"#),
        ("base_url", "https://ephemint-a1b2c3.openai.azure.com/openai/v1"),
        ("client_id", "99999999-8888-7777-6666-555555555555"),
        ("deployment", "voice"),
    ] {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    assert!(!text.contains("${"), "{text}");
    loads(&text);
}
