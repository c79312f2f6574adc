//! `[identity.login]`, checked.

use url::Url;

use super::Jwt;
use crate::domain::live::Live;
use crate::domain::secret::Secret;

/// Sign-in of browsers at one OpenID provider.
pub(crate) struct Login {
    /// The issuer of ID tokens. Its one audience is the client.
    pub(crate) provider: Jwt,
    pub(crate) client_id: String,
    pub(crate) client: Client,
    /// Separated by spaces, `openid` among them.
    pub(crate) scope: String,
    /// Where browsers reach the service; https, or http on this machine.
    pub(crate) public_url: Url,
    /// The first encrypts, all decrypt; at least one.
    pub(crate) cookie_keys: Vec<Secret>,
    pub(crate) idle_seconds: u64,
    pub(crate) absolute_seconds: u64,
    /// An upstream is asked on behalf of users.
    pub(crate) keeps_access_tokens: bool,
}

/// How the client proves to the token endpoint who it is.
pub(crate) enum Client {
    /// It does not.
    Public,
    Basic(Live<Secret>),
    Post(Live<Secret>),
}
