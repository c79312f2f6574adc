//! On behalf of a user: what is sent, and whose turn it is where that is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::form_urlencoded;

use super::{EntraKind, FIRST, ManualClock, NOW, Scripted, identity, server};
use crate::config::secrets::Entra;
use crate::domain::secret::Secret;
use crate::domain::secret_ref::SecretRef;
use crate::entra::{Identity, NotOnBehalf, Trouble};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const CLAIMS: &str = r#"{"access_token":{"polids":{"essential":true,"values":["9ab03e19-ed42-4168-b6b7-7001fb3e933a"]}}}"#;

fn application(origin: &str, kind: EntraKind) -> Identity {
    let settings = Entra {
        kind,
        tenant_id: Some("home".into()),
        client_id: Some("app".into()),
        client_secret: Some(SecretRef::Env("SECRET".into())),
        federated_token: Some(SecretRef::Env("FEDERATED".into())),
        authority: Some(origin.parse().unwrap()),
        ..Entra::default()
    };
    identity(&settings, &[("SECRET", "s&cret"), ("FEDERATED", "a.b.c")], ManualClock::at(NOW))
}

fn token() -> Scripted {
    (FIRST.0, String::new(), FIRST.1.to_owned())
}

/// What the first of these answers becomes.
async fn refused(status: u16, body: &Value) -> NotOnBehalf {
    let (origin, _) = server(vec![(status, String::new(), body.to_string())]).await;
    let asked = application(&origin, EntraKind::ClientSecret).on_behalf(SCOPE, &Secret::from("u.s.er".to_owned()), None).await;
    match asked.map(|_| ()).unwrap_err() {
        NotOnBehalf::User(cause) => NotOnBehalf::User(cause.replace(origin.trim_start_matches("http://"), "AZURE")),
        other => other,
    }
}

#[tokio::test]
async fn the_user_s_token_is_traded_as_documented() {
    for (kind, tenant, path, proof) in [
        (EntraKind::ClientSecret, None, "/home/oauth2/v2.0/token", [("client_secret", "s&cret")].as_slice()),
        (
            EntraKind::WorkloadIdentity,
            Some("6babcaad-604b-40ac-a9d7-9fd97c0b779f"),
            "/6babcaad-604b-40ac-a9d7-9fd97c0b779f/oauth2/v2.0/token",
            &[("client_assertion", "a.b.c"), ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")],
        ),
    ] {
        let (origin, asked) = server(vec![token()]).await;
        let user = Secret::from("u.s.er".to_owned());
        let granted = application(&origin, kind).on_behalf(SCOPE, &user, tenant).await.unwrap();
        assert_eq!(granted.token().reveal(), "first");
        let asked = asked.lock().unwrap().remove(0);
        let (head, body) = asked.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
        let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let mut expected: BTreeMap<_, _> = proof.iter().copied().collect();
        expected.extend([
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", "app"),
            ("assertion", "u.s.er"),
            ("scope", SCOPE),
            ("requested_token_use", "on_behalf_of"),
        ]);
        let form: BTreeMap<_, _> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(form, expected);
    }
}

#[tokio::test]
async fn a_user_who_has_to_sign_in_or_to_consent_is_told_from_others() {
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(4096));
    for (error, code, suberror, claims, expected) in [
        ("interaction_required", 50_079, "", Some(CLAIMS), Some(CLAIMS)),
        ("interaction_required", 1, "", None, None),
        ("interaction_required", 53_003, "", Some(CLAIMS), Some(CLAIMS)),
        ("interaction_required", 50_076, "", Some("[1]"), None),
        ("interaction_required", 50_076, "", Some("{\"a\":"), None),
        ("interaction_required", 50_076, "", Some(long.as_str()), None),
        ("invalid_grant", 65_001, "consent_required", None, None),
        ("invalid_grant", 65_001, "", None, None),
        ("invalid_grant", 90_094, "", None, None),
        ("invalid_grant", 1, "consent_required", None, None),
        ("invalid_grant", 50_076, "basic_action", Some(CLAIMS), Some(CLAIMS)),
    ] {
        let body = json!({
            "error": error, "error_description": "AADSTS: u.s.er", "error_codes": [code], "suberror": suberror, "claims": claims,
            "timestamp": "2026-01-01 00:00:00Z", "trace_id": "x", "correlation_id": "y",
        });
        let expected = NotOnBehalf::Interaction { claims: expected.map(str::to_owned) };
        assert_eq!(refused(400, &body).await, expected, "{body}");
    }
}

#[tokio::test]
async fn a_user_s_token_or_account_that_does_not_do_is_told_from_trouble() {
    let body = |error: &str, code: u64| json!({"error": error, "error_codes": [code], "error_description": "u.s.er"});
    for (code, cause) in [
        (50_013, "the user's token is not one of this directory, or is damaged"),
        (500_131, "the user's token is for another application; its audience has to be client_id"),
        (500_133, "the user's token has expired"),
        (7_000_114, "the token is that of an application; there is no user to ask for"),
        (50_173, "the user's sign-in has ended or was revoked"),
        (700_084, "the user's sign-in has ended or was revoked"),
        (50_034, "the user has no account in the directory, or is not assigned to the application"),
        (50_057, "the user's account is locked or disabled, or its password has expired"),
    ] {
        let expected = NotOnBehalf::User(format!("Entra ID (AZURE) refuses (AADSTS{code}): {cause}"));
        assert_eq!(refused(400, &body("invalid_grant", code)).await, expected);
    }
    for (status, error, code, is_passing) in [
        (401, "invalid_client", 7_000_215, false),
        (400, "invalid_grant", 1, false),
        (400, "canary", 1, false),
        (400, "temporarily_unavailable", 90_033, true),
        (429, "interaction_required", 50_079, true),
        (503, "invalid_grant", 500_133, true),
    ] {
        let refused = refused(status, &body(error, code)).await;
        let NotOnBehalf::Trouble(trouble) = refused else { panic!("{refused:?} for {error}") };
        assert_eq!(matches!(trouble, Trouble::Away(_)), is_passing, "{trouble}");
        assert!(!trouble.to_string().contains("u.s.er"), "{trouble}");
    }
}

#[tokio::test]
async fn nobody_is_asked_where_a_tenant_is_no_id_or_the_identity_is_a_machine_s() {
    let (origin, asked) = server(vec![token()]).await;
    let user = Secret::from("u.s.er".to_owned());
    for tenant in ["", "..", ".", "../x", "a/b", "a?b", "a%2fb", "-a", &"a".repeat(254)] {
        let refused = application(&origin, EntraKind::ClientSecret).on_behalf(SCOPE, &user, Some(tenant)).await;
        let expected = NotOnBehalf::User("the user's tenant is not an id".into());
        assert_eq!(refused.map(|_| ()), Err(expected), "{tenant:?}");
    }
    let refused = application(&origin, EntraKind::ManagedIdentity).on_behalf(SCOPE, &user, None).await;
    assert!(matches!(refused, Err(NotOnBehalf::Trouble(Trouble::Wrong(_)))));
    assert_eq!(asked.lock().unwrap().len(), 0);
}
