//! What Secrets Manager can answer other than a permanent key, and the sentence that says so at the start.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::fake::{Aws, error, value};
use super::start::refused;
use super::{expect_mint, key, with_keys};
use crate::moto::at;
use crate::support::{Config, End, Reply, World, secrets};

/// The start when Secrets Manager answers `reply` to the question for `reference`.
#[track_caller]
fn expect(reply: Reply, reference: &str, sentence: &str) {
    let aws = Aws::answering(reply);
    refused(|config| key(with_keys(at(config, &aws.origin())), reference)).expect(sentence);
    assert_eq!(aws.reads().len(), 1, "{sentence}");
}

#[test]
fn a_refusal_says_what_to_do() {
    let owner = "the credentials of the environment";
    for (status, kind, sentence) in [
        (
            400,
            "ResourceNotFoundException",
            "AWS Secrets Manager has no such secret with a current value in eu-west-1; check the name, and secrets.aws.region"
                .into(),
        ),
        (
            400,
            "com.amazonaws.secretsmanager#AccessDeniedException",
            format!(
                "AWS does not let {owner} read it; allow secretsmanager:GetSecretValue for this secret and, with a key of your own, kms:Decrypt for that key"
            ),
        ),
        (
            400,
            "DecryptionFailure",
            format!("AWS cannot decrypt it for {owner}; enable its KMS key and allow kms:Decrypt for that key"),
        ),
        (
            400,
            "InvalidRequestException",
            "is scheduled for deletion or still has no value; see `aws secretsmanager restore-secret` and `put-secret-value`"
                .into(),
        ),
        (
            400,
            "ValidationException:http://internal.amazon.com/",
            "AWS Secrets Manager in eu-west-1 takes it for no name of a secret; check the name or ARN".into(),
        ),
        (400, "ExpiredTokenException", "the AWS credentials of the environment have expired; renew them".into()),
        (400, "UnrecognizedClientException", format!("AWS does not know {owner}; they are inactive, deleted or mistyped")),
        (
            403,
            "InvalidSignatureException",
            format!("AWS does not accept what {owner} sign; the secret access key is wrong, or the clock of this machine is"),
        ),
        (
            403,
            "IncompleteSignature",
            format!("AWS does not accept what {owner} sign; the secret access key is wrong, or the clock of this machine is"),
        ),
        (
            400,
            "UnknownOperationException",
            "AWS Secrets Manager answered 400 UnknownOperationException; is it what answers there?".into(),
        ),
        (400, "canary-aws", "AWS Secrets Manager answered 400; is it what answers there?".into()),
    ] {
        expect(error(status, kind), "aws-sm://ephemint/openai", &sentence);
    }
}

#[test]
fn what_is_not_secrets_manager_is_not_believed() {
    let odd = "AWS Secrets Manager answered with something else than AWS documents; is it what answers there?";
    let html = format!("<html>{}", secrets::AWS);
    let moved = Reply::new(302).header("Location", "http://127.0.0.1:9/");
    let large = Reply::endless("application/json", secrets::AWS.repeat(1000).as_bytes());
    for (reply, sentence) in [
        (Reply::text(200, "text/html", html.clone()), odd),
        (Reply::json(200, &json!({"Name": "x"})), odd),
        (Reply::json(200, &json!({"SecretString": 1})), odd),
        (Reply::json(200, &json!({"SecretBinary": "%"})), odd),
        (Reply::text(404, "text/html", html), "AWS Secrets Manager answered 404; is it what answers there?"),
        (moved, "AWS Secrets Manager answered 302; is it what answers there?"),
        (large, "AWS Secrets Manager answered with more than 1 MiB; is it what answers there?"),
    ] {
        expect(reply, "aws-sm://ephemint/openai", sentence);
    }
}

#[test]
fn a_value_that_cannot_be_used_says_why() {
    let (name, with_field) = ("aws-sm://ephemint/openai", "aws-sm://ephemint/openai#api_key");
    let held = |text: &str| Reply::json(200, &value(text));
    let object = json!({"api-key": secrets::PRIMARY_KEY}).to_string();
    let long = secrets::PERMANENT.repeat(4000);
    for (reply, reference, sentence) in [
        (held(&object), name, "holds JSON; name the field that is meant, as in aws-sm://name#field"),
        (held(&object), with_field, "has no field api_key; its JSON has others"),
        (held(r#"{"api_key":["canary-aws"]}"#), with_field, "its field api_key is not a string"),
        (held(r#"["canary-aws"]"#), with_field, "has no field api_key; its JSON is no object"),
        (held(secrets::PRIMARY_KEY), with_field, "has no field api_key; it does not hold JSON, so leave out the #"),
        (held(" \n"), name, "is empty"),
        (held(r#"{"api_key":""}"#), with_field, "is empty"),
        (held(&long), name, "is larger than 64 KiB; name what holds the secret alone"),
        (Reply::json(200, &json!({"SecretBinary": STANDARD.encode(b"sk-proj-\xff")})), name, "is binary and not UTF-8 text"),
        (held("canary-aws-something"), name, "is not an OpenAI key; a permanent key begins with sk-"),
    ] {
        expect(reply, reference, sentence);
    }
}

/// Each is asked three times, within half a minute.
#[test]
fn an_outage_is_waited_for_and_then_named() {
    let failing = |reply: Reply| {
        let aws = Aws::answering(reply);
        let origin = aws.origin();
        (Some(aws), origin)
    };
    let cut = Reply::json(200, &value(secrets::PRIMARY_KEY)).cut(20, End::Close);
    let closed = Aws::start();
    closed.refuse();
    let origin = closed.origin();
    let cases = [
        (failing(error(400, "ThrottlingException")), "AWS Secrets Manager answered ThrottlingException; it will pass"),
        (failing(error(500, "InternalServiceError")), "AWS Secrets Manager answered InternalServiceError; it will pass"),
        (failing(Reply::text(503, "text/html", secrets::AWS)), "AWS Secrets Manager answered 503"),
        (failing(error(500, "AccessDeniedException")), "AWS Secrets Manager answered 500 AccessDeniedException"),
        (failing(error(429, "canary-aws")), "AWS Secrets Manager answered 429"),
        (failing(cut), "AWS Secrets Manager breaks off: "),
        ((Some(closed), origin), "AWS Secrets Manager cannot be reached: "),
    ];
    thread::scope(|scope| {
        for ((aws, origin), beginning) in cases {
            scope.spawn(move || {
                let outcome = refused(|config| key(with_keys(at(config, &origin)), "aws-sm://ephemint/openai"));
                let place = format!("aws-sm://ephemint/openai: {beginning}");
                let is_whole = !beginning.ends_with(": ");
                let problem = outcome.problem();
                assert!(problem.starts_with(&place) && (!is_whole || problem == place), "{problem}");
                let asked = aws.map_or(0, |aws| aws.reads().len());
                assert!(
                    asked == 3 || beginning.contains("reached") || beginning.contains("breaks"),
                    "{problem}: asked {asked} times"
                );
            });
        }
    });
}

#[tokio::test]
async fn an_outage_that_passes_is_not_noticed() {
    let asked = AtomicUsize::new(0);
    let aws = Aws::with(move |request| {
        let first = request.method == "POST" && asked.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| error(400, "ThrottlingException"))
    });
    let world = World::with(|config: Config| key(with_keys(at(config, &aws.origin())), "aws-sm://ephemint/openai"));
    expect_mint(&world, secrets::PRIMARY_KEY).await;
    assert!(aws.reads().len() >= 2);
}
