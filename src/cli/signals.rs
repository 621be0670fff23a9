//! Ctrl-C and SIGTERM.

use super::terminal::NOT_DONE;
use crate::error::{Error, Result};
use crate::services::Deadline;

/// The first Ctrl-C (or SIGTERM) stops after the present batch and leaves the rest to the next run; the second ends the
/// process at once.
pub(super) fn stop_on_signal() -> Result<Deadline> {
    let deadline = Deadline::default();
    let mut signals = Signals::listen().map_err(|error| Error::system("listen for signals", error))?;
    let stop = deadline.clone();
    tokio::spawn(async move {
        let mut stopped = false;
        loop {
            signals.next().await;
            if stopped {
                std::process::exit(NOT_DONE.into());
            }
            stopped = true;
            stop.interrupt();
        }
    });
    Ok(deadline)
}

/// The signals that ask a process to stop: Ctrl-C, and SIGTERM where there is one.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(windows)]
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// Waits for the next of them.
    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! { _ = self.terminate.recv() => {} _ = self.interrupt.recv() => {} }
        #[cfg(windows)]
        self.interrupt.recv().await;
    }
}
