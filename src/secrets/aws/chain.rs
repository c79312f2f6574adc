//! Whose credentials: those that are set up first in AWS's order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;

use super::place::{Region, of_environment, sts, variable};
use super::profile::{Profile, token};
use super::sign::Credentials;
use super::sts::Role;
use super::{Unreadable, at, metadata};
use crate::config::load::Environ;
use crate::domain::clock::SharedClock;

/// Before their end, credentials are renewed. Instances and containers have new ones five minutes before the old ones end.
const MARGIN: Duration = Duration::from_mins(4);
const NONE: &str = "no AWS credentials were found; give the instance, task or pod a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

/// Finds credentials, and keeps those that expire until shortly before they do.
pub(super) struct Chain {
    environ: Arc<Environ>,
    client: Client,
    clock: SharedClock,
    kept: Mutex<Option<Credentials>>,
}

impl Chain {
    pub(super) fn new(environ: &Arc<Environ>, client: Client, clock: SharedClock) -> Self {
        Self { environ: environ.clone(), client, clock, kept: Mutex::default() }
    }

    /// Credentials for a secret in `region`.
    pub(super) async fn credentials(&self, region: &Region) -> Result<Credentials, Unreadable> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lasts = |credentials: &Credentials, margin: Duration| {
            credentials.expires_at.is_none_or(|end| end > self.clock.unix() + margin.as_secs())
        };
        if let Some(fresh) = kept.as_ref().filter(|kept| lasts(kept, MARGIN)) {
            return Ok(fresh.clone());
        }
        match self.found(region).await {
            Ok(found) => {
                let expiring = found.expires_at.is_some().then(|| found.clone());
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = expiring;
                Ok(found)
            }
            Err(cause) => kept.filter(|kept| lasts(kept, Duration::ZERO)).ok_or(cause),
        }
    }

    /// What is kept is not used again.
    pub(super) fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The first way that is set up. Whether it works or not, no other one is tried.
    async fn found(&self, region: &Region) -> Result<Credentials, Unreadable> {
        if let Some(found) = self.of_environment()? {
            return Ok(found);
        }
        if let Some(found) = self.of_web_identity(region).await? {
            return Ok(found);
        }
        if let Some(profile) = Profile::read(&self.environ).await?
            && let Some(found) = self.of_profile(&profile, region).await?
        {
            return Ok(found);
        }
        self.of_surroundings().await?.ok_or_else(|| Unreadable::Wrong(NONE.into()))
    }

    fn of_environment(&self) -> Result<Option<Credentials>, Unreadable> {
        const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
        const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
        let token = self.variable("AWS_SESSION_TOKEN");
        match (self.variable(KEY_ID), self.variable(SECRET)) {
            (Some(key_id), Some(secret)) => Credentials::new(key_id, secret, token, "the environment").map(Some),
            (Some(_), None) => Err(Unreadable::Wrong(format!("{KEY_ID} is set without {SECRET}"))),
            (None, Some(_)) => Err(Unreadable::Wrong(format!("{SECRET} is set without {KEY_ID}"))),
            (None, None) => Ok(None),
        }
    }

    /// As EKS sets it up for a pod (IAM roles for service accounts).
    async fn of_web_identity(&self, region: &Region) -> Result<Option<Credentials>, Unreadable> {
        const FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
        let Some(path) = self.variable(FILE) else { return Ok(None) };
        let arn =
            self.variable("AWS_ROLE_ARN").ok_or_else(|| Unreadable::Wrong(format!("{FILE} is set without AWS_ROLE_ARN")))?;
        let role = Role { arn, session: self.variable("AWS_ROLE_SESSION_NAME"), external_id: None };
        self.by_token(&role, path, region).await.map(Some)
    }

    async fn by_token(&self, role: &Role<'_>, path: &str, region: &Region) -> Result<Credentials, Unreadable> {
        let token = token(path).await;
        let token = token.map_err(|cause| Unreadable::Wrong(format!("the web identity token {path} {cause}")))?;
        role.by_token(&token, &self.client, sts(&self.own_region(region).await?, &self.environ)?).await
    }

    /// `None`: it says nothing of credentials.
    async fn of_profile(&self, profile: &Profile, region: &Region) -> Result<Option<Credentials>, Unreadable> {
        if let Some(arn) = profile.value("role_arn") {
            let role = Role { arn, session: profile.value("role_session_name"), external_id: profile.value("external_id") };
            if let Some(path) = profile.value("web_identity_token_file") {
                return self.by_token(&role, path, region).await.map(Some);
            }
            let source = self.source(profile).await?;
            let region = self.own_region(region).await?;
            let url = sts(&region, &self.environ)?;
            return role.by(&source, &self.client, url, &region, at(&self.clock)).await.map(Some);
        }
        if let Some(keys) = keys(profile)? {
            return Ok(Some(keys));
        }
        let person = ["sso_session", "sso_start_url", "login_session", "credential_process"];
        match person.into_iter().find(|key| profile.value(key).is_some()) {
            Some(key) => Err(Unreadable::Wrong(format!(
                "the AWS {profile} has {key}, which needs a person or a program; use a role, or a profile with keys"
            ))),
            None => Ok(None),
        }
    }

    /// What a profile's role is assumed with.
    async fn source(&self, profile: &Profile) -> Result<Credentials, Unreadable> {
        let wrong = |cause: &str| Unreadable::Wrong(format!("the AWS {profile} {cause}"));
        if let Some(name) = profile.value("source_profile") {
            let source = profile.other(name).ok_or_else(|| wrong("has a source_profile that is in no file"))?;
            return keys(&source)?.ok_or_else(|| wrong("has a source_profile without keys"));
        }
        let found = match profile.value("credential_source") {
            Some("Environment") => self.of_environment()?,
            Some("EcsContainer") => metadata::container(&self.client, &self.environ).await?,
            Some("Ec2InstanceMetadata") => metadata::instance(&self.client, &self.environ).await?,
            Some(_) => return Err(wrong("has a credential_source other than Environment, EcsContainer and Ec2InstanceMetadata")),
            None => {
                return Err(wrong("has a role_arn without source_profile, credential_source or web_identity_token_file"));
            }
        };
        found.ok_or_else(|| wrong("has a credential_source that has no credentials"))
    }

    async fn of_surroundings(&self) -> Result<Option<Credentials>, Unreadable> {
        match metadata::container(&self.client, &self.environ).await? {
            Some(found) => Ok(Some(found)),
            None => metadata::instance(&self.client, &self.environ).await,
        }
    }

    /// Where the process is, else where the secret is.
    async fn own_region(&self, region: &Region) -> Result<Region, Unreadable> {
        Ok(of_environment(&self.environ).await?.unwrap_or_else(|| region.clone()))
    }

    fn variable(&self, name: &str) -> Option<&str> {
        variable(&self.environ, name)
    }
}

/// The keys that a profile holds.
fn keys(profile: &Profile) -> Result<Option<Credentials>, Unreadable> {
    let token = profile.value("aws_session_token");
    match (profile.value("aws_access_key_id"), profile.value("aws_secret_access_key")) {
        (Some(key_id), Some(secret)) => Credentials::new(key_id, secret, token, &profile.to_string()).map(Some),
        (None, None) => Ok(None),
        _ => Err(Unreadable::Wrong(format!("the AWS {profile} has only one of aws_access_key_id and aws_secret_access_key"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::{Chain, Environ, Region};
    use crate::domain::clock::manual::ManualClock;
    use crate::outbound::Outbound;

    const START: u64 = 1_790_000_000;

    /// Hands out credentials for an hour from [`START`], then for another one; after two, it fails.
    fn container() -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let hours = count.fetch_add(1, Ordering::SeqCst) + 1;
                let end = jiff::Timestamp::from_second((START + hours * 3600).try_into().unwrap()).unwrap();
                let body = format!(r#"{{"AccessKeyId":"AKID{hours}","SecretAccessKey":"a","Token":"b","Expiration":"{end}"}}"#);
                let status = if hours > 2 { "500 No" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        (format!("http://{address}/"), asked)
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire_and_used_until_then_when_there_are_no_new_ones() {
        let (url, asked) = container();
        let environ = Arc::new(Environ::from([
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), url),
            ("AWS_REGION".to_owned(), "eu-west-1".to_owned()),
            ("HOME".to_owned(), "/nonexistent".to_owned()),
        ]));
        let clock = ManualClock::at(START);
        let client = Outbound::new().unwrap().client(Duration::from_secs(5)).unwrap();
        let chain = Chain::new(&environ, client, clock.clone());
        let region = super::of_environment(&environ).await.unwrap().unwrap();
        for (minutes, number, questions) in
            [(0, Some(1), 1), (55, Some(1), 1), (2, Some(2), 2), (57, Some(2), 2), (3, Some(2), 3), (4, None, 4)]
        {
            clock.advance(Duration::from_mins(minutes));
            let found = chain.credentials(&region).await.ok();
            let hours = found.map(|found| (found.expires_at.unwrap() - START) / 3600);
            assert_eq!((hours, asked.load(Ordering::SeqCst)), (number, questions), "{minutes} minutes later");
        }
    }

    #[tokio::test]
    async fn what_was_forgotten_is_asked_for_again() {
        let (url, asked) = container();
        let environ = Arc::new(Environ::from([
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), url),
            ("AWS_REGION".to_owned(), "eu-west-1".to_owned()),
        ]));
        let client = Outbound::new().unwrap().client(Duration::from_secs(5)).unwrap();
        let chain = Chain::new(&environ, client, ManualClock::at(START));
        let region: Region = super::of_environment(&environ).await.unwrap().unwrap();
        for questions in [1, 2] {
            chain.credentials(&region).await.unwrap();
            chain.forget();
            assert_eq!(asked.load(Ordering::SeqCst), questions);
        }
    }
}
