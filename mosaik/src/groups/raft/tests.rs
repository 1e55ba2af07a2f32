//! openraft's own tests of a log, on every engine.

mod machine;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{Stream, StreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftLogReader as _, RaftSnapshotBuilder, StorageError,
    StoredMembership,
    storage::{EntryResponder, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
    type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
};

use super::{
    log::RaftLog,
    types::{self, Proposal, RaftEntry, RaftLogId, Reply, Types},
};
use crate::{
    groups::storage::{LogId, Storage, simulated},
    id::{GroupId, MemberId, PeerId},
    rt::Tasks,
};

impl From<u64> for MemberId {
    fn from(boot: u64) -> Self {
        Self {
            peer: PeerId::from_bytes([7; 32]),
            boot,
        }
    }
}

fn tasks() -> Tasks {
    Tasks::new(tracing::Span::none())
}

async fn suite(storage: &Storage) {
    let builder = Builder {
        storage: storage.clone(),
        next: AtomicU64::new(0),
    };
    Suite::test_all(builder).await.unwrap();
}

#[tokio::test]
async fn the_suite_passes_in_memory() {
    suite(&Storage::volatile(&tasks())).await;
}

#[tokio::test]
async fn the_suite_passes_on_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), &tasks()).await.unwrap();
    suite(&storage).await;
    storage.close().await;
    Storage::open(dir.path(), &tasks()).await.unwrap();
}

#[test]
fn the_suite_passes_on_a_simulated_disk() {
    simulated(1, async |_| {
        let storage = Storage::open("d".as_ref(), &tasks()).await.unwrap();
        suite(&storage).await;
        storage.close().await;
        Storage::open("d".as_ref(), &tasks()).await.unwrap();
    });
}

/// Long reads come in chunks that a frame holds, whole and in order.
#[tokio::test]
async fn long_reads_are_chunked() {
    let storage = Storage::volatile(&tasks());
    let log = storage.open_group(GroupId::from_name("g")).await.unwrap();
    let mut raft = RaftLog::new(log.clone());
    let entry = |index| RaftEntry {
        log_id: types::raft_log_id(LogId { term: 1, index }),
        payload: EntryPayload::Normal(Proposal {
            format: 1,
            bytes: vec![0; 300 * 1024].into(),
        }),
    };
    let entries: Vec<_> = (0..40).map(entry).collect();
    let records = entries.iter().cloned().map(types::record);
    let records = records.collect::<Result<_, _>>().unwrap();
    log.append(records, |done| done.unwrap()).await.unwrap();
    for start in [0, 10, 39] {
        let limited = raft.limited_get_log_entries(start, 40).await.unwrap();
        let count = usize::try_from(40 - start).unwrap().min(4);
        let first = usize::try_from(start).unwrap();
        assert_eq!(limited, entries[first..first + count]);
    }
    let stream = raft.entries_stream(..).await;
    let all: Vec<_> = stream.map(Result::unwrap).collect().await;
    assert_eq!(all, entries);
    assert_eq!(
        raft.try_get_log_entries(3..=38).await.unwrap(),
        entries[3..=38]
    );
}

/// Makes each test of the suite a group of its own.
#[derive(Debug)]
struct Builder {
    storage: Storage,
    next: AtomicU64,
}

impl StoreBuilder<Types, RaftLog, Applied> for Builder {
    async fn build(&self) -> Result<((), RaftLog, Applied), StorageError<Types>> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let log = self.storage.open_group(GroupId::from_name(&name)).await;
        Ok(((), RaftLog::new(log.unwrap()), Applied::default()))
    }
}

/// A state machine that remembers what was applied last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Applied(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: Option<RaftLogId>,
    membership: StoredMembershipOf<Types>,
    snapshot: Option<SnapshotMetaOf<Types>>,
}

impl Applied {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftSnapshotBuilder<Types> for Applied {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        let mut state = self.state();
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: state.last,
            last_membership: state.membership.clone(),
        };
        state.snapshot = Some(meta.clone());
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Applied {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<RaftLogId>, StoredMembershipOf<Types>)> {
        let state = self.state();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            if let Some(responder) = responder {
                responder.send(Reply::default());
            }
            let mut state = self.state();
            state.last = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                state.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        (): Self::SnapshotData,
    ) -> io::Result<()> {
        let mut state = self.state();
        state.last = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        let snapshot = self.state().snapshot.clone();
        Ok(snapshot.map(|meta| SnapshotOf::<Types, ()> { meta, snapshot: () }))
    }
}
