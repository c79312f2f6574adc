//! Tokens that are not in the one canonical form: encodings, segments, signatures, sizes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;

use crate::range::{Range, row};
use crate::support::base64url;

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The same bytes with unused bits set in the last letter.
fn with_trailing_bits(segment: &str) -> String {
    assert_ne!(segment.len() % 4, 0, "no unused bits in {segment}");
    let last = segment.bytes().last().expect("a letter");
    let at = ALPHABET.iter().position(|it| *it == last).expect("base64url");
    format!("{}{}", &segment[..segment.len() - 1], char::from(ALPHABET[at + 1]))
}

/// Signs two segments that are already encoded, one way or another.
fn sign(range: &Range, header: &str, payload: &str) -> String {
    let message = format!("{header}.{payload}");
    let signature = range.world.issuer.keys[0].sign(message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

/// A good token whose named segment has unused bits.
fn uneven(range: &Range, segment: usize) -> Vec<String> {
    (0..4)
        .map(|pad| range.token().claim("pad", "x".repeat(pad)).head("pad", "x".repeat(pad)).build())
        .map(|token| token.split('.').map(str::to_owned).collect::<Vec<_>>())
        .find(|parts| parts[segment].len() % 4 != 0)
        .expect("one of four lengths is uneven")
}

#[tokio::test]
async fn other_encodings_of_the_same_bytes_are_refused() {
    let range = Range::start();
    let token = range.token().claim("pad", "\u{3ff}\u{3fe}??>>~~").head("pad", "\u{3ff}\u{3fe}??>>~~");
    let standard = |text: String| STANDARD_NO_PAD.encode(text);
    let (header, payload) = (standard(token.header.to_string()), standard(token.claims.to_string()));
    assert!(header.contains(['+', '/']) && payload.contains(['+', '/']), "the test needs letters in which the alphabets differ");
    let good = token.build();
    let parts: Vec<_> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let (uh, up) = (uneven(&range, 0), uneven(&range, 1));
    let rows = vec![
        row("the header in the standard alphabet", sign(&range, &header, p)),
        row("the payload in the standard alphabet", sign(&range, h, &payload)),
        row("padding of the header", sign(&range, &format!("{}==", uh[0]), &uh[1])),
        row("padding of the payload", sign(&range, &up[0], &format!("{}==", up[1]))),
        row("padding of the signature", format!("{good}==")),
        row("unused bits of the header", sign(&range, &with_trailing_bits(&uh[0]), &uh[1])),
        row("unused bits of the payload", sign(&range, &up[0], &with_trailing_bits(&up[1]))),
        row("unused bits of the signature", format!("{h}.{p}.{}", with_trailing_bits(s))),
        row("a space in the payload", sign(&range, h, &format!("{} {}", &p[..8], &p[8..]))),
        row("a tab in the signature", format!("{h}.{p}.{}\t{}", &s[..8], &s[8..])),
        row("a percent sign", good.replace('.', "%2E")),
        row("a letter beyond ASCII", format!("{h}.{p}.{s}\u{e9}")),
    ];
    range.all_accepted(vec![row("as it should be", good.clone())]).await;
    range.all_refused(rows).await;
}

#[tokio::test]
async fn a_token_has_three_segments() {
    let range = Range::start();
    let good = range.token().build();
    let parts: Vec<_> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let rows = vec![
        row("one", h.to_owned()),
        row("two", format!("{h}.{p}")),
        row("four", format!("{h}.{p}.{s}.{s}")),
        row("five", format!("{h}.{p}.{s}.{s}.{s}")),
        row("four, the last empty", format!("{good}.")),
        row("an empty one in front", format!(".{good}")),
        row("no header", format!(".{p}.{s}")),
        row("no payload", format!("{h}..{s}")),
        row("no signature", format!("{h}.{p}.")),
        row("points only", ".."),
        row("a JWE", format!("{}.{p}.{s}.{p}.{s}", base64url(r#"{"alg":"dir","enc":"A256GCM"}"#))),
        row("a JWE with a password and a count that takes an hour", {
            let header = base64url(r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2s":"AAAA","p2c":2147483647}"#);
            format!("{header}.{p}.{s}.{p}.{s}")
        }),
        row("the count in three segments", {
            format!("{}.{p}.{s}", base64url(r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2s":"AAAA","p2c":2147483647}"#))
        }),
        row(
            "JSON serialisation around a good token",
            json!({"payload": p, "signatures": [{"protected": h, "signature": s}]}).to_string(),
        ),
        row("a good token inside JSON", format!("{{\"a\":\"{good}\"}}")),
        row("JSON serialisation", json!({"protected": h, "payload": p, "signature": s}).to_string()),
        row("two tokens", format!("{good}{good}")),
        row("words", "this is not a token"),
        row("a UUID", uuid::Uuid::now_v7().to_string()),
    ];
    range.all_refused(rows).await;
}

#[tokio::test]
async fn header_and_payload_are_json_objects_and_nothing_else() {
    let range = Range::start();
    let token = range.token();
    let (header, claims) = (token.header.to_string(), token.claims.to_string());
    let deep = format!("{},\"deep\":{}1{}}}", claims.trim_end_matches('}'), "[".repeat(1500), "]".repeat(1500));
    let deep_header = format!("{},\"deep\":{}1{}}}", header.trim_end_matches('}'), "[".repeat(1500), "]".repeat(1500));
    let utf16: Vec<u8> = claims.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let build = |header: &[u8], claims: &[u8]| token.build_from(header, claims);
    let mut rows = vec![
        row("deep claims", build(header.as_bytes(), deep.as_bytes())),
        row("a deep header", build(deep_header.as_bytes(), claims.as_bytes())),
        row("claims in UTF-16", build(header.as_bytes(), &utf16)),
        row(
            "claims that are not UTF-8",
            build(
                header.as_bytes(),
                claims
                    .replace("mallory", "\u{1}")
                    .replace('\u{1}', "mal")
                    .as_bytes()
                    .iter()
                    .map(|it| if *it == b'm' { 0xff } else { *it })
                    .collect::<Vec<_>>()
                    .as_slice(),
            ),
        ),
        row("an array of one header", build(format!("[{header}]").as_bytes(), claims.as_bytes())),
        row("an array of one set of claims", build(header.as_bytes(), format!("[{claims}]").as_bytes())),
        row("a byte order mark before the header", build(format!("\u{feff}{header}").as_bytes(), claims.as_bytes())),
        row("a byte order mark before the claims", build(header.as_bytes(), format!("\u{feff}{claims}").as_bytes())),
        row("more after the header", build(format!("{header}{{}}").as_bytes(), claims.as_bytes())),
        row("more after the claims", build(header.as_bytes(), format!("{claims}{{}}").as_bytes())),
        row("a null byte after the claims", build(header.as_bytes(), format!("{claims}\0").as_bytes())),
        row("a comment in the claims", build(header.as_bytes(), format!("/* */{claims}").as_bytes())),
        row("claims cut off", build(header.as_bytes(), &claims.as_bytes()[..claims.len() - 1])),
        row("a header cut off", build(&header.as_bytes()[..header.len() - 1], claims.as_bytes())),
    ];
    for text in ["", " ", "null", "true", "1", "\"text\"", "[]", "{}", "not json"] {
        rows.push(row(&format!("header {text:?}"), build(text.as_bytes(), claims.as_bytes())));
        rows.push(row(&format!("claims {text:?}"), build(header.as_bytes(), text.as_bytes())));
    }
    range.all_refused(rows).await;
}

#[tokio::test]
async fn what_is_nested_or_compressed_is_not_opened() {
    let range = Range::start();
    let token = range.token();
    let inner = token.build();
    let nested = token.clone().head("cty", "JWT");
    let header = |token: &crate::support::Token| token.header.to_string();
    let claims = token.claims.to_string();
    let length = u16::try_from(claims.len()).expect("short claims");
    // A stored block of DEFLATE (RFC 1951, section 3.2.4).
    let deflated = [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), claims.as_bytes()].concat();
    let rows = vec![
        row("a token as the payload", token.build_from(header(&nested).as_bytes(), inner.as_bytes())),
        row("a token as a JSON text", token.build_from(header(&nested).as_bytes(), json!(inner).to_string().as_bytes())),
        row("a token in a claim", nested.build_from(header(&nested).as_bytes(), json!({"jwt": inner}).to_string().as_bytes())),
        row("compressed", token.build_from(header(&token.clone().head("zip", "DEF")).as_bytes(), &deflated)),
        row("compressed, unsaid", token.build_from(header(&token).as_bytes(), &deflated)),
        row(
            "without payload, as detached",
            format!("{}..{}", base64url(header(&token)), inner.rsplit('.').next().expect("a signature")),
        ),
    ];
    range.all_refused(rows).await;
}

#[tokio::test]
async fn enormous_tokens_are_refused() {
    let range = Range::start();
    let rows = vec![
        row("80 KB of claims", range.token().claim("pad", "x".repeat(60_000)).build()),
        row("80 KB of header", range.token().head("pad", "x".repeat(60_000)).build()),
        row("80 KB of signature", format!("{}.{}", range.token().message(), "A".repeat(80_000))),
        row("80 KB of one segment", "A".repeat(80_000)),
        row("80 KB of points", ".".repeat(80_000)),
    ];
    range.all_refused(rows).await;
}
