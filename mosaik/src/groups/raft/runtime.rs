//! What openraft runs on: the tasks, the chance and the watch channels of `rt`, the timers and queues of tokio.
//!
//! Whatever a Raft spawns belongs to the [`Tasks`] of the task that spawns it, and what that spawns as well.
//! A Raft that is made inside [`Tasks::scope`] is therefore gone, with everything of it, once that set is
//! cancelled and awaited. `Raft::stream_append` spawns for its caller, and so into the set of that one.
//! openraft's own tests, which know of no sets, get one that nobody cancels.
//!
//! A panic in a task goes to whoever holds its handle; openraft stops with `Fatal::Panicked` then, which is for
//! the supervision of groups to mend, and no failure of a simulated world. A panic that nobody would hear of
//! goes on through the task, which in a simulated world fails the run.

use std::{
    any::Any,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use openraft::{
    AsyncRuntime, OptionalSend, OptionalSync,
    rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender},
};
use openraft_rt_tokio::TokioRuntime as Tokio;
use tokio::sync::oneshot;

use crate::rt::{self, Tasks, watch};

/// The runtime of all Rafts.
///
/// Only openraft's own tests need a value of it.
#[derive(Debug)]
pub(crate) struct Runtime {
    tokio: tokio::runtime::Runtime,
}

impl AsyncRuntime for Runtime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = rt::Random;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = Watches;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (tell, told) = oneshot::channel();
        let tasks = Tasks::current().unwrap_or_else(|| Tasks::new(tracing::Span::none()));
        tasks.spawn(run(future, tell));
        JoinHandle(told)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        limit: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(limit, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(error: &JoinError) -> bool {
        matches!(error, JoinError::Panicked(_))
    }

    fn thread_rng() -> rt::Random {
        rt::Random
    }

    /// # Panics
    /// When the operating system has no threads left.
    fn new(threads: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(threads).enable_all();
        let tokio = builder.build().expect("threads for a runtime");
        Self { tokio }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.tokio.block_on(future)
    }

    async fn spawn_blocking<F, T>(work: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(rt::blocking(work).await)
    }
}

/// Runs a task, and tells its outcome to who holds its handle.
async fn run<F: Future>(future: F, tell: oneshot::Sender<Result<F::Output, JoinError>>) {
    // Whatever a panic left half done is seen by nobody: openraft gives up the Raft.
    let outcome = AssertUnwindSafe(future).catch_unwind().await;
    match outcome {
        // Nobody waits for many a task.
        Ok(output) => drop(tell.send(Ok(output))),
        Err(panic) => {
            let text = text(&*panic);
            tracing::error!(panic = text, "a task of raft panicked");
            if tell.send(Err(JoinError::Panicked(text))).is_err() {
                resume_unwind(panic);
            }
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".into())
}

/// Waits for the end of a task. Dropping it does not end the task.
pub(crate) struct JoinHandle<T>(oneshot::Receiver<Result<T, JoinError>>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let told = self.0.poll_unpin(cx);
        told.map(|outcome| outcome.unwrap_or(Err(JoinError::Cancelled)))
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

/// Why a task has no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// Its set was cancelled, or its simulated process killed.
    #[error("the task was cancelled")]
    Cancelled,
    /// It panicked: a bug, most likely in openraft. Build the Raft anew from storage.
    #[error("the task panicked: {0}")]
    Panicked(String),
}

/// The watch channels of `rt`.
#[derive(Debug)]
pub(crate) struct Watches;

impl Watch for Watches {
    type Sender<T: OptionalSend + OptionalSync> = watch::Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = watch::Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(value: T) -> (watch::Sender<T>, watch::Receiver<T>) {
        watch::channel(value)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Watches, T> for watch::Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send(value).map_err(SendError)
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> watch::Receiver<T> {
        self.subscribe()
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Watches, T> for watch::Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        self.changed().await.map_err(|watch::Closed| RecvError(()))
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.borrow_and_update()
    }
}

#[cfg(test)]
mod tests;
