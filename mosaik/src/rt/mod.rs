//! The only clock, the only timers, the only place that spawns tasks, blocks and draws random numbers.
//!
//! Everything else reads time, chance and files through here, so that a simulated run can replace them, and
//! so that a dropped network can find all its tasks. Clippy's `disallowed-methods` holds that.
#![expect(
    clippy::disallowed_methods,
    reason = "this module is what the others call instead"
)]

#[cfg(any(test, feature = "sim"))]
pub(crate) mod disk;
pub(crate) mod fs;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod machine;
mod tasks;
pub(crate) mod watch;

use std::{
    convert::Infallible,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{Rng as _, RngExt as _, TryRng};

#[cfg(any(test, feature = "sim"))]
use machine::Machine;
pub(crate) use tasks::Tasks;
pub(crate) use tokio::time::{Instant, error::Elapsed};

/// Locks `mutex`, also after a panic of whoever held it: for state that is whole at every point.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock in milliseconds since 1970, zero before that.
pub(crate) fn unix_millis() -> u64 {
    #[cfg(any(test, feature = "sim"))]
    if let Some(machine) = Machine::current() {
        return machine.unix_millis();
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`.
pub(crate) async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
}

/// Runs `future`, giving up after `limit`.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await
}

/// Runs `future`, giving up at `deadline`.
pub(crate) async fn timeout_at<F: Future>(
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    tokio::time::timeout_at(deadline, future).await
}

/// A random number.
pub(crate) fn random_u64() -> u64 {
    u64::from_le_bytes(random_bytes())
}

/// Random bytes.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    Random.fill_bytes(&mut bytes);
    bytes
}

/// The source of chance, for who wants a generator of the crate `rand`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(random_bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(random_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(machine) = Machine::current() {
            machine.random().fill_bytes(bytes);
            return Ok(());
        }
        rand::rng().fill_bytes(bytes);
        Ok(())
    }
}

/// A duration between half of `around` and one and a half times it.
pub(crate) fn jitter(around: Duration) -> Duration {
    around.mul_f64(Random.random_range(0.5..1.5))
}

/// Runs `future` as a task of no network and no simulated machine, as long as there is a runtime.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn outside(future: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn(future));
    }
}

/// Runs `work` where it may block.
///
/// # Panics
/// Passes on a panic of `work`.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(any(test, feature = "sim"))]
    if let Some(machine) = Machine::current() {
        // A thread would run beside virtual time; what it costs is counted instead.
        let disk = machine.disk();
        disk.moves().await;
        let done = work();
        sleep(disk.take_cost()).await;
        return done;
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work cannot be aborted once it runs; before that only a runtime that is
            // shutting down cancels it, and then this future is not polled again.
            Err(_) => std::future::pending().await,
        },
    }
}
