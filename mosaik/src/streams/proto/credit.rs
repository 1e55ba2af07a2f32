//! Flow of one subscription: how far a producer may send ahead, and when a consumer tells it more.
//!
//! A consumer grants bytes up to a cumulative limit: what has arrived, and what is free of its window. A
//! producer sends while it is below the limit, so it oversteps by less than one chunk, and a stalled
//! subscription holds up no other on the same connection. Acknowledgements carry what has arrived, which
//! frees the producer's ring; the limit; and what the application has taken, which shows that it is alive.

use serde::{Deserialize, Serialize};

/// What a consumer tells its producer while a subscription runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    /// Sequence number behind the last datum that has arrived.
    pub(crate) received: u64,
    /// Bytes of records that the producer may have sent since the subscription began.
    pub(crate) limit: u64,
    /// Bytes of records that the application has taken. Where they are counted from does not matter: they
    /// grow as long as it takes something.
    pub(crate) taken: u64,
}

/// The producer's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    sent: u64,
    limit: u64,
}

impl Sending {
    /// A subscription that may send `limit` bytes first.
    pub(crate) fn new(limit: u64) -> Self {
        Self { sent: 0, limit }
    }

    /// Bytes that may be sent; the chunk that reaches them is sent whole.
    pub(crate) fn credit(&self) -> u64 {
        self.limit.saturating_sub(self.sent)
    }

    /// Notes that `bytes` of records were sent.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Takes over a new limit; one that goes back is ignored.
    pub(crate) fn on_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }
}

/// The consumer's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiving {
    window: u64,
    ack_every: u64,
    received: u64,
    received_bytes: u64,
    /// What is taken up of the window.
    held: u64,
    taken: u64,
    told: Ack,
    told_bytes: u64,
}

/// When an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The producer knows everything.
    Never,
    /// Soon, together with what else arrives by then.
    Soon,
    /// At once: the producer may be waiting for it.
    Now,
}

impl Receiving {
    /// A subscription whose first datum is `first`. Of the `window`, `held` bytes are taken up by what an
    /// earlier subscription left behind, of which `taken` bytes were taken. The producer asks for an
    /// acknowledgement every `ack_every` datums.
    pub(crate) fn new(first: u64, held: u64, taken: u64, window: u64, ack_every: u64) -> Self {
        Self {
            window,
            ack_every: ack_every.max(1),
            received: first,
            received_bytes: 0,
            held,
            taken,
            told: Ack {
                received: first,
                limit: Self::first_limit(held, window),
                taken,
            },
            told_bytes: 0,
        }
    }

    /// Bytes that the producer may send before it hears more.
    pub(crate) fn first_limit(held: u64, window: u64) -> u64 {
        window.saturating_sub(held)
    }

    /// Notes that `count` datums in `bytes` of records have arrived.
    pub(crate) fn on_received(&mut self, count: u64, bytes: usize) {
        self.received = self.received.saturating_add(count);
        self.received_bytes = self.received_bytes.saturating_add(bytes as u64);
        self.held = self.held.saturating_add(bytes as u64);
    }

    /// Notes that the producer left out `missed` datums.
    pub(crate) fn on_gap(&mut self, missed: u64) {
        self.received = self.received.saturating_add(missed);
    }

    /// Notes that `held` bytes of the window are taken up now, and that the application has taken `taken`
    /// bytes of records.
    pub(crate) fn on_taken(&mut self, held: u64, taken: u64) {
        self.held = held;
        self.taken = taken;
    }

    /// Whether more may be read: a producer that oversteps its limit is left waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.held < self.window
    }

    /// When the next acknowledgement is due.
    pub(crate) fn due(&self) -> Due {
        let ack = self.ack();
        if ack == self.told {
            Due::Never
        } else if ack.received.saturating_sub(self.told.received) >= self.ack_every
            || ack.limit.saturating_sub(self.told.limit) >= self.window / 4
            || self.received_bytes.saturating_sub(self.told_bytes) >= self.window / 4
        {
            Due::Now
        } else {
            Due::Soon
        }
    }

    /// The acknowledgement to send now.
    pub(crate) fn tell(&mut self) -> Ack {
        self.told = self.ack();
        self.told_bytes = self.received_bytes;
        self.told
    }

    fn ack(&self) -> Ack {
        let free = self.window.saturating_sub(self.held);
        Ack {
            received: self.received,
            // What was granted is not taken back when what has arrived turns out to cost more.
            limit: self
                .received_bytes
                .saturating_add(free)
                .max(self.told.limit),
            taken: self.taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn acknowledgements_wait_for_company_unless_somebody_may_be_waiting() {
        let mut flow = Receiving::new(10, 0, 0, 1000, 4);
        assert_eq!(flow.due(), Due::Never);
        flow.on_received(1, 10);
        assert_eq!(flow.due(), Due::Soon);
        flow.on_received(3, 30);
        assert_eq!(flow.due(), Due::Now, "every four datums");
        assert_eq!(
            flow.tell(),
            Ack {
                received: 14,
                limit: 1000,
                taken: 0
            }
        );
        assert_eq!(flow.due(), Due::Never);
        flow.on_received(1, 250);
        assert_eq!(flow.due(), Due::Now, "a quarter of the window");
        flow.tell();
        flow.on_taken(289, 1);
        assert_eq!(
            flow.due(),
            Due::Soon,
            "the producer must see that it is alive"
        );
        flow.on_taken(0, 290);
        assert_eq!(
            flow.due(),
            Due::Now,
            "a quarter of the window is free again"
        );
        assert_eq!(flow.tell().limit, 1290);
    }

    #[test]
    fn what_an_earlier_subscription_left_counts_against_the_window() {
        let mut flow = Receiving::new(0, 900, 0, 1000, 4);
        assert_eq!(Receiving::first_limit(900, 1000), 100);
        flow.on_received(1, 100);
        assert!(!flow.has_room());
        flow.on_taken(100, 900);
        assert_eq!(flow.tell().limit, 1000);
    }

    #[test]
    fn what_is_held_beyond_the_window_hides_no_progress() {
        let mut flow = Receiving::new(0, 5000, 7, 1000, 4);
        for taken in 8..100 {
            flow.on_taken(5007 - taken, taken);
            assert_ne!(flow.due(), Due::Never);
            assert_eq!(
                flow.tell(),
                Ack {
                    received: 0,
                    limit: 0,
                    taken
                }
            );
        }
        flow.on_taken(900, 4107);
        assert_eq!(flow.tell().limit, 100);
        flow.on_taken(950, 4107);
        assert_eq!(flow.tell().limit, 100, "what was granted stays");
    }

    proptest! {
        /// Producer and consumer never wait for each other, and the consumer holds at most its window
        /// and one chunk.
        #[test]
        fn bytes_flow_without_deadlock(
            chunks in prop::collection::vec(1usize..300, 1..200),
            window in 1u64..1000,
        ) {
            let mut sending = Sending::new(window);
            let mut receiving = Receiving::new(0, 0, 0, window, u64::MAX);
            let mut held = 0;
            let mut taken = 0;
            for chunk in chunks {
                if sending.credit() == 0 {
                    // All that is held is taken, and the consumer says so.
                    taken += std::mem::take(&mut held);
                    receiving.on_taken(0, taken);
                    prop_assert_ne!(receiving.due(), Due::Never);
                    sending.on_limit(receiving.tell().limit);
                }
                prop_assert!(sending.credit() > 0);
                prop_assert!(receiving.has_room());
                sending.on_sent(chunk);
                receiving.on_received(1, chunk);
                held += chunk as u64;
                prop_assert!(held < window + 300);
            }
        }
    }
}
