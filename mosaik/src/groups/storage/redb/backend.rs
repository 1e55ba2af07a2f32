//! What redb reads and writes: a file of [`rt::fs`](crate::rt::fs), real or simulated.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ::redb::StorageBackend;

use crate::rt::fs::File;

/// A file that does nothing any more once anything on it failed.
///
/// After a failed sync the operating system takes for written what is not; so nothing is tried again, by redb
/// or by its destructors.
#[derive(Debug)]
pub(super) struct Backend {
    file: File,
    gate: Arc<Gate>,
}

/// Whether the file may be used. Clones of the `Arc` are held by the engine.
#[derive(Debug, Default)]
pub(super) struct Gate {
    shut: AtomicBool,
    error: Mutex<Option<(io::ErrorKind, String)>>,
}

impl Backend {
    /// Uses `file` as long as `gate` is open.
    pub(super) fn new(file: File, gate: Arc<Gate>) -> Self {
        Self { file, gate }
    }
}

impl Gate {
    /// Lets nothing pass any more.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// The first error.
    pub(super) fn error(&self) -> Option<(io::ErrorKind, String)> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn pass<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.shut.load(Ordering::Acquire) {
            let text = "the file is out of use after an error";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        work().inspect_err(|error| {
            self.shut();
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| (error.kind(), error.to_string()));
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.gate.pass(|| self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.gate.pass(|| self.file.read_at(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.gate.pass(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass(|| self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.gate.pass(|| self.file.write_at(offset, data))
    }
}
