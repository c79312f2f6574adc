//! What the user says: buffered audio, and turns in it.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::super::session::{Format, TurnDetection};
use super::super::shape::Fault;
use super::g711::{FRAME, bytes_per_second, decode};
use super::turns::{Turn, Turns, level};

/// Longest recording that is kept to be played back.
const LONGEST: Duration = Duration::from_secs(30);
/// How much of what came before a turn was noticed belongs to its recording: its onset and the usual padding.
const LEAD: Duration = Duration::from_millis(500);
/// Packets of a live microphone come every 20 ms; after this long without any it is muted.
pub(super) const MUTED: Duration = Duration::from_millis(200);
const FRAME_LENGTH: Duration = Duration::from_millis(20);
const SILENCE: f32 = -127.0;

/// The user's own words.
#[derive(Clone, Debug)]
pub(super) enum Voice {
    Packet(Bytes),
    Samples(Vec<i16>),
}

#[derive(Default)]
pub(super) struct Input {
    turns: Turns,
    /// Where the turn that is going on began.
    pub(super) began: Duration,
    /// The id of the item that it will become.
    pub(super) item: Option<String>,
    /// Audio since the last commit or clear.
    pub(super) buffered: Duration,
    /// When the last packet came.
    last: Duration,
    /// Samples that do not fill a frame yet.
    rest: Vec<i16>,
    recording: VecDeque<(Duration, Voice)>,
    records: bool,
}

impl Input {
    /// With `records` the user's words are kept, to be played back.
    pub(super) fn new(records: bool) -> Self {
        Self { records, ..Self::default() }
    }

    pub(super) fn speaking(&self) -> bool {
        self.turns.speaking()
    }

    pub(super) fn hear(
        &mut self,
        level: f32,
        duration: Duration,
        voice: Voice,
        detection: Option<&TurnDetection>,
        now: Duration,
    ) -> Option<Turn> {
        self.last = now;
        self.record(duration, voice, detection.is_none());
        self.pass(level, duration, detection)
    }

    fn pass(&mut self, level: f32, duration: Duration, detection: Option<&TurnDetection>) -> Option<Turn> {
        self.buffered += duration;
        let turn = self.turns.hear(level, duration, detection);
        if let Some(Turn::Began(start)) = turn {
            self.began = start;
        }
        turn
    }

    fn record(&mut self, duration: Duration, voice: Voice, everything: bool) {
        if !self.records {
            return;
        }
        let most = if everything || self.speaking() { LONGEST } else { LEAD };
        self.recording.push_back((duration, voice));
        while self.recording.iter().map(|(duration, _)| *duration).sum::<Duration>() > most {
            self.recording.pop_front();
        }
    }

    /// When a microphone that has gone quiet in the middle of a turn counts as muted.
    pub(super) fn muted_at(&self) -> Option<Duration> {
        self.speaking().then(|| self.last + MUTED)
    }

    /// Takes the time since the last packet as silence.
    pub(super) fn miss(&mut self, detection: Option<&TurnDetection>, now: Duration) -> Option<Turn> {
        let missed = now.saturating_sub(self.last);
        self.last = now;
        self.pass(SILENCE, missed, detection)
    }

    /// Takes the audio of an `input_audio_buffer.append`; yields levels of 20 ms with their samples.
    pub(super) fn frames(&mut self, audio: &str, format: Format) -> Result<Vec<(f32, Duration, Voice)>, Fault> {
        let bytes = decoded(audio, "audio")?;
        self.rest.extend(decode(format, &bytes));
        let whole = self.rest.len() / FRAME * FRAME;
        let rest = self.rest.split_off(whole);
        let frames = std::mem::replace(&mut self.rest, rest);
        let samples = |frame: &[i16]| if self.records { frame.to_vec() } else { Vec::new() };
        Ok(frames.chunks_exact(FRAME).map(|frame| (level(frame), FRAME_LENGTH, Voice::Samples(samples(frame)))).collect())
    }

    /// Empties the buffer and yields what was recorded.
    pub(super) fn take(&mut self) -> Vec<Voice> {
        self.turns.reset();
        self.item = None;
        self.buffered = Duration::ZERO;
        self.recording.drain(..).map(|(_, voice)| voice).collect()
    }
}

/// The length of base64 audio.
pub(super) fn length(audio: &str, format: Format) -> Result<Duration, Fault> {
    let bytes = u32::try_from(decoded(audio, "item.content[0].audio")?.len()).unwrap_or(u32::MAX);
    Ok(Duration::from_secs(1).mul_f64(f64::from(bytes) / f64::from(bytes_per_second(format))))
}

fn decoded(audio: &str, param: &str) -> Result<Vec<u8>, Fault> {
    let message = format!("Invalid '{param}'. Expected base64-encoded audio bytes.");
    STANDARD.decode(audio).map_err(|_| Fault::new("invalid_value", message).about(param))
}
