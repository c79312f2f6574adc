//! Workload identity: no permanent key anywhere, a token of the platform is traded for a credential that expires.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::{Config, Reply, Request, Responder, Scope, Service, World, error, eventually};
use crate::{KeyFile, count, credentials, entries, fingerprint, is_logged};

const SUBJECT: &str = "canary-subject-token.e30.x";

/// A fake of the token exchange and of both metadata services: what it gives out is numbered.
struct Platform {
    responder: Responder,
    given: Arc<AtomicU32>,
    lifetime: Arc<AtomicU64>,
    broken: Arc<Mutex<Option<Reply>>>,
}

/// What the exchange gives out.
fn bearer(number: u32) -> String {
    format!("canary-permanent-key-of-a-workload-{number:04}")
}

impl Platform {
    fn start() -> Self {
        let (given, lifetime, broken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(3600)), Arc::new(Mutex::new(None)));
        let (count, seconds, out) = (given.clone(), lifetime.clone(), broken.clone());
        let answer = move |request: &Request| match request.target.split('?').next().unwrap_or_default() {
            "/oauth/token" => {
                if let Some(reply) = Option::<Reply>::clone(&out.lock().unwrap()) {
                    return reply;
                }
                if request.json()["subject_token"] != SUBJECT {
                    return Reply::json(
                        401,
                        &json!({"error": "invalid_subject_token", "error_description": "canary-upstream-message"}),
                    );
                }
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                Reply::json(200, &json!({"access_token": bearer(number), "expires_in": seconds.load(Ordering::SeqCst)}))
            }
            "/metadata/identity/oauth2/token" if request.header("metadata") == Some("true") => {
                Reply::json(200, &json!({"access_token": SUBJECT, "expires_in": "3599", "token_type": "Bearer"}))
            }
            "/computeMetadata/v1/instance/service-accounts/default/identity"
                if request.header("metadata-flavor") == Some("Google") =>
            {
                Reply::text(200, "text/html", SUBJECT)
            }
            _ => Reply::new(404),
        };
        Self { responder: Responder::start(answer), given, lifetime, broken }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.responder.address())
    }

    fn breaks(&self, reply: impl Into<Option<Reply>>) {
        *self.broken.lock().unwrap() = reply.into();
    }

    fn configure(&self, config: Config, subject: &str) -> Config {
        let credential = format!(
            r#"{{ kind = "workload_identity", identity_provider_id = "idp_1", service_account_id = "svc_1", auth_url = "{}/oauth/token", subject = {subject} }}"#,
            self.origin()
        );
        config.set("upstreams.openai.credential", &credential)
    }

    /// A service whose subject is in a file; the upstream knows what is given out.
    fn world(&self, file: &KeyFile) -> World {
        let world =
            World::with(|config| self.configure(config, &format!(r#"{{ kind = "file", token = "{}" }}"#, file.reference())));
        world.service.guard("the subject token", SUBJECT, Scope::Everywhere);
        (1..100).for_each(|number| world.upstream.accept(&bearer(number)));
        world
    }
}

#[tokio::test]
async fn a_token_in_a_file_is_traded_as_the_provider_documents_it() {
    let (platform, file) = (Platform::start(), KeyFile::holding(SUBJECT));
    let world = platform.world(&file);
    world.service.mint(&world.bearer("alice")).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), bearer(1));
    let asked = &platform.responder.requests()[0];
    assert_eq!((asked.method.as_str(), asked.header("content-type")), ("POST", Some("application/json")));
    assert_eq!(
        asked.json(),
        json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": SUBJECT,
            "identity_provider_id": "idp_1",
            "service_account_id": "svc_1",
        })
    );
    for _ in 0..10 {
        world.service.mint(&world.bearer("alice")).await.expect_minted();
    }
    assert_eq!(platform.given.load(Ordering::SeqCst), 1, "no mint trades anything");
    let shown = credentials(&world.service).await;
    assert_eq!((&shown["kind"], &shown["in_use"]), (&json!("workload_identity"), &json!(fingerprint(&bearer(1)))));
    assert!(
        shown["credentials"][0]["expires_at"].as_i64().is_some_and(|at| (3500..=3600).contains(&(at - crate::support::now())))
    );
}

#[tokio::test]
async fn the_metadata_services_of_azure_and_google_give_the_subject() {
    for (kind, target, token_type) in [
        (
            "azure",
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fapi.openai.com%2Fv1&client_id=uami",
            "jwt",
        ),
        (
            "google",
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience=https%3A%2F%2Fapi.openai.com%2Fv1&format=full",
            "id_token",
        ),
    ] {
        let platform = Platform::start();
        let client = if kind == "azure" { r#", client_id = "uami""# } else { "" };
        let subject = format!(r#"{{ kind = "{kind}", endpoint = "{}"{client} }}"#, platform.origin());
        let world = World::with(|config| platform.configure(config, &subject));
        world.upstream.accept(&bearer(1));
        world.service.mint(&world.bearer("alice")).await.expect_minted();
        let asked = platform.responder.requests();
        assert_eq!(asked[0].target, target);
        assert_eq!(asked[1].json()["subject_token_type"], format!("urn:ietf:params:oauth:token-type:{token_type}"));
    }
}

#[tokio::test]
async fn what_was_traded_is_traded_anew_before_it_expires() {
    let (platform, file) = (Platform::start(), KeyFile::holding(SUBJECT));
    platform.lifetime.store(2, Ordering::SeqCst);
    let world = platform.world(&file);
    let token = world.bearer("alice");
    let is_renewed = async || {
        world.service.mint(&token).await.expect_minted();
        (platform.given.load(Ordering::SeqCst) >= 4).then_some(())
    };
    eventually("it is renewed several times", 15, is_renewed).await;
    eventually("it is written down", 5, async || (entries(&world.service, "exchanged").len() >= 4).then_some(())).await;
}

#[tokio::test]
async fn during_an_outage_the_last_one_is_used_until_it_expires_and_then_nobody_is_minted_for() {
    let (platform, file) = (Platform::start(), KeyFile::holding(SUBJECT));
    platform.lifetime.store(6, Ordering::SeqCst);
    let world = platform.world(&file);
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    platform.breaks(error(500, "server_error", "server_error"));
    eventually("the outage is noticed", 10, async || (count(&world.service, "refused").await > 0).then_some(())).await;
    world.service.mint(&token).await.expect_minted();
    let is_out = async || (world.service.mint(&token).await.code() == "credential_unavailable").then_some(());
    eventually("it has expired", 20, is_out).await;
    let answer = world.service.mint(&token).await;
    answer.expect_problem(503, "credential_unavailable");
    assert_eq!(answer.retry_after(), 5);
    assert_eq!(credentials(&world.service).await["credentials"][0]["state"], "missing");
    platform.breaks(None);
    let is_back = async || (world.service.mint(&token).await.status == 200).then_some(());
    eventually("it is traded again", 40, is_back).await;
}

#[tokio::test]
async fn a_bearer_that_the_provider_refuses_is_replaced_in_the_same_request() {
    let (platform, file) = (Platform::start(), KeyFile::holding(SUBJECT));
    let world = platform.world(&file);
    let token = world.bearer("alice");
    world.service.mint(&token).await.expect_minted();
    world.upstream.revoke(&bearer(1));
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), bearer(2));
}

#[tokio::test]
async fn why_nothing_is_traded_is_said_without_a_word_of_what_was_answered() {
    for (reply, words) in [
        (
            Reply::json(403, &json!({"error": "invalid_grant", "error_description": "canary-upstream-message"})),
            "status 403, invalid_grant",
        ),
        (Reply::text(502, "text/html", "<p>canary-upstream-message</p>"), "status 502"),
        (Reply::json(200, &json!({"access_token": "canary-permanent-key"})), "another form than documented"),
        (Reply::json(200, &json!({"access_token": "canary-permanent-key", "expires_in": 0})), "a lifetime that cannot be"),
        (
            Reply::json(200, &json!({"access_token": "canary-permanent-key\r\nx: y", "expires_in": 60})),
            "cannot be sent in a header",
        ),
        (Reply::json(307, &json!({})).header("location", "http://127.0.0.1:9/"), "status 307"),
    ] {
        let (platform, file) = (Platform::start(), KeyFile::holding(SUBJECT));
        platform.breaks(reply);
        let world = platform.world(&file);
        let cause = async || {
            let shown = credentials(&world.service).await;
            shown["credentials"][0]["last_failure"]["cause"].as_str().map(str::to_owned)
        };
        let cause = eventually("it is said", 10, cause).await;
        assert!(cause.contains(words) && !cause.contains("canary"), "{words}: {cause}");
        world.service.mint(&world.bearer("alice")).await.expect_problem(503, "credential_unavailable");
        assert!(is_logged(&world.service, "there is no new credential"));
    }
}

#[test]
fn settings_that_cannot_be_right_are_refused_at_the_start() {
    let (issuer, upstream) = (crate::support::Issuer::start(), crate::support::Upstream::start());
    let base = r#"kind = "workload_identity", identity_provider_id = "idp_1", service_account_id = "svc_1""#;
    for (credential, words) in [
        (r#"kind = "workload_identity""#.to_owned(), "identity_provider_id: copy it from the organization's settings"),
        (format!(r#"{base}, auth_url = "http://auth.example.com/oauth/token""#), "auth_url: plain http would show the secrets"),
        (format!(r#"{base}, keys = ["env://TEST_OPENAI_KEY"]"#), "credential.keys: is for another kind of credential"),
        (format!(r#"{base}, subject = {{ kind = "file" }}"#), "subject.token: name the file that holds the token"),
        (format!(r#"{base}, subject = {{ token = "vault://secret/a#b" }}"#), "subject.token: must be env:// or file://"),
        (
            format!(r#"{base}, subject = {{ kind = "google", token = "file:///x" }}"#),
            "subject.token: is for another kind of subject",
        ),
        (
            format!(r#"{base}, subject = {{ kind = "azure", endpoint = "ftp://x" }}"#),
            "subject.endpoint: must begin with https://",
        ),
        (r#"keys = ["env://TEST_OPENAI_KEY"], subject = {}"#.to_owned(), "credential.subject: is for another kind of credential"),
    ] {
        let config = Config::new(&issuer, &upstream).set("upstreams.openai.credential", &format!("{{ {credential} }}"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ephemint.toml"), config.toml(folder.path())).unwrap();
        let output = Service::command(&config).arg("serve").current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{credential}: {said}");
        assert!(said.contains(words), "{credential}: {said}");
    }
}
