//! One service with its neighbours: what most tests begin with.

use super::{Config, Issuer, Service, Upstream};

/// A service, its issuer and its upstream. The service comes first, so that it is stopped first.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
}

impl World {
    /// With the default configuration.
    pub(crate) fn start() -> Self {
        Self::with(|config| config)
    }

    /// With the default configuration as changed by the test.
    pub(crate) fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        Self::from(issuer, upstream, change)
    }

    /// With browser sign-in at the issuer, as changed by the test.
    pub(crate) fn with_login(change: impl FnOnce(Config) -> Config) -> Self {
        Self::with_login_at(Issuer::start(), change)
    }

    /// The same at an issuer that the test has prepared.
    pub(crate) fn with_login_at(issuer: Issuer, change: impl FnOnce(Config) -> Config) -> Self {
        let upstream = Upstream::start();
        let service = Service::start(&change(Config::new(&issuer, &upstream).login(&issuer)));
        Self { service, issuer, upstream }
    }

    /// With neighbours that the test has prepared.
    pub(crate) fn from(issuer: Issuer, upstream: Upstream, change: impl FnOnce(Config) -> Config) -> Self {
        let service = Service::start(&change(Config::new(&issuer, &upstream)));
        Self { service, issuer, upstream }
    }

    /// A good token of `canary-user-NAME`.
    pub(crate) fn bearer(&self, name: &str) -> String {
        self.issuer.bearer(name)
    }
}
