//! An opaque token that is bound to a key (RFC 9449, section 6.2).

use reqwest::Method;
use serde_json::json;

use crate::holder::{Holder, challenge, expect_challenge, hash, public, thumbprint};
use crate::support::{Algorithm, Introspector, Key, MINT, World, active};

const TOKENS: [&str; 2] = ["opaque-token-of-type-dpop", "opaque-token-of-type-bearer"];

/// The server says of both tokens that they are bound to this key.
fn bound(server: &Introspector, key: &Key) {
    for (token, kind) in TOKENS.into_iter().zip(["DPoP", "Bearer"]) {
        let mut answer = active("alice");
        answer["cnf"] = json!({"jkt": thumbprint(&public(key))});
        answer["token_type"] = json!(kind);
        server.says(token, answer);
    }
}

#[tokio::test]
async fn a_bound_opaque_token_mints_with_a_proof_of_its_key_for_it_alone() {
    let server = Introspector::start();
    let world = World::with(|config| config.without("identity").introspection("legacy", &server));
    let key = Key::new("proof", Algorithm::ES256);
    bound(&server, &key);
    let holders = TOKENS.map(|token| Holder { key: key.clone(), token: token.to_owned() });
    for (holder, other) in [(&holders[0], &holders[1]), (&holders[1], &holders[0])] {
        // Also once the answer is remembered.
        for _ in 0..2 {
            let answer = world.service.mint(&holder.token).await;
            expect_challenge(&answer, "invalid_token", &challenge("invalid_token"));
            let as_bearer = world.service.call(Method::POST, MINT).bearer(&holder.token);
            let answer = as_bearer.header("dpop", &holder.proof(&world).build()).send().await;
            expect_challenge(&answer, "invalid_token", &challenge("invalid_token"));
            let thief = Holder { key: Key::new("proof", Algorithm::ES256), token: holder.token.clone() };
            for proof in [
                thief.proof(&world),
                other.proof(&world),
                holder.proof(&world).claim("ath", hash("another")),
                holder.proof(&world).without("ath"),
            ] {
                let answer = holder.mint(&world, &proof.build()).await;
                expect_challenge(&answer, "invalid_token", &challenge("invalid_dpop_proof"));
            }
            let proof = holder.proof(&world).build();
            holder.mint(&world, &proof).await.expect_minted();
            expect_challenge(&holder.mint(&world, &proof).await, "invalid_token", &challenge("invalid_dpop_proof"));
        }
    }
    assert_eq!((world.upstream.count(), server.count()), (4, 2));
}
