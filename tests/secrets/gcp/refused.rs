//! What is wrong is said at the start, with what to do about it, and with nothing of what Google or a credential file says.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    ACCESS, Google, IAM, KEY, METADATA, SECRET, STS, TOKEN, accessed, error, google, keyed, private_key, subject, with_file,
};
use crate::support::google::{crc32c, strange_key};
use crate::support::{Config, Issuer, Reply, Service, Upstream, secrets};

/// Three attempts and the pauses between them.
const PATIENCE: Duration = Duration::from_mins(1);

type Change = dyn Fn(&Google, &TempDir, Config) -> Config + Send + Sync;

/// A way to be wrong: how Google and the configuration are changed, and what is then said.
struct Row {
    name: &'static str,
    change: Box<Change>,
    sentence: String,
}

fn row(name: &'static str, sentence: &str, change: impl Fn(&Google, &TempDir, Config) -> Config + Send + Sync + 'static) -> Row {
    Row { name, change: Box::new(change), sentence: sentence.to_owned() }
}

impl Row {
    /// And the configuration is changed in this way, too.
    fn and(self, change: impl Fn(Config) -> Config + Send + Sync + 'static) -> Self {
        let before = self.change;
        Self { change: Box::new(move |google, folder, config| change(before(google, folder, config))), ..self }
    }
}

/// A good service account, to whom Secret Manager answers so.
fn answer(name: &'static str, sentence: &str, reply: Reply) -> Row {
    row(name, sentence, move |google, folder, config| {
        google.breaks(ACCESS, reply.clone());
        with_file(config, folder, &google.service_account())
    })
}

/// A good service account whose secret holds this.
fn payload(name: &'static str, sentence: &str, payload: &'static [u8]) -> Row {
    row(name, sentence, move |google, folder, config| {
        google.add(SECRET, payload);
        with_file(config, folder, &google.service_account())
    })
}

/// A credential file that `make` makes.
fn file(name: &'static str, sentence: &str, make: impl Fn(&Google, &TempDir) -> Value + Send + Sync + 'static) -> Row {
    row(name, sentence, move |google, folder, config| with_file(config, folder, &make(google, folder)))
}

/// What `row` makes the service say. It ends with 78 and lets out no secret.
fn said(row: &Row) -> String {
    let (google, folder) = google();
    let config = keyed(Config::new(&Issuer::down(), &Upstream::down()), &google, KEY);
    let config = (row.change)(&google, &folder, config);
    let path = folder.path().join("ephemint.toml");
    std::fs::write(&path, config.toml(folder.path())).expect("a file");
    let mut child = Service::command(&config).args(["serve", "--config"]).arg(&path).spawn().expect("the binary starts");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("the process can be waited for") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                panic!("{}: does not end", row.name);
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("stdout").read_to_string(&mut stdout).expect("UTF-8");
    child.stderr.take().expect("stderr").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((status.code(), stdout.as_str()), (Some(78), ""), "{}: {stderr}", row.name);
    let key = private_key();
    let proofs = google.asked(ACCESS).into_iter().map(|request| request.bearer().to_owned());
    let hidden = key.lines().map(ToOwned::to_owned).chain(proofs).chain(["canary".to_owned(), "PRIVATE KEY".to_owned()]);
    for secret in hidden.filter(|secret| !secret.is_empty()) {
        assert!(!stderr.contains(&secret), "{}: {stderr}", row.name);
    }
    stderr.replace(&path.display().to_string(), "FILE").replace(&folder.path().display().to_string(), "FOLDER")
}

/// All at once: most wait for what does not come.
fn expect(rows: &[Row]) {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = rows.iter().map(|row| (row, scope.spawn(|| said(row)))).collect();
        let differs = |row: &Row, said: String| {
            let expected = format!("ephemint: FILE: {}\n", row.sentence);
            (said != expected).then(|| format!("{}\n  expected {expected}  was      {said}", row.name))
        };
        running.into_iter().filter_map(|(row, running)| differs(row, running.join().expect("an outcome"))).collect()
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// About the key, after its reference.
fn key(cause: &str) -> String {
    format!("upstreams.openai.credential.keys[0]: {KEY}: {cause}")
}

#[test]
fn credentials_that_are_absent_or_broken_are_told_apart() {
    let credential = |cause: &str| key(&format!("the credential file FOLDER/credentials.json: {cause}"));
    let types = "its type is none of service_account, authorized_user, external_account, impersonated_service_account";
    let clear = |member: &str| format!("{member} is plain http, which would show the secrets on their way; use https");
    let incomplete = key("the credential file lacks what its type needs; download or create it anew");
    expect(&[
        row(
            "none",
            &key(
                "no credentials of Google were found; let GOOGLE_APPLICATION_CREDENTIALS name a credential file, or unset NO_GCE_CHECK on Google Cloud",
            ),
            |_, folder, config| config.env("NO_GCE_CHECK", "true").env("HOME", &folder.path().display().to_string()),
        ),
        row(
            "a file that is not there",
            &key("the credential file /nonexistent/it: cannot be read: No such file or directory (os error 2)"),
            |_, _, config| config.env("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/it"),
        ),
        row("a folder", &key("the credential file FOLDER: is not a file"), |_, folder, config| {
            config.env("GOOGLE_APPLICATION_CREDENTIALS", &folder.path().display().to_string())
        }),
        row("a file that is not JSON", &credential("is not JSON"), |_, folder, config| {
            let config = with_file(config, folder, &Value::Null);
            std::fs::write(folder.path().join("credentials.json"), format!("{{ \"private_key\": {}", private_key()))
                .expect("a file");
            config
        }),
        file("a file without a type", &credential(types), |_, _| json!({"private_key": private_key()})),
        file("a file of another type", &credential(types), |_, _| json!({"type": "canary"})),
        file("tokens in the clear", &credential(&clear("token_url")), |google, folder| {
            let mut file = google.federated(&subject(folder));
            file["token_url"] = "http://sts.example.com/v1/token".into();
            file
        }),
        file("a refresh token in the clear", &credential(&clear("token_uri")), |google, _| {
            let mut file = google.impersonated(&google.user());
            file["source_credentials"]["token_uri"] = "http://oauth2.example.com/token".into();
            file
        }),
        file("a service account without its name", &incomplete, |google, _| {
            let mut file = google.service_account();
            file.as_object_mut().expect("an object").remove("client_email");
            file
        }),
        file("a client secret of another form", &incomplete, |google, _| {
            let mut file = google.user();
            file["client_secret"] = json!([secrets::GOOGLE_CLIENT_SECRET]);
            file
        }),
        file(
            "a private key that was cut",
            &key("private_key of the credential file is no RSA key in PEM (PKCS #8); create the key anew"),
            |google, _| {
                let mut file = google.service_account();
                file["private_key"] = private_key().lines().take(9).collect::<Vec<_>>().join("\n").into();
                file
            },
        ),
    ]);
}

#[test]
fn credentials_that_google_refuses_are_told_apart() {
    let exchange = key(
        "the credential file's token is not exchanged; look at credential_source and audience, at the pool's provider, and at roles/iam.workloadIdentityUser",
    );
    expect(&[
        file(
            "a user who signed out",
            &key("the sign-in of the credential file is not accepted any more; run gcloud auth application-default login"),
            |google, _| {
                let mut file = google.user();
                file["refresh_token"] = "1//canary-google-revoked".into();
                file
            },
        ),
        file(
            "a subject token that is not there",
            &key("credential_source of the credential file cannot be read: No such file or directory (os error 2)"),
            |google, folder| google.federated(&folder.path().join("absent").display().to_string()),
        ),
        file("a subject token of another cluster", &exchange, |google, folder| {
            let path = subject(folder);
            std::fs::write(&path, "canary-google-other-token").expect("a file");
            google.federated(&path)
        }),
        file("a workload that may not act for the account", &exchange, |google, folder| {
            google.breaks(IAM, error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"));
            let mut file = google.federated(&subject(folder));
            file["service_account_impersonation_url"] = google.impersonation_url().into();
            file
        }),
        file(
            "a user who may not act for the account",
            &key(
                "the service account of the credential file may not be acted for; give the source roles/iam.serviceAccountTokenCreator",
            ),
            |google, _| {
                google.breaks(IAM, error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"));
                google.impersonated(&google.user())
            },
        ),
        row(
            "a machine without a service account",
            &key("the metadata server has no access token; attach a service account to this machine, pod or service"),
            |google, _, config| {
                google.breaks(METADATA, Reply::text(404, "text/html", secrets::GOOGLE_MESSAGE));
                config.env("GCE_METADATA_HOST", &google.host())
            },
        ),
    ]);
}

#[test]
fn what_secret_manager_refuses_is_told_apart() {
    let permission = "Google denies the permission (403); give the identity of this service roles/secretmanager.secretAccessor on the secret, and look at the project's name";
    let unknown = key(
        "Google does not accept the credentials (401); is the service account's key deleted or the account disabled? is this machine's clock right?",
    );
    expect(&[
        answer("permission", &key(permission), error(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED")),
        answer("another 403", &key(permission), Reply::text(403, "text/html", secrets::GOOGLE_MESSAGE)),
        answer(
            "an API that is off",
            &key(
                "the Secret Manager API is not enabled in the project (403); run gcloud services enable secretmanager.googleapis.com",
            ),
            error(403, "PERMISSION_DENIED", "SERVICE_DISABLED"),
        ),
        answer(
            "a narrow scope",
            &key("this machine's access tokens are too narrow (403); give the VM or the node pool the scope cloud-platform"),
            error(403, "PERMISSION_DENIED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
        ),
        answer(
            "a secret that is not there",
            &key("there is no such secret, or no such version (404); look at the project, the secret and the version"),
            error(404, "NOT_FOUND", ""),
        ),
        answer(
            "a version that is disabled",
            &key("this version is disabled or destroyed (400); enable it, add a new version or name another"),
            error(400, "FAILED_PRECONDITION", ""),
        ),
        answer(
            "a request that is not understood",
            &key("Secret Manager does not understand the request (400); look at the project, the secret and the version"),
            error(400, "INVALID_ARGUMENT", ""),
        ),
        answer("an account that is disabled", &unknown, error(401, "UNAUTHENTICATED", "ACCOUNT_STATE_INVALID")),
        file("a key that was deleted", &unknown, |google, _| {
            let mut file = google.service_account();
            file["private_key"] = strange_key().into();
            file
        }),
        answer(
            "a redirect",
            &key("this is no answer of Secret Manager (302); look at secrets.gcp.endpoint"),
            Reply::new(302).header("Location", "http://127.0.0.1:9/"),
        ),
        payload("a secret that is no text", &key("is not UTF-8 text"), b"sk-proj-canary-\xff"),
        payload("an empty secret", &key("is empty"), b"\n"),
    ]);
}

#[test]
fn whoever_does_not_answer_is_named_after_three_attempts() {
    let silent = key("whoever makes access tokens of the credential file does not answer");
    let metadata = key(
        "the metadata server does not answer; where there is none, let GOOGLE_APPLICATION_CREDENTIALS name a credential file",
    );
    let unusable = |cause: &str| key(&format!("Secret Manager's answer cannot be used: {cause}"));
    let garbled = unusable("it is not what secrets are sent in; is secrets.gcp.endpoint right?");
    let torn = key("Secret Manager's answer was damaged on its way: its checksum does not fit");
    let name = "projects/1/secrets/openai-key/versions/2";
    let good = secrets::PRIMARY_KEY.as_bytes();
    expect(&[
        answer("quota", &key("Secret Manager does not serve now (429)"), error(429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")),
        answer("an outage", &key("Secret Manager does not serve now (503)"), error(503, "UNAVAILABLE", "")),
        answer("damage", &torn, accessed(name, b"sk-proj-canary-permanent-key-torn", crc32c(good))),
        answer("no base64", &torn, Reply::json(200, &json!({"name": name, "payload": {"data": "canary!", "dataCrc32c": "1"}}))),
        answer("something else", &garbled, Reply::json(200, &json!({"canary": secrets::PRIMARY_KEY}))),
        answer(
            "a cut answer",
            &unusable("the body broke off"),
            accessed(name, good, crc32c(good)).cut(40, crate::support::End::Close),
        ),
        answer(
            "a flood",
            &unusable("the body is larger than 1048576 bytes"),
            Reply::endless("application/json", " ".repeat(65_536).as_bytes()),
        ),
        row(
            "nobody there",
            &key(
                "Secret Manager cannot be reached: client error (Connect): tcp connect error: Connection refused (os error 111)",
            ),
            |google, folder, config| {
                google.refuse();
                with_file(config, folder, &google.service_account())
            },
        ),
        file("an outage of tokens", &silent, |google, folder| {
            google.breaks(STS, error(503, "UNAVAILABLE", ""));
            google.federated(&subject(folder))
        }),
        file("silence instead of tokens", &silent, |google, _| {
            google.breaks(TOKEN, Reply::never());
            google.user()
        }),
        row("a metadata server that is silent", &metadata, |google, _, config| {
            google.breaks(METADATA, Reply::never());
            config.env("GCE_METADATA_HOST", &google.host())
        }),
        row("a metadata server that is not there", &metadata, |google, _, config| {
            google.refuse();
            config.env("GCE_METADATA_HOST", &google.host())
        }),
    ]);
}

#[test]
fn settings_that_cannot_be_meant_are_refused_before_anybody_is_asked() {
    let named = |key: &'static str| {
        let credential = format!(r#"{{ kind = "api_key", keys = ["{key}"] }}"#);
        move |_: &Google, _: &TempDir, config: Config| config.set("upstreams.openai.credential", &credential)
    };
    let form = "upstreams.openai.credential.keys[0]: gcp-sm:// takes the project, the secret and, if not the latest, the version, for example gcp-sm://my-project/openai-key";
    expect(&[
        row("plain http", "secrets.gcp.endpoint: plain http would show the secrets on their way; use https", |_, _, config| {
            config.keys(&["TEST_OPENAI_KEY"]).set("secrets.gcp.endpoint", r#""http://secretmanager.example.com""#)
        }),
        row("no secret", form, named("gcp-sm://my-project")),
        row("a path", form, named("gcp-sm://../canary")),
        row("a resource name", form, named("gcp-sm://projects/p/secrets/canary")),
    ]);
}

/// Google's library panics then. Secret Manager could not be asked either.
#[test]
fn without_ca_certificates_they_are_asked_for() {
    let cause = "the credentials cannot be used; are CA certificates there (the package ca-certificates, or SSL_CERT_FILE), and is this machine's clock right?";
    let said = said(
        &file("no CA certificates", "", |google, _| google.user()).and(|config| config.env("SSL_CERT_FILE", "/nonexistent")),
    );
    assert!(said.ends_with(&format!("\nephemint: FILE: {}\n", key(cause))), "{said}");
}
