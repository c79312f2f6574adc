//! Upstreams: their credentials, their models, their clocks.

use std::time::Duration;

use futures_util::future::join_all;

use super::finding::{About, Finding};
use super::{OFFLINE, Setup, deployment, fault, in_time, key, model, reach};
use crate::config::{Credential, EntraToken};
use crate::credentials::{EXCHANGE, NotTraded, Trade};
use crate::domain::secret::Secret;
use crate::outbound::Unbuildable;
use crate::provider::{CLOCK_SLACK_SECONDS, Key, Probe, Probed, Shared, Slot};
use crate::telemetry::metrics::Metrics;

const A_MINUTE: u64 = 60;

/// What became of one credential: the findings, and what the upstream said.
struct Tried {
    findings: Vec<Finding>,
    /// As models are told of it.
    name: String,
    probed: Option<Probed>,
}

pub(super) async fn findings(setup: &Setup) -> Vec<Finding> {
    let upstreams = match Shared::all(
        &setup.config.upstreams,
        &setup.config.profiles,
        &setup.sources,
        &setup.outbound,
        &setup.clock,
        &Metrics::new(Duration::ZERO).0,
    ) {
        Ok(upstreams) => upstreams,
        Err(error) => return vec![About::new("upstream", error.to_string()).failed(&fault::SETTING, "")],
    };
    let Ok(probe) = Probe::new(&setup.outbound, setup.clock.clone()) else { return Vec::new() };
    let tried = join_all(upstreams.iter().map(|upstream| one(setup, &probe, upstream))).await;
    tried.into_iter().flatten().collect()
}

async fn one(setup: &Setup, probe: &Probe, upstream: &Shared) -> Vec<Finding> {
    let settings = upstream.settings();
    let tried = match &settings.credential {
        Credential::Keys(keys) => {
            let slots = upstream.ring().slots();
            let asked = keys.keys.iter().zip(slots).filter_map(|(named, slot)| Some((named, slot.key()?)));
            let asked = asked.map(async |(named, key)| {
                let about = key::about(setup, settings, named);
                let (finding, probed) = key::ask(setup, probe, upstream, &key, about).await;
                Tried { findings: vec![finding], name: named.reference.to_string(), probed }
            });
            join_all(asked).await
        }
        Credential::Workload(workload) => {
            let trade = Trade::federation(workload, setup.sources.clone(), &setup.outbound);
            vec![identity_of_the_platform(setup, probe, upstream, trade).await]
        }
        Credential::OnBehalf(token) => return vec![application(setup, &settings.name, token).await],
        Credential::Entra(token) => {
            let trade = Trade::entra(token, &setup.sources, &setup.outbound, setup.clock.clone());
            vec![identity_of_the_platform(setup, probe, upstream, trade).await]
        }
    };
    let (mut findings, mut answers, mut ahead) = (Vec::new(), Vec::new(), None);
    for tried in tried {
        findings.extend(tried.findings);
        ahead = ahead.or(tried.probed.as_ref().and_then(|probed| probed.ahead));
        answers.extend(tried.probed.map(|probed| (tried.name, probed.models)));
    }
    if let Credential::Keys(keys) = &settings.credential {
        findings.extend(key::at_rest(setup, settings, keys));
    }
    if settings.dialect.is_azure() {
        findings.extend(deployment::findings(setup, probe, upstream).await);
    } else {
        findings.extend(model::findings(setup, settings, &answers));
    }
    findings.push(clock(setup, &settings.name, ahead));
    findings
}

/// Trades once, as the service does, and asks with what came of it.
async fn identity_of_the_platform(setup: &Setup, probe: &Probe, upstream: &Shared, trade: Result<Trade, Unbuildable>) -> Tried {
    let (settings, about) = (upstream.settings(), |what| About::new(what, upstream.settings().name.clone()));
    let name = upstream.ring().slots().first().map_or("", Slot::name).to_owned();
    let over = |finding| Tried { findings: vec![finding], name: name.clone(), probed: None };
    if setup.offline {
        return over(about("exchange").skipped(OFFLINE));
    }
    let traded = match trade {
        Ok(trade) => in_time(async move { trade.trade().await }).await,
        Err(_) => None,
    };
    let (secret, lifetime): (Secret, u64) = match traded {
        None => return over(about("exchange").failed(&fault::NO_ANSWER, "")),
        Some(Err(not_traded)) => return over(no_trade(about("exchange"), &not_traded, setup)),
        Some(Ok(traded)) => traded,
    };
    let exchanged = about("exchange").ok(format!("traded for a credential that lives {lifetime} seconds"));
    let Some(key) = Key::new(settings, &secret, None) else {
        return over(about("exchange").failed(&fault::STRANGE_EXCHANGE, ""));
    };
    let (finding, probed) = key::ask(setup, probe, upstream, &key, about("key")).await;
    // For whatever is asked after this.
    if let Some(slot) = upstream.ring().slots().first() {
        upstream.ring().put(slot, key, None);
    }
    Tried { findings: vec![exchanged, finding], name, probed }
}

/// Nobody is there to ask on behalf of: only whether Entra ID takes the application.
async fn application(setup: &Setup, upstream: &str, token: &EntraToken) -> Finding {
    let about = About::new("application", upstream.to_owned());
    if setup.offline {
        return about.skipped(OFFLINE);
    }
    let Ok(trade) = Trade::entra(token, &setup.sources, &setup.outbound, setup.clock.clone()) else {
        return about.failed(&fault::NO_ANSWER, "");
    };
    match in_time(trade.trade()).await {
        None => about.failed(&fault::NO_ANSWER, ""),
        Some(Err(not_traded)) => no_trade(about, &not_traded, setup),
        Some(Ok(_)) => about.ok("Entra ID takes it; what users' tokens are worth shows when they mint"),
    }
}

fn no_trade(about: About, not_traded: &NotTraded, setup: &Setup) -> Finding {
    let said = not_traded.to_string();
    match not_traded {
        NotTraded::NoSubject(_) => about.failed(&fault::NO_SUBJECT, &said),
        NotTraded::Unreached(whose, unreached) if *whose == EXCHANGE => reach::unreached(about, unreached, setup),
        NotTraded::Refused(whose, status, _) if *whose == EXCHANGE => match status {
            400 | 401 | 403 => about.failed(&fault::NOT_TRADED, &said),
            500..=599 | 429 => about.failed(&fault::UPSTREAM_DOWN, &said),
            _ => about.failed(&fault::STRANGE_EXCHANGE, &said),
        },
        NotTraded::Unreached(..) | NotTraded::Refused(..) => about.failed(&fault::NO_METADATA, &said),
        NotTraded::Malformed(_) => about.failed(&fault::STRANGE_EXCHANGE, &said),
        NotTraded::Entra(_) => about.failed(&fault::NO_ENTRA_TOKEN, &said),
    }
}

fn clock(setup: &Setup, upstream: &str, ahead: Option<i64>) -> Finding {
    let about = About::new("clock", format!("against {upstream}"));
    let Some(ahead) = ahead else {
        return about.skipped(if setup.offline { OFFLINE } else { "the upstream does not say what time it is" });
    };
    let off = ahead.unsigned_abs();
    let detail = format!("{off} s {}", if ahead > 0 { "behind" } else { "ahead" });
    if off <= CLOCK_SLACK_SECONDS {
        return about.ok(format!("off by {off} s at most"));
    }
    if off > A_MINUTE { about.failed(&fault::CLOCK_WRONG, &detail) } else { about.warning(&fault::CLOCK_OFF, &detail) }
}
