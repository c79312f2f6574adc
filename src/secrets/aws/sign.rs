//! Signature Version 4 of a POST to `/` (IAM User Guide, "Create a signed AWS API request").

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;

use super::Unreadable;
use crate::domain::ids::hex;
use crate::domain::secret::Secret;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What requests are signed with.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    key_id: String,
    secret: Secret,
    token: Option<Secret>,
    /// Seconds since 1970. Absent: until somebody revokes them.
    pub(super) expires_at: Option<u64>,
    /// Whose they are, for the operator.
    pub(super) owner: String,
}

impl Credentials {
    /// Those that do not expire. `owner` ends a sentence that says whose they are.
    pub(super) fn new(key_id: &str, secret: &str, token: Option<&str>, owner: &str) -> Result<Self, Unreadable> {
        let (key_id, secret, token) = (key_id.trim(), secret.trim(), token.map(str::trim).filter(|token| !token.is_empty()));
        let is_key_id = !key_id.is_empty() && key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let is_text = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_key_id || !is_text(secret) || token.is_some_and(|token| !is_text(token)) {
            return Err(Unreadable::Wrong(format!("the AWS credentials of {owner} are cut or pasted wrongly")));
        }
        let own = |text: &str| Secret::from(text.to_owned());
        Ok(Self {
            key_id: key_id.to_owned(),
            secret: own(secret),
            token: token.map(own),
            expires_at: None,
            owner: owner.to_owned(),
        })
    }

    /// The same until `time` (RFC 3339). `None` when that is no time.
    pub(super) fn until(mut self, time: &str) -> Option<Self> {
        let time: Timestamp = time.parse().ok()?;
        self.expires_at = u64::try_from(time.as_second()).ok();
        self.expires_at.is_some().then_some(self)
    }
}

/// What a signature is good for.
pub(super) struct Scope<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) at: Timestamp,
}

/// The headers of a POST of `body` to `/`, with those that the signature adds. Names are lower case, `host` is among them, and all are
/// signed.
pub(super) fn signed(
    mut headers: BTreeMap<&'static str, String>,
    body: &[u8],
    credentials: &Credentials,
    scope: &Scope<'_>,
) -> BTreeMap<&'static str, String> {
    let moment = scope.at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = scope.at.strftime("%Y%m%d").to_string();
    headers.insert("x-amz-date", moment.clone());
    if let Some(token) = &credentials.token {
        headers.insert("x-amz-security-token", token.reveal().to_owned());
    }
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().flat_map(|(name, value)| [*name, ":", value.trim(), "\n"]).collect();
    let request = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(body));
    let range = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!("{ALGORITHM}\n{moment}\n{range}\n{}", sha256(request.as_bytes()));
    let first = mac(format!("AWS4{}", credentials.secret.reveal()).as_bytes(), day.as_bytes());
    let key = [scope.region, scope.service, "aws4_request"].iter().fold(first, |key, part| mac(key.as_ref(), part.as_bytes()));
    let signature = hex(mac(key.as_ref(), text.as_bytes()).as_ref());
    let key_id = &credentials.key_id;
    headers.insert(
        "authorization",
        format!("{ALGORITHM} Credential={key_id}/{range}, SignedHeaders={names}, Signature={signature}"),
    );
    headers
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], bytes: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes)
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Credentials, Scope, signed};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn authorization(token: Option<&str>) -> String {
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token, "the test").unwrap();
        let scope = Scope { service: "service", region: "us-east-1", at: "2015-08-30T12:36:00Z".parse().unwrap() };
        let headers = BTreeMap::from([("host", "example.amazonaws.com".to_owned())]);
        signed(headers, b"", &credentials, &scope).remove("authorization").unwrap()
    }

    #[test]
    fn signatures_are_those_of_the_test_suite() {
        assert_eq!(
            authorization(None),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        // post-sts-header-before
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        assert_eq!(
            authorization(Some(token)),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
    }

    #[test]
    fn what_no_header_can_carry_is_not_taken() {
        for (key_id, secret, token) in [
            ("", "a", None),
            ("AKID\nX: y", "a", None),
            ("AKID", "", None),
            ("AKID", "a b", None),
            ("AKID", "a", Some("b\r\nX: y")),
        ] {
            assert!(Credentials::new(key_id, secret, token, "the test").is_err(), "{key_id:?} {secret:?} {token:?}");
        }
        let trimmed = Credentials::new("AKID\n", "a\n", Some("\n"), "the test").unwrap();
        assert!(trimmed.token.is_none() && !format!("{trimmed:?}").contains("\"a\""));
    }
}
