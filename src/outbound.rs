//! The only place that builds HTTP clients: every one has deadlines, follows no redirect, uses no proxy of the environment.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Builds clients that share one TLS configuration, so that the trust store is read once.
#[derive(Clone)]
pub(crate) struct Outbound {
    tls: ClientConfig,
}

/// Why an answer's body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body broke off")]
    Broken(#[source] reqwest::Error),
}

impl Outbound {
    /// Reads the system's trust store. On a system without one, HTTPS fails at the first request and plain HTTP still works.
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        let builder =
            || ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into()).with_safe_default_protocol_versions();
        let tls = match builder()?.with_platform_verifier() {
            Ok(trusting) => trusting.with_no_client_auth(),
            Err(error) => {
                tracing::warn!(%error, "no CA certificates were found, so no https server can be trusted; install the package ca-certificates or set SSL_CERT_FILE");
                builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
            }
        };
        Ok(Self { tls })
    }

    /// A client whose every request, body included, ends within `deadline`.
    ///
    /// HTTP/1.1 without a cap on pooled connections: one HTTP/2 connection would cap mints at its streams divided by the latency.
    #[expect(clippy::disallowed_methods, reason = "the one place that builds clients")]
    pub(crate) fn client(&self, deadline: Duration) -> reqwest::Result<Client> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .http1_only()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("ephemint/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT.min(deadline))
            .timeout(deadline)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(usize::MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
    }
}

/// Reads a body of at most `limit` bytes. Nothing beyond the limit is kept in memory.
pub(crate) async fn body(mut response: Response, limit: usize) -> Result<Bytes, BodyError> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge(limit));
    }
    let broken = |e: reqwest::Error| BodyError::Broken(e.without_url());
    let Some(first) = response.chunk().await.map_err(broken)? else { return Ok(Bytes::new()) };
    // Most answers come in one piece, which is then not copied.
    let Some(second) = response.chunk().await.map_err(broken)? else { return within(first, limit) };
    let mut whole = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if whole.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        whole.extend_from_slice(&chunk);
        next = response.chunk().await.map_err(broken)?;
    }
    Ok(whole.freeze())
}

fn within(body: Bytes, limit: usize) -> Result<Bytes, BodyError> {
    if body.len() > limit { Err(BodyError::TooLarge(limit)) } else { Ok(body) }
}
