//! Waiting until peers have heard what was said to them: for a node that goes, whose connections end with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;

use super::{Bonds, Control, Line};
use crate::rt::{self, watch};

/// What was asked and answered on one line.
#[derive(Clone, Debug, Default)]
pub(super) struct Echoes {
    asked: Arc<AtomicU64>,
    heard: watch::Sender<u64>,
}

impl Echoes {
    /// The peer has heard everything up to this question.
    pub(super) fn heard(&self, question: u64) {
        self.heard.send_if_modified(|heard| {
            let news = *heard < question;
            *heard = (*heard).max(question);
            news
        });
    }

    fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Bonds {
    /// Waits until every peer has heard what was said to it before, or is gone; at most for `limit`. Messages arrive
    /// in order: who answers a question has heard all before it.
    pub(crate) async fn flush(&self, limit: Duration) {
        let lines = self.lines();
        let flushed = rt::timeout(limit, join_all(lines.iter().map(Line::flush))).await;
        if flushed.is_err() {
            tracing::debug!("not every peer has heard the last of the groups here");
        }
    }
}

impl Line {
    /// Waits until the other end has heard what was said to it before, or is gone.
    pub(crate) async fn flush(&self) {
        let question = self.echoes.ask();
        let mut heard = self.echoes.heard.subscribe();
        self.tell(Control::Echo { question });
        tokio::select! {
            biased;
            // The sender lives as long as the line.
            Ok(_) = heard.wait_for(|heard| *heard >= question) => {}
            _ = self.connection.closed() => {}
        }
    }
}
