//! Server VAD: when the user begins and ends to speak, from levels alone.

use std::time::Duration;

use super::super::session::TurnDetection;

/// Speech has to last this long to count, so that clicks do not interrupt anybody, nor the beeps of Chromium's fake microphone: 20 ms
/// twice a second, of which 120 ms arrive above -40 dBFS.
const ONSET: Duration = Duration::from_millis(200);
/// Speech that goes on may be this much quieter than speech that begins, in dB.
const HYSTERESIS: f64 = 6.0;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Where the user began, since the stream's beginning.
    Began(Duration),
    Ended(Duration),
}

#[derive(Default)]
pub(super) struct Turns {
    /// Audio heard so far.
    heard: Duration,
    loud: Duration,
    /// Since when it has been quiet, while the user speaks.
    quiet: Duration,
    speaking: bool,
}

impl Turns {
    pub(super) fn heard(&self) -> Duration {
        self.heard
    }

    pub(super) fn speaking(&self) -> bool {
        self.speaking
    }

    /// Forgets a turn that is going on.
    pub(super) fn reset(&mut self) {
        *self = Self { heard: self.heard, ..Self::default() };
    }

    /// Takes `duration` of audio of `level` dBFS. Without `detection` time passes and nothing is detected.
    pub(super) fn hear(&mut self, level: f32, duration: Duration, detection: Option<&TurnDetection>) -> Option<Turn> {
        self.heard += duration;
        let detection = detection?;
        // Threshold 0.5 is -40 dBFS: above a quiet room, below speech near a microphone.
        let threshold = detection.threshold.clamp(0.0, 1.0) * 40.0 - 60.0;
        let level = f64::from(level);
        if self.speaking {
            self.quiet = if level >= threshold - HYSTERESIS { Duration::ZERO } else { self.quiet + duration };
            if self.quiet < detection.silence.max(duration) {
                return None;
            }
            let end = self.heard.saturating_sub(self.quiet);
            self.reset();
            return Some(Turn::Ended(end));
        }
        self.loud = if level >= threshold { self.loud + duration } else { self.loud.saturating_sub(duration) };
        if self.loud < ONSET {
            return None;
        }
        self.speaking = true;
        self.quiet = Duration::ZERO;
        Some(Turn::Began(self.heard.saturating_sub(self.loud + detection.prefix)))
    }
}

/// RMS level of samples in dBFS, -127 for silence.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a level needs no more than a few digits")]
pub(super) fn level(samples: &[i16]) -> f32 {
    let squares: f64 = samples.iter().map(|sample| (f64::from(*sample) / 32768.0).powi(2)).sum();
    let mean = squares / (samples.len().max(1) as f64);
    ((10.0 * mean.log10()) as f32).clamp(-127.0, 0.0)
}
