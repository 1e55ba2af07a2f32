//! `derive(none)` with impls by hand, and `derive(skip(…))`.

use mosaik::declare::Declared;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[mosaik::stream(derive(none))]
struct Pence(u64);

impl Serialize for Pence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

/// What cannot be cloned.
#[derive(Serialize, Deserialize)]
struct Once;

#[mosaik::stream(derive(skip(Clone)))]
struct Quote(Once);

#[mosaik::stream(derive(skip(Serialize, Deserialize)), schema = "v1")]
#[derive(PartialEq)]
struct Opaque;

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self)
    }
}

pub fn main() {
    let decl = Pence::declaration();
    assert_eq!(decl.schema.resolve(decl.name).unwrap().to_string(), "u64");
    let Quote(_) = Quote(Once);
    assert!(Opaque.clone() == Opaque);
    assert_eq!(here!().len(), 3);
}
