//! Memory for commands that are encoded: small ones share it.
//!
//! A command is allocated on one thread and freed on another, by the thousands at once, which is where allocators are
//! slow. So it is encoded into memory that its thread keeps, and copied from there to behind the last one.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

/// Longest command that shares memory with others, in bytes.
const SHARED: usize = 512;
/// Bytes that are shared: 4 KiB, which are freed once all commands in them are dropped.
const CHUNK: usize = 4 * 1024;
/// Bytes of memory that a thread keeps to encode into, about: 16 KiB.
const KEPT: usize = 16 * 1024;

/// What a thread keeps.
#[derive(Default)]
struct Memory {
    /// Empty: to encode into.
    scratch: Vec<u8>,
    /// Empty: what is left to be shared.
    chunk: BytesMut,
}

thread_local! {
    static MEMORY: Cell<Memory> = Cell::default();
}

/// What `encode` puts into the empty vector that it is given.
pub(super) fn packed<E>(encode: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, E>) -> Result<Bytes, E> {
    // Taken out, since what is encoded is of users' types: it may come here again, or panic.
    let mut memory = MEMORY.try_with(Cell::take).unwrap_or_default();
    let scratch = std::mem::take(&mut memory.scratch);
    let packed = memory.pack(encode(scratch)?);
    // A thread that ends keeps nothing.
    let _ = MEMORY.try_with(|kept| kept.set(memory));
    Ok(packed)
}

impl Memory {
    fn pack(&mut self, mut bytes: Vec<u8>) -> Bytes {
        let packed = match bytes.len() {
            len @ 0..=SHARED => {
                if self.chunk.capacity() < len {
                    self.chunk = BytesMut::with_capacity(CHUNK);
                }
                self.chunk.extend_from_slice(&bytes);
                self.chunk.split().freeze()
            }
            ..=KEPT => Bytes::copy_from_slice(&bytes),
            _ => return bytes.into(),
        };
        bytes.clear();
        bytes.shrink_to(KEPT);
        self.scratch = bytes;
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(byte: u8, len: usize) -> Bytes {
        let encode = |mut bytes: Vec<u8>| {
            assert!(bytes.is_empty());
            bytes.resize(len, byte);
            Ok::<_, ()>(bytes)
        };
        packed(encode).unwrap()
    }

    #[test]
    fn what_is_packed_is_what_was_encoded() {
        let lens = [0, 1, 100, SHARED - 1, SHARED, SHARED + 1, KEPT, KEPT + 1];
        let lens: Vec<usize> = lens.into_iter().cycle().take(200).collect();
        let byte = |n: usize| n as u8;
        let packed = lens.iter().enumerate();
        let packed: Vec<Bytes> = packed.map(|(n, len)| pack(byte(n), *len)).collect();
        for (n, (packed, len)) in packed.iter().zip(&lens).enumerate() {
            assert_eq!(packed.len(), *len);
            assert!(packed.iter().all(|each| *each == byte(n)));
        }
    }

    #[test]
    fn small_ones_share_memory_and_none_keeps_much() {
        let packed: Vec<Bytes> = (0..10).map(|n| pack(n, 100)).collect();
        let follows = |pair: &&[Bytes]| pair[0].as_ptr_range().end == pair[1].as_ptr();
        // But where the memory of whoever came before ended.
        assert!(packed.windows(2).filter(follows).count() >= 8);
        pack(0, 100 * KEPT);
        pack(0, KEPT);
        let kept = MEMORY.take();
        assert!(kept.scratch.capacity() <= KEPT && kept.chunk.capacity() <= CHUNK);
    }

    #[test]
    fn encoding_may_fail_or_encode_something_else() {
        assert_eq!(packed(|_| Err(7)), Err(7));
        let outer = packed(|mut bytes| {
            bytes.extend_from_slice(b"outer");
            assert_eq!(&*pack(b'i', 3), b"iii");
            Ok::<_, ()>(bytes)
        });
        assert_eq!(&*outer.unwrap(), b"outer");
    }
}
