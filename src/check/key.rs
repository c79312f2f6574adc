//! Permanent keys: what can be seen of them here, and what the upstream says of them.

use super::finding::{About, Finding};
use super::{OFFLINE, Setup, answer, deployment, fault, in_time, reach};
use crate::config::{FirstKey, Keys, Upstream};
use crate::provider::{Blame, Key, Probe, Probed, Question, Shared};

const A_DAY: u64 = 86_400;

pub(super) fn about(setup: &Setup, upstream: &Upstream, key: &FirstKey) -> About {
    let (name, reference) = (&upstream.name, &key.reference);
    About::new(
        "key",
        match setup.seen.get(reference) {
            Some(seen) => format!("{name} {reference} (fingerprint {})", seen.fingerprint),
            None => format!("{name} {reference}"),
        },
    )
}

/// What need not be asked of anybody.
pub(super) fn at_rest(setup: &Setup, upstream: &Upstream, keys: &Keys) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, key) in keys.keys.iter().enumerate() {
        let about = || about(setup, upstream, key);
        if setup.open.contains(&key.reference) {
            findings.push(about().warning(&fault::OPEN_FILE, ""));
        }
        let age = setup.made_at.get(&key.reference).map(|at| setup.clock.unix().saturating_sub(*at));
        if let Some(age) = age.filter(|age| keys.warn_after.is_some_and(|most| *age > most.as_secs())) {
            findings.push(about().warning(&fault::OLD_KEY, &format!("{} days", age / A_DAY)));
        }
        let Some(seen) = setup.seen.get(&key.reference) else { continue };
        if seen.is_legacy && !upstream.dialect.is_azure() {
            findings.push(about().warning(&fault::LEGACY_KEY, ""));
        }
        let is_same = |other: &&FirstKey| setup.seen.get(&other.reference).is_some_and(|it| it.fingerprint == seen.fingerprint);
        if let Some(same) = keys.keys.iter().take(index).find(is_same) {
            findings.push(about().warning(&fault::SAME_KEY, &same.reference.to_string()));
        }
    }
    findings
}

/// Asks the upstream which models a credential may use, Azure for a secret that nobody gets: it lists models of the region, not what was
/// deployed. The answer, if it says something of models or of the time.
pub(super) async fn ask(setup: &Setup, probe: &Probe, upstream: &Shared, key: &Key, about: About) -> (Finding, Option<Probed>) {
    if setup.offline {
        return (about.skipped(OFFLINE), None);
    }
    let settings = upstream.settings();
    let question = deployment::wanted(setup, settings).into_iter().next().map_or(Question::Models, |wanted| wanted.question);
    let probed = match in_time(probe.ask(upstream, key, &question)).await {
        None => return (about.failed(&fault::NO_ANSWER, ""), None),
        Some(Err(unreached)) => return (reach::unreached(about, &unreached, setup), None),
        Some(Ok(probed)) => probed,
    };
    let finding = match (answer::fault_of(&probed), probed.models.len()) {
        // That is another finding.
        (_, _) if probed.blame == Some(Blame::Deployment) => about.ok("accepted"),
        (None, _) if matches!(question, Question::Mint(..)) => about.ok("accepted, mints"),
        (Some((outcome, fault)), _) => about.at_fault(outcome, fault, &answer::said(&probed)),
        (None, 0) => about.warning(&fault::NO_MODELS, &answer::said(&probed)),
        (None, 1) => about.ok("accepted, 1 model"),
        (None, models) => about.ok(format!("accepted, {models} models")),
    };
    (finding, Some(probed))
}
