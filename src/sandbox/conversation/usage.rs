//! Token counts. Plausible, not the tokenizer's: a token for four characters of text, for 100 ms of the user's speech and for 50 ms of
//! the assistant's.

use std::iter::Sum;
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) text: u64,
    pub(super) audio: u64,
}

impl Tokens {
    pub(super) fn total(self) -> u64 {
        self.text + self.audio
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self { text: sum.text + one.text, audio: sum.audio + one.audio })
    }
}

pub(super) fn written(text: &str) -> u64 {
    u64::try_from(text.chars().count().div_ceil(4)).unwrap_or(u64::MAX)
}

pub(super) fn spoken_by_user(audio: Duration) -> u64 {
    tokens_of(audio, 100)
}

pub(super) fn spoken_by_assistant(audio: Duration) -> u64 {
    tokens_of(audio, 50)
}

fn tokens_of(audio: Duration, millis: u128) -> u64 {
    u64::try_from(audio.as_millis().div_ceil(millis)).unwrap_or(u64::MAX)
}

/// `response.usage`. What was input of the response before is cached, in steps of 64 tokens.
pub(super) fn of_response(input: Tokens, before: Tokens, output: Tokens) -> Value {
    let cached = Tokens { text: before.text.min(input.text) / 64 * 64, audio: before.audio.min(input.audio) / 64 * 64 };
    json!({
        "total_tokens": input.total() + output.total(),
        "input_tokens": input.total(),
        "output_tokens": output.total(),
        "input_token_details": {
            "text_tokens": input.text, "audio_tokens": input.audio, "image_tokens": 0, "cached_tokens": cached.total(),
            "cached_tokens_details": {"text_tokens": cached.text, "audio_tokens": cached.audio, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": output.text, "audio_tokens": output.audio},
    })
}

/// `usage` of a transcription: by duration for whisper, by tokens for the others.
pub(super) fn of_transcription(model: &str, audio: Duration, transcript: &str) -> Value {
    if model == "whisper-1" {
        return json!({"type": "duration", "seconds": audio.as_secs_f64().ceil()});
    }
    let (input, output) = (spoken_by_user(audio), written(transcript));
    json!({
        "type": "tokens", "total_tokens": input + output, "input_tokens": input, "output_tokens": output,
        "input_token_details": {"text_tokens": 0, "audio_tokens": input},
    })
}
