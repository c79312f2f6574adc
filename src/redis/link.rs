//! Keeps a connection: made in the background, made anew when it broke or hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::failure::describe;
use super::origin::Origin;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const NO_ANSWER: &str = "no answer within two seconds";
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection on which so many calls in a row got no answer is given up: whoever was at its other end may be gone.
const SILENT: u32 = 3;

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) enum Link {
    /// One node, or the master that Sentinel named.
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Node(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

#[derive(Clone)]
enum State {
    /// Not known yet, or being made anew: worth waiting for.
    Connecting,
    Up(u64, Link),
    /// The last attempt failed.
    Down,
}

/// Whoever uses the connection, and the task that makes it.
pub(super) struct Keeper {
    state: watch::Receiver<State>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Which connection it is by now.
    generation: AtomicU64,
    /// The newest connection that was given up.
    given_up: AtomicU64,
    /// Calls in a row that got no answer.
    silent: AtomicU32,
    broken: Notify,
}

impl Keeper {
    /// Must run inside the process's runtime.
    pub(super) fn start(origin: Arc<Origin>, deadline: Duration) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let shared = Arc::new(Shared::default());
        tokio::spawn(keep(origin, deadline, sender, shared.clone()));
        Self { state, shared }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(..))
    }

    /// The connection and which it is; waits while one is being made. `None` when there is none to be had.
    pub(super) async fn link(&self) -> Option<(u64, Link)> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| !matches!(state, State::Connecting)).await.ok()?;
        match &*state {
            State::Up(generation, link) => Some((*generation, link.clone())),
            State::Connecting | State::Down => None,
        }
    }

    pub(super) fn answered(&self) {
        if self.shared.silent.load(Ordering::Relaxed) > 0 {
            self.shared.silent.store(0, Ordering::Relaxed);
        }
    }

    /// No answer came in time on this connection.
    pub(super) fn unanswered(&self, generation: u64) {
        // Of a connection before, it says nothing of this one.
        if self.is_current(generation) && self.shared.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT {
            self.give_up(generation);
        }
    }

    /// This connection is of no use any more. It is made anew once, however many calls say so.
    pub(super) fn give_up(&self, generation: u64) {
        if self.is_current(generation) {
            self.shared.given_up.fetch_max(generation, Ordering::Relaxed);
            self.shared.broken.notify_one();
        }
    }

    fn is_current(&self, generation: u64) -> bool {
        generation == self.shared.generation.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Until this connection is given up.
    async fn gone(&self, generation: u64) {
        while self.given_up.load(Ordering::Relaxed) < generation {
            self.broken.notified().await;
        }
    }
}

/// Until nobody is left who could use it.
async fn keep(origin: Arc<Origin>, deadline: Duration, state: watch::Sender<State>, shared: Arc<Shared>) {
    let mut pause = PAUSES.0;
    // The cause that was logged last.
    let mut told = None;
    while !state.is_closed() {
        match timeout(CONNECT_TIMEOUT, origin.connect(deadline)).await {
            Ok(Ok(link)) => {
                if told.take().is_some() {
                    tracing::info!("the store is reached again");
                }
                pause = PAUSES.0;
                let generation = shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
                shared.silent.store(0, Ordering::Relaxed);
                let made = Instant::now();
                state.send_replace(State::Up(generation, link));
                tokio::select! {
                    () = shared.gone(generation) => {}
                    () = state.closed() => return,
                }
                state.send_replace(State::Connecting);
                // Whoever refuses again and again is not asked without a break.
                if made.elapsed() < PAUSES.1 {
                    sleep(pause).await;
                }
            }
            failed => {
                let cause = failed
                    .map_or_else(|_| NO_ANSWER.to_owned(), |refused| refused.err().as_ref().map(describe).unwrap_or_default());
                if told.as_ref() != Some(&cause) {
                    tracing::error!(cause, "the store cannot be reached; it is tried again");
                }
                told = Some(cause);
                state.send_replace(State::Down);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// See [`super::Redis::listen`].
pub(super) fn listen(origin: Arc<Origin>, channel: String) -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        let mut pause = PAUSES.0;
        while !sender.is_closed() {
            if let Ok(Ok(mut messages)) = timeout(CONNECT_TIMEOUT, origin.subscribe(&channel)).await {
                pause = PAUSES.0;
                sender.send_modify(|count| *count += 1);
                loop {
                    tokio::select! {
                        message = messages.next() => match message {
                            Some(_) => sender.send_modify(|count| *count += 1),
                            None => break,
                        },
                        () = sender.closed() => return,
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    });
    receiver
}
