//! Deliveries of the provider's webhook, signed as Standard Webhooks 1.0.0 has it (github.com/standard-webhooks/standard-webhooks,
//! `spec/standard-webhooks.md`, "Signature scheme", "Webhook headers", "Verifying signatures").

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::clock::SharedClock;
use crate::domain::live::Live;

/// Seconds by which a delivery's timestamp may differ from our clock, on both sides; what `OpenAI`'s SDKs allow (`webhooks.unwrap`).
const TOLERANCE: u64 = 300;
/// Characters of a delivery's name.
const MOST_NAME: usize = 256;

/// What a delivery says of itself, as it was sent.
pub(crate) struct Envelope<'a> {
    /// `webhook-id`
    pub(crate) id: &'a [u8],
    /// `webhook-timestamp`
    pub(crate) timestamp: &'a [u8],
    /// `webhook-signature`
    pub(crate) signatures: &'a [u8],
}

/// A delivery that is the provider's own. Only [`Sender::verify`] can make one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    id: Box<str>,
    body: Box<[u8]>,
}

impl Delivery {
    /// Stays the same however often it is delivered.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Who delivers: known by the secrets that they share with us.
pub(crate) struct Sender {
    keys: Vec<Live<hmac::Key>>,
    clock: SharedClock,
}

impl Sender {
    pub(crate) fn new(keys: Vec<Live<hmac::Key>>, clock: SharedClock) -> Self {
        Self { keys, clock }
    }

    /// `None` unless one of the secrets signed exactly this, just now. `body` is what came over the wire.
    pub(crate) fn verify(&self, envelope: &Envelope<'_>, body: &[u8]) -> Option<Delivery> {
        let id = name(envelope.id)?;
        let sent_at = seconds(envelope.timestamp)?;
        if self.clock.unix().abs_diff(sent_at) > TOLERANCE {
            return None;
        }
        let signatures = std::str::from_utf8(envelope.signatures).ok()?;
        let sent: Vec<_> = signatures.split(' ').filter_map(signature).collect();
        let mut is_good = false;
        for key in &self.keys {
            let mut signed = hmac::Context::with_key(&key.get());
            for part in [envelope.id, b".", envelope.timestamp, b".", body] {
                signed.update(part);
            }
            let wanted = signed.sign();
            // All of them, so that how long it takes does not tell which one it was.
            for sent in &sent {
                is_good |= constant_time::verify_slices_are_equal(wanted.as_ref(), sent).is_ok();
            }
        }
        is_good.then(|| Delivery { id: id.into(), body: body.into() })
    }
}

/// Without a full stop: it ends the name in what is signed ("not be allowed to include any `.`").
fn name(id: &[u8]) -> Option<&str> {
    let is_name = (1..=MOST_NAME).contains(&id.len()) && id.iter().all(|b| b.is_ascii_graphic() && *b != b'.');
    std::str::from_utf8(id).ok().filter(|_| is_name)
}

/// Digits alone: `parse` would take a sign too.
fn seconds(timestamp: &[u8]) -> Option<u64> {
    let digits = timestamp.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(timestamp).ok().filter(|_| digits)?.parse().ok()
}

/// One of the list, if it is of the version that shared secrets make. Others (`v1a` is Ed25519's) stand beside it and mean nothing here.
fn signature(entry: &str) -> Option<[u8; 32]> {
    STANDARD.decode(entry.strip_prefix("v1,")?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Live, STANDARD, Sender, hmac};
    use crate::domain::clock::manual::ManualClock;
    use base64::Engine;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: &str = "1614265330";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    /// The secret of the published vector.
    fn key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap())
    }

    fn other() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, b"another secret of thirty-two byt")
    }

    fn is_good(keys: Vec<hmac::Key>, now: u64, id: &str, timestamp: &str, signatures: &str, body: &str) -> bool {
        let envelope = Envelope { id: id.as_bytes(), timestamp: timestamp.as_bytes(), signatures: signatures.as_bytes() };
        Sender::new(keys.into_iter().map(Live::new).collect(), ManualClock::at(now)).verify(&envelope, body.as_bytes()).is_some()
    }

    /// The vector of the reference libraries of Standard Webhooks (`libraries/go/webhook_test.go`, `TestWebhookSign`).
    #[test]
    fn the_published_vector_is_good_for_five_minutes_around_its_time() {
        let at = |now| is_good(vec![key()], now, ID, AT, SIGNATURE, BODY);
        for (now, good) in [(0, true), (300, true), (301, false)] {
            assert_eq!((at(1_614_265_330 - now), at(1_614_265_330 + now)), (good, good), "{now}");
        }
        let envelope = Envelope { id: ID.as_bytes(), timestamp: AT.as_bytes(), signatures: SIGNATURE.as_bytes() };
        let delivery =
            Sender::new(vec![Live::new(key())], ManualClock::at(1_614_265_330)).verify(&envelope, BODY.as_bytes()).unwrap();
        assert_eq!((delivery.id(), delivery.body()), (ID, BODY.as_bytes()));
    }

    #[test]
    fn one_of_the_secrets_and_one_of_the_signatures_are_enough() {
        let with = |keys, signatures: &str| is_good(keys, 1_614_265_330, ID, AT, signatures, BODY);
        assert!(with(vec![other(), key()], SIGNATURE) && with(vec![key(), other()], SIGNATURE));
        assert!(!with(vec![other()], SIGNATURE) && !with(Vec::new(), SIGNATURE));
        let junk = "v1,AAAA v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== v1,?";
        assert!(with(vec![key()], &format!("{junk} {SIGNATURE}")) && with(vec![key()], &format!("{SIGNATURE}  {junk}")));
        assert!(!with(vec![key()], junk));
    }

    #[test]
    fn nothing_that_was_signed_may_change() {
        let with = |id: &str, timestamp: &str, signatures: &str, body: &str| {
            is_good(vec![key()], 1_614_265_330, id, timestamp, signatures, body)
        };
        assert!(with(ID, AT, SIGNATURE, BODY));
        for (id, timestamp, signatures, body) in [
            ("msg_p5jXN8AQM9LWM0D4loKWxJel", AT, SIGNATURE, BODY),
            ("", AT, SIGNATURE, BODY),
            (ID, "1614265331", SIGNATURE, BODY),
            (ID, "01614265330", SIGNATURE, BODY),
            (ID, "+1614265330", SIGNATURE, BODY),
            (ID, "1614265330.0", SIGNATURE, BODY),
            (ID, "-1", SIGNATURE, BODY),
            (ID, "", SIGNATURE, BODY),
            (ID, "99999999999999999999999", SIGNATURE, BODY),
            (ID, AT, SIGNATURE, r#"{"test": 2432232315}"#),
            (ID, AT, SIGNATURE, r#"{"test":2432232314}"#),
            (ID, AT, SIGNATURE, ""),
            (ID, AT, "", BODY),
            (ID, AT, "v1,", BODY),
            (ID, AT, "v1", BODY),
            (ID, AT, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", BODY),
            (ID, AT, "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", BODY),
            (ID, AT, "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", BODY),
            (ID, AT, "V1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", BODY),
            (ID, AT, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE", BODY),
            (ID, AT, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=", BODY),
            (ID, AT, "v1,83484cf52b04f8e4cf2531adfed9882ad4b2665137b852442d594d20e2c9d4e1", BODY),
            (ID, AT, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=,v1", BODY),
        ] {
            assert!(!with(id, timestamp, signatures, body), "{id:?} {timestamp:?} {signatures:?} {body:?}");
        }
    }

    #[test]
    fn a_full_stop_cannot_be_moved_from_one_part_to_another() {
        let sign = |text: &str| format!("v1,{}", STANDARD.encode(hmac::sign(&key(), text.as_bytes())));
        let signed = sign("a.1614265330.1614265330.b");
        let with = |id: &str, body: &str| is_good(vec![key()], 1_614_265_330, id, AT, &signed, body);
        assert!(with("a", "1614265330.b") && !with("a.1614265330", "b"));
    }
}
