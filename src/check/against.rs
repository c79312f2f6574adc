//! Two environments: what they must not share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::finding::{About, Finding};
use super::{Setup, fault, key, on_a_thread};
use crate::config::load::{Environ, Loaded};
use crate::config::{Problem, references};
use crate::domain::secret::{Secret, Sha256};
use crate::domain::secret_ref::SecretRef;
use crate::secrets::{self, Sources};

/// The configuration of another environment, as far as it can be read here.
pub(crate) struct Other {
    pub(crate) loaded: Loaded,
    /// Where its secrets are. Absent when that is written wrongly.
    pub(crate) sources: Option<Sources>,
    pub(crate) environ: Arc<Environ>,
    /// Takes the place of what secret managers keep, where they are not to be asked.
    pub(crate) stand_in: fn(&SecretRef) -> Secret,
}

/// What it keeps, each with its name.
struct Kept {
    /// By fingerprint.
    keys: BTreeMap<String, String>,
    admin_token: Option<Secret>,
    pseudonym_key: Option<Secret>,
    findings: Vec<Finding>,
}

pub(super) async fn findings(setup: &Setup) -> Vec<Finding> {
    let Some(other) = &setup.other else { return Vec::new() };
    let kept = read(setup, other).await;
    let mut findings = kept.findings;
    for upstream in setup.config.upstreams.values() {
        for ours in upstream.keys() {
            // What is not read is known by its reference alone.
            let stand_in = || (other.stand_in)(&ours.reference).fingerprint();
            let fingerprint = setup.seen.get(&ours.reference).map_or_else(stand_in, |seen| seen.fingerprint.clone());
            if let Some(theirs) = kept.keys.get(&fingerprint) {
                findings.push(key::about(setup, upstream, ours).warning(&fault::SHARED_KEY, theirs));
            }
        }
    }
    let (ours, digest) = (&setup.config, |secret: &Secret| Sha256::of(secret.reveal().as_bytes()));
    if ours.admin.token.as_ref().is_some_and(|token| kept.admin_token.as_ref().map(digest) == Some(**token.get())) {
        findings.push(About::new("secret", "admin.token").warning(&fault::SHARED_ADMIN_TOKEN, ""));
    }
    if ours.pseudonym_key.is_some() && kept.pseudonym_key.as_ref().map(digest) == ours.pseudonym_key.as_ref().map(digest) {
        findings.push(About::new("secret", "privacy.pseudonym_key").warning(&fault::SHARED_PSEUDONYM_KEY, ""));
    }
    if findings.is_empty() {
        findings.push(about(other).ok("no key, admin token or pseudonym key in common"));
    }
    findings
}

fn about(other: &Other) -> About {
    About::new("against", other.loaded.origins.file.clone())
}

/// Everything that can be read; of the rest, why not.
async fn read(setup: &Setup, other: &Other) -> Kept {
    let raw = &other.loaded.raw;
    let mut kept = Kept { keys: BTreeMap::new(), admin_token: None, pseudonym_key: None, findings: Vec::new() };
    for Problem { key, cause } in &other.loaded.problems {
        kept.findings.push(about(other).warning(&fault::OTHER_UNREADABLE, format!("{key}: {cause}").trim_start_matches(": ")));
    }
    let remote = references(&other.loaded);
    let gathered = match &other.sources {
        Some(sources) if !setup.offline => sources.gather(&remote, &[]).await,
        _ => BTreeMap::new(),
    };
    let mut secret = async |text: &str| {
        let reference = SecretRef::parse(text).ok()?;
        let read = match gathered.get(&reference) {
            Some(outcome) => outcome.clone().map(|found| found.secret).map_err(|error| error.to_string()),
            None if setup.offline && reference.is_remote() => Ok((other.stand_in)(&reference)),
            None => {
                let (reference, environ) = (reference.clone(), other.environ.clone());
                let read = on_a_thread(move || secrets::read(&reference, &environ).map(|found| found.secret)).await;
                read.unwrap_or_else(|| Err("no answer within the time".into()))
            }
        };
        match read {
            Ok(secret) => Some(secret),
            Err(cause) => {
                kept.findings.push(about(other).warning(&fault::OTHER_UNREADABLE, &format!("{reference}: {cause}")));
                None
            }
        }
    };
    for (name, upstream) in &raw.upstreams {
        for text in &upstream.credential.keys {
            if let Some(found) = secret(text).await {
                kept.keys.insert(found.fingerprint(), format!("{name} {text} in {}", other.loaded.origins.file));
            }
        }
    }
    if let Some(text) = &raw.admin.token {
        kept.admin_token = secret(text).await;
    }
    if let Some(text) = &raw.privacy.pseudonym_key {
        kept.pseudonym_key = secret(text).await;
    }
    kept
}
