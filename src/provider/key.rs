//! A credential in the form it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use secrecy::zeroize::Zeroizing;

use super::endpoint::SAFETY_IDENTIFIER;
use crate::config;
use crate::config::check::is_legacy_key;
use crate::domain::secret::Secret;
use crate::outbound;

const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// Rests until it is found good again.
const UNTIL_FOUND_GOOD: u64 = u64::MAX;

/// A permanent key, or a short-lived credential in its place, with everything else that every request carries. Its text is wiped when the
/// last request that uses it has ended.
pub(crate) struct Key {
    fingerprint: Arc<str>,
    headers: HeaderMap,
    is_legacy: bool,
    /// Seconds since 1970.
    expires_at: Option<u64>,
    /// Milliseconds of steady time; 0: it does not rest.
    rests_until: AtomicU64,
}

/// Text that is wiped with its last owner.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Key {
    /// `None` when a setting or the secret has no form on the wire.
    pub(crate) fn new(settings: &config::Upstream, secret: &Secret, expires_at: Option<u64>) -> Option<Arc<Self>> {
        let mut headers = HeaderMap::with_capacity(16);
        // Azure takes keys in a header of its own.
        let is_azure = settings.dialect.is_azure();
        match &settings.credential {
            config::Credential::Keys(_) if is_azure => headers.insert(API_KEY, sensitive(b"", secret)?),
            _ => headers.insert(AUTHORIZATION, sensitive(b"Bearer ", secret)?),
        };
        if !is_azure {
            // Headers that are set or looked for later have their place already: a copy of the map has no room to grow.
            headers.insert(SAFETY_IDENTIFIER, HeaderValue::from_static(""));
        }
        headers.insert(HOST, HeaderValue::from_str(settings.base_url.parse::<Uri>().ok()?.authority()?.as_str()).ok()?);
        headers.insert(USER_AGENT, outbound::USER_AGENT);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [("openai-organization", &settings.organization), ("openai-project", &settings.project)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value.as_str()).ok()?);
            }
        }
        let fingerprint = secret.fingerprint().into();
        let is_legacy = !is_azure && is_legacy_key(secret.reveal());
        Some(Arc::new(Self { fingerprint, headers, is_legacy, expires_at, rests_until: AtomicU64::new(0) }))
    }

    /// First 8 hex digits of its SHA-256.
    pub(crate) fn fingerprint(&self) -> &Arc<str> {
        &self.fingerprint
    }

    /// Whether it is a permanent key of a user, not of a project.
    pub(crate) fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// What every request carries.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What a request without a body, and about nobody, carries.
    pub(super) fn headers_without_body(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in [SAFETY_IDENTIFIER, HOST, CONTENT_TYPE] {
            headers.remove(name);
        }
        headers
    }

    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    pub(super) fn has_expired(&self, wall: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= wall)
    }

    pub(crate) fn rests(&self, now: Duration) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        until != 0 && (until == UNTIL_FOUND_GOOD || now < Duration::from_millis(until))
    }

    /// Whether it was refused and nobody has found it good again.
    pub(crate) fn is_refused(&self) -> bool {
        self.rests_until.load(Ordering::Relaxed) == UNTIL_FOUND_GOOD
    }

    /// Lets it rest until it is found good. Whether that is news.
    pub(super) fn rest(&self) -> bool {
        self.rests_until.swap(UNTIL_FOUND_GOOD, Ordering::Relaxed) != UNTIL_FOUND_GOOD
    }

    pub(super) fn rest_until(&self, steady: Duration) {
        let until = u64::try_from(steady.as_millis()).unwrap_or(UNTIL_FOUND_GOOD - 1).max(1);
        // One that was refused stays refused.
        let _ =
            self.rests_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now != UNTIL_FOUND_GOOD).then_some(until));
    }

    /// The upstream accepts it. Whether it had refused it before.
    pub(crate) fn accepted(&self) -> bool {
        // Looked at first: this is called for every mint.
        self.is_refused() && self.rests_until.swap(0, Ordering::Relaxed) == UNTIL_FOUND_GOOD
    }
}

/// Shares the one copy of the text, and does not print.
fn sensitive(scheme: &[u8], secret: &Secret) -> Option<HeaderValue> {
    // As large as it will be: what outgrows its place is copied, and the copy left behind is not wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + secret.reveal().len()));
    text.extend_from_slice(scheme);
    text.extend_from_slice(secret.reveal().as_bytes());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(text))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
