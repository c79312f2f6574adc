//! Where counts, sessions and blocks are kept.

use std::path::Path;

use super::fault::{self, Fault};
use super::finding::{About, Finding};
use super::{OFFLINE, Setup, in_time, on_a_thread, reach};
use crate::config::{RedisStore, Store};
use crate::durable::{Unopened, try_open};
use crate::redis::Origin;
use crate::redis::trial::{self, try_out};

pub(super) async fn findings(setup: &Setup) -> Vec<Finding> {
    let finding = match &setup.config.store {
        Store::Memory { is_meant: true } => About::new("store", "memory").ok("as is usual in dev; a restart begins anew"),
        Store::Memory { is_meant: false } => About::new("store", "memory").warning(&fault::STORE_MEMORY, ""),
        Store::File(path) => file(path).await,
        Store::Redis(settings) => redis(setup, settings).await,
    };
    vec![finding]
}

async fn file(path: &Path) -> Finding {
    let about = About::new("store", path.display().to_string());
    let owned = path.to_owned();
    match on_a_thread(move || try_open(&owned)).await {
        None => about.failed(&fault::NO_ANSWER, ""),
        Some(Ok(())) => about.ok("can be written"),
        Some(Err(Unopened::InUse(_))) => about.warning(&fault::STORE_IN_USE, ""),
        Some(Err(unopened)) => about.failed(&fault::STORE_FILE, &unopened.to_string()),
    }
}

async fn redis(setup: &Setup, settings: &RedisStore) -> Finding {
    // Its URL may hold a password.
    let about = About::new("store", "redis");
    if setup.offline {
        return about.skipped(OFFLINE);
    }
    let Ok(origin) = Origin::parse(&settings.url) else { return about.failed(&fault::STORE_OTHER, "") };
    match in_time(try_out(&origin, &settings.key_prefix)).await {
        None => about.failed(&fault::NO_ANSWER, ""),
        Some(Ok(())) => about.ok("reached, and runs scripts"),
        Some(Err(wanting)) => about.failed(fault_of(wanting.fault, setup), &wanting.said),
    }
}

fn fault_of(fault: trial::Fault, setup: &Setup) -> &'static Fault {
    match fault {
        trial::Fault::Unreached(trouble) => reach::fault_of(trouble, setup),
        trial::Fault::SignIn => &fault::STORE_SIGN_IN,
        trial::Fault::Forbidden => &fault::STORE_FORBIDDEN,
        trial::Fault::IsCluster => &fault::STORE_CLUSTER,
        trial::Fault::IsNoCluster => &fault::STORE_NO_CLUSTER,
        trial::Fault::TakesNoWrites => &fault::STORE_NO_WRITES,
        trial::Fault::NoMaster => &fault::STORE_NO_MASTER,
        trial::Fault::Other => &fault::STORE_OTHER,
    }
}
