//! What a session may be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Check;
use crate::config::raw::{RawMaySet, RawProfile, RawUpstream};
use crate::config::{Api, MaySet, Profile, Route, Upstream};
use crate::domain::json::pointer_tokens;
use crate::domain::ttl::Ttl;

impl Check<'_> {
    pub(super) fn profiles(
        &mut self,
        raw: &BTreeMap<String, RawProfile>,
        named: &BTreeMap<String, RawUpstream>,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
    ) -> BTreeMap<String, Profile> {
        if raw.is_empty() {
            self.problem("profiles", "add one, for example [profiles.default] upstream = \"openai\" session = { type = \"realtime\", model = \"gpt-realtime-2.1\" }");
        }
        let mut profiles = BTreeMap::new();
        for (name, entry) in raw {
            let key = format!("profiles.{name}");
            self.name(&key, name);
            let routes = self.routes(&key, entry, named, upstreams);
            let profile = self.profile(&key, entry, routes);
            profiles.extend(profile.map(|profile| (name.clone(), profile)));
        }
        profiles
    }

    fn profile(&mut self, key: &str, raw: &RawProfile, routes: Option<Vec<Route>>) -> Option<Profile> {
        let (ttl, max_ttl) = self.lifetimes(key, raw, routes.as_deref().unwrap_or_default());
        let client_may_set: Vec<_> = raw
            .client_may_set
            .iter()
            .enumerate()
            .filter_map(|(i, rule)| self.may_set(&format!("{key}.client_may_set[{i}]"), rule))
            .collect();
        self.may_set_at(key, &client_may_set, routes.as_deref().unwrap_or_default());
        let allow = raw.allow.as_ref();
        let allow_claims = allow.map(|allow| self.claim_rules(&format!("{key}.allow.claims"), &allow.claims)).unwrap_or_default();
        if allow.is_some_and(|allow| allow.groups.is_empty() && allow.claims.is_empty()) {
            self.problem(
                format!("{key}.allow"),
                "names no group and no claim; leave allow out to admit every authenticated user",
            );
        }
        let limits = self.limits(&format!("{key}.limits"), &raw.limits);
        let total_limits = self.ceiling(&format!("{key}.total_limits"), &raw.total_limits);
        Some(Profile {
            routes: routes?,
            api: raw.api,
            ttl: ttl?,
            max_ttl: max_ttl?,
            allow_groups: allow.map(|allow| allow.groups.clone()).unwrap_or_default(),
            allow_claims,
            client_may_set,
            limits,
            total_limits,
        })
    }

    /// What callers get, and what they may ask for at most. Azure's preview versions give a minute, whatever is asked for.
    fn lifetimes(&mut self, key: &str, raw: &RawProfile, routes: &[Route]) -> (Option<Ttl>, Option<Ttl>) {
        let preview = routes.iter().find(|route| route.upstream.dialect.is_preview());
        let default = if preview.is_some() { Ttl::MIN } else { Ttl::MAX };
        let mut lifetime = |name: &str, seconds: Option<u64>| {
            let key = format!("{key}.{name}");
            let ttl = seconds.map_or(Some(default), |seconds| self.ttl(&key, seconds));
            if let Some(route) = preview.filter(|_| ttl.is_some_and(|ttl| ttl > Ttl::MIN)) {
                let name = &route.upstream.name;
                self.problem(key, format!("the api_version of {name} gives {} seconds and no more; leave it out", Ttl::MIN));
            }
            ttl
        };
        let (ttl, max_ttl) = (lifetime("ttl_seconds", raw.ttl_seconds), lifetime("max_ttl_seconds", raw.max_ttl_seconds));
        if ttl.zip(max_ttl).is_some_and(|(ttl, max)| ttl > max) {
            self.problem(format!("{key}.ttl_seconds"), "is longer than max_ttl_seconds");
        }
        (ttl, max_ttl)
    }

    /// The session with its `type` filled in; a translation session has none on the wire.
    pub(super) fn session(&mut self, key: &str, api: Api, mut session: Map<String, Value>) -> Map<String, Value> {
        let wanted = match api {
            Api::Realtime => Some("realtime"),
            Api::Transcription => Some("transcription"),
            Api::Translation => None,
        };
        match (wanted, session.get("type").cloned()) {
            (Some(wanted), None) => {
                session.insert("type".into(), wanted.into());
            }
            (Some(wanted), Some(written)) if written != wanted => {
                self.problem(format!("{key}.session.type"), format!("must be \"{wanted}\" for this api"));
            }
            (None, Some(_)) => self.problem(format!("{key}.session.type"), "a translation session has no type; leave it out"),
            _ => {}
        }
        self.tool_secrets(&format!("{key}.session"), &mut session);
        let model = session.get("model").and_then(Value::as_str).unwrap_or_default();
        if model.is_empty() && api != Api::Transcription {
            self.problem(
                format!("{key}.session.model"),
                "name the model, for example \"gpt-realtime-2.1\"; otherwise the provider chooses what you pay for",
            );
        }
        session
    }

    /// Puts the secrets in place that a session's MCP tools name: `authorization`, and headers that carry credentials.
    fn tool_secrets(&mut self, key: &str, session: &mut Map<String, Value>) {
        let tools = session.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten().enumerate();
        for (i, tool) in tools.filter_map(|(i, tool)| Some((i, tool.as_object_mut()?))) {
            if let Some(value) = tool.get_mut("authorization") {
                self.tool_secret(&format!("{key}.tools[{i}].authorization"), value);
            }
            for (name, value) in tool.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten() {
                let lower = name.to_ascii_lowercase();
                if ["auth", "key", "token", "secret", "cookie"].iter().any(|word| lower.contains(word)) {
                    self.tool_secret(&format!("{key}.tools[{i}].headers.{name}"), value);
                }
            }
        }
    }

    fn tool_secret(&mut self, key: &str, value: &mut Value) {
        let Some(text) = value.as_str() else { return };
        if let Some(named) = self.secret(key, text) {
            *value = named.secret.reveal().into();
        }
    }

    fn may_set(&mut self, key: &str, raw: &RawMaySet) -> Option<MaySet> {
        let (pointer, one_of) = match raw {
            RawMaySet::Any(pointer) => (pointer, None),
            RawMaySet::OneOf(rule) => (&rule.pointer, Some(rule.one_of.clone())),
        };
        if one_of.as_ref().is_some_and(Vec::is_empty) {
            self.problem(key, "one_of is empty, so nothing could be set; list the allowed values");
        }
        let Some(path) = pointer_tokens(pointer) else {
            self.problem(key, "must be a JSON pointer into session, for example \"/audio/output/voice\"");
            return None;
        };
        if path.first().is_some_and(|first| first == "type") {
            self.problem(key, "a client can never choose the session's type");
        }
        Some(MaySet { path, one_of })
    }
}
