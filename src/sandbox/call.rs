//! Calls that are going on: one task each connects a peer, a conversation, sidebands and the clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::conversation::{Conversation, Ending, Live, Out};
use super::media::{FromPeer, Leg, ToPeer};
use crate::domain::clock::SharedClock;

/// Calls and sessions at once.
const MOST_CALLS: usize = 512;
/// Sidebands of one call.
const MOST_SIDEBANDS: usize = 8;
/// Orders that wait for one call.
const MOST_ORDERS: usize = 64;
/// A client that takes nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the goodbye to be heard.
const PARTING: Duration = Duration::from_secs(2);

/// What others may do with a call.
pub(super) enum Order {
    /// Every event goes to this sideband too. One that cannot keep up is dropped.
    Join(mpsc::Sender<String>),
    /// A client event from a sideband.
    Say(String),
    HangUp,
}

/// All calls by their id.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<HashMap<String, mpsc::Sender<Order>>>>);

impl Calls {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Order>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new call; `None` when there are too many.
    pub(super) fn place(&self, id: String) -> Option<Place> {
        let mut calls = self.lock();
        if calls.len() >= MOST_CALLS {
            return None;
        }
        let (orders, received) = mpsc::channel(MOST_ORDERS);
        calls.insert(id.clone(), orders);
        Some(Place { calls: self.clone(), id, orders: received })
    }

    /// The way to a call that is going on.
    pub(super) fn find(&self, id: &str) -> Option<mpsc::Sender<Order>> {
        self.lock().get(id).cloned()
    }
}

/// One call's entry among all calls, which it leaves when this is dropped.
pub(super) struct Place {
    calls: Calls,
    id: String,
    orders: mpsc::Receiver<Order>,
}

impl Place {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.id);
    }
}

/// What is said in a call.
pub(super) enum Talk {
    Realtime(Box<Conversation>),
    Live(Box<Live>),
}

impl Talk {
    fn next(&mut self) -> Option<Out> {
        match self {
            Self::Realtime(talk) => talk.next(),
            Self::Live(talk) => talk.next(),
        }
    }

    fn due(&self) -> Option<Duration> {
        match self {
            Self::Realtime(talk) => talk.due(),
            Self::Live(talk) => Some(talk.due()),
        }
    }

    fn advance(&mut self, now: Duration) {
        match self {
            Self::Realtime(talk) => talk.advance(now),
            Self::Live(talk) => talk.advance(now),
        }
    }

    fn receive(&mut self, text: &str, now: Duration) {
        match self {
            Self::Realtime(talk) => talk.receive(text, now),
            Self::Live(talk) => talk.receive(text, now),
        }
    }

    fn welcome(&mut self) -> String {
        match self {
            Self::Realtime(talk) => talk.welcome(),
            Self::Live(talk) => talk.welcome(),
        }
    }

    fn hang_up(&mut self, now: Duration) {
        match self {
            Self::Realtime(talk) => talk.hang_up(),
            Self::Live(talk) => talk.hang_up(now),
        }
    }
}

/// A call.
pub(super) struct Call {
    pub(super) talk: Talk,
    pub(super) leg: Leg,
    pub(super) place: Place,
    pub(super) clock: SharedClock,
    pub(super) sidebands: Vec<mpsc::Sender<String>>,
}

impl Call {
    /// Runs to the call's end.
    pub(super) async fn run(mut self) {
        loop {
            if self.settle().await.is_err() {
                return;
            }
            let now = self.clock.steady();
            let due = self.talk.due().map_or(Duration::MAX, |due| due.saturating_sub(now));
            tokio::select! {
                said = self.leg.from_peer.recv() => match said {
                    None | Some(FromPeer::Closed) => return,
                    Some(said) => self.take(said),
                },
                order = self.place.orders.recv() => match order {
                    None => return,
                    Some(order) => self.obey(order),
                },
                () = sleep(due) => {}
            }
            self.talk.advance(self.clock.steady());
        }
    }

    fn take(&mut self, said: FromPeer) {
        let now = self.clock.steady();
        match (said, &mut self.talk) {
            (FromPeer::Text(text), talk) => talk.receive(&text, now),
            (FromPeer::Heard(heard), Talk::Realtime(talk)) => talk.hear(heard.level, heard.packet, heard.duration, now),
            (FromPeer::Heard(heard), Talk::Live(talk)) => talk.hear(heard.level, heard.duration),
            (FromPeer::ChannelOpen | FromPeer::Closed, _) => {}
        }
    }

    fn obey(&mut self, order: Order) {
        let now = self.clock.steady();
        match order {
            Order::Say(text) => self.talk.receive(&text, now),
            Order::HangUp => self.talk.hang_up(now),
            Order::Join(sideband) => {
                self.sidebands.retain(|sideband| !sideband.is_closed());
                if self.sidebands.len() < MOST_SIDEBANDS && sideband.try_send(self.talk.welcome()).is_ok() {
                    self.sidebands.push(sideband);
                }
            }
        }
    }

    /// Does all that the conversation wants done. An error: the call is over.
    async fn settle(&mut self) -> Result<(), ()> {
        while let Some(out) = self.talk.next() {
            match out {
                Out::Event(text) => {
                    self.sidebands.retain(|sideband| sideband.try_send(text.clone()).is_ok());
                    self.tell(ToPeer::Text(text)).await?;
                }
                Out::Play(clip) => self.tell(ToPeer::Play(clip)).await?,
                Out::Stop => self.tell(ToPeer::Stop).await?,
                Out::End(ending) => {
                    self.end(ending).await;
                    return Err(());
                }
            }
        }
        Ok(())
    }

    async fn tell(&self, what: ToPeer) -> Result<(), ()> {
        match timeout(PATIENCE, self.leg.to_peer.send(what)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    }

    async fn end(&mut self, ending: Ending) {
        let last = match ending {
            Ending::Clean => ToPeer::Close,
            Ending::Vanish => ToPeer::Vanish,
        };
        if self.tell(last).await.is_ok() {
            let closed = async { while !matches!(self.leg.from_peer.recv().await, None | Some(FromPeer::Closed)) {} };
            let _ = timeout(PARTING, closed).await;
        }
    }
}
