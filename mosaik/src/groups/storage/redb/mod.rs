//! Logs on a disk, in one redb database.
//!
//! redb writes what changed to pages that were free, then a header that points to them, and syncs once. After
//! a crash it takes the newer of two headers whose pages verify. [`open`] adds what that cannot know.

mod backend;
mod mark;
mod open;
mod tables;

use std::{
    any::Any,
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ::redb::{Database, ReadableDatabase as _};

use self::{backend::Gate, mark::Mark, tables::key};
use super::{
    engine::{Change, LogEngine, Outcome},
    error::{Failure, OpenError},
    record::Record,
    state::{GroupState, Op},
};
use crate::{groups::proto::sizes::Sizes, id::GroupId, rt::lock, wire::EncodeError};

type Records<'a> = ::redb::Table<'a, &'static [u8; 40], &'static [u8]>;

/// Keeps logs in a database.
#[derive(Debug)]
pub(super) struct Redb {
    path: PathBuf,
    gate: Arc<Gate>,
    /// Or why there is none any more.
    database: Mutex<Result<Arc<Database>, Failure>>,
    /// What is committed, but for the entries.
    states: Mutex<BTreeMap<GroupId, GroupState>>,
    /// Held by whoever commits.
    committing: Mutex<Committing>,
}

#[derive(Debug)]
struct Committing {
    /// Of the last commit.
    sequence: u64,
    mark: Mark,
}

impl Redb {
    /// Opens the database in `dir`, verifies it, or makes it.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let opened = open::open(dir)?;
        Ok(Self {
            path: opened.path,
            gate: opened.gate,
            database: Mutex::new(Ok(Arc::new(opened.database))),
            states: Mutex::new(opened.contents.states),
            committing: Mutex::new(Committing {
                sequence: opened.contents.sequence,
                mark: opened.mark,
            }),
        })
    }

    /// Runs `work` on the database. Its first error is the last thing that happens to it.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Failure> {
        let database = lock(&self.database).clone()?;
        // A panic must not take the process along: it is a failure like others.
        let done = catch_unwind(AssertUnwindSafe(|| work(&database)));
        let done = done.unwrap_or_else(|panic| Err(Error::panicked(&*panic)));
        done.map_err(|error| {
            let failure = self.failure(error);
            self.end(failure)
        })
    }

    /// Lets nothing happen any more for the reason `failure`, or one that came before.
    fn end(&self, failure: Failure) -> Failure {
        self.gate.shut();
        let mut database = lock(&self.database);
        match &*database {
            Err(first) => first.clone(),
            Ok(_) => {
                *database = Err(failure.clone());
                failure
            }
        }
    }

    fn failure(&self, error: Error) -> Failure {
        let path = self.path.clone();
        let io = |kind, reason| Failure::Io {
            path: path.clone(),
            kind,
            reason,
        };
        match (self.gate.error(), error) {
            (_, Error::Mark { path, error }) => Failure::Io {
                path,
                kind: error.kind(),
                reason: error.to_string(),
            },
            (_, Error::Panicked(reason)) => Failure::Panicked {
                path: path.clone(),
                reason,
            },
            (Some((kind, reason)), _) => io(kind, reason),
            (None, Error::Database(::redb::Error::Io(error))) => {
                io(error.kind(), error.to_string())
            }
            (None, Error::Database(error)) => Failure::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            },
            (None, Error::Entry(reason)) => Failure::Damaged {
                path: path.clone(),
                reason,
            },
        }
    }

    /// Does to the tables what the changes say, and returns what became of them, with the states after.
    fn stage(
        &self,
        txn: &::redb::WriteTransaction,
        changes: &[&Change],
    ) -> Result<(Vec<Outcome>, BTreeMap<GroupId, GroupState>), Error> {
        let mut records = txn.open_table(tables::RECORDS)?;
        let mut states = txn.open_table(tables::STATES)?;
        let mut touched = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            let group = change.group();
            let held = touched.remove(&group);
            let was_touched = held.is_some();
            let mut state = held.or_else(|| lock(&self.states).get(&group).cloned());
            let outcome = change.apply(&mut state);
            if let (Outcome::Written, Change::Write { ops, .. }) = (&outcome, change) {
                for op in ops {
                    write(&mut records, group, op)?;
                }
            }
            let is_done = matches!(outcome, Outcome::Written | Outcome::Opened(_));
            // A group is touched although its state is as before: other entries may end where it ended.
            if let Some(state) = state.filter(|_| is_done || was_touched) {
                touched.insert(group, state);
            }
            outcomes.push(outcome);
        }
        for (group, state) in &touched {
            let state = tables::encode_state(state).map_err(Error::unencodable)?;
            states.insert(group.as_bytes(), state.as_slice())?;
        }
        Ok((outcomes, touched))
    }
}

impl LogEngine for Redb {
    fn blocks(&self) -> bool {
        true
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn commit(&self, changes: &[&Change]) -> Result<Vec<Outcome>, Failure> {
        let mut committing = lock(&self.committing);
        let sequence = committing.sequence + 1;
        let (outcomes, touched) = self.with(|database| {
            let txn = database.begin_write()?;
            let (outcomes, touched) = self.stage(&txn, changes)?;
            if touched.is_empty() {
                txn.abort()?;
            } else {
                let mut numbers = txn.open_table(tables::NUMBERS)?;
                numbers.insert(tables::SEQUENCE_KEY, sequence)?;
                drop(numbers);
                txn.commit()?;
            }
            Ok((outcomes, touched))
        })?;
        if !touched.is_empty() {
            committing.sequence = sequence;
            lock(&self.states).extend(touched);
        }
        Ok(outcomes)
    }

    fn mark(&self) -> Result<(), Failure> {
        let mut committing = lock(&self.committing);
        let Committing { sequence, mark } = &mut *committing;
        self.with(|_| {
            let path = mark.path().to_path_buf();
            mark.write(*sequence)
                .map_err(|error| Error::Mark { path, error })
        })
    }

    #[cfg(test)]
    fn state(&self, group: GroupId) -> Result<Option<GroupState>, Failure> {
        lock(&self.database).clone()?;
        Ok(lock(&self.states).get(&group).cloned())
    }

    #[cfg(test)]
    fn groups(&self) -> Result<Vec<GroupId>, Failure> {
        lock(&self.database).clone()?;
        Ok(lock(&self.states).keys().copied().collect())
    }

    fn read(
        &self,
        group: GroupId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Failure> {
        self.with(|database| {
            let txn = database.begin_read()?;
            let table = txn.open_table(tables::RECORDS)?;
            let (start, end) = (key(group, range.start), key(group, range.end));
            let mut records = Vec::new();
            let mut used = 0;
            for row in table.range::<&[u8; 40]>(&start..&end)? {
                let (key, sealed) = row?;
                let index = tables::index(key.value());
                let record = Record::unseal(key.value(), index, sealed.value());
                let record =
                    record.map_err(|error| Error::Entry(format!("{error}, at {index}")))?;
                used += record.size();
                records.push(record);
                if used >= max_bytes {
                    break;
                }
            }
            Ok(records)
        })
    }

    fn sizes(&self, group: GroupId, first: u64) -> Result<Sizes, Failure> {
        self.with(|database| {
            let txn = database.begin_read()?;
            let table = txn.open_table(tables::RECORDS)?;
            let (start, end) = (key(group, first), key(group, u64::MAX));
            let mut sizes = Sizes::new(first);
            for row in table.range::<&[u8; 40]>(&start..&end)? {
                let (key, sealed) = row?;
                let bytes = Record::size_of_sealed(sealed.value());
                sizes.append(tables::index(key.value()), bytes);
            }
            Ok(sizes)
        })
    }

    fn close(&self) {
        let held = std::mem::replace(&mut *lock(&self.database), Err(Failure::Closed));
        // Readers may still be under way; then it ends as after a crash, which loses nothing.
        if let Some(database) = held.ok().and_then(Arc::into_inner)
            && let Err(error) = database.close()
        {
            tracing::debug!(%error, path = %self.path.display(), "closed as after a crash");
        }
        self.gate.shut();
    }
}

/// Does to the entries what `op` says.
fn write(records: &mut Records<'_>, group: GroupId, op: &Op) -> Result<(), Error> {
    let mut remove = |from: u64, to: u64| {
        let (from, to) = (key(group, from), key(group, to));
        records.retain_in::<&[u8; 40], _>(&from..=&to, |_, _| false)
    };
    match op {
        Op::Append(added) => {
            for record in added {
                let key = key(group, record.id.index);
                let sealed = record.seal(&key).map_err(Error::unencodable)?;
                records.insert(&key, sealed.as_slice())?;
            }
        }
        Op::Truncate(after) => remove(after.map_or(0, |after| after.index + 1), u64::MAX)?,
        Op::Purge(upto) => remove(0, upto.index)?,
        Op::Erase { .. } => remove(0, u64::MAX)?,
        Op::Vote(_) | Op::Committed(_) | Op::Note(..) => {}
    }
    Ok(())
}

/// What goes wrong with the database.
#[derive(Debug)]
enum Error {
    Database(::redb::Error),
    Entry(String),
    Panicked(String),
    Mark {
        path: PathBuf,
        error: std::io::Error,
    },
}

impl Error {
    fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "it did not say why".into()))
    }

    fn unencodable(error: EncodeError) -> Self {
        Self::Entry(error.to_string())
    }
}

impl<E: Into<::redb::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}
