//! Scripted behaviour, chosen by name: how a team sees its own error handling work.
//!
//! A request names its scenario by `?scenario=NAME`, by the header `x-sandbox-scenario: NAME` or by its base URL
//! (`/scenarios/NAME/v1`), in this order. A client secret remembers the scenario that it was minted under; a call that names none
//! inherits it.
//!
//! | scenario | mint | call, session over WebSocket, live session |
//! |---|---|---|
//! | `happy` | works | works |
//! | `slow` | answers 2 s late | answers 2 s late; every response's first words come 2 s late |
//! | `rate_limited` | 429 `rate_limit_exceeded` with `retry-after: 1` | the same |
//! | `quota_exhausted` | 429 `insufficient_quota` | the same |
//! | `server_error` | 500 `server_error` | the same |
//! | `drops_mid_call` | works | the other side vanishes about 3 s into the first response, without a goodbye |
//! | `hangs_up` | works | the sandbox says goodbye as its first response and ends the call cleanly |
//! | `echo` | works | every spoken turn is answered with the user's own words |
//! | `expires` | works | the session reaches its longest duration after 10 s: error `session_expired`, and a clean end |
//!
//! Models, hang-ups and sidebands answer to operators and are the same in every scenario.

use std::time::Duration;

/// How much later `slow` is.
pub(super) const SLOWNESS: Duration = Duration::from_secs(2);
/// How long a session may last.
const LONGEST: Duration = Duration::from_hours(1);
/// And in `expires`: time enough for a question and an answer.
const SHORT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scenario {
    #[default]
    Happy,
    Slow,
    RateLimited,
    QuotaExhausted,
    ServerError,
    DropsMidCall,
    HangsUp,
    Echo,
    Expires,
}

impl Scenario {
    const NAMED: [(&'static str, Self); 9] = [
        ("happy", Self::Happy),
        ("slow", Self::Slow),
        ("rate_limited", Self::RateLimited),
        ("quota_exhausted", Self::QuotaExhausted),
        ("server_error", Self::ServerError),
        ("drops_mid_call", Self::DropsMidCall),
        ("hangs_up", Self::HangsUp),
        ("echo", Self::Echo),
        ("expires", Self::Expires),
    ];

    /// All names, in the order in which they are documented.
    pub(crate) fn names() -> [&'static str; 9] {
        Self::NAMED.map(|(name, _)| name)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario)
    }

    /// How long a session may last.
    pub(super) fn longest(self) -> Duration {
        if self == Self::Expires { SHORT } else { LONGEST }
    }
}
