//! Everything of AWS on one loopback port, recording: Secrets Manager, STS, a container's credentials, an instance's metadata.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Config, Reply, Request, Responder, lock, secrets};

/// What the container's credential service and the instance metadata service want to see.
pub(crate) const CONTAINER_TOKEN: &str = "canary-aws-container-token-0001";
pub(crate) const SESSION: &str = "canary-aws-metadata-session-0001";
pub(crate) const WEB_TOKEN: &str = "canary-aws-web-identity-token.0001";
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/voice";

type Answer = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// The fake, and what it answers first.
pub(crate) struct Aws {
    responder: Responder,
    script: Arc<Mutex<Option<Box<Answer>>>>,
}

impl Aws {
    pub(crate) fn start() -> Self {
        let script: Arc<Mutex<Option<Box<Answer>>>> = Arc::default();
        let shared = Arc::clone(&script);
        let answer = move |request: &Request| lock(&shared).as_ref().and_then(|it| it(request)).unwrap_or_else(|| usual(request));
        Self { responder: Responder::start(answer), script }
    }

    /// One whose Secrets Manager answers with `reply`.
    pub(crate) fn answering(reply: Reply) -> Self {
        Self::with(move |request| is_read(request).then(|| reply.clone()))
    }

    /// One that answers otherwise where `answer` says so.
    pub(crate) fn with(answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let aws = Self::start();
        *lock(&aws.script) = Some(Box::new(answer));
        aws
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.responder.address())
    }

    pub(crate) fn refuse(&self) {
        self.responder.refuse();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.responder.requests()
    }

    /// The questions for a secret.
    pub(crate) fn reads(&self) -> Vec<Request> {
        self.requests().into_iter().filter(is_read).collect()
    }

    /// Whose signature the last question for a secret has.
    pub(crate) fn signer(&self) -> String {
        let read = self.reads().pop().expect("a secret was asked for");
        let authorization = read.header("authorization").expect("a signature").to_owned();
        authorization.split_once("Credential=").and_then(|(_, rest)| rest.split_once('/')).expect("a key id").0.to_owned()
    }

    /// As a container's service.
    pub(crate) fn container(&self, config: Config) -> Config {
        config.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/container", self.origin()))
    }

    /// As an instance's.
    pub(crate) fn instance(&self, config: Config) -> Config {
        config.env("AWS_EC2_METADATA_DISABLED", "false").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.origin())
    }
}

fn is_read(request: &Request) -> bool {
    request.header("x-amz-target") == Some("secretsmanager.GetSecretValue")
}

/// The value of any secret.
pub(crate) fn value(text: &str) -> Value {
    json!({"ARN": "arn:x", "Name": "x", "VersionId": "1", "VersionStages": ["AWSCURRENT"], "CreatedDate": 1_790_000_000.25, "SecretString": text})
}

/// An error of Secrets Manager. What it says beside the name is for nobody's eyes.
pub(crate) fn error(status: u16, kind: &str) -> Reply {
    Reply::json(status, &json!({"__type": kind, "message": format!("{} {}", secrets::AWS, secrets::PERMANENT)}))
}

/// An error of STS.
pub(crate) fn sts_error(status: u16, code: &str) -> Reply {
    let message = secrets::AWS;
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    );
    Reply::text(status, "text/xml", body)
}

fn usual(request: &Request) -> Reply {
    if is_read(request) {
        return Reply::json(200, &value(secrets::PRIMARY_KEY));
    }
    let handed = |owner: &str| {
        let secret = format!("{}-secret-of-{owner}", secrets::AWS);
        let token = format!("{}-session-of-{owner}", secrets::AWS);
        json!({"Code": "Success", "AccessKeyId": format!("ASIA{owner}"), "SecretAccessKey": secret, "Token": token, "Expiration": "2100-01-01T00:00:00Z"})
    };
    let has_session = request.header("x-aws-ec2-metadata-token") == Some(SESSION);
    match (request.method.as_str(), request.target.as_str()) {
        ("POST", "/") => assumed(),
        ("GET", "/container") if request.header("authorization") == Some(CONTAINER_TOKEN) => {
            Reply::json(200, &handed("CONTAINER"))
        }
        ("GET", "/container") => Reply::json(401, &json!({"code": secrets::AWS})),
        ("PUT", "/latest/api/token") if request.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            Reply::text(200, "text/plain", SESSION)
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") if has_session => Reply::text(200, "text/plain", "voice-role"),
        ("GET", "/latest/meta-data/iam/security-credentials/voice-role") if has_session => Reply::json(200, &handed("INSTANCE")),
        _ => Reply::new(404),
    }
}

fn assumed() -> Reply {
    let mark = secrets::AWS;
    Reply::text(
        200,
        "text/xml",
        format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
             <SecretAccessKey>{mark}-secret-of-the-role</SecretAccessKey><SessionToken>{mark}-session-of-the-role+/==</SessionToken>\
             <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
    )
}
