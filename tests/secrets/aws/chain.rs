//! Whose credentials are taken: every way of AWS's own tools, and never another one than is set up.

use serde_json::json;
use tempfile::TempDir;

use super::fake::{Aws, CONTAINER_TOKEN, ROLE, SESSION, WEB_TOKEN, sts_error};
use super::start::refused;
use super::{KEY_ID, expect_mint, key, with_keys};
use crate::moto::{Moto, at};
use crate::support::{Config, Reply, World, secrets};

const REFERENCE: &str = "aws-sm://ephemint/openai";

/// A file in a folder that is removed with the test.
fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
    std::fs::write(&path, text).expect("the file");
    path.display().to_string()
}

/// Mints with the credentials that `change` sets up at the fake; whose they were.
async fn signer(aws: &Aws, change: impl FnOnce(Config) -> Config) -> String {
    let world = World::with(|config| key(change(at(config, &aws.origin())), REFERENCE));
    expect_mint(&world, secrets::PRIMARY_KEY).await;
    aws.signer()
}

fn keys(id: &str) -> String {
    format!("aws_access_key_id = {id}\naws_secret_access_key = {}-secret-of-{id}\n", secrets::AWS)
}

fn web_identity(config: Config, token_file: &str) -> Config {
    config.env("AWS_ROLE_ARN", ROLE).env("AWS_WEB_IDENTITY_TOKEN_FILE", token_file)
}

#[tokio::test]
async fn profiles_are_read_where_awss_tools_keep_them() {
    let (aws, home) = (Aws::start(), TempDir::new().expect("a folder"));
    let config = format!("[profile voice]\n{}region = eu-central-1\n", keys("AKIDVOICE"));
    let config_file = file(&home, ".aws/config", &config);
    let credentials =
        file(&home, ".aws/credentials", &format!("[default]\n{}\n[other]\n{}", keys("AKIDDEFAULT"), keys("AKIDOTHER")));
    let at_home = |config: Config| config.env("HOME", &home.path().display().to_string());
    assert_eq!(signer(&aws, at_home).await, "AKIDDEFAULT");
    assert_eq!(signer(&aws, |config| at_home(config).env("AWS_PROFILE", "other")).await, "AKIDOTHER");
    let named = |config: Config| config.env("AWS_SHARED_CREDENTIALS_FILE", &credentials).env("AWS_CONFIG_FILE", "/dev/null");
    assert_eq!(signer(&aws, |config| named(config).env("AWS_PROFILE", "other")).await, "AKIDOTHER");
    // With the profile's region, too.
    let voice = |config: Config| config.env("AWS_CONFIG_FILE", &config_file).env("AWS_PROFILE", "voice").env("AWS_REGION", "");
    assert_eq!(signer(&aws, voice).await, "AKIDVOICE");
    let read = aws.reads().pop().expect("a question");
    assert!(read.header("authorization").is_some_and(|it| it.contains("/eu-central-1/secretsmanager/aws4_request")));
}

#[tokio::test]
async fn a_pod_has_the_role_of_its_service_account() {
    let (aws, folder) = (Aws::start(), TempDir::new().expect("a folder"));
    let token = file(&folder, "token", &format!("{WEB_TOKEN}\n"));
    let with = |config| web_identity(config, &token).env("AWS_ROLE_SESSION_NAME", "voice-1");
    assert_eq!(signer(&aws, with).await, "ASIAROLE");
    let requests = aws.requests();
    let [assumed, read, ..] = &requests[..] else { panic!("fewer than two questions: {requests:?}") };
    let form = assumed.form();
    let fields: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "voice-1"),
        ("Version", "2011-06-15"),
        ("WebIdentityToken", WEB_TOKEN),
    ];
    assert_eq!((fields.as_slice(), assumed.header("authorization")), (&expected[..], None));
    assert_eq!(read.header("x-amz-security-token"), Some("canary-aws-session-of-the-role+/=="));
}

#[tokio::test]
async fn a_profile_takes_on_a_role_by_token_by_another_profile_and_by_the_instance() {
    let (aws, home) = (Aws::start(), TempDir::new().expect("a folder"));
    let token = file(&home, "token", WEB_TOKEN);
    let role = |source: &str| format!("role_arn = {ROLE}\nexternal_id = voice & more\n{source}\n");
    let profiles = [
        ("pod", role(&format!("web_identity_token_file = {token}"))),
        ("base", keys("AKIDBASE")),
        ("across", role("source_profile = base")),
        ("machine", role("credential_source = Ec2InstanceMetadata")),
    ];
    let config = profiles.map(|(name, text)| format!("[profile {name}]\n{text}")).concat();
    let config_file = file(&home, "config", &config);
    for (name, source) in [("pod", None), ("across", Some("AKIDBASE")), ("machine", Some("ASIAINSTANCE"))] {
        let with = |config: Config| aws.instance(config).env("AWS_CONFIG_FILE", &config_file).env("AWS_PROFILE", name);
        assert_eq!(signer(&aws, with).await, "ASIAROLE", "{name}");
        let assumed = aws.requests().into_iter().rfind(|request| request.body.starts_with(b"Action=")).expect("STS was asked");
        let signed_by = assumed.header("authorization").map(|it| it.split(['=', '/']).nth(1).expect("a key id").to_owned());
        assert_eq!(signed_by.as_deref(), source, "{name}");
        assert_eq!(assumed.form().get("ExternalId").map(String::as_str), source.map(|_| "voice & more"), "{name}");
    }
}

#[tokio::test]
async fn motos_sts_hands_out_the_role_that_reads_from_moto() {
    let (moto, folder) = (Moto::shared(), TempDir::new().expect("a folder"));
    moto.secret("ephemint/assumed", secrets::PRIMARY_KEY).await;
    let token = file(&folder, "token", WEB_TOKEN);
    let pod = |config| key(web_identity(at(config, moto.origin()), &token), "aws-sm://ephemint/assumed");
    expect_mint(&World::with(pod), secrets::PRIMARY_KEY).await;
    let profiles = format!("[base]\n{}[voice]\nrole_arn = {ROLE}\nsource_profile = base\n", keys("AKIDBASE"));
    let profiles = file(&folder, "credentials", &profiles);
    let profile = |config| {
        let config = at(config, moto.origin()).env("AWS_SHARED_CREDENTIALS_FILE", &profiles).env("AWS_PROFILE", "voice");
        key(config, "aws-sm://ephemint/assumed")
    };
    expect_mint(&World::with(profile), secrets::PRIMARY_KEY).await;
}

#[tokio::test]
async fn a_container_proves_itself_with_its_token() {
    let (aws, folder) = (Aws::start(), TempDir::new().expect("a folder"));
    let token = file(&folder, "token", &format!("{CONTAINER_TOKEN}\n"));
    let by_file = |config| aws.container(config).env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);
    assert_eq!(signer(&aws, by_file).await, "ASIACONTAINER");
    let by_variable = |config| aws.container(config).env("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN);
    assert_eq!(signer(&aws, by_variable).await, "ASIACONTAINER");
}

#[tokio::test]
async fn an_instance_is_asked_in_a_session_of_its_metadata_service() {
    let aws = Aws::start();
    assert_eq!(signer(&aws, |config| aws.instance(config)).await, "ASIAINSTANCE");
    let requests = aws.requests();
    let [opened, roles, role, read, ..] = &requests[..] else { panic!("fewer than four questions: {requests:?}") };
    assert_eq!((opened.method.as_str(), opened.target.as_str()), ("PUT", "/latest/api/token"));
    assert_eq!([roles.header("x-aws-ec2-metadata-token"), role.header("x-aws-ec2-metadata-token")], [Some(SESSION); 2]);
    assert_eq!(read.header("x-amz-security-token"), Some("canary-aws-session-of-INSTANCE"));
}

/// All of them are set up; each time the first of them is taken away.
#[tokio::test]
async fn the_first_way_that_is_set_up_is_taken() {
    let (aws, home) = (Aws::start(), TempDir::new().expect("a folder"));
    let token = file(&home, "token", WEB_TOKEN);
    let profiles = file(&home, ".aws/credentials", &format!("[default]\n{}", keys("AKIDDEFAULT")));
    let all = |config: Config| {
        let config = aws.instance(aws.container(web_identity(with_keys(config), &token)));
        config.env("AWS_SHARED_CREDENTIALS_FILE", &profiles).env("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN)
    };
    let mut gone: Vec<&str> = Vec::new();
    for (owner, way) in [
        (KEY_ID, vec!["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
        ("ASIAROLE", vec!["AWS_WEB_IDENTITY_TOKEN_FILE"]),
        ("AKIDDEFAULT", vec!["AWS_SHARED_CREDENTIALS_FILE"]),
        ("ASIACONTAINER", vec!["AWS_CONTAINER_CREDENTIALS_FULL_URI"]),
        ("ASIAINSTANCE", vec![]),
    ] {
        let with = |config| gone.iter().fold(all(config), |config, name| config.env(name, ""));
        assert_eq!(signer(&aws, with).await, owner);
        gone.extend(way);
    }
}

/// A pod whose role is refused does not read as the machine that it runs on.
#[test]
fn a_way_that_does_not_work_ends_the_search() {
    let home = TempDir::new().expect("a folder");
    let token = file(&home, "token", WEB_TOKEN);
    let aws = Aws::with(|request| match (request.method.as_str(), request.target.as_str()) {
        ("POST", "/") => Some(sts_error(403, "AccessDenied")),
        ("GET", "/container") => Some(Reply::json(404, &json!({}))),
        _ => None,
    });
    let set_up = |config| aws.instance(at(config, &aws.origin()));
    refused(|config| key(web_identity(set_up(config), &token), REFERENCE))
        .expect(&format!("AWS does not let the web identity token assume the role {ROLE}; check the role's trust policy and, of an AWS identity, the permission sts:AssumeRole"));
    refused(|config| key(aws.container(set_up(config)), REFERENCE))
        .expect("the container's credential service has no credentials there (404); check the role of the task, pod or instance");
    refused(|config| key(web_identity(set_up(config), "/nonexistent/token"), REFERENCE))
        .expect("the web identity token /nonexistent/token cannot be read: No such file or directory (os error 2)");
    assert!(aws.reads().is_empty(), "a secret was asked for");
    assert!(!aws.requests().iter().any(|request| request.target.starts_with("/latest")), "the instance was asked");
}
