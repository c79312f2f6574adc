//! What a caller asks for.

use serde_json::{Map, Value};

use super::json;
use super::ttl::Ttl;

/// A mint request: `OpenAI`'s own `{"expires_after":{"anchor":"created_at","seconds":N},"session":{…}}`, parsed and not yet judged.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ask {
    /// Absent: the profile's own lifetime.
    pub(crate) ttl: Option<Ttl>,
    /// What the caller would like the session to be. Empty: what the profile says.
    pub(crate) session: Map<String, Value>,
}

/// Why a body is no mint request.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum BadAsk {
    /// Not JSON, or not JSON of this shape. Holds a sentence that says where.
    #[error("{0}")]
    Malformed(String),
    /// A field that the request does not have. Holds its JSON pointer.
    #[error("the request has no field {0}")]
    UnknownField(String),
    /// A number of seconds that is not a whole number from 60 to 600.
    #[error("the lifetime is out of range")]
    TtlOutOfRange,
}

impl Ask {
    /// Parses a body of at most 16 KiB. Nothing at all, `null` fields and `{}` ask for the profile as it is.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, BadAsk> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let value = json::parse_strict(body).map_err(|e| BadAsk::Malformed(e.to_string()))?;
        let Value::Object(fields) = value else {
            return Err(BadAsk::Malformed("The body must be a JSON object.".into()));
        };
        let mut ask = Self::default();
        for (key, value) in fields {
            match key.as_str() {
                "expires_after" => ask.ttl = expires_after(value)?,
                "session" => ask.session = object(value, "session")?,
                _ => return Err(BadAsk::UnknownField(pointer(&["", &key]))),
            }
        }
        Ok(ask)
    }
}

fn expires_after(value: Value) -> Result<Option<Ttl>, BadAsk> {
    let mut ttl = None;
    for (key, value) in object(value, "expires_after")? {
        match (key.as_str(), value) {
            ("anchor", Value::String(anchor)) if anchor == "created_at" => {}
            ("anchor", _) => return Err(BadAsk::Malformed("expires_after.anchor must be \"created_at\".".into())),
            ("seconds", Value::Null) => {}
            ("seconds", Value::Number(seconds)) => {
                ttl = Some(seconds.as_u64().and_then(Ttl::from_seconds).ok_or(BadAsk::TtlOutOfRange)?);
            }
            ("seconds", _) => return Err(BadAsk::Malformed("expires_after.seconds must be a number.".into())),
            _ => return Err(BadAsk::UnknownField(pointer(&["", "expires_after", &key]))),
        }
    }
    Ok(ttl)
}

fn object(value: Value, name: &str) -> Result<Map<String, Value>, BadAsk> {
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err(BadAsk::Malformed(format!("{name} must be a JSON object."))),
    }
}

/// Joins reference tokens to a JSON pointer (RFC 6901); the first token is empty, for the leading slash. Long keys are cut: this goes into an answer.
pub(crate) fn pointer(tokens: &[&str]) -> String {
    let escaped: Vec<String> =
        tokens.iter().map(|t| t.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")).collect();
    escaped.join("/")
}

#[cfg(test)]
mod tests {
    use super::{Ask, BadAsk, Ttl};

    #[test]
    fn nothing_asks_for_the_profile_as_it_is() {
        for body in [
            "",
            " \r\n",
            "{}",
            r#"{"session":null,"expires_after":null}"#,
            r#"{"expires_after":{"anchor":"created_at","seconds":null}}"#,
        ] {
            assert_eq!(Ask::parse(body.as_bytes()).unwrap(), Ask::default(), "{body}");
        }
    }

    #[test]
    fn seconds_are_a_whole_number_in_range() {
        let ask = |seconds: &str| Ask::parse(format!(r#"{{"expires_after":{{"seconds":{seconds}}}}}"#).as_bytes());
        assert_eq!(ask("60").unwrap().ttl, Ttl::from_seconds(60));
        for seconds in ["59", "601", "-60", "60.0", "60.5", "1e2", "18446744073709551616"] {
            assert_eq!(ask(seconds), Err(BadAsk::TtlOutOfRange), "{seconds}");
        }
        for seconds in [r#""60""#, "true", "[60]", "{}"] {
            assert!(matches!(ask(seconds), Err(BadAsk::Malformed(_))), "{seconds}");
        }
    }

    #[test]
    fn unknown_fields_are_named_by_their_pointer() {
        assert_eq!(Ask::parse(br#"{"model":"x"}"#), Err(BadAsk::UnknownField("/model".into())));
        assert_eq!(Ask::parse(br#"{"expires_after":{"a/b":1}}"#), Err(BadAsk::UnknownField("/expires_after/a~1b".into())));
    }
}
