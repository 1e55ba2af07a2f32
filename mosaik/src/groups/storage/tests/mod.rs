//! Storage under faults: whatever happens, what was acknowledged is there, or the refusal has a name.

mod crash;
mod damage;
mod service;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc;

use super::{
    GroupLog, GroupState, Kind, LogId, Op, OpenError, Record, Storage, Vote, WriteError,
    engine::{Change, LogEngine as _},
    volatile::Volatile,
};
use crate::{
    id::{GroupId, MemberId, PeerId},
    rt::{Tasks, machine::Machine},
};

/// Where the simulated files lie.
const DIR: &str = "d";

/// Runs `scenario` in virtual time, as a program on a machine with a disk of its own.
pub(crate) fn simulated<F: Future>(seed: u64, scenario: impl FnOnce(Machine) -> F) -> F::Output {
    struct Outside(Option<Machine>);
    impl Drop for Outside {
        fn drop(&mut self) {
            Machine::set_outside(self.0.take());
        }
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let (panics, _) = mpsc::channel(1);
        let machine = Machine::new("m", IpAddr::V4(Ipv4Addr::LOCALHOST), seed, panics);
        let _outside = Outside(Machine::set_outside(Some(machine.clone())));
        scenario(machine).await
    })
}

/// A run of a program: its storage, and the tasks behind it.
struct Run {
    storage: Storage,
    tasks: Tasks,
}

impl Run {
    async fn open(dir: &Path) -> Result<Self, OpenError> {
        let tasks = Tasks::new(tracing::Span::none());
        let storage = Storage::open(dir, &tasks).await?;
        Ok(Self { storage, tasks })
    }

    /// Kills it.
    async fn kill(self) {
        self.tasks.cancel();
        self.tasks.wait().await;
    }
}

fn group(name: &str) -> GroupId {
    GroupId::from_name(name)
}

fn record(term: u64, index: u64, payload: Vec<u8>) -> Record {
    Record {
        id: LogId { term, index },
        kind: Kind::Commands { format: 1 },
        payload: payload.into(),
    }
}

/// What was wanted of one group's log, and how much of it was acknowledged.
#[derive(Debug)]
struct History {
    group: GroupId,
    random: StdRng,
    /// The log as it would be had all been written.
    state: GroupState,
    ops: Vec<Vec<Op>>,
    acked: Arc<AtomicUsize>,
}

impl History {
    fn new(name: &str, seed: u64) -> Self {
        Self {
            group: group(name),
            random: StdRng::seed_from_u64(seed),
            state: GroupState::new(0),
            ops: Vec::new(),
            acked: Arc::default(),
        }
    }

    fn acked(&self) -> usize {
        self.acked.load(Ordering::Relaxed)
    }

    /// Writes so many things to `log`, some of which it waits for. Ends early when that fails.
    async fn write(&mut self, log: &GroupLog, count: usize) -> Result<(), WriteError> {
        for _ in 0..count {
            let ops = self.next_ops();
            self.state.apply(&ops).unwrap();
            self.ops.push(ops.clone());
            let (n, acked) = (self.ops.len(), self.acked.clone());
            let (tell, told) = tokio::sync::oneshot::channel();
            let lazy = matches!(ops[..], [Op::Committed(_)]);
            log.submit(ops, !lazy, move |result| {
                if result.is_ok() {
                    acked.store(n, Ordering::Relaxed);
                }
                let _ = tell.send(result);
            })
            .await?;
            if !lazy && self.random.random_bool(0.7) {
                told.await.unwrap()?;
            }
        }
        Ok(())
    }

    fn next_ops(&mut self) -> Vec<Op> {
        let next = self.state.next();
        let term = self.state.vote.map_or(1, |vote| vote.term);
        let last = self
            .state
            .last
            .filter(|last| last.index >= self.state.first);
        let committed = self.state.committed;
        match (self.random.random_range(0..10), last) {
            (0, _) => vec![Op::Vote(self.vote(term + 1))],
            (1, Some(last)) => vec![Op::Committed(last)],
            (2, Some(last)) => {
                let floor = committed.max(self.state.purged).map_or(0, |id| id.index);
                let index = self.random.random_range(floor..=last.index);
                let kept = (index >= self.state.first).then_some(index);
                vec![Op::Truncate(kept.map(|index| self.id(index)).or(committed))]
            }
            (3, Some(_)) if committed > self.state.purged => {
                let committed = committed.unwrap();
                let index = self.random.random_range(self.state.first..=committed.index);
                let id = self.id(index);
                vec![Op::Purge(id), Op::Note(3, Some(vec![7; 100].into()))]
            }
            (4, _) => {
                let size = self.random.random_range(0..3000);
                vec![Op::Note(2, Some(vec![next.to_le_bytes()[0]; size].into()))]
            }
            (5, _) => {
                let vote = Op::Vote(self.vote(term + 1));
                vec![vote, Op::Append(self.records(term + 1, next))]
            }
            _ => vec![Op::Append(self.records(term, next))],
        }
    }

    fn vote(&mut self, term: u64) -> Vote {
        let candidate = MemberId {
            peer: PeerId::from_bytes([1; 32]),
            boot: self.random.random(),
        };
        Vote {
            term,
            candidate,
            committed: true,
        }
    }

    fn records(&mut self, term: u64, next: u64) -> Vec<Record> {
        let count = self.random.random_range(1..4);
        let record = |index| {
            let size = self.random.random_range(0..2000);
            record(term, index, vec![self.random.random(); size])
        };
        (next..next + count).map(record).collect()
    }

    /// The id of an entry that is there.
    fn id(&self, index: u64) -> LogId {
        let mut found = None;
        for op in self.ops.iter().flatten() {
            if let Op::Append(records) = op {
                let here = records.iter().find(|record| record.id.index == index);
                found = here.map(|record| record.id).or(found);
            }
        }
        found.unwrap()
    }

    /// Checks that the log holds what some first part of the writes made, all that were acknowledged among
    /// them. Returns how many that are.
    async fn check(&self, log: &GroupLog) -> usize {
        let found = log.state();
        let records = log.read_all(0..u64::MAX).await.unwrap();
        assert!(
            found
                .committed
                .is_none_or(|committed| Some(committed.index) <= found.last.map(|last| last.index))
        );
        let model = Volatile::new();
        let open = Change::Open {
            group: self.group,
            boot: found.boot,
        };
        model.commit(&[&open]).unwrap();
        for n in 0..=self.ops.len() {
            if n >= self.acked() {
                let mut state = model.state(self.group).unwrap().unwrap();
                state.incarnation = found.incarnation;
                let held = model.read(self.group, 0..u64::MAX, usize::MAX).unwrap();
                if state == found && held == records {
                    return n;
                }
            }
            let Some(ops) = self.ops.get(n) else {
                break;
            };
            let write = Change::Write {
                group: self.group,
                incarnation: 1,
                ops: ops.clone(),
            };
            model.commit(&[&write]).unwrap();
        }
        panic!(
            "after {} of {} writes were acknowledged, found {found:?}",
            self.acked(),
            self.ops.len()
        );
    }
}

/// The payload of nothing.
const EMPTY: Bytes = Bytes::new();
