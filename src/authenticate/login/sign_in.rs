//! One sign-in: to the issuer (OpenID Connect Core 1.0, section 3.1; RFC 7636) and back, in the same browser, once.
//!
//! What of RFC 9700 applies: the `state` ties the answer to the browser that asked (4.7), PKCE and the nonce tie code and ID token to
//! it (4.5), `iss` names who answers (4.4, RFC 9207), the redirect URI is one and fixed (4.1), and the browser is led to a path of our
//! own alone (4.11).

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::cookie::{Cookies, Jar, Purpose};
use super::id_token::Nonce;
use super::provider::NoTokens;
use super::session::{Refresh, Session};
use super::{ClaimsRequest, Login, refresh};
use crate::authenticate::{Principal, Unauthenticated};
use crate::domain::secret::{Secret, Sha256};

/// Seconds from the click to the way back.
const PATIENCE: u64 = 600;
/// Tabs of one browser that sign in at once.
const MOST_AT_ONCE: usize = 4;
const MOST_USED_STATES: u64 = 100_000;
const MAX_RETURN_TO: usize = 512;
const MAX_CODE: usize = 4096;

/// Why a sign-in came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotSignedIn {
    /// The issuer, or the user there, did not want it.
    Declined,
    /// The answer is not good: late, used before, of another browser, forged.
    Invalid,
    /// The issuer cannot be asked.
    Unavailable(Unauthenticated),
}

impl From<Unauthenticated> for NotSignedIn {
    fn from(unauthenticated: Unauthenticated) -> Self {
        match unauthenticated {
            Unauthenticated::Unavailable(..) => Self::Unavailable(unauthenticated),
            _ => Self::Invalid,
        }
    }
}

/// A user who signed in, and whose browser does not know it yet.
pub(crate) struct SignedIn {
    principal: Principal,
    cookie: Secret,
    /// The session that the browser had.
    before: Option<Session>,
    return_to: Box<str>,
}

impl SignedIn {
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }
}

/// What the browser keeps, sealed, while its user is at the issuer.
#[derive(Serialize, Deserialize)]
struct Pending {
    state: Box<str>,
    nonce: Box<str>,
    verifier: Box<str>,
    return_to: Box<str>,
    /// Seconds since 1970.
    created: u64,
}

/// 256 random bits as text.
fn random() -> Option<Box<str>> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes).into())
}

impl Pending {
    fn new(return_to: Option<&str>, home: &str, created: u64) -> Option<Self> {
        let return_to = return_to.filter(|path| is_own_path(path)).unwrap_or(home).into();
        Some(Self { state: random()?, nonce: random()?, verifier: random()?, return_to, created })
    }

    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::of(self.verifier.as_bytes()).0)
    }
}

/// Whether browsers take this for a path of the host they are at, and of nothing that signs in again.
///
/// Browsers read a backslash as a slash and drop tabs and line breaks, so `/\evil.example` and `/<tab>/evil.example` lead elsewhere.
fn is_own_path(path: &str) -> bool {
    let plain = path.len() <= MAX_RETURN_TO && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let before_query = path.split(['?', '#']).next().unwrap_or_default();
    plain && path.starts_with('/') && !before_query.contains("//") && !before_query.starts_with("/auth/")
}

/// States that came back. Bounded: with each there is a cookie and a code that is good once at the issuer, so that one that was
/// forgotten too early is still not good twice.
pub(super) struct UsedStates(Cache<Sha256, ()>);

impl UsedStates {
    pub(super) fn new() -> Self {
        let builder = Cache::builder().max_capacity(MOST_USED_STATES).eviction_policy(EvictionPolicy::lru());
        Self(builder.time_to_live(Duration::from_secs(PATIENCE)).build())
    }

    /// `false` when it was used before.
    fn first_use(&self, state: &str) -> bool {
        self.0.entry(Sha256::of(state.as_bytes())).or_insert(()).is_fresh()
    }
}

/// The issuer's answer, as the query of the callback has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    declined: bool,
}

impl Answer {
    /// `None` when a parameter is there twice (RFC 6749, section 3.1).
    fn read(query: &str) -> Option<Self> {
        let mut answer = Self::default();
        let mut error = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "iss" => &mut answer.iss,
                "error" => &mut error,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        answer.declined = error.is_some();
        Some(answer)
    }
}

impl Login {
    /// Where the browser goes to sign in. `return_to` is where it is led afterwards, if that is a path of our own. `claims` is what the
    /// issuer has to ask its user for.
    pub(crate) async fn begin(
        &self,
        return_to: Option<&str>,
        claims: Option<&ClaimsRequest>,
        cookies: &Cookies<'_>,
        jar: &Jar,
    ) -> Result<String, Unauthenticated> {
        let endpoints = self.provider().endpoints().await?;
        let pending =
            Pending::new(return_to, self.home.path(), self.clock.unix()).ok_or_else(|| self.provider().unavailable())?;
        let plain = serde_json::to_vec(&pending).unwrap_or_default();
        let sealed = self.sealer.seal(Purpose::SignIn, &plain).map_err(|_| self.provider().unavailable())?;
        let old: Vec<_> = cookies.names(self.keeping.sign_in_prefix()).collect();
        for surplus in old.iter().take((old.len() + 1).saturating_sub(MOST_AT_ONCE)) {
            jar.put(self.keeping.remove(surplus));
        }
        jar.put(self.keeping.keep(&self.keeping.sign_in_name(&pending.state), &sealed, PATIENCE));
        let mut url = endpoints.authorization;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.provider().client_id)
            .append_pair("redirect_uri", &self.provider().redirect_uri)
            .append_pair("scope", &self.scope)
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce)
            .append_pair("code_challenge", &pending.challenge())
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(claims.map(|claims| ("claims", claims.as_str())));
        Ok(url.into())
    }

    /// Who comes back from the issuer. They are signed in once that is kept.
    pub(crate) async fn complete(&self, query: &str, cookies: &Cookies<'_>, jar: &Jar) -> Result<SignedIn, NotSignedIn> {
        let answer = Answer::read(query).ok_or(NotSignedIn::Invalid)?;
        let pending = self.pending(&answer, cookies, jar).ok_or(NotSignedIn::Invalid)?;
        let names_itself = self.provider().endpoints().await?.names_itself;
        let issuer = &self.provider().issuer.settings.issuer;
        // An answer of another issuer (mix-up) is not looked at any further.
        if answer.iss.as_ref().map_or(names_itself, |named| named != issuer) {
            return Err(NotSignedIn::Invalid);
        }
        if answer.declined {
            return Err(NotSignedIn::Declined);
        }
        let code = answer.code.filter(|code| (1..=MAX_CODE).contains(&code.len())).ok_or(NotSignedIn::Invalid)?;
        let session = self.session(&code, &pending).await?;
        let principal = self.principal(&session)?;
        let cookie = self.cookie(&session).map_err(|error| {
            tracing::warn!(%error, "a user cannot sign in: list fewer groups or smaller claims in the ID token");
            NotSignedIn::Invalid
        })?;
        let before = self.opened(cookies).map(|(before, _)| before);
        Ok(SignedIn { principal, cookie, before, return_to: pending.return_to })
    }

    /// Hands the session to the browser, in place of the one before. Where the browser goes from the callback.
    pub(crate) fn keep(&self, signed_in: SignedIn, jar: &Jar) -> String {
        if let Some(before) = &signed_in.before {
            self.forget(before);
        }
        jar.put(signed_in.cookie);
        signed_in.return_to.into()
    }

    /// The sign-in that this answer belongs to. It is over, whatever comes of it.
    fn pending(&self, answer: &Answer, cookies: &Cookies<'_>, jar: &Jar) -> Option<Pending> {
        let state = answer.state.as_ref()?;
        let name = self.keeping.sign_in_name(state);
        let cookie = cookies.one(&name).ok()??;
        jar.put(self.keeping.remove(&name));
        let opened = self.sealer.open(Purpose::SignIn, cookie)?;
        let pending: Pending = serde_json::from_slice(&opened.plain).ok()?;
        let same = verify_slices_are_equal(pending.state.as_bytes(), state.as_bytes()).is_ok();
        let in_time = self.clock.unix().saturating_sub(pending.created) < PATIENCE;
        (same && in_time && self.used_states.first_use(state)).then_some(pending)
    }

    async fn session(&self, code: &str, pending: &Pending) -> Result<Session, NotSignedIn> {
        let tokens = self.provider().exchange(code, &pending.verifier).await.map_err(|none| match none {
            NoTokens::Refused => NotSignedIn::Invalid,
            NoTokens::Unavailable => NotSignedIn::Unavailable(self.provider().unavailable()),
        })?;
        let id_token = tokens.id_token.ok_or(NotSignedIn::Invalid)?;
        let verified = self.id_tokens.verify(&id_token, Nonce::Is(&pending.nonce)).await;
        if verified.as_ref().is_err_and(|unauthenticated| *unauthenticated == Unauthenticated::Invalid) {
            tracing::warn!(
                "an ID token was not accepted: check algorithms, claim settings and clocks of identity.login; it has at most 8 KiB"
            );
        }
        let identified = verified?;
        let now = self.clock.unix();
        self.access.keep(&pending.nonce, tokens.access_token, tokens.expires_in);
        Ok(Session {
            id: pending.nonce.clone(),
            created: now,
            seen: now,
            claims: identified.claims,
            name: identified.name,
            refresh: tokens.refresh_token.map(|token| Refresh { token, due: refresh::due(now, tokens.expires_in) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, MAX_RETURN_TO, UsedStates, is_own_path};

    #[test]
    fn a_browser_is_led_to_paths_of_its_own_host_alone() {
        for good in ["/", "/talk", "/talk?profile=a&next=https://x//y#top", "/a/b/../c", "/%2fevil.example", "/authors/"] {
            assert!(is_own_path(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(MAX_RETURN_TO));
        for bad in [
            "",
            "talk",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "/a\\b",
            "/.//evil.example",
            "/a//evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "data:,",
            "/\t/evil.example",
            "/\r\nSet-Cookie: a=b",
            "/\0",
            "/ /evil.example",
            " /talk",
            "?a",
            "#a",
            "@evil.example",
            ".evil.example",
            "/\u{2028}",
            "/gr\u{fc}n",
            "/auth/login?return_to=/",
            "/auth/callback",
            &long,
        ] {
            assert!(!is_own_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_no_answer() {
        let text = |text: &str| Some(text.to_owned());
        let answer = Answer { state: text("s"), code: text("c d"), iss: text("https://i/"), declined: false };
        assert_eq!(Answer::read("code=c+d&state=s&iss=https%3A%2F%2Fi%2F&session_state=x"), Some(answer));
        assert_eq!(Answer::read("error=access_denied&state=s").map(|answer| answer.declined), Some(true));
        for twice in ["state=s&state=s", "code=a&state=s&code=b", "iss=a&iss=a", "error=a&error=b"] {
            assert_eq!(Answer::read(twice), None, "{twice}");
        }
    }

    #[test]
    fn a_state_comes_back_once() {
        let states = UsedStates::new();
        assert!(states.first_use("a"));
        assert!(states.first_use("b"));
        assert!(!states.first_use("a"));
    }
}
