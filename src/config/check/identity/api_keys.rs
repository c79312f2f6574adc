//! Servers' keys.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::config::check::Check;
use crate::config::raw::{RawApiKey, RawApiKeys, RawProfile};
use crate::config::{ApiKey, ApiKeys};
use crate::domain::ids::is_name;
use crate::domain::secret::Sha256;

impl Check<'_> {
    pub(super) fn api_keys(
        &mut self,
        raw: &BTreeMap<String, RawApiKeys>,
        profiles: &BTreeMap<String, RawProfile>,
    ) -> Vec<ApiKeys> {
        let mut hashes = BTreeSet::new();
        raw.iter().filter_map(|(name, entry)| self.api_keys_of(name, entry, profiles, &mut hashes)).collect()
    }

    fn api_keys_of(
        &mut self,
        name: &str,
        raw: &RawApiKeys,
        profiles: &BTreeMap<String, RawProfile>,
        hashes: &mut BTreeSet<[u8; 32]>,
    ) -> Option<ApiKeys> {
        let key = &format!("identity.api_keys.{name}");
        self.name(key, name);
        for (field, value) in [("owner", &raw.owner), ("tenant", &raw.tenant)] {
            if value.as_ref().is_some_and(|text| !is_name(text)) {
                self.problem(format!("{key}.{field}"), "a name has 1 to 256 bytes and no control characters");
            }
        }
        if raw.profiles.as_ref().is_some_and(Vec::is_empty) {
            self.problem(format!("{key}.profiles"), "names no profile; leave it out to allow whatever profiles themselves allow");
        }
        let named = raw.profiles.iter().flatten().enumerate();
        for (i, profile) in named.filter(|(_, name)| !profiles.contains_key(*name)) {
            self.problem(format!("{key}.profiles[{i}]"), format!("there is no profile \"{profile}\""));
        }
        if raw.keys.is_empty() {
            self.problem(
                format!("{key}.keys"),
                "list at least one key, for example keys = [{ id = \"k1\", sha256 = \"…\" }]; `ephemint key new` makes one",
            );
        }
        let mut ids = BTreeSet::new();
        let mut keys = Vec::new();
        for (i, entry) in raw.keys.iter().enumerate() {
            let key = &format!("{key}.keys[{i}]");
            self.name(&format!("{key}.id"), &entry.id);
            if !ids.insert(&entry.id) {
                self.problem(format!("{key}.id"), "another key of this entry has the same id");
            }
            let checked = self.api_key(key, entry);
            if checked.as_ref().is_some_and(|checked| !hashes.insert(checked.digest.0)) {
                self.problem(format!("{key}.sha256"), "the same key is listed twice");
            }
            keys.push(checked);
        }
        Some(ApiKeys {
            name: name.to_owned(),
            owner: raw.owner.clone().unwrap_or_else(|| name.to_owned()),
            tenant: raw.tenant.clone().unwrap_or_default(),
            groups: raw.groups.clone(),
            profiles: raw.profiles.as_deref().map(Into::into),
            may_act_for_users: raw.may_act_for_users,
            keys: keys.into_iter().collect::<Option<_>>()?,
        })
    }

    fn api_key(&mut self, key: &str, raw: &RawApiKey) -> Option<ApiKey> {
        let digest = Sha256::parse(&raw.sha256);
        if digest.is_none() {
            self.problem(
                format!("{key}.sha256"),
                "must be the 64 hexadecimal digits that `ephemint key hash` prints; never write the key itself here",
            );
        }
        let expires = match &raw.expires {
            None => None,
            Some(text) => {
                let moment = text.parse::<Timestamp>().ok().and_then(|moment| u64::try_from(moment.as_second()).ok());
                if moment.is_none() {
                    self.problem(
                        format!("{key}.expires"),
                        "must be a moment with its time zone, for example 2027-01-01T00:00:00Z",
                    );
                }
                Some(moment?)
            }
        };
        Some(ApiKey { id: raw.id.clone(), digest: digest?, expires })
    }
}
