//! AWS Secrets Manager: `GetSecretValue`.
//!
//! Region, endpoint and credentials are looked for where AWS's own tools look (AWS SDKs and Tools Reference Guide, "Standardized
//! credential providers"). A way to credentials that is set up and does not work ends the search: a pod whose own role is refused must
//! not read secrets as the machine that it runs on.

mod answer;
mod chain;
mod exchange;
mod metadata;
mod place;
mod profile;
mod sign;
mod sts;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Client;
use serde_json::json;

use super::{Found, Unreadable};
use crate::config::load::Environ;
use crate::config::secrets;
use crate::domain::clock::{SharedClock, SystemClock};
use chain::Chain;
use sign::Scope;

const TARGET: &str = "secretsmanager.GetSecretValue";

/// A way to Secrets Manager, in any region.
pub(super) struct Aws {
    settings: secrets::Aws,
    environ: Arc<Environ>,
    client: Client,
    clock: SharedClock,
    chain: Chain,
}

impl Aws {
    pub(super) fn new(settings: &secrets::Aws, environ: &Arc<Environ>, client: Client) -> Self {
        let clock = SystemClock::shared();
        let chain = Chain::new(environ, client.clone(), clock.clone());
        Self { settings: settings.clone(), environ: environ.clone(), client, clock, chain }
    }

    /// Reads the current version of the secret with this name or ARN.
    pub(super) async fn read(&self, id: &str, field: Option<&str>) -> Result<Found, Unreadable> {
        let region = place::region(self.settings.region.as_deref(), id, &self.environ).await?;
        let url = place::secrets_manager(self.settings.endpoint.as_ref(), &region, &self.environ)?;
        let credentials = self.chain.credentials(&region).await?;
        let body = json!({ "SecretId": id }).to_string();
        let headers = BTreeMap::from([
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", place::authority(&url)),
            ("x-amz-target", TARGET.to_owned()),
        ]);
        let scope = Scope { service: "secretsmanager", region: region.as_str(), at: at(&self.clock) };
        let headers = sign::signed(headers, body.as_bytes(), &credentials, &scope);
        let request = exchange::with(self.client.post(url), headers).body(body);
        let reply = exchange::ask(request, "AWS Secrets Manager").await?;
        if answer::doubts_credentials(&reply) {
            // They may have been revoked: the next attempt gets new ones.
            self.chain.forget();
        }
        answer::read(&reply, field, &region, &credentials)
    }
}

/// The moment of a signature.
fn at(clock: &SharedClock) -> Timestamp {
    i64::try_from(clock.unix()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
}
