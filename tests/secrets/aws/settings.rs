//! What can be set up wrongly, and the sentence that says so at the start.

use tempfile::TempDir;

use super::fake::{Aws, CONTAINER_TOKEN, ROLE, WEB_TOKEN, sts_error};
use super::start::refused;
use super::{KEY_ID, SECRET, key, with_keys};
use crate::moto::at;
use crate::support::{Config, Reply, secrets};

const REFERENCE: &str = "aws-sm://ephemint/openai";

/// The start with `variables` beside what [`at`] sets, where AWS is at `origin`.
#[track_caller]
fn expect(origin: &str, variables: &[(&str, &str)], sentence: &str) {
    let change = |config: Config| {
        let config = key(at(config, origin), REFERENCE);
        variables.iter().fold(config, |config, (name, value)| config.env(name, value))
    };
    refused(change).expect(sentence);
}

#[test]
fn settings_that_lead_nowhere_are_named() {
    let keys = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let nowhere = "http://127.0.0.1:9";
    for (name, value, sentence) in [
        ("AWS_REGION", "", "the region is not known; set secrets.aws.region or AWS_REGION, or name the secret by its ARN"),
        ("AWS_REGION", "eu-west-1.evil.example/", "AWS_REGION does not hold the name of a region, such as eu-west-1"),
        (
            "AWS_ENDPOINT_URL",
            "http://vpce.example.com",
            "AWS_ENDPOINT_URL is plain http, which would show secrets on their way; use https",
        ),
        ("AWS_ENDPOINT_URL", "https://vpce.example.com/secrets", "AWS_ENDPOINT_URL has a path, which no service of AWS has"),
        (
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            "vpce.example.com",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER does not hold a URL that begins with https://",
        ),
    ] {
        expect(nowhere, &[keys[0], keys[1], (name, value)], sentence);
    }
    expect(nowhere, &keys[..1], "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY");
    expect(nowhere, &keys[1..], "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID");
    let cut = "the AWS credentials of the environment are cut or pasted wrongly";
    expect(nowhere, &[keys[0], ("AWS_SECRET_ACCESS_KEY", "canary-aws secret")], cut);
    expect(nowhere, &[keys[0], keys[1], ("AWS_SESSION_TOKEN", "canary-aws\r\nX-Evil: 1")], cut);
    expect(
        nowhere,
        &[],
        "no AWS credentials were found; give the instance, task or pod a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    );
    expect(
        nowhere,
        &[("AWS_EC2_METADATA_DISABLED", ""), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://metadata.example.com")],
        "AWS_EC2_METADATA_SERVICE_ENDPOINT is plain http, which would show secrets on their way; use https",
    );
    expect(
        nowhere,
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/credentials")],
        "AWS_CONTAINER_CREDENTIALS_FULL_URI is plain http, which would show secrets on their way; use https",
    );
    expect(
        nowhere,
        &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@evil.example/")],
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not hold a URL that begins with https://",
    );
    expect(
        nowhere,
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent")],
        "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN",
    );
}

#[test]
fn settings_of_our_own_are_checked_before_anybody_is_asked() {
    for (name, value, sentence) in [
        ("region", "eu west", "must be the name of a region, for example \"eu-west-1\""),
        ("endpoint", "http://vpce.example.com", "plain http would show the secrets on their way; use https"),
        ("endpoint", "https://vpce.example.com/secrets", "must not have a path"),
        ("endpoint", "https://user@vpce.example.com", "must not hold a user name or password"),
    ] {
        let aws = Aws::start();
        let config = |config| with_keys(at(config, &aws.origin())).set(&format!("secrets.aws.{name}"), &format!("{value:?}"));
        let outcome = format!("{:?}", refused(|it| key(config(it), REFERENCE)));
        assert!(outcome.contains(&format!("ephemint.toml: secrets.aws.{name}: {}", sentence.escape_debug())), "{outcome}");
        assert!(aws.requests().is_empty());
    }
}

#[test]
fn profiles_that_lead_nowhere_are_named() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("config");
    let text = format!(
        "[profile sso]\nsso_session = x\n[profile program]\ncredential_process = /bin/{0}\n[profile half]\naws_access_key_id = AKID\n\
         [profile bare]\nrole_arn = {ROLE}\n[profile lost]\nrole_arn = {ROLE}\nsource_profile = gone\n[profile empty]\nregion = eu-west-1\n\
         [profile on-empty]\nrole_arn = {ROLE}\nsource_profile = empty\n[profile odd]\nrole_arn = {ROLE}\ncredential_source = {0}\n\
         [profile region]\nregion = {0}/\naws_access_key_id = AKID\naws_secret_access_key = {0}\n",
        secrets::AWS
    );
    std::fs::write(&path, text).expect("the file");
    let file = ("AWS_CONFIG_FILE", path.to_str().expect("text"));
    for (name, sentence) in [
        ("absent", "profile absent, which AWS_PROFILE names, is in no file"),
        ("sso", "profile sso has sso_session, which needs a person or a program; use a role, or a profile with keys"),
        (
            "program",
            "profile program has credential_process, which needs a person or a program; use a role, or a profile with keys",
        ),
        ("half", "profile half has only one of aws_access_key_id and aws_secret_access_key"),
        ("bare", "profile bare has a role_arn without source_profile, credential_source or web_identity_token_file"),
        ("lost", "profile lost has a source_profile that is in no file"),
        ("on-empty", "profile on-empty has a source_profile without keys"),
        ("odd", "profile odd has a credential_source other than Environment, EcsContainer and Ec2InstanceMetadata"),
    ] {
        expect("http://127.0.0.1:9", &[file, ("AWS_PROFILE", name)], &format!("the AWS {sentence}"));
    }
    expect(
        "http://127.0.0.1:9",
        &[file, ("AWS_PROFILE", "region"), ("AWS_REGION", "")],
        "profile region does not hold the name of a region, such as eu-west-1",
    );
    expect(
        "http://127.0.0.1:9",
        &[("AWS_CONFIG_FILE", "/nonexistent/config")],
        "AWS's file config cannot be read: No such file or directory (os error 2)",
    );
    expect("http://127.0.0.1:9", &[("AWS_CONFIG_FILE", "/etc"), ("AWS_REGION", "")], "AWS's file config is not a file");
}

#[test]
fn roles_that_are_refused_say_why() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, WEB_TOKEN).expect("the file");
    let pod = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", path.to_str().expect("text"))];
    let token = "the web identity token";
    for (status, code, sentence) in [
        (
            403,
            "AccessDenied",
            format!(
                "AWS does not let {token} assume the role {ROLE}; check the role's trust policy and, of an AWS identity, the permission sts:AssumeRole"
            ),
        ),
        (400, "ExpiredTokenException", format!("{token} expired, so the role {ROLE} cannot be assumed")),
        (
            400,
            "InvalidIdentityToken",
            format!(
                "AWS does not trust the issuer or the audience of {token}; the role {ROLE} needs an IAM OIDC provider that has both"
            ),
        ),
        (403, "RegionDisabledException", "AWS STS is switched off in that region; set AWS_REGION to another".into()),
        (400, "ValidationError", format!("AWS takes {ROLE} for no role, or its session name for none")),
        (400, "Strange", "AWS STS answered 400 Strange; is it what answers there?".into()),
        (400, "canary-aws", "AWS STS answered 400; is it what answers there?".into()),
    ] {
        let aws = Aws::with(move |request| (request.method == "POST").then(|| sts_error(status, code)));
        expect(&aws.origin(), &pod, &sentence);
    }
    let odd = Aws::with(|request| (request.method == "POST").then(|| Reply::text(200, "text/html", secrets::AWS)));
    expect(&odd.origin(), &pod, "AWS STS answered with something else than AWS documents; is it what answers there?");
}

#[test]
fn surroundings_that_hand_out_nothing_say_why() {
    let container = |aws: &Aws, token: &str, sentence: &str| {
        let set_up = |config| aws.container(key(at(config, &aws.origin()), REFERENCE));
        refused(|config| set_up(config).env("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)).expect(sentence);
    };
    let who = "the container's credential service";
    let refuses = format!("{who} refuses to hand out credentials (401); check its token and the role");
    container(&Aws::start(), "canary-aws-wrong", &refuses);
    container(
        &Aws::start(),
        "canary-aws\r\nX-Evil: 1",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN holds a token that no header can carry",
    );
    let odd =
        |body: &'static str| Aws::with(move |request| (request.method == "GET").then(|| Reply::text(200, "text/html", body)));
    let malformed = format!("{who} answered with something else than AWS documents; is it what answers there?");
    container(&odd("<html>canary-aws"), CONTAINER_TOKEN, &malformed);
    let never = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"canary-aws","Token":"canary-aws","Expiration":"canary-aws"}"#;
    container(&odd(never), CONTAINER_TOKEN, &malformed);

    let instance = |aws: &Aws, sentence: &str| {
        refused(|config| aws.instance(key(at(config, &aws.origin()), REFERENCE))).expect(sentence);
    };
    let at_path =
        |path: &'static str, status| Aws::with(move |it| (it.target == path).then(|| Reply::text(status, "text/html", "x")));
    let roles = "/latest/meta-data/iam/security-credentials/";
    instance(&at_path(roles, 404), "the EC2 instance has no role; attach an instance profile");
    instance(&at_path("/latest/api/token", 403), "the instance metadata service is switched off; enable its version 2");
    let split = Aws::with(|it| it.target.ends_with("credentials/").then(|| Reply::text(200, "text/plain", "a b")));
    instance(&split, "the instance metadata service answered with something else than AWS documents; is it what answers there?");
    let untrusted = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"canary-aws"}"#;
    let untrusting = Aws::with(move |it| it.target.ends_with("/voice-role").then(|| Reply::text(200, "text/plain", untrusted)));
    instance(
        &untrusting,
        "the instance metadata service has no credentials of the EC2 instance's role voice-role (AssumeRoleUnauthorizedAccess); check its trust policy",
    );
    // Nobody is there, or the metadata service of another cloud.
    let none = "no AWS credentials were found; give the instance, task or pod a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";
    instance(&at_path("/latest/api/token", 404), none);
    let gone = Aws::start();
    gone.refuse();
    refused(|config| gone.instance(key(at(config, "http://127.0.0.1:9"), REFERENCE))).expect(none);
}

/// Its answer to the first question does not travel beyond the hop limit.
#[test]
fn an_instance_metadata_service_that_is_too_far_away_is_named() {
    let aws = Aws::with(|request| (request.method == "PUT").then(Reply::never));
    refused(|config| aws.instance(key(at(config, &aws.origin()), REFERENCE))).expect(
        "the instance metadata service does not answer in time; in a container, raise the instance's HttpPutResponseHopLimit to 2",
    );
    assert_eq!(aws.requests().len(), 3, "it is asked again");
}
