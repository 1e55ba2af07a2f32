//! Standard input by line, read beside the runtime.

use std::io::{self, BufRead, BufReader};

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tracing::Span;

use crate::{
    rt::{self, Tasks},
    wire::MAX_FRAME,
};

/// Bytes that are read at once.
const READ_SIZE: usize = 128 * 1024;
/// Batches that are read ahead.
const AHEAD: usize = 2;
/// The longest line, in bytes: a frame without the four that say how long the line is.
const MAX_LINE: usize = MAX_FRAME - 4;

/// The lines of standard input.
#[derive(Debug)]
pub(super) struct Lines {
    batches: mpsc::Receiver<anyhow::Result<Vec<String>>>,
}

impl Lines {
    /// Begins to read. The thread that does it cannot be interrupted, only left behind.
    pub(super) fn of_stdin() -> Self {
        let (sender, batches) = mpsc::channel(AHEAD);
        let read = move || {
            let reader = BufReader::with_capacity(READ_SIZE, io::stdin());
            let mut splitter = Splitter::new(reader);
            while let Some(batch) = splitter.batch().transpose() {
                let failed = batch.is_err();
                if sender.blocking_send(batch).is_err() || failed {
                    return;
                }
            }
        };
        Tasks::new(Span::none()).spawn(rt::blocking(read));
        Self { batches }
    }

    /// The next lines, as many as there are; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        self.batches.recv().await.transpose()
    }
}

/// Cuts what a reader has into lines.
struct Splitter<R> {
    reader: R,
    /// The beginning of a line whose end was not read yet.
    partial: Vec<u8>,
    /// Lines so far.
    lines: u64,
    /// What is wrong behind the lines that were given out.
    failure: Option<anyhow::Error>,
}

impl<R: BufRead> Splitter<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            partial: Vec::new(),
            lines: 0,
            failure: None,
        }
    }

    /// The lines that can be had by reading once, without their ends; `None` at the end of the input. An
    /// error comes after all lines before it.
    fn batch(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let mut lines = Vec::new();
        while lines.is_empty() {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            match self.read(&mut lines) {
                Ok(true) => {}
                Ok(false) if lines.is_empty() => return Ok(None),
                Ok(false) => break,
                Err(error) => self.failure = Some(error),
            }
        }
        Ok(Some(lines))
    }

    /// Reads once. Returns whether there may be more.
    fn read(&mut self, lines: &mut Vec<String>) -> anyhow::Result<bool> {
        let buffer = loop {
            match self.reader.fill_buf() {
                Ok(_) => break self.reader.fill_buf(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let buffer = buffer.context("cannot read standard input")?;
        let read = buffer.len();
        if read == 0 {
            if !self.partial.is_empty() {
                let last = std::mem::take(&mut self.partial);
                lines.push(text(last, &mut self.lines)?);
            }
            return Ok(false);
        }
        let mut rest = buffer;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            lines.push(text(line, &mut self.lines)?);
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > MAX_LINE {
            bail!(too_long(self.lines + 1));
        }
        self.reader.consume(read);
        Ok(true)
    }
}

/// The next line as text.
fn text(line: Vec<u8>, lines: &mut u64) -> anyhow::Result<String> {
    *lines += 1;
    if line.len() > MAX_LINE {
        bail!(too_long(*lines));
    }
    String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        anyhow::anyhow!("line {lines} is not UTF-8: byte {at} of it does not fit")
    })
}

fn too_long(line: u64) -> String {
    format!("line {line} is too long: one datum takes at most {MAX_LINE} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `input`, and the error that ends them.
    fn split(input: &[u8], capacity: usize) -> (Vec<String>, Option<String>) {
        let mut splitter = Splitter::new(BufReader::with_capacity(capacity, input));
        let mut lines = Vec::new();
        loop {
            match splitter.batch() {
                Ok(Some(batch)) => lines.extend(batch),
                Ok(None) => return (lines, None),
                Err(error) => return (lines, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn lines_come_without_their_ends_however_they_are_read() {
        let input = "one\n\ntwo \r\nthree äöü\nno end".as_bytes();
        for capacity in 1..=input.len() {
            let (lines, error) = split(input, capacity);
            assert_eq!(lines, ["one", "", "two \r", "three äöü", "no end"]);
            assert_eq!(error, None);
        }
        assert_eq!(split(b"", 8), (vec![], None));
        assert_eq!(split(b"\n", 8), (vec![String::new()], None));
    }

    #[test]
    fn what_is_not_text_is_named_after_the_lines_before_it() {
        for capacity in [1, 64] {
            let (lines, error) = split(b"one\ntwo\n\xff\nfour\n", capacity);
            assert_eq!(lines, ["one", "two"]);
            assert!(error.unwrap().contains("line 3 is not UTF-8"));
        }
    }

    #[test]
    fn the_longest_line_passes_and_one_byte_more_does_not() {
        let mut input = b"short\n".to_vec();
        input.resize(input.len() + MAX_LINE, b'x');
        let (lines, error) = split(&input, READ_SIZE);
        assert_eq!((lines.len(), error), (2, None));
        for end in ["x", "x\n", "x\nmore\n"] {
            let input = [&input, end.as_bytes()].concat();
            let (lines, error) = split(&input, READ_SIZE);
            assert_eq!(lines, ["short"]);
            assert!(error.unwrap().contains("line 2 is too long"));
        }
    }
}
