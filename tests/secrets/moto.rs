//! AWS as moto's server plays it: Secrets Manager, STS and IAM. It knows every signature's owner, and checks both when it is told to.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::Config;

pub(crate) const REGION: &str = "eu-west-1";
/// Of every caller who is not checked.
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0";
/// Says its port, and ends when the test does.
const SERVER: &str = "
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
";

pub(crate) struct Moto {
    origin: String,
    /// Its standard input ends with the test.
    child: Child,
}

impl Moto {
    /// One that checks nothing, shared by all tests: each has secrets of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub(crate) fn start() -> Self {
        let mut command = Command::new(python());
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("Python with moto: tests/run installs it");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut port).expect("its port");
        let port: u16 = port.trim().parse().expect("moto starts: tests/run installs it");
        Self { origin: format!("http://127.0.0.1:{port}"), child }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Calls Secrets Manager.
    pub(crate) async fn secrets(&self, action: &str, body: &Value) -> Value {
        let request = reqwest::Client::new()
            .post(&self.origin)
            .header("authorization", AUTHORIZATION)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{action}"));
        let answer = request.body(body.to_string()).send().await.expect("moto answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{action}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Makes a secret; its ARN.
    pub(crate) async fn secret(&self, name: &str, text: &str) -> String {
        let made = self.secrets("CreateSecret", &json!({"Name": name, "SecretString": text})).await;
        made["ARN"].as_str().expect("an ARN").to_owned()
    }

    /// Calls IAM; the answer's XML.
    pub(crate) async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", action), ("Version", "2010-05-08")])
            .extend_pairs(parameters)
            .finish();
        let request = reqwest::Client::new()
            .post(&self.origin)
            .header("authorization", AUTHORIZATION.replace("secretsmanager", "iam"))
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await.expect("moto answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{action}: {status} {text}");
        text
    }

    /// From now on, whose signature is wrong or whose policy does not allow it is refused.
    pub(crate) async fn check_everybody(&self) {
        let answer = reqwest::Client::new().post(format!("{}/moto-api/reset-auth", self.origin)).body("0").send().await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()));
    }
}

/// The text of an element.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let found = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
    found.unwrap_or_else(|| panic!("no {name} in {xml}")).0
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With AWS at this address, in [`REGION`], and no instance metadata service.
pub(crate) fn at(config: Config, origin: &str) -> Config {
    config
        .env("AWS_ENDPOINT_URL", origin)
        .env("AWS_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
}

/// Where tests/run puts it, unless the environment says otherwise.
fn python() -> PathBuf {
    let installed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-python/bin/python");
    std::env::var_os("EPHEMINT_PYTHON").map_or_else(installed, PathBuf::from)
}
