//! What a profile's sessions are at each of its upstreams.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::Check;
use crate::config::raw::{RawProfile, RawUpstream};
use crate::config::{Api, Dialect, MaySet, Route, Upstream};
use crate::domain::flat_session::{flat, has_place};

/// Upstreams of one profile.
const MOST: usize = 8;

impl Check<'_> {
    /// `None` when one of them is not as it should be.
    pub(super) fn routes(
        &mut self,
        key: &str,
        raw: &RawProfile,
        named: &BTreeMap<String, RawUpstream>,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
    ) -> Option<Vec<Route>> {
        let listed = raw.upstream.names();
        self.are_upstreams(key, listed, named);
        for name in raw.sessions.keys().filter(|name| !listed.contains(name)) {
            self.problem(format!("{key}.sessions.{name}"), "is for an upstream that this profile does not use; correct the name");
        }
        let routes: Vec<_> = listed.iter().map(|name| self.route(key, raw, named.get(name)?, upstreams.get(name))).collect();
        if raw.webrtc_filter.is_some() && listed.iter().all(|name| upstreams.get(name).is_some_and(|it| !it.dialect.is_azure())) {
            self.problem(format!("{key}.webrtc_filter"), "is for upstreams of kind \"azure\"; leave it out");
        }
        let routes: Option<Vec<Route>> = routes.into_iter().collect();
        self.on_whose_behalf(key, routes.as_deref().unwrap_or_default());
        routes
    }

    /// A user whom Azure refuses is not to be served in the service's own name by the next upstream.
    fn on_whose_behalf(&mut self, key: &str, routes: &[Route]) {
        let of_users = routes.iter().filter(|route| route.upstream.is_on_behalf()).count();
        if of_users > 0 && of_users < routes.len() {
            self.problem(
                format!("{key}.upstream"),
                "mixes upstreams with and without on_behalf_of: whom Azure refuses, another would serve; make a profile for each",
            );
        }
    }

    fn are_upstreams(&mut self, key: &str, listed: &[String], named: &BTreeMap<String, RawUpstream>) {
        let known: Vec<&str> = named.keys().map(String::as_str).collect();
        let known = known.join(", ");
        if listed.is_empty() || listed.iter().any(|name| !named.contains_key(name)) {
            self.problem(format!("{key}.upstream"), format!("name one of the upstreams: {known}"));
        }
        if listed.len() > MOST {
            self.problem(format!("{key}.upstream"), format!("has more than {MOST} upstreams; two or three are enough"));
        }
        if listed.iter().enumerate().any(|(i, name)| listed.iter().take(i).any(|before| before == name)) {
            self.problem(format!("{key}.upstream"), "names an upstream twice; each has its own attempts");
        }
    }

    fn route(&mut self, key: &str, raw: &RawProfile, named: &RawUpstream, upstream: Option<&Arc<Upstream>>) -> Option<Route> {
        let mut session = named.session.clone();
        lay_over(&mut session, &raw.session);
        let upstream_name = upstream.map_or("", |upstream| upstream.name.as_str());
        if let Some(own) = raw.sessions.get(upstream_name) {
            lay_over(&mut session, own);
        }
        let session = self.session(key, raw.api, session);
        let upstream = upstream?;
        if upstream.dialect.is_azure() && raw.api == Api::Translation {
            self.problem(
                format!("{key}.api"),
                format!("Azure ({upstream_name}) has no translation sessions; use an upstream of kind \"openai\""),
            );
            return None;
        }
        if upstream.dialect.is_preview() {
            self.preview_session(key, raw.api, upstream_name, &session);
        }
        let calls_url = calls_url(upstream, raw, &session).into();
        Some(Route { upstream: upstream.clone(), session, calls_url })
    }

    /// What a preview version cannot be told is not left out in silence.
    fn preview_session(&mut self, key: &str, api: Api, upstream: &str, session: &Map<String, Value>) {
        if api != Api::Realtime {
            self.problem(format!("{key}.api"), format!("{upstream} has an api_version, which mints realtime sessions only"));
        }
        if let Err(pointer) = flat(session) {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            self.problem(
                format!("{key}.session.{field}"),
                format!(
                    "has no counterpart in the api_version of {upstream}; leave it out, or use v1, which needs no api_version"
                ),
            );
        }
    }

    /// What clients may set has to have its place at every upstream, and may not change where they connect.
    pub(super) fn may_set_at(&mut self, key: &str, may_set: &[MaySet], routes: &[Route]) {
        let Some(route) = routes.iter().find(|route| route.upstream.dialect.is_preview()) else { return };
        for (i, rule) in may_set.iter().enumerate() {
            let is_model = rule.path.first().is_some_and(|first| first == "model");
            if is_model || !has_place(&rule.path) {
                let cause =
                    format!("cannot be set by clients with the api_version of {}; leave it out, or use v1", route.upstream.name);
                self.problem(format!("{key}.client_may_set[{i}]"), cause);
            }
        }
    }
}

/// Objects are laid over objects field by field; everything else is replaced.
fn lay_over(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(over)) => lay_over(below, over),
            _ => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

/// Where a browser takes the client secret (Microsoft, "Use the GPT Realtime API via WebRTC").
fn calls_url(upstream: &Upstream, raw: &RawProfile, session: &Map<String, Value>) -> String {
    let base = &upstream.base_url;
    match &upstream.dialect {
        Dialect::OpenAi => format!("{base}/{}/calls", raw.api.path()),
        Dialect::Azure => {
            let has = |field: &&str| match session.get(*field) {
                Some(Value::String(text)) => !text.is_empty(),
                Some(Value::Array(items)) => !items.is_empty(),
                Some(Value::Object(fields)) => !fields.is_empty(),
                _ => false,
            };
            let is_filtered = raw.webrtc_filter.unwrap_or_else(|| ["instructions", "tools", "prompt"].iter().any(has));
            format!("{base}/{}/calls{}", raw.api.path(), if is_filtered { "?webrtcfilter=on" } else { "" })
        }
        Dialect::AzurePreview { region, .. } => {
            let model = session.get("model").and_then(Value::as_str).unwrap_or_default();
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("model", model).finish();
            format!("https://{region}.realtimeapi-preview.ai.azure.com/v1/realtimertc?{query}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::lay_over;

    #[test]
    fn what_is_laid_over_changes_only_what_it_names() {
        let mut base = json!({"model": "a", "audio": {"output": {"voice": "marin", "speed": 1.0}}, "tools": [1, 2]});
        let over = json!({"model": "b", "audio": {"output": {"voice": "cedar"}}, "tools": [3], "instructions": "be kind"});
        lay_over(base.as_object_mut().unwrap(), over.as_object().unwrap());
        let both =
            json!({"model": "b", "audio": {"output": {"voice": "cedar", "speed": 1.0}}, "tools": [3], "instructions": "be kind"});
        assert_eq!(base, both);
    }
}
