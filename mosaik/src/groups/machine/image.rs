//! Images: the user's state as it was at an entry, for who wants to read it elsewhere.

use std::{fmt, io};

use bytes::Bytes;

use super::hosted::Encode;
use crate::{groups::proto::log_id::LogId, rt};

/// Bytes of a part that an image is read in, at least: 8 MiB.
const MIN_PART: u64 = 8 * 1024 * 1024;
/// Parts that an image is read in, at most: it is encoded once for each.
const MAX_PARTS: u64 = 8;

/// The user's state as it was, and nothing of what is replicated besides it.
///
/// It is not kept encoded, neither on the disk nor in memory: to read a part is to encode it from its beginning and to
/// keep that part. So whoever reads slowly takes no room but for the state itself and one part.
pub(crate) struct Image {
    /// The last entry that the state has applied.
    last: LogId,
    encode: Encode,
}

/// An image, as it is read.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Nothing while a part is being read, and after that failed.
    image: Option<Image>,
    len: u64,
    next: u64,
}

impl Image {
    /// What `encode` writes, the same each time, is the state as it was at `last`.
    pub(super) fn new(last: LogId, encode: Encode) -> Self {
        Self { last, encode }
    }

    /// The last entry that the state has applied.
    pub(crate) fn last(&self) -> LogId {
        self.last
    }

    /// Prepares to read it, for which it has to be encoded once.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(crate) async fn read(self) -> io::Result<Parts> {
        rt::blocking(move || {
            let mut part = Part::at(0, 0);
            (self.encode)(&mut part)?;
            Ok(Parts {
                len: part.seen,
                image: Some(self),
                next: 0,
            })
        })
        .await
    }

    fn part(&self, from: u64, len: u64) -> io::Result<Bytes> {
        let mut part = Part::at(from, len);
        let encoded = (self.encode)(&mut part);
        // Who has all that is wanted ends it by an error.
        if !part.is_full() {
            encoded?;
            let text = "a state is shorter than when it was encoded before";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(part.bytes.into())
    }
}

impl Parts {
    /// Bytes of all parts.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be encoded. Then, or when this is dropped while it waits, there are no more.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.next == self.len {
            return Ok(None);
        }
        let from = self.next;
        let len = (self.len / MAX_PARTS + 1)
            .max(MIN_PART)
            .min(self.len - from);
        let image = self.image.take().ok_or(io::ErrorKind::UnexpectedEof)?;
        let (image, part) = rt::blocking(move || {
            let part = image.part(from, len);
            (image, part)
        })
        .await;
        let part = part?;
        self.image = Some(image);
        self.next += len;
        Ok(Some(part))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Image");
        debug.field("last", &self.last).finish_non_exhaustive()
    }
}

/// Keeps a part of what is written.
struct Part {
    from: u64,
    len: u64,
    seen: u64,
    bytes: Vec<u8>,
}

impl Part {
    fn at(from: u64, len: u64) -> Self {
        Self {
            from,
            len,
            seen: 0,
            bytes: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() as u64 == self.len
    }
}

impl io::Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len > 0 && self.is_full() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let skip = self.from.saturating_sub(self.seen);
        let lacks = self.len - self.bytes.len() as u64;
        let clamp = |n: u64| usize::try_from(n).map_or(bytes.len(), |n| n.min(bytes.len()));
        let begin = clamp(skip);
        let end = clamp(skip.saturating_add(lacks));
        self.bytes.extend_from_slice(&bytes[begin..end]);
        self.seen += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    /// An image of so many bytes that are written piece by piece, and how many were.
    fn image(len: u64, piece: usize) -> (Image, Vec<u8>, Arc<AtomicU64>) {
        let content: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let (written, count) = (content.clone(), Arc::<AtomicU64>::default());
        let counted = count.clone();
        let encode = move |write: &mut dyn io::Write| {
            for piece in written.chunks(piece) {
                counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
                write.write_all(piece)?;
            }
            Ok(())
        };
        let last = LogId { term: 1, index: 7 };
        (Image::new(last, Box::new(encode)), content, count)
    }

    #[tokio::test]
    async fn all_of_an_image_is_read_in_few_parts() {
        for (len, piece) in [
            (0, 1),
            (1, 1),
            (100_000, 7),
            (MIN_PART, 4096),
            (MIN_PART + 1, 4095),
            (12 * MIN_PART + 5, 100_001),
        ] {
            let (image, content, count) = image(len, piece);
            let mut parts = image.read().await.unwrap();
            assert_eq!(parts.len(), len);
            let (mut read, mut number) = (Vec::new(), 0);
            while let Some(part) = parts.next().await.unwrap() {
                assert!(part.len() as u64 <= MIN_PART.max(len / MAX_PARTS + 1));
                read.extend_from_slice(&part);
                number += 1;
            }
            assert!(read == content, "{len} by {piece}");
            assert!(number <= MAX_PARTS, "{number}");
            let written = count.load(Ordering::Relaxed);
            assert!(written <= (MAX_PARTS + 1) * len, "{written} of {len}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_encoded_is_an_error_and_ends_it() {
        let last = LogId { term: 1, index: 7 };
        let encode = |_: &mut dyn io::Write| Err(io::Error::other("no"));
        let error = Image::new(last, Box::new(encode)).read().await.unwrap_err();
        assert_eq!(error.to_string(), "no");
        // One that is another each time is found out.
        let lens = AtomicU64::new(10);
        let encode = move |write: &mut dyn io::Write| {
            let len = lens.fetch_sub(5, Ordering::Relaxed);
            write.write_all(&vec![1; usize::try_from(len).unwrap()])
        };
        let mut parts = Image::new(last, Box::new(encode)).read().await.unwrap();
        let error = parts.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(parts.next().await.is_err());
    }
}
