//! Whoever holds a lock: renews the lease, finds out when it has ended, and gives the lock up.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
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

/// Holds a [`Lock`](super::Lock) until it is dropped, or the lease has [ended](Self::lost).
#[must_use = "the lock is given up when this is dropped"]
pub struct LockGuard {
    handle: LockHandle,
    token: u64,
    lost: CancellationToken,
    /// When the lease ends, if ever.
    end: Arc<Mutex<Option<Instant>>>,
    /// Ends the renewals: with a word if the lock is given up by who sends it, without one if the keeper has to.
    stop: Option<oneshot::Sender<()>>,
}

impl LockGuard {
    /// Of who has acquired it with this token, on a lease that began `since` or later.
    pub(super) fn new(handle: LockHandle, token: u64, since: Instant, lease: Duration) -> Self {
        let lost = CancellationToken::new();
        // It ends with the network, too.
        let told = lost.clone().drop_guard();
        let (stop, stopped) = oneshot::channel();
        let keeper = Keeper {
            handle: handle.clone(),
            token,
            lease,
            end: Arc::new(Mutex::new(since.checked_add(lease))),
        };
        let end = keeper.end.clone();
        handle.store().group().tasks().spawn(async move {
            let end = keeper.keep(stopped).await;
            drop(told);
            if let End::Dropped = end {
                keeper.release().await;
            }
        });
        Self {
            handle,
            token,
            lost,
            end,
            stop: Some(stop),
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

    /// Gives the lock up; returns whether it was held until then.
    ///
    /// # Errors
    /// See [`GroupError`]; the lock is free at the end of its lease at the latest.
    pub fn release(mut self) -> impl Future<Output = Result<bool, GroupError>> + Send + use<> {
        if let Some(stop) = self.stop.take() {
            // It has stopped already if the lease has ended.
            let _ = stop.send(());
        }
        release(&self.handle, self.token)
    }
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

fn release(
    handle: &LockHandle,
    token: u64,
) -> impl Future<Output = Result<bool, GroupError>> + Send + use<> {
    handle.write(&LockWrite::Release { token }, was)
}

fn was(answer: LockWrote) -> Option<bool> {
    match answer {
        LockWrote::Was(was) => Some(was),
        LockWrote::Held(..) => None,
    }
}

/// How holding a lock ends.
enum End {
    /// The lease has ended, or has to be assumed to have.
    Lost,
    /// Who held it gives it up.
    Released,
    /// It is to be given up.
    Dropped,
}

/// Renews a lease.
struct Keeper {
    handle: LockHandle,
    token: u64,
    lease: Duration,
    /// When it ends, or earlier. A lease of more than anybody waits for has no end.
    end: Arc<Mutex<Option<Instant>>>,
}

impl Keeper {
    /// Renews the lease until it ends for whatever reason.
    async fn keep(&self, stopped: oneshot::Receiver<()>) -> End {
        let (handle, token) = (self.handle.clone(), self.token);
        let is_other = || {
            let held = handle.look(|state| state.holder().map(|holder| holder.token));
            (held != Some(token)).then_some(())
        };
        let mut stopped = pin!(stopped);
        // Where this node takes part no longer, it does not know.
        let mut taken = pin!(handle.until(is_other));
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
                stopped = &mut stopped => return match stopped {
                    Ok(()) => End::Released,
                    Err(_) => End::Dropped,
                },
                _ = &mut taken => return End::Lost,
                () = ended => return End::Lost,
                renewed = self.renewed() => match renewed {
                    Some(since) => *lock(&self.end) = since.checked_add(self.lease),
                    None => return End::Lost,
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

    /// Gives the lock up, or leaves it to its lease to do so.
    async fn release(&self) {
        if let Err(error) = release(&self.handle, self.token).await {
            debug!(lock = ?self.handle, %error, "a lock is free once its lease has ended");
        }
    }
}
