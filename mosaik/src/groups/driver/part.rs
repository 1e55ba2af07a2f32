//! Going: handing over first, and saying good-bye.

use std::time::Duration;

use tracing::{debug, info};

use super::run::{Driver, Stop};
use crate::{
    groups::{
        bonds::{Control, Farewell, Testament},
        storage::{self, LogId},
    },
    rt,
};

/// How long a member that shuts down tries to hand leadership over.
const HAND_OVER: Duration = Duration::from_secs(1);
/// How long a member that leaves waits until it is removed.
const REMOVAL: Duration = Duration::from_secs(10);

impl Driver {
    /// Goes on with going; returns whether this member may stop.
    pub(super) fn leave(&mut self) -> bool {
        let stop = *self.parts.stop.borrow();
        let began = *self.leaving.get_or_insert_with(rt::now);
        let me = self.front.me();
        let leads = self.running.as_ref().and_then(|running| running.leader()) == Some(me);
        let membership = self.membership();
        let others = membership.as_ref().is_some_and(|m| m.voters.len() > 1);
        let late = |limit: Duration| rt::now().duration_since(began) >= limit;
        if leads && others && !late(HAND_OVER) {
            // The roster hands over, now that this member is going.
            return false;
        }
        if stop == Stop::Leave && !late(REMOVAL) {
            let listed = membership.is_some_and(|m| m.members().contains(&me));
            let alone = !others;
            if listed && !alone && self.announced.is_some() {
                let group = self.front.group();
                self.parts.bonds.tell_all(
                    group,
                    &Control::Leaving {
                        group,
                        boot: me.boot,
                    },
                );
                return false;
            }
        }
        info!("takes part no longer");
        true
    }

    /// The last membership that is known, and the last entry of the log behind which there may be others.
    pub(super) fn known_members(&self) -> Option<(Testament, LogId)> {
        let running = self.running.as_ref()?;
        let status = running.raft()?;
        let testament = Testament {
            epoch: running.charter().epoch,
            membership: status.membership?.log_id,
        };
        Some((testament, status.last?))
    }

    /// Says good-bye, now that Raft is stopped.
    pub(super) async fn say_goodbye(&mut self, known: Option<(Testament, LogId)>) {
        let testament = match known {
            Some((known, last)) if !self.parts.settled.durable => self.testament(known, last).await,
            _ => None,
        };
        let group = self.front.group();
        let farewell = match *self.parts.stop.borrow() {
            Stop::Leave => Farewell::Left,
            Stop::No | Stop::Shutdown => Farewell::Shutdown,
        };
        let goodbye = Control::Absent {
            group,
            boot: self.front.me().boot,
            farewell: Some(farewell),
            testament,
        };
        self.parts.bonds.tell_all(group, &goodbye);
    }

    /// The last membership in the log, of which `known` is the last up to `last`. Nothing if the log was cut since, or
    /// cannot be read: then it is not known.
    async fn testament(&mut self, known: Testament, last: LogId) -> Option<Testament> {
        let records = self.log.read_all(last.index..u64::MAX).await;
        let records = records
            .inspect_err(|error| debug!(%error, "no testament"))
            .ok()?;
        let cut = records.first().map(|record| record.id) != Some(last);
        let later = records.iter().rev();
        let later = later.filter(|record| record.kind == storage::Kind::Membership);
        let later = later.map(|record| record.id).next();
        let membership = later.unwrap_or(known.membership);
        (!cut).then_some(Testament {
            membership,
            ..known
        })
    }
}
