//! How far a replica has applied its log, and those who wait for it to get further.
//!
//! Thousands may wait for different indices at once, so each is woken only when its own is reached.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::rt::lock;

/// A log index that only grows, but for [`reset`](Self::reset).
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// One above the index, so that zero says that nothing was applied.
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By the index that is waited for, and a number that tells those apart who wait for the same.
    wakers: BTreeMap<(u64, u64), Waker>,
    numbers: u64,
}

impl Progress {
    /// The index; `None` while nothing was applied.
    pub(crate) fn get(&self) -> Option<u64> {
        self.next.load(Ordering::Acquire).checked_sub(1)
    }

    /// Everything up to `index` is applied: wakes who waited for it.
    pub(crate) fn advance(&self, index: u64) {
        let next = index.saturating_add(1);
        if self.next.fetch_max(next, Ordering::AcqRel) >= next {
            return;
        }
        let woken = {
            let mut waiting = lock(&self.waiting);
            let later = waiting.wakers.split_off(&(next, 0));
            std::mem::replace(&mut waiting.wakers, later)
        };
        for waker in woken.into_values() {
            waker.wake();
        }
    }

    /// The state was thrown away; those who wait go on waiting.
    pub(crate) fn reset(&self) {
        self.next.store(0, Ordering::Release);
    }

    /// Waits until everything up to `index` is applied.
    pub(crate) fn reach(&self, index: u64) -> Reach<'_> {
        Reach {
            progress: self,
            index,
            number: None,
        }
    }
}

/// Completes when an index is reached: see [`Progress::reach`].
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    progress: &'a Progress,
    index: u64,
    number: Option<u64>,
}

impl Reach<'_> {
    fn is_reached(&self) -> bool {
        self.progress.next.load(Ordering::Acquire) > self.index
    }
}

impl Future for Reach<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_reached() {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.progress.waiting);
        // It may have been reached before the lock was: who advances takes the lock after that.
        if self.is_reached() {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or_else(|| {
            waiting.numbers += 1;
            waiting.numbers
        });
        let waker = cx.waker().clone();
        waiting.wakers.insert((self.index, number), waker);
        drop(waiting);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut waiting = lock(&self.progress.waiting);
            waiting.wakers.remove(&(self.index, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::join_all};

    use super::*;

    #[tokio::test]
    async fn each_is_woken_when_its_index_is_reached() {
        let progress = Progress::default();
        assert_eq!(progress.get(), None);
        let mut first = Box::pin(progress.reach(0));
        let mut third = Box::pin(progress.reach(2));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        progress.advance(1);
        first.await;
        assert!(third.as_mut().now_or_never().is_none());
        // Going back is no progress.
        progress.advance(0);
        assert_eq!(progress.get(), Some(1));
        progress.advance(2);
        third.await;
        assert!(lock(&progress.waiting).wakers.is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let progress = Progress::default();
        for index in [3, 3, 4] {
            assert!(progress.reach(index).now_or_never().is_none());
        }
        assert!(lock(&progress.waiting).wakers.is_empty());
        join_all([0, 0].map(|index| {
            progress.advance(index);
            progress.reach(index)
        }))
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[expect(clippy::disallowed_methods, reason = "threads race on purpose")]
    async fn nobody_is_missed_by_a_race() {
        let progress = std::sync::Arc::new(Progress::default());
        let advancing = progress.clone();
        let task = tokio::spawn(async move {
            for index in 0..10_000 {
                advancing.advance(index);
                tokio::task::yield_now().await;
            }
        });
        for index in 0..10_000 {
            progress.reach(index).await;
        }
        task.await.unwrap();
    }
}
