//! The upstream's answer to a mint (`openapi.yaml`, `RealtimeCreateClientSecretResponse`), read strictly.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::secret::EphemeralToken;
use crate::domain::ttl::Ttl;

/// Difference between the upstream's clock and ours that is forgiven.
pub(crate) const CLOCK_SLACK_SECONDS: u64 = 5;
const MAX_SECRET: usize = 4096;
const PERMANENT_KEY: &str = "sk-";

/// The fields of the upstream's echo that are anybody's business. Instructions, tools, prompts, MCP authorization and whatever else the
/// upstream may add one day have no field here, so they cannot go out.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct PublicSession {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_modalities: Option<Vec<Box<str>>>,
    #[serde(skip_serializing_if = "PublicAudio::says_nothing", default)]
    audio: Option<PublicAudio>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
struct PublicAudio {
    output: Option<PublicOutput>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
struct PublicOutput {
    voice: Option<Voice>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
enum Voice {
    Named(Box<str>),
    Custom { id: Box<str> },
}

impl PublicAudio {
    #[expect(clippy::ref_option, reason = "serde's signature")]
    fn says_nothing(audio: &Option<Self>) -> bool {
        audio.as_ref().and_then(|audio| audio.output.as_ref()).is_none_or(|output| output.voice.is_none())
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) token: EphemeralToken,
    pub(super) expires_at: u64,
    pub(super) session: PublicSession,
}

#[derive(Deserialize)]
struct RawAnswer {
    value: String,
    expires_at: u64,
    session: PublicSession,
}

/// Of Azure's preview versions: a session of the form before v1, with the secret in it.
#[derive(Deserialize)]
struct RawPreview {
    id: Option<Box<str>>,
    model: Option<Box<str>>,
    voice: Option<Voice>,
    client_secret: RawSecret,
}

#[derive(Deserialize)]
struct RawSecret {
    value: String,
    expires_at: Option<u64>,
}

/// Reads an answer. The error says what is wrong with it and quotes nothing of it.
pub(super) fn read(body: &[u8], now: u64, asked: Ttl) -> Result<Answer, &'static str> {
    let raw: RawAnswer = parse(body)?;
    judge(raw.value, raw.expires_at, raw.session, now, asked)
}

/// Of Azure, whose pages show no more of it than the value.
#[derive(Deserialize)]
struct RawAzure {
    value: String,
    expires_at: Option<u64>,
    session: Option<PublicSession>,
}

/// Reads an answer of Azure. One that does not say when the secret expires is believed to keep to what was asked for.
pub(super) fn read_azure(body: &[u8], now: u64, asked: Ttl) -> Result<Answer, &'static str> {
    let RawAzure { value, expires_at, session } = parse(body)?;
    judge(value, expires_at.unwrap_or(now + asked.seconds()), session.unwrap_or_default(), now, asked)
}

/// Reads an answer of Azure's preview versions. Their secrets live a minute, or as long as the answer says, at most as long as any secret.
pub(super) fn read_preview(body: &[u8], now: u64) -> Result<Answer, &'static str> {
    let RawPreview { id, model, voice, client_secret } = parse(body)?;
    let session = PublicSession {
        kind: Some("realtime".into()),
        object: Some("realtime.session".into()),
        id,
        model,
        output_modalities: None,
        audio: Some(PublicAudio { output: Some(PublicOutput { voice }) }),
    };
    judge(client_secret.value, client_secret.expires_at.unwrap_or(now + Ttl::MIN.seconds()), session, now, Ttl::MAX)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, &'static str> {
    // Checked as a whole, which costs less than string by string.
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not text")?;
    serde_json::from_str(text).map_err(|_| "the answer is not of the documented form")
}

fn judge(value: String, expires_at: u64, session: PublicSession, now: u64, most: Ttl) -> Result<Answer, &'static str> {
    let token = EphemeralToken::from(value);
    let well_formed = |text: &str| (1..=MAX_SECRET).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !well_formed(token.reveal_to_owner()) {
        return Err("the answer holds no usable client secret");
    }
    // Whatever made the upstream send one, a permanent key never goes on.
    if token.reveal_to_owner().starts_with(PERMANENT_KEY) {
        return Err("the answer holds a permanent key in place of a client secret");
    }
    if expires_at <= now {
        return Err("the client secret has expired already; compare this machine's clock with the upstream's");
    }
    if expires_at > now + most.seconds() + CLOCK_SLACK_SECONDS {
        return Err("the client secret lives longer than was asked for");
    }
    Ok(Answer { token, expires_at, session })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Ttl, read, read_azure, read_preview};

    fn answer(change: impl FnOnce(&mut Value)) -> Result<Value, &'static str> {
        let mut answer = json!({"value": "ek_1", "expires_at": 1060, "session": {
            "type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "m", "output_modalities": ["audio"], "instructions": "canary",
            "tools": [{"type": "mcp", "authorization": "canary"}], "prompt": {"id": "canary"}, "expires_at": 0, "audio": {"input": {"format": "canary"}, "output": {"voice": "marin", "speed": 1}}}});
        change(&mut answer);
        read(answer.to_string().as_bytes(), 1000, Ttl::MIN).map(|answer| serde_json::to_value(&answer.session).unwrap())
    }

    #[test]
    fn only_public_fields_are_kept() {
        let session = answer(|_| {}).unwrap();
        assert_eq!(
            session,
            json!({"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "m", "output_modalities": ["audio"], "audio": {"output": {"voice": "marin"}}})
        );
        let custom = answer(|a| a["session"]["audio"]["output"]["voice"] = json!({"id": "voice_1", "secret": "canary"})).unwrap();
        assert_eq!(custom["audio"]["output"]["voice"], json!({"id": "voice_1"}));
        let transcription = answer(|a| a["session"] = json!({"type": "transcription", "audio": {"input": {}}})).unwrap();
        assert_eq!(transcription, json!({"type": "transcription"}));
    }

    #[test]
    fn azure_may_leave_out_what_its_pages_do_not_show() {
        let answer = |body: Value| read_azure(body.to_string().as_bytes(), 1000, Ttl::MIN);
        let least = answer(json!({"value": "ek_1"})).unwrap();
        assert_eq!((least.expires_at, serde_json::to_value(&least.session).unwrap()), (1060, json!({})));
        assert_eq!(answer(json!({"value": "ek_1", "expires_at": 1030})).unwrap().expires_at, 1030);
        for body in [
            json!({}),
            json!({"value": "ek_1", "expires_at": 1066}),
            json!({"value": "sk-proj-1"}),
            json!({"value": "ek_1", "session": 1}),
        ] {
            assert!(answer(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_preview_version_gives_a_minute_or_says_how_long() {
        let answer = |secret: Value| read_preview(json!({"id": "sess_1", "client_secret": secret}).to_string().as_bytes(), 1000);
        assert_eq!(answer(json!({"value": "ek_1"})).unwrap().expires_at, 1060);
        assert_eq!(answer(json!({"value": "ek_1", "expires_at": 1120})).unwrap().expires_at, 1120);
        for secret in [
            json!({}),
            json!({"value": "ek_1", "expires_at": 1000}),
            json!({"value": "ek_1", "expires_at": 1606}),
            json!({"value": ""}),
        ] {
            assert!(answer(secret.clone()).is_err(), "{secret}");
        }
    }

    #[test]
    fn an_answer_without_a_secret_that_fits_the_ask_is_refused() {
        for (what, change) in [
            ("no value", (|a| drop(a.as_object_mut().unwrap().remove("value"))) as fn(&mut Value)),
            ("empty value", |a| a["value"] = json!("")),
            ("null value", |a| a["value"] = Value::Null),
            ("value with a line break", |a| a["value"] = json!("ek_\r\nx: y")),
            ("a permanent key", |a| a["value"] = json!("sk-proj-1")),
            ("no session", |a| drop(a.as_object_mut().unwrap().remove("session"))),
            ("session is text", |a| a["session"] = json!("x")),
            ("expired", |a| a["expires_at"] = json!(1000)),
            ("too long", |a| a["expires_at"] = json!(1066)),
            ("expiry is text", |a| a["expires_at"] = json!("1060")),
            ("negative expiry", |a| a["expires_at"] = json!(-1)),
        ] {
            assert!(answer(change).is_err(), "{what}");
        }
        assert!(answer(|a| a["expires_at"] = json!(1065)).is_ok());
    }
}
