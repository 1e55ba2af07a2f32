//! Schemas traced through `Deserialize`, their fingerprints and their differences.
//!
//! A schema says what a datum looks like in postcard: the types it is made of, with the names of
//! fields and variants. Peers compare [`Fingerprint`]s before the first datum; when those differ, the
//! schemas themselves travel, and [`Schema::difference`] tells people what to look at.

mod difference;
#[cfg(feature = "cli")]
mod json;
mod model;
mod render;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::wire;
use model::{Table, Type};

/// Largest encoded schema, in bytes: 64 KiB.
pub const MAX_SCHEMA: usize = 64 * 1024;

/// Longest name of a type, field or variant in a schema, in bytes.
const MAX_NAME: usize = 256;

/// Number of hexadecimal digits in the short form of a fingerprint.
const SHORT_LEN: usize = 10;

/// What a datum looks like on the wire.
///
/// Either traced from the type or, where that is impossible, a version that its author states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Traced(Table),
    Stated { name: String, version: String },
}

impl Schema {
    /// Traces the schema of `T`, nested types included.
    ///
    /// `T` is deserialized from sample values, repeatedly, until every variant of every enum was
    /// seen; nothing is serialized.
    ///
    /// # Errors
    /// When `T` asks the format what comes next (`untagged`, `tag`, `flatten`, `serde_json::Value`),
    /// or accepts none of the samples. The remedy is `schema = "v1"` on the declaration.
    pub fn trace<T: DeserializeOwned>() -> Result<Self, SchemaError> {
        let table = trace::trace::<T>().map_err(|error| error.for_type::<T>())?;
        table.check().map_err(|reason| SchemaError::Untraceable {
            type_name: std::any::type_name::<T>(),
            reason,
        })?;
        let schema = Self(Kind::Traced(table));
        let len = schema.encode().len();
        if len > MAX_SCHEMA {
            return Err(SchemaError::TooLarge { len });
        }
        Ok(schema)
    }

    /// The schema of a topic whose author vouches for its compatibility with a version.
    pub fn stated(name: &str, version: &str) -> Self {
        Self(Kind::Stated {
            name: name.into(),
            version: version.into(),
        })
    }

    /// The digest that peers compare: equal for equal schemas, whatever binary traced them.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(blake3::derive_key("mosaik/schema/1", &self.encode()))
    }

    /// The canonical encoding, which [`decode`](Self::decode) reads.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(&self.0).expect("a schema is made of what postcard can carry")
    }

    /// Reads a schema that a peer sent.
    ///
    /// # Errors
    /// When the bytes are more than [`MAX_SCHEMA`] or not a schema.
    pub fn decode(bytes: &[u8]) -> Result<Self, SchemaError> {
        if bytes.len() > MAX_SCHEMA {
            return Err(SchemaError::TooLarge { len: bytes.len() });
        }
        let kind: Kind =
            wire::decode(bytes).map_err(|error| SchemaError::Malformed(error.to_string()))?;
        match &kind {
            Kind::Traced(table) => table.check(),
            Kind::Stated { name, version } => {
                model::check_name(name).and_then(|()| model::check_name(version))
            }
        }
        .map_err(SchemaError::Malformed)?;
        Ok(Self(kind))
    }

    /// One sentence on the first difference to `other`, where "here" is this schema and "there" the
    /// other; `None` when they describe the same data.
    pub fn difference(&self, other: &Self) -> Option<String> {
        match (&self.0, &other.0) {
            (Kind::Traced(here), Kind::Traced(there)) => difference::difference(here, there),
            (here, there) if here == there => None,
            (here, there) => Some(format!("the schema is {here} here and {there} there")),
        }
    }

    /// Decodes one datum to JSON, the way `serde_json::to_value` would have written it.
    ///
    /// Bytes become arrays of numbers, as `serde_json` writes them. Integers beyond 64 bits become
    /// strings, and so do keys of maps that are no strings.
    ///
    /// # Errors
    /// When the bytes are not one datum of this schema, nest or grow beyond what is sensible to show,
    /// or when the schema is stated by hand.
    #[cfg(feature = "cli")]
    pub fn to_json(&self, bytes: &[u8]) -> Result<serde_json::Value, SchemaError> {
        match &self.0 {
            Kind::Traced(table) => json::to_json(table, bytes),
            Kind::Stated { .. } => Err(SchemaError::Opaque),
        }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Traced(table) => f.write_str(&render::definitions(table)),
            stated @ Kind::Stated { .. } => stated.fmt(f),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traced(_) => f.write_str("traced"),
            Self::Stated { name, version } => write!(f, "stated as {version:?} for `{name}`"),
        }
    }
}

/// The digest of a [`Schema`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint with this digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first hexadecimal digits, for people.
    pub fn short(&self) -> String {
        let mut digits = HEXLOWER.encode(&self.0);
        digits.truncate(SHORT_LEN);
        digits
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}

/// A schema cannot be traced, read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The type asks the format what comes next, which postcard cannot answer: it could be sent but
    /// not received. Change the type, or implement `Serialize` and `Deserialize` by hand without
    /// `deserialize_any` and state a version with `schema = "v1"` on the declaration.
    #[error(
        "the schema of `{type_name}` cannot be traced: it asks the format what comes next, as \
         `untagged`, `tag`, `flatten` and dynamic values do; state a version with \
         `schema = \"v1\"` on its declaration"
    )]
    SelfDescribing {
        /// The type that was traced.
        type_name: &'static str,
    },
    /// The type accepts none of the sample values, or is too large or too deep to trace. State a
    /// version with `schema = "v1"` on the declaration, and change it whenever the type changes.
    #[error(
        "the schema of `{type_name}` cannot be traced: {reason}; state a version with \
         `schema = \"v1\"` on its declaration"
    )]
    Untraceable {
        /// The type that was traced.
        type_name: &'static str,
        /// What the type objects to.
        reason: String,
    },
    /// The schema is larger than peers accept. Make the type smaller, or state a version with
    /// `schema = "v1"` on the declaration.
    #[error(
        "the schema takes {len} bytes, at most {MAX_SCHEMA} travel; state a version with \
         `schema = \"v1\"` on the declaration"
    )]
    TooLarge {
        /// Length of its encoding, in bytes.
        len: usize,
    },
    /// The bytes are not a schema. The peer that sent them is faulty or of another version.
    #[error("not a schema: {0}")]
    Malformed(String),
    /// The schema is stated by hand and says nothing about the bytes. Have the declaration drop
    /// `schema = "v1"` where its type can be traced.
    #[error("data with a schema that is stated by hand, as `schema = \"v1\"`, cannot be decoded")]
    Opaque,
    /// The bytes are not a datum of the schema. Its producer is faulty.
    #[error("not a datum of the schema: {0}")]
    Datum(String),
}
