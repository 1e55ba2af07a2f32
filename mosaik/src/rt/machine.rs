//! A simulated machine, and the process that runs on it.
//!
//! Every task of a simulated network is polled inside the [`Process`] that it belongs to. That is how the
//! rest of this module finds the clock, the randomness and the disk of the machine, how a machine can be
//! paused (its tasks are not polled) and how a process is killed (its tasks are dropped, and what their
//! destructors still want to do comes to nothing).

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    future::Future,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

use super::{Instant, disk::Disk, lock};

/// Wall clock of a machine without skew when its world begins: an arbitrary day, in milliseconds since 1970.
const FIRST_DAY: u64 = 1_750_000_000_000;
/// Polls of one process at one moment of virtual time beyond which it is taken for stuck.
const MAX_POLLS: u64 = 20_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
    /// What those find who belong to no process of the simulated world that runs on this thread.
    static OUTSIDE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// What a task died of.
pub(crate) type Panic = Box<dyn Any + Send>;

/// A simulated machine. Clones are the same machine.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    ip: IpAddr,
    began: Instant,
    runtime: Handle,
    /// By how much the wall clock is ahead, in milliseconds.
    skew: AtomicI64,
    random: Mutex<StdRng>,
    disk: Disk,
    panics: mpsc::Sender<Panic>,
    pause: Mutex<Pause>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Pause {
    paused: bool,
    waiting: Vec<Waker>,
}

struct Progress {
    at: Instant,
    polls: u64,
}

impl Machine {
    /// A machine with a seed of its own. `panics` gets what its tasks die of.
    pub(crate) fn new(name: &str, ip: IpAddr, seed: u64, panics: mpsc::Sender<Panic>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::new(random.random());
        let now = super::now();
        let shared = Shared {
            name: name.into(),
            ip,
            began: now,
            runtime: Handle::current(),
            skew: AtomicI64::new(0),
            random: Mutex::new(random),
            disk,
            panics,
            pause: Mutex::default(),
            progress: Mutex::new(Progress { at: now, polls: 0 }),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The machine whose clock, chance and disk the caller has to use, if it is simulated.
    pub(crate) fn current() -> Option<Self> {
        let process = Process::current().map(|process| process.machine);
        process.or_else(|| OUTSIDE.with_borrow(Clone::clone))
    }

    /// Makes `machine` the one of everybody on this thread who belongs to no process; returns the one
    /// before.
    pub(crate) fn set_outside(machine: Option<Self>) -> Option<Self> {
        OUTSIDE.replace(machine)
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.shared.ip
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.shared.disk
    }

    /// Sets by how much its wall clock is ahead of the world's, in milliseconds.
    pub(crate) fn set_skew(&self, millis: i64) {
        self.shared.skew.store(millis, Ordering::Relaxed);
    }

    /// Its wall clock, in milliseconds since 1970.
    pub(super) fn unix_millis(&self) -> u64 {
        let elapsed = super::now().duration_since(self.shared.began).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let skew = self.shared.skew.load(Ordering::Relaxed);
        FIRST_DAY
            .saturating_add(elapsed)
            .saturating_add_signed(skew)
    }

    /// Its source of chance.
    pub(super) fn random(&self) -> MutexGuard<'_, StdRng> {
        lock(&self.shared.random)
    }

    /// Stops polling its tasks, or goes on.
    pub(crate) fn set_paused(&self, paused: bool) {
        let waiting = {
            let mut pause = lock(&self.shared.pause);
            pause.paused = paused;
            if paused {
                return;
            }
            std::mem::take(&mut pause.waiting)
        };
        for waker in waiting {
            waker.wake();
        }
    }

    /// Starts a process on it.
    pub(crate) fn boot(&self) -> Process {
        Process {
            machine: self.clone(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Whether its tasks stand still; then `waker` is woken when they go on.
    fn is_paused(&self, waker: &Waker) -> bool {
        let mut pause = lock(&self.shared.pause);
        if pause.paused {
            pause.waiting.retain(|known| !known.will_wake(waker));
            pause.waiting.push(waker.clone());
        }
        pause.paused
    }

    /// Counts a poll.
    ///
    /// # Panics
    /// When tasks of the machine keep each other busy for ever without time passing.
    fn count_poll(&self) {
        let now = super::now();
        let mut progress = lock(&self.shared.progress);
        if progress.at < now {
            *progress = Progress { at: now, polls: 0 };
        }
        progress.polls += 1;
        assert!(
            progress.polls < MAX_POLLS,
            "the tasks of {} were polled {MAX_POLLS} times at one moment of virtual time",
            self.shared.name
        );
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// One run of a program on a machine, from its start to its end or a crash.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    machine: Machine,
    killed: CancellationToken,
    tasks: TaskTracker,
}

impl Process {
    /// The process that the caller is part of, if it is simulated.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The machine that it runs on.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs `future` as a task of the process, until that is killed.
    pub(crate) fn spawn(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let scoped = Scoped {
            process: self.clone(),
            killed: Box::pin(self.killed.clone().cancelled_owned()),
            future: Some(Box::pin(future)),
        };
        let task = self.tasks.track_future(scoped);
        self.machine.shared.runtime.spawn(task)
    }

    /// Ends it on the spot: its tasks are dropped.
    pub(crate) async fn kill(&self) {
        self.killed.cancel();
        // Those who stand still must see it too.
        let waiting = std::mem::take(&mut lock(&self.machine.shared.pause).waiting);
        for waker in waiting {
            waker.wake();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn enter(&self) -> Entered {
        Entered(CURRENT.replace(Some(self.clone())))
    }
}

/// Restores what was current before.
struct Entered(Option<Process>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.replace(self.0.take());
    }
}

/// A future that runs inside a process, and ends with it.
struct Scoped<F> {
    process: Process,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Future for Scoped<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.killed.as_mut().poll(cx).is_ready() {
            self.end();
            return Poll::Ready(());
        }
        if self.process.machine.is_paused(cx.waker()) {
            return Poll::Pending;
        }
        let entered = self.process.enter();
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Ready(());
        };
        let machine = &this.process.machine;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            machine.count_poll();
            future.as_mut().poll(cx)
        }));
        drop(entered);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                self.end();
                Poll::Ready(())
            }
            Err(panic) => {
                self.end();
                let panics = self.process.machine.shared.panics.clone();
                match panics.try_send(panic) {
                    Ok(()) => Poll::Ready(()),
                    // Others have failed already, or nobody listens.
                    Err(error) => resume_unwind(error.into_inner()),
                }
            }
        }
    }
}

impl<F> Scoped<F> {
    /// Drops the future inside its process, whose machine its destructors may ask for.
    fn end(&mut self) {
        let _entered = self.process.enter();
        self.future = None;
    }
}

impl<F> Drop for Scoped<F> {
    fn drop(&mut self) {
        self.end();
    }
}
