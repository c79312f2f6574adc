//! Entries to something that may block: standard output, a pipe, a device. A thread writes; callers wait for it, but not for ever.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::SinkError;

const WAITING: usize = 1024;
const DEADLINE: Duration = Duration::from_secs(1);

struct Job {
    line: Box<[u8]>,
    done: oneshot::Sender<io::Result<()>>,
}

pub(super) struct PipeSink(SyncSender<Job>);

impl PipeSink {
    pub(super) fn stdout() -> Self {
        Self::writing_to(|line| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(line).and_then(|()| stdout.flush())
        })
    }

    /// Opened for each line, so that a reader may come and go.
    pub(super) fn device(path: PathBuf) -> Self {
        Self::writing_to(move |line| OpenOptions::new().append(true).open(&path)?.write_all(line))
    }

    fn writing_to(mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> Self {
        let (jobs, waiting): (SyncSender<Job>, Receiver<Job>) = sync_channel(WAITING);
        thread::spawn(move || {
            for job in waiting {
                // A caller that stopped waiting was told that its entry failed and got no token; its line must not follow later.
                if !job.done.is_closed() {
                    let _ = job.done.send(write(&job.line));
                }
            }
        });
        Self(jobs)
    }

    pub(super) async fn write(&self, line: &[u8]) -> Result<(), SinkError> {
        let (done, answer) = oneshot::channel();
        self.0.try_send(Job { line: line.into(), done }).map_err(|_| SinkError::Stuck)?;
        match timeout(DEADLINE, answer).await {
            Ok(Ok(outcome)) => outcome.map_err(SinkError::Write),
            Ok(Err(_)) | Err(_) => Err(SinkError::Stuck),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    use super::{PipeSink, SinkError};

    #[tokio::test]
    async fn a_full_device_refuses_and_a_pipe_without_reader_gets_stuck_for_a_second_only() {
        let full = PipeSink::device(PathBuf::from("/dev/full"));
        assert!(matches!(full.write(b"line\n").await, Err(SinkError::Write(_))));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let stuck = tokio::time::timeout(Duration::from_secs(5), PipeSink::device(path).write(b"line\n")).await;
        assert!(matches!(stuck, Ok(Err(SinkError::Stuck))));
    }
}
