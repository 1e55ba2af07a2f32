//! The tasks of one network, cancelled and awaited together.
//!
//! A task finds the set that it belongs to with [`Tasks::current`], so that a library that spawns tasks of its
//! own, as openraft does, spawns them into the set of whoever called it.

use std::future::Future;

use tokio::{
    runtime::Handle,
    task::{JoinHandle, futures::TaskLocalFuture},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::Instrument as _;

#[cfg(any(test, feature = "sim"))]
use super::machine::Process;

tokio::task_local! {
    /// The set that the running task belongs to, or that its caller put it in.
    static CURRENT: Tasks;
}

/// Spawns tasks that end with the network they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    /// Who else counts the tasks: the sets that this one is nested in.
    outer: Vec<TaskTracker>,
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
            outer: Vec::new(),
            token: CancellationToken::new(),
            span,
            #[cfg(any(test, feature = "sim"))]
            process: Process::current(),
        }
    }

    /// The set of the running task, or the one whose [`scope`](Self::scope) the caller is in.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// A set that can be cancelled alone, and is with this one. Its tasks count as this one's.
    pub(crate) fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            ..self.clone()
        }
    }

    /// A set that can be cancelled and awaited alone, and is both with this one.
    pub(crate) fn nested(&self) -> Self {
        let mut outer = self.outer.clone();
        outer.push(self.tracker.clone());
        Self {
            tracker: TaskTracker::new(),
            outer,
            ..self.child()
        }
    }

    /// Runs `future` in the caller's task, as one whose [`current`](Self::current) set is this.
    pub(crate) fn scope<F: Future>(&self, future: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self.clone(), future)
    }

    /// Runs `future` until it ends or the set is cancelled.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        let outer: Vec<TaskTrackerToken> = self.outer.iter().map(TaskTracker::token).collect();
        let task = async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = future => {}
            }
            // Last, so that nobody who counts the task takes it for gone while parts of it are left.
            drop(outer);
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
        let task = self.scope(task).instrument(self.span.clone());
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    fn tasks() -> Tasks {
        Tasks::new(tracing::Span::none())
    }

    /// A task that runs until its set is cancelled; says that it began, and drops the sender when it is gone.
    fn forever(tasks: &Tasks) -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
        let (begin, began) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        tasks.spawn(async move {
            let _end: oneshot::Sender<()> = end;
            begin.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        (began, ended)
    }

    #[tokio::test]
    async fn a_nested_set_ends_alone_and_counts_in_the_outer_ones() {
        let outer = tasks();
        let inner = outer.nested();
        let innermost = inner.nested();
        let mut runs = Vec::new();
        for tasks in [&outer, &inner, &innermost] {
            let (began, ended) = forever(tasks);
            began.await.unwrap();
            runs.push(ended);
        }
        assert_eq!((outer.len(), inner.len(), innermost.len()), (3, 2, 1));

        inner.cancel();
        inner.wait().await;
        assert_eq!((outer.len(), inner.len(), innermost.len()), (1, 0, 0));
        assert!(innermost.is_cancelled() && !outer.is_cancelled());
        for run in &mut runs[1..] {
            assert!(run.now_or_never().unwrap().is_err(), "gone when awaited");
        }
        assert!((&mut runs[0]).now_or_never().is_none(), "still runs");

        outer.cancel();
        outer.wait().await;
        assert_eq!(outer.len(), 0);
    }

    #[tokio::test]
    async fn an_outer_set_waits_for_what_is_nested_in_it() {
        let outer = tasks();
        let (began, ended) = forever(&outer.nested());
        began.await.unwrap();
        outer.cancel();
        outer.wait().await;
        assert!(ended.now_or_never().unwrap().is_err());
    }

    #[tokio::test]
    async fn the_current_set_is_inherited() {
        assert!(Tasks::current().is_none());
        let set = tasks();
        let (tell, told) = oneshot::channel();
        set.scope(async {
            let spawned = async move {
                Tasks::current().unwrap().spawn(async move {
                    tell.send(Tasks::current().is_some()).unwrap();
                });
            };
            Tasks::current().unwrap().spawn(spawned);
        })
        .await;
        assert!(Tasks::current().is_none());
        assert!(told.await.unwrap());
        set.cancel();
        set.wait().await;
    }

    /// What a set is asked to spawn after it was cancelled does not run.
    #[tokio::test]
    async fn a_cancelled_set_runs_nothing() {
        let set = tasks();
        set.cancel();
        let (tell, told) = oneshot::channel();
        set.spawn(async move { tell.send(()).unwrap() });
        set.wait().await;
        assert!(told.await.is_err());
    }
}
