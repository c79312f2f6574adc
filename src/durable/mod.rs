//! What must survive a restart, on this machine: one file, written in groups.
//!
//! Requests are answered from memory. Every change of that memory is also put here, in the order in which it was made; one thread takes
//! all that has gathered, commits it in one transaction with one `fsync`, and says how far it came. While it writes, the next group
//! gathers, so a commit costs the same for one caller as for hundreds.
//!
//! A commit that fails is tried again with all that gathered since, so the file is never behind memory for good. What waits meanwhile is
//! one change for each key, the last. Of too many the store first gives no tickets, and in the end stops: see [`WAITING_MAX`].

mod committer;
mod file;
mod held;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use committer::{Committer, Group};
use file::File;

pub(crate) use file::{Unopened, try_open};

/// Keys that wait for the disk. With more, every ticket is lost at once and the store is not healthy until they are written; changes are
/// still taken, because one left out would be missing from the file without anyone knowing.
const WAITING_MAX: usize = 200_000;
/// With more keys than this, changes are left out, and the store is not healthy until the process starts anew.
const TAKEN_MAX: usize = 1_000_000;
/// How long a caller waits for the disk.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// What is kept, each in a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Counts,
    Leases,
    Keys,
    Sessions,
    Blocks,
    Webhooks,
}

impl Table {
    const ALL: [Self; 6] = [Self::Counts, Self::Leases, Self::Keys, Self::Sessions, Self::Blocks, Self::Webhooks];
}

/// One entry as it shall be; without a value it shall not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) table: Table,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Option<Box<[u8]>>,
}

/// Stands for all changes up to one of them.
#[derive(Clone, Copy, Debug)]
#[must_use = "a change is on disk only once its ticket has settled"]
pub(crate) struct Ticket(Option<u64>);

/// It is not known whether the change is on disk. It is tried again until it is, or until the process ends.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the change is not known to be on disk")]
pub(crate) struct Lost;

/// How far the committer came. Changes are counted from one.
#[derive(Clone, Copy, Default)]
struct Progress {
    written: u64,
    /// Tried at least once; beyond `written` it did not succeed.
    tried: u64,
    failing: bool,
    /// The committer is no more, and has let go of the file.
    ended: bool,
    #[cfg(test)]
    commits: u64,
}

#[derive(Default)]
struct Queue {
    gathered: Group,
    /// How many changes were ever taken.
    taken: u64,
    /// Keys that are with the committer.
    kept: usize,
    /// More than [`WAITING_MAX`] waited, and the changes up to this one are not written yet.
    full: Option<u64>,
    /// More than [`TAKEN_MAX`] waited.
    overrun: bool,
    closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// The queue is not empty any more, or closing.
    ready: Condvar,
    progress: watch::Sender<Progress>,
    failures: Counter,
}

impl Shared {
    fn new(failures: Counter) -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { queue: Mutex::default(), ready: Condvar::new(), progress, failures }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open file and its committer.
pub(crate) struct Durable {
    file: Arc<File>,
    shared: Arc<Shared>,
}

impl Durable {
    /// Opens the file at `path`, or makes it when there is nothing. Commits that fail are counted in `failures`.
    pub(crate) fn open(path: &Path, failures: Counter) -> Result<Self, Unopened> {
        let file = Arc::new(File::open(path)?);
        let shared = Arc::new(Shared::new(failures));
        let committer = Committer::new(file.clone(), shared.clone());
        thread::Builder::new().name("durable".into()).spawn(move || committer.run()).map_err(Unopened::Thread)?;
        Ok(Self { file, shared })
    }

    /// Hands every entry of `table` that is on disk to `each`.
    pub(crate) fn read(&self, table: Table, each: impl FnMut(&[u8], &[u8])) -> Result<(), Unopened> {
        self.file.read(table, each)
    }

    /// Puts one change. Never waits for the disk.
    pub(crate) fn put(&self, table: Table, key: &[u8], value: Option<&[u8]>) -> Ticket {
        self.write([Change { table, key: key.into(), value: value.map(Into::into) }])
    }

    /// Puts changes that are on disk together or not at all. Never waits for the disk.
    pub(crate) fn write(&self, changes: impl IntoIterator<Item = Change, IntoIter: ExactSizeIterator>) -> Ticket {
        let mut queue = self.shared.queue();
        if queue.closing || queue.overrun {
            return Ticket(None);
        }
        let idle = queue.gathered.is_empty();
        for change in changes {
            queue.taken += 1;
            queue.gathered.insert((change.table, change.key), change.value);
        }
        // A key that is with the committer and changed again counts twice.
        let waiting = queue.gathered.len() + queue.kept;
        if waiting > WAITING_MAX {
            queue.full = Some(queue.taken);
        }
        if waiting > TAKEN_MAX {
            queue.overrun = true;
            tracing::error!("too many changes wait for the durable store; it takes no more until the process starts anew");
        }
        let ticket = Ticket(queue.full.is_none().then_some(queue.taken));
        let wake = idle && !queue.gathered.is_empty();
        drop(queue);
        if wake {
            self.shared.ready.notify_one();
        }
        ticket
    }

    /// Resolves when every change up to `ticket` is on disk, or when that failed or is still unknown after two seconds.
    pub(crate) async fn settled(&self, ticket: Ticket) -> Result<(), Lost> {
        let last = ticket.0.ok_or(Lost)?;
        let mut progress = self.shared.progress.subscribe();
        let come = progress.wait_for(|progress| progress.tried >= last || progress.ended);
        let come = *tokio::time::timeout(SETTLE_WITHIN, come).await.map_err(|_late| Lost)?.map_err(|_gone| Lost)?;
        if come.written >= last { Ok(()) } else { Err(Lost) }
    }

    /// Whether the last commit succeeded, and not too much waits. While it is not, what is new should be refused.
    pub(crate) fn healthy(&self) -> bool {
        let queue = self.shared.queue();
        let much = queue.overrun || queue.full.is_some();
        drop(queue);
        let progress = self.shared.progress.borrow();
        !much && !progress.failing && !progress.ended
    }

    #[cfg(test)]
    pub(crate) fn commits(&self) -> u64 {
        self.shared.progress.borrow().commits
    }

    /// Writes what waits, takes nothing more, and lets go of the file; `Lost` when that takes longer than `bound` or fails.
    pub(crate) async fn close(&self, bound: Duration) -> Result<(), Lost> {
        self.shared.close();
        let mut progress = self.shared.progress.subscribe();
        let end = progress.wait_for(|progress| progress.ended);
        let end = *tokio::time::timeout(bound, end).await.map_err(|_late| Lost)?.map_err(|_gone| Lost)?;
        if end.written == self.shared.queue().taken { Ok(()) } else { Err(Lost) }
    }
}

impl Shared {
    fn close(&self) {
        self.queue().closing = true;
        self.ready.notify_all();
    }
}

/// The committer writes what waits and ends, with nobody waiting for it. Who must know that it is written calls [`Durable::close`].
impl Drop for Durable {
    fn drop(&mut self) {
        self.shared.close();
    }
}
