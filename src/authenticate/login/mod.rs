//! Browser sign-in: OpenID Connect's authorization code flow with PKCE, and the session cookie that comes of it.
//!
//! A session lives in its cookie and nowhere else, so that every replica knows it. What each replica keeps for itself is which sessions
//! were signed out there.

mod access;
mod claims_request;
mod cookie;
mod id_token;
mod provider;
mod refresh;
mod session;
mod sign_in;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use url::Url;

use super::claims::Reading;
use super::jwks::KeySource;
use super::jwt::Issuer;
use super::{Presented, Principal, StartError, Unauthenticated};
use crate::config::{self, ClaimPath};
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::secret::Secret;
use crate::outbound::Outbound;
use crate::telemetry::metrics::Metrics;
use access::AccessTokens;
pub(crate) use claims_request::ClaimsRequest;
pub(crate) use cookie::{Cookies, Jar};
use cookie::{Keeping, Purpose, Sealer};
use id_token::IdTokens;
use provider::{DEADLINE, Endpoints, Provider};
use refresh::Refreshing;
use session::{Lifetime, Session, TooLarge};
use sign_in::UsedStates;
pub(crate) use sign_in::{NotSignedIn, SignedIn};

/// Sessions that were signed out and have not come to their end.
const MOST_ENDED: u64 = 100_000;

/// Signs browsers in and out, and knows their users.
pub(crate) struct Login {
    id_tokens: Arc<IdTokens>,
    refreshing: Arc<Refreshing>,
    access: AccessTokens,
    sealer: Sealer,
    keeping: Keeping,
    lifetime: Lifetime,
    scope: String,
    /// Where browsers are led when they do not say where.
    home: Url,
    used_states: UsedStates,
    /// By the session's id: for how long to remember it.
    ended: Cache<Box<str>, Duration>,
    clock: SharedClock,
}

/// What a signed-in user may know of their session.
#[derive(Debug)]
pub(crate) struct Me {
    /// What to call them.
    pub(crate) user: String,
    pub(crate) principal: Arc<Principal>,
    /// When the session ends unless it is used, seconds since 1970.
    pub(crate) expires_at: u64,
}

impl Login {
    /// Starts a background task, on the current runtime, that keeps the issuer's keys and endpoints fresh.
    pub(super) fn start(
        config: config::Login,
        asked_claims: &Arc<[ClaimPath]>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let sealer =
            Sealer::new(&config.cookie_keys, &config.provider.issuer, &config.client_id).map_err(|_| StartError::Keys)?;
        let keys = KeySource::start(&config.provider, outbound, clock.clone(), metrics)?;
        let kept = kept_claims(&config.provider, asked_claims);
        let issuer = Issuer { identity: "login".into(), settings: config.provider, keys, asked_claims: asked_claims.clone() };
        let provider = Provider {
            issuer,
            http: outbound.client(DEADLINE)?,
            client: config.client,
            client_id: config.client_id,
            redirect_uri: format!("{}/auth/callback", config.public_url.as_str().trim_end_matches('/')),
            runtime: Handle::current(),
        };
        let id_tokens = Arc::new(IdTokens { provider: Arc::new(provider), names, clock: clock.clone(), kept });
        let access = AccessTokens::new(config.keeps_access_tokens);
        Ok(Self {
            refreshing: Refreshing::new(id_tokens.clone(), access.clone(), clock.clone()),
            access,
            id_tokens,
            sealer,
            keeping: Keeping { secure: config.public_url.scheme() == "https" },
            lifetime: Lifetime { idle: config.idle_seconds, absolute: config.absolute_seconds },
            scope: config.scope,
            home: config.public_url,
            used_states: UsedStates::new(),
            ended: Cache::builder()
                .max_capacity(MOST_ENDED)
                .eviction_policy(EvictionPolicy::lru())
                .expire_after(UntilItsEnd)
                .build(),
            clock,
        })
    }

    /// Whether the issuer's keys were fetched and are not too old to be used.
    pub(super) fn is_ready(&self) -> bool {
        self.provider().issuer.keys.current().is_ok()
    }

    /// The session's cookie, if it is among these.
    pub(crate) fn presented(&self, cookies: &Cookies<'_>, jar: &Jar) -> Result<Option<Presented>, Unauthenticated> {
        let cookie = cookies.one(self.keeping.session_name()).map_err(|cookie::Ambiguous| Unauthenticated::Invalid)?;
        Ok(cookie.map(|cookie| Presented {
            credential: cookie.into(),
            acts_for: None,
            possession: None,
            from: None,
            session: Some(jar.clone()),
        }))
    }

    /// Whose session this is.
    pub(super) async fn authenticate(&self, cookie: &str, jar: &Jar) -> Result<Arc<Principal>, Unauthenticated> {
        let session = self.live(cookie, jar).await?;
        self.principal(&session).map(Arc::new)
    }

    /// The access token that the issuer gave for this user, where an upstream is asked on their behalf.
    pub(super) fn access_token(&self, cookie: &str) -> Option<Secret> {
        let (session, _) = self.open(cookie)?;
        self.access.get(&session.id)
    }

    /// The session, for its own user.
    pub(crate) async fn me(&self, presented: &Presented) -> Result<Me, Unauthenticated> {
        let jar = presented.session.as_ref().ok_or(Unauthenticated::Invalid)?;
        let session = self.live(presented.credential.reveal(), jar).await?;
        let principal = Arc::new(self.principal(&session)?);
        let subject = self.provider().issuer.settings.mapping.user.find(&session.claims).and_then(|claim| claim.as_str());
        let user = session.name.as_deref().or(subject).unwrap_or_default().to_owned();
        Ok(Me { user, principal, expires_at: self.lifetime.end(&session) })
    }

    /// Signs the browser out here. Who signed out, if anybody was signed in, and where to sign out at the issuer too, if it offers that.
    pub(crate) fn end(&self, cookies: &Cookies<'_>, jar: &Jar) -> (Option<Principal>, Option<String>) {
        jar.put(self.keeping.remove(self.keeping.session_name()));
        let opened = self.opened(cookies).map(|(session, _)| session);
        if let Some(session) = &opened {
            self.forget(session);
            if let Some(refresh) = &session.refresh {
                self.provider().revoke(&refresh.token);
            }
        }
        (opened.and_then(|session| self.principal(&session).ok()), self.sign_out_url())
    }

    fn sign_out_url(&self) -> Option<String> {
        let mut url = self.provider().known_endpoints()?.end_session?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.provider().client_id)
            .append_pair("post_logout_redirect_uri", self.home.as_str());
        Some(url.into())
    }

    fn provider(&self) -> &Arc<Provider> {
        &self.id_tokens.provider
    }

    /// A session that is good now. Its cookie is renewed when that is due, whatever else comes of the request: a refresh token that
    /// was traded for another one is not good any more.
    async fn live(&self, cookie: &str, jar: &Jar) -> Result<Session, Unauthenticated> {
        let (old, is_current) = self.open(cookie).ok_or(Unauthenticated::Invalid)?;
        let now = self.clock.unix();
        self.lifetime.check(&old, now)?;
        if self.ended.contains_key(&old.id) {
            return Err(Unauthenticated::Invalid);
        }
        let due = old.refresh.as_ref().map(|refresh| refresh.due);
        let to_be_renewed = !is_current || self.lifetime.is_to_be_renewed(&old, now);
        let session = self.refreshing.refreshed(old).await?;
        if !to_be_renewed && session.refresh.as_ref().map(|refresh| refresh.due) == due {
            return Ok(session);
        }
        let session = Session { seen: now, ..session };
        match self.cookie(&session) {
            Ok(renewed) => jar.put(renewed),
            Err(error) => tracing::warn!(%error, "a session is not renewed and ends early"),
        }
        Ok(session)
    }

    fn open(&self, cookie: &str) -> Option<(Session, bool)> {
        let opened = self.sealer.open(Purpose::Session, cookie)?;
        Some((serde_json::from_slice(&opened.plain).ok()?, opened.is_current))
    }

    /// The authentic session among the cookies, good or over.
    fn opened(&self, cookies: &Cookies<'_>) -> Option<(Session, bool)> {
        self.open(cookies.one(self.keeping.session_name()).ok()??)
    }

    /// For browsers to keep as long as the session can last without being used.
    fn cookie(&self, session: &Session) -> Result<Secret, TooLarge> {
        let seconds = self.lifetime.end(session).saturating_sub(session.seen);
        session.sealed(&self.sealer, self.keeping, seconds)
    }

    fn principal(&self, session: &Session) -> Result<Principal, Unauthenticated> {
        let Issuer { identity, settings, asked_claims: asked, .. } = &self.provider().issuer;
        let reading =
            Reading { mapping: &settings.mapping, identity, issuer: &settings.issuer, asked, names: &self.id_tokens.names };
        reading.principal(&session.claims)
    }

    /// From now on no copy of the session's cookie is good on this replica.
    fn forget(&self, session: &Session) {
        let left = self.lifetime.absolute_end(session).saturating_sub(self.clock.unix());
        self.ended.insert(session.id.clone(), Duration::from_secs(left));
    }
}

/// Whether discovery says where users sign in at this issuer, as a sign-in needs it.
pub(super) fn says_where(issuer: &str, discovery: &Map<String, Value>) -> bool {
    Endpoints::read(issuer, discovery).is_some()
}

/// Every claim that the configuration reads, and who the user is at the issuer.
fn kept_claims(settings: &config::Jwt, asked: &[ClaimPath]) -> Vec<ClaimPath> {
    let mapping = &settings.mapping;
    let required = mapping.required_claims.iter().map(|rule| &rule.claim);
    let mapped = std::iter::once(&mapping.user).chain(&mapping.groups).chain(&mapping.tenant).chain(required).chain(asked);
    ClaimPath::parse("sub").into_iter().chain(mapped.cloned()).collect()
}

/// A session that was signed out is remembered until it would have ended anyway.
struct UntilItsEnd;

impl Expiry<Box<str>, Duration> for UntilItsEnd {
    fn expire_after_create(&self, _: &Box<str>, left: &Duration, _: Instant) -> Option<Duration> {
        Some(*left)
    }
}
