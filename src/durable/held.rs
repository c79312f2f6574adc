//! A file that is opened without being changed.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// What redb reads and writes. It repairs while it opens, so until the file is known to be ours its writes are held in memory.
#[derive(Clone)]
pub(super) struct Held(Arc<Inner>);

struct Inner {
    file: FileBackend,
    /// `None` once the file is written.
    writes: Mutex<Option<Writes>>,
}

struct Writes {
    /// How long the file would be.
    len: u64,
    /// In their order, which is what makes a crash harmless.
    steps: Vec<Step>,
}

enum Step {
    Write(u64, Box<[u8]>),
    Len(u64),
    Sync,
}

impl Held {
    pub(super) fn new(file: File) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(file)?;
        let writes = Writes { len: file.len()?, steps: Vec::new() };
        Ok(Self(Arc::new(Inner { file, writes: Mutex::new(Some(writes)) })))
    }

    /// Does what was held, and holds nothing more. After a failure all is held, and the file is as after a crash.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut writes = self.writes();
        for step in writes.iter().flat_map(|writes| &writes.steps) {
            match step {
                Step::Write(at, data) => self.0.file.write(*at, data)?,
                Step::Len(len) => self.0.file.set_len(*len)?,
                Step::Sync => self.0.file.sync_data()?,
            }
        }
        *writes = None;
        Ok(())
    }

    fn writes(&self) -> MutexGuard<'_, Option<Writes>> {
        self.0.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds `step`, or does `now` when nothing is held any more.
    fn step(&self, step: impl FnOnce() -> Step, now: impl FnOnce(&FileBackend) -> io::Result<()>) -> io::Result<()> {
        match &mut *self.writes() {
            None => now(&self.0.file),
            Some(writes) => {
                let step = step();
                writes.len = match &step {
                    Step::Write(at, data) => writes.len.max(at.saturating_add(data.len() as u64)),
                    Step::Len(len) => *len,
                    Step::Sync => writes.len,
                };
                writes.steps.push(step);
                Ok(())
            }
        }
    }
}

impl Writes {
    fn read(&self, file: &FileBackend, at: u64, out: &mut [u8]) -> io::Result<()> {
        if at.saturating_add(out.len() as u64) > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let there = file.len()?.saturating_sub(at);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        if let Some(out) = out.get_mut(..there).filter(|out| !out.is_empty()) {
            file.read(at, out)?;
        }
        for step in &self.steps {
            match step {
                Step::Write(start, data) => overlay(at, out, *start, data),
                Step::Len(len) => {
                    let kept = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
                    out.iter_mut().skip(kept).for_each(|byte| *byte = 0);
                }
                Step::Sync => {}
            }
        }
        Ok(())
    }
}

/// Copies what `data`, which begins at `start`, has in common with `out`, which begins at `at`.
fn overlay(at: u64, out: &mut [u8], start: u64, data: &[u8]) {
    let skip = |distance: u64| usize::try_from(distance).unwrap_or(usize::MAX);
    let out = out.iter_mut().skip(skip(start.saturating_sub(at)));
    let data = data.iter().skip(skip(at.saturating_sub(start)));
    out.zip(data).for_each(|(out, data)| *out = *data);
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        match &*self.writes() {
            None => self.0.file.len(),
            Some(writes) => Ok(writes.len),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.writes() {
            None => self.0.file.read(offset, out),
            Some(writes) => writes.read(&self.0.file, offset, out),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(|| Step::Write(offset, data.into()), |file| file.write(offset, data))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step(|| Step::Len(len), |file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(|| Step::Sync, FileBackend::sync_data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}
