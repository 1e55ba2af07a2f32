//! Records: how datums lie in the ring and on the wire, which is the same.
//!
//! A record is a little-endian `u32` header and a payload. With the top bit clear the header is the
//! length of a datum, which may be empty; with it set, the rest is the length of a [`Control`] message.
//! So a range of the ring goes out as it is, and a consumer finds datums without decoding them.

use std::ops::Range;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::subscription::MAX_SEQUENCE;
use crate::wire::{self, DecodeError, EncodeError, HEADER_LEN, MAX_FRAME};

/// Marks a header as that of a control message.
const CONTROL: u32 = 1 << 31;
/// Largest control message, in bytes.
const MAX_CONTROL: usize = 4096;

/// What a producer says between datums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// So many datums were left out here.
    Gap {
        /// How many.
        missed: u64,
    },
    /// Nothing follows.
    End {
        /// A close code's number.
        code: u32,
        /// The reason in words.
        reason: String,
    },
}

impl Control {
    /// The message as a record.
    pub(crate) fn to_record(&self) -> Result<Bytes, EncodeError> {
        let body = wire::encode(self)?;
        if body.len() > MAX_CONTROL {
            return Err(EncodeError::TooLarge {
                len: body.len(),
                limit: MAX_CONTROL,
            });
        }
        let mut record = BytesMut::with_capacity(HEADER_LEN + body.len());
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        record.put_u32_le(CONTROL | len);
        record.put_slice(&body);
        Ok(record.freeze())
    }
}

/// Appends a datum's record that `encode` writes the payload of, and returns the record's length.
///
/// # Errors
/// On an error `buffer` is as it was.
pub(crate) fn append<E: From<EncodeError>>(
    buffer: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<usize, E> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_LEN]);
    let mut result = encode(buffer);
    let len = buffer.len() - start - HEADER_LEN;
    if result.is_ok() && len > MAX_FRAME {
        let limit = MAX_FRAME;
        result = Err(EncodeError::TooLarge { len, limit }.into());
    }
    match result {
        Ok(()) => {
            let header = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
            buffer[start..start + HEADER_LEN].copy_from_slice(&header);
            Ok(HEADER_LEN + len)
        }
        Err(error) => {
            buffer.truncate(start);
            Err(error)
        }
    }
}

/// Where the payload of the record at `start` lies, in `records` that hold whole datum records only;
/// `None` behind the last.
pub(crate) fn payload_at(records: &[u8], start: usize) -> Option<Range<usize>> {
    let header = records.get(start..)?.first_chunk::<HEADER_LEN>()?;
    let payload = start + HEADER_LEN;
    let end = payload.checked_add(u32::from_le_bytes(*header) as usize)?;
    (end <= records.len()).then_some(payload..end)
}

/// What lies at the front of a receive buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Whole datum records.
    Datums {
        /// How many.
        count: u64,
        /// They, headers included.
        records: Bytes,
    },
    /// A control message.
    Control(Control),
    /// Nothing whole yet; so many more bytes are needed at least.
    Incomplete {
        /// How many.
        missing: usize,
    },
}

/// Splits all that is whole, up to the next change of kind, off the front of `buffer`.
///
/// # Errors
/// When a record is over the limit or a control message is malformed: the producer is faulty.
pub(crate) fn split_front(buffer: &mut BytesMut) -> Result<Front, DecodeError> {
    let mut end = 0;
    let mut count = 0;
    let missing = loop {
        let Some(header) = buffer[end..].first_chunk::<HEADER_LEN>() else {
            break end + HEADER_LEN - buffer.len();
        };
        let header = u32::from_le_bytes(*header);
        if header & CONTROL != 0 {
            if count > 0 {
                break 0;
            }
            return split_control(buffer, (header & !CONTROL) as usize);
        }
        let len = header as usize;
        if len > MAX_FRAME {
            let limit = MAX_FRAME;
            return Err(DecodeError::TooLarge { len, limit });
        }
        let record = end + HEADER_LEN + len;
        if record > buffer.len() {
            break record - buffer.len();
        }
        end = record;
        count += 1;
    };
    if count == 0 {
        return Ok(Front::Incomplete { missing });
    }
    let records = buffer.split_to(end).freeze();
    Ok(Front::Datums { count, records })
}

fn split_control(buffer: &mut BytesMut, len: usize) -> Result<Front, DecodeError> {
    if len > MAX_CONTROL {
        let limit = MAX_CONTROL;
        return Err(DecodeError::TooLarge { len, limit });
    }
    let record = HEADER_LEN + len;
    if buffer.len() < record {
        let missing = record - buffer.len();
        return Ok(Front::Incomplete { missing });
    }
    let control = wire::decode(&buffer[HEADER_LEN..record])?;
    if let Control::Gap { missed } = control
        && missed > MAX_SEQUENCE
    {
        return Err(DecodeError::OutOfRange { value: missed });
    }
    buffer.advance(record);
    Ok(Front::Control(control))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datum(buffer: &mut Vec<u8>, payload: &[u8]) {
        append::<EncodeError>(buffer, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
    }

    fn payloads(records: &[u8]) -> Vec<&[u8]> {
        let mut start = 0;
        std::iter::from_fn(|| {
            let payload = payload_at(records, start)?;
            start = payload.end;
            Some(&records[payload])
        })
        .collect()
    }

    #[test]
    fn a_datum_over_the_limit_leaves_no_trace() {
        let mut buffer = vec![];
        datum(&mut buffer, b"a");
        let before = buffer.clone();
        let huge = vec![0; MAX_FRAME + 1];
        let error = append::<EncodeError>(&mut buffer, |out| {
            out.extend_from_slice(&huge);
            Ok(())
        });
        assert!(matches!(error, Err(EncodeError::TooLarge { .. })));
        assert_eq!(buffer, before);
    }

    #[test]
    fn controls_stand_between_datums() {
        let mut sent = vec![];
        datum(&mut sent, b"");
        datum(&mut sent, b"ab");
        let gap = Control::Gap { missed: 3 };
        sent.extend_from_slice(&gap.to_record().unwrap());
        datum(&mut sent, b"c");
        let mut buffer = BytesMut::from(&sent[..]);
        let Ok(Front::Datums { count: 2, records }) = split_front(&mut buffer) else {
            panic!("two datums first");
        };
        assert_eq!(payloads(&records), [&b""[..], b"ab"]);
        assert_eq!(split_front(&mut buffer), Ok(Front::Control(gap)));
        assert!(matches!(
            split_front(&mut buffer),
            Ok(Front::Datums { count: 1, .. })
        ));
        assert_eq!(
            split_front(&mut buffer),
            Ok(Front::Incomplete { missing: 4 })
        );
    }

    #[test]
    fn records_over_the_limit_are_refused_before_they_arrive() {
        for header in [u32::try_from(MAX_FRAME).unwrap() + 1, CONTROL | 4097] {
            let mut buffer = BytesMut::from(&header.to_le_bytes()[..]);
            assert!(matches!(
                split_front(&mut buffer),
                Err(DecodeError::TooLarge { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn datums_survive_any_split(
            sent: Vec<Vec<u8>>,
            cuts in prop::collection::vec(1usize..64, 1..64),
        ) {
            let mut wire = vec![];
            for payload in &sent {
                datum(&mut wire, payload);
            }
            let mut wire = &wire[..];
            let mut buffer = BytesMut::new();
            let mut got = vec![];
            for cut in cuts.into_iter().cycle() {
                let (part, rest) = wire.split_at(cut.min(wire.len()));
                buffer.extend_from_slice(part);
                wire = rest;
                if let Front::Datums { count, records } = split_front(&mut buffer).unwrap() {
                    let split = payloads(&records);
                    prop_assert_eq!(split.len() as u64, count);
                    got.extend(split.into_iter().map(<[u8]>::to_vec));
                }
                if wire.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Front::Datums { .. } | Front::Control(_)) = split_front(&mut buffer) {}
        }
    }
}
