//! Azure OpenAI on behalf of each user: their own access token of Entra ID is traded for one that Azure takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

use crate::api_keys::{KEY, item};
use crate::support::azure::{Azure, CLIENT_ID, Part, TENANT, aadsts};
use crate::support::azure_openai::{AzureOpenAi, DEPLOYMENT, missing_role, wrong_key};
use crate::support::certificate::{Certificate, kept};
use crate::support::{Answer, Browser, Config, Issuer, MINT, Reply, Service, eventually, secrets, user};

/// As Entra ID writes it ("On-Behalf-Of flow", error response).
const CLAIMS: &str = r#"{"access_token":{"polids":{"essential":true,"values":["9ab03e19-ed42-4168-b6b7-7001fb3e933a"]}}}"#;

struct Place {
    service: Service,
    issuer: Issuer,
    entra: Azure,
    resource: AzureOpenAi,
}

impl Place {
    fn start() -> Self {
        Self::with(|_, config| config)
    }

    fn with(change: impl FnOnce(&Azure, Config) -> Config) -> Self {
        Self::at(Issuer::start(), change)
    }

    fn at(issuer: Issuer, change: impl FnOnce(&Azure, Config) -> Config) -> Self {
        let (entra, resource) = (Azure::start(), AzureOpenAi::start());
        entra.gives_tokens_for("https://cognitiveservices.azure.com");
        let config = Config::bare()
            .issuer("main", &issuer.url())
            .set("identity.jwt.main.tenant_claim", r#""tid""#)
            .set("upstreams.azure.kind", r#""azure""#)
            .set("upstreams.azure.base_url", &format!("{:?}", resource.endpoint()))
            .set("upstreams.azure.session.model", &format!("{DEPLOYMENT:?}"))
            .set("upstreams.azure.credential.kind", r#""on_behalf_of""#)
            .profile("default")
            .unset("profiles.default.session.model")
            .set("profiles.default.upstream", r#""azure""#)
            .env("AZURE_AUTHORITY_HOST", &entra.origin())
            .env("AZURE_CLIENT_ID", CLIENT_ID)
            .env("AZURE_CLIENT_SECRET", secrets::AZURE_CLIENT_SECRET);
        Self { service: Service::start(&change(&entra, config)), issuer, entra, resource }
    }

    /// A v2 token of Entra ID for this application.
    fn token(&self, name: &str) -> String {
        let token = self.issuer.token(&user(name));
        token.claim("tid", TENANT).claim("ver", "2.0").claim("azp", CLIENT_ID).claim("scp", "access_as_user").build()
    }

    async fn mint(&self, name: &str) -> Answer {
        self.service.mint(&self.token(name)).await
    }

    fn asked(&self) -> usize {
        self.entra.asked(Part::Entra).len()
    }
}

#[tokio::test]
async fn azure_is_asked_in_the_name_of_each_user() {
    let place = Place::start();
    let alice = place.token("alice");
    place.service.mint(&alice).await.expect_minted();
    let [asked] = place.entra.asked(Part::Entra).try_into().expect("one exchange");
    assert_eq!(asked.target, format!("/{TENANT}/oauth2/v2.0/token"));
    let form: Vec<_> = asked.form().into_iter().collect();
    let expected = [
        ("assertion", alice.as_str()),
        ("client_id", CLIENT_ID),
        ("client_secret", secrets::AZURE_CLIENT_SECRET),
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("requested_token_use", "on_behalf_of"),
        ("scope", "https://cognitiveservices.azure.com/.default"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let hers = place.resource.last().bearer().to_owned();
    place.mint("bob").await.expect_minted();
    assert_ne!(place.resource.last().bearer(), hers, "nobody is served with another's token");
    assert_eq!(place.asked(), 2);
}

#[tokio::test]
async fn a_user_s_token_is_traded_once_however_often_they_mint() {
    let place = Place::start();
    let tokens: Vec<String> =
        (0..16).map(|i| place.issuer.token(&user("alice")).claim("tid", TENANT).claim("n", i).build()).collect();
    let mints = tokens.iter().map(|token| place.service.mint(token));
    for answer in futures_util::future::join_all(mints).await {
        answer.expect_minted();
    }
    assert_eq!(place.asked(), 1);
}

#[tokio::test]
async fn tokens_are_renewed_while_the_one_of_before_serves_and_used_up_to_a_minute_before_their_end() {
    let place = Place::start();
    place.entra.tokens_live(66);
    place.mint("alice").await.expect_minted();
    let first = place.resource.last().bearer().to_owned();
    // Good for six seconds, and no longer.
    place.entra.always(Part::Entra, Reply::new(503));
    place.mint("alice").await.expect_minted();
    let refused = async || (place.mint("alice").await.status == 503).then_some(());
    eventually("it is used no more", 15, refused).await;
    place.mint("alice").await.expect_problem(503, "credential_unavailable");
    assert_eq!(place.resource.last().bearer(), first);
}

/// The token of before would be good for twenty seconds more.
#[tokio::test]
async fn a_user_who_is_refused_when_their_token_is_renewed_is_served_no_more() {
    let place = Place::start();
    place.entra.tokens_live(100);
    place.mint("alice").await.expect_minted();
    place.entra.always(Part::Entra, aadsts(400, "invalid_grant", 50_057));
    let refused = async || (place.mint("alice").await.status == 401).then_some(());
    eventually("the refusal counts", 30, refused).await;
    place.mint("alice").await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn nobody_makes_the_service_ask_entra_id_again_and_again() {
    let place = Place::with(|_, config| config.set("upstreams.azure.max_attempts", "1"));
    place.entra.always(Part::Entra, Reply::new(429).header("retry-after", "30"));
    for _ in 0..10 {
        place.mint("alice").await.expect_problem(503, "credential_unavailable");
    }
    assert!(place.asked() <= 2, "{}", place.asked());
    let place = Place::start();
    place.resource.always(wrong_key());
    for _ in 0..10 {
        place.mint("alice").await.expect_problem(502, "upstream_auth_failed");
    }
    assert!(place.asked() <= 3, "{}", place.asked());
}

#[tokio::test]
async fn what_the_application_proves_itself_with_is_as_for_its_own_tokens() {
    let (certificate, folder) = (Certificate::new(), TempDir::new().expect("a folder"));
    let pem = kept(folder.path(), "it.pem", certificate.key() + &certificate.certificate());
    let place = Place::with(|entra, config| {
        entra.trusts(certificate.uploaded());
        config.set("upstreams.azure.credential.certificate", &format!("{pem:?}"))
    });
    place.mint("alice").await.expect_minted();
    let federated = kept(folder.path(), "token", secrets::AZURE_FEDERATED_TOKEN);
    let place = Place::with(|_, config| {
        config
            .set("upstreams.azure.credential.federated_token", &format!("{federated:?}"))
            .set("upstreams.azure.credential.tenant_id", &format!("{TENANT:?}"))
    });
    // The tenant of the configuration is everybody's.
    let guest = place.issuer.token(&user("alice")).claim("tid", "22222222-3333-4444-5555-666666666666").build();
    place.service.mint(&guest).await.expect_minted();
    assert_eq!(place.entra.asked(Part::Entra)[0].target, format!("/{TENANT}/oauth2/v2.0/token"));
}

#[tokio::test]
async fn a_user_who_has_to_show_more_is_told_what() {
    let place = Place::start();
    let refusal = json!({
        "error": "interaction_required", "error_codes": [50079], "claims": CLAIMS, "trace_id": "x", "correlation_id": "y",
        "error_description": format!("AADSTS50079: {}", secrets::AZURE_CLIENT_SECRET), "suberror": "basic_action",
    });
    place.entra.always(Part::Entra, Reply::json(400, &refusal));
    let alice = place.token("alice");
    let answer = place.service.mint(&alice).await;
    answer.expect_problem(401, "interaction_required");
    let claims = STANDARD.encode(CLAIMS);
    let challenge = format!(r#"Bearer error="insufficient_claims", claims="{claims}""#);
    assert_eq!((answer.header("www-authenticate"), &answer.json()["claims"]), (Some(challenge.as_str()), &json!(claims)));
    assert_eq!(place.resource.mints().len(), 0);
    // Asking again with the same token asks nobody; with another one, all is well.
    place.service.mint(&alice).await.expect_problem(401, "interaction_required");
    assert_eq!(place.asked(), 1);
    place.entra.never_again(Part::Entra);
    let stronger = place.issuer.token(&user("alice")).claim("tid", TENANT).claim("acrs", json!(["c1"])).build();
    place.service.mint(&stronger).await.expect_minted();
}

#[tokio::test]
async fn what_entra_id_says_of_a_user_is_told_from_what_it_says_of_the_service() {
    let consent = json!({"error": "invalid_grant", "error_codes": [65001], "suberror": "consent_required", "error_description": "AADSTS65001"});
    let ugly = json!({"error": "interaction_required", "error_codes": [50079], "claims": "\r\nx: y\"", "error_description": "x"});
    for (reply, status, code) in [
        (Reply::json(400, &consent), 401, "interaction_required"),
        (Reply::json(400, &ugly), 401, "interaction_required"),
        (aadsts(400, "invalid_grant", 500_133), 401, "invalid_token"),
        (aadsts(400, "invalid_grant", 50_013), 401, "invalid_token"),
        (aadsts(400, "invalid_grant", 50_173), 401, "invalid_token"),
        (aadsts(401, "invalid_client", 7_000_215), 503, "credential_unavailable"),
        (aadsts(400, "unauthorized_client", 700_016), 503, "credential_unavailable"),
        (Reply::new(429).header("retry-after", "1"), 503, "credential_unavailable"),
        (Reply::text(200, "text/html", "<html>"), 503, "credential_unavailable"),
        (Reply::json(200, &json!({"access_token": "a\r\nb", "expires_in": 3600})), 503, "credential_unavailable"),
    ] {
        let place = Place::with(|_, config| config.set("upstreams.azure.max_attempts", "1"));
        place.entra.always(Part::Entra, reply.clone());
        let answer = place.mint("alice").await;
        answer.expect_problem(status, code);
        assert!(!answer.text().contains("AADSTS"), "{answer}");
        if code == "interaction_required" {
            assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#), "{reply:?}");
            assert_eq!(answer.json().get("claims"), None);
        }
        let entry = place.service.audit_of(answer.request_id()).await;
        assert!(entry["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{entry}");
        assert_eq!(place.resource.mints().len(), 0);
    }
}

#[tokio::test]
async fn a_user_without_the_role_is_refused_and_others_are_served() {
    let place = Place::start();
    place.mint("alice").await.expect_minted();
    place.resource.always(missing_role());
    place.mint("bob").await.expect_problem(502, "upstream_auth_failed");
    place.resource.always(None);
    place.mint("alice").await.expect_minted();
    place.mint("bob").await.expect_minted();
    assert_eq!(place.asked(), 2, "a missing role is nothing that another token has");
}

#[tokio::test]
async fn a_token_that_azure_refuses_is_not_used_again() {
    let place = Place::start();
    place.mint("alice").await.expect_minted();
    place.resource.always(wrong_key());
    place.mint("alice").await.expect_problem(502, "upstream_auth_failed");
    place.resource.always(None);
    place.mint("alice").await.expect_minted();
    assert_eq!(place.asked(), 2);
}

#[tokio::test]
async fn who_has_no_access_token_to_trade_is_told_to_sign_in() {
    let place = Place::with(|_, config| config.set("identity.api_keys.backend.keys", &format!("[{}]", item("k1", KEY, ""))));
    let answer = place.service.mint(KEY).await;
    answer.expect_problem(401, "invalid_token");
    let told: Value = answer.json();
    assert!(told["detail"].as_str().unwrap().contains("on your behalf"), "{told}");
    assert_eq!((place.asked(), place.resource.mints().len()), (0, 0));
}

/// Signed in at Entra ID, which gives these tokens for the code.
async fn signed_in<'a>(place: &'a Place, tokens: &Value) -> Browser<'a> {
    let mut browser = Browser::new(&place.service);
    let asked = browser.ask().await;
    let mut answer = tokens.clone();
    answer["id_token"] = place.issuer.id_token(&asked, "alice").claim("tid", TENANT).build().into();
    browser.get(&asked.answer(&place.issuer.code_for(&asked, answer))).await.expect(303);
    browser
}

fn with_login() -> Place {
    let issuer = Issuer::start();
    let url = issuer.url();
    Place::at(issuer, |_, config| config.login_at(&url).set("identity.login.tenant_claim", r#""tid""#))
}

fn access_token(number: u32) -> String {
    format!("{}-{number}", secrets::ACCESS_TOKEN)
}

fn assertions(place: &Place) -> Vec<String> {
    place.entra.asked(Part::Entra).iter().map(|asked| asked.form()["assertion"].clone()).collect()
}

#[tokio::test]
async fn a_browser_that_signed_in_at_entra_id_mints_on_behalf_of_its_user() {
    let place = with_login();
    let tokens = json!({"access_token": access_token(1), "token_type": "Bearer", "expires_in": 3600});
    let mut browser = signed_in(&place, &tokens).await;
    for _ in 0..3 {
        browser.post(MINT).await.expect_minted();
    }
    assert_eq!(assertions(&place), [access_token(1)]);
    assert!(place.resource.last().bearer().starts_with("canary-azure-access-token"));
}

/// The page leads the browser to sign in with what the refusal says.
#[tokio::test]
async fn a_browser_whose_user_has_to_show_more_signs_in_with_the_claims_and_mints() {
    let place = with_login();
    let mut browser = signed_in(&place, &json!({"access_token": access_token(1), "expires_in": 3600})).await;
    let refusal = json!({"error": "interaction_required", "error_codes": [50079], "claims": CLAIMS});
    place.entra.always(Part::Entra, Reply::json(400, &refusal));
    let answer = browser.post(MINT).await;
    answer.expect_problem(401, "interaction_required");
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("return_to", "/talk")
        .append_pair("claims", answer.json()["claims"].as_str().unwrap())
        .finish();
    let asked = browser.ask_from(&format!("/auth/login?{query}")).await;
    assert_eq!(asked.get("claims"), CLAIMS);
    place.entra.never_again(Part::Entra);
    let id_token = place.issuer.id_token(&asked, "alice").claim("tid", TENANT).build();
    let tokens = json!({"access_token": access_token(2), "expires_in": 3600, "id_token": id_token});
    let back = browser.get(&asked.answer(&place.issuer.code_for(&asked, tokens))).await;
    assert_eq!(back.expect(303).header("location"), Some("/talk"));
    browser.post(MINT).await.expect_minted();
    assert_eq!(assertions(&place), [access_token(1), access_token(2)]);
}

#[tokio::test]
async fn an_access_token_of_sign_in_that_has_expired_is_replaced_with_the_refresh_token() {
    let place = with_login();
    let refresh = |number: u32| format!("{}-{number}", secrets::REFRESH_TOKEN);
    let tokens = json!({"access_token": access_token(1), "refresh_token": refresh(1), "expires_in": 1});
    let mut browser = signed_in(&place, &tokens).await;
    place.issuer.refresh_with(Reply::json(
        200,
        &json!({"access_token": access_token(2), "refresh_token": refresh(2), "token_type": "Bearer", "expires_in": 3600}),
    ));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    browser.post(MINT).await.expect_minted();
    browser.post(MINT).await.expect_minted();
    assert_eq!(assertions(&place), [access_token(2)]);
}

#[tokio::test]
async fn tokens_of_another_user_end_the_session_and_are_traded_for_nobody() {
    let place = with_login();
    let refresh = format!("{}-1", secrets::REFRESH_TOKEN);
    let mut browser =
        signed_in(&place, &json!({"access_token": access_token(1), "refresh_token": refresh, "expires_in": 1})).await;
    let bobs = place.issuer.token(&user("bob")).claim("aud", crate::support::CLIENT_ID).claim("tid", TENANT).build();
    let tokens = json!({"access_token": access_token(2), "id_token": bobs, "refresh_token": "x", "token_type": "Bearer", "expires_in": 3600});
    place.issuer.refresh_with(Reply::json(200, &tokens));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for _ in 0..3 {
        browser.post(MINT).await.expect(401);
    }
    assert_eq!((place.asked(), place.resource.mints().len()), (0, 0));
}

#[tokio::test]
async fn a_browser_without_an_access_token_is_told_to_sign_in_and_the_issuer_is_not_asked_each_time() {
    let place = with_login();
    let mut browser = signed_in(&place, &json!({"token_type": "Bearer", "expires_in": 3600})).await;
    for _ in 0..3 {
        browser.post(MINT).await.expect_problem(401, "invalid_token");
    }
    assert_eq!((place.asked(), place.issuer.token_requests().len()), (0, 1));
}

#[tokio::test]
async fn a_call_is_hung_up_on_behalf_of_its_user() {
    let place = Place::start();
    let alice = place.token("alice");
    let minted = place.service.mint(&alice).await;
    let session = minted.expect_minted()["ephemint"]["session_id"].as_str().unwrap().to_owned();
    let hers = place.resource.last().bearer().to_owned();
    place.service.report(&session, "rtc_canary", &alice).await.expect(204);
    place.service.delete(&format!("/v1/sessions/{session}"), &alice).await.expect(204);
    let hung_up = async || place.resource.mints().into_iter().find(|request| request.target.ends_with("/rtc_canary/hangup"));
    assert_eq!(eventually("it is hung up", 10, hung_up).await.bearer(), hers);
}

#[test]
fn upstreams_in_the_name_of_users_and_of_the_service_do_not_stand_in_for_each_other() {
    let (issuer, azure, openai) = (Issuer::start(), AzureOpenAi::start(), crate::support::Upstream::start());
    let config = Config::new(&issuer, &openai)
        .set("upstreams.azure.kind", r#""azure""#)
        .set("upstreams.azure.base_url", &format!("{:?}", azure.endpoint()))
        .set("upstreams.azure.credential.kind", r#""on_behalf_of""#)
        .set("profiles.default.upstream", r#"["azure", "openai"]"#);
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ephemint.toml");
    std::fs::write(&file, config.toml(folder.path())).expect("the file");
    let output = Service::command(&config).args(["check", "--offline", "--config"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(78) && said.contains("profiles.default.upstream") && said.contains("on_behalf_of"),
        "{said}"
    );
}
