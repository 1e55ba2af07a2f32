//! Host-local rendezvous: processes of one user on one host find each other through a directory.
//!
//! Each process holds one file, named by its peer id, with its signed entry; nothing goes over any
//! network until a peer found there is dialed. The file is locked while its process lives, so that the
//! file of one that crashed is recognised by a lock that can be had, and removed. The directory must
//! belong to this user alone, and networks are told apart by a digest of their id, which is a
//! capability and is never written down.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use super::{
    proto::{
        entry::{MAX_ENTRY, Record, SignedEntry},
        millis,
    },
    shared::Shared,
    status::RendezvousStatus,
};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, Instant},
};

/// Time between looks at first, and while no peer is known.
const EAGER_POLL: Duration = Duration::from_millis(100);
/// For how long the first looks are eager, peers or not.
const EAGER_FOR: Duration = Duration::from_secs(3);
/// For how long the looks of a process that is alone are eager.
const EAGER_ALONE: Duration = Duration::from_secs(60);
/// Time between its looks after that.
const ALONE_POLL: Duration = Duration::from_secs(1);
/// Longest time between looks.
const MAX_POLL: Duration = Duration::from_secs(2);
/// Files that are read in one look.
const MAX_FILES: usize = 1024;
/// Names that are seen in one look.
const MAX_NAMES: usize = 65_536;
/// Age at which a temporary file is one that a crash has left.
const STALE: Duration = Duration::from_secs(60);
/// Peers found that are dialed in one look: the rest come with their catalogs.
const MAX_DIALS: usize = 3;
/// First wait before a peer that was found but not reached is dialed again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// Posts our address and dials those that others post, until dropped.
pub(super) async fn run(shared: Arc<Shared>, dir: Option<PathBuf>) {
    shared.status().rendezvous = RendezvousStatus::Starting;
    let root = dir.unwrap_or_else(default_dir);
    let network = data_encoding::HEXLOWER.encode(&shared.network[..16]);
    let opened = rt::blocking(move || open_dir(&root, &network)).await;
    let dir = match opened {
        Ok(dir) => dir,
        Err(error) => return failed(&shared, &error),
    };
    let (board, mut attempts) = (Arc::new(Board::default()), BTreeMap::new());
    let _taken_down = TakeDown(board.clone());
    let (began, mut poll, mut met) = (rt::now(), EAGER_POLL, rt::now());
    loop {
        let (in_dir, on_board, looking) = (dir.clone(), board.clone(), shared.clone());
        let looked = rt::blocking(move || {
            let own = looking.own().record().clone();
            on_board.post(&in_dir, &own)?;
            strangers(&looking, &in_dir)
        });
        match looked.await {
            Ok(found) => {
                shared.status().rendezvous = RendezvousStatus::Watching(dir.clone());
                dial(&shared, found, &mut attempts);
            }
            Err(error) => failed(&shared, &error),
        }
        let now = rt::now();
        let alone = shared.snapshots.borrow().is_empty();
        if !alone {
            met = now;
        }
        poll = if now < began + EAGER_FOR || (alone && now < met + EAGER_ALONE) {
            EAGER_POLL
        } else if alone {
            ALONE_POLL
        } else {
            (poll * 2).min(MAX_POLL)
        };
        rt::sleep(poll).await;
    }
}

/// The addresses of the peers that are posted and not known: what is known is not even read.
fn strangers(shared: &Shared, dir: &Path) -> io::Result<Vec<PeerAddr>> {
    let known = shared.snapshots.borrow().clone();
    let me = shared.me();
    let found = look(dir, |peer| *peer == me || known.contains(peer))?;
    let verified = found
        .into_iter()
        .filter_map(|entry| match shared.verify(entry) {
            Ok(record) => Some(record.body().addr.clone()),
            Err(error) => {
                tracing::debug!(%error, "file in the rendezvous ignored");
                None
            }
        });
    // A file need not hold the entry of whom its name is.
    let strangers = verified.filter(|addr| addr.peer != me && !known.contains(&addr.peer));
    Ok(strangers.collect())
}

/// Not fatal: there are other ways to meet. Said once.
fn failed(shared: &Shared, error: &io::Error) {
    let failed = RendezvousStatus::Failed(error.to_string());
    let before = std::mem::replace(&mut shared.status().rendezvous, failed.clone());
    if before != failed {
        tracing::warn!(%error, "processes on this host are not found by themselves");
    }
}

/// When a peer that was found is dialed again, and the wait after that.
type Attempts = BTreeMap<PeerId, (Instant, Duration)>;

fn dial(shared: &Arc<Shared>, mut strangers: Vec<PeerAddr>, attempts: &mut Attempts) {
    let now = rt::now();
    attempts.retain(|peer, _| strangers.iter().any(|addr| addr.peer == *peer));
    strangers.retain(|addr| attempts.get(&addr.peer).is_none_or(|(at, _)| *at <= now));
    let dialable = strangers.into_iter().filter(|addr| !addr.is_empty());
    for addr in dialable.take(MAX_DIALS) {
        let (at, wait) = attempts.entry(addr.peer).or_insert((now, FIRST_RETRY));
        *at = now + *wait;
        *wait = (*wait * 2).min(MAX_RETRY);
        let dialing = shared.clone();
        shared.leaving.spawn(async move {
            if let Err(error) = dialing.dial(&addr).await {
                tracing::debug!(peer = %addr.peer.short(), %error, "local peer not reached");
            }
        });
    }
}

fn default_dir() -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("mosaik"),
        None => env::temp_dir().join(format!("mosaik-{}", user())),
    }
}

/// Something that tells users of a machine apart: the number of the one who runs this process, where the
/// system says it, else a name from the environment.
fn user() -> String {
    #[cfg(unix)]
    if let Ok(process) = fs::metadata("/proc/self") {
        return std::os::unix::fs::MetadataExt::uid(&process).to_string();
    }
    let user = env::var("USER").or_else(|_| env::var("LOGNAME"));
    // A name from the environment must stay one component of the path.
    user.unwrap_or_default().replace(['/', '\\', '.'], "_")
}

/// The network's directory in `root`, both made if need be, and ours alone.
fn open_dir(root: &Path, network: &str) -> io::Result<PathBuf> {
    let dir = root.join(network);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(root)?;
    check_private(root)?;
    builder.create(&dir)?;
    check_private(&dir)?;
    tidy(root)?;
    tidy(&dir)?;
    Ok(dir)
}

/// Refuses a directory that others own or may write to: they could make us dial and remove at will.
#[cfg(unix)]
fn check_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let refuse = |why: &str| {
        let text = format!("{} {why}", dir.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() {
        return refuse("is not a directory");
    }
    // The owner of a file that we have just made is the user that we are.
    let name = format!(".owner-{:016x}", rt::random_u64());
    let probe = dir.join(name);
    let owner = File::create_new(&probe).and_then(|file| file.metadata());
    let removed = fs::remove_file(&probe);
    if owner?.uid() != found.uid() {
        return refuse("belongs to another user; remove it or choose another");
    }
    removed?;
    if found.mode() & 0o022 != 0 {
        return refuse("may be written to by others; take that right from them");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Where our file is kept. Work that may block outlives the task that has started it, so nothing is
/// posted here any more once it is taken down.
#[derive(Debug, Default)]
struct Board {
    state: Mutex<BoardState>,
}

#[derive(Debug, Default)]
struct BoardState {
    post: Option<Post>,
    down: bool,
}

impl Board {
    /// Posts our entry, unless all is taken down.
    fn post(&self, dir: &Path, own: &Record) -> io::Result<()> {
        let mut state = self.state();
        if state.down {
            return Ok(());
        }
        Post::keep(&mut state.post, dir, own)
    }

    fn state(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes our file down for good when dropped.
#[derive(Debug)]
struct TakeDown(Arc<Board>);

impl Drop for TakeDown {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.down = true;
        state.post = None;
    }
}

/// Our file, locked; removed when dropped.
#[derive(Debug)]
struct Post {
    path: PathBuf,
    file: File,
    addr: PeerAddr,
}

impl Post {
    /// Keeps the file as it is if it still says where we are, else writes it anew.
    ///
    /// # Errors
    /// When it cannot be written; what was posted stays.
    fn keep(posted: &mut Option<Self>, dir: &Path, own: &Record) -> io::Result<()> {
        let current = |post: &Self| post.addr == own.body().addr && is_at(&post.file, &post.path);
        if posted.as_ref().is_some_and(current) {
            return Ok(());
        }
        let fresh = Self::write(dir, own)?;
        if let Some(stale) = posted {
            // The path is the fresh file's now, and not to be removed.
            stale.path.clear();
        }
        *posted = Some(fresh);
        Ok(())
    }

    /// Writes the file beside its place, locks it, and puts it there in one step: nobody sees it
    /// unlocked or half written.
    fn write(dir: &Path, own: &Record) -> io::Result<Self> {
        let path = dir.join(own.peer().to_string());
        let temporary = dir.join(format!(".{:016x}.tmp", rt::random_u64()));
        let place = || {
            let mut file = File::create_new(&temporary)?;
            file.try_lock().map_err(io::Error::from)?;
            file.write_all(&own.signed().to_bytes())?;
            fs::rename(&temporary, &path)?;
            Ok(file)
        };
        match place() {
            Ok(file) => Ok(Self {
                addr: own.body().addr.clone(),
                path,
                file,
            }),
            Err(error) => {
                if let Err(error) = fs::remove_file(&temporary) {
                    tracing::debug!(%error, "temporary file of the rendezvous not removed");
                }
                Err(error)
            }
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "file of the rendezvous not removed");
        }
    }
}

/// Whether `file` is what is at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// The entries that live processes post, unverified, but those of the peers to `skip`. Files of dead ones
/// are removed.
fn look(dir: &Path, skip: impl Fn(&PeerId) -> bool) -> io::Result<Vec<SignedEntry>> {
    let mut found = Vec::new();
    // A file is somebody's only if its name is a peer's: nothing else is touched.
    let theirs = fs::read_dir(dir)?.take(MAX_NAMES).filter(|item| {
        let name = item.as_ref().map(fs::DirEntry::file_name);
        name.is_ok_and(|name| {
            let peer = name.to_str().and_then(|name| name.parse::<PeerId>().ok());
            peer.is_some_and(|peer| !skip(&peer))
        })
    });
    for item in theirs.take(MAX_FILES) {
        match read(&item?.path()) {
            Ok(Some(entry)) => found.push(entry),
            Ok(None) => {}
            // It may have gone in this moment, or be what no process wrote.
            Err(error) => tracing::debug!(%error, "file in the rendezvous ignored"),
        }
    }
    Ok(found)
}

/// Removes the temporary files that crashes have left.
fn tidy(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)?.take(MAX_NAMES) {
        let item = item?;
        let name = item.file_name();
        let name = name.to_str().unwrap_or_default();
        let temporary =
            name.starts_with(".owner-") || (name.starts_with('.') && name.ends_with(".tmp"));
        if temporary && let Err(error) = remove_stale(&item.path()) {
            tracing::debug!(%error, "temporary file of the rendezvous not removed");
        }
    }
    Ok(())
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let modified = found.modified()?.duration_since(UNIX_EPOCH);
    let modified = modified.map_err(io::Error::other)?;
    let age = rt::unix_millis().saturating_sub(millis(modified));
    if found.is_file() && age >= millis(STALE) && File::open(path)?.try_lock().is_ok() {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<SignedEntry>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => {
            if is_at(&file, path) {
                tracing::debug!(file = %path.display(), "a crashed process's file removed");
                fs::remove_file(path)?;
            }
            return Ok(None);
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    file.take(MAX_ENTRY as u64 + 1).read_to_end(&mut bytes)?;
    SignedEntry::from_bytes(&bytes)
        .map(Some)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::{super::proto::entry::tests::*, *};

    fn names(dir: &Path) -> Vec<String> {
        let files = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn posted(dir: &Path, own: &Record) -> Option<Post> {
        let mut post = None;
        Post::keep(&mut post, dir, own).unwrap();
        post
    }

    fn seen(dir: &Path, me: PeerId) -> Vec<SignedEntry> {
        look(dir, |peer| *peer == me).unwrap()
    }

    #[test]
    fn the_living_are_found_and_the_dead_removed() {
        let root = tempfile::tempdir().unwrap();
        let dir = open_dir(&root.path().join("mosaik"), "net").unwrap();
        let (me, other) = (record(1, 1, 0, false), record(2, 1, 0, false));
        let post = posted(&dir, &other);
        assert_eq!(seen(&dir, me.peer()), [other.signed().clone()]);
        assert!(seen(&dir, other.peer()).is_empty());
        // A crash: the lock goes with the process, the file stays.
        let dead = dir.join(record(3, 1, 0, false).peer().to_string());
        fs::write(&dead, other.signed().to_bytes()).unwrap();
        assert_eq!(seen(&dir, me.peer()).len(), 1);
        assert!(!dead.exists());
        drop(post);
        assert!(names(&dir).is_empty());
    }

    #[test]
    fn garbage_is_ignored() {
        let root = tempfile::tempdir().unwrap();
        let dir = open_dir(root.path(), "net").unwrap();
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        let garbage = File::create_new(dir.join(key(4).peer().to_string())).unwrap();
        garbage.try_lock().unwrap();
        (&garbage).write_all(&[0xff; MAX_ENTRY + 9]).unwrap();
        assert!(seen(&dir, key(1).peer()).is_empty());
        assert_eq!(names(&dir).len(), 2);
    }

    #[test]
    fn a_file_that_is_gone_or_out_of_date_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let dir = open_dir(root.path(), "net").unwrap();
        let own = record(1, 1, 0, false);
        let mut post = posted(&dir, &own);
        let at = |post: &Option<Post>| {
            let post = post.as_ref().unwrap();
            is_at(&post.file, &post.path)
        };
        fs::remove_file(&post.as_ref().unwrap().path).unwrap();
        Post::keep(&mut post, &dir, &own).unwrap();
        assert!(at(&post));
        let mut body = own.body().clone();
        body.addr = body.addr.with_ip("127.0.0.1:2".parse().unwrap());
        let moved = Record::sign(body, &key(1)).unwrap();
        Post::keep(&mut post, &dir, &moved).unwrap();
        assert!(at(&post));
        assert_eq!(seen(&dir, key(2).peer()), [moved.signed().clone()]);
        // What is posted stays if it cannot be replaced.
        assert!(Post::keep(&mut post, &dir.join("none"), &own).is_err());
        assert!(at(&post));
    }

    #[test]
    fn what_crashes_left_is_removed_and_does_not_hide_files() {
        let root = tempfile::tempdir().unwrap();
        let dir = open_dir(root.path(), "net").unwrap();
        let old = UNIX_EPOCH + Duration::from_secs(1);
        let left = |name: &str| {
            let file = File::create_new(dir.join(name)).unwrap();
            file.set_modified(old).unwrap();
            file
        };
        for i in 0..MAX_FILES {
            left(&format!(".{i:016x}.tmp"));
        }
        left(".owner-1");
        left("notes.tmp");
        let held = left(".held.tmp");
        held.try_lock().unwrap();
        File::create_new(dir.join(".young.tmp")).unwrap();
        let other = record(2, 1, 0, false);
        let post = posted(&dir, &other);
        assert_eq!(seen(&dir, key(1).peer()), [other.signed().clone()]);
        drop(post);
        open_dir(root.path(), "net").unwrap();
        assert_eq!(names(&dir), [".held.tmp", ".young.tmp", "notes.tmp"]);
    }

    #[test]
    fn nothing_is_posted_once_it_is_taken_down() {
        let root = tempfile::tempdir().unwrap();
        let dir = open_dir(root.path(), "net").unwrap();
        let (board, own) = (Arc::new(Board::default()), record(1, 1, 0, false));
        let taken_down = TakeDown(board.clone());
        board.post(&dir, &own).unwrap();
        assert_eq!(names(&dir).len(), 1);
        drop(taken_down);
        assert!(names(&dir).is_empty());
        board.post(&dir, &own).unwrap();
        assert!(names(&dir).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = open_dir(root.path(), "net").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let (aside, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = aside.path().join("link");
        std::os::unix::fs::symlink(target.path(), &link).unwrap();
        assert!(open_dir(&link, "net").is_err());
    }
}
