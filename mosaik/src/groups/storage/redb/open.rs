//! Opening the files: what is half-written is rolled back, what cannot be trusted is refused.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use ::redb::{Builder, Database, ReadableDatabase as _};

use super::{
    backend::{Backend, Gate},
    mark::Mark,
    tables::{self, Contents},
};
use crate::{
    groups::storage::error::OpenError,
    rt::{
        self,
        fs::{self, File},
    },
};

/// The database.
const DATABASE: &str = "groups.redb";
/// The mark.
const MARK: &str = "groups.mark";
/// Memory for pages of the database, in bytes: 32 MiB. What is read often is in memory already.
const CACHE: usize = 32 * 1024 * 1024;

/// What was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) database: Database,
    pub(super) gate: Arc<Gate>,
    pub(super) mark: Mark,
    pub(super) contents: Contents,
}

/// Opens the files in `dir`, or makes them.
///
/// The mark is made first and says zero until the database is there, whole and under its name. So a database
/// without a mark, or a mark above zero without a database, has lost the other.
pub(super) fn open(dir: &Path) -> Result<Opened, OpenError> {
    let database = dir.join(DATABASE);
    let mark = dir.join(MARK);
    let exists = |path: &Path| fs::exists(path).map_err(|error| OpenError::io(path, &error));
    let missing = |path: &Path, other: &Path| OpenError::Missing {
        path: path.into(),
        other: other.into(),
    };
    match (exists(&database)?, exists(&mark)?) {
        (true, false) => return Err(missing(&mark, &database)),
        (true, true) => {}
        (false, has_mark) => {
            if !has_mark {
                Mark::create(dir, &mark, rt::random_u64())
                    .map_err(|error| OpenError::io(&mark, &error))?;
            }
            let held = Mark::open(&mark)?;
            if held.sequence() > 0 {
                return Err(missing(&database, &mark));
            }
            create(dir, &database, held.id())?;
        }
    }
    // Damage can drive the database into a panic, which is a refusal like others.
    let opened = catch_unwind(AssertUnwindSafe(|| open_existing(database.clone(), &mark)));
    opened.unwrap_or_else(|_| {
        let text = "the database gave up on it";
        Err(OpenError::damaged(&database, text))
    })
}

/// Makes a database beside its place, and renames it there.
fn create(dir: &Path, path: &Path, id: u64) -> Result<(), OpenError> {
    let partial = path.with_added_extension("new");
    let fails = |error: &io::Error| OpenError::io(&partial, error);
    let file = File::create_private(&partial).map_err(|error| fails(&error))?;
    let gate = Arc::new(Gate::default());
    let made = initialize(Backend::new(file, gate.clone()), id);
    made.map_err(|error| refused(&partial, &gate, error))?;
    fs::rename(&partial, path)
        .and_then(|()| fs::sync_dir(dir))
        .map_err(|error| OpenError::io(path, &error))
}

fn initialize(backend: Backend, id: u64) -> Result<(), ::redb::Error> {
    let database = builder().create_with_backend(backend)?;
    let txn = database.begin_write()?;
    {
        let mut numbers = txn.open_table(tables::NUMBERS)?;
        numbers.insert(tables::FORMAT_KEY, tables::FORMAT)?;
        numbers.insert(tables::ID_KEY, id)?;
        numbers.insert(tables::SEQUENCE_KEY, 1)?;
        txn.open_table(tables::STATES)?;
        txn.open_table(tables::RECORDS)?;
    }
    txn.commit()?;
    database.close()?;
    Ok(())
}

fn open_existing(path: PathBuf, mark: &Path) -> Result<Opened, OpenError> {
    let mut mark = Mark::open(mark)?;
    let fails = |error: io::Error| OpenError::io(&path, &error);
    let file = File::open(&path).map_err(fails)?;
    // An empty file would become an empty database.
    if file.len().map_err(fails)? == 0 {
        return Err(OpenError::damaged(&path, "it is empty"));
    }
    let gate = Arc::new(Gate::default());
    let database = builder()
        .set_check_integrity_on_open(true)
        .create_with_backend(Backend::new(file, gate.clone()))
        .map_err(|error| refused(&path, &gate, error.into()))?;
    let txn = database.begin_read();
    let txn = txn.map_err(|error| refused(&path, &gate, error.into()))?;
    let contents = tables::load(&path, &txn)?;
    txn.close()
        .map_err(|error| refused(&path, &gate, error.into()))?;
    if contents.id != mark.id() {
        let text = format!("{} belongs to another database", mark.path().display());
        return Err(OpenError::damaged(&path, text));
    }
    if contents.sequence < mark.sequence() {
        return Err(OpenError::RolledBack {
            path,
            found: contents.sequence,
            expected: mark.sequence(),
        });
    }
    mark.write(contents.sequence)
        .map_err(|error| OpenError::io(mark.path(), &error))?;
    Ok(Opened {
        path,
        database,
        gate,
        mark,
        contents,
    })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// What an error of the database means for those who want to open it.
fn refused(path: &Path, gate: &Gate, error: ::redb::Error) -> OpenError {
    match (gate.error(), error) {
        // It ends before it should.
        (Some((io::ErrorKind::UnexpectedEof, _)), error) => OpenError::damaged(path, error),
        (Some((kind, reason)), _) => OpenError::Io {
            path: path.into(),
            kind,
            reason,
        },
        (None, ::redb::Error::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            OpenError::io(path, &error)
        }
        (None, error) => OpenError::damaged(path, error),
    }
}
