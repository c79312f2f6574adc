//! Models that profiles name: whether keys may use them, and for how long there are any.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use super::finding::{About, Finding};
use super::{OFFLINE, Setup, fault};
use crate::config::Upstream;

const SOON_DAYS: i64 = 90;

/// What each credential may use: its name, and models with the day on which each is shut down.
type Answers = [(String, Vec<(String, Option<String>)>)];

pub(super) fn findings(setup: &Setup, upstream: &Upstream, answers: &Answers) -> Vec<Finding> {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let routes = setup.config.profiles.iter().flat_map(|(name, profile)| profile.routes.iter().map(move |route| (name, route)));
    for (name, route) in routes.filter(|(_, route)| route.upstream.name == upstream.name) {
        for model in models(&route.session) {
            wanted.entry(model).or_default().insert(name);
        }
    }
    wanted.into_iter().map(|(model, profiles)| one(setup, upstream, answers, model, profiles)).collect()
}

fn one(setup: &Setup, upstream: &Upstream, answers: &Answers, model: &str, profiles: BTreeSet<&str>) -> Finding {
    let profiles: Vec<&str> = profiles.into_iter().collect();
    let about = About::new("model", format!("{model} at {} (profile {})", upstream.name, profiles.join(", ")));
    let mut lists = answers.iter().filter(|(_, models)| !models.is_empty()).peekable();
    if lists.peek().is_none() {
        return about.skipped(if setup.offline { OFFLINE } else { "no list of models to look it up in" });
    }
    let (mut without, mut ends) = (Vec::new(), None);
    for (key, models) in lists {
        match models.iter().find(|(id, _)| id == model) {
            None => without.push(key.as_str()),
            Some((_, end)) => ends = ends.or_else(|| end.as_deref()?.parse::<Date>().ok()),
        }
    }
    if !without.is_empty() {
        return about.warning(&fault::UNKNOWN_MODEL, &without.join(", "));
    }
    let Some(end) = ends else { return about.ok("there") };
    let today = today(setup.clock.unix());
    if end <= today {
        about.failed(&fault::MODEL_ENDED, &format!("since {end}"))
    } else if today.checked_add(SOON_DAYS.days()).is_ok_and(|soon| end <= soon) {
        about.warning(&fault::MODEL_ENDS, &format!("on {end}"))
    } else {
        about.ok(format!("there until {end}"))
    }
}

/// The session's own, and the one that transcribes what users say.
fn models(session: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let transcription = ["input", "transcription", "model"].iter().try_fold(session.get("audio"), |at, name| Some(at?.get(name)));
    [session.get("model"), transcription.flatten()].into_iter().flatten().filter_map(Value::as_str)
}

fn today(unix: u64) -> Date {
    let now = i64::try_from(unix).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX);
    now.to_zoned(TimeZone::UTC).date()
}
