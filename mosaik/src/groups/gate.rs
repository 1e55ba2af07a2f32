//! Which commands this member may propose, as its driver last saw it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    machine::{CheckError, Item, Machine},
    proposer::Failed,
    proto::versions::Gaps,
};
use crate::{id::PeerId, rt::lock};

/// Which commands this member may propose: all that it knows, but for [`Gaps`].
///
/// The driver changes it when it hears of another membership or of what a member knows, and before it makes anybody
/// a voter. What was let through before waits in a queue meanwhile, so it is looked at again where it is proposed, if
/// the gate has changed since: what is proposed after a change of the gate is what that lets through.
///
/// A leader that is new may still act before its driver has looked at the membership that it leads by. That harms
/// nobody's state: a replica never skips a command that it does not know, it stops with an error that says so, and
/// goes on once it is updated.
#[derive(Debug)]
pub(crate) struct Gate {
    me: PeerId,
    /// Reads commands.
    machine: Arc<dyn Machine>,
    narrow: AtomicBool,
    gaps: Mutex<Arc<Gaps>>,
    changes: AtomicU64,
}

/// An item that a gate let through.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) item: Item,
    /// How often the gate had changed before it looked.
    change: u64,
}

impl Gate {
    /// Lets all commands through that `machine`, the program of `me`, knows.
    pub(crate) fn new(me: PeerId, machine: Arc<dyn Machine>) -> Self {
        Self {
            me,
            machine,
            narrow: AtomicBool::new(false),
            gaps: Mutex::default(),
            changes: AtomicU64::new(0),
        }
    }

    /// From now on.
    pub(crate) fn set(&self, gaps: Gaps) {
        let narrow = !gaps.is_empty();
        let mut held = lock(&self.gaps);
        if **held == gaps {
            return;
        }
        *held = Arc::new(gaps);
        self.narrow.store(narrow, Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Lets an item through if this member and all voters know its commands.
    pub(crate) fn admit(&self, item: Item) -> Result<Admitted, Failed> {
        // Before it is looked at.
        let change = self.change();
        self.check(&item)?;
        Ok(Admitted { item, change })
    }

    /// The same, of an item whose commands this member knows: there is nothing to look at where all voters do.
    pub(crate) fn admit_known(&self, item: Item) -> Result<Admitted, Failed> {
        let change = self.change();
        if self.narrow.load(Ordering::Acquire) {
            self.check(&item)?;
        }
        Ok(Admitted { item, change })
    }

    /// Whether what was let through once may be proposed now.
    pub(crate) fn check_again(&self, admitted: &Admitted) -> Result<(), Failed> {
        match admitted.change == self.change() {
            true => Ok(()),
            false => self.check(&admitted.item),
        }
    }

    fn change(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn check(&self, item: &Item) -> Result<(), Failed> {
        let Item::Commands {
            count, commands, ..
        } = item
        else {
            return Ok(());
        };
        let gaps = self.gaps();
        let mut lacking = None;
        let checked = self.machine.check(*count, commands, &mut |number| {
            let gap = || Some((number, gaps.as_ref()?.who_lacks(number)?.peer));
            lacking = lacking.or_else(gap);
        });
        let unknown = match checked {
            Ok(()) => None,
            Err(CheckError::Unknown(why)) => {
                let number = why.unknown_number().ok_or(Failed::Malformed)?;
                Some((number, self.me))
            }
            Err(_) => return Err(Failed::Malformed),
        };
        match lacking.or(unknown) {
            Some((command, peer)) => Err(Failed::Unsupported { command, peer }),
            None => Ok(()),
        }
    }

    /// What not all voters know; `None`, which costs nothing, if they all know everything.
    fn gaps(&self) -> Option<Arc<Gaps>> {
        let narrow = self.narrow.load(Ordering::Acquire);
        narrow.then(|| lock(&self.gaps).clone())
    }
}
