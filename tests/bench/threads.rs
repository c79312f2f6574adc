//! Which threads are the benchmark's own, and the CPU time of all others.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static OURS: Mutex<Vec<OsString>> = Mutex::new(Vec::new());

/// Leaves the current thread out of everything that is counted.
pub(crate) fn mark_ours() {
    let own = fs::read_link("/proc/thread-self").ok().and_then(|path| path.file_name().map(OsString::from));
    OURS.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
}

/// Time on a CPU, in the kernel and outside, of each thread that is not the benchmark's own.
pub(crate) struct OnCpu(HashMap<OsString, Duration>);

impl OnCpu {
    /// `None` where the operating system has no such file. Exact for threads that sleep at this moment.
    pub(crate) fn now() -> Option<Self> {
        let ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = fs::read_dir("/proc/self/task").ok()?.filter_map(|entry| {
            let entry = entry.ok().filter(|entry| !ours.contains(&entry.file_name()))?;
            let times = fs::read_to_string(entry.path().join("schedstat")).ok()?;
            let nanos = times.split(' ').next()?.parse().ok()?;
            Some((entry.file_name(), Duration::from_nanos(nanos)))
        });
        Some(Self(threads.collect()))
    }

    /// What the threads that are alive now have used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = |(id, now): (&OsString, &Duration)| now.saturating_sub(before.0.get(id).copied().unwrap_or_default());
        self.0.iter().map(used).sum()
    }
}
