//! What may they have? A [`Principal`] and an [`Ask`] in, a [`Grant`] out.

mod session;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::authenticate::Principal;
use crate::config::{self, Api, ClaimPath, ClaimRule, Dialect, Limits};
use crate::domain::ask::Ask;
use crate::domain::flat_session::flat;
use crate::domain::ttl::Ttl;
use session::{Rules, Shaped};

/// A profile, compiled.
pub(crate) struct Profile {
    name: Arc<str>,
    routes: Box<[Route]>,
    api: Api,
    ttl: Ttl,
    max_ttl: Ttl,
    allow_groups: Vec<String>,
    allow_claims: Vec<ClaimRule>,
    rules: Rules,
    limits: Limits,
    total_limits: Option<Limits>,
}

/// A profile at one of its upstreams.
pub(crate) struct Route {
    upstream: Arc<config::Upstream>,
    calls_url: Arc<str>,
    session: Map<String, Value>,
    /// What goes upstream when the caller asks for nothing of its own.
    plain: Body,
    written_session: String,
}

impl Route {
    pub(crate) fn upstream(&self) -> &Arc<config::Upstream> {
        &self.upstream
    }

    /// What the profile's sessions are made with here; at Azure, the name of a deployment.
    pub(crate) fn model(&self) -> Option<&str> {
        self.session.get("model").and_then(Value::as_str)
    }

    /// Where a browser takes its client secret.
    pub(crate) fn calls_url(&self) -> &Arc<str> {
        &self.calls_url
    }
}

impl Profile {
    /// The longest lifetime that a caller may ask for.
    pub(crate) fn max_ttl(&self) -> Ttl {
        self.max_ttl
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// In the order in which they are tried; at least one.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The first of its upstreams.
    pub(crate) fn upstream(&self) -> Option<&Arc<config::Upstream>> {
        self.routes.first().map(Route::upstream)
    }

    /// Whether its upstreams are asked on behalf of each user.
    pub(crate) fn is_on_behalf(&self) -> bool {
        self.routes.iter().any(|route| route.upstream.is_on_behalf())
    }

    /// How long a mint may take at all of them together.
    pub(crate) fn patience(&self) -> Duration {
        self.routes.iter().map(|route| route.upstream.timeout).sum()
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
    /// `session` as the upstream's dialect has it. Preview versions of Azure's take it bare, and give a minute whatever is asked for.
    fn write(dialect: &Dialect, ttl: Ttl, session: &str) -> Self {
        Self(Bytes::from(match dialect {
            Dialect::AzurePreview { .. } => session.to_owned(),
            Dialect::OpenAi | Dialect::Azure => {
                format!(r#"{{"expires_after":{{"anchor":"created_at","seconds":{ttl}}},"session":{session}}}"#)
            }
        }))
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
    changes: Changes,
}

/// What a caller asks for beside what the profile says.
#[derive(Default)]
struct Changes {
    /// By route. Empty: there is nothing.
    bodies: Vec<Body>,
    /// Asked for at all routes.
    model: Option<Box<str>>,
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

    /// What goes to one of the profile's upstreams.
    pub(crate) fn body(&self, route: usize) -> Bytes {
        let own = || self.profile.routes.get(route).map(|route| &route.plain);
        self.changes.bodies.get(route).or_else(own).map(Body::bytes).unwrap_or_default()
    }

    /// The model that one of the profile's upstreams is asked for; at Azure, the name of a deployment.
    pub(crate) fn model(&self, route: usize) -> Option<&str> {
        self.changes.model.as_deref().or_else(|| self.profile.routes.get(route)?.model())
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
        let changes = profile.changes(ttl, &ask.session)?;
        Ok(Grant { principal: principal.clone(), profile: profile.clone(), ttl, changes })
    }
}

impl Profile {
    /// What is asked for is judged by the session at the first upstream; what differs from that is asked of each.
    fn changes(&self, ttl: Ttl, asked: &Map<String, Value>) -> Result<Changes, Forbidden> {
        let Some((first, others)) = self.routes.split_first() else { return Ok(Changes::default()) };
        let shaped = self.rules.shape(&first.session, asked)?;
        let changes = if others.is_empty() { Map::new() } else { self.rules.changes(&first.session, asked) };
        if shaped == Shaped::AsProfile && changes.is_empty() && ttl == self.ttl {
            return Ok(Changes::default());
        }
        let mut bodies = vec![body(first, ttl, shaped)?];
        for route in others {
            bodies.push(body(route, ttl, self.rules.shape(&route.session, &changes)?)?);
        }
        let model = if others.is_empty() { asked.get("model") } else { changes.get("model") };
        Ok(Changes { bodies, model: model.and_then(Value::as_str).map(Into::into) })
    }
}

fn body(route: &Route, ttl: Ttl, shaped: Shaped) -> Result<Body, Forbidden> {
    let dialect = &route.upstream.dialect;
    let text = match shaped {
        Shaped::AsProfile => return Ok(Body::write(dialect, ttl, &route.written_session)),
        Shaped::Changed(text) if dialect.is_preview() => text,
        Shaped::Changed(text) => return Ok(Body::write(dialect, ttl, &text)),
    };
    let session = serde_json::from_str(&text).map_err(|_| session::unwritable())?;
    let flat = flat(&session).map_err(|pointer| Forbidden::Field { pointer, other_value_allowed: true })?;
    Ok(Body::write(dialect, ttl, &Value::Object(flat).to_string()))
}

fn compile(name: String, profile: config::Profile) -> Profile {
    let (api, ttl) = (profile.api, profile.ttl);
    Profile {
        name: name.into(),
        routes: profile.routes.into_iter().map(|settings| route(settings, ttl)).collect(),
        api,
        ttl,
        max_ttl: profile.max_ttl,
        allow_groups: profile.allow_groups,
        allow_claims: profile.allow_claims,
        rules: Rules::new(profile.client_may_set),
        limits: profile.limits,
        total_limits: profile.total_limits,
    }
}

fn route(settings: config::Route, ttl: Ttl) -> Route {
    let config::Route { upstream, session, calls_url } = settings;
    let on_the_wire = if upstream.dialect.is_preview() { flat(&session).unwrap_or_default() } else { session.clone() };
    let written_session = Value::Object(on_the_wire).to_string();
    let plain = Body::write(&upstream.dialect, ttl, &written_session);
    Route { upstream, calls_url, session, plain, written_session }
}

fn admits(profile: &Profile, principal: &Principal) -> bool {
    let in_group = profile.allow_groups.is_empty() || principal.groups().iter().any(|group| profile.allow_groups.contains(group));
    in_group && profile.allow_claims.iter().all(|rule| rule.holds(principal.claim(&rule.claim)))
}
