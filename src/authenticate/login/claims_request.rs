//! What a user has to show at sign-in, beside who they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Bytes of JSON: it becomes part of an address.
const MAX: usize = 4096;

/// A claims request (OpenID Connect Core 1.0, section 5.5) for the access token. Entra ID asks so for another factor or a compliant device
/// (Microsoft, "Claims challenges, claims requests and client capabilities").
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClaimsRequest(String);

impl ClaimsRequest {
    /// From base64, as the answer `interaction_required` has it. Whoever makes a link cannot choose with it who signs in: what concerns the
    /// ID token is `None`.
    pub(crate) fn read(base64: &str) -> Option<Self> {
        let bytes = STANDARD.decode(Some(base64).filter(|text| text.len() <= MAX.div_ceil(3) * 4)?).ok()?;
        let members: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
        let is_for_access = members.len() == 1 && members.get("access_token").is_some_and(Value::is_object);
        is_for_access.then(|| String::from_utf8(bytes).ok().map(Self)).flatten()
    }

    /// JSON.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{ClaimsRequest, Engine, MAX, STANDARD};

    #[test]
    fn a_claims_request_is_for_the_access_token_and_nothing_else() {
        let read = |json: &str| ClaimsRequest::read(&STANDARD.encode(json));
        let good = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
        assert_eq!(read(good), Some(ClaimsRequest(good.into())));
        for bad in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"access_token":null}"#,
            r#"{"access_token":"c1"}"#,
            r#"{"id_token":{"sub":{"value":"mallory"}}}"#,
            r#"{"access_token":{},"id_token":{"sub":{"value":"mallory"}}}"#,
            r#"{"access_token":{}"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let long = format!(r#"{{"access_token":{{"a":"{}"}}}}"#, "a".repeat(MAX));
        assert_eq!(read(&long), None);
        for bad in ["%%%", good, "eyJhY2Nlc3NfdG9rZW4iOnt9fQ==x", "a b"] {
            assert_eq!(ClaimsRequest::read(bad), None, "{bad}");
        }
    }
}
