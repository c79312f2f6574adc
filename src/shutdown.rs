//! When to stop, and when to look for new secrets.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, in the order they come.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    reloads: bool,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// SIGHUP: to look for new secrets.
    Reload,
    /// To end, with the exit code that a process ended by the signal has by convention (128 + its number).
    End(u8),
}

impl Signals {
    /// Starts to listen. SIGHUP asks for new secrets if the process `reloads`; otherwise, as when its terminal closes, it ends it. Fails when
    /// the process may not handle signals.
    pub(crate) fn listen(reloads: bool) -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self { interrupt: interrupt?, terminate: terminate?, hangup: hangup?, reloads })
    }

    /// Resolves at the next signal.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End(130),
            _ = self.terminate.recv() => Told::End(143),
            _ = self.hangup.recv() => if self.reloads { Told::Reload } else { Told::End(129) },
        }
    }
}
