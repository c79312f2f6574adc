//! Calls over real UDP between a browser and the media thread.

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use str0m::Rtc;
    use str0m::media::{Direction, MediaKind};
    use tokio::sync::Barrier;
    use tokio::time;

    use super::super::browser::{Browser, CROWD, now};
    use super::super::*;
    use crate::sandbox::voice::opus::{FRAME, SILENCE};
    use crate::sandbox::voice::{Line, clip};

    const SOON: Duration = Duration::from_secs(5);
    const CALLS: usize = 100;
    const MS: Duration = Duration::from_millis(1);

    /// The next thing that is not audio.
    async fn next(leg: &mut Leg) -> Option<FromPeer> {
        let next = async {
            loop {
                match leg.from_peer.recv().await {
                    Some(FromPeer::Heard(_)) => {}
                    other => return other,
                }
            }
        };
        time::timeout(SOON, next).await.unwrap()
    }

    async fn open_call(media: &Media) -> (Browser, Leg) {
        let (mut browser, mut leg) = Browser::call(media).await;
        assert!(browser.live(SOON, |browser| browser.open).await);
        // Until the other side has seen it too.
        browser.live(50 * MS, |_| false).await;
        assert!(matches!(next(&mut leg).await, Some(FromPeer::ChannelOpen)));
        (browser, leg)
    }

    #[tokio::test]
    async fn a_clip_arrives_packet_by_packet_and_silence_around_it() {
        let media = Media::start().unwrap();
        let (mut browser, leg) = open_call(&media).await;
        let clip = clip("marin", Line::Short);
        leg.to_peer.send(ToPeer::Play(clip.clone())).await.unwrap();
        browser.live(SOON, |browser| browser.words().len() == clip.packets().len()).await;
        browser.live(100 * MS, |_| false).await;
        assert_eq!(browser.words(), clip.packets());
        assert!(browser.heard.len() >= clip.packets().len() + 4);
        assert!(browser.heard.windows(2).all(|pair| pair[1].1 - pair[0].1 == u64::from(FRAME)));
    }

    #[tokio::test]
    async fn an_interruption_stops_a_clip_at_once() {
        let media = Media::start().unwrap();
        let (mut browser, leg) = open_call(&media).await;
        leg.to_peer.send(ToPeer::Play(clip("cedar", Line::Long))).await.unwrap();
        leg.to_peer.send(ToPeer::Play(clip("cedar", Line::Goodbye))).await.unwrap();
        assert!(browser.live(SOON, |browser| browser.words().len() >= 20).await);
        leg.to_peer.send(ToPeer::Stop).await.unwrap();
        let silent = |browser: &Browser| browser.heard.iter().rev().take(10).all(|(packet, _)| packet == SILENCE);
        assert!(browser.live(SOON, silent).await);
        browser.live(100 * MS, |_| false).await;
        assert!(browser.words().len() <= 40, "{}", browser.words().len());
        assert!(silent(&browser));
    }

    #[tokio::test]
    async fn the_users_voice_is_heard_with_its_level_and_can_be_played_back() {
        let media = Media::start().unwrap();
        let (mut browser, mut leg) = open_call(&media).await;
        let spoken = clip("marin", Line::Short);
        browser.voice.play(spoken.clone());
        browser.live(1_500 * MS, |_| false).await;
        let heard: Vec<_> = std::iter::from_fn(|| leg.from_peer.try_recv().ok())
            .filter_map(|said| if let FromPeer::Heard(heard) = said { Some(heard) } else { None })
            .collect();
        assert!(heard.iter().all(|heard| heard.duration == 20 * MS));
        let (words, silence): (Vec<_>, Vec<_>) = heard.iter().partition(|heard| heard.packet != SILENCE);
        assert_eq!(words.iter().map(|heard| heard.packet.clone()).collect::<Vec<_>>(), spoken.packets());
        assert!(words.iter().filter(|heard| heard.level > -40.0).count() * 2 > words.len());
        assert!(silence.iter().filter(|heard| heard.level < -80.0).count() + 3 >= silence.len());
    }

    #[tokio::test]
    async fn texts_wait_for_the_channel_and_go_both_ways() {
        let media = Media::start().unwrap();
        let (mut browser, mut leg) = Browser::call(&media).await;
        let long = "x".repeat(MAX_TEXT);
        for text in ["session.created", "second", &long] {
            leg.to_peer.send(ToPeer::Text(text.into())).await.unwrap();
        }
        assert!(browser.live(SOON, |browser| browser.texts.len() == 3).await);
        assert_eq!(browser.texts, ["session.created", "second", &long]);
        browser.send("session.update");
        browser.live(50 * MS, |_| false).await;
        assert!(matches!(next(&mut leg).await, Some(FromPeer::ChannelOpen)));
        assert!(matches!(next(&mut leg).await, Some(FromPeer::Text(text)) if text == "session.update"));
        leg.to_peer.send(ToPeer::Text("last".into())).await.unwrap();
        assert!(browser.live(SOON, |browser| browser.texts.len() == 4).await);
    }

    #[tokio::test]
    async fn a_channel_may_be_agreed_upon_beforehand() {
        let media = Media::start().unwrap();
        for id in [0, 7, 1023] {
            let (mut browser, mut leg) = Browser::call_with(&media, Some(id)).await;
            leg.to_peer.send(ToPeer::Text("hello".into())).await.unwrap();
            assert!(browser.live(SOON, |browser| !browser.texts.is_empty() && browser.open).await);
            browser.send("mine");
            browser.live(50 * MS, |_| false).await;
            assert!(matches!(next(&mut leg).await, Some(FromPeer::ChannelOpen)));
            assert!(matches!(next(&mut leg).await, Some(FromPeer::Text(text)) if text == "mine"));
        }
    }

    #[tokio::test]
    async fn a_close_delivers_what_was_said_before_and_is_noticed_soon() {
        let media = Media::start().unwrap();
        let (mut browser, mut leg) = open_call(&media).await;
        leg.to_peer.send(ToPeer::Text("goodbye".into())).await.unwrap();
        leg.to_peer.send(ToPeer::Close).await.unwrap();
        let start = now();
        assert!(browser.live(SOON, |browser| browser.closed).await);
        assert!(now() - start < 200 * MS, "{:?}", now() - start);
        assert_eq!(browser.texts, ["goodbye"]);
        assert!(matches!(next(&mut leg).await, Some(FromPeer::Closed)));
        assert!(next(&mut leg).await.is_none());

        let (mut browser, leg) = open_call(&media).await;
        drop(leg);
        assert!(browser.live(SOON, |browser| browser.closed).await);
    }

    #[tokio::test]
    async fn a_browser_that_closes_is_noticed_soon() {
        let media = Media::start().unwrap();
        let (mut browser, mut leg) = open_call(&media).await;
        browser.mid = None;
        browser.rtc.close().unwrap();
        let start = now();
        browser.live(20 * MS, |_| false).await;
        assert!(matches!(next(&mut leg).await, Some(FromPeer::Closed)));
        assert!(now() - start < 200 * MS, "{:?}", now() - start);
    }

    #[tokio::test]
    async fn texts_beyond_a_bound_close_the_call() {
        let media = Media::start().unwrap();
        let (_browser, mut leg) = open_call(&media).await;
        leg.to_peer.send(ToPeer::Text("x".repeat(MAX_TEXT + 1))).await.unwrap();
        assert!(matches!(next(&mut leg).await, Some(FromPeer::Closed)));

        let (mut browser, mut leg) = open_call(&media).await;
        for _ in 0..FROM_PEER + 10 {
            browser.live(MS, |_| false).await;
            if browser.closed || browser.rtc.channel(browser.channel).is_none() {
                break;
            }
            browser.send("nobody takes this");
        }
        browser.live(100 * MS, |_| false).await;
        let mut texts = 0;
        while let Ok(said) = leg.from_peer.try_recv() {
            texts += usize::from(matches!(said, FromPeer::Text(_)));
        }
        assert!((FROM_PEER / 2 - 1..=FROM_PEER).contains(&texts), "{texts}");
        assert!(leg.to_peer.is_closed());
    }

    /// The same frames in packets of 60 ms (RFC 6716, 3.2.5).
    fn in_threes(clip: &Clip) -> Clip {
        let alike = |three: &&[Bytes]| three.iter().all(|packet| packet[0] == three[0][0] && packet.len() < 252);
        let join = |three: &[Bytes]| {
            let lengths = three[..2].iter().map(|packet| u8::try_from(packet.len() - 1).unwrap());
            let frames = three.iter().flat_map(|packet| packet[1..].iter().copied());
            [three[0][0] | 3, 0x83].into_iter().chain(lengths).chain(frames).collect()
        };
        Clip::from_packets(clip.packets().chunks_exact(3).filter(alike).map(join).collect(), clip.text())
    }

    /// Packets heard and lost in one call, by the browser and by the other side.
    async fn talk(media: Media, everyone: Arc<Barrier>) -> [usize; 4] {
        let (mut browser, Leg { to_peer, mut from_peer }) = Browser::call(&media).await;
        let listening = tokio::spawn(async move {
            let mut heard = 0;
            while let Some(said) = from_peer.recv().await {
                heard += usize::from(
                    matches!(said, FromPeer::Heard(heard) if heard.packet != SILENCE && heard.level > -21.0 && heard.duration == 60 * MS),
                );
            }
            heard
        });
        browser.mute = true;
        assert!(browser.live(6 * SOON, |browser| browser.open).await);
        tokio::select! {
            _ = everyone.wait() => {}
            _ = browser.live(12 * SOON, |_| false) => panic!("not everyone has connected"),
        }
        to_peer.send(ToPeer::Play(clip("marin", Line::Greeting))).await.unwrap();
        browser.announces = Some(-20);
        browser.voice.play(in_threes(&clip("marin", Line::Greeting)));
        browser.voice.begin(now());
        browser.mute = false;
        let before = browser.heard.len();
        browser.live(2 * SOON, |browser| browser.said >= 40 && browser.heard.len() >= before + 130).await;
        let (words, whole) = (browser.words(), clip("marin", Line::Greeting));
        let (first, last) = (words.first().unwrap(), words.last().unwrap());
        let first = whole.packets().iter().position(|packet| packet == first).unwrap();
        let sent = whole.packets().iter().rposition(|packet| packet == last).unwrap() + 1 - first;
        let (said, heard) = (browser.said, words.len());
        browser.mid = None;
        browser.live(200 * MS, |_| false).await;
        browser.rtc.close().unwrap();
        browser.live(20 * MS, |_| false).await;
        let heard_there = listening.await.unwrap();
        [heard, sent.saturating_sub(heard), heard_there, said - heard_there]
    }

    /// The sum over a hundred calls of what `talk` returns.
    async fn talk_a_hundred_times() -> [usize; 4] {
        let (media, everyone) = (Media::start().unwrap(), Arc::new(Barrier::new(CALLS)));
        let calls: Vec<_> = (0..CALLS).map(|_| tokio::spawn(talk(media.clone(), everyone.clone()))).collect();
        let mut all = [0; 4];
        for call in calls {
            let one = call.await.unwrap();
            all.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
        }
        all
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_hundred_calls_hear_and_are_heard() {
        let _alone = CROWD.lock().await;
        // Two cores are enough, but others may be using them: one attempt of three has to be undisturbed.
        let mut all = [0; 4];
        for _ in 0..3 {
            all = talk_a_hundred_times().await;
            let [heard, lost, heard_there, lost_there] = all;
            let enough = heard >= 100 * CALLS && heard_there >= 30 * CALLS;
            if enough && lost * 100 <= heard && lost_there * 100 <= heard_there {
                return;
            }
        }
        panic!("heard and lost, here and there: {all:?}");
    }

    #[tokio::test]
    async fn what_is_no_offer_is_rejected_with_a_reason() {
        let media = Media::start().unwrap();
        let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:111 opus/48000/2\r\na=mid:0\r\n";
        let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
        let pcmu = format!("{head}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\na=mid:0\r\n");
        for (offer, reason) in [
            ("", "is not SDP"),
            ("hello", "is not SDP"),
            ("{\"sdp\":\"v=0\"}", "is not SDP"),
            ("v=0", "neither Opus audio"),
            (head, "neither Opus audio"),
            (&pcmu, "neither Opus audio"),
            (&format!("{head}m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\na=mid:0\r\n"), "neither Opus audio"),
            (&format!("v=0\r\n{audio}"), ""),
            (&format!("{head}{audio}"), ""),
            (&format!("{head}a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n{audio}"), ""),
            (&format!("{head}{}", audio.repeat(3)), ""),
            (&format!("{head}a=\u{0}\u{1}\r\n{audio}"), ""),
        ] {
            let Err(Rejected::Offer(said)) = media.answer(offer, None).await else { panic!("{offer} was answered") };
            assert!(said.contains(reason) && said.len() < 400 && !said.contains('\n'), "{offer}: {said}");
        }
    }

    #[tokio::test]
    async fn mangled_offers_break_nothing() {
        let media = Media::start().unwrap();
        let mut rtc = Rtc::builder().build(now());
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        api.add_channel("oai-events".into());
        let offer = api.apply().unwrap().0.to_sdp_string();
        assert!(media.answer(&offer, None).await.is_ok());
        assert!(media.answer(&offer, Some(u16::MAX)).await.is_err());
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let mut lines: Vec<&str> = offer.split_inclusive("\r\n").collect();
            let at = random.usize(..lines.len());
            match random.u8(..3) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[random.usize(..lines.len())]),
                _ => lines[at] = &lines[at][..random.usize(..lines[at].len())],
            }
            if let Err(rejected) = media.answer(&lines.concat(), None).await {
                assert!(matches!(rejected, Rejected::Offer(_)), "{rejected}: {}", lines.concat());
            }
        }
        assert!(media.answer(&offer, None).await.is_ok());
    }

    #[tokio::test]
    async fn video_is_refused_and_audio_answered() {
        let media = Media::start().unwrap();
        let mut rtc = Rtc::builder().build(now());
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        let (answer, _leg) = media.answer(&api.apply().unwrap().0.to_sdp_string(), None).await.unwrap();
        assert!(answer.contains("m=audio 9 ") && answer.contains("m=video 0 "), "{answer}");
    }

    #[tokio::test]
    async fn no_more_calls_are_taken_than_there_is_room_for() {
        let media = Media::start().unwrap();
        let mut rtc = Rtc::builder().build(now());
        let mut api = rtc.sdp_api();
        api.add_channel("oai-events".into());
        let offer = api.apply().unwrap().0.to_sdp_string();
        let mut legs = Vec::new();
        for _ in 0..MOST_PEERS {
            legs.push(media.answer(&offer, None).await.unwrap());
        }
        assert_eq!(media.answer(&offer, None).await.err(), Some(Rejected::Full));
        legs.clear();
        time::sleep(300 * MS).await;
        assert!(media.answer(&offer, None).await.is_ok());
    }
}
