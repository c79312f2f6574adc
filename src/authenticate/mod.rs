//! Who is calling? What they [`Presented`] in, a [`Principal`] out.
//!
//! Each kind of identity has a file of its own. Which one a credential is for shows in its form: none is tried in turn.

mod claims;
mod issuers;
mod jwk;
mod jwks;
mod jwt;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::{ClaimPath, Identity};
use crate::domain::clock::SharedClock;
use crate::domain::ids::{Pseudonym, Pseudonymizer};
use crate::domain::secret::Credential;
use crate::outbound::{Outbound, Unbuildable};
use crate::telemetry::metrics::Metrics;
use issuers::Issuers;

/// A caller whose token was verified. Only this stage can make one.
#[derive(Debug)]
pub(crate) struct Principal {
    /// The configured identity that vouches for the caller, as the audit trail names it: `jwt.main`.
    identity: Arc<str>,
    user: Pseudonym,
    /// The subject as the issuer has it. `None` unless the audit trail is to name users in plain.
    user_name: Option<Box<str>>,
    tenant: Box<str>,
    groups: Vec<String>,
    /// Only the claims that some profile asks for.
    claims: Vec<(ClaimPath, Value)>,
    /// The only profiles that the caller may use. `None`: whatever profiles themselves allow.
    profiles: Option<Arc<[String]>>,
}

impl Principal {
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    pub(crate) fn user(&self) -> &Pseudonym {
        &self.user
    }

    /// For the audit trail alone.
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    /// Empty when tokens name no tenant.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(crate) fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether this caller may use the profile, as far as their credential goes.
    pub(crate) fn may_use(&self, profile: &str) -> bool {
        self.profiles.as_ref().is_none_or(|only| only.iter().any(|name| name == profile))
    }

    pub(crate) fn claim(&self, path: &ClaimPath) -> Option<&Value> {
        self.claims.iter().find(|(known, _)| known == path).map(|(_, value)| value)
    }
}

/// Why a caller is not known. Says no more than the caller may hear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthenticated {
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the token lacks a required scope")]
    InsufficientScope,
    /// The issuer's keys cannot be had. The issuer's configured name, and when to try again.
    #[error("the keys of issuer {0} are not available")]
    Unavailable(Arc<str>, Duration),
}

/// What a caller presented to prove who they are.
pub(crate) struct Presented {
    pub(crate) credential: Credential,
}

/// Knows every configured kind of identity.
pub(crate) struct Authenticator {
    issuers: Issuers,
}

impl Authenticator {
    /// `asked_claims` are the claims that profiles ask for; no others are kept.
    /// Starts one background task per issuer, on the current runtime, that keeps its keys fresh.
    pub(crate) fn start(
        identity: Identity,
        asked_claims: Vec<ClaimPath>,
        names: Pseudonymizer,
        outbound: &Outbound,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, Unbuildable> {
        Ok(Self { issuers: Issuers::start(identity, &asked_claims.into(), names, outbound, clock, metrics)? })
    }

    /// Whether every issuer's keys were fetched and are not too old to be used.
    pub(crate) fn is_ready(&self) -> bool {
        self.issuers.are_ready()
    }

    /// Finds out who presented this.
    pub(crate) async fn authenticate(&self, presented: &Presented) -> Result<Arc<Principal>, Unauthenticated> {
        self.issuers.authenticate(presented.credential.reveal()).await
    }
}
