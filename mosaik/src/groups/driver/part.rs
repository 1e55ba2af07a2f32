//! Going: handing over first, and saying good-bye.

use std::time::Duration;

use tracing::info;

use super::run::{Driver, Stop};
use crate::{
    groups::bonds::{Control, Farewell},
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
        let group = self.front.group();
        if stop == Stop::Leave && !late(REMOVAL) {
            let listed = membership.is_some_and(|m| m.members().contains(&me));
            let alone = !others;
            if listed && !alone && self.announced.is_some() {
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
        let farewell = match stop {
            Stop::Leave => Farewell::Left,
            Stop::No | Stop::Shutdown => Farewell::Shutdown,
        };
        self.parts.bonds.tell_all(
            group,
            &Control::Absent {
                group,
                boot: me.boot,
                farewell: Some(farewell),
            },
        );
        true
    }
}
