//! Signatures that are not exactly what the key made of exactly these bytes.

use crate::range::{Range, row};
use crate::support::{Algorithm, Token, World, assemble, base64url};

#[tokio::test]
async fn the_signature_is_exactly_the_keys_own() {
    let range = Range::start();
    let token = range.token();
    let message = token.message();
    let key = &range.world.issuer.keys[0];
    let signature = key.sign(message.as_bytes());
    let with = |bytes: &[u8]| format!("{message}.{}", base64url(bytes));
    let mut flipped = signature.clone();
    flipped[10] ^= 1;
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).expect("hex")).collect();
    let rsa = range.token_of(Algorithm::RS256);
    let rsa_signature = range.world.issuer.key(Algorithm::RS256).sign(rsa.message().as_bytes());
    let ed = range.token_of(Algorithm::EdDSA);
    let rows = vec![
        row("DER", with(&key.sign_der(message.as_bytes()))),
        row("r and s are zero", with(&[0; 64])),
        row("r and s are the order of the group", with(&[order.clone(), order.clone()].concat())),
        row("r is the order, s is zero", with(&[order, vec![0; 32]].concat())),
        row("truncated by a byte", with(&signature[..63])),
        row("half", with(&signature[..32])),
        row("a byte more", with(&[signature.as_slice(), &[0]].concat())),
        row("a byte in front", with(&[&[0], signature.as_slice()].concat())),
        row("twice", with(&signature.repeat(2))),
        row("a bit flipped", with(&flipped)),
        row("of other bytes", with(&key.sign(b"something else"))),
        row("RSA, truncated", format!("{}.{}", rsa.message(), base64url(&rsa_signature[..255]))),
        row("RSA, a zero in front", format!("{}.{}", rsa.message(), base64url([&[0], rsa_signature.as_slice()].concat()))),
        row("RSA, all zero", format!("{}.{}", rsa.message(), base64url([0; 256]))),
        row("RSA, one", format!("{}.{}", rsa.message(), base64url([vec![0; 255], vec![1]].concat()))),
        row("Ed25519, all zero", format!("{}.{}", ed.message(), base64url([0; 64]))),
        row(
            "Ed25519, of another message",
            format!("{}.{}", ed.message(), token.build().rsplit('.').next().expect("a signature")),
        ),
    ];
    range.all_refused(rows).await;
}

#[tokio::test]
async fn a_change_of_any_signed_part_is_noticed() {
    let range = Range::start();
    let good = range.token().build();
    range.all_accepted(vec![row("unchanged", good.clone())]).await;
    let parts: Vec<_> = good.split('.').collect();
    let elevated = range.token().claim("sub", "canary-user-root").build();
    let elevated: Vec<_> = elevated.split('.').collect();
    let mut rows = vec![
        row("another payload under the same signature", format!("{}.{}.{}", parts[0], elevated[1], parts[2])),
        row("another signature after an accepted prefix", format!("{}.{}.{}", parts[0], parts[1], elevated[2])),
        row("an accepted token with more behind it", format!("{good}A")),
        row("an accepted token with less", good[..good.len() - 4].to_owned()),
    ];
    for at in [3, parts[0].len() / 2, parts[0].len() + 5, parts[0].len() + parts[1].len() / 2, good.len() - 20] {
        let mut letters: Vec<char> = good.chars().collect();
        if letters[at] == '.' {
            continue;
        }
        letters[at] = if letters[at] == 'A' { 'B' } else { 'A' };
        rows.push(row(&format!("letter {at} changed"), letters.into_iter().collect::<String>()));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn verifying_every_token_gives_the_same_answers() {
    let world = World::with(|config| config.set("identity.verified_token_seconds", "0"));
    let good = world.bearer("alice");
    for _ in 0..2 {
        world.service.mint(&good).await.expect_minted();
        let forged = format!("{}AAAA", &good[..good.len() - 4]);
        world.service.mint(&forged).await.expect_problem(401, "invalid_token");
    }
    let unsigned: Token = world.issuer.token("canary-user-alice").head("alg", "none");
    let unsigned = assemble(unsigned.header.to_string().as_bytes(), unsigned.claims.to_string().as_bytes(), |_| Vec::new());
    world.service.mint(&unsigned).await.expect_problem(401, "invalid_token");
}
