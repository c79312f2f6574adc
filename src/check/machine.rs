//! What this machine gives: trust in servers, addresses to listen at, room for entries.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use futures_util::future::join_all;
use rustix::fs::statvfs;

use super::finding::{About, Finding};
use super::{Setup, fault, on_a_thread};
use crate::app::bind;
use crate::audit::try_sink_unseen;
use crate::config::{Config, Sink};

/// Bytes that a file system should have left: some ten thousand entries.
const ROOM: u64 = 8 << 20;

pub(super) async fn findings(setup: &Setup) -> Vec<Finding> {
    let config = &setup.config;
    let mut findings = vec![trust(setup)];
    findings.extend(listeners(config.server.listen, config.admin.listen));
    findings.extend(join_all(config.audit.sinks.iter().map(sink)).await);
    let (pseudonyms, token) = (About::new("secret", "privacy.pseudonym_key"), About::new("secret", "admin.token"));
    findings.push(match config.pseudonym_key {
        Some(_) => pseudonyms.ok("there"),
        None => pseudonyms.warning(&fault::NO_PSEUDONYM_KEY, ""),
    });
    findings.push(match config.admin.token {
        Some(_) => token.ok("there"),
        None if config.admin.open_metrics => token.ok("not set: /metrics alone is served"),
        None => token.warning(&fault::NO_ADMIN_TOKEN, ""),
    });
    findings
}

fn trust(setup: &Setup) -> Finding {
    let about = About::new("tls", "certificate authorities");
    match (setup.outbound.trusts_somebody(), needs_tls(&setup.config)) {
        (true, _) => about.ok("there"),
        (false, true) => about.failed(&fault::NO_ROOTS, ""),
        (false, false) => about.warning(&fault::NO_ROOTS, ""),
    }
}

fn needs_tls(config: &Config) -> bool {
    let identity = &config.identity;
    let issuers = identity.jwt.iter().map(|jwt| jwt.issuer.as_str()).chain(identity.login.iter().map(|it| &*it.provider.issuer));
    let upstreams = config.upstreams.values().map(|upstream| upstream.base_url.as_str());
    let servers = identity.introspection.iter().map(|server| server.endpoint.as_str());
    issuers.chain(upstreams).chain(servers).any(|url| url.starts_with("https:"))
}

/// Both are held until both have been tried, so that they cannot take each other's place.
fn listeners(public: SocketAddr, admin: SocketAddr) -> Vec<Finding> {
    let first = bind(public);
    let second = bind(admin);
    if public == admin && public.port() != 0 {
        return vec![About::new("listener", format!("server.listen and admin.listen {public}")).failed(&fault::SAME_ADDRESS, "")];
    }
    let tried = [("server.listen", public, first.err()), ("admin.listen", admin, second.err())];
    let finding = |(key, address, error): (&str, SocketAddr, Option<std::io::Error>)| {
        let about = About::new("listener", format!("{key} {address}"));
        match error.map(|error| (error.kind(), error)) {
            None => about.ok("can be listened at"),
            Some((ErrorKind::AddrInUse, _)) => about.warning(&fault::ADDRESS_IN_USE, ""),
            Some((ErrorKind::PermissionDenied, _)) => about.failed(&fault::ADDRESS_FORBIDDEN, ""),
            Some((_, error)) => about.failed(&fault::ADDRESS_ABSENT, &error.to_string()),
        }
    };
    tried.into_iter().map(finding).collect()
}

async fn sink(sink: &Sink) -> Finding {
    let path = match sink {
        Sink::Stdout => return About::new("audit", "stdout").ok("written by the service alone"),
        Sink::File(path) => path.clone(),
    };
    let about = About::new("audit", path.display().to_string());
    match on_a_thread(move || writable(&path)).await {
        None => about.failed(&fault::NO_ANSWER, ""),
        Some(Err(error)) => about.failed(&fault::SINK, &error.to_string()),
        Some(Ok(left)) if left.is_some_and(|left| left < ROOM) => {
            about.failed(&fault::SINK_FULL, &format!("{} KiB left", left.unwrap_or_default() >> 10))
        }
        Some(Ok(_)) => about.ok("can be written"),
    }
}

/// How many bytes are left for a file there; nothing for a pipe or a device.
fn writable(path: &Path) -> std::io::Result<Option<u64>> {
    try_sink_unseen(path)?;
    if path.exists() && !path.is_file() {
        return Ok(None);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    // A file system that does not tell has room until it says otherwise.
    Ok(statvfs(folder).ok().filter(|said| said.f_blocks > 0).map(|said| said.f_bavail.saturating_mul(said.f_frsize)))
}
