//! How far a replica has to have applied the log before it may answer a linearizable query.
//!
//! The leader knows, once a majority has confirmed that it still leads. One such round serves many queries,
//! but only those that were asked before it was sent: one that joined later might miss what was acknowledged
//! in between.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use tokio::sync::{Notify, oneshot};

use super::proposer::Failed;
use crate::rt::{Tasks, lock};

/// Queries that may wait for a round.
const MAX_WAITING: usize = 65_536;

/// What a round found: how far the log has to be applied, or why that is not known.
pub(crate) type Found = Result<Option<u64>, Failed>;

/// Gathers queries into rounds. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Vec<oneshot::Sender<Found>>>,
    asked: Notify,
}

impl Reads {
    /// Starts asking by `round`, one round at a time.
    pub(crate) fn start<F: Future<Output = Found> + Send + 'static>(
        round: impl Fn() -> F + Send + 'static,
        tasks: &Tasks,
    ) -> Self {
        let inner = Arc::new(Inner::default());
        let reads = Self {
            inner: inner.clone(),
        };
        tasks.spawn(async move {
            loop {
                inner.asked.notified().await;
                let waiting = std::mem::take(&mut *lock(&inner.waiting));
                if waiting.is_empty() {
                    continue;
                }
                let found = round().await;
                for query in waiting {
                    // Who asked may have gone.
                    drop(query.send(found.clone()));
                }
            }
        });
        reads
    }

    /// The index up to which the log has to be applied for a query that is asked now.
    pub(crate) async fn index(&self) -> Found {
        let (found, told) = oneshot::channel();
        {
            let mut waiting = lock(&self.inner.waiting);
            if waiting.len() >= MAX_WAITING {
                return Err(Failed::Busy);
            }
            waiting.push(found);
        }
        self.inner.asked.notify_one();
        told.await.unwrap_or(Err(Failed::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::{FutureExt as _, future::join_all};
    use tokio::sync::Semaphore;

    use super::*;

    /// A query never joins a round that was sent before it was asked.
    #[tokio::test]
    async fn a_round_serves_only_who_asked_before_it() {
        let tasks = Tasks::new(tracing::Span::none());
        let (rounds, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, gate) = (rounds.clone(), go.clone());
        let reads = Reads::start(
            move || {
                let round = counted.fetch_add(1, Ordering::SeqCst);
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(Some(round))
                }
            },
            &tasks,
        );
        let mut first = Box::pin(reads.index());
        assert!(first.as_mut().now_or_never().is_none());
        while rounds.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The first round is under way: these have to wait for the second, together.
        let mut later: Vec<_> = (0..100).map(|_| Box::pin(reads.index())).collect();
        for query in &mut later {
            assert!(query.as_mut().now_or_never().is_none());
        }
        go.add_permits(2);
        assert_eq!(first.await, Ok(Some(0)));
        assert!(
            join_all(later)
                .await
                .iter()
                .all(|found| *found == Ok(Some(1)))
        );
        assert_eq!(rounds.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_asks_a_stopped_replica_is_told() {
        let tasks = Tasks::new(tracing::Span::none());
        let reads = Reads::start(std::future::pending, &tasks);
        let mut asked = Box::pin(reads.index());
        assert!(asked.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
        tasks.cancel();
        tasks.wait().await;
        assert_eq!(asked.await, Err(Failed::Stopped));
    }
}
