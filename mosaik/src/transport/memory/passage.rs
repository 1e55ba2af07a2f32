//! Whether what one end of a connection sends reaches the other, and when.

use crate::rt::{self, Instant, watch};

/// When things that are sent one way arrive, as cuts and heals come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    /// When it was closed last.
    closed_at: Option<Instant>,
    /// Since when it is open, if it is; it may be a moment to come.
    open_since: Option<Instant>,
}

impl Passage {
    /// One that is open.
    pub(super) fn open(now: Instant) -> Self {
        Self {
            closed_at: None,
            open_since: Some(now),
        }
    }

    /// Lets nothing pass from now on.
    pub(super) fn close(&mut self, now: Instant) {
        if let Some(since) = self.open_since.take()
            && since <= now
        {
            self.closed_at = Some(now);
        }
    }

    /// Lets everything pass from `since` on, what was held back first.
    pub(super) fn reopen(&mut self, since: Instant) {
        self.open_since.get_or_insert(since);
    }

    /// Whether anything passes.
    pub(super) fn is_open(&self) -> bool {
        self.open_since.is_some()
    }

    /// When something arrives that is due at `due`; nothing if it is held back.
    pub(super) fn arrival(&self, due: Instant) -> Option<Instant> {
        if self.closed_at.is_some_and(|closed| due <= closed) {
            return Some(due);
        }
        self.open_since.map(|since| since.max(due))
    }
}

/// Waits until something has arrived that is due at `due`. For ever, if the way is gone for good.
pub(super) async fn arrived(passage: &mut watch::Receiver<Passage>, due: Instant) {
    loop {
        let arrival = passage.borrow_and_update().arrival(due);
        let waited = async {
            match arrival {
                Some(arrival) => rt::sleep_until(arrival).await,
                None => std::future::pending().await,
            }
        };
        if arrival.is_some_and(|arrival| arrival <= rt::now()) {
            return;
        }
        tokio::select! {
            biased;
            changed = passage.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            () = waited => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_under_way_when_it_closes_arrives_after_it_opens() {
        let began = rt::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut passage = Passage::open(at(0));
        assert_eq!(passage.arrival(at(1)), Some(at(1)));
        passage.close(at(2));
        assert!(!passage.is_open());
        assert_eq!(passage.arrival(at(1)), Some(at(1)), "was there before");
        assert_eq!(passage.arrival(at(3)), None);
        passage.reopen(at(5));
        assert_eq!(passage.arrival(at(3)), Some(at(5)));
        assert_eq!(passage.arrival(at(6)), Some(at(6)));
        assert_eq!(passage.arrival(at(1)), Some(at(1)));
        // Closed again before it was open: nothing came through in between.
        passage.close(at(4));
        assert_eq!(passage.arrival(at(3)), None);
    }
}
