//! What stands behind a refusal, where that can be told. Azure's statuses and codes tell little: a wrong key, another resource's address and
//! a missing role are all 401, and callers are told no more. Operators are.
//!
//! Texts: Microsoft, "Azure OpenAI: troubleshooting" and "Role-based access control for Azure OpenAI".

/// A cause that is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    KeyOrEndpoint,
    Role,
    Tenant,
    KeysOff,
    Network,
    Deployment,
    Path,
    Token,
    /// At `OpenAI`.
    Model,
}

/// Parts of messages, in lower case, and codes.
const SIGNS: [(&str, Blame); 11] = [
    ("access token is missing, invalid, audience is incorrect", Blame::Token),
    ("invalid subscription key or wrong api endpoint", Blame::KeyOrEndpoint),
    ("principal does not have access", Blame::Role),
    ("lacks the required data action", Blame::Role),
    ("does not match resource tenant", Blame::Tenant),
    ("key based authentication is disabled", Blame::KeysOff),
    ("virtual network/firewall rules", Blame::Network),
    ("public access is disabled", Blame::Network),
    ("api deployment for this resource does not exist", Blame::Deployment),
    ("unknown model", Blame::Deployment),
    ("resource not found", Blame::Path),
];
const CODES: [(&str, Blame); 3] = [
    ("PermissionDenied", Blame::Role),
    ("AuthenticationTypeDisabled", Blame::KeysOff),
    ("DeploymentNotFound", Blame::Deployment),
];

impl Blame {
    /// What an error body of Azure's says.
    pub(super) fn of(code: Option<&str>, message: Option<&str>) -> Option<Self> {
        let message = message.unwrap_or_default().to_ascii_lowercase();
        let of_code = || CODES.into_iter().find(|(name, _)| code == Some(name));
        let of_message = || SIGNS.into_iter().find(|(words, _)| message.contains(words));
        of_message().or_else(of_code).map(|(_, blame)| blame)
    }

    /// As metrics name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::KeyOrEndpoint => "key_or_endpoint",
            Self::Role => "role",
            Self::Tenant => "tenant",
            Self::KeysOff => "keys_off",
            Self::Network => "network",
            Self::Deployment => "deployment",
            Self::Path => "path",
            Self::Token => "token",
            Self::Model => "model",
        }
    }

    /// What the operator does.
    pub(crate) fn cure(self) -> &'static str {
        match self {
            Self::KeyOrEndpoint => "the key is not of this resource, or base_url is another resource's",
            Self::Role => {
                "the identity lacks the role \"Cognitive Services OpenAI User\" on the resource; a new assignment takes some minutes"
            }
            Self::Tenant => "the identity is of another tenant than the resource; look at tenant_id",
            Self::KeysOff => "the resource takes no keys; use a credential of Entra ID",
            Self::Network => "the resource's network rules refuse this address; allow it, or use a private endpoint",
            Self::Deployment => "no such deployment at the resource; one that was made just now takes up to five minutes",
            Self::Token => {
                "the access token does not do, or has ended: look at scope, and whether authority is of the resource's cloud"
            }
            Self::Model => "there is no such model, or the key's project may not use it",
            Self::Path => {
                "nothing is at this path; base_url ends in /openai/v1, and api_version has to be one that the resource has"
            }
        }
    }

    /// Whether it speaks against the credential itself, so that another one is worth a try.
    pub(super) fn is_of_key(self) -> bool {
        matches!(self, Self::KeyOrEndpoint | Self::KeysOff | Self::Token)
    }

    /// Whether it concerns only what is asked for one model, or deployment.
    pub(super) fn is_of_model(self) -> bool {
        matches!(self, Self::Deployment | Self::Model)
    }

    /// Whether it concerns everything that is asked of the resource.
    pub(super) fn is_of_all(self) -> bool {
        matches!(self, Self::Role | Self::Tenant | Self::KeysOff | Self::Network | Self::Path)
    }
}
