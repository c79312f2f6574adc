//! Opus packets (RFC 6716): how long one lasts, how loud it is, and its samples. A packet may come from anyone: nothing that is wrong
//! with it goes further than its silence.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use ropus::{Channels, DecodeMode};

/// Ticks of the RTP clock of Opus in a second (RFC 7587), and the rate that durations are counted in here.
pub(in crate::sandbox) const CLOCK: u32 = 48_000;

/// Ticks of the clock in 20 ms.
pub(in crate::sandbox) const FRAME: u32 = CLOCK / 50;

/// 20 ms of silence.
pub(in crate::sandbox) const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// Level of silence, in dBFS.
pub(in crate::sandbox) const SILENT: f32 = -127.0;

/// Longest packet in ticks: 120 ms.
const LONGEST: u32 = 6 * FRAME;

/// A packet this short says that nothing is said (discontinuous transmission).
const NOTHING: usize = 2;

/// Samples of a sound at full scale.
const FULL_SCALE: f32 = 32_768.0;

/// How often a stream may make the decoder fail in ways that it should not; what comes after is silence.
const FORGIVEN: u8 = 3;

/// How many ticks of the clock a packet lasts (RFC 6716, 3.1 and 3.2); `None` for a malformed one.
pub(in crate::sandbox) fn ticks(packet: &[u8]) -> Option<u32> {
    let (&toc, rest) = packet.split_first()?;
    let config = u32::from(toc >> 3);
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][(config % 4) as usize],
        12..16 => [480, 960][(config % 2) as usize],
        _ => [120, 240, 480, 960][(config % 4) as usize],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    (1..=LONGEST).contains(&(frames * frame)).then_some(frames * frame)
}

/// A number of ticks as time.
pub(in crate::sandbox) fn time(ticks: u32) -> Duration {
    Duration::from_secs(ticks.into()) / CLOCK
}

/// Decodes one stream, packet by packet, to mono.
pub(super) struct Decoder {
    /// `None` when the stream has made it fail too often.
    inner: Option<ropus::Decoder>,
    /// Hz: one of the rates of Opus.
    rate: u32,
    failures: u8,
    samples: Vec<i16>,
}

impl Decoder {
    /// `rate`: 8000, 12000, 16000, 24000 or 48000 Hz.
    pub(super) fn new(rate: u32) -> Self {
        let inner = ropus::Decoder::new(rate, Channels::Mono).ok();
        Self { inner, rate, failures: 0, samples: vec![0; (LONGEST / (CLOCK / rate)) as usize] }
    }

    /// The samples of the next packet: as many as it lasts, silent when it is malformed. Nothing for a packet without a duration.
    pub(super) fn decode(&mut self, packet: &[u8]) -> &[i16] {
        let wanted = (ticks(packet).unwrap_or(0) / (CLOCK / self.rate)) as usize;
        let decoded = if wanted == 0 || packet.len() <= NOTHING { 0 } else { self.try_decode(packet) };
        let samples = self.samples.get_mut(..wanted).unwrap_or_default();
        if let Some(missing) = samples.get_mut(decoded..) {
            missing.fill(0);
        }
        samples
    }

    /// How many samples were decoded; 0 when that failed.
    fn try_decode(&mut self, packet: &[u8]) -> usize {
        let Self { inner: Some(decoder), samples, .. } = self else { return 0 };
        // The decoder is thrown away when it panics, so that nobody sees what state it was left in.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| decoder.decode(packet, samples, DecodeMode::Normal)));
        outcome.map_or_else(|_| self.start_again(), Result::unwrap_or_default)
    }

    fn start_again(&mut self) -> usize {
        self.failures += 1;
        self.inner = if self.failures < FORGIVEN { ropus::Decoder::new(self.rate, Channels::Mono).ok() } else { None };
        0
    }
}

/// How loud one stream is.
pub(in crate::sandbox) struct Meter(Decoder);

impl Meter {
    /// Speech is heard well enough at this rate, which costs least.
    const RATE: u32 = 8_000;

    pub(in crate::sandbox) fn new() -> Self {
        Self(Decoder::new(Self::RATE))
    }

    /// Root mean square of the next packet in dBFS, from -127 (also for what cannot be decoded) to 0. Senders that say how
    /// loud their packets are (RFC 6464), as browsers do, are believed: that saves decoding them.
    #[expect(clippy::cast_precision_loss, reason = "a packet has at most 960 samples here")]
    pub(in crate::sandbox) fn level(&mut self, packet: &[u8], announced: Option<i8>) -> f32 {
        if let Some(level) = announced {
            return f32::from(level).clamp(SILENT, 0.0);
        }
        let samples = self.0.decode(packet);
        let power: f32 = samples.iter().map(|&sample| (f32::from(sample) / FULL_SCALE).powi(2)).sum();
        let mean = power / samples.len().max(1) as f32;
        (10.0 * mean.log10()).clamp(SILENT, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::voice::{Line, clip};

    #[test]
    fn durations_follow_the_first_byte() {
        for (packet, expected) in [
            (SILENCE, Some(960)),
            (&[0x08, 1], Some(960)),
            (&[0x18, 1], Some(2880)),
            (&[0x19, 1], Some(5760)),
            (&[0x7b, 3, 1], Some(2880)),
            (&[0x83, 48, 1], Some(5760)),
            (&[0x83, 49, 1], None),
            (&[0x83, 0, 1], None),
            (&[0x83], None),
            (&[], None),
        ] {
            assert_eq!(ticks(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn speech_is_loud_and_silence_is_not() {
        let mut meter = Meter::new();
        assert!(meter.level(SILENCE, None) <= -90.0);
        let clip = clip("marin", Line::Greeting);
        let levels: Vec<f32> = clip.packets().iter().map(|packet| meter.level(packet, None)).collect();
        let loud = levels.iter().filter(|level| **level > -35.0).count();
        assert!(loud * 2 > levels.len(), "{levels:?}");
        assert!(levels.iter().all(|level| (SILENT..=0.0).contains(level)));
    }

    #[test]
    fn a_sender_that_says_how_loud_it_is_is_believed() {
        let mut meter = Meter::new();
        for (announced, level) in [(-30, -30.0), (0, 0.0), (-127, SILENT), (i8::MIN, SILENT), (1, 0.0)] {
            assert!((meter.level(&[], Some(announced)) - level).abs() < f32::EPSILON);
        }
    }

    #[test]
    fn a_stream_that_makes_the_decoder_fail_again_and_again_is_silent_from_then_on() {
        let (mut meter, clip) = (Meter::new(), clip("marin", Line::Short));
        for _ in 0..FORGIVEN {
            assert!(meter.0.inner.is_some());
            meter.0.start_again();
        }
        assert!(clip.packets().iter().all(|packet| meter.level(packet, None) <= SILENT));
    }

    #[test]
    fn mangled_packets_have_a_level_like_any_other() {
        let (clip, mut random) = (clip("cedar", Line::Short), fastrand::Rng::with_seed(7));
        let mut meter = Meter::new();
        for _ in 0..3_000 {
            let mut packet = random.choice(clip.packets()).unwrap().to_vec();
            match random.u8(..3) {
                0 => packet.truncate(random.usize(..=packet.len())),
                1 => packet.iter_mut().for_each(|byte| *byte = random.u8(..)),
                _ => {
                    let at = random.usize(..packet.len());
                    packet[at] = random.u8(..);
                }
            }
            assert!((SILENT..=0.0).contains(&meter.level(&packet, None)));
        }
    }
}
