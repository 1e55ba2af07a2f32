//! What a driver waits for of the replica that runs.
//!
//! Positions in the log are news as well, which a busy group has all the time: they wait for a moment, all else does not.

use std::{future::pending, sync::Arc, time::Duration};

use crate::{
    groups::{
        follow::Followed,
        raft::{MachineStatus, Status},
    },
    rt::{self, Instant, watch},
};

/// How often at most positions are news.
const PACE: Duration = Duration::from_millis(25);

/// What is known of a replica, as it changes.
pub(super) struct News {
    raft: Option<Raft>,
    machine: watch::Receiver<MachineStatus>,
    followed: watch::Receiver<Followed>,
    /// What was known when there was news last.
    known: (Status, MachineStatus),
    /// When positions are news again.
    look_again: Instant,
}

/// The same of Raft, where it runs.
struct Raft {
    status: watch::Receiver<Status>,
    awake: watch::Receiver<bool>,
}

impl News {
    /// The news of Raft and whether it is awake, of the state machine, and of whom is followed.
    pub(super) fn new(
        raft: Option<(watch::Receiver<Status>, watch::Receiver<bool>)>,
        machine: watch::Receiver<MachineStatus>,
        followed: watch::Receiver<Followed>,
    ) -> Self {
        Self {
            raft: raft.map(|(status, awake)| Raft { status, awake }),
            machine,
            followed,
            known: Default::default(),
            look_again: rt::now(),
        }
    }

    /// How Raft is doing, if it runs.
    pub(super) fn raft(&self) -> Option<&watch::Receiver<Status>> {
        self.raft.as_ref().map(|raft| &raft.status)
    }

    /// How the state machine is doing.
    pub(super) fn machine(&self) -> &watch::Receiver<MachineStatus> {
        &self.machine
    }

    /// What is known of the one that is followed.
    pub(super) fn followed(&self) -> &watch::Receiver<Followed> {
        &self.followed
    }

    /// Waits for something new. Nothing is lost if this is dropped before.
    pub(super) async fn next(&mut self) {
        // Receivers of their own, which look at what is there now before they wait.
        let (mut standing, mut facts) = (self.raft().cloned(), self.machine.clone());
        let (known_raft, known_machine) = &self.known;
        let standing = async {
            match &mut standing {
                Some(raft) => raft.wait_for(|now| is_more(known_raft, now)).await.is_ok(),
                None => false,
            }
        };
        let facts = async {
            let told = facts.wait_for(|now| tells_more(known_machine, now));
            told.await.is_ok()
        };
        let (status, awake) = match &mut self.raft {
            Some(raft) => (Some(&mut raft.status), Some(&mut raft.awake)),
            None => (None, None),
        };
        let positions = async {
            rt::sleep_until(self.look_again).await;
            tokio::select! {
                biased;
                true = changed(status) => {}
                Ok(()) = self.machine.changed() => {}
                else => pending().await,
            }
        };
        // A sender that is gone has told its last.
        tokio::select! {
            biased;
            true = standing => {}
            true = facts => {}
            true = changed(awake) => {}
            Ok(()) = self.followed.changed() => {}
            () = positions => self.look_again = rt::now() + PACE,
            else => pending().await,
        }
        let raft = self.raft.as_ref().map(|raft| raft.status.borrow().clone());
        self.known = (raft.unwrap_or_default(), self.machine.borrow().clone());
    }
}

/// Whether there is something new; there never is where nothing tells.
async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) -> bool {
    match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    }
}

/// Whether Raft says more than before, but for positions.
fn is_more(before: &Status, now: &Status) -> bool {
    (before.term, before.role, before.leader) != (now.term, now.role, now.leader)
        || before.membership != now.membership
        || before.stopped != now.stopped
}

/// The same of the state machine. Whether there are commands is what a conflict is decided by.
fn tells_more(before: &MachineStatus, now: &MachineStatus) -> bool {
    before.is_established() != now.is_established()
        || before.commands != now.commands
        || before.membership != now.membership
        || !(Arc::ptr_eq(&before.used, &now.used) || before.used == now.used)
        || before.superseded != now.superseded
        || before.full != now.full
        || before.halted != now.halted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::FutureExt as _;

    use super::*;
    use crate::{
        groups::{
            proto::{log_id::LogId, roster::Membership},
            raft::Role,
        },
        id::{MemberId, PeerId},
    };

    struct Told {
        raft: watch::Sender<Status>,
        awake: watch::Sender<bool>,
        machine: watch::Sender<MachineStatus>,
        followed: watch::Sender<Followed>,
        news: News,
    }

    impl Told {
        fn new() -> Self {
            let (raft, status) = watch::channel(Status::default());
            let (awake, is_awake) = watch::channel(true);
            let (machine, applied) = watch::channel(MachineStatus::default());
            let (followed, follows) = watch::channel(Followed::default());
            Self {
                raft,
                awake,
                machine,
                followed,
                news: News::new(Some((status, is_awake)), applied, follows),
            }
        }

        fn is_news(&mut self) -> bool {
            self.news.next().now_or_never().is_some()
        }

        /// Positions move; told so early that they are no news yet.
        fn moves(&mut self, index: u64) {
            let at = Some(LogId { term: 1, index });
            self.raft.send_modify(|status| status.committed = at);
            self.machine.send_modify(|machine| machine.applied = at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn positions_are_news_once_in_a_while_and_never_lost() {
        let mut told = Told::new();
        assert!(!told.is_news());
        told.moves(1);
        // That the charter is established by that is more than a position.
        while told.is_news() {}
        let began = rt::now();
        let mut count = 0;
        for index in 2..1002 {
            told.moves(index);
            rt::sleep(Duration::from_millis(1)).await;
            count += u32::from(told.is_news());
        }
        let most = rt::now().duration_since(began).as_millis() / PACE.as_millis() + 1;
        assert!((30..=most).contains(&u128::from(count)), "{count}");
        // The last is told, however many did not wait for it.
        told.moves(1002);
        assert!(!told.is_news());
        told.news.next().await;
        let at = told.news.machine().borrow().applied;
        assert_eq!(at.map(|at| at.index), Some(1002));
        rt::sleep(PACE).await;
        while told.is_news() {}
        rt::sleep(PACE).await;
        assert!(!told.is_news());
    }

    #[tokio::test(start_paused = true)]
    async fn all_else_is_news_at_once_and_once() {
        let mut told = Told::new();
        told.moves(1);
        while told.is_news() {}
        let changes: [fn(&Told); 9] = [
            |told| told.raft.send_modify(|raft| raft.term += 1),
            |told| told.raft.send_modify(|raft| raft.role = Role::Leader),
            |told| {
                told.raft
                    .send_modify(|raft| raft.stopped = Some("it was stopped".into()))
            },
            |told| told.raft.send_modify(|raft| raft.leader = Some(member())),
            |told| told.machine.send_modify(|machine| machine.commands = true),
            |told| {
                told.machine
                    .send_modify(|machine| machine.full = Some("no room".into()))
            },
            |told| {
                let membership = Some(Arc::new(membership()));
                told.machine
                    .send_modify(|machine| machine.membership = membership);
            },
            |told| told.awake.send_modify(|awake| *awake = false),
            |told| told.followed.send_modify(|_| {}),
        ];
        for (index, change) in (2..).zip(changes) {
            told.moves(index);
            assert!(!told.is_news(), "{index}");
            change(&told);
            assert!(told.is_news(), "{index}");
            assert!(!told.is_news(), "{index}");
        }
    }

    fn membership() -> Membership {
        Membership {
            log_id: LogId { term: 1, index: 1 },
            committed: true,
            leaving: None,
            voters: [member()].into(),
            learners: BTreeSet::new(),
        }
    }

    fn member() -> MemberId {
        MemberId {
            peer: PeerId::from_bytes([1; 32]),
            boot: 1,
        }
    }
}
