//! What a program has taken of one producer's datums, between its consumer and the session that reports it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts what is taken, at the cost of one atomic addition a datum.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes of records.
    taken: AtomicU64,
    /// The session wants to hear of the next datum that is taken.
    watched: AtomicBool,
    wake: Notify,
}

impl Meter {
    /// Notes that the program has taken a record of so many bytes.
    pub(crate) fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::SeqCst);
        // The order of both sides makes sure that one sees what the other did: either the session counts
        // this datum in `watch`, or it is woken here.
        if self.watched.load(Ordering::SeqCst) && self.watched.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Bytes taken ever.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Bytes taken ever; what is taken after that wakes the session, once.
    pub(crate) fn watch(&self) -> u64 {
        self.watched.store(true, Ordering::SeqCst);
        self.taken()
    }

    /// Wakes the session: there may be room.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Completes once the session is woken.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_watched_meter_wakes_with_the_next_datum_and_only_that() {
        let meter = Meter::default();
        meter.take(3);
        assert!(meter.woken().now_or_never().is_none());
        assert_eq!(meter.watch(), 3);
        meter.take(4);
        meter.take(5);
        assert!(meter.woken().now_or_never().is_some());
        assert!(meter.woken().now_or_never().is_none());
        assert_eq!(meter.taken(), 12);
    }
}
