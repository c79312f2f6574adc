//! The one thread that writes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::file::File;
use super::{Shared, Table};

/// The first pause after a commit failed; each is twice as long as the one before, up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Tries to write what is left when the process ends.
const LAST_TRIES: u32 = 5;

/// The last change of each entry, in the order of the file.
pub(super) type Group = BTreeMap<(Table, Box<[u8]>), Option<Box<[u8]>>>;

pub(super) struct Committer {
    file: Arc<File>,
    shared: Arc<Shared>,
    /// What the next commit writes: empty unless the last one failed.
    group: Group,
}

impl Committer {
    pub(super) fn new(file: Arc<File>, shared: Arc<Shared>) -> Self {
        Self { file, shared, group: Group::new() }
    }

    pub(super) fn run(mut self) {
        let mut failed = 0;
        loop {
            let (last, closing) = self.gather(failed);
            if self.group.is_empty() && closing {
                break;
            }
            match self.file.commit(&self.group) {
                Ok(()) => {
                    if failed > 0 {
                        tracing::info!("the durable store is written again; nothing that waited was lost");
                    }
                    failed = 0;
                    self.group.clear();
                }
                Err(error) => {
                    if failed == 0 {
                        tracing::error!(%error, "the durable store cannot be written; changes are kept and tried again");
                    }
                    self.shared.failures.inc();
                    failed += 1;
                }
            }
            self.publish(last, failed > 0);
            if closing && failed >= LAST_TRIES {
                break;
            }
        }
        self.file.close();
        self.shared.progress.send_modify(|progress| progress.ended = true);
    }

    /// Waits until there is something to do, and takes all of it: the number of the last change, and whether it is the last time.
    fn gather(&mut self, failed: u32) -> (u64, bool) {
        let shared = self.shared.clone();
        let mut queue = shared.queue();
        queue.kept = self.group.len();
        if failed > 0 {
            let pause = PAUSE.0.saturating_mul(1 << failed.min(10)).min(PAUSE.1);
            let closing = queue.closing;
            let done = |queue: &mut super::Queue| queue.closing == closing;
            queue = shared.ready.wait_timeout_while(queue, pause, done).unwrap_or_else(PoisonError::into_inner).0;
        } else {
            let idle = |queue: &mut super::Queue| queue.gathered.is_empty() && !queue.closing;
            queue = shared.ready.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        }
        let (gathered, last, closing) = (std::mem::take(&mut queue.gathered), queue.taken, queue.closing);
        queue.kept += gathered.len();
        drop(queue);
        self.group.extend(gathered.into_iter().map(|change| ((change.table, change.key), change.value)));
        (last, closing)
    }

    fn publish(&self, last: u64, failing: bool) {
        self.shared.queue().kept = self.group.len();
        self.shared.progress.send_modify(|progress| {
            progress.tried = last;
            progress.failing = failing;
            if !failing {
                progress.written = last;
            }
        });
    }
}
