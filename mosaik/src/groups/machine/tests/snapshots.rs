//! Snapshots in memory, in files and on the way between them.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    groups::{
        machine::{
            Header, Receiving, Snapshot,
            snapshot::{CHECK_LEN, CHUNK, HeaderError, MAX_MEMBERSHIP, MAX_SNAPSHOT},
        },
        notes::SNAPSHOT_NOTE,
        storage::{GroupLog, Op, OpenError, Storage, simulated},
    },
    rt::{Tasks, fs},
};

/// Snapshots and the log that they belong to; clones of the log go on with its storage.
pub(super) struct Home {
    pub(super) store: Store,
    pub(super) log: GroupLog,
    dir: Option<PathBuf>,
    storage: Storage,
}

impl Home {
    /// One in memory, or in a directory.
    pub(super) async fn open(dir: Option<&Path>) -> io::Result<Self> {
        let tasks = Tasks::new(tracing::Span::none());
        let storage = match dir {
            Some(dir) => Storage::open(dir, &tasks).await.map_err(io::Error::other)?,
            None => Storage::volatile(&tasks),
        };
        let log = storage.open_group(group()).await;
        let log = log.map_err(io::Error::other)?;
        let store = match dir {
            Some(dir) => Store::open(dir, EPOCH, &log)
                .await
                .map_err(io::Error::other)?,
            None => Store::memory(group(), EPOCH),
        };
        Ok(Self {
            store,
            log,
            dir: dir.map(Path::to_path_buf),
            storage,
        })
    }

    async fn write(&self, index: u64, len: usize) -> Snapshot {
        self.store.write(frozen(index, len)).await.unwrap()
    }

    /// Names of the snapshot files that there are.
    fn files(&self) -> Vec<PathBuf> {
        let Some(dir) = &self.dir else {
            return Vec::new();
        };
        let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("snapshot");
        let files = fs::list(dir).unwrap();
        files.into_iter().filter(is_snapshot).collect()
    }
}

pub(super) fn id(index: u64) -> LogId {
    LogId { term: 1, index }
}

/// What the snapshot at `index` holds.
pub(super) fn content(index: u64, len: usize) -> Vec<u8> {
    let bytes = (0..len as u64).map(|n| (n * 7 + index).to_le_bytes()[0]);
    bytes.collect()
}

pub(super) fn frozen(index: u64, len: usize) -> Frozen {
    Frozen {
        last: id(index),
        membership: Bytes::new(),
        membership_at: None,
        // In pieces that end nowhere in particular.
        encode: Box::new(move |write| {
            let content = content(index, len);
            content
                .chunks(100_003)
                .try_for_each(|piece| write.write_all(piece))
        }),
    }
}

async fn chunks(snapshot: &Snapshot) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while let Some(chunk) = snapshot.chunk(chunks.len() as u64).await.unwrap() {
        chunks.push(chunk);
    }
    chunks
}

pub(super) async fn send(snapshot: &Snapshot, to: &Store) -> io::Result<Snapshot> {
    let mut receiving = to.receive(snapshot.header().clone()).await?;
    while let Some(chunk) = snapshot.chunk(receiving.next()).await? {
        receiving.push(chunk).await?;
    }
    receiving.finish().await
}

const SIZES: [usize; 6] = [1, 300, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7];

/// From memory to a place, there to its end, and back.
async fn travel(dir: Option<&Path>) {
    let memory = Home::open(None).await.unwrap();
    let mut home = Home::open(dir).await.unwrap();
    for (index, len) in (1..).zip(SIZES) {
        let there = memory.write(index, len).await;
        let here = send(&there, &home.store).await.unwrap();
        assert_eq!(here.header(), there.header());
        assert_eq!(here.header().bytes, len as u64);
        assert_eq!(chunks(&here).await, chunks(&there).await);
        let installed = home.store.install(&home.log, here).await.unwrap();
        assert_eq!(installed.content().await.unwrap(), content(index, len));
        assert_eq!(home.log.ends(), (Some(id(index)), Some(id(index))));
        assert_eq!(home.log.committed(), Some(id(index)));
        drop(installed);
        if dir.is_some() {
            home.storage.close().await;
            drop(home);
            home = Home::open(dir).await.unwrap();
            assert_eq!(home.files().len(), 1);
        }
        let current = home.store.current().unwrap();
        let back = send(&current, &memory.store).await.unwrap();
        assert_eq!(back.header(), there.header());
        assert_eq!(back.content().await.unwrap(), content(index, len));
    }
}

#[tokio::test]
async fn they_travel_through_memory() {
    travel(None).await;
}

#[tokio::test]
async fn they_travel_through_files() {
    let dir = tempfile::tempdir().unwrap();
    travel(Some(dir.path())).await;
}

#[test]
fn they_travel_through_a_simulated_disk() {
    simulated(1, async |_| travel(Some(Path::new("d"))).await);
}

/// A directory with a snapshot that counts, of two chunks.
async fn with_snapshot(dir: &Path, len: usize) -> (Home, PathBuf, Vec<u8>) {
    let home = Home::open(Some(dir)).await.unwrap();
    let snapshot = home.write(5, len).await;
    home.store.publish(&home.log, snapshot).await.unwrap();
    let file = home.files().remove(0);
    let bytes = std::fs::read(&file).unwrap();
    (home, file, bytes)
}

/// The refusal to open the snapshots, which names the file.
async fn refusal(home: &Home, file: &Path) -> Option<OpenError> {
    let error = Store::open(file.parent().unwrap(), EPOCH, &home.log).await;
    let error = error.err()?;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    Some(error)
}

#[tokio::test]
async fn a_file_that_was_altered_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (home, file, bytes) = with_snapshot(dir.path(), 70).await;
    assert!(refusal(&home, &file).await.is_none());
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        std::fs::write(&file, &altered).unwrap();
        assert!(refusal(&home, &file).await.is_some(), "byte {at}");
    }
    for len in 0..bytes.len() {
        std::fs::write(&file, &bytes[..len]).unwrap();
        assert!(refusal(&home, &file).await.is_some(), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    std::fs::write(&file, longer).unwrap();
    assert!(refusal(&home, &file).await.is_some());
    std::fs::remove_file(&file).unwrap();
    assert!(refusal(&home, &file).await.is_some());
    std::fs::write(&file, &bytes).unwrap();
    assert!(refusal(&home, &file).await.is_none());
    let other = Epoch::from_bytes([6; 16]);
    let refused = Store::open(dir.path(), other, &home.log).await;
    assert!(matches!(refused, Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_chunk_that_is_altered_later_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (home, file, mut bytes) = with_snapshot(dir.path(), CHUNK + 5).await;
    let current = home.store.current().unwrap();
    bytes[CHUNK + CHECK_LEN + 1] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(current.chunk(0).await.unwrap().is_some());
    let error = current.chunk(1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("snapshot"), "{error}");
    assert!(current.content().await.is_err());
    assert!(current.chunk(2).await.unwrap().is_none());
}

#[tokio::test]
async fn only_headers_that_can_be_are_taken() {
    let home = Home::open(None).await.unwrap();
    let good = home.write(5, CHUNK + 1).await.header().clone();
    type Change = fn(&mut Header);
    let table: [(&str, Change); 10] = [
        ("another version", |h| h.version += 1),
        ("another group", |h| h.group = GroupId::from_name("h")),
        ("another epoch", |h| h.epoch = Epoch::from_bytes([0; 16])),
        ("too large", |h| h.bytes = MAX_SNAPSHOT + 1),
        ("more chunks", |h| h.chunks += 1),
        ("no bytes", |h| (h.bytes, h.chunks) = (0, 0)),
        ("an index that cannot be", |h| h.last.index = u64::MAX),
        ("a large membership", |h| {
            h.membership = vec![0; MAX_MEMBERSHIP + 1].into();
            h.membership_at = Some(h.last);
        }),
        ("a membership from nowhere", |h| {
            h.membership = Bytes::from_static(&[1]);
        }),
        ("a membership from later", |h| {
            h.membership = Bytes::from_static(&[1]);
            h.membership_at = Some(id(6));
        }),
    ];
    for (name, change) in table {
        let mut header = good.clone();
        change(&mut header);
        let error = home.store.receive(header).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
        let inner = error.into_inner().unwrap();
        assert!(inner.is::<HeaderError>(), "{name}: {inner}");
    }
    home.store.receive(good).await.unwrap();
}

async fn begin(store: &Store, snapshot: &Snapshot) -> Receiving {
    store.receive(snapshot.header().clone()).await.unwrap()
}

async fn resume(dir: Option<&Path>) {
    let (there, home) = (
        Home::open(None).await.unwrap(),
        Home::open(dir).await.unwrap(),
    );
    let (first, second) = (
        there.write(5, 3 * CHUNK).await,
        there.write(6, 3 * CHUNK).await,
    );
    let parts = chunks(&first).await;
    let mut receiving = begin(&home.store, &first).await;
    // What is not the next chunk is refused, and harms nothing.
    for wrong in [parts[1].clone(), parts[0].slice(1..), Bytes::new()] {
        let refused = receiving.push(wrong).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
    receiving.push(parts[0].clone()).await.unwrap();
    receiving.push(parts[1].clone()).await.unwrap();
    drop(receiving);
    let receiving = begin(&home.store, &first).await;
    assert_eq!(receiving.next(), 2);
    let early = receiving.finish().await.unwrap_err();
    assert_eq!(early.kind(), io::ErrorKind::UnexpectedEof);
    let mut receiving = begin(&home.store, &first).await;
    assert_eq!(receiving.next(), 2);
    receiving.push(parts[2].clone()).await.unwrap();
    assert!(receiving.push(parts[2].clone()).await.is_err(), "too many");
    let whole = receiving.finish().await.unwrap();
    assert_eq!(whole.content().await.unwrap(), content(5, 3 * CHUNK));
    // Another header, other chunks.
    let mut receiving = begin(&home.store, &first).await;
    receiving.push(parts[0].clone()).await.unwrap();
    drop(receiving);
    assert_eq!(begin(&home.store, &second).await.next(), 0);
    assert_eq!(begin(&home.store, &first).await.next(), 0);
    // Chunks that are each whole, and not those of the header.
    let mut header = first.header().clone();
    header.digest[0] ^= 1;
    for _ in 0..2 {
        let mut receiving = home.store.receive(header.clone()).await.unwrap();
        assert_eq!(receiving.next(), 0, "what is wrong is not gone on with");
        for part in &parts {
            receiving.push(part.clone()).await.unwrap();
        }
        let wrong = receiving.finish().await.unwrap_err();
        assert_eq!(wrong.kind(), io::ErrorKind::InvalidData);
    }
    // So many at once, and no file stays.
    let some = (
        begin(&home.store, &first).await,
        begin(&home.store, &second).await,
    );
    let busy = home.store.receive(second.header().clone()).await;
    assert_eq!(busy.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop((some, whole));
    let last = send(&second, &home.store).await.unwrap();
    home.store.install(&home.log, last).await.unwrap();
    assert_eq!(home.files().len(), usize::from(dir.is_some()));
}

#[tokio::test]
async fn receiving_is_gone_on_with_in_memory() {
    resume(None).await;
}

#[tokio::test]
async fn receiving_is_gone_on_with_in_files() {
    let dir = tempfile::tempdir().unwrap();
    resume(Some(dir.path())).await;
}

async fn replace(dir: Option<&Path>) {
    let home = Home::open(dir).await.unwrap();
    let (old, new) = (home.write(5, 300).await, home.write(9, 300).await);
    let current = home.store.publish(&home.log, new.clone()).await.unwrap();
    assert_eq!(current.header(), new.header());
    let note = home.log.state().notes[&SNAPSHOT_NOTE].clone();
    assert_eq!(
        home.log.ends(),
        (None, None),
        "only a log that is read ends"
    );
    let again = home.write(9, 300).await;
    for late in [old, again] {
        let current = home.store.publish(&home.log, late.clone()).await.unwrap();
        assert_eq!(current.header(), new.header());
        let current = home.store.install(&home.log, late).await.unwrap();
        assert_eq!(current.header(), new.header());
        assert_eq!(home.store.current().unwrap().header(), new.header());
        assert_eq!(home.log.state().notes[&SNAPSHOT_NOTE], note);
    }
    // Who sends it goes on while a newer one counts.
    let newest = home.write(12, 300).await;
    home.store.publish(&home.log, newest).await.unwrap();
    drop(current);
    assert_eq!(new.content().await.unwrap(), content(9, 300));
    assert_ne!(home.log.state().notes[&SNAPSHOT_NOTE], note);
    drop(new);
    drop(home.write(13, 1).await);
    home.write(14, 1).await;
    if dir.is_some() {
        assert!(home.files().len() <= 2, "{:?}", home.files());
    }
}

#[tokio::test]
async fn an_older_one_never_replaces_a_newer_one_in_memory() {
    replace(None).await;
}

#[tokio::test]
async fn an_older_one_never_replaces_a_newer_one_in_files() {
    let dir = tempfile::tempdir().unwrap();
    replace(Some(dir.path())).await;
}

#[tokio::test]
async fn what_is_left_over_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (home, file, _) = with_snapshot(dir.path(), 70).await;
    let neighbour = format!("{}.0.snapshot", GroupId::from_name("h"));
    let left = ["0.snapshot", "1.snapshot.new"].map(|name| format!("{}.{name}", group()));
    let kept = [neighbour, format!("{}.snapshots", group())];
    for name in left.iter().chain(&kept) {
        std::fs::write(dir.path().join(name), [0]).unwrap();
    }
    Store::open(dir.path(), EPOCH, &home.log).await.unwrap();
    assert!(file.exists());
    for name in &kept {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    for name in &left {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
    // Without a log that points to it, it is left over too.
    let erased = Op::Erase { boot: 1 };
    home.log.write(vec![erased]).await.unwrap();
    let store = Store::open(dir.path(), EPOCH, &home.log).await.unwrap();
    assert!(store.current().is_none());
    assert!(!file.exists());
}

#[tokio::test]
async fn installing_one_leaves_of_the_log_what_follows_it() {
    let record = |term, index| Record {
        id: LogId { term, index },
        kind: Kind::Blank,
        payload: Bytes::new(),
    };
    // Entries of which term there are, and whether those behind the snapshot stay.
    for (term, committed, stays) in [
        (1, None, true),
        (1, Some(4), true),
        (0, Some(4), false),
        (0, None, false),
    ] {
        let home = Home::open(None).await.unwrap();
        let records = (0..10).map(|index| record(term, index)).collect();
        home.log.write(vec![Op::Append(records)]).await.unwrap();
        if let Some(index) = committed {
            let op = Op::Committed(LogId { term, index });
            home.log.write(vec![op]).await.unwrap();
        }
        let snapshot = home.write(7, 70).await;
        home.store.install(&home.log, snapshot).await.unwrap();
        let last = if stays { id(9) } else { id(7) };
        assert_eq!(home.log.ends(), (Some(id(7)), Some(last)));
        assert_eq!(home.log.committed(), Some(id(7)));
        let next = record(1, last.index + 1);
        home.log.write(vec![Op::Append(vec![next])]).await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_encoded_is_an_error() {
    for dir in [None, Some(tempfile::tempdir().unwrap())] {
        let home = Home::open(dir.as_ref().map(|dir| dir.path()))
            .await
            .unwrap();
        let failing = Frozen {
            encode: Box::new(|write| {
                write.write_all(&[0; 2 * CHUNK])?;
                Err(io::Error::other("no more"))
            }),
            ..frozen(5, 0)
        };
        let error = home.store.write(failing).await.unwrap_err();
        assert_eq!(error.error.to_string(), "no more");
        // Nor is nothing a snapshot.
        assert!(home.store.write(frozen(5, 0)).await.is_err());
        let whole = home.write(6, 1).await;
        home.store.publish(&home.log, whole).await.unwrap();
        assert_eq!(home.files().len(), usize::from(dir.is_some()));
    }
}
