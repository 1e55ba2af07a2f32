//! Whoever holds a lock: renews the lease, finds out when it has ended, and gives the lock up.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use crate::{
    collections::{
        handle::Handle,
        map::millis,
        state::lock::{LockChange, LockState, LockWrite, LockWrote},
    },
    groups::GroupError,
    rt::{self, Instant, lock},
};

type LockHandle = Handle<LockState, LockChange>;

/// A lease is renewed when so many parts of it are over.
const RENEWED_AFTER: u32 = 3;
/// Shortest time between two renewals.
const PAUSE: Duration = Duration::from_millis(10);
/// How long until it is tried again to give a lock up.
const RETRY: Duration = Duration::from_millis(500);
/// The part of a lease by which its holder holds it to be shorter than the group does: twice of what clocks may differ.
const MARGIN: u32 = 500;
/// How much shorter still, as the group counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// Whether a lock was held until it was given up.
type Released = Result<bool, GroupError>;

/// Holds a [`Lock`](super::Lock) until it is dropped, or the lease has [ended](Self::lost).
#[must_use = "the lock is given up when this is dropped"]
pub struct LockGuard {
    handle: LockHandle,
    token: u64,
    lost: CancellationToken,
    /// When the lease ends, if ever.
    end: Arc<Mutex<Option<Instant>>>,
    /// Has the keeper give the lock up, and say whether it was held until then. It does that too when this is dropped.
    stop: oneshot::Sender<oneshot::Sender<Released>>,
}

impl LockGuard {
    /// Of who has acquired it with this token, on a lease that began `since` or later.
    pub(super) fn new(handle: LockHandle, token: u64, since: Instant, lease: Duration) -> Self {
        let lost = CancellationToken::new();
        let end = Arc::new(Mutex::new(end_of(since, lease)));
        let (stop, stopped) = oneshot::channel();
        let keeper = Keeper {
            handle: handle.clone(),
            token,
            lease,
            end: end.clone(),
        };
        // It ends with the network, too.
        let told = lost.clone().drop_guard();
        let tasks = handle.store().group().tasks().clone();
        tasks.spawn(keeper.run(stopped, told));
        Self {
            handle,
            token,
            lost,
            end,
            stop,
        }
    }

    /// The fencing token: greater than that of everybody who has held the lock before. A group that was founded anew
    /// after its quorum was lost keeps to that as far as its clock does.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the lock is held still, as far as this node knows.
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && lock(&self.end).is_none_or(|end| rt::now() < end)
    }

    /// Waits until the lease has ended, as far as this node knows, or has to be assumed to have; or until the lock is given
    /// up.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        self.lost.clone().cancelled_owned()
    }

    /// Gives the lock up; returns whether it was held until then. That goes on, for as long as it takes, if the future is
    /// dropped.
    ///
    /// # Errors
    /// Why this node takes part in the store no longer, if so: see [`GroupError`]. Then the lock is free at the end of its
    /// lease.
    pub fn release(self) -> impl Future<Output = Result<bool, GroupError>> + Send + use<> {
        let Self { lost, stop, .. } = self;
        let (told, released) = oneshot::channel();
        lost.cancel();
        // The keeper ends before this with the network only.
        let _ = stop.send(told);
        async move { released.await.unwrap_or(Err(GroupError::Closed)) }
    }
}

/// When the holder of a lease that began `since` or later holds it to have ended. Never, if nobody lives to see that.
fn end_of(since: Instant, lease: Duration) -> Option<Instant> {
    since.checked_add(lease.saturating_sub(lease / MARGIN + ROUNDING))
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("lock", &self.handle)
            .field("token", &self.token)
            .field("is_held", &self.is_held())
            .finish_non_exhaustive()
    }
}

/// Whether the lock was held with the token of a write.
pub(super) fn was(answer: LockWrote) -> Option<bool> {
    match answer {
        LockWrote::Was(was) => Some(was),
        LockWrote::Held(..) => None,
    }
}

/// How holding a lock ends.
enum End {
    /// This node knows that it is held with this token no longer, or nothing more.
    Taken,
    /// The lease has ended, or has to be assumed to have.
    Over,
    /// The lock is to be given up; who waits for that is told what comes of it.
    Stopped(Option<oneshot::Sender<Released>>),
}

/// Renews a lease, and gives the lock up.
struct Keeper {
    handle: LockHandle,
    token: u64,
    lease: Duration,
    /// When it ends, or earlier, if ever.
    end: Arc<Mutex<Option<Instant>>>,
}

impl Keeper {
    /// Keeps the lock until the lease ends, or it is to be given up.
    async fn run(self, mut stopped: oneshot::Receiver<oneshot::Sender<Released>>, lost: DropGuard) {
        let end = self.keep(&mut stopped).await;
        drop(lost);
        match end {
            End::Taken => {}
            // A renewal that is under way may make it last: nobody would know.
            End::Over => drop(self.release().await),
            End::Stopped(waiting) => {
                let released = self.release().await;
                if let Some(waiting) = waiting {
                    // It may wait no longer.
                    drop(waiting.send(released));
                }
                return;
            }
        }
        if let Ok(waiting) = stopped.await {
            drop(waiting.send(Ok(false)));
        }
    }

    /// Renews the lease until it ends for whatever reason.
    async fn keep(&self, stopped: &mut oneshot::Receiver<oneshot::Sender<Released>>) -> End {
        let is_other = || {
            let held = |state: &LockState| state.holder().map(|holder| holder.token);
            (self.handle.look(held) != Some(self.token)).then_some(())
        };
        // Where this node takes part no longer, it does not know.
        let mut taken = pin!(self.handle.until(is_other));
        loop {
            let end = *lock(&self.end);
            let ended = async {
                match end {
                    Some(end) => rt::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                waiting = &mut *stopped => return End::Stopped(waiting.ok()),
                _ = &mut taken => return End::Taken,
                () = ended => return End::Over,
                renewed = self.renewed() => match renewed {
                    Some(since) => *lock(&self.end) = end_of(since, self.lease),
                    None => return End::Taken,
                },
            }
        }
    }

    /// Renews the lease when it is time to, as often as it takes; returns when it began anew, or `None` if it had
    /// ended.
    async fn renewed(&self) -> Option<Instant> {
        rt::sleep((self.lease / RENEWED_AFTER).max(PAUSE)).await;
        loop {
            let since = rt::now();
            let renew = LockWrite::Renew {
                token: self.token,
                lease: millis(self.lease),
            };
            match self.handle.write(&renew, was).await {
                Ok(is_held) => return is_held.then_some(since),
                Err(error) => debug!(lock = ?self.handle, %error, "a lease is not renewed yet"),
            }
            rt::sleep((self.lease / RENEWED_AFTER / RENEWED_AFTER).max(PAUSE)).await;
        }
    }

    /// Gives the lock up, however long it takes; returns whether it was held until then.
    async fn release(&self) -> Released {
        let release = LockWrite::Release { token: self.token };
        loop {
            let released = match self.handle.write(&release, was).await {
                Err(GroupError::Timeout(pending)) => pending.outcome().await,
                released => released,
            };
            match released {
                Err(error) if may_be_tried(&error) => {
                    debug!(lock = ?self.handle, %error, "a lock is not given up yet");
                    rt::sleep(RETRY).await;
                }
                released => return released,
            }
        }
    }
}

/// Whether what could not be done may be done later.
fn may_be_tried(error: &GroupError) -> bool {
    !matches!(
        error,
        GroupError::Closed
            | GroupError::Stopped(_)
            | GroupError::Refused(_)
            | GroupError::Superseded
            | GroupError::Unsupported(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_holder_holds_a_lease_to_be_shorter_than_the_group_does() {
        let now = rt::now();
        let left = |lease| end_of(now, lease).map(|end| end.duration_since(now));
        let lease = Duration::from_secs(10);
        assert_eq!(left(lease), Some(lease - Duration::from_millis(22)));
        assert_eq!(left(Duration::from_millis(1)), Some(Duration::ZERO));
        assert_eq!(left(Duration::MAX), None);
    }
}
