//! Ctrl-C and SIGTERM: the first asks the command to end, the second ends it.

use std::{process, time::Duration};

use anyhow::Context as _;
use tracing::Span;

use crate::rt::{self, Tasks, watch};

/// The exit code of a command that was interrupted.
pub(super) const INTERRUPTED: u8 = 130;
/// How long a command may take to end after the first signal, for one that is stuck writing its output.
const GRACE: Duration = Duration::from_secs(10);

/// Knows whether the command is to end.
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    raised: watch::Receiver<bool>,
}

impl Interrupt {
    /// Starts to listen. Signals do not kill the process from here on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let (raise, raised) = watch::channel(false);
        let mut signals = Signals::new().context("cannot listen for signals")?;
        Tasks::new(Span::none()).spawn(async move {
            signals.next().await;
            raise.send_replace(true);
            tokio::select! {
                biased;
                () = signals.next() => {}
                () = rt::sleep(GRACE) => {}
            }
            process::exit(INTERRUPTED.into());
        });
        Ok(Self { raised })
    }

    /// Whether a signal came.
    pub(super) fn is_raised(&self) -> bool {
        *self.raised.borrow()
    }

    /// Completes once a signal came.
    pub(super) async fn raised(&self) {
        let mut raised = self.raised.clone();
        if raised.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
