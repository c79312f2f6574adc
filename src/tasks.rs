//! Work that must finish even when the client has gone.
//!
//! actix drops a handler's future when its client resets the connection, so a mint inside the handler could be cut between the
//! upstream's answer and the audit entry. `finish` therefore runs the work as a task of the worker's own runtime (where the pooled
//! upstream connections live) and counts it; `drain` resolves when the count is zero. The server stops only after that.

use std::future::Future;

use tokio::task::{JoinError, spawn_local};
use tokio_util::task::TaskTracker;

/// Counts the work of all workers.
#[derive(Clone, Default)]
pub(crate) struct Tasks(TaskTracker);

/// Why work has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfinished {
    /// The process is past its drain: nothing new starts.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// The work panicked.
    #[error("the work panicked")]
    Panicked(#[source] JoinError),
}

impl Tasks {
    /// Runs `work` to its end, whether or not the returned future is polled that far. Must be called on a worker's thread.
    pub(crate) async fn finish<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Result<T, Unfinished> {
        // The token comes first: `drain` then either sees this work, or this sees that the door is closed.
        let token = self.0.token();
        if self.0.is_closed() {
            return Err(Unfinished::ShuttingDown);
        }
        let work = async move {
            let _counted = token;
            work.await
        };
        spawn_local(work).await.map_err(Unfinished::Panicked)
    }

    /// Lets nothing new start, then waits until all work is done.
    pub(crate) async fn drain(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::{Tasks, Unfinished};

    #[tokio::test]
    async fn work_goes_on_when_its_caller_is_dropped_and_drain_waits_for_it() {
        let tasks = Tasks::default();
        let done = Rc::new(Cell::new(false));
        LocalSet::new()
            .run_until(async {
                let mark = done.clone();
                let work = async move {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    mark.set(true);
                };
                let cut = tokio::time::timeout(Duration::from_millis(5), tasks.finish(work)).await;
                assert!(cut.is_err() && !done.get());
                tasks.drain().await;
                assert!(done.get());
                assert!(matches!(tasks.finish(async {}).await, Err(Unfinished::ShuttingDown)));
            })
            .await;
    }

    #[tokio::test]
    async fn a_panic_is_a_result() {
        LocalSet::new()
            .run_until(async {
                let outcome = Tasks::default().finish(async { panic!("expected in this test") }).await;
                assert!(matches!(outcome, Err::<(), _>(Unfinished::Panicked(_))));
            })
            .await;
    }
}
