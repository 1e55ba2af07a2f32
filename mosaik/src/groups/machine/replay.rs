//! Applying entries, and undoing those that panic.
//!
//! To undo one, the state is taken back to where it can be gone back to, the newest snapshot or a copy in
//! memory, and the log is applied from there up to before the entry. Then a copy of the state is kept, so that
//! the next panic costs no more than a copy and what was applied since; the copy goes with the next snapshot.
//! Each step either comes further in the log or learns of one more item that panics, so it ends.

use std::{future::Future, ops::Range};

use tokio::task::coop::consume_budget;

use super::{
    Halt,
    applier::{Applier, Interrupted},
    entry::ItemReply,
    snapshot::Snapshot,
    store::Store,
};
use crate::{
    groups::storage::{GroupLog, Record},
    rt,
};

/// Bytes of entries that are read at once, about: 1 MiB.
const READ_BYTES: usize = 1024 * 1024;

/// Where the entries of a log can be read again.
pub(crate) trait Records: Sync {
    /// The entries in `range` from its start on, at least one if there is one, as many as are read at once.
    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Vec<Record>, Halt>> + Send;
}

impl Records for GroupLog {
    async fn read(&self, range: Range<u64>) -> Result<Vec<Record>, Halt> {
        let read = self.read(range, READ_BYTES).await;
        read.map_err(|error| Halt::Log {
            reason: error.to_string(),
        })
    }
}

/// Applies the next entry, undoing what panics in it; returns what its items get. It is not [shown](Applier::settle) yet.
///
/// # Errors
/// When it cannot be applied: the replica is done for.
pub(crate) async fn apply(
    applier: &mut Applier,
    record: &Record,
    store: &Store,
    log: &impl Records,
) -> Result<Vec<ItemReply>, Halt> {
    loop {
        match applier.apply(record) {
            Ok(replies) => return Ok(replies),
            Err(Interrupted::Halt(halt)) => return Err(halt),
            Err(Interrupted::Panicked { index }) => rewind(applier, index, store, log).await?,
        }
    }
}

/// Takes the state of a snapshot.
///
/// # Errors
/// When it cannot be taken: the replica is done for.
pub(crate) async fn restore(applier: &mut Applier, snapshot: &Snapshot) -> Result<(), Halt> {
    take(applier, snapshot).await?;
    applier.settle();
    Ok(())
}

async fn take(applier: &mut Applier, snapshot: &Snapshot) -> Result<(), Halt> {
    let content = snapshot.content().await;
    let content = content.map_err(|error| Halt::restore(&error))?;
    let restore = applier.restoring();
    let state = rt::blocking(move || restore(&content)).await?;
    if !state.is_that_of(snapshot.header()) {
        return Err(Halt::restore(&"the snapshot is not that of its header"));
    }
    applier.restored(state);
    Ok(())
}

/// Takes a broken replica to where it was before the entry at `end`, whatever panics on the way.
async fn rewind(
    applier: &mut Applier,
    end: u64,
    store: &Store,
    log: &impl Records,
) -> Result<(), Halt> {
    let mut goal = end;
    go_back(applier, end, store).await?;
    loop {
        match replay(applier, goal, store, log).await? {
            None => {
                applier.keep();
                if goal == end {
                    return Ok(());
                }
                goal = end;
            }
            Some(panicked) => {
                go_back(applier, end, store).await?;
                goal = panicked;
            }
        }
    }
}

/// Goes back to the latest state that there is from before the entry at `end`.
async fn go_back(applier: &mut Applier, end: u64, store: &Store) -> Result<(), Halt> {
    let snapshot = store.current();
    let snapshot = snapshot.filter(|snapshot| snapshot.header().last.index < end);
    let newer = |snapshot: &&Snapshot| applier.kept() < Some(snapshot.header().last);
    if let Some(snapshot) = snapshot.as_ref().filter(newer) {
        return take(applier, snapshot).await;
    }
    if applier.roll_back() {
        return Ok(());
    }
    match snapshot {
        Some(snapshot) => take(applier, &snapshot).await,
        None => applier.reset(),
    }
}

/// Applies the entries up to before `goal`; returns the index of the one that panicked, if one did.
async fn replay(
    applier: &mut Applier,
    goal: u64,
    store: &Store,
    log: &impl Records,
) -> Result<Option<u64>, Halt> {
    while applier.next() < goal {
        let index = applier.next();
        let records = log.read(index..goal).await?;
        if records.first().is_none_or(|first| first.id.index != index) {
            // It was purged meanwhile, since a newer snapshot has it.
            let newer = store.current().filter(|snapshot| {
                let last = snapshot.header().last.index;
                (index..goal).contains(&last)
            });
            let newer = newer.ok_or(Halt::Missing { index })?;
            take(applier, &newer).await?;
            continue;
        }
        for record in &records {
            match applier.apply(record) {
                Ok(_) => consume_budget().await,
                Err(Interrupted::Halt(halt)) => return Err(halt),
                Err(Interrupted::Panicked { index }) => return Ok(Some(index)),
            }
        }
    }
    Ok(None)
}
