//! Deployments at Azure that profiles name: whether a secret can be had for each. It costs nothing, and nobody gets it.

use std::collections::BTreeMap;

use super::finding::{About, Finding};
use super::{OFFLINE, Setup, answer, fault, in_time, reach};
use crate::config::Upstream;
use crate::provider::{Probe, Question, Shared, Slot};

/// One deployment, and the profiles that name it.
pub(super) struct Wanted<'a> {
    pub(super) question: Question,
    model: &'a str,
    profiles: Vec<&'a str>,
}

/// None at upstreams that are not Azure's.
pub(super) fn wanted<'a>(setup: &'a Setup, upstream: &Upstream) -> Vec<Wanted<'a>> {
    let mut wanted: BTreeMap<&str, Wanted<'_>> = BTreeMap::new();
    for (name, profile) in setup.config.profiles.iter().filter(|_| upstream.dialect.is_azure()) {
        for route in profile.routes.iter().filter(|route| route.upstream.name == upstream.name) {
            let Some(model) = route.session.get("model").and_then(|model| model.as_str()) else { continue };
            let new = || Wanted { question: Question::mint(profile.api, route), model, profiles: Vec::new() };
            wanted.entry(model).or_insert_with(new).profiles.push(name);
        }
    }
    wanted.into_values().collect()
}

/// Asks with the upstream's first credential.
pub(super) async fn findings(setup: &Setup, probe: &Probe, upstream: &Shared) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Wanted { question, model, profiles } in wanted(setup, upstream.settings()) {
        let about =
            About::new("deployment", format!("{model} at {} (profile {})", upstream.settings().name, profiles.join(", ")));
        let Some(key) = upstream.ring().slots().iter().find_map(Slot::key).filter(|_| !setup.offline) else {
            findings.push(about.skipped(if setup.offline { OFFLINE } else { "no credential to ask with" }));
            continue;
        };
        findings.push(match in_time(probe.ask(upstream, &key, &question)).await {
            None => about.failed(&fault::NO_ANSWER, ""),
            Some(Err(unreached)) => reach::unreached(about, &unreached, setup),
            Some(Ok(probed)) => match answer::fault_of(&probed) {
                Some((outcome, fault)) => about.at_fault(outcome, fault, &answer::said(&probed)),
                None => about.ok("mints"),
            },
        });
    }
    findings
}
