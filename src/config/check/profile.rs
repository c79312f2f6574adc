//! What a session may be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Check;
use crate::config::raw::{RawMaySet, RawProfile, RawUpstream};
use crate::config::{Api, MaySet, Profile, Upstream};
use crate::domain::json::pointer_tokens;

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
            if !named.contains_key(&entry.upstream) {
                let known: Vec<&str> = named.keys().map(String::as_str).collect();
                self.problem(format!("{key}.upstream"), format!("name one of the upstreams: {}", known.join(", ")));
            }
            let profile = self.profile(&key, entry, upstreams.get(&entry.upstream));
            profiles.extend(profile.map(|profile| (name.clone(), profile)));
        }
        profiles
    }

    fn profile(&mut self, key: &str, raw: &RawProfile, upstream: Option<&Arc<Upstream>>) -> Option<Profile> {
        let ttl = self.ttl(&format!("{key}.ttl_seconds"), raw.ttl_seconds);
        let max_ttl = self.ttl(&format!("{key}.max_ttl_seconds"), raw.max_ttl_seconds);
        if ttl.zip(max_ttl).is_some_and(|(ttl, max)| ttl > max) {
            self.problem(format!("{key}.ttl_seconds"), "is longer than max_ttl_seconds");
        }
        let session = self.session(key, raw);
        let client_may_set = raw
            .client_may_set
            .iter()
            .enumerate()
            .filter_map(|(i, rule)| self.may_set(&format!("{key}.client_may_set[{i}]"), rule))
            .collect();
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
            upstream: upstream?.clone(),
            api: raw.api,
            ttl: ttl?,
            max_ttl: max_ttl?,
            allow_groups: allow.map(|allow| allow.groups.clone()).unwrap_or_default(),
            allow_claims,
            client_may_set,
            session,
            limits,
            total_limits,
        })
    }

    /// The session with its `type` filled in; a translation session has none on the wire.
    fn session(&mut self, key: &str, raw: &RawProfile) -> Map<String, Value> {
        let mut session = raw.session.clone();
        let wanted = match raw.api {
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
        if model.is_empty() && raw.api != Api::Transcription {
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
