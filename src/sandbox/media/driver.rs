//! Reads the socket for all peers and starts and forgets them.

use std::collections::HashMap;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;

use str0m::IceCreds;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{self, Id, JoinError, JoinSet};

use super::demux::Demux;
use super::peer::{self, Place};
use super::{MOST_PEERS, Offer, Rejected};

/// Datagrams for one peer that wait for it; more than these are lost, as on any network.
const WAITING: usize = 128;

/// Datagrams that are read before peers get their turn.
const BATCH: usize = 64;

/// Longest datagram that str0m takes. No packet of a call is longer.
const LONGEST: usize = 2_000;

/// A datagram and where it came from.
pub(super) type Datagram = (SocketAddr, Vec<u8>);

struct Driver {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    demux: Demux<mpsc::Sender<Datagram>>,
    tasks: JoinSet<()>,
    /// The user fragment of each task's peer.
    fragments: HashMap<Id, String>,
}

/// Ends when there is nobody left who could offer anything, and ends all peers with it.
pub(super) async fn run(socket: net::UdpSocket, mut offers: mpsc::Receiver<Offer>) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let (local, demux) = (socket.local_addr()?, Demux::new());
    let mut driver = Driver { socket: socket.clone(), local, demux, tasks: JoinSet::new(), fragments: HashMap::new() };
    let mut buffer = [0; LONGEST + 1];
    loop {
        tokio::select! {
            offer = offers.recv() => match offer {
                Some(offer) => driver.admit(offer),
                None => return Ok(()),
            },
            readable = socket.readable() => {
                readable?;
                driver.receive(&mut buffer);
                task::yield_now().await;
            }
            Some(ended) = driver.tasks.join_next_with_id() => driver.forget(&ended),
        }
    }
}

impl Driver {
    fn admit(&mut self, offer: Offer) {
        if self.demux.len() >= MOST_PEERS {
            // Nobody may be waiting for the answer any more.
            let _ = offer.answer.send(Err(Rejected::Full));
            return;
        }
        let (sender, datagrams) = mpsc::channel(WAITING);
        let credentials = IceCreds::new();
        let fragment = credentials.ufrag.clone();
        let place = Place { socket: self.socket.clone(), local: self.local, credentials, datagrams };
        let task = self.tasks.spawn(peer::run(place, offer));
        self.fragments.insert(task.id(), fragment.clone());
        self.demux.insert(fragment, sender);
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Ok((length, source)) = self.socket.try_recv_from(buffer) else { return };
            let Some(datagram) = buffer.get(..length).filter(|_| length <= LONGEST) else { continue };
            if let Some(peer) = self.demux.find(datagram, source) {
                // A full queue loses the datagram.
                let _ = peer.try_send((source, datagram.to_vec()));
            }
        }
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => {
                tracing::warn!(%error, "a simulated call failed");
                error.id()
            }
        };
        if let Some(fragment) = self.fragments.remove(&id) {
            self.demux.remove(&fragment);
        }
    }
}
