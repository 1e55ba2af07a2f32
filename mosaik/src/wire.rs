//! What goes over a link: the codec, frame limits, the protocol version.
//!
//! Values are encoded with [postcard]. A frame is a little-endian `u32` length and that many bytes; a
//! length of zero is the explicit end of a direction, which tells a finished sender from a broken one.
//! Nothing is read past [`MAX_FRAME`], and a value must use up its frame.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use serde::{Deserialize, Serialize};

/// The version of everything a peer says first. Peers of different versions refuse each other.
pub(crate) const PROTOCOL_VERSION: u16 = 1;

/// Largest frame that is read or written, in bytes: 16 MiB.
pub(crate) const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Length of the header in front of each frame, in bytes.
pub(crate) const HEADER_LEN: usize = 4;

/// The header that ends a direction.
pub(crate) const END: [u8; HEADER_LEN] = [0; HEADER_LEN];

/// Encodes `value` as postcard.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    postcard::to_stdvec(value).map_err(EncodeError::Unsupported)
}

/// Appends a value, encoded. What was there is lost if it cannot be.
pub(crate) fn encode_onto<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let before = std::mem::take(bytes);
    *bytes = postcard::to_extend(value, before).map_err(EncodeError::Unsupported)?;
    Ok(())
}

/// Decodes a value that `bytes` begin with; says what follows it.
pub(crate) fn decode_first<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(DecodeError::Malformed)
}

/// Decodes a value that fills `bytes`.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (value, rest) = decode_first(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Trailing { extra: rest.len() })
    }
}

/// Encodes `value` as one frame, header included, refusing one larger than `limit` bytes.
pub(crate) fn encode_frame<T: Serialize + ?Sized>(
    value: &T,
    limit: usize,
) -> Result<Vec<u8>, EncodeError> {
    let mut frame = Vec::new();
    encode_frame_onto(value, limit, &mut frame)?;
    Ok(frame)
}

/// Appends `value` as one frame, header included, refusing one larger than `limit` bytes. What was there is lost if it
/// cannot be.
pub(crate) fn encode_frame_onto<T: Serialize + ?Sized>(
    value: &T,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = bytes.len();
    bytes.extend_from_slice(&END);
    encode_onto(value, bytes)?;
    let len = bytes.len() - start - HEADER_LEN;
    let header = match u32::try_from(len) {
        Ok(0) => Err(EncodeError::Empty),
        Ok(header) if len <= limit => Ok(header),
        _ => Err(EncodeError::TooLarge { len, limit }),
    };
    let header = header.inspect_err(|_| bytes.clear())?;
    bytes[start..start + HEADER_LEN].copy_from_slice(&header.to_le_bytes());
    Ok(())
}

/// Reads a frame's header: its length, or `None` for the end of the direction.
pub(crate) fn frame_len(
    header: [u8; HEADER_LEN],
    limit: usize,
) -> Result<Option<usize>, DecodeError> {
    match u32::from_le_bytes(header) as usize {
        0 => Ok(None),
        len if len <= limit => Ok(Some(len)),
        len => Err(DecodeError::TooLarge { len, limit }),
    }
}

/// Why a value could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EncodeError {
    /// Send less at once, or raise the limit where there is an option for it.
    #[error("value of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Encoded size in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Use types that postcard carries: no `untagged`, `flatten` or sequences of unknown length.
    #[error("value cannot be encoded: {0}")]
    Unsupported(#[source] postcard::Error),
    /// Give the message at least one byte of content: an empty frame ends the direction.
    #[error("value has no bytes, which a frame cannot carry")]
    Empty,
}

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    /// The sender is faulty or of another version; the connection is closed.
    #[error("frame of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Announced size in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The sender is faulty or of another version; the connection is closed.
    #[error("malformed value: {0}")]
    Malformed(#[source] postcard::Error),
    /// The sender is faulty or of another version; the connection is closed.
    #[error("{value} is a number that cannot be")]
    OutOfRange {
        /// The number.
        value: u64,
    },
    /// The sender is faulty or of another version; the connection is closed.
    #[error("{extra} bytes left over behind a value")]
    Trailing {
        /// Number of bytes left over.
        extra: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&7u64).unwrap();
        bytes.push(0);
        assert_eq!(
            decode::<u64>(&bytes),
            Err(DecodeError::Trailing { extra: 1 })
        );
    }

    #[test]
    fn frames_over_the_limit_are_refused_both_ways() {
        assert!(matches!(
            encode_frame(&[1u8; 32], 31),
            Err(EncodeError::TooLarge { len: 32, limit: 31 })
        ));
        assert_eq!(
            frame_len(32u32.to_le_bytes(), 31),
            Err(DecodeError::TooLarge { len: 32, limit: 31 })
        );
        assert_eq!(frame_len(END, 31), Ok(None));
    }

    #[test]
    fn a_value_without_bytes_is_no_frame() {
        assert_eq!(encode_frame(&(), 8), Err(EncodeError::Empty));
    }

    #[test]
    fn frames_follow_one_another_and_none_is_half_there() {
        let mut frames = encode_frame("first", 8).unwrap();
        encode_frame_onto("other", 8, &mut frames).unwrap();
        let apart = [encode_frame("first", 8), encode_frame("other", 8)];
        assert_eq!(frames, apart.map(Result::unwrap).concat());
        let refused = encode_frame_onto("too large", 8, &mut frames);
        assert_eq!(refused, Err(EncodeError::TooLarge { len: 10, limit: 8 }));
        assert!(frames.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_decoder(bytes: Vec<u8>) {
            let _ = decode::<(String, Vec<Option<u64>>, std::collections::BTreeMap<u8, String>)>(&bytes);
        }

        #[test]
        fn frames_round_trip(value: (u64, String, Vec<u8>)) {
            let frame = encode_frame(&value, MAX_FRAME).unwrap();
            let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
            prop_assert_eq!(frame_len(*header, MAX_FRAME), Ok(Some(body.len())));
            prop_assert_eq!(decode::<(u64, String, Vec<u8>)>(body), Ok(value));
        }
    }
}
