//! The one thread that writes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::file::File;
use super::{Queue, Shared, Table};

/// The first pause after a commit failed; each is twice as long as the one before, up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Tries to write what is left when the process ends, a second apart at most.
const LAST_TRIES: u32 = 5;

/// The last change of each entry, in the order of the file.
pub(super) type Group = BTreeMap<(Table, Box<[u8]>), Option<Box<[u8]>>>;

pub(super) struct Committer {
    file: Arc<File>,
    shared: Arc<Shared>,
    /// What the next commit writes: empty unless the last one failed.
    group: Group,
    /// Commits that failed since the last that did not, or since closing began.
    failed: u32,
}

impl Committer {
    pub(super) fn new(file: Arc<File>, shared: Arc<Shared>) -> Self {
        Self { file, shared, group: Group::new(), failed: 0 }
    }

    /// Ends once closing, when all is written or the last try failed.
    pub(super) fn run(mut self) {
        let mut closing = false;
        while !closing || (!self.group.is_empty() && self.failed < LAST_TRIES) {
            let (last, closes) = self.gather();
            if closes && !closing {
                (closing, self.failed) = (true, 0);
            }
            if !self.group.is_empty() {
                self.commit();
            }
            self.publish(last);
        }
    }

    fn commit(&mut self) {
        match self.file.commit(&self.group) {
            Ok(()) => {
                if self.failed > 0 {
                    tracing::info!("the durable store is written again; nothing that waited was lost");
                }
                self.failed = 0;
                self.group.clear();
            }
            Err(error) => {
                if self.failed == 0 {
                    tracing::error!(%error, "the durable store cannot be written; changes are kept and tried again");
                }
                self.shared.failures.inc();
                self.failed = self.failed.saturating_add(1);
            }
        }
    }

    /// Waits until there is something to do, and takes all of it: the number of the last change, and whether the store closes.
    fn gather(&mut self) -> (u64, bool) {
        let shared = self.shared.clone();
        let mut queue = shared.queue();
        if self.failed > 0 {
            let pause = PAUSE.0.saturating_mul(1 << (self.failed - 1).min(10)).min(PAUSE.1);
            let closing = queue.closing;
            let waits = |queue: &mut Queue| queue.closing == closing;
            queue = shared.ready.wait_timeout_while(queue, pause, waits).unwrap_or_else(PoisonError::into_inner).0;
        } else {
            let idle = |queue: &mut Queue| queue.gathered.is_empty() && !queue.closing;
            queue = shared.ready.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        }
        let gathered = std::mem::take(&mut queue.gathered);
        queue.kept += gathered.len();
        let taken = (queue.taken, queue.closing);
        drop(queue);
        self.group.extend(gathered);
        taken
    }

    fn publish(&self, last: u64) {
        let failing = !self.group.is_empty();
        let mut queue = self.shared.queue();
        queue.kept = self.group.len();
        queue.full = queue.full.filter(|until| failing || *until > last);
        drop(queue);
        self.shared.progress.send_modify(|progress| {
            progress.tried = last;
            progress.failing = failing;
            if !failing {
                progress.written = last;
            }
            #[cfg(test)]
            {
                progress.commits += 1;
            }
        });
    }
}

/// However the thread ends, a panic included, the file is free for another process and everybody learns that nothing is written any more.
impl Drop for Committer {
    fn drop(&mut self) {
        self.file.close();
        self.shared.progress.send_modify(|progress| progress.ended = true);
    }
}
