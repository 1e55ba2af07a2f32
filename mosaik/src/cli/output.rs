//! Standard output and standard error.

use std::{
    borrow::Cow,
    fmt,
    io::{self, BufWriter, StdoutLock, Write as _},
};

use anyhow::Context as _;

/// Bytes that are collected before they are written.
const BUFFER: usize = 64 * 1024;

/// Says something to people, on standard error.
pub(super) fn note(what: impl fmt::Display) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "mosaik: {what}");
}

/// Standard output.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

/// Whether there is somebody to write for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Reader {
    /// It is there, as far as is known.
    There,
    /// It has closed the pipe: it has seen enough.
    Gone,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, io::stdout().lock()),
        }
    }

    /// Writes a line; it appears after [`flush`](Self::flush) at the latest.
    pub(super) fn line(&mut self, line: &[u8]) -> anyhow::Result<Reader> {
        let written = self.out.write_all(line);
        reader(written.and_then(|()| self.out.write_all(b"\n")))
    }

    /// Writes out what was collected.
    pub(super) fn flush(&mut self) -> anyhow::Result<Reader> {
        reader(self.out.flush())
    }
}

fn reader(written: io::Result<()>) -> anyhow::Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// What a peer says of itself, for a terminal: without control characters.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        text.escape_debug().to_string().into()
    } else {
        text.into()
    }
}
