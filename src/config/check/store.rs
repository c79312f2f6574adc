//! Where counts, sessions and blocks are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::Check;
use crate::config::raw::{OnOutage, RawStore, StoreKind};
use crate::config::{Environment, RedisStore, Store};

impl Check<'_> {
    pub(super) fn store(&mut self, raw: &RawStore) -> Option<Store> {
        match raw.kind {
            StoreKind::Embedded => {
                let foreign = [
                    ("url", raw.url.is_some()),
                    ("replicas", raw.replicas.is_some()),
                    ("on_outage", raw.on_outage != OnOutage::Refuse),
                ];
                for (name, _) in foreign.into_iter().filter(|(_, is_set)| *is_set) {
                    self.problem(format!("store.{name}"), "is for kind = \"redis\" alone; set the kind or leave it out");
                }
                match &raw.path {
                    None => Some(Store::Memory { is_meant: self.environment == Environment::Dev }),
                    Some(path) => self.file(path).map(Store::File),
                }
            }
            StoreKind::Redis => {
                if raw.path.is_some() {
                    self.problem("store.path", "is for kind = \"embedded\" alone; leave it out");
                }
                self.redis(raw).map(Store::Redis)
            }
        }
    }

    fn file(&mut self, text: &str) -> Option<PathBuf> {
        let path = PathBuf::from(text);
        let folder = path.parent().filter(|_| path.is_absolute() && path.file_name().is_some());
        match folder {
            None => self.problem("store.path", "must be the absolute path of a file, for example \"/var/lib/ephemint/store\""),
            Some(folder) if !folder.is_dir() => {
                let cause = format!(
                    "the folder {} is not there; create it, writable for the service's user (a mounted volume in a container)",
                    folder.display()
                );
                self.problem("store.path", cause);
            }
            Some(_) if path.is_dir() => self.problem("store.path", "is a folder; name a file in it"),
            Some(_) => return Some(path),
        }
        None
    }

    fn redis(&mut self, raw: &RawStore) -> Option<RedisStore> {
        let prefix_is_good = (1..=32).contains(&raw.key_prefix.len())
            && raw.key_prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-:".contains(&b));
        if !prefix_is_good {
            self.problem("store.key_prefix", "has 1 to 32 letters, digits, '_', '-' or ':'");
        }
        let timeout = Duration::from_millis(self.range("store.timeout_ms", raw.timeout_ms, 10, 5000));
        let replicas = raw.replicas.map(|replicas| self.range("store.replicas", replicas, 1, 1000));
        let alone_among = match (raw.on_outage, replicas) {
            (OnOutage::Refuse, _) => None,
            (OnOutage::Local, Some(replicas)) => Some(replicas),
            (OnOutage::Local, None) => {
                self.problem(
                    "store.replicas",
                    "say how many replicas share the limits: while the store is out of reach, each counts by its share of them",
                );
                None
            }
        };
        let Some(text) = &raw.url else {
            self.problem("store.url", "name the store, for example url = \"env://REDIS_URL\"");
            return None;
        };
        let url = self.secret("store.url", text)?.secret;
        let form = (self.tries.redis)(&url);
        match form {
            Err(cause) => self.problem("store.url", format!("{text}: {cause}")),
            Ok(is_open) if is_open && self.environment == Environment::Prod => self.problem(
                "store.url",
                format!("{text}: an unencrypted connection beyond this machine is refused in prod; use rediss://"),
            ),
            Ok(_) => return Some(RedisStore { url, key_prefix: raw.key_prefix.clone(), timeout, alone_among }),
        }
        None
    }
}
