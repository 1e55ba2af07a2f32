//! A value that many tasks watch; they see the latest, not every one.
//!
//! Like the watch channel of tokio, with one difference that a simulation needs: those who wait are woken in
//! the order in which they began to wait, where tokio draws it at random.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// A sender and a receiver of one value, which begins as `value` and counts as seen.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

struct Shared<T> {
    slot: RwLock<Slot<T>>,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct Slot<T> {
    version: u64,
    value: T,
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Slot<T>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<T>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes the value. Clones share it; dropping the last tells the receivers.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// A sender without receivers.
    pub(crate) fn new(value: T) -> Self {
        let shared = Shared {
            slot: RwLock::new(Slot { version: 0, value }),
            changed: Notify::new(),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A receiver that has seen the value as it is.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver {
            seen: self.shared.read().version,
            shared: self.shared.clone(),
        }
    }

    /// Puts `value` in the place of what was there, if anybody watches.
    ///
    /// # Errors
    /// When nobody does: then the value is left as it was, and `value` comes back.
    pub(crate) fn send(&self, value: T) -> Result<(), T> {
        if self.shared.receivers.load(Ordering::Acquire) == 0 {
            return Err(value);
        }
        self.send_replace(value);
        Ok(())
    }

    /// Puts `value` in the place of what was there, which is returned.
    pub(crate) fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|current| std::mem::swap(current, &mut value));
        value
    }

    /// Changes the value in place.
    pub(crate) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Changes the value in place; receivers hear of it if `modify` says so, and so does the caller.
    pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = {
            let mut slot = self.shared.write();
            let modified = modify(&mut slot.value);
            slot.version += u64::from(modified);
            modified
        };
        if modified {
            self.shared.changed.notify_waiters();
        }
        modified
    }

    /// The value as it is. Not to be held across an await.
    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.changed.notify_waiters();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&*self.borrow()).finish()
    }
}

/// Watches the value. A clone has seen what this one has.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    /// The value as it is, without marking it as seen. Not to be held across an await.
    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The value as it is, marked as seen. Not to be held across an await.
    pub(crate) fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let slot = self.shared.read();
        self.seen = slot.version;
        Ref(slot)
    }

    /// Takes the value as it is for news.
    pub(crate) fn mark_changed(&mut self) {
        self.seen = self.shared.read().version.wrapping_sub(1);
    }

    /// Takes the value as it is for seen.
    pub(crate) fn mark_unchanged(&mut self) {
        self.seen = self.shared.read().version;
    }

    /// Waits for a value that was not seen, and marks it as seen. Cancel-safe.
    ///
    /// # Errors
    /// When there is none and all senders are gone.
    pub(crate) async fn changed(&mut self) -> Result<(), Closed> {
        changed(&self.shared, &mut self.seen).await
    }

    /// Waits until the value is as `wanted`, and marks it as seen. Cancel-safe.
    ///
    /// # Errors
    /// When it is not and all senders are gone.
    pub(crate) async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<Ref<'_, T>, Closed> {
        let Self { shared, seen } = self;
        loop {
            {
                let slot = shared.read();
                *seen = slot.version;
                if wanted(&slot.value) {
                    return Ok(Ref(slot));
                }
            }
            changed(shared, seen).await?;
        }
    }
}

async fn changed<T>(shared: &Shared<T>, seen: &mut u64) -> Result<(), Closed> {
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let version = shared.read().version;
        if std::mem::replace(seen, version) != version {
            return Ok(());
        }
        if shared.senders.load(Ordering::Acquire) == 0 {
            return Err(Closed);
        }
        changed.await;
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: self.shared.clone(),
            seen: self.seen,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::Release);
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&*self.borrow()).finish()
    }
}

/// All senders are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody changes the value any more")]
pub(crate) struct Closed;

/// The value, locked against changes.
pub(crate) struct Ref<'a, T>(RwLockReadGuard<'a, Slot<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn the_latest_is_seen_once() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        assert_eq!(sender.send_replace(2), 1);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_and_update(), 2);
        assert!(!sender.send_if_modified(|_| false));
        drop(sender);
        assert_eq!(receiver.changed().await, Err(Closed));
        assert!(receiver.wait_for(|value| *value == 3).await.is_err());
        assert_eq!(*receiver.wait_for(|value| *value == 2).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_is_marked_as_changed_is_news_without_a_change() {
        let (_sender, mut receiver) = channel(7);
        receiver.mark_changed();
        receiver.changed().await.unwrap();
        receiver.mark_changed();
        receiver.mark_unchanged();
        assert!(futures::FutureExt::now_or_never(receiver.changed()).is_none());
    }

    #[tokio::test]
    async fn a_sender_that_is_left_keeps_the_channel_open() {
        let (sender, mut receiver) = channel(0);
        let other = sender.clone();
        drop(sender);
        assert!(futures::FutureExt::now_or_never(receiver.changed()).is_none());
        other.send_modify(|value| *value += 1);
        receiver.changed().await.unwrap();
    }

    #[test]
    fn what_nobody_watches_is_not_sent() {
        let (sender, receiver) = channel(0);
        let other = receiver.clone();
        drop(receiver);
        assert_eq!(sender.send(1), Ok(()));
        drop(other);
        assert_eq!(sender.send(2), Err(2));
        assert_eq!(*sender.borrow(), 1);
        let receiver = sender.subscribe();
        assert_eq!(sender.send(3), Ok(()));
        assert_eq!(*receiver.borrow(), 3);
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_turn() {
        let (sender, receiver) = channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let (mut receiver, order) = (receiver.clone(), order.clone());
                #[expect(clippy::disallowed_methods, reason = "this is a part of `rt`")]
                tokio::task::spawn(async move {
                    receiver.changed().await.unwrap();
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(1);
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.lock().unwrap().is_sorted());
    }
}
