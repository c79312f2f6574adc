//! The service under test, started as the real binary, and recording fakes of everything it talks to.
//!
//! Everything here speaks HTTP over loopback; nothing links the service's code.

#![allow(
    dead_code,
    unused_imports,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "every test binary compiles this module and uses its own part of it; a test fails by panicking, reads clocks and says what it saw"
)]

mod answer;
mod audit;
pub(crate) mod azure;
pub(crate) mod azure_openai;
mod canary;
pub(crate) mod certificate;
mod client;
mod config;
pub(crate) mod google;
mod introspector;
mod issuer;
mod keys;
pub(crate) mod redis;
mod reply;
mod sealed;
mod service;
mod sign_in;
pub(crate) mod siteverify;
pub(crate) mod store;
mod token;
mod upstream;
pub(crate) mod vault;
mod webhook;
mod wire;
mod world;

pub(crate) use answer::Answer;
pub(crate) use canary::{Canary, Place, Scope, secrets};
pub(crate) use client::MINT;
pub(crate) use config::Config;
pub(crate) use introspector::{CLIENT_ID as INTROSPECTION_CLIENT_ID, Introspector, active};
pub(crate) use issuer::{Issuer, user};
pub(crate) use keys::{Algorithm, Key};
pub(crate) use reply::{End, Reply};
pub(crate) use sealed::resealed;
pub(crate) use service::Service;
pub(crate) use sign_in::{Asked, Browser, CLIENT_ID, PUBLIC_URL, SESSION_COOKIE, SIGN_IN_COOKIE};
pub(crate) use token::{Token, assemble, base64url, claims, now};
pub(crate) use upstream::{Upstream, error, minted_until};
pub(crate) use webhook::{Delivery, WEBHOOK};
pub(crate) use wire::{Request, Responder, find};
pub(crate) use world::World;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// The runtime of all fakes; it outlives every test, so that a blocking test or a `Drop` never starves them.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fakes")
            .enable_all()
            .build()
            .expect("a runtime for the fakes")
    })
}

/// Locks, also after another thread has panicked: what a `Drop` reports then is still worth reading.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats `attempt` until it yields a value; panics with `what` after `seconds`.
pub(crate) async fn eventually<T>(what: &str, seconds: u64, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
