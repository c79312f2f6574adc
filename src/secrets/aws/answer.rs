//! What Secrets Manager says (AWS Secrets Manager API Reference, "GetSecretValue" and "Common Errors").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::exchange::Reply;
use super::place::Region;
use super::sign::Credentials;
use super::{Found, Unreadable};
use crate::domain::json::parse_strict;
use crate::secrets::secret_in;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    secret_string: Option<String>,
    secret_binary: Option<String>,
    /// When this version was made, seconds since 1970.
    created_date: Option<f64>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "__type", default)]
    kind: String,
}

pub(super) fn read(reply: &Reply, field: Option<&str>, region: &Region, credentials: &Credentials) -> Result<Found, Unreadable> {
    if !reply.status.is_success() {
        return Err(refused(reply, region, credentials));
    }
    let version: Version = serde_json::from_slice(&reply.body).map_err(|_| reply.malformed())?;
    let wrong = |cause: &str| Unreadable::Wrong(cause.to_owned());
    let text = match (version.secret_string, version.secret_binary) {
        (Some(text), _) => text,
        (None, Some(binary)) => {
            let bytes = STANDARD.decode(binary).map_err(|_| reply.malformed())?;
            String::from_utf8(bytes).map_err(|_| wrong("is binary and not UTF-8 text"))?
        }
        (None, None) => return Err(reply.malformed()),
    };
    let text = match field {
        Some(field) => member(&text, field)?,
        None if is_object(&text) => {
            return Err(wrong("holds JSON; name the field that is meant, as in aws-sm://name#field"));
        }
        None => text,
    };
    Ok(Found { secret: secret_in(&text).map_err(wrong)?, made_at: version.created_date.and_then(seconds) })
}

/// The string at `field` of a JSON object.
fn member(text: &str, field: &str) -> Result<String, Unreadable> {
    let cause = match parse_strict(text.as_bytes()) {
        Ok(Value::Object(mut members)) => match members.remove(field) {
            Some(Value::String(text)) => return Ok(text),
            Some(_) => format!("its field {field} is not a string"),
            None => format!("has no field {field}; its JSON has others"),
        },
        Ok(_) => format!("has no field {field}; its JSON is no object"),
        Err(_) => format!("has no field {field}; it does not hold JSON, so leave out the #"),
    };
    Err(Unreadable::Wrong(cause))
}

/// What the console stores unless told otherwise: no secret of ours looks like it.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && matches!(parse_strict(text.as_bytes()), Ok(Value::Object(_)))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds of a time that is not negative")]
fn seconds(time: f64) -> Option<u64> {
    (time.is_finite() && time >= 0.0).then_some(time as u64)
}

/// Whether it is the credentials that are refused, not what they may do.
pub(super) fn doubts_credentials(reply: &Reply) -> bool {
    let refusals = ["ExpiredTokenException", "InvalidClientTokenId", "InvalidSignatureException", "UnrecognizedClientException"];
    !reply.status.is_success() && refusals.contains(&code(reply).as_str())
}

/// The name of an error. Some services put a namespace before it and a URL behind it.
fn code(reply: &Reply) -> String {
    let failure = serde_json::from_slice(&reply.body).unwrap_or(Failure { kind: String::new() });
    let name = failure.kind.rsplit('#').next().and_then(|name| name.split(':').next());
    name.unwrap_or_default().to_owned()
}

fn refused(reply: &Reply, region: &Region, credentials: &Credentials) -> Unreadable {
    let code = code(reply);
    let (region, owner) = (region.as_str(), credentials.owner.as_str());
    let wrong = match code.as_str() {
        "ResourceNotFoundException" => {
            format!(
                "AWS Secrets Manager has no such secret with a current value in {region}; check the name, and secrets.aws.region"
            )
        }
        "AccessDeniedException" => format!(
            "AWS does not let the credentials of {owner} read it; allow secretsmanager:GetSecretValue for this secret and, with a key of your own, kms:Decrypt for that key"
        ),
        "DecryptionFailure" => {
            format!("AWS cannot decrypt it for the credentials of {owner}; enable its KMS key and allow kms:Decrypt for that key")
        }
        "InvalidRequestException" => {
            "is scheduled for deletion or still has no value; see `aws secretsmanager restore-secret` and `put-secret-value`"
                .into()
        }
        "InvalidParameterException" | "ValidationException" => {
            format!("AWS Secrets Manager in {region} takes it for no name of a secret; check the name or ARN")
        }
        "ExpiredTokenException" => format!("the AWS credentials of {owner} have expired; renew them"),
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            format!("AWS does not know the credentials of {owner}; they are inactive, deleted or mistyped")
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" | "IncompleteSignatureException" => {
            format!(
                "AWS does not accept what the credentials of {owner} sign; the secret access key is wrong, or the clock of this machine is"
            )
        }
        "ThrottlingException" | "InternalServiceError" => {
            return Unreadable::Away(format!("AWS Secrets Manager answered {code}; it will pass"));
        }
        other => return reply.unknown(other),
    };
    if reply.status.is_server_error() { reply.unknown(&code) } else { Unreadable::Wrong(wrong) }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{Reply, Unreadable, doubts_credentials, is_object, member, seconds};

    #[test]
    fn new_credentials_are_worth_getting_when_the_old_ones_are_refused() {
        let doubts = |status, body: &str| doubts_credentials(&Reply { who: "it", status, body: body.to_owned().into() });
        for (code, is_worth) in [
            ("ExpiredTokenException", true),
            ("com.amazon.coral.service#UnrecognizedClientException", true),
            ("AccessDeniedException", false),
            ("ResourceNotFoundException", false),
            ("", false),
        ] {
            let body = format!(r#"{{"__type":"{code}"}}"#);
            assert_eq!(doubts(StatusCode::BAD_REQUEST, &body), is_worth, "{code}");
            assert!(!doubts(StatusCode::OK, &body), "{code}");
        }
        assert!(!doubts(StatusCode::BAD_REQUEST, "<html>"));
    }

    #[test]
    fn a_field_is_a_string_at_the_top() {
        assert_eq!(member(r#"{"a.b":"x","c":{"d":"y"}}"#, "a.b").unwrap(), "x");
        for (text, field) in [
            (r#"{"a":1}"#, "a"),
            (r#"{"a":{"b":"x"}}"#, "b"),
            (r#"["a"]"#, "a"),
            ("a", "a"),
            (r#"{"a":"x","a":"y"}"#, "a"),
            ("", "a"),
        ] {
            assert!(matches!(member(text, field), Err(Unreadable::Wrong(_))), "{text}");
        }
        assert!(is_object(" {\"a\":1}\n") && !is_object("{a") && !is_object("sk-proj-a"));
    }

    #[test]
    fn times_are_whole_seconds_or_none() {
        assert_eq!(seconds(1_790_000_000.9), Some(1_790_000_000));
        assert_eq!([-1.0, f64::NAN, f64::INFINITY].map(seconds), [None; 3]);
    }
}
