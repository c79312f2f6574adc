//! Refresh tokens: the issuer is asked again whether the user is still welcome.
//!
//! A refresh token is often good for one use, and a page sends several requests at once, all with the same cookie. So requests with
//! the same cookie share one exchange and, for a while, its outcome. The exchange goes on when the browser that caused it goes away.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use super::access::AccessTokens;
use super::id_token::{IdTokens, Identified, Nonce};
use super::provider::{NoTokens, Tokens};
use super::session::{Refresh, Session};
use crate::authenticate::Unauthenticated;
use crate::domain::clock::SharedClock;
use crate::domain::secret::Sha256;

const MOST_EXCHANGES: u64 = 10_000;
/// A browser that missed an answer may come back this late with the cookie of before.
const REMEMBERED: Duration = Duration::from_mins(5);
/// After an outage the issuer is left alone for this long.
const PAUSE: Duration = Duration::from_secs(30);
/// Seconds between two exchanges: at least, and where the issuer does not say how long its tokens live.
const LEAST_INTERVAL: u64 = 60;
const DEFAULT_INTERVAL: u64 = 300;

/// What came of one exchange.
#[derive(Clone)]
enum Outcome {
    Renewed(Arc<Session>),
    /// The issuer wants to see the user.
    Refused,
    /// The session goes on as it is, until its own end.
    Outage,
}

pub(super) struct Refreshing {
    id_tokens: Arc<IdTokens>,
    access: AccessTokens,
    clock: SharedClock,
    exchanges: Cache<Sha256, watch::Receiver<Option<Outcome>>>,
}

impl Refreshing {
    pub(super) fn new(id_tokens: Arc<IdTokens>, access: AccessTokens, clock: SharedClock) -> Arc<Self> {
        let exchanges = Cache::builder().max_capacity(MOST_EXCHANGES).time_to_live(REMEMBERED).build();
        Arc::new(Self { id_tokens, access, clock, exchanges })
    }

    /// The session as it is to go on. `Err` when the issuer ended it.
    pub(super) async fn refreshed(self: &Arc<Self>, session: Session) -> Result<Session, Unauthenticated> {
        let Some(refresh) = &session.refresh else { return Ok(session) };
        // A token that is not replaced is used again, for another exchange.
        let key = Sha256::of(format!("{} {}", refresh.due, refresh.token.reveal()).as_bytes());
        let known = self.exchanges.get(&key);
        if known.is_none() && self.clock.unix() < refresh.due && !self.access.lacks(&session.id) {
            return Ok(session);
        }
        let begin = || self.exchanges.get_with(key, || self.clone().begin(key, session.clone()));
        let mut outcome = known.unwrap_or_else(begin);
        let ended = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match ended {
            Ok(Some(Outcome::Renewed(renewed))) => Ok(Session { seen: session.seen, ..(*renewed).clone() }),
            Ok(Some(Outcome::Refused)) => Err(Unauthenticated::Expired),
            Ok(Some(Outcome::Outage) | None) | Err(_) => Ok(session),
        }
    }

    fn begin(self: Arc<Self>, key: Sha256, session: Session) -> watch::Receiver<Option<Outcome>> {
        let (tell, outcome) = watch::channel(None);
        let runtime: Handle = self.id_tokens.provider.runtime.clone();
        runtime.spawn(async move {
            let outcome = self.exchange(session).await;
            let is_outage = matches!(outcome, Outcome::Outage);
            let _ = tell.send(Some(outcome));
            if is_outage {
                sleep(PAUSE).await;
                self.exchanges.invalidate(&key);
            }
        });
        outcome
    }

    async fn exchange(&self, session: Session) -> Outcome {
        let Some(refresh) = &session.refresh else { return Outcome::Outage };
        let tokens = match self.id_tokens.provider.refresh(&refresh.token).await {
            Ok(tokens) => tokens,
            Err(NoTokens::Refused) => return Outcome::Refused,
            Err(NoTokens::Unavailable) => return Outcome::Outage,
        };
        let (access_token, expires_in) = (tokens.access_token.clone(), tokens.expires_in);
        let identified = match &tokens.id_token {
            None => None,
            Some(token) => match self.id_tokens.verify(token, Nonce::IsNotOther(&session.id)).await {
                Ok(identified) => Some(identified),
                // The old token may be spent, so the new one is kept; what it says of the user will be seen next time.
                Err(Unauthenticated::Unavailable(..)) => None,
                Err(_) => return Outcome::Refused,
            },
        };
        // Whose token it is cannot be told now, so nobody gets it.
        let is_unknown = tokens.id_token.is_some() && identified.is_none();
        let Some(session) = self.renewed(&session, refresh, tokens, identified) else { return Outcome::Refused };
        let access_token = access_token.filter(|_| !is_unknown);
        self.access.keep(&session.id, access_token, if is_unknown { Some(PAUSE.as_secs()) } else { expires_in });
        Outcome::Renewed(Arc::new(session))
    }

    /// `None` when the tokens are of another user.
    fn renewed(&self, old: &Session, refresh: &Refresh, tokens: Tokens, identified: Option<Identified>) -> Option<Session> {
        let due = due(self.clock.unix(), tokens.expires_in);
        let token = tokens.refresh_token.unwrap_or_else(|| refresh.token.clone());
        let mut session = Session { refresh: Some(Refresh { token, due }), ..old.clone() };
        if let Some(Identified { claims, name }) = identified {
            if claims.get("sub") != old.claims.get("sub") {
                return None;
            }
            (session.claims, session.name) = (claims, name.or(session.name));
        }
        Some(session)
    }
}

/// When the issuer is to be asked again.
pub(super) fn due(now: u64, expires_in: Option<u64>) -> u64 {
    now.saturating_add(expires_in.unwrap_or(DEFAULT_INTERVAL).max(LEAST_INTERVAL))
}
