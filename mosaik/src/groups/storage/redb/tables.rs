//! What is in the database, and what must hold between its tables.

use std::{collections::BTreeMap, path::Path};

use ::redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use crate::{
    groups::storage::{error::OpenError, record::Record, state::GroupState},
    id::GroupId,
    wire,
};

/// The format of the database.
pub(super) const FORMAT: u64 = 1;
/// The format of a group's state.
const STATE_FORMAT: u8 = 1;

/// Numbers by name: those below.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// [`FORMAT`] of whoever wrote it.
pub(super) const FORMAT_KEY: &str = "format";
/// Tells this database from others.
pub(super) const ID_KEY: &str = "id";
/// Counts the commits.
pub(super) const SEQUENCE_KEY: &str = "sequence";

/// State by group.
pub(super) const STATES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("states");
/// Entries by group and index.
pub(super) const RECORDS: TableDefinition<'_, &[u8; KEY_LEN], &[u8]> =
    TableDefinition::new("records");

const KEY_LEN: usize = 40;

/// The key of an entry: the order of keys is that of groups, then indices.
pub(super) fn key(group: GroupId, index: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..32].copy_from_slice(group.as_bytes());
    key[32..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index in a key.
pub(super) fn index(key: &[u8; KEY_LEN]) -> u64 {
    let mut index = [0; 8];
    index.copy_from_slice(&key[32..]);
    u64::from_be_bytes(index)
}

/// A state as it stands on the disk.
pub(super) fn encode_state(state: &GroupState) -> Result<Vec<u8>, wire::EncodeError> {
    let mut bytes = vec![STATE_FORMAT];
    bytes.extend(wire::encode(state)?);
    Ok(bytes)
}

/// What a database holds when it is opened.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) id: u64,
    pub(super) sequence: u64,
    pub(super) states: BTreeMap<GroupId, GroupState>,
}

/// Reads all but the entries, and checks that those are there which the states promise, and no others.
pub(super) fn load(path: &Path, txn: &ReadTransaction) -> Result<Contents, OpenError> {
    let damaged = |error: ::redb::Error| OpenError::damaged(path, error);
    let numbers = txn.open_table(NUMBERS).map_err(|e| damaged(e.into()))?;
    let number = |name: &str| {
        let held = numbers.get(name).map_err(|e| damaged(e.into()))?;
        let held = held.map(|held| held.value());
        held.ok_or_else(|| OpenError::damaged(path, format!("it has no {name}")))
    };
    let found = number(FORMAT_KEY)?;
    if found != FORMAT {
        return Err(OpenError::Format {
            path: path.into(),
            found,
            supported: FORMAT,
        });
    }
    let mut states = BTreeMap::new();
    let table = txn.open_table(STATES).map_err(|e| damaged(e.into()))?;
    for row in table.iter().map_err(|e| damaged(e.into()))? {
        let (group, bytes) = row.map_err(|e| damaged(e.into()))?;
        let state = decode_state(path, bytes.value())?;
        states.insert(GroupId::from_bytes(*group.value()), state);
    }
    let contents = Contents {
        id: number(ID_KEY)?,
        sequence: number(SEQUENCE_KEY)?,
        states,
    };
    verify(path, txn, &contents.states)?;
    Ok(contents)
}

fn decode_state(path: &Path, bytes: &[u8]) -> Result<GroupState, OpenError> {
    match bytes.split_first() {
        Some((&STATE_FORMAT, state)) => {
            wire::decode(state).map_err(|error| OpenError::damaged(path, error))
        }
        Some((found, _)) => Err(OpenError::Format {
            path: path.into(),
            found: u64::from(*found),
            supported: u64::from(STATE_FORMAT),
        }),
        None => Err(OpenError::damaged(path, "a state is empty")),
    }
}

/// Looks at the ends of each log and at the number of all entries: keys are unique, so that leaves no room for
/// a hole. The entries in between are verified when they are read, and by the checksums of their pages.
fn verify(
    path: &Path,
    txn: &ReadTransaction,
    states: &BTreeMap<GroupId, GroupState>,
) -> Result<(), OpenError> {
    let damaged = |error: ::redb::Error| OpenError::damaged(path, error);
    let records = txn.open_table(RECORDS).map_err(|e| damaged(e.into()))?;
    let mut promised = 0;
    for (group, state) in states {
        let log = key(*group, 0)..=key(*group, u64::MAX);
        let mut log = records
            .range::<&[u8; KEY_LEN]>(log.start()..=log.end())
            .map_err(|e| damaged(e.into()))?;
        let first = log.next().transpose().map_err(|e| damaged(e.into()))?;
        let first = first.map(|(key, value)| (*key.value(), value.value().to_vec()));
        let last = log.next_back().transpose().map_err(|e| damaged(e.into()))?;
        let last = last.map(|(key, value)| (*key.value(), value.value().to_vec()));
        let last = last.or_else(|| first.clone());
        let ends = first.as_ref().zip(last.as_ref());
        let ends = ends.map(|((first, _), (last, _))| (index(first), index(last)));
        let expected = (state.len() > 0).then(|| (state.first, state.next() - 1));
        if ends != expected {
            let text = format!("{group:?} has entries {ends:?}, and should have {expected:?}");
            return Err(OpenError::damaged(path, text));
        }
        if let Some((key, sealed)) = last {
            let last = Record::unseal(&key, index(&key), &sealed);
            let last = last.map_err(|error| OpenError::damaged(path, error))?;
            if Some(last.id) != state.last {
                let text = format!("{group:?} ends at {}, not at {:?}", last.id, state.last);
                return Err(OpenError::damaged(path, text));
            }
        }
        promised += state.len();
    }
    let held = records.len().map_err(|e| damaged(e.into()))?;
    if held != promised {
        let text = format!("it has {held} entries, and should have {promised}");
        return Err(OpenError::damaged(path, text));
    }
    Ok(())
}
