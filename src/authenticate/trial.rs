//! Whoever vouches for callers, asked once and for nobody: what `ephemint check` tries.

use reqwest::StatusCode;

use super::guests::Guests;
use super::introspection;
use super::jwks::{Fetch, FetchError};
use super::login;
use crate::config;
use crate::domain::secret::Credential;
use crate::outbound::{Outbound, Trouble, Unbuildable, Unreached};

/// A token that nobody has issued.
const NOBODYS: &str = "ephemint-check-of-a-token-that-nobody-issued";

/// What is wrong with one of them.
#[derive(Debug)]
pub(crate) enum Wanting {
    Unreached(Unreached),
    /// An answer that is no success.
    Status(u16),
    /// The answer is not of the form that its standard or its documentation has.
    Malformed,
    /// The discovery document names another issuer than the configuration.
    OtherIssuer,
    /// The discovery document of an https issuer names keys at plain http.
    Downgrade,
    NoUsableKey,
    /// Discovery does not say where users sign in.
    NoSignIn,
    /// Ephemint's own account or secret is refused.
    Refused(u16),
    /// What nobody issued is called good.
    TakesAnything,
    /// There is no client to ask with.
    Unbuildable,
}

/// Fetches the keys of an issuer. How many of them can be used.
pub(crate) async fn issuer(settings: &config::Jwt, outbound: &Outbound) -> Result<usize, Wanting> {
    Ok(Fetch::new(settings, outbound)?.run().await?.usable())
}

/// The same for the issuer of browser sign-in, which must also say where users sign in.
pub(crate) async fn sign_in(settings: &config::Login, outbound: &Outbound) -> Result<usize, Wanting> {
    let fetched = Fetch::new(&settings.provider, outbound)?.run().await?;
    if login::says_where(&settings.provider.issuer, fetched.discovery()) { Ok(fetched.usable()) } else { Err(Wanting::NoSignIn) }
}

/// Asks about a token that nobody has issued: the answer must be that it is not active.
pub(crate) async fn introspection(settings: &config::Introspection, outbound: &Outbound) -> Result<(), Wanting> {
    let token = Credential::from(format!("{}{NOBODYS}", settings.token_prefix).as_str());
    introspection::try_out(settings, &token, outbound).await
}

/// Asks about a proof that nobody has made: the answer must be that it is not good.
pub(crate) async fn guests(settings: &config::Proof, outbound: &Outbound) -> Result<(), Wanting> {
    Guests::try_out(settings, &Credential::from(NOBODYS), outbound).await
}

impl From<Unbuildable> for Wanting {
    fn from(_: Unbuildable) -> Self {
        Self::Unbuildable
    }
}

impl From<reqwest::Error> for Wanting {
    fn from(error: reqwest::Error) -> Self {
        Self::Unreached(error.into())
    }
}

impl Wanting {
    /// Of a status that stands for neither a good answer nor a refusal.
    pub(super) fn status(status: StatusCode) -> Self {
        Self::Status(status.as_u16())
    }

    /// No answer within the time, whoever found that out.
    pub(super) fn silent() -> Self {
        Self::Unreached(Unreached::new(Trouble::NoAnswer, "no answer in time"))
    }
}

impl From<FetchError> for Wanting {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NoAnswer(_, error) => error.into(),
            FetchError::Status(_, status) => Self::status(status),
            FetchError::Body(..) | FetchError::NotDiscovery => Self::Malformed,
            FetchError::OtherIssuer => Self::OtherIssuer,
            FetchError::Downgrade => Self::Downgrade,
            FetchError::NoUsableKey => Self::NoUsableKey,
        }
    }
}
