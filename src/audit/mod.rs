//! Every mint, sign-in and guest, and every refusal of one, written down before it is answered. No entry, no token.

mod entry;
mod file;
mod pipe;

use std::path::{Path, PathBuf};

use crate::config::{self, Sink as Place};
use crate::telemetry::metrics::Metrics;
pub(crate) use entry::Entry;
use file::FileSink;
use pipe::PipeSink;

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error("the sink does not take the entry")]
    Write(#[source] std::io::Error),
    #[error("the sink did not take the entry in time")]
    Stuck,
}

/// A sink that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("audit.sinks[{index}]: cannot be opened: {}: {cause}", place.display())]
pub(crate) struct Unopened {
    index: usize,
    place: PathBuf,
    cause: std::io::Error,
}

/// Where entries go. A closed set: one variant, one file.
enum Sink {
    /// A regular file, written in place: a write to the page cache takes less time than handing it to another thread.
    File(FileSink),
    /// Standard output, a pipe or a device: whatever may block, behind a thread and a deadline.
    Pipe(PipeSink),
}

impl Sink {
    fn open(place: Place) -> std::io::Result<Self> {
        match place {
            Place::Stdout => Ok(Self::Pipe(PipeSink::stdout())),
            Place::File(path) if path.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
            Place::File(path) if path.exists() && !path.is_file() => Ok(Self::Pipe(PipeSink::device(path))),
            Place::File(path) => Ok(Self::File(FileSink::open(&path)?)),
        }
    }

    async fn write(&self, line: &[u8]) -> Result<(), SinkError> {
        match self {
            Self::File(sink) => sink.write(line).map_err(SinkError::Write),
            Self::Pipe(sink) => sink.write(line).await,
        }
    }
}

/// Whether entries can go to this path. Creates the file, as the service is about to do.
pub(crate) fn try_sink(path: &Path) -> std::io::Result<()> {
    Sink::open(Place::File(path.to_owned())).map(drop)
}

/// The same, and leaves no file that was not there.
pub(crate) fn try_sink_unseen(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return try_sink(path);
    }
    drop(std::fs::File::create_new(path)?);
    std::fs::remove_file(path)
}

/// Writes entries to every configured sink.
pub(crate) struct Auditor {
    sinks: Vec<Sink>,
    required: bool,
    metrics: Metrics,
}

/// An entry was written, or need not be.
#[derive(Debug)]
pub(crate) struct Recorded(());

impl Auditor {
    pub(crate) fn open(settings: config::Audit, metrics: Metrics) -> Result<Self, Unopened> {
        let mut sinks = Vec::new();
        for (index, place) in settings.sinks.into_iter().enumerate() {
            let path = if let Place::File(path) = &place { path.clone() } else { PathBuf::from("stdout") };
            sinks.push(Sink::open(place).map_err(|cause| Unopened { index, place: path, cause })?);
        }
        Ok(Self { sinks, required: settings.required, metrics })
    }

    /// Writes an entry to all sinks. Fails when one does not take it and entries are required.
    pub(crate) async fn record(&self, entry: &Entry<'_>) -> Result<Recorded, SinkError> {
        let line = entry.line();
        let mut outcome = Ok(Recorded(()));
        for sink in &self.sinks {
            if let Err(error) = sink.write(&line).await {
                self.metrics.audit_failures.inc();
                tracing::error!(%error, cause = std::error::Error::source(&error).map(ToString::to_string), required = self.required, "an audit entry could not be written");
                if self.required {
                    outcome = Err(error);
                }
            }
        }
        outcome
    }
}
