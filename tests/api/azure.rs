//! Azure OpenAI as the upstream: v1 and a preview version, with keys.

use serde_json::{Value, json};

use crate::support::azure_openai::{API_VERSION, AzureOpenAi, DEPLOYMENT, azure_error, missing_role, no_deployment, wrong_key};
use crate::support::{Config, Issuer, Reply, Service, error, eventually, secrets};

/// With the resource as its only upstream, and one profile of a realtime session with instructions and a tool.
fn config(issuer: &Issuer, azure: &AzureOpenAi) -> Config {
    Config::bare()
        .issuer("main", &issuer.url())
        .env("TEST_AZURE_KEY", secrets::AZURE_KEY)
        .env("TEST_AZURE_KEY_2", secrets::AZURE_KEY_2)
        .set("upstreams.azure.kind", r#""azure""#)
        .set("upstreams.azure.base_url", &format!("{:?}", azure.endpoint()))
        .set("upstreams.azure.session.model", &format!("{DEPLOYMENT:?}"))
        .set("upstreams.azure.credential", r#"{ kind = "api_key", keys = ["env://TEST_AZURE_KEY", "env://TEST_AZURE_KEY_2"] }"#)
        .profile("default")
        .unset("profiles.default.session.model")
        .set("profiles.default.upstream", r#""azure""#)
        .set("profiles.default.client_may_set", r#"["/audio/output/voice"]"#)
}

fn preview(config: Config) -> Config {
    config
        .set("upstreams.azure.api_version", &format!("{API_VERSION:?}"))
        .set("upstreams.azure.region", r#""swedencentral""#)
        .unset("profiles.default.ttl_seconds")
        .unset("profiles.default.max_ttl_seconds")
}

struct Place {
    service: Service,
    issuer: Issuer,
    azure: AzureOpenAi,
}

impl Place {
    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (issuer, azure) = (Issuer::start(), AzureOpenAi::start());
        let service = Service::start(&change(config(&issuer, &azure)));
        Self { service, issuer, azure }
    }

    async fn mint(&self) -> crate::support::Answer {
        self.service.mint(&self.issuer.bearer("alice")).await
    }

    async fn failures(&self, cause: &str) -> u64 {
        let metrics = self.service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200).text();
        let name = format!("ephemint_upstream_failures_total{{upstream=\"azure\",cause=\"{cause}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }
}

fn as_is(config: Config) -> Config {
    config
}

#[tokio::test]
async fn a_mint_is_asked_of_the_resource_in_v1_with_its_key_and_nothing_else() {
    let place = Place::with(as_is);
    let answer = place.mint().await;
    let minted = answer.expect_minted();
    let asked = place.azure.last();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/openai/v1/realtime/client_secrets"));
    assert_eq!((asked.header("api-key"), asked.header("authorization")), (Some(secrets::AZURE_KEY), None));
    for name in ["openai-safety-identifier", "openai-organization", "openai-project"] {
        assert_eq!(asked.header(name), None, "{name} is not Azure's");
    }
    let body = asked.json();
    assert_eq!((&body["session"]["model"], &body["session"]["type"]), (&json!(DEPLOYMENT), &json!("realtime")));
    assert_eq!(body["expires_after"], json!({"anchor": "created_at", "seconds": 120}));
    assert_eq!(minted["session"]["model"], DEPLOYMENT);
    let entry = place.service.audit_of(answer.request_id()).await;
    assert_eq!((&entry["upstream"], &entry["upstream_request_id"]), (&json!("azure"), &json!("apim-00000001")));
}

#[tokio::test]
async fn the_base_url_is_the_endpoint_as_the_portal_shows_it_or_the_whole_base() {
    for path in ["", "openai", "openai/", "openai/v1", "openai/v1/"] {
        let (issuer, azure) = (Issuer::start(), AzureOpenAi::start());
        let whole = format!("{:?}", format!("{}{path}", azure.endpoint()));
        let service = Service::start(&config(&issuer, &azure).set("upstreams.azure.base_url", &whole));
        let answer = service.mint(&issuer.bearer("alice")).await;
        let calls_url = answer.expect_minted()["ephemint"]["calls_url"].clone();
        assert_eq!(calls_url, format!("{}openai/v1/realtime/calls?webrtcfilter=on", azure.endpoint()), "{path}");
    }
}

#[tokio::test]
async fn browsers_get_few_events_unless_the_profile_says_otherwise_or_hides_nothing() {
    let plain = |config: Config| config.unset("profiles.default.session.instructions").unset("profiles.default.session.tools");
    let off = |config: Config| config.set("profiles.default.webrtc_filter", "false");
    let on = |config: Config| {
        let config = config.unset("profiles.default.session.instructions").unset("profiles.default.session.tools");
        config.set("profiles.default.webrtc_filter", "true")
    };
    let only_tools = |config: Config| config.unset("profiles.default.session.instructions");
    for (change, filter) in [
        (as_is as fn(Config) -> Config, "?webrtcfilter=on"),
        (plain, ""),
        (off, ""),
        (on, "?webrtcfilter=on"),
        (only_tools, "?webrtcfilter=on"),
    ] {
        let place = Place::with(change);
        let calls_url = place.mint().await.expect_minted()["ephemint"]["calls_url"].clone();
        assert_eq!(calls_url, format!("{}openai/v1/realtime/calls{filter}", place.azure.endpoint()));
    }
}

#[tokio::test]
async fn the_second_key_takes_over_from_the_first() {
    let place = Place::with(as_is);
    place.azure.revoke(secrets::AZURE_KEY);
    place.mint().await.expect_minted();
    place.mint().await.expect_minted();
    let keys: Vec<_> = place.azure.mints().iter().filter_map(|mint| mint.header("api-key").map(str::to_owned)).collect();
    assert_eq!(keys, [secrets::AZURE_KEY, secrets::AZURE_KEY_2, secrets::AZURE_KEY_2]);
    let report = place.service.admin(reqwest::Method::GET, "/admin/v1/credentials").send().await.expect(200).json();
    assert_eq!(report["upstreams"][0]["credentials"][0]["state"], "resting", "{report}");
}

#[tokio::test]
async fn a_preview_version_is_asked_in_its_own_form_and_gives_a_minute() {
    let place = Place::with(|config| {
        preview(config).set("profiles.default.session.audio.input.turn_detection", r#"{ type = "server_vad" }"#)
    });
    let answer = place.mint().await;
    let minted = answer.expect_minted();
    let asked = place.azure.last();
    assert_eq!(asked.target, format!("/openai/realtimeapi/sessions?api-version={API_VERSION}"));
    assert_eq!(
        asked.json(),
        json!({
            "model": DEPLOYMENT, "instructions": secrets::INSTRUCTIONS, "modalities": ["audio", "text"], "voice": "marin",
            "turn_detection": {"type": "server_vad"},
            "tools": [{"type": "function", "name": secrets::TOOL, "parameters": {"type": "object"}}],
        })
    );
    let calls_url = "https://swedencentral.realtimeapi-preview.ai.azure.com/v1/realtimertc?model=voice-deployment";
    assert_eq!(minted["ephemint"]["calls_url"], calls_url);
    assert_eq!(minted["session"]["audio"]["output"]["voice"], "marin");
    let lives = minted["expires_at"].as_i64().unwrap() - crate::support::now();
    assert!((50..=61).contains(&lives), "{lives}");
}

#[tokio::test]
async fn clients_of_a_preview_version_set_what_it_knows_and_ask_for_no_more_than_a_minute() {
    let place = Place::with(preview);
    let token = place.issuer.bearer("alice");
    let ask = async |body: &Value| place.service.mint_with(&token, body).await;
    ask(&json!({"session": {"audio": {"output": {"voice": "cedar"}}}})).await.expect_minted();
    assert_eq!(place.azure.last().json()["voice"], "cedar");
    ask(&json!({"expires_after": {"anchor": "created_at", "seconds": 60}})).await.expect_minted();
    let before = place.azure.mints().len();
    let refused = ask(&json!({"expires_after": {"anchor": "created_at", "seconds": 61}})).await;
    refused.expect_problem(400, "ttl_out_of_range");
    assert!(refused.json()["detail"].as_str().unwrap().contains("60 seconds"), "{refused}");
    let custom_voice = json!({"session": {"audio": {"output": {"voice": {"id": "voice_1"}}}}});
    ask(&custom_voice).await.expect_problem(403, "session_field_not_allowed");
    assert_eq!(place.azure.mints().len(), before, "what cannot be is asked of nobody");
}

#[tokio::test]
async fn callers_cannot_tell_a_wrong_key_from_a_missing_role_and_operators_can() {
    for (reply, words, label) in [
        (wrong_key(), "base_url is another resource's", "key_or_endpoint"),
        (missing_role(), "Cognitive Services OpenAI User", "role"),
        (
            azure_error(401, "PermissionDenied", "The principal `x` lacks the required data action `y` to perform `z`."),
            "Cognitive Services OpenAI User",
            "role",
        ),
        (azure_error(401, "401", "Token tenant a does not match resource tenant."), "another tenant", "tenant"),
    ] {
        let place = Place::with(as_is);
        place.azure.always(reply);
        let answer = place.mint().await;
        answer.expect_problem(502, "upstream_auth_failed");
        let told = answer.json()["detail"].clone();
        assert_eq!(told, wrong_key_detail().await, "{label}");
        let entry = place.service.audit_of(answer.request_id()).await;
        assert!(entry["cause"].as_str().unwrap().contains(words), "{entry}");
        assert!(place.failures(label).await > 0, "{label}");
    }
}

async fn wrong_key_detail() -> Value {
    let place = Place::with(as_is);
    place.azure.always(wrong_key());
    place.mint().await.json()["detail"].clone()
}

#[tokio::test]
async fn a_missing_deployment_is_named_to_the_operator_with_the_five_minutes() {
    let place = Place::with(as_is);
    place.azure.always(no_deployment());
    let answer = place.mint().await;
    answer.expect_problem(502, "upstream_rejected");
    assert!(!answer.text().contains(DEPLOYMENT), "{answer}");
    let entry = place.service.audit_of(answer.request_id()).await;
    let cause = entry["cause"].as_str().unwrap();
    assert!(cause.contains(DEPLOYMENT) && cause.contains("five minutes"), "{cause}");
    assert_eq!(entry["upstream_request_id"], "apim-refused");
    assert_eq!(place.failures("deployment").await, 1);
}

#[tokio::test]
async fn headers_about_rates_that_say_nothing_are_not_believed() {
    for (name, value) in
        [("retry-after", "-1"), ("retry-after", "0"), ("retry-after-ms", "-1"), ("x-ratelimit-remaining-requests", "-1")]
    {
        let place = Place::with(|config| config.set("upstreams.azure.max_attempts", "1"));
        place.azure.always(azure_error(429, "429", "Requests have exceeded call rate limit.").header(name, value));
        let answer = place.mint().await;
        answer.expect_problem(503, "upstream_rate_limited");
        assert!(answer.retry_after() >= 1, "{name}: {value}");
    }
}

#[tokio::test]
async fn other_refusals_of_azure_have_their_codes() {
    for (reply, code) in [
        (
            azure_error(403, "AuthenticationTypeDisabled", "Key based authentication is disabled for this resource."),
            "upstream_permission_denied",
        ),
        (azure_error(403, "403", "Access denied due to Virtual Network/Firewall rules."), "upstream_permission_denied"),
        (azure_error(404, "404", "Resource not found"), "upstream_rejected"),
        (azure_error(400, "BadRequest", "Unknown parameter."), "upstream_rejected"),
        (Reply::text(401, "text/html", "<html>"), "upstream_auth_failed"),
        (error(403, "forbidden", "forbidden"), "upstream_permission_denied"),
    ] {
        let place = Place::with(as_is);
        place.azure.always(reply);
        place.mint().await.expect_problem(502, code);
    }
}

#[tokio::test]
async fn a_key_is_put_in_use_only_if_the_resource_knows_it() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, secrets::AZURE_KEY).expect("the key");
    let keys = format!(r#"{{ kind = "api_key", keys = ["file://{}"] }}"#, file.display());
    let place = Place::with(|config| config.set("upstreams.azure.credential", &keys));
    place.mint().await.expect_minted();
    let entry = async |outcome: &str| {
        let found = async || place.service.audit().into_iter().find(|entry| entry["outcome"] == outcome);
        eventually(outcome, 10, found).await
    };
    std::fs::write(&file, "canary0azure0resource0key0unknown").expect("the key");
    entry("new_key_refused").await;
    std::fs::write(&file, secrets::AZURE_KEY_2).expect("the key");
    entry("rotated").await;
    place.mint().await.expect_minted();
    assert_eq!(place.azure.last().header("api-key"), Some(secrets::AZURE_KEY_2));
}
