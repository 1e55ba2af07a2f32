//! Who is served: of several streams for one thing the last, once those before it have ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::rt::lock;

/// The turns of things named by `K`.
#[derive(Debug)]
pub(super) struct Turns<K> {
    all: Mutex<BTreeMap<K, Arc<Line>>>,
}

/// Those who want one thing: one whose turn it is, and one that waits. Others were told to go.
#[derive(Debug, Default)]
struct Line {
    turn: Arc<tokio::sync::Mutex<()>>,
    last: Mutex<CancellationToken>,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    superseded: CancellationToken,
    _guard: OwnedMutexGuard<()>,
    _line: Arc<Line>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        let all = Mutex::default();
        Self { all }
    }
}

impl<K: Ord> Turns<K> {
    /// Tells whoever has the turn to end it, and waits for that; none if another came meanwhile.
    pub(super) async fn take(&self, thing: K) -> Option<Turn> {
        let line = {
            let mut all = lock(&self.all);
            // Lines that nobody stands in are forgotten.
            all.retain(|_, line| Arc::strong_count(line) > 1);
            all.entry(thing).or_default().clone()
        };
        let superseded = CancellationToken::new();
        std::mem::replace(&mut *lock(&line.last), superseded.clone()).cancel();
        tokio::select! {
            biased;
            () = superseded.cancelled() => None,
            guard = line.turn.clone().lock_owned() => Some(Turn {
                superseded,
                _guard: guard,
                _line: line,
            }),
        }
    }
}

impl Turn {
    /// Completes once another waits for the turn.
    pub(super) async fn superseded(&self) {
        self.superseded.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rt;

    /// Long after whatever can happen without time passing.
    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn the_last_that_comes_is_the_next() {
        let turns = Turns::default();
        let first = turns.take("a").await.unwrap();
        assert!(rt::timeout(SOON, first.superseded()).await.is_err());
        let other = turns.take("b").await.unwrap();
        let waits = turns.take("a");
        let comes = turns.take("a");
        let goes = async {
            first.superseded().await;
            rt::sleep(SOON).await;
            drop(first);
        };
        let (waits, comes, ()) = tokio::join!(waits, comes, goes);
        assert!(waits.is_none());
        assert!(
            rt::timeout(SOON, comes.unwrap().superseded())
                .await
                .is_err()
        );
        assert_eq!(lock(&turns.all).len(), 2);
        drop(other);
        drop(turns.take("c").await);
        assert_eq!(lock(&turns.all).len(), 1);
    }
}
