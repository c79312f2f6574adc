//! Keys of servers: looked up by their SHA-256, which is all that the configuration holds of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Principal, Unauthenticated};
use crate::config;
use crate::domain::clock::SharedClock;
use crate::domain::ids::Pseudonymizer;
use crate::domain::secret::Sha256;

/// Characters of a user's name that a server gives, at most.
const MAX_USER: usize = 256;
/// How long before its end a key is worth a warning.
const SOON: Duration = Duration::from_hours(14 * 24);

pub(super) struct ApiKeys {
    keys: HashMap<Sha256, Key>,
    names: Pseudonymizer,
    clock: SharedClock,
}

/// One key, and who comes with it.
struct Key {
    digest: Sha256,
    /// Seconds since 1970.
    expires: Option<u64>,
    may_act_for_users: bool,
    /// As the audit trail names its entry; the users of two entries are never the same.
    entry: Arc<str>,
    owner: Arc<Principal>,
}

impl ApiKeys {
    /// Warns of keys that have ended or soon will.
    pub(super) fn new(configured: Vec<config::ApiKeys>, names: Pseudonymizer, clock: SharedClock) -> Self {
        let mut keys = HashMap::new();
        for entry in configured {
            let name: Arc<str> = format!("api_keys.{}", entry.name).into();
            for key in &entry.keys {
                warn_of_end(&name, key, clock.unix());
                let owner = Principal {
                    identity: format!("{name}/{}", key.id).into(),
                    user: names.pseudonym(&entry.tenant, &name, &entry.owner),
                    user_name: names.kept_name(&entry.owner),
                    tenant: entry.tenant.as_str().into(),
                    groups: entry.groups.clone(),
                    claims: Vec::new(),
                    profiles: entry.profiles.clone(),
                    bound_to: None,
                    visit: None,
                };
                let known = Key {
                    digest: key.digest,
                    expires: key.expires,
                    may_act_for_users: entry.may_act_for_users,
                    entry: name.clone(),
                    owner: Arc::new(owner),
                };
                keys.insert(key.digest, known);
            }
        }
        Self { keys, names, clock }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who holds the key with this digest; `None` when there is no such key. `acts_for` counts only with the right to it.
    pub(super) fn holder(&self, digest: &Sha256, acts_for: Option<&[u8]>) -> Option<Result<Arc<Principal>, Unauthenticated>> {
        // The map finds by part of the digest; whether it is the same is asked in constant time.
        let key = self.keys.get(digest).filter(|key| key.digest.same_as(digest))?;
        if key.expires.is_some_and(|end| self.clock.unix() >= end) {
            return Some(Err(Unauthenticated::Expired));
        }
        match acts_for.filter(|_| key.may_act_for_users) {
            None => Some(Ok(key.owner.clone())),
            Some(user) => Some(self.acting_for(key, user)),
        }
    }

    fn acting_for(&self, key: &Key, user: &[u8]) -> Result<Arc<Principal>, Unauthenticated> {
        let user = user_name(user).ok_or(Unauthenticated::UnusableUser)?;
        let Principal { identity, tenant, groups, profiles, .. } = &*key.owner;
        Ok(Arc::new(Principal {
            identity: identity.clone(),
            user: self.names.pseudonym(tenant, &key.entry, user),
            user_name: self.names.kept_name(user),
            tenant: tenant.clone(),
            groups: groups.clone(),
            claims: Vec::new(),
            profiles: profiles.clone(),
            bound_to: None,
            visit: None,
        }))
    }
}

fn user_name(sent: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(sent).ok()?;
    ((1..=MAX_USER).contains(&text.chars().count()) && !text.chars().any(char::is_control)).then_some(text)
}

fn warn_of_end(entry: &str, key: &config::ApiKey, now: u64) {
    let Some(end) = key.expires else { return };
    if end <= now {
        tracing::warn!(identity = entry, key = key.id, "an API key has expired and is refused");
    } else if end - now < SOON.as_secs() {
        let days = (end - now) / (24 * 3600);
        tracing::warn!(identity = entry, key = key.id, days, "an API key expires soon");
    }
}
