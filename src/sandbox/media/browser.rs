//! A browser in a call, played by another str0m peer over real UDP.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use tokio::time;

use super::playout::Playout;
use super::{Leg, Media};
use crate::sandbox::voice::Clip;
use crate::sandbox::voice::opus::SILENCE;

/// Held by a test that has a hundred of them: two such tests at once would starve each other.
pub(in crate::sandbox) static CROWD: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub(super) fn now() -> Instant {
    time::Instant::now().into_std()
}

/// What a browser does in a call.
#[cfg(test)]
#[expect(clippy::struct_excessive_bools, reason = "what has happened so far")]
pub(in crate::sandbox) struct Browser {
    pub(super) rtc: Box<Rtc>,
    /// What its offer waits for.
    pending: Option<SdpPendingOffer>,
    socket: UdpSocket,
    pub(super) mid: Option<Mid>,
    pub(super) channel: ChannelId,
    connected: bool,
    pub(in crate::sandbox) open: bool,
    pub(in crate::sandbox) closed: bool,
    /// What it says; silence after that.
    pub(super) voice: Playout,
    /// Says nothing, not even silence.
    pub(super) mute: bool,
    /// Says how loud its packets are, as browsers do.
    pub(super) announces: Option<i8>,
    /// How many packets it said that were not silence.
    pub(super) said: usize,
    /// Packets that it heard, with their RTP time.
    pub(in crate::sandbox) heard: Vec<(Vec<u8>, u64)>,
    pub(in crate::sandbox) texts: Vec<String>,
}

#[cfg(test)]
impl Browser {
    pub(super) async fn call(media: &Media) -> (Self, Leg) {
        Self::call_with(media, None).await
    }

    /// An offer without candidates, as the official clients send it, and what comes of it.
    pub(super) async fn call_with(media: &Media, dcid: Option<u16>) -> (Self, Leg) {
        let (mut browser, offer) = Self::offering(dcid).await;
        let (answer, leg) = media.answer(&offer, dcid).await.unwrap();
        browser.accept(&answer);
        (browser, leg)
    }

    /// A browser that waits for the answer to its offer.
    pub(in crate::sandbox) async fn offering(dcid: Option<u16>) -> (Self, String) {
        let mut rtc = Box::new(Rtc::builder().build(now()));
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let config = ChannelConfig { label: "oai-events".into(), negotiated: dcid, ..ChannelConfig::default() };
        let channel = api.add_channel_with_config(config);
        let (offer, pending) = api.apply().unwrap();
        let offer = offer.to_sdp_string();
        assert!(!offer.contains("a=candidate"));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.writable().await.unwrap();
        let browser = Self {
            rtc,
            pending: Some(pending),
            socket,
            mid: Some(mid),
            channel,
            connected: false,
            open: false,
            closed: false,
            voice: Playout::new(now()),
            mute: false,
            announces: None,
            said: 0,
            heard: Vec::new(),
            texts: Vec::new(),
        };
        (browser, offer)
    }

    pub(in crate::sandbox) fn accept(&mut self, answer: &str) {
        assert!(answer.contains("a=candidate") && answer.contains("a=ice-lite"), "{answer}");
        let (pending, answer) = (self.pending.take().unwrap(), SdpAnswer::from_sdp_string(answer).unwrap());
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let own = Candidate::host(self.socket.local_addr().unwrap(), "udp").unwrap();
        self.rtc.add_local_candidate(own);
    }

    /// Lives until `enough` or for `at_most`, and says which it was.
    pub(in crate::sandbox) async fn live(&mut self, at_most: Duration, enough: impl Fn(&Self) -> bool) -> bool {
        let (end, mut buffer) = (now() + at_most, vec![0; 2_000]);
        loop {
            let due = self.settle();
            if enough(self) || now() >= end {
                return enough(self);
            }
            let wake = due.min(end).min(if self.connected && !self.mute { self.voice.due() } else { end });
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
            let said = if self.connected && !self.mute { self.voice.next(now()) } else { None };
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

    pub(in crate::sandbox) fn send(&mut self, text: &str) {
        assert!(self.rtc.channel(self.channel).unwrap().write(false, text.as_bytes()).unwrap());
    }

    pub(in crate::sandbox) fn say(&mut self, clip: Clip) {
        self.voice.play(clip);
    }

    pub(in crate::sandbox) fn words(&self) -> Vec<&[u8]> {
        self.heard.iter().map(|(packet, _)| packet.as_slice()).filter(|packet| *packet != SILENCE).collect()
    }
}
