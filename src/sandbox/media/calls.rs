//! Calls over real UDP between a browser, played by another str0m peer, and the media thread.

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use str0m::change::SdpAnswer;
    use str0m::channel::{ChannelConfig, ChannelId};
    use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
    use str0m::net::{Protocol, Receive};
    use str0m::{Candidate, Event, Input, Output, Rtc};
    use tokio::net::UdpSocket;
    use tokio::sync::Barrier;
    use tokio::time;

    use super::super::playout::Playout;
    use super::super::*;
    use crate::sandbox::voice::opus::{FRAME, SILENCE};
    use crate::sandbox::voice::{Line, clip};

    const SOON: Duration = Duration::from_secs(5);
    const MS: Duration = Duration::from_millis(1);

    fn now() -> Instant {
        time::Instant::now().into_std()
    }

    /// What a browser does in a call.
    struct Browser {
        rtc: Box<Rtc>,
        socket: UdpSocket,
        mid: Option<Mid>,
        channel: ChannelId,
        connected: bool,
        open: bool,
        closed: bool,
        /// What it says; silence after that.
        voice: Playout,
        /// Says how loud its packets are, as browsers do.
        announces: Option<i8>,
        /// How many packets it said that were not silence.
        said: usize,
        /// Packets that it heard, with their RTP time.
        heard: Vec<(Vec<u8>, u64)>,
        texts: Vec<String>,
    }

    impl Browser {
        async fn call(media: &Media) -> (Self, Leg) {
            Self::call_with(media, None).await
        }

        /// An offer without candidates, as the official clients send it, and what comes of it.
        async fn call_with(media: &Media, dcid: Option<u16>) -> (Self, Leg) {
            let mut rtc = Box::new(Rtc::builder().build(now()));
            let mut api = rtc.sdp_api();
            let mid = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
            let config = ChannelConfig { label: "oai-events".into(), negotiated: dcid, ..ChannelConfig::default() };
            let channel = api.add_channel_with_config(config);
            let (offer, pending) = api.apply().unwrap();
            let offer = offer.to_sdp_string();
            assert!(!offer.contains("a=candidate"));
            let (answer, leg) = media.answer(&offer, dcid).await.unwrap();
            assert!(answer.contains("a=candidate") && answer.contains("a=ice-lite"), "{answer}");
            rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
            let (mid, voice) = (Some(mid), Playout::new(now()));
            let (heard, texts) = (Vec::new(), Vec::new());
            (
                Self {
                    rtc,
                    socket,
                    mid,
                    channel,
                    connected: false,
                    open: false,
                    closed: false,
                    voice,
                    announces: None,
                    said: 0,
                    heard,
                    texts,
                },
                leg,
            )
        }

        /// Lives until `enough` or for `at_most`, and says which it was.
        async fn live(&mut self, at_most: Duration, enough: impl Fn(&Self) -> bool) -> bool {
            let (end, mut buffer) = (now() + at_most, vec![0; 2_000]);
            loop {
                let due = self.settle();
                if enough(self) || now() >= end {
                    return enough(self);
                }
                let wake = due.min(end).min(if self.connected { self.voice.due() } else { end });
                tokio::select! {
                    received = self.socket.recv_from(&mut buffer) => {
                        let (length, source) = received.unwrap();
                        let local = self.socket.local_addr().unwrap();
                        let received = Receive::new(Protocol::Udp, source, local, &buffer[..length]).unwrap();
                        self.rtc.handle_input(Input::Receive(now(), received)).unwrap();
                    }
                    () = time::sleep_until(wake.into()) => self.rtc.handle_input(Input::Timeout(now())).unwrap(),
                }
            }
        }

        fn settle(&mut self) -> Instant {
            loop {
                let due = self.drain();
                if due <= now() {
                    self.rtc.handle_input(Input::Timeout(now())).unwrap();
                    continue;
                }
                let said = if self.connected { self.voice.next(now()) } else { None };
                let Some((said, mid)) = said.zip(self.mid) else { return due };
                let mut writer = self.rtc.writer(mid).unwrap();
                if let Some(level) = self.announces {
                    writer = writer.audio_level(level, true);
                }
                let opus = writer.payload_params().next().unwrap().pt();
                let at = MediaTime::new(said.timestamp, Frequency::FORTY_EIGHT_KHZ);
                writer.write(opus, now(), at, said.packet.as_ref()).unwrap();
                self.said += usize::from(said.packet != SILENCE);
            }
        }

        fn drain(&mut self) -> Instant {
            loop {
                match self.rtc.poll_output().unwrap() {
                    Output::Timeout(due) => return due,
                    Output::Transmit(send) => drop(self.socket.try_send_to(&send.contents, send.destination)),
                    Output::Event(Event::Connected) => {
                        self.connected = true;
                        self.voice.begin(now());
                    }
                    Output::Event(Event::ChannelOpen(..)) => self.open = true,
                    Output::Event(Event::ChannelData(data)) => self.texts.push(String::from_utf8(data.data).unwrap()),
                    Output::Event(Event::MediaData(data)) => self.heard.push((data.data.to_vec(), data.time.numer())),
                    Output::Event(Event::Closed) => {
                        self.closed = true;
                        self.mid = None;
                    }
                    Output::Event(_) => {}
                }
            }
        }

        fn send(&mut self, text: &str) {
            assert!(self.rtc.channel(self.channel).unwrap().write(false, text.as_bytes()).unwrap());
        }

        fn words(&self) -> Vec<&[u8]> {
            self.heard.iter().map(|(packet, _)| packet.as_slice()).filter(|packet| *packet != SILENCE).collect()
        }
    }

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
        browser.live(400 * MS, |_| false).await;
        assert!(browser.words().len() <= 23, "{}", browser.words().len());
        assert!(browser.heard.iter().rev().take(10).all(|(packet, _)| packet == SILENCE));
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

    /// Packets heard and lost in one call, by the browser and by the other side.
    async fn talk(media: Media, everyone: Arc<Barrier>) -> [usize; 4] {
        let (mut browser, mut leg) = Browser::call(&media).await;
        assert!(browser.live(6 * SOON, |browser| browser.open).await);
        tokio::select! {
            _ = everyone.wait() => {}
            _ = browser.live(12 * SOON, |_| false) => panic!("not everyone has connected"),
        }
        let listening = tokio::spawn(async move {
            let mut heard = 0;
            while let Some(said) = leg.from_peer.recv().await {
                match said {
                    FromPeer::Heard(said) => heard += usize::from(said.packet != SILENCE && said.level > -21.0),
                    FromPeer::ChannelOpen => leg.to_peer.send(ToPeer::Play(clip("marin", Line::Greeting))).await.unwrap(),
                    _ => {}
                }
            }
            heard
        });
        browser.announces = Some(-20);
        browser.voice.play(clip("marin", Line::Greeting));
        browser.live(2_500 * MS, |_| false).await;
        let words: Vec<_> = browser.heard.iter().filter(|(packet, _)| packet != SILENCE).map(|(_, time)| time).collect();
        let sent = (words[words.len() - 1] - words[0]) / u64::from(FRAME) + 1;
        let (said, heard) = (browser.said, words.len());
        browser.mid = None;
        browser.rtc.close().unwrap();
        browser.live(20 * MS, |_| false).await;
        let heard_there = listening.await.unwrap();
        [heard, usize::try_from(sent).unwrap() - heard, heard_there, said - heard_there]
    }

    #[tokio::test]
    async fn a_hundred_calls_hear_and_are_heard() {
        const CALLS: usize = 100;
        let (media, everyone) = (Media::start().unwrap(), Arc::new(Barrier::new(CALLS)));
        let calls: Vec<_> = (0..CALLS).map(|_| tokio::spawn(talk(media.clone(), everyone.clone()))).collect();
        let mut all = [0; 4];
        for call in calls {
            let one = call.await.unwrap();
            all.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
        }
        let [heard, lost, heard_there, lost_there] = all;
        assert!(heard >= 100 * CALLS && lost * 100 <= heard, "{all:?}");
        assert!(heard_there >= 100 * CALLS && lost_there * 100 <= heard_there, "{all:?}");
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
