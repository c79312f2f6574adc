//! The issuer and the upstream, at one address.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::json;
use tokio::runtime::Builder;

use super::keys::{Algorithm, Key};
use super::wire::Connection;
use super::{threads, token};

pub(crate) struct Neighbours {
    pub(crate) address: SocketAddr,
    keys: Vec<Arc<Key>>,
    upstream: Arc<Upstream>,
}

#[derive(Default)]
struct Upstream {
    /// What every mint is answered with.
    answer: Mutex<Arc<[u8]>>,
    mints: AtomicU64,
    connections: AtomicU64,
}

/// What the upstream has seen so far.
pub(crate) struct Seen {
    pub(crate) mints: u64,
    pub(crate) connections: u64,
}

impl Neighbours {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let keys: Vec<_> = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA]
            .map(|algorithm| Key::new(&algorithm.name(), algorithm))
            .into();
        let key_set = ok(&json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string());
        let upstream = Arc::new(Upstream::default());
        let serving = upstream.clone();
        thread::spawn(move || {
            threads::mark_ours();
            Builder::new_current_thread().enable_all().build().unwrap().block_on(serve(listener, serving, key_set));
        });
        Self { address, keys, upstream }
    }

    pub(crate) fn key(&self, algorithm: Algorithm) -> &Arc<Key> {
        self.keys.iter().find(|key| key.algorithm() == algorithm).unwrap()
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on secrets expire `seconds` after this moment.
    pub(crate) fn answer_for(&self, seconds: i64) {
        let session = json!({
            "type": "realtime", "object": "realtime.session", "id": "sess_0123456789abcdef", "model": "gpt-realtime-2.1",
            "output_modalities": ["audio"], "instructions": "You are a friendly assistant that helps the caller with short spoken answers.",
            "tools": [], "tool_choice": "auto", "max_output_tokens": "inf", "tracing": null, "truncation": "auto", "prompt": null,
            "expires_at": 0, "include": null, "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000}, "transcription": null, "noise_reduction": null,
                    "turn_detection": {
                        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200,
                        "idle_timeout_ms": null, "create_response": true, "interrupt_response": true,
                    },
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
            },
        });
        let answer =
            json!({ "value": "ek_0123456789abcdef0123456789abcdef", "expires_at": token::now() + seconds, "session": session }); // ephemint:allow
        *self.upstream.answer.lock().unwrap_or_else(PoisonError::into_inner) = ok(&answer.to_string());
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen { mints: self.upstream.mints.load(SeqCst), connections: self.upstream.connections.load(SeqCst) }
    }
}

fn ok(body: &str) -> Arc<[u8]> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\ncontent-length: {length}\r\n"
    );
    format!("{head}\r\n{body}").into_bytes().into()
}

async fn serve(listener: TcpListener, upstream: Arc<Upstream>, key_set: Arc<[u8]>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        upstream.connections.fetch_add(1, SeqCst);
        let (mut connection, upstream, key_set) = (Connection::new(stream), upstream.clone(), key_set.clone());
        tokio::spawn(async move {
            while let Ok(request) = connection.receive().await {
                let answer = if request.starts_with(b"POST /v1/realtime/client_secrets ") {
                    upstream.mints.fetch_add(1, SeqCst);
                    upstream.answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
                } else {
                    key_set.clone()
                };
                if connection.send(&answer).await.is_err() {
                    break;
                }
            }
        });
    }
}
