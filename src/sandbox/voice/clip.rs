//! A sentence as Opus packets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::opus::{Decoder, FRAME, ticks, time};

/// Samples in a second of `Clip::pcm`: the rate of `audio/pcm` in the Realtime API.
const PCM_RATE: u32 = 24_000;

/// A recorded sentence: Opus packets, of 20 ms each where this crate recorded them, and its text. Cheap to clone.
#[derive(Clone)]
pub(in crate::sandbox) struct Clip {
    packets: Arc<[Bytes]>,
    text: Arc<str>,
}

impl Clip {
    /// The user's own voice, to be played back.
    pub(in crate::sandbox) fn from_packets(packets: Vec<Bytes>, text: &str) -> Self {
        Self { packets: packets.into(), text: text.into() }
    }

    /// What is said.
    pub(in crate::sandbox) fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::sandbox) fn packets(&self) -> &[Bytes] {
        &self.packets
    }

    /// How long it takes to play. A malformed packet takes 20 ms.
    pub(in crate::sandbox) fn duration(&self) -> Duration {
        self.packets.iter().map(|packet| time(ticks(packet).unwrap_or(FRAME))).sum()
    }

    /// Decoded, mono, 24 kHz. A malformed packet is silent.
    pub(in crate::sandbox) fn pcm(&self) -> Vec<i16> {
        let mut decoder = Decoder::new(PCM_RATE);
        self.packets.iter().flat_map(|packet| decoder.decode(packet).to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::voice::opus::SILENCE;

    #[test]
    fn a_clip_of_the_users_own_packets_lasts_as_long_as_they_do() {
        let long = Bytes::from_static(&[0x18, 1, 2, 3]);
        let clip = Clip::from_packets(vec![Bytes::from_static(SILENCE), long], "mine");
        assert_eq!((clip.text(), clip.duration()), ("mine", Duration::from_millis(80)));
        assert_eq!(clip.pcm().len(), 80 * 24);
    }
}
