//! What is wrong with Vault is told at the start in one sentence, which says what to do and holds no secret.

use std::fs;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{KEY, LOGIN, LOOKUP, READ, READ_V1, fields, sealed, vault};
use crate::support::vault::{Auth, Vault, version_2};
use crate::support::{Canary, Config, End, Issuer, Place, Reply, Responder, Service, Upstream, secrets};

const KUBERNETES_LOGIN: &str = "POST /v1/auth/kubernetes/login";

/// One way to be broken: what is changed, what Vault answers instead, and the sentence.
struct Case {
    auth: Auth,
    settings: Vec<(&'static str, &'static str)>,
    /// Absent: not in the environment.
    variables: Vec<(&'static str, Option<&'static str>)>,
    answers: Vec<(&'static str, Reply)>,
    sentence: &'static str,
}

fn case(auth: Auth, sentence: &'static str) -> Case {
    Case { auth, settings: Vec::new(), variables: Vec::new(), answers: Vec::new(), sentence }
}

impl Case {
    fn set(mut self, path: &'static str, value: &'static str) -> Self {
        self.settings.push((path, value));
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, Some(value)));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.variables.push((name, None));
        self
    }

    /// However often it is asked.
    fn answered(mut self, asked: &'static str, reply: Reply) -> Self {
        self.answers.push((asked, reply));
        self
    }

    /// What the start ends with, after the place of the key; how often Vault was asked.
    fn sentence(self, vault: &Vault) -> (String, usize) {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let mut config = vault.configure(Config::new(&issuer, &upstream), self.auth, KEY);
        for (path, value) in self.settings {
            config = if value.is_empty() { config.unset(path) } else { config.set(path, value) };
        }
        for (name, value) in self.variables {
            config = match value {
                Some(value) => config.env(name, value),
                None => config.without_env(name),
            };
        }
        for (asked, reply) in self.answers {
            for _ in 0..3 {
                vault.script(asked, reply.clone());
            }
        }
        (refusal(&config).replace(&vault.address(), "VAULT"), vault.asked().len())
    }
}

/// What a start with exit code 78 says, one line for each problem, without the place of the file.
#[track_caller]
pub(super) fn problems(config: &Config) -> Vec<String> {
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("ephemint.toml");
    fs::write(&file, config.toml(directory.path())).expect("a file");
    let output = Service::command(config).args(["serve", "--config"]).arg(&file).output().expect("the binary starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*stdout), (Some(78), ""), "{stderr}");
    let canary = Canary::new();
    canary.saw(Place::Log, "stderr", stderr.as_bytes());
    assert!(canary.complaints().is_empty(), "{:#?}", canary.complaints());
    let place = format!("ephemint: {}: ", file.display());
    stderr.lines().map(|line| line.strip_prefix(&place).unwrap_or(line).to_owned()).collect()
}

/// The one problem, which is with the key.
#[track_caller]
fn refusal(config: &Config) -> String {
    let problems = problems(config);
    let place = format!("upstreams.openai.credential.keys[0]: {KEY}: ");
    match problems.as_slice() {
        [only] => only.strip_prefix(&place).unwrap_or(only).to_owned(),
        several => several.join("\n"),
    }
}

/// A refusal with this in `errors`, and with a secret in it.
fn errors(status: u16, error: &str) -> Reply {
    Reply::json(status, &json!({"errors": [error, format!("{} {}", secrets::VAULT_TOKEN, secrets::PRIMARY_KEY)]}))
}

fn found(fields: &Value) -> Reply {
    Reply::json(200, &version_2(fields, ""))
}

/// All at the same time; what differs is told together.
fn expect_sentences(cases: Vec<Case>, asked_at_most: usize) {
    let wrong: Vec<String> = thread::scope(|scope| {
        let running = cases.into_iter().map(|case| {
            scope.spawn(move || {
                let (expected, vault) = (case.sentence, vault());
                let (sentence, asked) = case.sentence(&vault);
                let is_right = sentence == expected && asked <= asked_at_most;
                (!is_right).then(|| format!("asked {asked} times\n    said {sentence}\nexpected {expected}"))
            })
        });
        let running: Vec<_> = running.collect();
        running.into_iter().filter_map(|case| case.join().expect("a case")).collect()
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_missing_or_wrong_here_is_told_before_vault_is_asked() {
    use Auth::{AppRole, Kubernetes, Token};
    expect_sentences(
        vec![
            case(Token, "nothing says where Vault is; set secrets.vault.address or VAULT_ADDR").set("secrets.vault.address", ""),
            case(
                Token,
                "VAULT_ADDR has to be an https URL, for example https://vault.example.com:8200; http is for this machine alone",
            )
            .set("secrets.vault.address", "")
            .env("VAULT_ADDR", "http://vault.example.com:8200"),
            case(Token, "VAULT_NAMESPACE has characters that no namespace has").env("VAULT_NAMESPACE", "a\nb"),
            case(Token, "secrets.vault.auth.token: env://VAULT_TOKEN: the environment variable is not set").without("VAULT_TOKEN"),
            case(Token, "the token for Vault has characters that no token has; it was cut or pasted wrongly")
                .env("VAULT_TOKEN", "hvs.canary-vault\nhvs.canary-vault"),
            case(AppRole, "secrets.vault.auth.role_id: env://TEST_VAULT_ROLE_ID: is empty").env("TEST_VAULT_ROLE_ID", " \n"),
            case(
                AppRole,
                "secrets.vault.auth.secret_id: file:///nonexistent/id: cannot be read: No such file or directory (os error 2)",
            )
            .set("secrets.vault.auth.secret_id", r#""file:///nonexistent/id""#),
            case(
                Kubernetes,
                "secrets.vault.auth.service_account_token: file:///var/run/secrets/kubernetes.io/serviceaccount/token: cannot be read: No such file or directory (os error 2)",
            )
            .set("secrets.vault.auth.service_account_token", ""),
        ],
        0,
    );
}

#[test]
fn a_login_that_is_refused_says_what_to_put_right() {
    use Auth::{AppRole, Kubernetes};
    expect_sentences(
        vec![
            case(AppRole, "Vault refuses the login at auth/approle (status 400): put ids that are good and not used up where role_id and secret_id name them, or correct secrets.vault.auth.mount or secrets.vault.namespace")
                .env("TEST_VAULT_SECRET_ID", "canary-vault-secret-id-of-yesterday"),
            case(AppRole, "Vault refuses the login at auth/teams/voice (status 403): put ids that are good and not used up where role_id and secret_id name them, or correct secrets.vault.auth.mount or secrets.vault.namespace")
                .set("secrets.vault.auth.mount", r#""teams/voice""#),
            case(AppRole, "Vault refuses the login at auth/approle (status 404): put ids that are good and not used up where role_id and secret_id name them, or correct secrets.vault.auth.mount or secrets.vault.namespace")
                .set("secrets.vault.namespace", r#""nowhere""#),
            case(Kubernetes, "Vault refuses the login at auth/kubernetes (status 400): bind the role nobody to the pod's service account and namespace, and have its token be one that Vault takes (audience, expiry), or correct secrets.vault.auth.mount or secrets.vault.namespace")
                .set("secrets.vault.auth.role", r#""nobody""#),
            case(Kubernetes, "Vault refuses the login at auth/kubernetes (status 403): bind the role ephemint-pod to the pod's service account and namespace, and have its token be one that Vault takes (audience, expiry), or correct secrets.vault.auth.mount or secrets.vault.namespace")
                .answered(KUBERNETES_LOGIN, errors(403, "service account name not authorized")),
            case(AppRole, "Vault asks for a second factor at the login; exempt the role from it").answered(
                LOGIN,
                Reply::json(200, &json!({"auth": {"client_token": "", "mfa_requirement": {"mfa_request_id": "m", "mfa_constraints": {}}}})),
            ),
        ],
        1,
    );
}

#[test]
fn a_reading_that_is_refused_says_what_to_put_right() {
    use Auth::{AppRole, Token};
    let no_engine = "no handler for route \"secret/data/ephemint/openai\". route entry not found.";
    let versioned = json!({"errors": [], "warnings": ["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use."]});
    let deleted = version_2(&Value::Null, "2018-03-22T02:36:43.986212308Z");
    let large = "a".repeat(64 * 1024 + 1);
    expect_sentences(
        vec![
            case(Token, "Vault refuses the reading (status 403): allow \"read\" on secret/data/ephemint/openai in a policy of the token, or put a good token where env://VAULT_TOKEN is")
                .env("VAULT_TOKEN", "hvs.canary-vault-token-of-yesterday"),
            case(AppRole, "Vault refuses the reading (status 403): allow \"read\" on secret/data/ephemint/openai in a policy of the token")
                .answered(READ, errors(403, "1 error occurred:\n\t* permission denied\n\n")),
            case(AppRole, "Vault has nothing at ephemint/openai in secret (status 404); correct the path, or set secrets.vault.kv_version = 1 if secret is not of version 2")
                .answered(READ, Reply::json(404, &json!({"errors": []}))),
            case(AppRole, "Vault has nothing at ephemint/openai in secret (status 404); correct the path, or set secrets.vault.kv_version = 2 if secret is not of version 1")
                .set("secrets.vault.kv_version", "1"),
            case(AppRole, "secret is a key-value engine of version 2; set secrets.vault.kv_version = 2")
                .set("secrets.vault.kv_version", "1")
                .answered(READ_V1, Reply::json(404, &versioned)),
            case(AppRole, "Vault has no engine at secret (status 404); correct the mount, secrets.vault.namespace or secrets.vault.address")
                .answered(READ, errors(404, no_engine)),
            case(AppRole, "Vault has nothing at ephemint/openai in secret (status 404); correct the path, or set secrets.vault.kv_version = 1 if secret is not of version 2")
                .answered(READ, Reply::text(404, "text/html", "<html>canary-vault</html>")),
            case(AppRole, "its latest version was deleted; undelete it, or write a new one").answered(READ, Reply::json(404, &deleted)),
            case(AppRole, "its latest version was deleted; undelete it, or write a new one").answered(READ, Reply::json(200, &deleted)),
            case(AppRole, "the secret has no field api_key; name one that it has after #")
                .answered(READ, found(&json!({"API_KEY": secrets::PRIMARY_KEY, "canary-vault": ""}))),
            case(AppRole, "the field api_key is not text; write it as a JSON string")
                .answered(READ, found(&json!({"api_key": {"value": secrets::PRIMARY_KEY}}))),
            case(AppRole, "the field api_key is empty").answered(READ, found(&json!({"api_key": " \n"}))),
            case(AppRole, "the field api_key is larger than 64 KiB; name what holds the secret alone")
                .answered(READ, found(&json!({"api_key": large}))),
            case(AppRole, "is an admin key (sk-admin-), which cannot mint and could do far more harm if lost; create a project key (sk-proj-) or a service-account key (sk-svcacct-)")
                .answered(READ, found(&json!({"api_key": "sk-admin-canary-permanent-key"}))),
            case(Token, "Vault refuses the request (status 400): check secrets.vault.address (https or http), and that secret is a key-value engine")
                .answered(LOOKUP, Reply::text(400, "text/plain", "Client sent an HTTP request to an HTTPS server."))
                .answered(READ, Reply::text(400, "text/plain", "Client sent an HTTP request to an HTTPS server.")),
            case(AppRole, "Vault refuses the request (status 405): check secrets.vault.address (https or http), and that secret is a key-value engine")
                .answered(READ, errors(405, "1 error occurred:\n\t* unsupported operation\n\n")),
        ],
        2,
    );
}

#[test]
fn whoever_is_away_is_asked_three_times_and_then_told_of() {
    use Auth::{AppRole, Token};
    let twice = |field: &str| {
        Reply::text(200, "application/json", format!(r#"{{"data": {{"data": {{"{field}": "a", "{field}": "b"}}}}}}"#))
    };
    let deep = Reply::text(200, "application/json", "[".repeat(100_000));
    let large = Reply::text(200, "application/json", format!("{{\"data\": \"{}\"}}", "a".repeat(1024 * 1024)));
    expect_sentences(
        vec![
            case(Token, "VAULT is sealed or being maintained; unseal it (status 503)").answered(LOOKUP, sealed()),
            case(AppRole, "VAULT is sealed or being maintained; unseal it (status 503)").answered(LOGIN, sealed()),
            case(AppRole, "VAULT is a standby; name the active node or its load balancer (status 473)")
                .answered(READ, errors(473, "standby")),
            case(AppRole, "VAULT is a standby; name the active node or its load balancer (status 472)")
                .answered(READ, errors(472, "secondary")),
            case(AppRole, "VAULT has had too many requests; raise its rate limit quota, or secrets.poll_seconds (status 429)")
                .answered(READ, errors(429, "request path: rate limit quota exceeded")),
            case(AppRole, "VAULT is not ready for this yet (status 412)")
                .answered(READ, errors(412, "required index state not present")),
            case(AppRole, "VAULT fails; its own log says why (status 500)").answered(READ, errors(500, "internal error")),
            case(AppRole, "VAULT fails; its own log says why (status 502)")
                .answered(READ, Reply::text(502, "text/html", "<html>")),
            case(AppRole, "VAULT does not answer as Vault does; check secrets.vault.address").answered(READ, twice("api_key")),
            case(AppRole, "VAULT does not answer as Vault does; check secrets.vault.address").answered(READ, deep),
            case(AppRole, "VAULT does not answer as Vault does; check secrets.vault.address")
                .answered(LOGIN, Reply::text(200, "text/html", "<html>canary-vault</html>")),
            case(AppRole, "VAULT does not answer as Vault does; check secrets.vault.address").answered(LOGIN, Reply::new(204)),
            case(AppRole, "VAULT answers with more than 1 MiB; check secrets.vault.address").answered(READ, large),
            case(AppRole, "VAULT answers with more than 1 MiB; check secrets.vault.address")
                .answered(READ, Reply::endless("application/json", &[b' '; 65536])),
            case(AppRole, "the answer of VAULT broke off").answered(READ, found(&fields()).cut(100, End::Close)),
            case(AppRole, "Vault answers the login without a token; check secrets.vault.address")
                .answered(LOGIN, Reply::json(200, &json!({"auth": null, "data": fields()}))),
            case(AppRole, "what Vault answers is not of the key-value engine; check secrets.vault.kv_version")
                .answered(READ, Reply::json(200, &json!({"data": fields()}))),
            case(AppRole, "what Vault answers is not of the key-value engine; check secrets.vault.kv_version")
                .answered(READ, Reply::json(200, &json!({"data": null}))),
        ],
        6,
    );
}

#[test]
fn a_vault_that_is_not_there_is_told_of_with_its_address() {
    let vault = vault();
    vault.refuse();
    let (sentence, _) = case(Auth::AppRole, "").sentence(&vault);
    let expected = "VAULT cannot be reached: client error (Connect): tcp connect error: Connection refused (os error 111); check secrets.vault.address, the network and, with an authority of your own, SSL_CERT_FILE";
    assert_eq!(sentence, expected);
}

#[test]
fn a_redirect_takes_no_token_and_no_id_to_another_host() {
    let thief = Responder::start(|_| Reply::json(200, &version_2(&fields(), "")));
    let expected = "VAULT sends elsewhere; name the active node or its load balancer (status 307)";
    for asked in [LOGIN, READ] {
        let vault = vault();
        let (_, path) = asked.split_once(' ').expect("a path");
        let elsewhere = Reply::new(307).header("Location", &format!("http://{}{path}", thief.address()));
        assert_eq!(case(Auth::AppRole, "").answered(asked, elsewhere).sentence(&vault).0, expected);
    }
    assert_eq!(thief.requests().len(), 0);
}
