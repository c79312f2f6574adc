//! A session in the flat form of the API before v1, which Azure's preview versions still speak (`openapi.yaml`,
//! `RealtimeSessionCreateRequest`).

use serde_json::{Map, Value};

/// Where each field of today's form was before, by its path. Fields that are not here had no place.
const PLACES: [(&[&str], &str); 13] = [
    (&["model"], "model"),
    (&["instructions"], "instructions"),
    (&["output_modalities"], "modalities"),
    (&["tools"], "tools"),
    (&["tool_choice"], "tool_choice"),
    (&["max_output_tokens"], "max_response_output_tokens"),
    (&["audio", "input", "format"], "input_audio_format"),
    (&["audio", "input", "transcription"], "input_audio_transcription"),
    (&["audio", "input", "noise_reduction"], "input_audio_noise_reduction"),
    (&["audio", "input", "turn_detection"], "turn_detection"),
    (&["audio", "output", "format"], "output_audio_format"),
    (&["audio", "output", "voice"], "voice"),
    (&["audio", "output", "speed"], "speed"),
];

/// Whether what is at this path, or above it, had a place before.
pub(crate) fn has_place(path: &[String]) -> bool {
    PLACES.iter().any(|(place, _)| place.iter().zip(path).all(|(ours, theirs)| ours == theirs) && path.len() >= place.len())
}

/// The session in the flat form. `Err` is the JSON pointer of a field or value that had none.
pub(crate) fn flat(session: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut flat = Map::new();
    for (key, value) in session.iter().filter(|(key, _)| *key != "type") {
        lay(value, &mut vec![key], &mut flat)?;
    }
    Ok(flat)
}

fn lay<'a>(value: &'a Value, path: &mut Vec<&'a str>, flat: &mut Map<String, Value>) -> Result<(), String> {
    let pointer = |path: &[&str]| format!("/{}", path.join("/"));
    if let Some((_, name)) = PLACES.iter().find(|(place, _)| place == path) {
        let value = match *name {
            "modalities" => modalities(value),
            "input_audio_format" | "output_audio_format" => format_name(value),
            // One that a voice was made for has an id.
            "voice" => value.is_string().then(|| value.clone()),
            _ => Some(value.clone()),
        };
        flat.insert((*name).to_owned(), value.ok_or_else(|| pointer(path))?);
        return Ok(());
    }
    let is_above = PLACES.iter().any(|(place, _)| place.starts_with(path));
    let (true, Value::Object(fields)) = (is_above, value) else { return Err(pointer(path)) };
    for (key, value) in fields {
        path.push(key);
        lay(value, path, flat)?;
        path.pop();
    }
    Ok(())
}

/// Sound came with its text.
fn modalities(value: &Value) -> Option<Value> {
    match value.as_array()?.as_slice() {
        [Value::String(only)] if only == "audio" => Some(Value::from(["audio", "text"].map(Value::from).to_vec())),
        [Value::String(only)] if only == "text" => Some(value.clone()),
        _ => None,
    }
}

fn format_name(value: &Value) -> Option<Value> {
    let rate = value.get("rate").and_then(Value::as_u64);
    match value.get("type")?.as_str()? {
        "audio/pcm" if rate.is_none_or(|rate| rate == 24_000) => Some("pcm16".into()),
        "audio/pcmu" => Some("g711_ulaw".into()),
        "audio/pcma" => Some("g711_alaw".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{flat, has_place};

    fn of(session: &Value) -> Result<Value, String> {
        flat(session.as_object().unwrap_or(&Map::new())).map(Value::Object)
    }

    #[test]
    fn every_field_goes_to_its_place_of_before() {
        let session = json!({
            "type": "realtime", "model": "voice", "instructions": "be kind", "output_modalities": ["audio"], "tools": [{"type": "function"}],
            "tool_choice": "auto", "max_output_tokens": "inf",
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 24000}, "transcription": {"model": "whisper"}, "noise_reduction": null, "turn_detection": {"type": "server_vad"}},
                "output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.25},
            },
        });
        let before = json!({
            "model": "voice", "instructions": "be kind", "modalities": ["audio", "text"], "tools": [{"type": "function"}], "tool_choice": "auto",
            "max_response_output_tokens": "inf", "input_audio_format": "pcm16", "input_audio_transcription": {"model": "whisper"},
            "input_audio_noise_reduction": null, "turn_detection": {"type": "server_vad"}, "output_audio_format": "g711_ulaw", "voice": "marin",
            "speed": 1.25,
        });
        assert_eq!(of(&session), Ok(before));
        assert_eq!(of(&json!({"output_modalities": ["text"], "audio": {}})), Ok(json!({"modalities": ["text"]})));
    }

    #[test]
    fn what_had_no_place_is_named() {
        for (session, pointer) in [
            (json!({"truncation": "auto"}), "/truncation"),
            (json!({"prompt": {"id": "p"}}), "/prompt"),
            (json!({"audio": null}), "/audio"),
            (json!({"audio": {"input": {"gain": 1}}}), "/audio/input/gain"),
            (json!({"audio": {"output": {"voice": {"id": "voice_1"}}}}), "/audio/output/voice"),
            (json!({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}), "/audio/input/format"),
            (json!({"output_modalities": ["audio", "text"]}), "/output_modalities"),
        ] {
            assert_eq!(of(&session), Err(pointer.to_owned()), "{session}");
        }
    }

    #[test]
    fn clients_may_set_what_had_a_place_and_what_is_inside() {
        let path = |pointer: &str| pointer.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
        for good in ["/instructions", "/audio/output/voice", "/audio/input/turn_detection/threshold"] {
            assert!(has_place(&path(good)), "{good}");
        }
        for bad in ["/truncation", "/audio", "/audio/input/gain", "/reasoning/effort"] {
            assert!(!has_place(&path(bad)), "{bad}");
        }
    }
}
