//! Which commands this member may propose, as its driver last saw it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use super::proto::versions::Gaps;
use crate::rt::lock;

/// Which commands this member may propose: all that it knows, but for [`Gaps`].
///
/// The driver changes it when it hears of another membership or of what a member knows, and before it makes anybody
/// a voter. So a command can still slip through that was let in just before, or at a leader that is new and whose
/// driver has not looked yet. That harms nobody's state: a replica never skips a command that it does not know, it
/// stops with an error that says so, and goes on once it is updated.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    narrow: AtomicBool,
    gaps: Mutex<Arc<Gaps>>,
}

impl Gate {
    /// From now on.
    pub(crate) fn set(&self, gaps: Gaps) {
        let narrow = !gaps.is_empty();
        *lock(&self.gaps) = Arc::new(gaps);
        self.narrow.store(narrow, Ordering::Release);
    }

    /// What not all voters know; `None`, which costs nothing, if they all know everything.
    pub(crate) fn gaps(&self) -> Option<Arc<Gaps>> {
        let narrow = self.narrow.load(Ordering::Acquire);
        narrow.then(|| lock(&self.gaps).clone())
    }
}
