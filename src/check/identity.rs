//! Whoever vouches for callers: issuers, introspection, sign-in, proofs of guests.

use futures_util::future::join_all;

use super::fault::{self, Fault};
use super::finding::{About, Finding};
use super::{OFFLINE, Setup, in_time, reach};
use crate::authenticate::trial::{self, Wanting};
use crate::config::Identity;

pub(super) async fn findings(setup: &Setup) -> Vec<Finding> {
    let identity = &setup.config.identity;
    let issuers = join_all(identity.jwt.iter().map(async |jwt| {
        let about = About::new("issuer", format!("jwt.{} {}", jwt.name, jwt.issuer));
        asked(setup, about, trial::issuer(jwt, &setup.outbound), keys, issuer_fault).await
    }));
    let servers = join_all(identity.introspection.iter().map(async |server| {
        let about = About::new("issuer", format!("introspection.{} {}", server.name, server.endpoint));
        let says_no = |()| "answers, and says no of a token that nobody issued".to_owned();
        asked(setup, about, trial::introspection(server, &setup.outbound), says_no, introspection_fault).await
    }));
    let (mut findings, servers, login, guests) = tokio::join!(issuers, servers, login(setup), guests(setup));
    findings.extend(servers);
    findings.extend(login);
    findings.extend(guests);
    findings.extend(unlimited(identity));
    findings
}

async fn login(setup: &Setup) -> Option<Finding> {
    let login = setup.config.identity.login.as_ref()?;
    let about = About::new("issuer", format!("login {}", login.provider.issuer));
    Some(asked(setup, about, trial::sign_in(login, &setup.outbound), keys, issuer_fault).await)
}

async fn guests(setup: &Setup) -> Option<Finding> {
    let proof = &setup.config.identity.guest.as_ref()?.proof;
    let about = About::new("guests", proof.verify_url.to_string());
    let says_no = |()| "answers, and says no of a proof that nobody made".to_owned();
    Some(asked(setup, about, trial::guests(proof, &setup.outbound), says_no, proof_fault).await)
}

fn unlimited(identity: &Identity) -> Vec<Finding> {
    let missing = identity.guest.iter().flat_map(|guest| &guest.unlimited);
    missing.map(|problem| About::new("guests", problem.key.clone()).warning(&fault::UNLIMITED, "")).collect()
}

fn keys(usable: usize) -> String {
    if usable == 1 { "reached, 1 usable key".to_owned() } else { format!("reached, {usable} usable keys") }
}

async fn asked<T>(
    setup: &Setup,
    about: About,
    question: impl Future<Output = Result<T, Wanting>>,
    good: impl FnOnce(T) -> String,
    fault_of: impl FnOnce(&Wanting) -> &'static Fault,
) -> Finding {
    if setup.offline {
        return about.skipped(OFFLINE);
    }
    match in_time(question).await {
        None => about.failed(&fault::NO_ANSWER, ""),
        Some(Ok(outcome)) => about.ok(good(outcome)),
        Some(Err(Wanting::Unreached(unreached))) => reach::unreached(about, &unreached, setup),
        Some(Err(Wanting::Status(status))) if status >= 500 => about.failed(&fault::UPSTREAM_DOWN, &format!("status {status}")),
        Some(Err(wanting)) => about.failed(fault_of(&wanting), &detail(&wanting)),
    }
}

fn detail(wanting: &Wanting) -> String {
    match wanting {
        Wanting::Status(status) | Wanting::Refused(status) if *status != 200 => format!("status {status}"),
        _ => String::new(),
    }
}

fn issuer_fault(wanting: &Wanting) -> &'static Fault {
    match wanting {
        Wanting::Status(_) => &fault::ISSUER_ABSENT,
        Wanting::OtherIssuer => &fault::ISSUER_NAME,
        Wanting::Downgrade => &fault::ISSUER_DOWNGRADE,
        Wanting::NoUsableKey => &fault::ISSUER_KEYS,
        Wanting::NoSignIn => &fault::ISSUER_SIGN_IN,
        _ => &fault::ISSUER_FORM,
    }
}

fn introspection_fault(wanting: &Wanting) -> &'static Fault {
    match wanting {
        Wanting::Refused(_) => &fault::CLIENT_REFUSED,
        Wanting::TakesAnything => &fault::INTROSPECTION_YES,
        _ => &fault::INTROSPECTION_FORM,
    }
}

fn proof_fault(wanting: &Wanting) -> &'static Fault {
    match wanting {
        Wanting::Refused(_) => &fault::PROOF_SECRET,
        Wanting::TakesAnything => &fault::PROOF_YES,
        _ => &fault::PROOF_FORM,
    }
}
