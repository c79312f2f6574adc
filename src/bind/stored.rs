//! How a session is written down.

use serde::{Deserialize, Serialize};

use super::{Binding, By, Call, End};
use crate::admit::Owner;
use crate::domain::ids::{CallId, Pseudonym, SessionId, hex};
use crate::domain::secret::Sha256;

/// What never changes of a session.
#[derive(Serialize, Deserialize)]
pub(super) struct Fixed {
    session: String,
    user: String,
    #[serde(skip_serializing_if = "str::is_empty", default)]
    tenant: Box<str>,
    profile: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    guest_until: Option<u64>,
    upstream: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<Box<str>>,
    secret: String,
    issued_at: u64,
}

/// A whole session.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    fixed: Fixed,
    expires_at: u64,
    /// The call, and when it was reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    call: Option<(Box<str>, u64)>,
    /// Who ended it, when, and whether its call is still to be hung up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    end: Option<(Box<str>, u64, bool)>,
}

impl Fixed {
    pub(super) fn of(binding: &Binding) -> Self {
        let owner = &binding.owner;
        Self {
            session: binding.session.to_string(),
            user: owner.user.to_string(),
            tenant: owner.tenant.clone(),
            profile: (&*owner.profile).into(),
            network: owner.network.map(|network| network.to_string()),
            guest_until: owner.guest_until,
            upstream: (&*binding.upstream).into(),
            key: binding.key.as_deref().map(Into::into),
            secret: hex(&binding.secret.0),
            issued_at: binding.issued_at,
        }
    }

    pub(super) fn binding(self, expires_at: u64, call: Option<Call>, end: Option<End>) -> Option<Binding> {
        let owner = Owner {
            user: Pseudonym::parse(&self.user)?,
            tenant: self.tenant,
            profile: self.profile.into(),
            network: self.network.as_deref().and_then(Pseudonym::parse),
            guest_until: self.guest_until,
        };
        Some(Binding {
            session: SessionId::parse(&self.session)?,
            owner,
            upstream: self.upstream.into(),
            key: self.key.map(Into::into),
            secret: Sha256::parse(&self.secret)?,
            issued_at: self.issued_at,
            expires_at,
            call,
            end,
        })
    }
}

impl Binding {
    pub(super) fn stored(&self) -> Option<Vec<u8>> {
        let stored = Stored {
            fixed: Fixed::of(self),
            expires_at: self.expires_at,
            call: self.call.as_ref().map(|call| (call.id.as_str().into(), call.reported_at)),
            end: self.end.map(|end| (end.by.word().into(), end.at, end.hang_up)),
        };
        serde_json::to_vec(&stored).ok()
    }

    /// What was written down. `None` when it is not of this form.
    pub(super) fn restored(stored: &[u8]) -> Option<Self> {
        let Stored { fixed, expires_at, call, end } = serde_json::from_slice(stored).ok()?;
        let call = call.and_then(|(id, reported_at)| Some(Call { id: CallId::parse(&id)?, reported_at }));
        let end = end.and_then(|(by, at, hang_up)| Some(End { by: By::parse(&by)?, at, hang_up }));
        fixed.binding(expires_at, call, end)
    }
}
