//! What the operating system shows of this process. Its memory holds the permanent key, its environment perhaps too.
//!
//! Where the system refuses, the process runs all the same: this is a second line of defence.

use rustix::process::{Resource, Rlimit, setrlimit};

/// No core dumps.
pub(crate) fn no_core_dumps() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Neither a debugger nor other processes of the same user read memory and environment (`/proc/PID`). Nor does this process find its own
/// `/proc/self/fd` any more, where `/dev/stdout` leads: for once everything is open.
pub(crate) fn hide_memory() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
