//! What takes an hour, or a voice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::media::browser::CROWD;
use super::{Duration, Line, PATIENCE, World, ask, call, clip, events, expect_events, kinds, listen, missed, start};
use crate::domain::clock::{Clock, SharedClock, SystemClock};

/// The system's clock, which can leap.
struct Leaping {
    real: SharedClock,
    /// Seconds.
    ahead: AtomicU64,
}

impl Leaping {
    fn leap(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.ahead.load(Ordering::SeqCst))
    }
}

impl Clock for Leaping {
    fn wall(&self) -> Duration {
        self.real.wall() + self.ahead()
    }

    fn steady(&self) -> Duration {
        self.real.steady() + self.ahead()
    }
}

#[tokio::test]
async fn a_call_ends_after_an_hour() {
    let clock = Arc::new(Leaping { real: SystemClock::shared(), ahead: AtomicU64::new(0) });
    let address = start(World { clock: clock.clone(), ..World::bind(0).unwrap() });
    let mut browser = call(address, "").await;
    let expires = events(&browser)[0]["session"]["expires_at"].as_u64().unwrap();
    assert!((3590..=3600).contains(&(expires - clock.unix())), "{expires}");
    clock.leap(3500);
    ask(&mut browser).await;
    expect_events(&browser, Line::Typed);
    assert!(!browser.closed, "there is time left");
    browser.texts.clear();
    clock.leap(expires - clock.unix());
    assert!(browser.live(PATIENCE, |browser| browser.closed).await);
    assert_eq!(kinds(&browser), ["error"]);
    let error = &events(&browser)[0]["error"];
    assert_eq!(error["code"], "session_expired");
    assert_eq!(error["message"], "Your session hit the maximum duration of 60 minutes.");
}

#[tokio::test]
async fn the_echo_of_a_call_is_the_voice_that_was_sent() {
    let _alone = CROWD.lock().await;
    let mut browser = call(start(World::bind(0).unwrap()), "x-sandbox-scenario: echo\r\n").await;
    for line in [Line::Goodbye, Line::Typed] {
        browser.texts.clear();
        browser.heard.clear();
        let spoken = clip("marin", line);
        browser.say(spoken.clone());
        listen(&mut browser).await;
        assert!(missed(&browser, line) * 100 <= spoken.packets().len(), "{line:?}: {} missed", missed(&browser, line));
        let mut order = kinds(&browser);
        order.retain(|kind| kind.starts_with("input_audio_buffer") || kind.starts_with("output_audio_buffer"));
        let (input, output) = ("input_audio_buffer", "output_audio_buffer");
        assert_eq!(
            order,
            [
                format!("{input}.speech_started"),
                format!("{input}.speech_stopped"),
                format!("{input}.committed"),
                format!("{output}.started"),
                format!("{output}.stopped"),
            ]
        );
    }
}
