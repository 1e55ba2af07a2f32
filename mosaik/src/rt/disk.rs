//! A simulated disk: what is written and not synced may be lost, in part or whole, when its machine crashes.
//!
//! Files are kept as their readers see them and as the medium holds them. A write reaches the medium with
//! the next sync of its file, a name (a new file, a renamed one) with the next sync of its directory. What a
//! crash finds in between is decided by chance: writes that were not synced survive each or not, and the
//! last of them may be torn. After a failed sync, what it was to bring to the medium is lost with the next
//! crash, whatever later syncs say, as on the systems that people run.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::Notify;

use super::{Instant, now, timeout_at};

/// How long a sync takes unless said otherwise.
const SYNC_LATENCY: Duration = Duration::from_millis(1);

/// A disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    repaired: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// What readers see.
    names: BTreeMap<PathBuf, u64>,
    /// What the medium holds.
    durable_names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, File>,
    next: u64,
    /// Counts the crashes: handles from before one are stale.
    life: u64,
    random: StdRng,
    faults: Faults,
    /// How long what was done since it was last asked takes.
    cost: Duration,
}

#[derive(Debug, Default)]
struct File {
    data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

/// What the medium of a disk held at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// What is done to a file.
#[derive(Debug)]
enum Write {
    /// Bytes, and where they go.
    Bytes(usize, Vec<u8>),
    /// Its length is so many bytes; new ones are zero.
    Len(usize),
}

/// What is wrong with a disk.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// What every write and sync fails with.
    pub(crate) write_error: Option<io::ErrorKind>,
    /// What every read fails with.
    pub(crate) read_error: Option<io::ErrorKind>,
    /// Bytes that fit.
    pub(crate) capacity: Option<u64>,
    /// Until when nothing moves.
    pub(crate) stalled_until: Option<Instant>,
    /// How long a sync takes.
    pub(crate) sync_latency: Duration,
    /// Changes that still work; the power is cut before the next, and nothing works until the machine
    /// crashed.
    pub(crate) cut_after: Option<u64>,
    /// Changes that still work; from the next on, every write and sync fails with this.
    pub(crate) fail_after: Option<(u64, io::ErrorKind)>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            write_error: None,
            read_error: None,
            capacity: None,
            stalled_until: None,
            sync_latency: SYNC_LATENCY,
            cut_after: None,
            fail_after: None,
        }
    }
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            files: BTreeMap::new(),
            next: 0,
            life: 0,
            random: StdRng::seed_from_u64(seed),
            faults: Faults::default(),
            cost: Duration::ZERO,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            repaired: Arc::default(),
        }
    }

    /// Changes what is wrong with it.
    pub(crate) fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
        self.repaired.notify_waiters();
    }

    /// Waits while the disk stands still.
    pub(super) async fn moves(&self) {
        loop {
            let repaired = self.repaired.notified();
            tokio::pin!(repaired);
            repaired.as_mut().enable();
            let stalled_until = self.state().faults.stalled_until;
            match stalled_until.filter(|until| *until > now()) {
                Some(until) => drop(timeout_at(until, repaired).await),
                None => return,
            }
        }
    }

    /// How long what was done since the last call takes.
    pub(super) fn take_cost(&self) -> Duration {
        std::mem::take(&mut self.state().cost)
    }

    /// Loses what was not synced, as far as chance wants it.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        let State {
            names,
            durable_names,
            files,
            random,
            life,
            faults,
            ..
        } = &mut *state;
        *life += 1;
        faults.cut_after = None;
        // A directory that was not synced has some of its changes, in no order.
        let changed: BTreeSet<PathBuf> = names
            .keys()
            .chain(durable_names.keys())
            .filter(|path| names.get(*path) != durable_names.get(*path))
            .cloned()
            .collect();
        for path in changed {
            if random.random_bool(0.5) {
                match names.get(&path) {
                    Some(file) => durable_names.insert(path, *file),
                    None => durable_names.remove(&path),
                };
            }
        }
        names.clone_from(durable_names);
        let held: BTreeSet<u64> = names.values().copied().collect();
        files.retain(|file, _| held.contains(file));
        for file in files.values_mut() {
            file.crash(random);
        }
    }

    /// Loses everything.
    pub(crate) fn wipe(&self) {
        let mut state = self.state();
        state.life += 1;
        state.names.clear();
        state.durable_names.clear();
        state.files.clear();
    }

    /// What the medium holds.
    pub(crate) fn image(&self) -> Image {
        let state = self.state();
        let names = state.durable_names.iter();
        let files = names.filter_map(|(path, file)| {
            let file = state.files.get(file)?;
            Some((path.clone(), file.durable.clone()))
        });
        Image {
            files: files.collect(),
        }
    }

    /// Has what an image has, and nothing else.
    pub(crate) fn restore(&self, image: &Image) {
        self.wipe();
        let mut state = self.state();
        for (path, bytes) in &image.files {
            let file = state.next;
            state.next += 1;
            let held = File {
                data: bytes.clone(),
                durable: bytes.clone(),
                pending: Vec::new(),
            };
            state.files.insert(file, held);
            state.names.insert(path.clone(), file);
            state.durable_names.insert(path.clone(), file);
        }
    }

    /// Directories need not be made here; whether they could be is all there is to it.
    pub(super) fn create_dir_all(&self) -> io::Result<()> {
        self.state().may_write(0)
    }

    /// An empty file of that name, in place of what had it.
    pub(super) fn create(&self, path: &Path) -> io::Result<Handle> {
        let mut state = self.state();
        state.change()?;
        state.may_write(0)?;
        let file = state.next;
        state.next += 1;
        state.files.insert(file, File::default());
        state.names.insert(path.to_path_buf(), file);
        Ok(Handle {
            disk: self.clone(),
            file,
            life: state.life,
        })
    }

    /// The file of that name.
    pub(super) fn open(&self, path: &Path) -> io::Result<Handle> {
        let state = self.state();
        state.may_read()?;
        let file = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Handle {
            disk: self.clone(),
            file,
            life: state.life,
        })
    }

    /// Whether there is a file of that name.
    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.may_read()?;
        Ok(state.names.contains_key(path))
    }

    /// All that a file holds.
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.may_read()?;
        let file = state.names.get(path).and_then(|file| state.files.get(file));
        file.map(|file| file.data.clone())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.may_write(0)?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), file);
        Ok(())
    }

    /// The files in a directory.
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.may_read()?;
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.cloned().collect())
    }

    /// Who has the file open can go on with it.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.may_write(0)?;
        let removed = state.names.remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    /// Brings the names of a directory to the medium.
    pub(super) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let latency = state.faults.sync_latency;
        state.cost += latency;
        state.change()?;
        state.may_write(0)?;
        let State {
            names,
            durable_names,
            ..
        } = &mut *state;
        durable_names.retain(|path, _| path.parent() != Some(dir));
        let here = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable_names.extend(here.map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a change; an error if the power is cut.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.faults.cut_after {
            Some(0) => return Err(injected(io::ErrorKind::NotConnected)),
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut self.faults.fail_after {
            Some((0, kind)) => self.faults.write_error = Some(*kind),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn may_read(&self) -> io::Result<()> {
        if self.faults.cut_after == Some(0) {
            return Err(injected(io::ErrorKind::NotConnected));
        }
        self.faults
            .read_error
            .map_or(Ok(()), |kind| Err(injected(kind)))
    }

    /// Whether `more` bytes can be written.
    fn may_write(&self, more: usize) -> io::Result<()> {
        if let Some(kind) = self.faults.write_error {
            return Err(injected(kind));
        }
        let used: usize = self.files.values().map(|file| file.data.len()).sum();
        let full = self.faults.capacity.is_some_and(|capacity| {
            let wanted = u64::try_from(used.saturating_add(more)).unwrap_or(u64::MAX);
            more > 0 && wanted > capacity
        });
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl File {
    fn apply(data: &mut Vec<u8>, write: &Write) {
        match write {
            Write::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if data.len() < end {
                    data.resize(end, 0);
                }
                data[*at..end].copy_from_slice(bytes);
            }
            Write::Len(len) => data.resize(*len, 0),
        }
    }

    fn crash(&mut self, random: &mut StdRng) {
        let last = self.pending.len().saturating_sub(1);
        for (n, mut write) in self.pending.drain(..).enumerate() {
            if !random.random_bool(0.5) {
                continue;
            }
            if let Write::Bytes(_, bytes) = &mut write
                && n == last
            {
                bytes.truncate(random.random_range(0..=bytes.len()));
            }
            Self::apply(&mut self.durable, &write);
        }
        self.data.clone_from(&self.durable);
    }
}

fn injected(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "a fault of the simulated disk")
}

/// An open file.
#[derive(Debug)]
pub(super) struct Handle {
    disk: Disk,
    file: u64,
    life: u64,
}

impl Handle {
    /// How many bytes it holds.
    pub(super) fn len(&self) -> io::Result<usize> {
        let state = self.open()?;
        state.may_read()?;
        let file = state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.data.len())
    }

    /// Fills `out` with what is there.
    pub(super) fn read_at(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        let state = self.open()?;
        state.may_read()?;
        let file = state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let end = at.saturating_add(out.len());
        let held = file.data.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(held);
        Ok(())
    }

    pub(super) fn write_at(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.write(at + bytes.len(), Write::Bytes(at, bytes.to_vec()))
    }

    /// Makes it so many bytes long.
    pub(super) fn set_len(&self, len: usize) -> io::Result<()> {
        self.write(len, Write::Len(len))
    }

    /// Does what needs room up to `end`.
    fn write(&self, end: usize, write: Write) -> io::Result<()> {
        let mut state = self.open()?;
        state.change()?;
        let len = state.files.get(&self.file).map_or(0, |f| f.data.len());
        state.may_write(end.saturating_sub(len))?;
        let file = state.files.get_mut(&self.file);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        File::apply(&mut file.data, &write);
        file.pending.push(write);
        Ok(())
    }

    /// Brings what was written to the medium.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.open()?;
        let latency = state.faults.sync_latency;
        state.cost += latency;
        state.change()?;
        let failed = state.faults.write_error;
        let file = state.files.get_mut(&self.file);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        // What a failed sync was to bring to the medium is clean for the next one, and not there.
        let pending = std::mem::take(&mut file.pending);
        if let Some(kind) = failed {
            return Err(injected(kind));
        }
        for write in &pending {
            File::apply(&mut file.durable, write);
        }
        Ok(())
    }

    /// The disk, unless the machine crashed since the file was opened.
    fn open(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(injected(io::ErrorKind::NotConnected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &Disk, path: &str, bytes: &[u8]) -> Handle {
        let file = disk.create(Path::new(path)).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    /// What seeds find after a crash of what `write` did.
    fn outcomes(write: impl Fn(&Disk)) -> BTreeSet<Option<Vec<u8>>> {
        let after = |seed| {
            let disk = Disk::new(seed);
            write(&disk);
            disk.crash();
            disk.read(Path::new("d/f")).ok()
        };
        (0..200).map(after).collect()
    }

    #[test]
    fn what_is_synced_with_its_name_survives() {
        let found = outcomes(|disk| {
            file(disk, "d/f", b"kept").sync().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
        });
        assert_eq!(found, BTreeSet::from([Some(b"kept".to_vec())]));
    }

    #[test]
    fn what_is_not_synced_is_there_torn_or_lost() {
        let found = outcomes(|disk| {
            let file = file(disk, "d/f", b"old");
            file.sync().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file.write_at(0, b"new").unwrap();
        });
        let expected = [&b"old"[..], b"new", b"nld", b"ned"];
        assert_eq!(found, expected.map(|bytes| Some(bytes.to_vec())).into());
    }

    #[test]
    fn a_name_is_lost_without_a_sync_of_its_directory() {
        let found = outcomes(|disk| file(disk, "d/f", b"x").sync().unwrap());
        assert_eq!(found, [None, Some(b"x".to_vec())].into());
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_a_later_one() {
        let found = outcomes(|disk| {
            let file = file(disk, "d/f", b"lost");
            disk.sync_dir(Path::new("d")).unwrap();
            disk.set_faults(|faults| faults.write_error = Some(io::ErrorKind::Other));
            assert!(file.sync().is_err());
            disk.set_faults(|faults| faults.write_error = None);
            file.sync().unwrap();
        });
        assert_eq!(found, [Some(vec![])].into());
    }

    #[test]
    fn faults_are_what_they_say() {
        let disk = Disk::new(0);
        disk.set_faults(|faults| faults.capacity = Some(4));
        let held = file(&disk, "d/f", b"1234");
        assert_eq!(
            held.write_at(4, b"5").unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        held.write_at(0, b"5678").unwrap();
        disk.set_faults(|faults| faults.read_error = Some(io::ErrorKind::Other));
        assert!(disk.read(Path::new("d/f")).is_err());
        disk.set_faults(|faults| faults.read_error = None);
        disk.rename(Path::new("d/f"), Path::new("d/g")).unwrap();
        assert_eq!(disk.read(Path::new("d/g")).unwrap(), b"5678");
        disk.crash();
        assert!(held.write_at(0, b"x").is_err(), "its machine crashed");
    }

    #[test]
    fn a_length_that_is_not_synced_may_be_lost() {
        let found = outcomes(|disk| {
            let file = file(disk, "d/f", b"1234");
            file.sync().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file.set_len(2).unwrap();
            file.set_len(3).unwrap();
        });
        let expected = [&b"1234"[..], b"123", b"12", b"12\0"];
        assert_eq!(found, expected.map(|bytes| Some(bytes.to_vec())).into());
    }

    #[test]
    fn a_removed_name_may_come_back_until_its_directory_is_synced() {
        let write = |synced| {
            move |disk: &Disk| {
                let held = file(disk, "d/f", b"x");
                held.sync().unwrap();
                disk.sync_dir(Path::new("d")).unwrap();
                disk.remove(Path::new("d/f")).unwrap();
                assert!(disk.list(Path::new("d")).unwrap().is_empty());
                assert!(disk.remove(Path::new("d/f")).is_err());
                held.read_at(0, &mut [0]).unwrap();
                if synced {
                    disk.sync_dir(Path::new("d")).unwrap();
                }
            }
        };
        assert_eq!(outcomes(write(true)), [None].into());
        let expected = [None, Some(b"x".to_vec())];
        assert_eq!(outcomes(write(false)), expected.into());
    }

    #[test]
    fn nothing_works_after_the_power_is_cut_until_the_machine_crashed() {
        let disk = Disk::new(0);
        let held = file(&disk, "d/f", b"1234");
        disk.set_faults(|faults| faults.cut_after = Some(2));
        held.sync().unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        assert!(held.write_at(0, b"5678").is_err());
        assert!(held.sync().is_err());
        assert!(held.read_at(0, &mut [0; 4]).is_err());
        disk.crash();
        assert_eq!(disk.read(Path::new("d/f")).unwrap(), b"1234");
        assert!(held.len().is_err(), "its machine crashed");
        let again = disk.open(Path::new("d/f")).unwrap();
        let mut bytes = [0; 2];
        again.read_at(1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"23");
        assert!(again.read_at(3, &mut bytes).is_err(), "past the end");
    }

    #[test]
    fn writes_fail_from_a_given_change_on() {
        let disk = Disk::new(0);
        let held = file(&disk, "d/f", b"1234");
        disk.set_faults(|faults| faults.fail_after = Some((1, io::ErrorKind::StorageFull)));
        held.write_at(0, b"5678").unwrap();
        let refused = held.write_at(0, b"9").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert!(held.sync().is_err());
        assert_eq!(disk.read(Path::new("d/f")).unwrap(), b"5678");
    }
}
