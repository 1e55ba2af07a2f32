//! The replicated lock.

mod guard;

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use tokio::sync::oneshot;

pub use self::guard::LockGuard;
use super::{
    Builder,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    map::millis,
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
/// - [`LockGuard::lost`], which ends as soon as the node knows, or has to assume, that the lease has ended. That is
///   before anybody else can acquire the lock: no wall clock has a say in it, only the monotonic ones of the holder and of
///   leaders, which may differ by a thousandth. But a machine that is suspended does not count the time of that, and who
///   founds the group anew or revokes the lock does not ask its holder.
///
/// A lease lasts longer than it says where the group has no leader meanwhile, as nobody could renew it then. Choose it
/// to be several seconds at least: it is renewed after each third of it, and that has to outlast what delays a command.
/// Where the lock is free, whoever comes first has it: those who wait have no order among each other.
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
    /// The fencing token, which is [greater](LockGuard::token) than those of all before.
    pub token: u64,
}

impl LockHolder {
    pub(super) fn of(holder: &Holder) -> Self {
        let Holder { peer, token, .. } = *holder;
        Self { peer, token }
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
    /// this node does not renew that. It waits for as long as others hold it, and for the answer of what is under way:
    /// dropping what it returns gives up, and gives back what comes of it all the same.
    ///
    /// # Errors
    /// See [`GroupError`]; there is no [`GroupError::Timeout`], but [`GroupError::Unavailable`] without a leader.
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

    /// Acquires the lock if nobody else holds it: see [`acquire`](Self::acquire). The inner error says who does. It waits
    /// for the answer of its command for as long as that takes, and not for the lock.
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

    /// Takes the lock from who holds it with this token, as an operator may who knows that this one is gone for good;
    /// returns whether it was held with it. A holder that lives finds it [lost](LockGuard::lost) once its node hears of
    /// that.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn revoke(
        &self,
        token: u64,
    ) -> impl Future<Output = Result<bool, GroupError>> + Send + use<> {
        self.0.0.write(&LockWrite::Release { token }, guard::was)
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
