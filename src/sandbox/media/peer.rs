//! One call: a str0m `Rtc` between the socket and the call's two channels.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::channel::{ChannelData, ChannelId};
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Frequency, MediaData, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcError};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time;

use super::driver::Datagram;
use super::offer;
use super::playout::Playout;
use super::{FROM_PEER, FromPeer, Heard, Leg, MAX_TEXT, MAX_WAITING, Offer, TO_PEER, ToPeer};
use crate::sandbox::voice::opus::{self, FRAME, Meter};

/// A peer that is not connected after this has gone.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// How long texts may take to be delivered before a close.
const FLUSH_WITHIN: Duration = Duration::from_millis(10);

/// How long the messages of a close may take to be sent.
const CLOSE_WITHIN: Duration = Duration::from_millis(100);

/// Actions without a look at the channels and the socket.
const ROUNDS: usize = 64;

/// Where a peer lives.
pub(super) struct Place {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) local: SocketAddr,
    pub(super) credentials: IceCreds,
    pub(super) datagrams: mpsc::Receiver<Datagram>,
}

/// Answers the offer and lives for as long as its call.
pub(super) async fn run(place: Place, Offer { sdp, dcid, answer }: Offer) {
    let accepted = offer::accept(&sdp, dcid, place.credentials, place.local, now());
    let (to_peer, told) = mpsc::channel(TO_PEER);
    let (tell, from_peer) = mpsc::channel(FROM_PEER);
    let (rtc, text) = match accepted {
        Ok(accepted) => accepted,
        Err(rejected) => return drop(answer.send(Err(rejected))),
    };
    // Nobody waits any more when the request for the answer was given up: then there is no call.
    if answer.send(Ok((text, Leg { to_peer, from_peer }))).is_ok() {
        Peer::new(rtc, place.socket, place.local, tell).live(place.datagrams, told).await;
    }
}

/// Runtimes that pause their clock pause the peers.
fn now() -> Instant {
    time::Instant::now().into_std()
}

struct Peer {
    rtc: Box<Rtc>,
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    tell: mpsc::Sender<FromPeer>,
    stage: Stage,
    /// The negotiated audio.
    audio: Option<Mid>,
    playout: Playout,
    meter: Meter,
    /// The data channel that texts go to: the first one that is open.
    channel: Option<ChannelId>,
    /// Whether `FromPeer::ChannelOpen` was said.
    announced: bool,
    texts: VecDeque<String>,
    /// Of all texts that wait, in bytes.
    waiting: usize,
}

/// How far a call has come. Each moment is the latest at which the stage ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting(Instant),
    Connected,
    /// Told to close; texts are being delivered.
    Flushing(Instant),
    /// The messages of a close are being sent.
    Closing(Instant),
}

/// The call is over.
struct Over;

impl From<RtcError> for Over {
    fn from(error: RtcError) -> Self {
        tracing::debug!(%error, "a simulated call ends");
        Self
    }
}

impl Peer {
    fn new(rtc: Box<Rtc>, socket: Arc<UdpSocket>, local: SocketAddr, tell: mpsc::Sender<FromPeer>) -> Self {
        let start = now();
        Self {
            rtc,
            socket,
            local,
            tell,
            stage: Stage::Connecting(start + CONNECT_WITHIN),
            audio: None,
            playout: Playout::new(start),
            meter: Meter::new(),
            channel: None,
            announced: false,
            texts: VecDeque::new(),
            waiting: 0,
        }
    }

    async fn live(mut self, mut datagrams: mpsc::Receiver<Datagram>, mut told: mpsc::Receiver<ToPeer>) {
        let timer = time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        while let Ok(wake) = self.settle(now()) {
            timer.as_mut().reset(wake.into());
            let heeds = matches!(self.stage, Stage::Connecting(_) | Stage::Connected);
            let done = tokio::select! {
                Some((source, datagram)) = datagrams.recv() => self.receive(source, &datagram),
                told = told.recv(), if heeds => self.obey(told.unwrap_or(ToPeer::Close)),
                () = &mut timer => self.rtc.handle_input(Input::Timeout(now())).map_err(Over::from),
            };
            if done.is_err() {
                break;
            }
        }
        // Where there is no room for this, the end of the channel says it.
        let _ = self.tell.try_send(FromPeer::Closed);
    }

    fn receive(&mut self, source: SocketAddr, datagram: &[u8]) -> Result<(), Over> {
        // What is none of a call's protocols is ignored.
        let Ok(received) = Receive::new(Protocol::Udp, source, self.local, datagram) else { return Ok(()) };
        Ok(self.rtc.handle_input(Input::Receive(now(), received))?)
    }

    fn obey(&mut self, told: ToPeer) -> Result<(), Over> {
        match told {
            ToPeer::Text(text) => {
                self.waiting += text.len();
                if text.len() > MAX_TEXT || self.waiting > MAX_WAITING {
                    return Err(Over);
                }
                self.texts.push_back(text);
            }
            ToPeer::Play(clip) => self.playout.play(clip),
            ToPeer::Stop => self.playout.stop(),
            ToPeer::Vanish => return Err(Over),
            ToPeer::Close => self.stage = Stage::Flushing(now() + FLUSH_WITHIN),
        }
        Ok(())
    }

    /// Does what there is to do and returns when there will be something again, if nothing happens before. str0m wants everything that
    /// changes it to be followed by taking all of its output.
    fn settle(&mut self, now: Instant) -> Result<Instant, Over> {
        for _ in 0..ROUNDS {
            let due = self.drain(now)?;
            if due <= now {
                self.rtc.handle_input(Input::Timeout(now))?;
            } else if !self.act(now)? {
                return Ok(due.min(self.deadline()));
            }
        }
        Ok(now)
    }

    /// Takes str0m's output and returns the moment at which it wants to be told the time.
    fn drain(&mut self, now: Instant) -> Result<Instant, Over> {
        loop {
            match self.rtc.poll_output()? {
                // What the socket cannot take now is lost, as on any network.
                Output::Transmit(send) => drop(self.socket.try_send_to(&send.contents, send.destination)),
                Output::Event(event) => self.notice(event, now)?,
                Output::Timeout(due) if self.rtc.is_alive() => return Ok(due),
                Output::Timeout(_) => return Err(Over),
            }
        }
    }

    fn notice(&mut self, event: Event, now: Instant) -> Result<(), Over> {
        match event {
            Event::Connected => {
                if let Stage::Connecting(_) = self.stage {
                    self.stage = Stage::Connected;
                }
                self.playout.begin(now);
            }
            // Before, it says that no path was found yet.
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) if self.stage == Stage::Connected => {
                return Err(Over);
            }
            Event::MediaAdded(media) if media.kind == MediaKind::Audio => self.audio = self.audio.or(Some(media.mid)),
            Event::MediaData(data) => self.hear(&data),
            Event::ChannelOpen(id, _) if self.channel.is_none() => {
                self.channel = Some(id);
                if !std::mem::replace(&mut self.announced, true) {
                    self.say(FromPeer::ChannelOpen)?;
                }
            }
            Event::ChannelClose(id) if self.channel == Some(id) => self.channel = None,
            Event::ChannelData(data) => self.read(data)?,
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, data: &MediaData) {
        // Audio that nobody takes is dropped, so that there is room for texts.
        if data.params.spec().codec == Codec::Opus && self.tell.capacity() > FROM_PEER / 2 {
            let duration = opus::time(opus::ticks(&data.data).unwrap_or(FRAME));
            let level = self.meter.level(&data.data, data.ext_vals.audio_level);
            let heard = Heard { level, packet: Bytes::copy_from_slice(&data.data), duration };
            let _ = self.tell.try_send(FromPeer::Heard(heard));
        }
    }

    fn read(&mut self, data: ChannelData) -> Result<(), Over> {
        if data.data.len() > MAX_TEXT {
            return Err(Over);
        }
        // Binary messages are none of the Realtime API's.
        let text = String::from_utf8(data.data).ok().filter(|_| !data.binary);
        text.map_or(Ok(()), |text| self.say(FromPeer::Text(text)))
    }

    /// Ends the call when nobody takes what it says. A call that does not listen at all may go on.
    fn say(&self, what: FromPeer) -> Result<(), Over> {
        match self.tell.try_send(what) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Over),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// Does one thing that is due, if there is one.
    fn act(&mut self, now: Instant) -> Result<bool, Over> {
        let stage = self.stage;
        match stage {
            Stage::Connecting(by) | Stage::Closing(by) if now >= by => return Err(Over),
            Stage::Connecting(_) | Stage::Closing(_) => return Ok(false),
            Stage::Flushing(by) if now >= by || self.is_flushed() => {
                self.stage = Stage::Closing(now + CLOSE_WITHIN);
                self.rtc.close()?;
                return Ok(true);
            }
            Stage::Connected | Stage::Flushing(_) => {}
        }
        Ok(self.write_text()? || self.write_audio(now)?)
    }

    fn is_flushed(&mut self) -> bool {
        let channel = self.channel.and_then(|id| self.rtc.channel(id));
        channel.is_none_or(|mut channel| channel.buffered_amount() == 0 && self.texts.is_empty())
    }

    fn write_text(&mut self) -> Result<bool, Over> {
        let Some(text) = self.texts.front() else { return Ok(false) };
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else { return Ok(false) };
        // A full buffer is tried again with the next datagram, which says that some of it has arrived.
        let written = channel.write(false, text.as_bytes())?;
        if written && let Some(text) = self.texts.pop_front() {
            self.waiting -= text.len();
        }
        Ok(written)
    }

    fn write_audio(&mut self, now: Instant) -> Result<bool, Over> {
        let Some(due) = self.playout.next(now) else { return Ok(false) };
        // Played to nobody where the offer does not want to hear.
        let sends = |mid: &Mid| self.rtc.media(*mid).is_some_and(|media| media.direction().is_sending());
        let audio = self.audio.filter(sends);
        let Some(writer) = audio.and_then(|mid| self.rtc.writer(mid)) else { return Ok(true) };
        let opus = writer.payload_params().find(|params| params.spec().codec == Codec::Opus).map(PayloadParams::pt);
        if let Some(opus) = opus {
            let time = MediaTime::new(due.timestamp, Frequency::FORTY_EIGHT_KHZ);
            writer.start_of_talkspurt(due.begins).write(opus, now, time, due.packet.as_ref())?;
        }
        Ok(true)
    }

    /// When `act` has something to do, if nothing happens before.
    fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Connecting(by) | Stage::Closing(by) => by,
            Stage::Connected => self.playout.due(),
            Stage::Flushing(by) => by.min(self.playout.due()),
        }
    }
}
