//! HashiCorp Vault and OpenBao: the key-value engine, version 1 and 2.
//!
//! Plain REST (developer.hashicorp.com/vault/api-docs, openbao.org/api-docs). Nothing of an answer's body is ever printed.

mod api;
mod login;

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::{Client, StatusCode};
use serde_json::{Map, Value};

use super::{Found, Unreadable, secret_in};
use crate::config::load::Environ;
use crate::config::secrets;
use crate::domain::clock::SharedClock;
use api::{Answer, Api};
use login::{Login, Token};

/// A way to one Vault.
pub(super) struct Vault {
    /// The error says which setting is missing or wrong; whoever names no secret of Vault's never hears of it.
    api: Result<Api, String>,
    login: Login,
    version: Version,
}

/// Of the key-value engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Vault {
    pub(super) fn new(settings: &secrets::Vault, environ: &Arc<Environ>, client: Client, clock: SharedClock) -> Self {
        Self {
            api: Api::new(settings, environ, client),
            login: Login::new(&settings.auth, environ, clock),
            version: if settings.kv_version == 1 { Version::One } else { Version::Two },
        }
    }

    pub(super) async fn read(&self, mount: &str, path: &str, field: &str) -> Result<Found, Unreadable> {
        let api = self.api.as_ref().map_err(|cause| Unreadable::Wrong(cause.clone()))?;
        let place = match self.version {
            Version::One => format!("{mount}/{path}"),
            Version::Two => format!("{mount}/data/{path}"),
        };
        let answer = self.ask(api, &place).await?;
        if answer.status.is_success() {
            return self.version.found(&answer.body, field);
        }
        Err(Unreadable::Wrong(match answer.status {
            StatusCode::FORBIDDEN => format!(
                "Vault refuses the reading (status 403): allow \"read\" on {place} in a policy of the token{}",
                self.login.other_cure()
            ),
            StatusCode::NOT_FOUND => self.version.missing(&answer.body, mount, path),
            other => format!(
                "Vault refuses the request (status {}): check secrets.vault.address (https or http), and that {mount} is a key-value engine",
                other.as_u16()
            ),
        }))
    }

    /// A token may have been revoked, or may be older than the policies that its role has now: after a 403 another one is tried once.
    async fn ask(&self, api: &Api, place: &str) -> Result<Answer, Unreadable> {
        let ask = async |token: &Token| api.get(place, token.secret()).await;
        let began = self.login.now();
        let token = self.login.token(api).await?;
        let answer = ask(&token).await?;
        if answer.status != StatusCode::FORBIDDEN {
            return Ok(answer);
        }
        match self.login.instead_of(&token, began, api).await? {
            Some(other) => ask(&other).await,
            None => Ok(answer),
        }
    }
}

impl Version {
    /// "Read secret" of KV version 1, "Read secret version" of KV version 2.
    fn found(self, body: &Map<String, Value>, field: &str) -> Result<Found, Unreadable> {
        let strange =
            || Unreadable::Away("what Vault answers is not of the key-value engine; check secrets.vault.kv_version".into());
        let outer = body.get("data").and_then(Value::as_object).ok_or_else(strange)?;
        let metadata = outer.get("metadata").filter(|_| self == Self::Two);
        let fields = match (self, outer.get("data")) {
            (Self::One, _) => outer,
            (Self::Two, Some(Value::Object(inner))) => inner,
            (Self::Two, Some(Value::Null)) if metadata.is_some() => return Err(Unreadable::Wrong(DELETED.into())),
            (Self::Two, _) => return Err(strange()),
        };
        let text = match fields.get(field) {
            Some(Value::String(text)) => text,
            Some(_) => return Err(Unreadable::Wrong(format!("the field {field} is not text; write it as a JSON string"))),
            None => return Err(Unreadable::Wrong(format!("the secret has no field {field}; name one that it has after #"))),
        };
        let secret = secret_in(text).map_err(|cause| Unreadable::Wrong(format!("the field {field} {cause}")))?;
        Ok(Found { secret, made_at: metadata.and_then(made_at) })
    }

    /// What a 404 is about. A version that was deleted comes with its metadata; a request of version 1 to an engine of version 2 with a
    /// warning; a mount that is not there with an error; a path that is not there with neither.
    fn missing(self, body: &Map<String, Value>, mount: &str, path: &str) -> String {
        let holds = |name: &str| body.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        let (this, other) = match self {
            Self::One => (1, 2),
            Self::Two => (2, 1),
        };
        if body.get("data").is_some_and(|data| data.get("metadata").is_some()) {
            DELETED.into()
        } else if holds("warnings") && self == Self::One {
            format!("{mount} is a key-value engine of version 2; set secrets.vault.kv_version = 2")
        } else if holds("errors") {
            format!(
                "Vault has no engine at {mount} (status 404); correct the mount, secrets.vault.namespace or secrets.vault.address"
            )
        } else {
            format!(
                "Vault has nothing at {path} in {mount} (status 404); correct the path, or set secrets.vault.kv_version = {other} if {mount} is not of version {this}"
            )
        }
    }
}

const DELETED: &str = "its latest version was deleted; undelete it, or write a new one";

/// Unix seconds.
fn made_at(metadata: &Value) -> Option<u64> {
    let moment: Timestamp = metadata.get("created_time")?.as_str()?.parse().ok()?;
    u64::try_from(moment.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Unreadable, Version};

    fn body(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_key_has_the_age_of_its_version() {
        for (created, made_at) in [
            (json!("2018-03-22T02:24:06.945319214Z"), Some(1_521_685_446)),
            (json!("2018-03-22T03:24:06+01:00"), Some(1_521_685_446)),
            (json!("1969-12-31T23:59:59Z"), None),
            (json!("yesterday"), None),
            (json!(1_521_685_446), None),
        ] {
            let answer = body(&json!({"data": {"data": {"key": "a\n"}, "metadata": {"created_time": created}}}));
            let found = Version::Two.found(&answer, "key").unwrap();
            assert_eq!((found.secret.reveal(), found.made_at), ("a", made_at), "{created}");
        }
        let answer = body(&json!({"data": {"key": "a", "metadata": {"created_time": "2018-03-22T02:24:06Z"}}}));
        assert_eq!(Version::One.found(&answer, "key").unwrap().made_at, None, "version 1 has no such metadata: it is a field");
    }

    #[test]
    fn a_field_is_named_as_it_is_written_and_no_other_is_taken_for_it() {
        let answer = body(&json!({"data": {"data": {"a.b": "dotted", "a": {"b": "nested"}, "data": "own"}}}));
        let read = |field: &str| Version::Two.found(&answer, field).map(|found| found.secret.reveal().to_owned());
        assert_eq!((read("a.b"), read("data")), (Ok("dotted".into()), Ok("own".into())));
        assert!(matches!(read("a"), Err(Unreadable::Wrong(cause)) if !cause.contains("nested")));
        assert!(matches!(read("A.b"), Err(Unreadable::Wrong(_))));
    }
}
