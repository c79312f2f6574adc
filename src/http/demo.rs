//! The web demo at `/`, when `demo.enabled`: the files of `web-demo/`, and the `demo.json` that fits this service.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource};
use serde::Serialize;
use url::Url;

use super::methods;
use crate::config::{Config, Demo, SignIn};

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const VOICE: [&str; 3] = ["audio", "output", "voice"];
const VOICES: [&str; 10] = ["marin", "cedar", "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse"];

macro_rules! files {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../../web-demo/", $name)))),*] };
}

/// What a browser loads; a test compares it with the folder.
const FILES: [(&str, &str); 26] = files! {
    "index.html" "style.css" "logo.svg" "app.js" "ephemint.js"
    "client/call.js" "client/errors.js" "client/meter.js" "client/microphone.js" "client/secret.js"
    "client/transcript.js" "client/usage.js" "client/wait.js" "page/call.js" "page/conversation.js"
    "page/dom.js" "page/log.js" "page/meters.js" "page/problem.js" "page/refusals.js" "page/secret-card.js"
    "page/settings.js" "page/sign-in.js" "page/steps.js" "page/tools.js" "page/usage-card.js"
};

/// The page as this service offers it.
#[derive(Clone)]
pub(crate) struct Page {
    settings: Arc<str>,
    policy: Arc<str>,
}

/// `demo.json`.
#[derive(Serialize)]
struct Settings<'a> {
    /// The service is where the page comes from.
    ephemint: &'static str,
    sign_in: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    users: &'a [String],
    profiles: &'a [String],
    voices: &'a [&'static str],
    scenarios: &'a [String],
}

impl Page {
    /// `None` unless the demo is enabled.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let demo = config.demo.as_ref()?;
        let settings = serde_json::to_string(&Settings::of(demo, config)).unwrap_or_default();
        Some(Self { settings: settings.into(), policy: policy(config).into() })
    }

    pub(crate) fn routes(self) -> impl FnOnce(&mut ServiceConfig) {
        move |app: &mut ServiceConfig| {
            for (name, text) in FILES {
                let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
                app.service(self.resource(&path, kind(name), Arc::from(text)));
            }
            app.service(self.resource("/demo.json", "application/json", self.settings.clone()));
        }
    }

    fn resource(&self, path: &str, kind: &'static str, body: Arc<str>) -> Resource {
        let policy = self.policy.clone();
        let answer = move || {
            let answer = HttpResponse::Ok()
                .insert_header((CONTENT_TYPE, kind))
                .insert_header((CACHE_CONTROL, "no-cache"))
                .insert_header((CONTENT_SECURITY_POLICY, &*policy))
                .insert_header((PERMISSIONS_POLICY, "microphone=(self), camera=(), geolocation=()"))
                .body(body.to_string());
            async move { answer }
        };
        methods(path, "GET, HEAD").route(web::get().to(answer.clone())).route(web::head().to(answer))
    }
}

impl<'a> Settings<'a> {
    fn of(demo: &'a Demo, config: &Config) -> Self {
        let may_choose = |name: &String| {
            config.profiles.get(name).is_some_and(|profile| profile.client_may_set.iter().any(|rule| rule.path == VOICE))
        };
        let voices: &[_] = if demo.profiles.iter().all(may_choose) { &VOICES } else { &[] };
        let (sign_in, users, scenarios): (_, &[String], &[String]) = match &demo.sign_in {
            SignIn::Token => ("token", &[], &[]),
            SignIn::Login => ("login", &[], &[]),
            SignIn::Development { users, scenarios } => ("development", users, scenarios),
        };
        Self { ephemint: "", sign_in, users, profiles: &demo.profiles, voices, scenarios }
    }
}

/// The page loads nothing from elsewhere, and talks to this service and the upstreams alone.
fn policy(config: &Config) -> String {
    let routes = config.profiles.values().flat_map(|profile| &profile.routes);
    let origins: BTreeSet<String> =
        routes.filter_map(|route| Some(Url::parse(&route.calls_url).ok()?.origin().ascii_serialization())).collect();
    let origins = origins.into_iter().collect::<Vec<_>>().join(" ");
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {origins}; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::FILES;

    /// Files of `web-demo/` that a browser does not load.
    const NOT_SERVED: [&str; 4] = ["README.md", "package.json", "ephemint.d.ts", "demo.json"];

    fn files(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                files(&entry.path(), &format!("{name}/"), found);
            } else if !NOT_SERVED.contains(&name.as_str()) {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let mut found = BTreeSet::new();
        files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/web-demo")), "", &mut found);
        let served: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(served, found);
    }
}
