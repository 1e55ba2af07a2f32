//! This member's clock as its group may use it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::{
    bonds::Clocks,
    proto::clock::{Judge, Offset, Verdict, is_close},
    raft::Status,
};
use crate::{
    id::MemberId,
    rt::{self, lock, watch},
};

/// What a member stamps whose clock is wrong: the time of the group then stands still, as it never goes back.
const NO_TIME: u64 = 0;

/// This member's clock, judged by those of the voters at every look. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    me: MemberId,
    clocks: Clocks,
    status: watch::Receiver<Status>,
    judge: Arc<Mutex<Judge>>,
}

impl Clock {
    /// The clock of a member that runs Raft.
    pub(crate) fn new(me: MemberId, clocks: Clocks, status: watch::Receiver<Status>) -> Self {
        Self {
            me,
            clocks,
            status,
            judge: Arc::default(),
        }
    }

    /// What an entry that is proposed now says of the time: the clock's milliseconds since 1970, or nothing that
    /// counts if the clock is wrong.
    pub(crate) fn stamp(&self) -> u64 {
        let now = rt::unix_millis();
        if self.judge_at(now).is_sound() {
            now
        } else {
            NO_TIME
        }
    }

    /// Whether the clock may be used. That of a member that does not vote is not judged.
    pub(crate) fn judge(&self) -> Verdict {
        self.judge_at(rt::unix_millis())
    }

    /// The other voters that leadership is better not handed to, for their clocks.
    pub(crate) fn far_off(&self) -> BTreeSet<MemberId> {
        let (voters, offsets) = self.voters(rt::unix_millis());
        let others = voters.into_iter().zip(offsets.iter().copied());
        let far_off = others.filter(|(member, offset)| {
            let ahead = offset.map_or(0, |offset| offset.ahead_of_median(&offsets));
            *member != self.me && !is_close(ahead)
        });
        far_off.map(|(member, _)| member).collect()
    }

    fn judge_at(&self, now: u64) -> Verdict {
        let (voters, offsets) = self.voters(now);
        let ahead = if voters.contains(&self.me) {
            Offset::OWN.ahead_of_median(&offsets)
        } else {
            0
        };
        lock(&self.judge).judge(ahead)
    }

    /// Those who vote in any of the sets, and how far each one's clock is ahead of this, as far as it is known.
    fn voters(&self, now: u64) -> (BTreeSet<MemberId>, Vec<Option<Offset>>) {
        let voters: BTreeSet<MemberId> = {
            let status = self.status.borrow();
            let membership = status.membership.iter();
            let configs = membership.flat_map(|membership| membership.configs());
            configs.flatten().copied().collect()
        };
        let peers = voters.iter().map(|member| member.peer);
        let mut offsets = self.clocks.offsets(peers, now);
        for (member, offset) in voters.iter().zip(&mut offsets) {
            if *member == self.me {
                *offset = Some(Offset::OWN);
            }
        }
        (voters, offsets)
    }
}
