//! One line of the audit trail.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::bind::Binding;
use crate::config::Upstream;
use crate::domain::ids::{Pseudonym, SessionId};
use crate::provider::Served;

/// What happened. Users appear by pseudonym, by name only where that is asked for; keys by fingerprint; secrets
/// have no field.
#[derive(Clone, Serialize)]
pub(crate) struct Entry<'a> {
    /// RFC 3339, UTC.
    #[serde(serialize_with = "timestamp")]
    pub(crate) time: Duration,
    pub(crate) event: &'static str,
    /// `minted`, `admitted`, `signed_in`, `ended` and so on, or the code of the refusal.
    pub(crate) outcome: &'static str,
    pub(crate) status: u16,
    /// Empty where no request is behind it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Pseudonym>,
    /// The subject as the issuer has it, with `audit.identify_users = "plain"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_name: Option<&'a str>,
    /// The configured identity that vouches for the user: `jwt.main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<&'a str>,
    /// First 8 hex digits of the permanent key's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream_request_id: Option<&'a str>,
    /// The call at the provider, as its client reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call_id: Option<&'a str>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    /// The operator who did it, as they say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<&'a str>,
    /// What the upstream or a rule said, for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'a str>,
    /// From the request's arrival to this entry.
    pub(crate) latency_ms: f64,
}

impl<'a> Entry<'a> {
    /// An entry that knows only what it is about.
    pub(crate) fn about(event: &'static str, time: Duration, request_id: &'a str) -> Self {
        Self {
            time,
            event,
            outcome: "",
            status: 0,
            request_id,
            trace_id: None,
            session_id: None,
            user: None,
            user_name: None,
            identity: None,
            tenant: None,
            profile: None,
            upstream: None,
            organization: None,
            project: None,
            key: None,
            upstream_request_id: None,
            call_id: None,
            expires_at: None,
            author: None,
            cause: None,
            latency_ms: 0.0,
        }
    }

    /// An entry of the event `mint` that knows only its request.
    pub(crate) fn mint(time: Duration, request_id: &'a str, trace_id: Option<&'a str>) -> Self {
        Self { trace_id, ..Self::about("mint", time, request_id) }
    }

    /// An entry of the event `guest`, `login` or `logout` that knows only its request.
    pub(crate) fn visit(event: &'static str, time: Duration, request_id: &'a str, trace_id: Option<&'a str>) -> Self {
        Self { trace_id, ..Self::about(event, time, request_id) }
    }

    pub(crate) fn session(&mut self, binding: &'a Binding) {
        let owner = binding.owner();
        self.session_id = Some(binding.session());
        self.user = Some(owner.user);
        self.tenant = Some(&*owner.tenant).filter(|tenant| !tenant.is_empty());
        self.profile = Some(&owner.profile);
        self.upstream = Some(binding.upstream());
        self.call_id = binding.call().map(|call| call.id.as_str());
    }

    pub(crate) fn upstream(&mut self, upstream: &'a Upstream) {
        self.upstream = Some(&upstream.name);
        self.organization = upstream.organization.as_deref();
        self.project = upstream.project.as_deref();
    }

    pub(crate) fn served(&mut self, served: &'a Served) {
        if let Some(upstream) = &served.upstream {
            self.upstream(upstream);
        }
        self.key = served.key.as_deref();
        self.upstream_request_id = served.request_id.as_deref();
    }

    /// The entry as a line of JSON, with its line break.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(640);
        // Text and numbers always serialize; should one not, the line still says that something happened.
        if serde_json::to_writer(&mut line, self).is_err() {
            line = br#"{"event":"mint","outcome":"internal"}"#.to_vec();
        }
        line.push(b'\n');
        line
    }
}

fn timestamp<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    serializer.collect_str(&Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
}
