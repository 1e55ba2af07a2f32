//! A consumer's place at a hub.

use std::sync::Arc;

use tokio::sync::Notify;
use tracing::info;

use super::{
    channels::{Attached, Life},
    hub::Hub,
    info::Counters,
    proto::ring::{Batch, CursorId},
};
use crate::{rt, transport::CloseCode};

/// A consumer's place at a hub. Dropping it keeps the place for the topic's `stall`, so that the consumer
/// can come back; [`Seat::leave`] gives it up.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Arc<Hub>,
    cursor: CursorId,
    /// Sequence number of the first datum it will read.
    pub(crate) first: u64,
    /// Woken when there is something to read, or to stop for.
    pub(crate) wake: Arc<Notify>,
    /// What it has sent.
    pub(crate) counters: Arc<Counters>,
}

/// What a channel does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    /// Send what was read, or wait for credit.
    Go,
    /// Wait to be woken.
    Idle,
    /// Say why and stop; everything was read.
    End(CloseCode, &'static str),
}

impl Seat {
    pub(super) fn new(hub: Arc<Hub>, attached: Attached) -> Self {
        Self {
            hub,
            cursor: attached.cursor,
            first: attached.first,
            wake: attached.wake,
            counters: attached.counters,
        }
    }

    /// Moves what there is to read into `batches`, as long as that holds less than `limit` bytes, and says
    /// what to do. Once a call: what arrives meanwhile makes the next one larger.
    pub(crate) fn read(&self, limit: u64, batches: &mut Vec<Batch>) -> Next {
        let mut state = self.hub.state();
        if let Some((code, reason)) = state.forced_end(self.cursor) {
            return Next::End(code, reason);
        }
        let mut bytes = 0;
        while bytes < limit {
            let Some(batch) = state.ring.read(self.cursor) else {
                break;
            };
            bytes += batch.records.len() as u64;
            batches.push(batch);
        }
        if bytes > 0 || limit == 0 {
            return Next::Go;
        }
        if let Some((code, reason)) = state.closing {
            return Next::End(code, reason);
        }
        state.rest(self.cursor);
        Next::Idle
    }

    /// Completes once the seat must be given up although not everything was sent.
    pub(crate) async fn forced(&self) -> (CloseCode, &'static str) {
        loop {
            let changed = self.hub.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(end) = self.hub.state().forced_end(self.cursor) {
                return end;
            }
            changed.await;
        }
    }

    /// Notes what has arrived at the consumer, and how many bytes its program has taken.
    pub(crate) fn ack(&self, received: u64, taken: u64) {
        if self.hub.state().ack(self.cursor, received, taken) {
            self.hub.wake_waiting();
        }
    }

    /// What grows as long as the consumer takes anything; `None` once its place is given up.
    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        self.hub.state().progress(self.cursor)
    }

    /// Gives the seat up for good. That of a consumer that was cut is kept all the same: it did not want to
    /// leave.
    pub(crate) fn leave(self) {
        {
            let mut state = self.hub.state();
            let channel = state.get_mut(self.cursor);
            if channel.is_some_and(|channel| channel.state == Life::Connected) {
                state.remove(self.cursor);
            }
        }
        self.hub.refresh();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let until = rt::now() + self.hub.topic().options.stall;
        if let Some(channel) = self.hub.state().get_mut(self.cursor)
            && channel.state == Life::Connected
        {
            let peer = channel.peer().short();
            info!(%peer, "consumer lost; its place is kept for a while");
            channel.state = Life::Lost { until };
        }
        self.hub.refresh();
    }
}
