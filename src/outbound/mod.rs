//! The only place that builds HTTP clients: none follows a redirect or uses a proxy of the environment, and all have deadlines.

mod pool;
mod trouble;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

pub(crate) use pool::{Answer, Pool};
pub(crate) use trouble::{Trouble, Unreached};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
pub(crate) const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("ephemint/", env!("CARGO_PKG_VERSION")));

/// A client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built")]
pub(crate) struct Unbuildable(#[from] reqwest::Error);

/// Builds clients that share one TLS configuration, so that the trust store is read once.
#[derive(Clone)]
pub(crate) struct Outbound {
    tls: ClientConfig,
    trusts_somebody: bool,
}

impl Outbound {
    /// Reads the system's trust store. On a system without one, HTTPS fails at the first request and plain HTTP still works.
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        let builder =
            || ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into()).with_safe_default_protocol_versions();
        let (tls, trusts_somebody) = match builder()?.with_platform_verifier() {
            Ok(trusting) => (trusting.with_no_client_auth(), true),
            Err(error) => {
                tracing::warn!(%error, "no CA certificates were found, so no https server can be trusted; install the package ca-certificates or set SSL_CERT_FILE");
                (builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth(), false)
            }
        };
        Ok(Self { tls, trusts_somebody })
    }

    /// Whether the system's trust store holds anything.
    pub(crate) fn trusts_somebody(&self) -> bool {
        self.trusts_somebody
    }

    /// A client whose every request, body included, ends within `deadline`.
    #[expect(clippy::disallowed_methods, reason = "the one place that builds clients")]
    pub(crate) fn client(&self, deadline: Duration) -> Result<Client, Unbuildable> {
        Ok(Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .http1_only()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT.min(deadline))
            .timeout(deadline)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?)
    }

    /// The client of the mint path, for the upstream at `origin` (scheme and authority). Its caller sets the deadline of each exchange,
    /// none longer than `deadline`.
    pub(crate) fn pool(&self, origin: Uri, deadline: Duration) -> Pool {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT.min(deadline)));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_or_http().enable_http1().wrap_connector(tcp);
        Pool::new(connector, origin)
    }
}

/// Why an answer's body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError<E: std::error::Error + 'static> {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body broke off")]
    Broken(#[source] E),
}

/// What lies below an error, from its cause down to the root.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Reads a body of at most `limit` bytes. Nothing beyond the limit is kept in memory.
pub(crate) async fn body<B>(mut body: B, limit: usize) -> Result<Bytes, BodyError<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    // Most answers come in one piece, which is then not copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if first.len() + whole.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
