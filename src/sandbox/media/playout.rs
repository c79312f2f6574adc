//! What a peer hears and when: one packet after the other on the clock of RTP, silence where there is nothing to play.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sandbox::voice::Clip;
use crate::sandbox::voice::opus::{FRAME, SILENCE, ticks, time};

/// A stream that is later than this (the process was held up) goes on from now instead of catching up.
const LATE: Duration = Duration::from_millis(200);

/// One peer's outgoing audio. Each packet is due when the one before it ends, so that no delay adds up.
pub(super) struct Playout {
    queue: VecDeque<Clip>,
    /// Packets of the first clip that were sent.
    sent: usize,
    /// When the next packet is due.
    due: Instant,
    /// Its RTP time.
    timestamp: u64,
}

/// A packet to send.
pub(super) struct Due {
    pub(super) packet: Bytes,
    /// In ticks of 1/48000 s.
    pub(super) timestamp: u64,
    /// The first packet of a clip.
    pub(super) begins: bool,
}

impl Playout {
    /// The first packet is due at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self { queue: VecDeque::new(), sent: 0, due: start, timestamp: 0 }
    }

    /// Puts off what is due until `start`.
    pub(super) fn begin(&mut self, start: Instant) {
        self.due = start;
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn play(&mut self, clip: Clip) {
        self.queue.push_back(clip);
    }

    pub(super) fn stop(&mut self) {
        self.queue.clear();
        self.sent = 0;
    }

    /// The next packet if it is due; to be asked again until there is none.
    pub(super) fn next(&mut self, now: Instant) -> Option<Due> {
        let late = now.checked_duration_since(self.due)?;
        if late > LATE {
            let skipped = late.as_millis() / time(FRAME).as_millis();
            let frames = u32::try_from(skipped).unwrap_or(u32::MAX);
            self.due += time(FRAME) * frames;
            self.timestamp += u64::from(FRAME) * u64::from(frames);
        }
        let begins = self.sent == 0 && !self.queue.is_empty();
        let packet = self.take().unwrap_or(Bytes::from_static(SILENCE));
        let due = Due { timestamp: self.timestamp, begins, packet };
        let lasts = ticks(&due.packet).unwrap_or(FRAME);
        self.due += time(lasts);
        self.timestamp += u64::from(lasts);
        Some(due)
    }

    fn take(&mut self) -> Option<Bytes> {
        loop {
            let clip = self.queue.front()?;
            if let Some(packet) = clip.packets().get(self.sent) {
                self.sent += 1;
                return Some(packet.clone());
            }
            self.queue.pop_front();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn clip(bytes: &[u8]) -> Clip {
        Clip::from_packets(bytes.iter().map(|byte| Bytes::from(vec![0x08, *byte])).collect(), "")
    }

    fn start() -> (Playout, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (Playout::new(now), now)
    }

    /// The second byte of each packet (0xff for silence) and its RTP time in units of 20 ms.
    fn sent(playout: &mut Playout, now: Instant) -> Vec<(u8, u64)> {
        std::iter::from_fn(|| playout.next(now)).map(|due| (due.packet[1], due.timestamp / 960)).collect()
    }

    #[test]
    fn clips_follow_each_other_and_silence_follows_them() {
        let (mut playout, now) = start();
        playout.play(clip(&[1, 2]));
        playout.play(clip(&[]));
        playout.play(clip(&[3]));
        assert_eq!(sent(&mut playout, now + 60 * MS), [(1, 0), (2, 1), (3, 2), (0xff, 3)]);
        assert_eq!(sent(&mut playout, now + 79 * MS), []);
        assert_eq!(playout.due(), now + 80 * MS);
    }

    #[test]
    fn an_interruption_drops_the_clip_at_once() {
        let (mut playout, now) = start();
        playout.play(clip(&[1, 2, 3]));
        playout.play(clip(&[4]));
        assert_eq!(sent(&mut playout, now), [(1, 0)]);
        playout.stop();
        assert_eq!(sent(&mut playout, now + 20 * MS), [(0xff, 1)]);
        playout.play(clip(&[5]));
        assert_eq!(sent(&mut playout, now + 40 * MS), [(5, 2)]);
    }

    #[test]
    fn small_delays_are_made_up_for_and_large_ones_skipped_without_losing_words() {
        let (mut playout, now) = start();
        playout.play(clip(&[1, 2, 3, 4]));
        assert_eq!(sent(&mut playout, now + 45 * MS), [(1, 0), (2, 1), (3, 2)]);
        assert_eq!(sent(&mut playout, now + 10_065 * MS), [(4, 503)]);
        assert_eq!(playout.due(), now + 10_080 * MS);
    }

    #[test]
    fn longer_packets_take_their_time_and_the_first_of_a_clip_is_marked() {
        let (mut playout, now) = start();
        let long = Bytes::from_static(&[0x18, 7]);
        playout.play(Clip::from_packets(vec![long.clone(), long], ""));
        let begins: Vec<_> = std::iter::from_fn(|| playout.next(now + 120 * MS)).map(|due| (due.begins, due.timestamp)).collect();
        assert_eq!(begins, [(true, 0), (false, 2880), (false, 5760)]);
    }
}
