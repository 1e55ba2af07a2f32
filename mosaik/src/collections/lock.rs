//! The replicated lock.

mod guard;

use std::{
    fmt,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use tokio::sync::oneshot;

pub use self::guard::LockGuard;
use super::{
    Builder,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    map::{millis, moment},
    state::State,
    state::lock::{self as state, Holder, LockState, LockWrite, LockWrote},
    store::Store,
    transaction::{Draft, LockTransaction, Outcome, transact_alone},
};
use crate::{
    groups::{GroupError, Groups, Version},
    id::PeerId,
    rt,
};

/// A replicated lock, beside [`Mutex`](std::sync::Mutex): one holder at a time, on any node.
///
/// Whoever acquires it holds it on a *lease*, which is renewed in the background for as long as the
/// [guard](LockGuard) lives. Dropping the guard gives it up. If its node dies, or is cut off for longer than the lease,
/// the lock is free for the next.
///
/// # What is promised
/// In the store's log at most one holds the lock at a time, as all replicas apply that log in one order. Outside of it
/// no lock with a lease can promise as much: a process that was paused goes on without noticing that its lease has
/// ended, and what it had sent may arrive later still. There are two means against that:
///
/// - [`LockGuard::token`], a *fencing token*: greater than those of all holders before. What is guarded rejects
///   whoever comes with a smaller one than it has seen. A collection that is in one store with the lock does that with a
///   transaction that asks whether the lock [is held by](LockTransaction::is_held_by) the token: it is applied only
///   while it is.
/// - [`LockGuard::lost`], which ends as soon as the node knows, or has to assume, that the lease has ended. By the
///   node's own clock that is before anybody else can acquire the lock, unless the group's clock is put forward
///   meanwhile: when leadership goes to a node whose clock is ahead, by up to 10 s.
///
/// The lease ends by [the group's clock](super::MapWriter::insert_for). Choose it to be several times as long as a
/// fail-over of the store takes: one of less than a few seconds is lost with the leader. Where the lock is free, whoever
/// comes first has it: those who wait have no order among each other.
///
/// # Example
/// ```no_run
/// use std::time::Duration;
///
/// use mosaik::collections::Lock;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let settlement = Lock::writer(&network, "settlement");
/// let guard = settlement.acquire(Duration::from_secs(10)).await?;
/// tokio::select! {
///     () = guard.lost() => println!("somebody else may hold it by now"),
///     () = settle(guard.token()) => println!("done"),
/// }
/// guard.release().await?;
/// # Ok(())
/// # }
/// # async fn settle(token: u64) {}
/// ```
#[derive(Debug)]
pub struct Lock(());

/// A handle that acquires a [`Lock`]. It reads as a [`LockReader`] does. Clones are the same lock.
pub struct LockWriter(LockReader);

/// A handle that sees who holds a [`Lock`]. Clones are the same lock.
pub struct LockReader(Handle<LockState, state::LockChange>);

/// A [`Lock`] as it was at one moment. Clones cost nothing.
#[derive(Clone, Debug)]
pub struct LockView(Arc<LockState>);

/// Who holds a [`Lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockHolder {
    /// The node that it was acquired on.
    pub peer: PeerId,
    /// The fencing token: no other holder of this lock has, had or will have the same.
    pub token: u64,
    until: u64,
}

impl LockHolder {
    pub(super) fn of(holder: &Holder) -> Self {
        Self {
            peer: holder.peer,
            token: holder.token,
            until: holder.until,
        }
    }

    /// The end of the lease, by the group's clock, if it is not renewed. `None` if it is too far off to be told.
    pub fn expires_at(&self) -> Option<SystemTime> {
        moment(self.until)
    }
}

/// What happens to a [`Lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockChange {
    /// This is who holds it, whatever was before. The first change of a feed, unless it goes on from a version, and the
    /// next where it is so far behind that changes are missing.
    Reset(Option<LockHolder>),
    /// Somebody holds it.
    Acquired(LockHolder),
    /// Who holds it has renewed the lease.
    Renewed(LockHolder),
    /// Who held it has given it up.
    Released(LockHolder),
    /// The lease of who held it has ended.
    Expired(LockHolder),
}

impl LockChange {
    fn of(change: state::LockChange) -> Self {
        match change {
            state::LockChange::Acquired(holder) => Self::Acquired(LockHolder::of(&holder)),
            state::LockChange::Renewed(holder) => Self::Renewed(LockHolder::of(&holder)),
            state::LockChange::Released(holder) => Self::Released(LockHolder::of(&holder)),
            state::LockChange::Expired(holder) => Self::Expired(LockHolder::of(&holder)),
        }
    }

    fn reset(view: LockView) -> Self {
        Self::Reset(view.holder())
    }
}

collection!(
    Lock,
    LockState,
    LockWriter,
    LockReader,
    LockView,
    LockTransaction,
    LockChange,
    "the lock"
);

impl LockReader {
    /// Who holds it, as far as this node knows.
    pub fn holder(&self) -> Option<LockHolder> {
        self.0.look(|lock| lock.holder().map(LockHolder::of))
    }
}

impl LockView {
    /// Who held it.
    pub fn holder(&self) -> Option<LockHolder> {
        self.0.holder().map(LockHolder::of)
    }
}

impl LockWriter {
    /// Waits until nobody else holds the lock, and acquires it for as long as the guard lives, and `lease` at most if
    /// this node does not renew that. It waits for as long as it takes: dropping what it returns gives up.
    ///
    /// # Errors
    /// See [`GroupError`]; there is no [`GroupError::Timeout`].
    pub fn acquire(&self, lease: Duration) -> BoxFuture<'static, Result<LockGuard, GroupError>> {
        let this = self.clone();
        let acquire = async move {
            loop {
                match this.attempt(lease).await? {
                    Ok(guard) => return Ok(guard),
                    Err(other) => this.0.0.until(|| this.is_free_of(other.token)).await?,
                }
            }
        };
        acquire.boxed()
    }

    /// Acquires the lock if nobody else holds it: see [`acquire`](Self::acquire). The inner error says who does.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire(
        &self,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Result<LockGuard, LockHolder>, GroupError>> {
        let this = self.clone();
        async move { this.attempt(lease).await }.boxed()
    }

    /// Something if it is not held with this token, as far as this node knows.
    fn is_free_of(&self, token: u64) -> Option<()> {
        let held = self.holder().map(|holder| holder.token);
        (held != Some(token)).then_some(())
    }

    /// Tries once. If nobody waits for that any more, what is acquired is given up again.
    async fn attempt(&self, lease: Duration) -> Result<Result<LockGuard, LockHolder>, GroupError> {
        let (told, attempted) = oneshot::channel();
        let handle = self.0.0.clone();
        let attempt = async move {
            let attempted = attempt(handle, lease).await;
            // A guard that nobody takes is dropped.
            drop(told.send(attempted));
        };
        self.0.0.store().group().tasks().spawn(attempt);
        // It is not told once the network is shut down.
        attempted.await.unwrap_or(Err(GroupError::Closed))
    }
}

async fn attempt(
    handle: Handle<LockState, state::LockChange>,
    lease: Duration,
) -> Result<Result<LockGuard, LockHolder>, GroupError> {
    let peer = handle.store().group().peer();
    let since = rt::now();
    let write = LockWrite::Acquire {
        peer,
        lease: millis(lease),
    };
    let acquire = handle.write(&write, |answer| match answer {
        LockWrote::Held(holder, is_own) => Some((holder, is_own)),
        LockWrote::Was(_) => None,
    });
    let acquired = match acquire.await {
        Err(GroupError::Timeout(pending)) => pending.outcome().await,
        acquired => acquired,
    };
    Ok(match acquired? {
        (holder, true) => Ok(LockGuard::new(handle, holder.token, since, lease)),
        (holder, false) => Err(LockHolder::of(&holder)),
    })
}
