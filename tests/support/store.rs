//! The store that the tests of a run are on: `EPHEMINT_TEST_STORE`, one of [`ALL`]. Without it, in memory.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::redis::{RedisCluster, RedisServer};

const VARIABLE: &str = "EPHEMINT_TEST_STORE";
const ALL: [&str; 5] = ["memory", "file", "redis", "valkey", "cluster"];

/// Which store it is.
pub(crate) fn kind() -> &'static str {
    static KIND: OnceLock<&str> = OnceLock::new();
    KIND.get_or_init(|| {
        let asked = std::env::var(VARIABLE).unwrap_or_else(|_| "memory".into());
        ALL.into_iter().find(|kind| *kind == asked).unwrap_or_else(|| panic!("{VARIABLE} is one of {ALL:?}"))
    })
}

/// Whether replicas share it.
pub(crate) fn is_shared() -> bool {
    !["memory", "file"].contains(&kind())
}

/// `[store]` for a service in `directory` that shares nothing with other tests; of its keys' prefix, `prefix`.
pub(super) fn settings(directory: &Path, prefix: &str) -> Vec<(&'static str, String)> {
    match kind() {
        "memory" => Vec::new(),
        "file" => vec![("store.path", format!("{:?}", directory.join("store")))],
        _ => vec![
            ("store.kind", r#""redis""#.into()),
            ("store.url", r#""env://TEST_REDIS_URL""#.into()),
            ("store.key_prefix", format!("{prefix:?}")),
            // These machines are busy.
            ("store.timeout_ms", "2000".into()),
        ],
    }
}

/// A name for keys that no other test has.
pub(super) fn prefix() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Where the servers are that all tests of this process share.
pub(super) fn url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (say, said) = mpsc::channel();
        // Servers end with the thread that started them, and this one lives as long as the process.
        std::thread::spawn(move || {
            let keep: (String, Box<dyn std::any::Any>) = match kind() {
                "redis" => keep(RedisServer::start(), RedisServer::url),
                "valkey" => keep(RedisServer::valkey().expect("valkey-server is installed"), RedisServer::url),
                "cluster" => keep(RedisCluster::start(), RedisCluster::url),
                _ => (String::new(), Box::new(())),
            };
            let _ = say.send(keep.0.clone());
            loop {
                std::thread::park();
            }
        });
        said.recv().expect("the servers start")
    })
}

fn keep<T: 'static>(server: T, url: impl Fn(&T) -> String) -> (String, Box<dyn std::any::Any>) {
    (url(&server), Box::new(server))
}
