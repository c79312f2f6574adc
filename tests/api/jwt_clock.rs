//! Clocks that differ: what is forgiven at `exp`, `nbf` and `iat`, and what is not.
//!
//! The service looks at its clock a little after the test did, so the sides that time itself moves a token to are tested to the second,
//! the others with a few seconds to spare. To the second on both sides: `authenticate::verified`.

use crate::support::{Token, World, now};

fn with_leeway(seconds: i64) -> World {
    World::with(|config| config.set("identity.jwt.main.leeway_seconds", &seconds.to_string()))
}

async fn expect(world: &World, token: Token, status: u16, code: &str) {
    let claims = token.claims.clone();
    let answer = world.service.mint(&token.build()).await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "at {}: {claims}", now());
}

#[tokio::test]
async fn an_expired_token_is_good_for_the_leeway_and_not_a_second_longer() {
    for leeway in [0, 30, 60] {
        let world = with_leeway(leeway);
        let token = |ago: i64| world.issuer.token("canary-user-alice").claim("iat", now() - 600).claim("exp", now() - ago);
        for ago in [leeway, leeway + 1, leeway + 600] {
            expect(&world, token(ago), 401, "token_expired").await;
        }
        expect(&world, token(leeway - 10), 200, "").await;
    }
}

#[tokio::test]
async fn a_token_of_the_future_is_good_within_the_leeway_and_not_before() {
    for leeway in [0, 30, 60] {
        let world = with_leeway(leeway);
        for name in ["nbf", "iat"] {
            let token = |ahead: i64| world.issuer.token("canary-user-alice").claim(name, now() + ahead);
            for ahead in [leeway, leeway - 1, -600] {
                expect(&world, token(ahead), 200, "").await;
            }
            for ahead in [leeway + 10, leeway + 600] {
                expect(&world, token(ahead), 401, "invalid_token").await;
            }
        }
    }
}

#[tokio::test]
async fn the_later_of_nbf_and_iat_counts() {
    let world = with_leeway(30);
    let token = |nbf: i64, iat: i64| world.issuer.token("canary-user-alice").claim("nbf", now() + nbf).claim("iat", now() + iat);
    expect(&world, token(-60, -60), 200, "").await;
    for (nbf, iat) in [(600, -60), (-60, 600), (600, 600)] {
        expect(&world, token(nbf, iat), 401, "invalid_token").await;
    }
}

#[tokio::test]
async fn a_token_that_is_expired_and_not_yet_good_is_expired() {
    let world = with_leeway(30);
    expect(
        &world,
        world.issuer.token("canary-user-alice").claim("nbf", now() + 600).claim("exp", now() - 600),
        401,
        "token_expired",
    )
    .await;
}

#[tokio::test]
async fn times_at_the_edge_of_numbers_do_no_harm() {
    let world = with_leeway(60);
    let token = || world.issuer.token("canary-user-alice");
    expect(&world, token().claim("exp", u64::MAX), 200, "").await;
    expect(&world, token().claim("nbf", 0).claim("iat", 0), 200, "").await;
    for name in ["nbf", "iat"] {
        expect(&world, token().claim(name, u64::MAX), 401, "invalid_token").await;
        expect(&world, token().claim(name, i64::MIN), 401, "invalid_token").await;
    }
    expect(&world, token().claim("exp", i64::MIN), 401, "invalid_token").await;
}
