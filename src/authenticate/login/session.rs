//! What a session cookie holds, how long it is good, and how it is made to fit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::cookie::{Keeping, MOST_BYTES, Purpose, Sealer};
use crate::authenticate::Unauthenticated;
use crate::domain::secret::Secret;

/// A cookie is made anew once this part of the idle time has passed since it was made. So a session may end that much earlier than
/// `idle_seconds` after its last use.
const RENEW_AFTER: u64 = 10;

/// One signed-in browser.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// New with each sign-in: the nonce that its ID token repeated.
    pub(super) id: Box<str>,
    /// Seconds since 1970, as all times here.
    pub(super) created: u64,
    pub(super) seen: u64,
    /// Only what today's configuration reads. It is read anew with each request, so a change of the rules applies at once.
    pub(super) claims: Map<String, Value>,
    /// What to call the user to themself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<Refresh>,
}

/// The right to ask the issuer whether the user is still welcome.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Refresh {
    #[serde(serialize_with = "reveal", deserialize_with = "conceal")]
    pub(super) token: Secret,
    /// When the issuer is asked next.
    pub(super) due: u64,
}

fn reveal<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::from)
}

/// How long sessions last, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Lifetime {
    pub(super) idle: u64,
    pub(super) absolute: u64,
}

impl Lifetime {
    pub(super) fn check(self, session: &Session, now: u64) -> Result<(), Unauthenticated> {
        if now < self.end(session) { Ok(()) } else { Err(Unauthenticated::Expired) }
    }

    /// When a session that is not used any more ends.
    pub(super) fn end(self, session: &Session) -> u64 {
        session.seen.saturating_add(self.idle).min(self.absolute_end(session))
    }

    /// When a session ends, however much it is used.
    pub(super) fn absolute_end(self, session: &Session) -> u64 {
        session.created.saturating_add(self.absolute)
    }

    pub(super) fn is_to_be_renewed(self, session: &Session, now: u64) -> bool {
        now.saturating_sub(session.seen) >= self.idle / RENEW_AFTER
    }
}

/// The session does not fit into a cookie.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claims that are kept do not fit into a cookie")]
pub(super) struct TooLarge;

impl Session {
    /// The `Set-Cookie` header. What does not fit goes: first the refresh token, then the name; without the claims there is no session.
    pub(super) fn sealed(&self, sealer: &Sealer, keeping: Keeping, seconds: u64) -> Result<Secret, TooLarge> {
        let without_refresh = || Self { refresh: None, ..self.clone() };
        let without_name = || Self { name: None, ..without_refresh() };
        if let Some(whole) = self.cookie(sealer, keeping, seconds) {
            return Ok(whole);
        }
        if self.refresh.is_some() {
            tracing::warn!(
                "a refresh token does not fit into the session's cookie, so the session ends without having been refreshed"
            );
        }
        without_refresh()
            .cookie(sealer, keeping, seconds)
            .or_else(|| without_name().cookie(sealer, keeping, seconds))
            .ok_or(TooLarge)
    }

    fn cookie(&self, sealer: &Sealer, keeping: Keeping, seconds: u64) -> Option<Secret> {
        let plain = serde_json::to_vec(self).ok()?;
        let value = sealer.seal(Purpose::Session, &plain).ok()?;
        Some(keeping.keep(keeping.session_name(), &value, seconds)).filter(|cookie| cookie.reveal().len() <= MOST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Keeping, Lifetime, MOST_BYTES, Purpose, Refresh, Sealer, Secret, Session, TooLarge, Unauthenticated};
    use crate::authenticate::login::cookie::Cookies;

    const KEEPING: Keeping = Keeping { secure: true };
    const LIFETIME: Lifetime = Lifetime { idle: 100, absolute: 250 };

    fn session(groups: usize, name: usize, refresh: usize) -> Session {
        let Value::Object(claims) = json!({"sub": "alice", "groups": "g".repeat(groups)}) else { unreachable!() };
        Session {
            id: "id".into(),
            created: 1000,
            seen: 1000,
            claims,
            name: Some("n".repeat(name).into()),
            refresh: Some(Refresh { token: Secret::from("r".repeat(refresh)), due: 1060 }),
        }
    }

    fn sealed(session: &Session) -> Result<Session, TooLarge> {
        let sealer = Sealer::new(&[Secret::from("k".repeat(32))], "issuer", "client").unwrap();
        let cookie = session.sealed(&sealer, KEEPING, 100)?;
        assert!(cookie.reveal().len() <= MOST_BYTES);
        let cookies = Cookies::read(cookie.reveal().split("; ").take(1).map(str::as_bytes));
        let value = cookies.one("__Host-ephemint").unwrap().unwrap();
        Ok(serde_json::from_slice(&sealer.open(Purpose::Session, value).unwrap().plain).unwrap())
    }

    #[test]
    fn what_does_not_fit_goes_in_the_order_refresh_token_name() {
        let kept = |groups, name, refresh| {
            sealed(&session(groups, name, refresh)).map(|kept| (kept.refresh.is_some(), kept.name.is_some()))
        };
        assert_eq!(kept(100, 10, 100), Ok((true, true)));
        assert_eq!(kept(100, 10, 3000), Ok((false, true)));
        assert_eq!(kept(2750, 200, 3000), Ok((false, false)));
        assert_eq!(kept(3000, 10, 10), Err(TooLarge));
    }

    #[test]
    fn a_cookie_holds_the_refresh_token_and_debug_output_does_not() {
        let kept = sealed(&session(1, 1, 9)).unwrap().refresh.unwrap();
        assert_eq!((kept.token.reveal(), kept.due), ("rrrrrrrrr", 1060));
        assert!(!format!("{:?}", kept.token).contains('r'.to_string().repeat(9).as_str()));
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_however_much_it_is_used() {
        let mut used = session(1, 1, 1);
        assert_eq!(LIFETIME.check(&used, 1099), Ok(()));
        assert_eq!(LIFETIME.check(&used, 1100), Err(Unauthenticated::Expired));
        used.seen = 1200;
        assert_eq!(LIFETIME.check(&used, 1249), Ok(()));
        assert_eq!(LIFETIME.check(&used, 1250), Err(Unauthenticated::Expired));
        assert_eq!(LIFETIME.end(&used), 1250);
    }

    #[test]
    fn a_cookie_is_renewed_after_a_tenth_of_the_idle_time() {
        let used = session(1, 1, 1);
        assert!(!LIFETIME.is_to_be_renewed(&used, 1009));
        assert!(LIFETIME.is_to_be_renewed(&used, 1010));
        // Another replica's clock may be ahead.
        assert!(!LIFETIME.is_to_be_renewed(&used, 900));
    }
}
