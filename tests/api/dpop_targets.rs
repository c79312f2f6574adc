//! Which URL a proof is for, and the routes that ask for one.

use reqwest::Method;

use crate::holder::{Holder, challenge, expect_challenge};
use crate::support::{MINT, World};

const PUBLIC: &str = "https://voice.example.com/talk";

#[tokio::test]
async fn the_url_is_compared_and_not_its_spelling() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let here = world.service.public();
    for htu in [
        format!("http://{here}{MINT}"),
        format!("HTTP://{here}{MINT}"),
        format!("https://{here}{MINT}"),
        format!("http://{here}{MINT}?profile=default#top"),
        format!("http://{here}/v1/%72ealtime/client%5Fsecrets"),
        format!("http://{here}/v1/x/../realtime/./client_secrets"),
    ] {
        let answer = holder.mint(&world, &holder.proof(&world).claim("htu", htu.as_str()).build()).await;
        assert_eq!(answer.status, 200, "{htu}: {answer}");
    }
    let call = world.service.call(Method::POST, &format!("{MINT}?profile=default"));
    call.proven(&holder.token, &holder.proof(&world).build()).send().await.expect_minted();
}

#[tokio::test]
async fn with_a_public_url_that_one_counts_and_no_other() {
    let world = World::with(|config| config.set("server.public_url", &format!("{PUBLIC:?}")));
    let holder = Holder::new(&world, "alice");
    let here = world.service.public();
    for htu in [
        format!("http://{here}{MINT}"),
        format!("https://{here}{MINT}"),
        format!("https://voice.example.com{MINT}"),
        format!("http://voice.example.com/talk{MINT}"),
        format!("https://voice.example.com:8443/talk{MINT}"),
        format!("https://voice.example.com/talk/{MINT}"),
    ] {
        let answer = holder.mint(&world, &holder.proof(&world).claim("htu", htu.as_str()).build()).await;
        expect_challenge(&answer, "invalid_token", &challenge("invalid_dpop_proof"));
    }
    // What a caller says of the host is of no account, nor what a proxy may have said.
    for header in ["host", "x-forwarded-host", "forwarded"] {
        let proof = holder.proof(&world).claim("htu", format!("https://evil.example/talk{MINT}")).build();
        let call = world.service.call(Method::POST, MINT).proven(&holder.token, &proof);
        let value = if header == "forwarded" { "host=evil.example;proto=https" } else { "evil.example" };
        expect_challenge(&call.header(header, value).send().await, "invalid_token", &challenge("invalid_dpop_proof"));
    }
    assert_eq!(world.upstream.count(), 0);
    for htu in [format!("{PUBLIC}{MINT}"), format!("https://VOICE.example.com:443/talk{MINT}?x")] {
        let proof = holder.proof(&world).claim("htu", htu.as_str()).build();
        holder.mint(&world, &proof).await.expect_minted();
    }
}

#[tokio::test]
async fn a_host_header_cannot_stand_for_a_path() {
    let world = World::start();
    let holder = Holder::new(&world, "mallory");
    for host in ["voice.example.com/v1/sessions?", "voice.example.com/v1/sessions#", "a@voice.example.com", "", "a, b"] {
        let proof = holder.proof(&world).claim("htu", "http://voice.example.com/v1/sessions").build();
        let request = format!(
            "POST {MINT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {}\r\nDPoP: {proof}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            holder.token
        );
        let answer = world.service.raw().ask(request.as_bytes());
        assert!([400, 401].contains(&answer.status), "{host:?}: {answer}");
    }
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn every_route_of_users_asks_for_a_proof_of_its_own() {
    let world = World::start();
    let holder = Holder::new(&world, "alice");
    let session = holder.mint(&world, &holder.proof(&world).build()).await.expect_session();
    let own = format!("/v1/sessions/{session}");
    for (method, path, status) in [
        (Method::GET, "/v1/sessions", 200),
        (Method::HEAD, "/v1/sessions", 200),
        (Method::GET, own.as_str(), 200),
        (Method::DELETE, own.as_str(), 204),
    ] {
        let call = || world.service.call(method.clone(), path);
        call().bearer(&holder.token).send().await.expect(401);
        for (other, elsewhere) in [("POST", path), (method.as_str(), MINT)] {
            let proof = holder.proof_for(&world, other, elsewhere).build();
            call().proven(&holder.token, &proof).send().await.expect(401);
        }
        let proof = holder.proof_for(&world, method.as_str(), path).build();
        call().proven(&holder.token, &proof).send().await.expect(status);
        call().proven(&holder.token, &proof).send().await.expect(401);
    }
    let path = "/v1/realtime/translations/client_secrets";
    let proof = holder.proof_for(&world, "POST", path).build();
    let answer = world.service.call(Method::POST, path).proven(&holder.token, &proof).send().await;
    answer.expect_problem(403, "profile_forbidden");
}
