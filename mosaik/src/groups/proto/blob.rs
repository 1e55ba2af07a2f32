//! Bytes that are few most of the time, such as what a command returns.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// As many bytes take no memory of their own: what fits where [`Bytes`] would say where they are.
const INLINE: usize = 23;

/// Immutable bytes, encoded as [`Bytes`] are. Few of them lie in the value itself; clones of many share them.
#[derive(Clone)]
pub(crate) struct Blob(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Bytes),
}

impl Blob {
    /// These bytes, if they are few.
    fn inline(bytes: &[u8]) -> Option<Self> {
        let mut inline = [0; INLINE];
        inline.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let len = u8::try_from(bytes.len()).ok()?;
        Some(Self(Repr::Inline { len, bytes: inline }))
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self::inline(bytes).unwrap_or_else(|| Self(Repr::Shared(Bytes::copy_from_slice(bytes))))
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::inline(&bytes).unwrap_or_else(|| Self(Repr::Shared(bytes.into())))
    }
}

impl Default for Blob {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As text where it is text.
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl Hash for Blob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(bytes.into())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn it_is_no_larger_than_what_it_stands_for() {
        assert_eq!(size_of::<Blob>(), size_of::<Bytes>());
    }

    #[test]
    fn it_is_the_bytes_it_was_made_of_and_encoded_as_they_are() {
        for len in 0..=2 * INLINE {
            let bytes: Vec<u8> = (0..=255).take(len).collect();
            let (copied, moved) = (Blob::from(&bytes[..]), Blob::from(bytes.clone()));
            assert_eq!((&*copied, &copied), (&bytes[..], &moved));
            assert_eq!(matches!(copied.0, Repr::Inline { .. }), len <= INLINE);
            let encoded = wire::encode(&copied).unwrap();
            assert_eq!(encoded, wire::encode(&Bytes::from(bytes)).unwrap());
            assert_eq!(wire::decode::<Blob>(&encoded), Ok(moved));
        }
        assert_ne!(Blob::from(&[0][..]), Blob::default());
        assert!(wire::decode::<Blob>(&[3, 1, 2]).is_err());
    }
}
