//! The request, and its signature computed once more from AWS's description of it (IAM User Guide, "Create a signed AWS API request").

use aws_lc_rs::{digest, hmac};

use super::fake::Aws;
use super::{KEY_ID, SECRET, expect_mint, key, with_keys};
use crate::moto::at;
use crate::support::{Request, World, now, secrets};

const TOKEN: &str = "canary-aws-session-token/0001+==";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The `Authorization` header that the rest of the request calls for, when the headers `names` are signed.
fn expected(request: &Request, names: &[&str]) -> String {
    let date = request.header("x-amz-date").expect("a date");
    let (day, _) = date.split_once('T').expect("a day and a time");
    let line = |name: &&str| format!("{name}:{}\n", request.header(name).expect(name));
    let headers = names.iter().map(line).collect::<Vec<_>>().concat();
    let names = names.join(";");
    let body = String::from_utf8(request.body.clone()).expect("text");
    let canonical = [&request.method, "/", "", &headers, &names, &sha256(&body)].join("\n");
    let scope = format!("{day}/eu-west-1/secretsmanager/aws4_request");
    let text = ["AWS4-HMAC-SHA256", date, &scope, &sha256(&canonical)].join("\n");
    let of_day = mac(format!("AWS4{SECRET}").as_bytes(), day);
    let of_region = mac(&of_day, "eu-west-1");
    let of_service = mac(&of_region, "secretsmanager");
    let signature = hex(&mac(&mac(&of_service, "aws4_request"), &text));
    format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={signature}")
}

#[tokio::test]
async fn what_is_sent_is_what_is_signed() {
    for token in [None, Some(TOKEN)] {
        let aws = Aws::start();
        let world = World::with(|config| {
            let config = key(with_keys(at(config, &aws.origin())), "aws-sm://ephemint/openai");
            token.map_or(config.clone(), |token| config.env("AWS_SESSION_TOKEN", token))
        });
        expect_mint(&world, secrets::PRIMARY_KEY).await;
        let request = aws.requests().swap_remove(0);
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/"));
        assert_eq!(request.json(), serde_json::json!({"SecretId": "ephemint/openai"}));
        assert_eq!(request.header("content-type"), Some("application/x-amz-json-1.1"));
        assert_eq!(request.header("host"), aws.origin().strip_prefix("http://"));
        assert_eq!(request.header("x-amz-security-token"), token);
        let mut names = vec!["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"];
        names.retain(|name| token.is_some() || *name != "x-amz-security-token");
        assert_eq!(request.header("authorization"), Some(expected(&request, &names).as_str()));
        let moment: jiff::Timestamp =
            jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", request.header("x-amz-date").expect("a date"))
                .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
                .expect("a moment")
                .timestamp();
        assert!((now() - moment.as_second()).abs() < 60, "{moment}");
    }
}
