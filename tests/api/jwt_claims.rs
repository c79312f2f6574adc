//! Properly signed tokens whose claims are not for this service, not for now, or not of the right kind.

use serde_json::json;

use crate::range::{Range, row};
use crate::support::{World, eventually, now};

#[tokio::test]
async fn the_expiry_is_a_whole_number_and_is_required() {
    let range = Range::start();
    let mut rows = vec![row("no exp", range.token().without("exp").build())];
    for exp in [
        json!(null),
        json!((now() + 300).to_string()),
        json!("never"),
        json!(-1),
        json!(0),
        json!(true),
        json!([now() + 300]),
        json!({"at": now() + 300}),
        json!(1.0e300),
        json!(4_102_444_800.5_f64),
    ] {
        rows.push(row(&format!("exp {exp}"), range.token().claim("exp", exp.clone()).build()));
    }
    let token = range.token();
    for exp in ["18446744073709551616", "1e400", "99999999999999999999999999", "0x7fffffff", "+4102444800", "04102444800"] {
        let claims = token.claims.to_string().replace(&format!("\"exp\":{}", token.claims["exp"]), &format!("\"exp\":{exp}"));
        rows.push(row(&format!("exp {exp}"), token.build_from(token.header.to_string().as_bytes(), claims.as_bytes())));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn an_expired_token_is_refused_as_expired() {
    let range = Range::start();
    for past in [31, 60, 3600, 86_400 * 365] {
        let token = range.token().claim("exp", now() - past).build();
        let answer = range.world.service.mint(&token).await;
        answer.expect_problem(401, "token_expired");
    }
    assert_eq!(range.world.upstream.count(), 0);
    range.all_accepted(vec![row("5 s ago, within the leeway", range.token().claim("exp", now() - 5).build())]).await;
}

#[tokio::test]
async fn a_token_that_expires_is_not_kept_alive_by_having_been_accepted() {
    let world = World::with(|config| config.set("identity.jwt.main.leeway_seconds", "0"));
    let token = world.issuer.token("canary-user-alice").claim("exp", now() + 2).build();
    world.service.mint(&token).await.expect_minted();
    let refused = eventually("the token expires", 10, async || {
        let answer = world.service.mint(&token).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.expect_problem(401, "token_expired");
}

#[tokio::test]
async fn a_token_is_not_used_before_its_time() {
    let range = Range::start();
    let mut rows = Vec::new();
    for name in ["nbf", "iat"] {
        for ahead in [120, 86_400] {
            rows.push(row(&format!("{name} {ahead} s ahead"), range.token().claim(name, now() + ahead).build()));
        }
        for value in [json!((now() - 5).to_string()), json!(-1), json!([0]), json!({}), json!(true), json!(0.5)] {
            rows.push(row(&format!("{name} {value}"), range.token().claim(name, value.clone()).build()));
        }
    }
    range.all_refused(rows).await;
    let good = vec![
        row("nbf within the leeway", range.token().claim("nbf", now() + 10).build()),
        row("iat within the leeway", range.token().claim("iat", now() + 10).build()),
        row("nbf in the past", range.token().claim("nbf", now() - 600).build()),
    ];
    range.all_accepted(good).await;
}

#[tokio::test]
async fn the_issuer_is_compared_letter_by_letter() {
    let range = Range::start();
    let url = range.world.issuer.url();
    let mut rows = vec![
        row("no iss", range.token().without("iss").build()),
        row("a prefix", range.token().claim("iss", url.trim_end_matches('/')).build()),
        row("a suffix", range.token().claim("iss", format!("{url}tenant")).build()),
        row("in front", range.token().claim("iss", format!("https://evil.example/{url}")).build()),
        row("as a user", range.token().claim("iss", url.replace("http://", "http://evil@")).build()),
        row("another case", range.token().claim("iss", url.to_uppercase()).build()),
        row("another scheme", range.token().claim("iss", url.replace("http:", "https:")).build()),
        row("another name of the host", range.token().claim("iss", url.replace("127.0.0.1", "localhost")).build()),
        row("two slashes", range.token().claim("iss", format!("{url}/")).build()),
        row("a query", range.token().claim("iss", format!("{url}?")).build()),
        row("a space", range.token().claim("iss", format!("{url} ")).build()),
        row("a null byte", range.token().claim("iss", format!("{url}\0")).build()),
    ];
    for iss in [json!([url]), json!(null), json!(1), json!({"iss": url}), json!([]), json!("")] {
        rows.push(row(&format!("iss {iss}"), range.token().claim("iss", iss.clone()).build()));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn the_audience_names_this_service_exactly() {
    let range = Range::start();
    let mut rows = vec![row("no aud", range.token().without("aud").build())];
    for aud in [
        json!([]),
        json!(5),
        json!(null),
        json!(true),
        json!(""),
        json!({"aud": "voice"}),
        json!([["voice"]]),
        json!([null]),
        json!("voic"),
        json!("voice2"),
        json!("Voice"),
        json!("voice "),
        json!("voice other"),
        json!("other"),
        json!(["other", "another"]),
        json!("voice\0"),
        json!("*"),
    ] {
        rows.push(row(&format!("aud {aud}"), range.token().claim("aud", aud.clone()).build()));
    }
    range.all_refused(rows).await;
    let good = vec![
        row("one of several", range.token().claim("aud", json!(["other", "voice"])).build()),
        row("a list of one", range.token().claim("aud", json!(["voice"])).build()),
    ];
    range.all_accepted(good).await;
}

#[tokio::test]
async fn claims_and_header_parameters_come_once() {
    let range = Range::start();
    let token = range.token();
    let (header, claims) = (token.header.to_string(), token.claims.to_string());
    let mut rows = Vec::new();
    for (name, value) in [
        ("sub", json!("canary-user-root")),
        ("exp", json!(now() + 300)),
        ("iss", token.claims["iss"].clone()),
        ("aud", json!("voice")),
        ("extra", json!(1)),
    ] {
        let first = format!("{{\"{name}\":{value},{}", &claims[1..]);
        let twice = first.replace("{\"extra\":1,", "{\"extra\":1,\"extra\":1,");
        rows.push(row(&format!("{name} twice"), token.build_from(header.as_bytes(), twice.as_bytes())));
    }
    for (name, value) in [("alg", json!("none")), ("alg", json!("ES256")), ("kid", json!("ec-2")), ("typ", json!("JWT"))] {
        let twice = format!("{{\"{name}\":{value},{}", &header[1..]);
        rows.push(row(&format!("{name} {value} first"), token.build_from(twice.as_bytes(), claims.as_bytes())));
        let twice = format!("{},\"{name}\":{value}}}", header.trim_end_matches('}'));
        rows.push(row(&format!("{name} {value} last"), token.build_from(twice.as_bytes(), claims.as_bytes())));
    }
    range.all_refused(rows).await;
}
