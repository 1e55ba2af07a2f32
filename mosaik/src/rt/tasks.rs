//! The tasks of one network, cancelled and awaited together.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

#[cfg(any(test, feature = "sim"))]
use super::machine::Process;

/// Spawns tasks that end with the network they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    token: CancellationToken,
    span: tracing::Span,
    /// The simulated process that they belong to.
    #[cfg(any(test, feature = "sim"))]
    process: Option<Process>,
}

impl Tasks {
    /// An empty set whose tasks run inside `span`, on the runtime that this is called on.
    pub(crate) fn new(span: tracing::Span) -> Self {
        Self {
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
            span,
            #[cfg(any(test, feature = "sim"))]
            process: Process::current(),
        }
    }

    /// A set that can be cancelled alone, and is with this one. Its tasks count as this one's.
    pub(crate) fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            ..self.clone()
        }
    }

    /// Runs `future` until it ends or the set is cancelled.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = future => {}
            }
        };
        drop(self.start(self.tracker.track_future(task)));
    }

    /// Runs `future` to its end, whatever becomes of the set; for what ends the set itself. Dropping the
    /// handle does not end it.
    pub(crate) fn spawn_last(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.start(future)
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let task = task.instrument(self.span.clone());
        #[cfg(any(test, feature = "sim"))]
        if let Some(process) = &self.process {
            return process.spawn(task);
        }
        self.runtime.spawn(task)
    }

    /// Whether the set is cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends all tasks at their next await.
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Completes once the set is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Waits until all tasks of a cancelled set are gone.
    pub(crate) async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Number of tasks that run.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }
}
