//! What may they have? A [`Principal`] and an [`Ask`] in, a [`Grant`] out.

mod session;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::authenticate::Principal;
use crate::config::{self, Api, ClaimPath, ClaimRule, Limits};
use crate::domain::ask::Ask;
use crate::domain::ttl::Ttl;
use session::{Rules, Shaped};

/// A profile, compiled.
pub(crate) struct Profile {
    name: Arc<str>,
    upstream: Arc<config::Upstream>,
    api: Api,
    ttl: Ttl,
    max_ttl: Ttl,
    allow_groups: Vec<String>,
    allow_claims: Vec<ClaimRule>,
    session: Map<String, Value>,
    rules: Rules,
    limits: Limits,
    total_limits: Option<Limits>,
    /// What goes upstream when the caller asks for nothing of its own.
    plain: Body,
    /// How the upstream names the kind of session; a translation has no name on the wire.
    written_session: String,
}

impl Profile {
    /// The longest lifetime that a caller may ask for.
    pub(crate) fn max_ttl(&self) -> Ttl {
        self.max_ttl
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn upstream(&self) -> &Arc<config::Upstream> {
        &self.upstream
    }

    pub(crate) fn api(&self) -> Api {
        self.api
    }

    /// Of each user.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Of all users together.
    pub(crate) fn total_limits(&self) -> Option<&Limits> {
        self.total_limits.as_ref()
    }
}

/// The body of a mint, as it goes upstream.
#[derive(Clone, Debug)]
pub(crate) struct Body(Bytes);

impl Body {
    fn write(ttl: Ttl, session: &str) -> Self {
        Self(Bytes::from(format!(r#"{{"expires_after":{{"anchor":"created_at","seconds":{ttl}}},"session":{session}}}"#)))
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

/// A session that a caller may have. Only this stage can make one.
pub(crate) struct Grant {
    principal: Arc<Principal>,
    profile: Arc<Profile>,
    ttl: Ttl,
    body: Body,
}

impl Grant {
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) fn ttl(&self) -> Ttl {
        self.ttl
    }

    pub(crate) fn body(&self) -> Bytes {
        self.body.bytes()
    }
}

/// Why a caller may not have what they asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    /// No such profile, not for this caller, or not for this path: a caller cannot tell which.
    #[error("the profile is not for this caller")]
    Profile,
    /// Holds the most seconds that the profile allows.
    #[error("the profile allows at most {0} seconds")]
    Ttl(Ttl),
    /// Holds the JSON pointer of the first field that may not be set, and whether another value could be.
    #[error("the session field {pointer} may not be set")]
    Field { pointer: String, other_value_allowed: bool },
}

/// Which paths mint which sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `POST /v1/realtime/client_secrets`
    Realtime,
    /// `POST /v1/realtime/translations/client_secrets`
    Translation,
}

impl Door {
    fn leads_to(self, api: Api) -> bool {
        match api {
            Api::Realtime | Api::Transcription => self == Self::Realtime,
            Api::Translation => self == Self::Translation,
        }
    }
}

/// All profiles.
pub(crate) struct Policy {
    profiles: HashMap<Box<str>, Arc<Profile>>,
}

impl Policy {
    pub(crate) fn new(profiles: BTreeMap<String, config::Profile>) -> Self {
        let compiled =
            profiles.into_iter().map(|(name, profile)| (name.clone().into_boxed_str(), Arc::new(compile(name, profile))));
        Self { profiles: compiled.collect() }
    }

    pub(crate) fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values().map(|profile| &**profile)
    }

    /// Claims that some profile asks for.
    pub(crate) fn asked_claims(&self) -> Vec<ClaimPath> {
        let mut claims: Vec<ClaimPath> =
            self.profiles.values().flat_map(|profile| &profile.allow_claims).map(|rule| rule.claim.clone()).collect();
        claims.sort_unstable();
        claims.dedup();
        claims
    }

    /// The profile of that name, if it exists, is for this caller and for this path.
    pub(crate) fn profile_for(&self, principal: &Principal, door: Door, name: &str) -> Option<&Arc<Profile>> {
        let is_theirs = |profile: &&Arc<Profile>| {
            door.leads_to(profile.api) && principal.may_use(&profile.name) && admits(profile, principal)
        };
        self.profiles.get(name).filter(is_theirs)
    }

    /// Judges what `principal` asks for.
    pub(crate) fn authorize(&self, principal: &Arc<Principal>, door: Door, profile: &str, ask: &Ask) -> Result<Grant, Forbidden> {
        let profile = self.profile_for(principal, door, profile).ok_or(Forbidden::Profile)?;
        let ttl = ask.ttl.unwrap_or(profile.ttl);
        if ttl > profile.max_ttl {
            return Err(Forbidden::Ttl(profile.max_ttl));
        }
        let body = match profile.rules.shape(&profile.session, &ask.session)? {
            Shaped::AsProfile if ttl == profile.ttl => profile.plain.clone(),
            Shaped::AsProfile => Body::write(ttl, &profile.written_session),
            Shaped::Changed(session) => Body::write(ttl, &session),
        };
        Ok(Grant { principal: principal.clone(), profile: profile.clone(), ttl, body })
    }
}

fn compile(name: String, profile: config::Profile) -> Profile {
    let written_session = Value::Object(profile.session.clone()).to_string();
    Profile {
        name: name.into(),
        upstream: profile.upstream,
        api: profile.api,
        ttl: profile.ttl,
        max_ttl: profile.max_ttl,
        allow_groups: profile.allow_groups,
        allow_claims: profile.allow_claims,
        session: profile.session,
        rules: Rules::new(profile.client_may_set),
        limits: profile.limits,
        total_limits: profile.total_limits,
        plain: Body::write(profile.ttl, &written_session),
        written_session,
    }
}

fn admits(profile: &Profile, principal: &Principal) -> bool {
    let in_group = profile.allow_groups.is_empty() || principal.groups().iter().any(|group| profile.allow_groups.contains(group));
    in_group && profile.allow_claims.iter().all(|rule| rule.holds(principal.claim(&rule.claim)))
}
