//! Members outside the membership: they follow the committed log of any member that is in it.
//!
//! The follower says how far it is, and is sent a snapshot if the entries behind that were purged, then entries
//! as they are applied. Following costs the membership nothing; when the one that is followed goes, another is.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::{
    bonds::{GroupHeader, Kind},
    error::Unavailable,
    front::Front,
    machine::{Header as SnapshotHeader, Store},
    proto::{
        compaction::{Compaction, Limits},
        founding::charter::Epoch,
        log_id::LogId,
    },
    raft::RaftMachine,
    replica::Replica,
    shared::Shared,
    status::GroupStatus,
    storage::{GroupLog, Op, Record, WriteError},
};
use crate::{
    id::{MemberId, PeerId},
    rt::{self, watch},
    transport::{CloseCode, Halves, Link, LinkError},
    wire,
};

/// Bytes of entries that are sent at once, about: 1 MiB.
const READ_BYTES: usize = 1024 * 1024;
/// How often a follower that gets nothing else is told that the other is there.
const TICK: Duration = Duration::from_secs(1);
/// How long a follower hears nothing, or nothing but that a quorum is lacking, before it looks for another one to
/// follow.
const SILENCE: Duration = Duration::from_secs(4);
/// How long to wait, give or take half, before another member is followed.
const RETRY: Duration = Duration::from_millis(100);

/// What a follower is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Frame {
    /// A snapshot follows, in chunks.
    Snapshot(SnapshotHeader),
    /// A chunk of it.
    Chunk(Bytes),
    /// Entries that are committed.
    Entries(Vec<Record>),
    /// Who leads, as far as the sender knows; also a sign of life.
    State {
        /// The leader.
        leader: Option<MemberId>,
        /// Up to where the sender has applied the log.
        applied: Option<u64>,
        /// What the sender lacks of a quorum, if it does.
        lacks: Option<Lacks>,
    },
}

/// The voters that a group lacks to commit anything, as a member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lacks {
    /// Voters that are connected.
    pub(crate) have: usize,
    /// Voters that must be.
    pub(crate) need: usize,
    /// Those that are not.
    pub(crate) missing: Vec<PeerId>,
}

impl Lacks {
    /// What a member that runs Raft lacks.
    fn of(status: &GroupStatus) -> Option<Self> {
        match status.unavailable.clone()? {
            Unavailable::NoQuorum {
                have,
                need,
                missing,
            } => Some(Self {
                have,
                need,
                missing,
            }),
            _ => None,
        }
    }
}

impl From<Lacks> for Unavailable {
    fn from(lacks: Lacks) -> Self {
        let Lacks {
            have,
            need,
            missing,
        } = lacks;
        Self::NoQuorum {
            have,
            need,
            missing,
        }
    }
}

/// What a follower knows of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Whom it follows.
    pub(crate) source: Option<MemberId>,
    /// Who leads.
    pub(crate) leader: Option<MemberId>,
    /// Up to where the one that is followed has applied the log.
    pub(crate) applied: Option<u64>,
    /// What the one that is followed lacks of a quorum.
    pub(crate) lacks: Option<Lacks>,
}

/// Sends the committed log to a follower, from behind `applied` on, until the stream breaks.
pub(crate) async fn serve(
    shared: &Shared,
    replica: &Arc<Replica>,
    applied: Option<LogId>,
    mut halves: Halves,
) -> Result<(), LinkError> {
    let Some(node) = replica.node() else {
        halves.0.reset(CloseCode::NotFound);
        return Ok(());
    };
    let mut link = Link::<Frame, ()>::resume(halves, wire::MAX_FRAME);
    let mut status = node.status();
    let mut group = shared.status().subscribe();
    let mut next = applied.map_or(0, |applied| applied.index + 1);
    loop {
        let lacks = Lacks::of(&group.borrow_and_update());
        let state = {
            let status = status.borrow_and_update();
            if status.stopped.is_some() {
                return Ok(());
            }
            Frame::State {
                leader: status.leader,
                applied: replica.progress().get(),
                lacks: lacks.clone(),
            }
        };
        link.tx.send(&state).await?;
        // What is applied by now, then whatever comes until there is news of the leader.
        loop {
            while replica.progress().get().is_some_and(|done| done >= next) {
                next = send_some(replica, &mut link, next).await?;
            }
            let more = tokio::select! {
                biased;
                () = replica.progress().reach(next) => true,
                changed = leader_changed(&mut status, &state) => changed,
                Ok(_) = group.wait_for(|group| Lacks::of(group) != lacks) => false,
                () = rt::sleep(TICK) => false,
            };
            if !more {
                break;
            }
        }
    }
}

/// Waits until another member leads than `told`; returns false then.
async fn leader_changed(status: &mut watch::Receiver<super::raft::Status>, told: &Frame) -> bool {
    let Frame::State { leader, .. } = told else {
        return false;
    };
    let changed =
        |status: &super::raft::Status| status.leader != *leader || status.stopped.is_some();
    // If nobody changes it any more, there is nothing to tell.
    drop(status.wait_for(changed).await);
    false
}

/// Sends entries from `next` on, or a snapshot if they are gone; returns which is next.
async fn send_some(
    replica: &Replica,
    link: &mut Link<Frame, ()>,
    next: u64,
) -> Result<u64, LinkError> {
    let broken = |error: &dyn std::fmt::Display| {
        debug!(%error, "a follower cannot be served");
        LinkError::Stream(CloseCode::NotFound)
    };
    let end = replica.progress().get().map_or(0, |done| done + 1);
    let records = replica.log().read(next..end, READ_BYTES).await;
    let records = records.map_err(|error| broken(&error))?;
    if let (Some(first), Some(last)) = (records.first(), records.last())
        && first.id.index == next
    {
        let after = last.id.index + 1;
        link.tx.send(&Frame::Entries(records)).await?;
        return Ok(after);
    }
    let snapshot = replica.store().current();
    let snapshot = snapshot.filter(|snapshot| snapshot.header().last.index >= next);
    let snapshot = snapshot.ok_or_else(|| broken(&"entries are gone and no snapshot has them"))?;
    let header = snapshot.header().clone();
    let after = header.last.index + 1;
    link.tx.send(&Frame::Snapshot(header)).await?;
    let mut number = 0;
    while let Some(chunk) = snapshot
        .chunk(number)
        .await
        .map_err(|error| broken(&error))?
    {
        link.tx.send(&Frame::Chunk(chunk)).await?;
        number += 1;
    }
    Ok(after)
}

/// Follows whoever announces the charter, until this is dropped or the state machine halts.
pub(crate) async fn run(
    front: Arc<Front>,
    replica: Arc<Replica>,
    mut machine: RaftMachine,
    told: watch::Sender<Followed>,
) {
    let mut tried = None;
    let mut compaction = Compaction::new(Limits::default());
    loop {
        let sources = front.announcers(replica.epoch());
        // Another one than the last, if there is another.
        let others: Vec<MemberId> = sources
            .iter()
            .copied()
            .filter(|s| Some(*s) != tried)
            .collect();
        let choice = if others.is_empty() { &sources } else { &others };
        let random = usize::try_from(rt::random_u64() >> 32).unwrap_or(0);
        if let Some(source) = choice.get(random % choice.len().max(1)).copied() {
            tried = Some(source);
            let follower = Follower {
                replica: &replica,
                machine: &mut machine,
                compaction: &mut compaction,
            };
            match follow(&front, follower, source, &told).await {
                Ok(()) => {}
                Err(Broken::Link(error)) => debug!(%error, source = %source, "followed no longer"),
                // The progress of the replica says why.
                Err(Broken::Halted) => return,
                Err(Broken::Io(error)) => debug!(%error, "what was sent could not be kept"),
            }
            told.send_replace(Followed::default());
        }
        rt::sleep(rt::jitter(RETRY)).await;
    }
}

#[derive(Debug)]
enum Broken {
    Link(LinkError),
    Halted,
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// What a follower has.
struct Follower<'a> {
    replica: &'a Replica,
    machine: &'a mut RaftMachine,
    compaction: &'a mut Compaction,
}

async fn follow(
    front: &Front,
    mut follower: Follower<'_>,
    source: MemberId,
    told: &watch::Sender<Followed>,
) -> Result<(), Broken> {
    let header = GroupHeader {
        group: front.group(),
        epoch: follower.replica.epoch(),
        from: follower.replica.me(),
        to: source,
        kind: Kind::Follow {
            applied: follower.machine.last(),
        },
    };
    let halves = rt::timeout(SILENCE, front.open(header)).await;
    let halves = halves.map_err(|_| LinkError::Truncated)??;
    let mut link = Link::<(), Frame>::resume(halves, wire::MAX_FRAME);
    let mut lacks_since = None;
    loop {
        let frame = receive(&mut link).await?;
        match frame {
            Frame::State {
                leader,
                applied,
                lacks,
            } => {
                // It may be the only one that is cut off.
                let since = lacks.as_ref().map(|_| lacks_since.unwrap_or_else(rt::now));
                lacks_since = since;
                if since.is_some_and(|since| rt::now().duration_since(since) > SILENCE) {
                    return Err(LinkError::Stream(CloseCode::TimedOut).into());
                }
                let followed = Followed {
                    source: Some(source),
                    leader,
                    applied,
                    lacks,
                };
                told.send_if_modified(|before| {
                    std::mem::replace(before, followed.clone()) != followed
                });
            }
            Frame::Entries(records) => follower.take_in(records).await?,
            Frame::Snapshot(header) => follower.snapshot(&mut link, header).await?,
            Frame::Chunk(_) => return Err(LinkError::Stream(CloseCode::Malformed).into()),
        }
    }
}

async fn receive(link: &mut Link<(), Frame>) -> Result<Frame, LinkError> {
    let frame = rt::timeout(SILENCE, link.rx.recv()).await;
    let frame = frame.map_err(|_| LinkError::Stream(CloseCode::TimedOut))??;
    frame.ok_or(LinkError::Truncated)
}

impl Follower<'_> {
    async fn take_in(&mut self, records: Vec<Record>) -> Result<(), Broken> {
        let next = LogId::behind(self.machine.last());
        let indices = records.iter().map(|record| record.id.index);
        let Some(last) = records.last().map(|record| record.id) else {
            return Ok(());
        };
        if !indices.eq((next..).take(records.len())) {
            return Err(LinkError::Stream(CloseCode::Malformed).into());
        }
        // They are committed whether or not they are on this disk: nobody waits for that.
        let done = |written: Result<(), WriteError>| {
            if let Err(error) = written {
                debug!(%error, "entries that are followed were not written");
            }
        };
        let log = self.replica.log();
        let appended = log.append(records.clone(), done).await;
        appended.map_err(io::Error::other)?;
        let noted = log.save_committed(last).await;
        noted.map_err(io::Error::other)?;
        let followed = self.machine.follow(&records).await;
        followed.map_err(|_| Broken::Halted)?;
        let store = self.replica.store();
        Ok(compact(log, store, self.machine, self.compaction).await?)
    }

    async fn snapshot(
        &mut self,
        link: &mut Link<(), Frame>,
        header: SnapshotHeader,
    ) -> Result<(), Broken> {
        let replica = self.replica;
        let sound = header.group == replica.log().group() && header.epoch == replica.epoch();
        if !sound {
            return Err(LinkError::Stream(CloseCode::Malformed).into());
        }
        let chunks = header.chunks;
        let mut receiving = replica.store().receive(header).await?;
        for number in 0..chunks {
            let Frame::Chunk(chunk) = receive(link).await? else {
                return Err(LinkError::Stream(CloseCode::Malformed).into());
            };
            if number >= receiving.next() {
                receiving.push(chunk).await?;
            }
        }
        let snapshot = receiving.finish().await?;
        Ok(self.machine.follow_snapshot(snapshot).await?)
    }
}

/// Replaces entries by a snapshot when there are many.
async fn compact(
    log: &GroupLog,
    store: &Store,
    machine: &mut RaftMachine,
    compaction: &mut Compaction,
) -> io::Result<()> {
    let covered = || LogId::behind(store.current().map(|snapshot| snapshot.header().last));
    let (before, applied) = (covered(), LogId::behind(machine.last()));
    if log.sizes(|log| compaction.snapshot(log, before, applied)) {
        machine.checkpoint().await?;
    }
    let after = covered();
    let Some(upto) = log.sizes(|log| compaction.purge(log, after)) else {
        return Ok(());
    };
    let record = log
        .read(upto..upto + 1, 1)
        .await
        .map_err(io::Error::other)?;
    if let Some(record) = record.first() {
        let purged = log.write(vec![Op::Purge(record.id)]).await;
        purged.map_err(io::Error::other)?;
    }
    Ok(())
}

impl Front {
    /// Bonded members that announce this charter.
    fn announcers(&self, epoch: Epoch) -> Vec<MemberId> {
        let announcing = |bond: &super::front::Bond| bond.announces == Some(epoch);
        let bonds = self.bonds();
        let members = bonds.into_iter().filter(announcing).map(|bond| bond.member);
        members.collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{
        groups::{
            machine::{Ctx, Hosted, StateMachine},
            proto::compaction::Length,
            storage::{Kind as RecordKind, Storage},
        },
        id::GroupId,
        rt::Tasks,
    };

    /// A state that holds nothing.
    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    pub(in crate::groups) struct Nothing;

    impl StateMachine for Nothing {
        type Command = ();
        type Output = ();
        type Query = ();
        type Answer = ();
        type Snapshot = Self;

        fn apply(&mut self, _: &Ctx, (): ()) {}

        fn query(&self, (): ()) {}

        fn snapshot(&self) -> Self {
            Self
        }

        fn restore(snapshot: Self) -> Self {
            snapshot
        }
    }

    /// Few entries that are large are replaced like many that are small.
    #[tokio::test]
    async fn a_follower_bounds_its_log_by_bytes() {
        let mib = 1024 * 1024;
        let length = |bytes| Length {
            entries: 50_000,
            bytes,
        };
        let mut compaction = Compaction::new(Limits {
            every: length(4 * mib),
            keep: length(mib),
        });
        let (group, epoch) = (GroupId::from_name("g"), Epoch::from_bytes([1; 16]));
        let storage = Storage::volatile(&Tasks::new(tracing::Span::none()));
        let log = storage.open_group(group).await.unwrap();
        let store = Store::memory(group, epoch);
        let machine = Box::new(Hosted::<Nothing>::new());
        let machine = RaftMachine::new(machine, store.clone(), log.clone(), Arc::default());
        let (mut machine, _) = machine.unwrap();
        let mut snapshots = 0;
        for index in 0..100 {
            let record = Record {
                id: LogId { term: 1, index },
                kind: RecordKind::Blank,
                payload: vec![0; 256 * 1024].into(),
            };
            log.append(vec![record.clone()], |done| done.unwrap())
                .await
                .unwrap();
            machine.follow(&[record]).await.unwrap();
            let before = store.current().map(|s| s.header().last);
            compact(&log, &store, &mut machine, &mut compaction)
                .await
                .unwrap();
            let after = store.current().map(|s| s.header().last);
            snapshots += u32::from(before != after);
            let held = log.sizes(|log| log.bytes(0..u64::MAX));
            assert!(held <= 5 * mib + 256 * 1024, "{held} bytes at {index}");
        }
        assert_eq!(snapshots, 6);
        assert!(log.ends().0.is_some_and(|purged| purged.index > 80));
    }
}
