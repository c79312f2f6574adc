//! Several upstreams of one profile: the next one serves when one cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::support::azure_openai::{AzureOpenAi, DEPLOYMENT, azure_error, missing_role, no_deployment};
use crate::support::{Answer, Config, Issuer, Reply, Service, Upstream, error, eventually, secrets};

const CALLERS: u32 = 8;
const PACE: Duration = Duration::from_millis(40);

/// Two resources at Azure, then OpenAI.
struct Three {
    service: Service,
    issuer: Issuer,
    sweden: AzureOpenAi,
    eastus: AzureOpenAi,
    openai: Upstream,
}

fn azure(config: Config, name: &str, azure: &AzureOpenAi) -> Config {
    config
        .env("TEST_AZURE_KEY", secrets::AZURE_KEY)
        .set(&format!("upstreams.{name}.kind"), r#""azure""#)
        .set(&format!("upstreams.{name}.base_url"), &format!("{:?}", azure.endpoint()))
        .set(&format!("upstreams.{name}.session.model"), &format!("{DEPLOYMENT:?}"))
        .set(&format!("upstreams.{name}.credential"), r#"{ kind = "api_key", keys = ["env://TEST_AZURE_KEY"] }"#)
        .set(&format!("upstreams.{name}.timeout_seconds"), "2")
}

impl Three {
    fn start() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (issuer, openai, sweden, eastus) = (Issuer::start(), Upstream::start(), AzureOpenAi::start(), AzureOpenAi::start());
        let config = azure(azure(Config::new(&issuer, &openai), "azure-sweden", &sweden), "azure-eastus", &eastus)
            .set("profiles.default.upstream", r#"["azure-sweden", "azure-eastus", "openai"]"#)
            .unset("profiles.default.session.model")
            .set("profiles.default.sessions.openai.model", r#""gpt-realtime-2.1""#);
        Self { service: Service::start(&change(config)), issuer, sweden, eastus, openai }
    }

    async fn mint(&self) -> Answer {
        self.service.mint(&self.issuer.bearer("alice")).await
    }

    /// Which upstream minted, by the audit entry.
    async fn served(&self, answer: &Answer) -> Value {
        answer.expect_minted();
        self.service.audit_of(answer.request_id()).await["upstream"].clone()
    }
}

#[tokio::test]
async fn the_first_upstream_serves_as_long_as_it_can() {
    let three = Three::start();
    for _ in 0..5 {
        let answer = three.mint().await;
        assert_eq!(three.served(&answer).await, "azure-sweden");
    }
    assert_eq!((three.eastus.mints().len(), three.openai.count()), (0, 0));
}

#[tokio::test]
async fn a_profile_over_three_upstreams_survives_the_loss_of_two() {
    let three = Three::start();
    three.sweden.refuse();
    let answer = three.mint().await;
    assert_eq!(three.served(&answer).await, "azure-eastus");
    let calls_url = answer.json()["ephemint"]["calls_url"].clone();
    assert_eq!(calls_url, format!("{}openai/v1/realtime/calls?webrtcfilter=on", three.eastus.endpoint()));
    three.eastus.always(azure_error(500, "InternalServerError", "Oops."));
    let answer = three.mint().await;
    assert_eq!(three.served(&answer).await, "openai");
    assert_eq!(answer.json()["ephemint"]["calls_url"], format!("{}/realtime/calls", three.openai.base_url()));
    assert_eq!(three.openai.last().json()["session"]["model"], "gpt-realtime-2.1", "the deployment's name stays at Azure");
    assert_eq!(three.openai.last().bearer(), secrets::PRIMARY_KEY);
    // The session knows whose call to hang up.
    let session = answer.json()["ephemint"]["session_id"].as_str().unwrap().to_owned();
    let bearer = three.issuer.bearer("alice");
    three.service.report(&session, "rtc_canary", &bearer).await.expect(204);
    three.service.delete(&format!("/v1/sessions/{session}"), &bearer).await.expect(204);
    eventually("the call is hung up", 10, async || (!three.openai.hang_ups().is_empty()).then_some(())).await;
}

#[tokio::test]
async fn whatever_keeps_an_upstream_from_serving_moves_on_to_the_next() {
    for reply in [
        azure_error(429, "429", "Requests have exceeded call rate limit.").header("retry-after", "30"),
        azure_error(503, "ServiceUnavailable", "x"),
        azure_error(408, "Timeout", "x"),
        missing_role(),
        no_deployment(),
        azure_error(403, "403", "Access denied due to Virtual Network/Firewall rules."),
        azure_error(429, "insufficient_quota", "x"),
        Reply::text(200, "text/html", "<html>"),
        Reply::json(200, &json!({"expires_at": 1})),
        Reply::never(),
    ] {
        let three = Three::start();
        three.sweden.always(reply.clone());
        let answer = three.mint().await;
        assert_eq!(three.served(&answer).await, "azure-eastus", "{reply:?}");
    }
    let three = Three::start();
    three.sweden.revoke(secrets::AZURE_KEY);
    let answer = three.mint().await;
    assert_eq!(three.served(&answer).await, "azure-eastus");
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_asked_of_nobody_else() {
    let three = Three::start();
    three.sweden.always(azure_error(400, "invalid_value", "Invalid voice."));
    three.mint().await.expect_problem(502, "upstream_rejected");
    assert_eq!((three.eastus.mints().len(), three.openai.count()), (0, 0));
}

#[tokio::test]
async fn when_none_can_serve_the_entry_says_what_became_of_each() {
    let three = Three::start();
    three.sweden.refuse();
    three.eastus.always(missing_role());
    three.openai.always(error(500, "server_error", "server_error"));
    let answer = three.mint().await;
    answer.expect_problem(503, "upstream_unavailable");
    let entry = three.service.audit_of(answer.request_id()).await;
    let cause = entry["cause"].as_str().unwrap();
    for words in ["azure-sweden: ", "azure-eastus: ", "Cognitive Services OpenAI User", "openai: ", "status 500"] {
        assert!(cause.contains(words), "{cause}");
    }
    three.openai.always(None);
    assert_eq!(three.served(&three.mint().await).await, "openai");
}

#[tokio::test]
async fn what_a_client_sets_is_asked_of_each_upstream_beside_what_is_that_upstreams_own() {
    let three = Three::with(|config| {
        config
            .set("profiles.default.client_may_set", r#"["/audio/output/voice", "/audio/output/speed"]"#)
            .set("profiles.default.sessions.openai.audio", "{ output = { speed = 1.25 } }")
    });
    three.sweden.refuse();
    three.eastus.refuse();
    let bearer = three.issuer.bearer("alice");
    // The first upstream's model is what the client may repeat; it is not asked of another one.
    let body = json!({"session": {"model": DEPLOYMENT, "audio": {"output": {"voice": "cedar"}}}});
    three.service.mint_with(&bearer, &body).await.expect_minted();
    let asked = three.openai.last().json();
    assert_eq!(asked["session"]["model"], "gpt-realtime-2.1");
    assert_eq!(asked["session"]["audio"]["output"], json!({"voice": "cedar", "speed": 1.25}));
    let other = json!({"session": {"model": "gpt-realtime-2.1"}});
    three.service.mint_with(&bearer, &other).await.expect_problem(403, "session_field_not_allowed");
}

#[tokio::test]
async fn an_upstream_that_fails_again_and_again_is_left_alone_and_taken_back_when_it_answers() {
    let three = Three::start();
    three.sweden.always(azure_error(503, "ServiceUnavailable", "x"));
    for _ in 0..20 {
        three.mint().await.expect_minted();
    }
    assert_eq!(three.sweden.mints().len(), 5, "after five failures nobody asks");
    let metrics = three.service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200).text();
    assert!(metrics.contains("ephemint_upstream_open{upstream=\"azure-sweden\"} 1"), "{metrics}");
    three.sweden.always(None);
    let back = async || (three.served(&three.mint().await).await == "azure-sweden").then_some(());
    eventually("it serves again", 15, back).await;
    let metrics = three.service.admin(reqwest::Method::GET, "/metrics").send().await.expect(200).text();
    assert!(metrics.contains("ephemint_upstream_open{upstream=\"azure-sweden\"} 0"), "{metrics}");
}

#[tokio::test]
async fn an_upstream_without_capacity_is_left_alone_for_as_long_as_it_asks() {
    let three = Three::start();
    three.sweden.always(azure_error(429, "429", "x").header("retry-after", "60"));
    for _ in 0..5 {
        let answer = three.mint().await;
        assert_eq!(three.served(&answer).await, "azure-eastus");
    }
    assert_eq!(three.sweden.mints().len(), 1);
}

#[tokio::test]
async fn a_deployment_that_is_gone_is_left_alone_and_others_of_its_resource_are_not() {
    let three = Three::with(|config| {
        config
            .set("profiles.gone.upstream", r#"["azure-sweden", "azure-eastus"]"#)
            .set("profiles.gone.session", r#"{ type = "realtime" }"#)
            .set("profiles.gone.sessions.azure-sweden.model", r#""gone""#)
    });
    let bearer = three.issuer.bearer("alice");
    let mint = async |profile| three.service.mint_from(profile, &bearer).await;
    for _ in 0..5 {
        assert_eq!(three.served(&mint("gone").await).await, "azure-eastus");
    }
    assert_eq!(three.sweden.mints().len(), 1);
    assert_eq!(three.served(&mint("default").await).await, "azure-sweden");
    // Where nobody else serves, it is asked all the same.
    three.eastus.refuse();
    let answer = mint("gone").await;
    answer.expect_problem(503, "upstream_unavailable");
    let entry = three.service.audit_of(answer.request_id()).await;
    let cause = entry["cause"].as_str().unwrap();
    assert!(cause.contains("azure-sweden: ") && cause.contains("(gone)"), "{cause}");
    assert_eq!(three.sweden.mints().len(), 3);
}

/// A client that may choose asks for what is nowhere.
#[tokio::test]
async fn a_deployment_that_a_client_makes_up_is_named_to_the_operator_and_costs_others_nothing() {
    let three = Three::with(|config| config.set("profiles.default.client_may_set", r#"["/model"]"#));
    let bearer = three.issuer.bearer("alice");
    three.openai.always(error(404, "invalid_request_error", "model_not_found"));
    let answer = three.service.mint_with(&bearer, &json!({"session": {"model": "made-up"}})).await;
    answer.expect_problem(502, "upstream_rejected");
    let entry = three.service.audit_of(answer.request_id()).await;
    assert_eq!(entry["cause"].as_str().unwrap().matches("(made-up)").count(), 3, "{entry}");
    assert_eq!(three.served(&three.mint().await).await, "azure-sweden");
}

#[tokio::test]
async fn a_model_that_openai_does_not_have_is_asked_for_at_the_next_upstream() {
    let three = Three::with(|config| config.set("profiles.default.upstream", r#"["openai", "azure-sweden", "azure-eastus"]"#));
    three.openai.always(error(404, "invalid_request_error", "model_not_found"));
    for _ in 0..3 {
        assert_eq!(three.served(&three.mint().await).await, "azure-sweden");
    }
    assert_eq!(three.openai.count(), 1);
}

/// The second is known to hang, and the first has not what is asked for.
#[tokio::test]
async fn an_upstream_that_is_not_the_first_is_left_alone_too() {
    let three = Three::start();
    three.sweden.always(no_deployment());
    three.eastus.always(azure_error(503, "ServiceUnavailable", "x"));
    for _ in 0..8 {
        three.mint().await.expect_minted();
    }
    assert_eq!(three.eastus.mints().len(), 5);
    // From time to time one finds out whether it is back, and no more than one.
    let tried = async || {
        three.mint().await.expect_minted();
        (three.eastus.mints().len() > 5).then_some(())
    };
    eventually("it is tried again", 10, tried).await;
    for _ in 0..10 {
        three.mint().await.expect_minted();
    }
    assert_eq!(three.eastus.mints().len(), 6);
}

#[tokio::test]
async fn an_attempt_that_hangs_takes_no_time_from_another_upstream_s() {
    let three = Three::with(|config| {
        config.set("profiles.default.upstream", r#"["azure-sweden", "azure-eastus"]"#).without("profiles.default.sessions.openai")
    });
    three.sweden.next(azure_error(503, "ServiceUnavailable", "x"));
    three.eastus.always(Reply::never());
    let answer = three.mint().await;
    assert_eq!(three.served(&answer).await, "azure-sweden", "its second attempt is due while the other one hangs");
    assert_eq!(three.sweden.mints().len(), 2);
}

#[tokio::test]
async fn what_a_client_may_not_set_at_one_upstream_it_sets_at_none() {
    let three = Three::with(|config| {
        config
            .set("profiles.default.client_may_set", r#"["/tool_choice/name"]"#)
            .set("profiles.default.session.tool_choice", r#"{ type = "function", name = "f" }"#)
            .set("profiles.default.sessions.openai.tool_choice", r#""none""#)
    });
    let bearer = three.issuer.bearer("alice");
    let refused = three.service.mint_with(&bearer, &json!({"session": {"tool_choice": {"name": "g"}}})).await;
    refused.expect_problem(403, "session_field_not_allowed");
    assert_eq!((three.sweden.mints().len(), three.openai.count()), (0, 0));
}

#[tokio::test]
async fn a_value_that_a_client_may_set_goes_along_though_it_is_the_first_upstream_s_own() {
    let three = Three::with(|config| config.set("profiles.default.sessions.openai.audio", "{ output = { voice = \"cedar\" } }"));
    three.sweden.refuse();
    three.eastus.refuse();
    let body = json!({"session": {"audio": {"output": {"voice": "marin"}}}});
    three.service.mint_with(&three.issuer.bearer("alice"), &body).await.expect_minted();
    assert_eq!(three.openai.last().json()["session"]["audio"]["output"]["voice"], "marin");
}

#[tokio::test]
async fn a_key_that_is_just_being_replaced_is_waited_for_when_no_other_upstream_serves() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, secrets::PRIMARY_KEY).expect("the key");
    let keys = format!(r#"{{ keys = ["file://{}"] }}"#, file.display());
    let three = Three::with(|config| {
        config.set("upstreams.openai.credential", &keys).set("profiles.default.upstream", r#"["openai", "azure-sweden"]"#)
    });
    three.mint().await.expect_minted();
    three.sweden.refuse();
    std::fs::write(&file, secrets::FALLBACK_KEY).expect("the key");
    three.openai.revoke(secrets::PRIMARY_KEY);
    let answer = three.mint().await;
    assert_eq!(three.served(&answer).await, "openai");
}

/// One of Azure's gateways writes so, another so.
#[tokio::test]
async fn another_tenant_and_a_path_that_is_not_there_are_of_the_upstream() {
    let gateway = |status: u16, message: &str| Reply::json(status, &json!({"statusCode": status, "message": message}));
    for reply in [
        azure_error(400, "400", "Token tenant a does not match resource tenant."),
        gateway(404, "Resource not found"),
        gateway(
            401,
            "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or have expired.",
        ),
    ] {
        let three = Three::start();
        three.sweden.always(reply.clone());
        let answer = three.mint().await;
        assert_eq!(three.served(&answer).await, "azure-eastus", "{reply:?}");
    }
}

/// The first goes away and comes back, again and again.
#[tokio::test]
async fn under_load_no_mint_is_lost_when_one_of_two_goes_down() {
    let three = Arc::new(Three::with(|config| {
        config.set("profiles.default.upstream", r#"["azure-sweden", "azure-eastus"]"#).without("profiles.default.sessions.openai")
    }));
    let (is_over, minted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let caller = |number: u32| {
        let (three, is_over, minted) = (three.clone(), is_over.clone(), minted.clone());
        tokio::spawn(async move {
            let token = three.issuer.bearer(&format!("caller-{number}"));
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_over.load(Ordering::Relaxed) {
                pace.tick().await;
                three.service.mint(&token).await.expect_minted();
                minted.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(caller).collect();
    for reply in [None, Some(azure_error(503, "ServiceUnavailable", "x")), Some(Reply::never())] {
        sleep(Duration::from_millis(500)).await;
        match reply {
            None => three.sweden.refuse(),
            Some(reply) => three.sweden.always(reply),
        }
        sleep(Duration::from_millis(1500)).await;
        three.sweden.always(None);
        three.sweden.up();
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no mint failed");
    }
    let (minted, elsewhere) = (minted.load(Ordering::Relaxed), three.eastus.mints().len());
    assert!(minted > 300 && elsewhere > 50, "{minted} mints, {elsewhere} at the second");
}
