//! Work that must finish even when the client has gone.
//!
//! actix drops a handler's future when its client resets the connection, so a mint inside the handler could be cut between the
//! upstream's answer and the audit entry. `finish` therefore hands work that is dropped half-way to the worker's own runtime (where the
//! pooled upstream connections live) and counts it; `drain` resolves when the count is zero. The server stops only after that.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use tokio::task::spawn_local;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts the work of all workers.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    abandoned: Arc<AtomicBool>,
}

/// Why work has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfinished {
    /// The process is past its drain: nothing new starts.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// The work panicked.
    #[error("the work panicked")]
    Panicked,
}

impl Tasks {
    /// Runs `work` to its end, whether or not the returned future is polled that far. Must be polled on a worker's thread.
    pub(crate) async fn finish<T: 'static>(&self, work: Pin<Box<dyn Future<Output = T>>>) -> Result<T, Unfinished> {
        // The token comes first: `drain` then either sees this work, or this sees that the door is closed.
        let token = self.tracker.token();
        if self.tracker.is_closed() {
            return Err(Unfinished::ShuttingDown);
        }
        let work = Some(Counted { work: AssertUnwindSafe(work).catch_unwind(), _token: token });
        // Polled in place, which is cheaper than a task; what is left of it becomes one only when the caller is dropped.
        Finished { work, abandoned: self.abandoned.clone() }.await.map_err(|_panic| Unfinished::Panicked)
    }

    /// Lets nothing new start, then waits until all work is done.
    pub(crate) async fn drain(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Work that is dropped from now on is lost: the runtimes that could carry it are about to end.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

/// Work, and its place in the count.
struct Counted<T> {
    work: CatchUnwind<AssertUnwindSafe<Pin<Box<dyn Future<Output = T>>>>>,
    _token: TaskTrackerToken,
}

impl<T> Counted<T> {
    /// Runs to the end. Takes all of itself along: the count falls only when the work is done.
    async fn unheard(self) {
        let Self { work, _token } = self;
        drop(work.await);
    }
}

struct Finished<T: 'static> {
    /// `None` once it is done.
    work: Option<Counted<T>>,
    abandoned: Arc<AtomicBool>,
}

impl<T> Future for Finished<T> {
    type Output = std::thread::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(counted) = &mut self.work else { return Poll::Pending };
        let outcome = counted.work.poll_unpin(context);
        if outcome.is_ready() {
            self.work = None;
        }
        outcome
    }
}

impl<T> Drop for Finished<T> {
    fn drop(&mut self) {
        let Some(counted) = self.work.take() else { return };
        if !self.abandoned.load(Ordering::Acquire) {
            spawn_local(counted.unheard());
        }
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
                let (go_on, told) = tokio::sync::oneshot::channel();
                let work = async move {
                    let _ = told.await;
                    mark.set(true);
                };
                let cut = tokio::time::timeout(Duration::from_millis(5), tasks.finish(Box::pin(work))).await;
                assert!(cut.is_err() && !done.get());
                go_on.send(()).unwrap();
                tasks.drain().await;
                assert!(done.get());
                assert!(matches!(tasks.finish(Box::pin(async {})).await, Err(Unfinished::ShuttingDown)));
            })
            .await;
    }

    #[tokio::test]
    async fn a_panic_is_a_result() {
        let outcome = Tasks::default().finish(Box::pin(async { panic!("expected in this test") })).await;
        assert!(matches!(outcome, Err::<(), _>(Unfinished::Panicked)));
    }

    #[tokio::test]
    async fn after_abandoning_dropped_work_is_dropped_without_a_runtime_that_could_carry_it() {
        let tasks = Tasks::default();
        let cut = tokio::time::timeout(Duration::from_millis(5), tasks.finish(Box::pin(std::future::pending::<()>())));
        tasks.abandon();
        assert!(cut.await.is_err());
        tasks.drain().await;
    }
}
