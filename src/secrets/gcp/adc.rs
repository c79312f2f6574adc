//! Application default credentials (google.aip.dev/auth/4110): a file, or the metadata server. Google's own library makes tokens of them.
//!
//! The library's clients know no deadline, its background tasks outlive what they were started for, and its errors quote answers. So each
//! token is made on a thread with a runtime of its own, which ends with everything in it, and of an error only the kind is looked at.
//! Nothing is kept: a file that was replaced is read anew the next time.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter, thread};

use google_cloud_auth::build_errors;
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, external_account, impersonated, mds, service_account, user_account,
};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::Url;

use super::super::{Unreadable, local};
use crate::config::load::Environ;
use crate::config::secrets::is_this_machine;
use crate::domain::secret_ref::SecretRef;

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Below `HOME`: where `gcloud auth application-default login` writes.
const WELL_KNOWN: &str = ".config/gcloud/application_default_credentials.json";
const METADATA_HOST: &str = "GCE_METADATA_HOST";
/// `true`: there is no metadata server here, and none is asked.
const NO_METADATA: &str = "NO_GCE_CHECK";
/// The project whose quota counts, in place of the one that the credentials belong to.
const QUOTA_PROJECT: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
/// Members of a credential file: where tokens, refresh tokens and client secrets are sent.
const ENDPOINTS: [&str; 3] = ["token_uri", "token_url", "service_account_impersonation_url"];
/// Of one token. Leaves most of the ten seconds of a reading to Secret Manager.
const DEADLINE: Duration = Duration::from_secs(4);

/// Who this service is to Google.
pub(super) struct Adc {
    environ: Arc<Environ>,
}

impl Adc {
    pub(super) fn new(environ: &Arc<Environ>) -> Self {
        Self { environ: environ.clone() }
    }

    /// Headers that prove it: an access token with the scope cloud-platform, and the project whose quota counts.
    pub(super) async fn proof(&self) -> Result<HeaderMap, Unreadable> {
        let (tell, told) = oneshot::channel();
        let environ = self.environ.clone();
        let work = move || _ = tell.send(prove(&environ));
        thread::Builder::new().name("google-auth".into()).spawn(work).map_err(|_| unable())?;
        // Whoever was to tell has panicked: the library does, without CA certificates and with a clock that is far ahead.
        told.await.unwrap_or_else(|_| {
            Err(Unreadable::Wrong(
                "the credentials cannot be used; are CA certificates there (the package ca-certificates, or SSL_CERT_FILE), and is this machine's clock right?".into(),
            ))
        })
    }
}

fn prove(environ: &Environ) -> Result<HeaderMap, Unreadable> {
    let source = Source::find(environ)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| unable())?;
    let proof = runtime.block_on(async { timeout(DEADLINE, source.headers()).await });
    // Not `drop`, which would wait for a name to be resolved.
    runtime.shutdown_background();
    let mut headers = proof.unwrap_or_else(|_| Err(source.silent()))?;
    if let Some(project) = environ.get(QUOTA_PROJECT).and_then(|project| HeaderValue::from_str(project).ok()) {
        headers.insert("x-goog-user-project", project);
    }
    Ok(headers)
}

fn unable() -> Unreadable {
    Unreadable::Away("the operating system has no thread or file descriptor left".into())
}

/// Where tokens come from.
enum Source {
    File { kind: Kind, json: Value },
    Metadata { host: Option<String> },
}

/// `type` of a credential file.
#[derive(Clone, Copy)]
enum Kind {
    ServiceAccount,
    User,
    Federated,
    Impersonated,
}

impl Source {
    /// The file that is named, else the one of gcloud, else the metadata server.
    fn find(environ: &Environ) -> Result<Self, Unreadable> {
        if let Some(path) = environ.get(FILE).filter(|path| !path.is_empty()) {
            return Self::file(Path::new(path), environ);
        }
        let well_known = environ.get("HOME").map(|home| Path::new(home).join(WELL_KNOWN));
        if let Some(path) = well_known.filter(|path| path.exists()) {
            return Self::file(&path, environ);
        }
        let host = environ.get(METADATA_HOST).cloned();
        if host.is_none() && environ.get(NO_METADATA).is_some_and(|text| text == "true") {
            return Err(Unreadable::Wrong(format!(
                "no credentials of Google were found; let {FILE} name a credential file, or unset {NO_METADATA} on Google Cloud"
            )));
        }
        Ok(Self::Metadata { host })
    }

    fn file(path: &Path, environ: &Environ) -> Result<Self, Unreadable> {
        let wrong = |cause: &str| Unreadable::Wrong(format!("the credential file {}: {cause}", path.display()));
        let found = local::read(&SecretRef::File(PathBuf::from(path)), environ).map_err(|cause| wrong(&cause))?;
        let json: Value = serde_json::from_str(found.secret.reveal()).map_err(|_| wrong("is not JSON"))?;
        let kind = match json.get("type").and_then(Value::as_str) {
            Some("service_account") => Kind::ServiceAccount,
            Some("authorized_user") => Kind::User,
            Some("external_account") => Kind::Federated,
            Some("impersonated_service_account") => Kind::Impersonated,
            _ => {
                return Err(wrong(
                    "its type is none of service_account, authorized_user, external_account, impersonated_service_account",
                ));
            }
        };
        if let Some(member) = in_the_clear(&json) {
            return Err(wrong(&format!("{member} is plain http, which would show the secrets on their way; use https")));
        }
        Ok(Self::File { kind, json })
    }

    async fn headers(&self) -> Result<HeaderMap, Unreadable> {
        let incomplete =
            |_| Unreadable::Wrong("the credential file lacks what its type needs; download or create it anew".into());
        let credentials = self.credentials().map_err(incomplete)?;
        match credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Err(error) if !error.is_transient() => Err(self.refused(&error)),
            // Without an entity tag to compare, `NotModified` does not come.
            Ok(CacheableResource::NotModified) | Err(_) => Err(self.silent()),
        }
    }

    /// The library asks for the scope cloud-platform, or for what the machine was given.
    fn credentials(&self) -> Result<Credentials, build_errors::Error> {
        match self {
            Self::File { kind: Kind::ServiceAccount, json } => service_account::Builder::new(json.clone()).build(),
            Self::File { kind: Kind::User, json } => user_account::Builder::new(json.clone()).build(),
            Self::File { kind: Kind::Federated, json } => external_account::Builder::new(json.clone()).build(),
            Self::File { kind: Kind::Impersonated, json } => impersonated::Builder::new(json.clone()).build(),
            Self::Metadata { host: Some(host) } => mds::Builder::default().with_endpoint(format!("http://{host}")).build(),
            Self::Metadata { host: None } => mds::Builder::default().build(),
        }
    }

    /// Nobody answers, or not now.
    fn silent(&self) -> Unreadable {
        Unreadable::Away(match self {
            Self::File { .. } => "whoever makes access tokens of the credential file does not answer".into(),
            Self::Metadata { .. } => {
                format!("the metadata server does not answer; where there is none, let {FILE} name a credential file")
            }
        })
    }

    fn refused(&self, error: &CredentialsError) -> Unreadable {
        let unreadable = causes(error).find_map(<dyn Error>::downcast_ref::<io::Error>);
        Unreadable::Wrong(match (self, unreadable) {
            (Self::File { kind: Kind::ServiceAccount, .. }, _) => {
                "private_key of the credential file is no RSA key in PEM (PKCS #8); create the key anew".into()
            }
            (Self::File { kind: Kind::User, .. }, _) => {
                "the sign-in of the credential file is not accepted any more; run gcloud auth application-default login".into()
            }
            (Self::File { kind: Kind::Federated, .. }, Some(error)) => {
                format!("credential_source of the credential file cannot be read: {error}")
            }
            (Self::File { kind: Kind::Federated, .. }, None) => {
                "the credential file's token is not exchanged; look at credential_source and audience, at the pool's provider, and at roles/iam.workloadIdentityUser".into()
            }
            (Self::File { kind: Kind::Impersonated, .. }, _) => {
                "the service account of the credential file may not be acted for; give the source roles/iam.serviceAccountTokenCreator".into()
            }
            (Self::Metadata { .. }, _) => {
                "the metadata server has no access token; attach a service account to this machine, pod or service".into()
            }
        })
    }
}

/// The member that sends what proves an identity over a network without TLS.
fn in_the_clear(json: &Value) -> Option<&'static str> {
    let is_open = |url: &Url| url.scheme() == "http" && !is_this_machine(url);
    let url = |file: &Value, member: &str| Url::parse(file.get(member)?.as_str()?).ok();
    let files = || iter::once(json).chain(json.get("source_credentials"));
    ENDPOINTS.into_iter().find(|member| files().filter_map(|file| url(file, member)).any(|url| is_open(&url)))
}

fn causes(error: &CredentialsError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(error.source(), |error| (**error).source())
}
