//! The voice of the simulated assistant: recorded sentences, which say openly what they are, and what Opus packets hold.

mod clip;
mod line;
mod ogg;
pub(super) mod opus;

use std::sync::LazyLock;

pub(super) use clip::Clip;
pub(super) use line::Line;

/// Every line by both speakers: female, male.
static CLIPS: LazyLock<[[Clip; 2]; Line::ALL.len()]> = LazyLock::new(|| {
    Line::ALL.map(|line| {
        let recording = line.recording();
        [recording.female, recording.male].map(|file| Clip::from_packets(ogg::packets(file), line.text()))
    })
});

/// `line` as recorded for `voice`: any name of the Realtime API's voices; one that is not known speaks as `marin` does.
pub(super) fn clip(voice: &str, line: Line) -> Clip {
    let [female, male] = &CLIPS[line as usize];
    let male_voice = matches!(voice, "ash" | "ballad" | "cedar" | "echo" | "verse");
    if male_voice { male.clone() } else { female.clone() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::opus::ticks;
    use super::*;

    #[test]
    fn every_line_is_recorded_in_packets_of_20_ms() {
        for (at, line) in Line::ALL.into_iter().enumerate() {
            assert_eq!(line as usize, at);
            for voice in ["marin", "cedar"] {
                let clip = clip(voice, line);
                assert_eq!(clip.text(), line.text());
                assert!(clip.packets().iter().all(|packet| ticks(packet) == Some(960)), "{line:?}");
                let range = Duration::from_millis(700)..Duration::from_secs(9);
                assert!(range.contains(&clip.duration()), "{line:?} {:?}", clip.duration());
            }
        }
        assert!(clip("marin", Line::Short).duration() < Duration::from_millis(1_100));
        assert!(clip("marin", Line::Long).duration() > Duration::from_secs(6));
    }

    #[test]
    fn every_voice_has_a_speaker_and_both_speak() {
        let first = |voice| clip(voice, Line::Greeting).packets().to_vec();
        for voice in ["alloy", "coral", "sage", "shimmer", "marin", "voice_of_nobody"] {
            assert_eq!(first(voice), first("marin"), "{voice}");
        }
        for voice in ["ash", "ballad", "echo", "verse", "cedar"] {
            assert_eq!(first(voice), first("cedar"), "{voice}");
        }
        assert_ne!(first("marin"), first("cedar"));
    }

    #[test]
    fn a_recording_decodes_to_audible_sound_at_24_khz() {
        let clip = clip("cedar", Line::Short);
        let pcm = clip.pcm();
        assert_eq!(pcm.len(), clip.packets().len() * 480);
        assert!(pcm.iter().any(|sample| sample.unsigned_abs() > 5_000));
    }

    #[test]
    fn the_script_records_the_sentences_that_are_shown() {
        let script = include_str!("record.sh");
        for line in Line::ALL {
            assert!(script.contains(&format!("|{}\n", line.text())), "{line:?}");
        }
    }
}
