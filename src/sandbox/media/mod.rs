//! Real WebRTC on loopback: answers SDP offers and carries a call's audio and events over one UDP socket.
//!
//! One thread with a runtime of its own: `driver` reads the socket and hands each datagram to the task of the peer that it is for
//! (`peer`), which owns a str0m `Rtc`, paces the outgoing audio (`playout`) and talks to its `Leg` over bounded channels. A peer that
//! panics ends alone, because its task does.

#[cfg(test)]
pub(super) mod browser;
#[cfg(test)]
mod calls;
mod demux;
mod driver;
mod offer;
mod peer;
mod playout;

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use super::voice::Clip;

/// Most peers at a time.
const MOST_PEERS: usize = 512;

/// Longest text over a data channel in bytes, either way: what OpenAI's peers and Chromium announce.
const MAX_TEXT: usize = 256 * 1024;

/// Texts for a peer that wait for it, in bytes.
const MAX_WAITING: usize = 1024 * 1024;

/// Messages to a peer that wait for it.
const TO_PEER: usize = 256;

/// What a peer has to say that waits for its call. The last half is for texts: audio that nobody takes is dropped first.
const FROM_PEER: usize = 512;

/// Bytes of packets that wait in the socket: some 50 ms of `MOST_PEERS` calls.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// Offers that wait for the media thread.
const OFFERS: usize = 64;

/// Handle to the media thread, which ends with its last handle and takes the calls along.
#[derive(Clone)]
pub(super) struct Media {
    offers: mpsc::Sender<Offer>,
}

/// An SDP offer on its way to the media thread.
struct Offer {
    sdp: String,
    dcid: Option<u16>,
    answer: oneshot::Sender<Result<(String, Leg), Rejected>>,
}

/// One call's ends of its two channels. `from_peer` says `Closed` once and then nothing more; when it ends without (the peer failed),
/// that means the same.
pub(super) struct Leg {
    pub(super) to_peer: mpsc::Sender<ToPeer>,
    pub(super) from_peer: mpsc::Receiver<FromPeer>,
}

/// What a call tells its peer. Taken in order.
pub(super) enum ToPeer {
    /// A server event for the data channel; waits until that is open. More than 1 MiB waiting, or one longer than 256 KiB, ends the call.
    Text(String),
    /// Plays after what is already queued. In between, and from the moment the peer is connected, it hears silence.
    Play(Clip),
    /// Drops what is queued and being played: an interruption.
    Stop,
    /// Delivers the texts before it, if the peer takes them soon, and closes. So does dropping the sender.
    Close,
    /// Is gone at once, without a goodbye: as if a cable had been cut.
    Vanish,
}

/// What a peer tells its call.
#[derive(Debug)]
pub(super) enum FromPeer {
    /// A data channel is open: the first moment at which `ToPeer::Text` is delivered. Said once.
    ChannelOpen,
    /// A client event.
    Text(String),
    /// A packet of the user's audio.
    Heard(Heard),
    /// The peer has gone: it closed, it was told to, it was lost, or it never connected.
    Closed,
}

/// A packet of the user's audio.
#[derive(Debug)]
pub(super) struct Heard {
    /// Root mean square in dBFS: -127 (silence, and what cannot be decoded) to 0.
    pub(super) level: f32,
    /// The Opus packet, so that it can be played back.
    pub(super) packet: Bytes,
    /// How long it lasts; 20 ms usually.
    pub(super) duration: Duration,
}

/// Why an offer got no answer. The sentence is for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("The SDP offer cannot be answered: {0}.")]
    Offer(String),
    #[error("The simulated upstream holds {MOST_PEERS} calls and takes no more. Hang some up.")]
    Full,
    /// The media thread has ended, or this offer made it fail.
    #[error("The simulated upstream cannot answer calls.")]
    Broken,
}

impl Media {
    /// Binds a UDP socket on a free port of 127.0.0.1 and starts the thread that drives all peers.
    pub(super) fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        // As much as the system allows; with less, packets are lost when the thread is held up.
        let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (offers, received) = mpsc::channel(OFFERS);
        let drive = move || {
            if let Err(error) = runtime.block_on(driver::run(socket, received)) {
                tracing::error!(%error, "the simulated upstream's media has ended");
            }
        };
        thread::Builder::new().name("sandbox-media".into()).spawn(drive)?;
        Ok(Self { offers })
    }

    /// Answers an SDP offer. `dcid`: the id of a data channel that both sides know of beforehand. The call ends by itself when the sender
    /// of its leg is dropped, or when the peer closes, is lost, or has not connected within 15 s.
    pub(super) async fn answer(&self, offer: &str, dcid: Option<u16>) -> Result<(String, Leg), Rejected> {
        let (answer, answered) = oneshot::channel();
        let offer = Offer { sdp: offer.to_owned(), dcid, answer };
        self.offers.send(offer).await.map_err(|_| Rejected::Broken)?;
        answered.await.map_err(|_| Rejected::Broken)?
    }
}
