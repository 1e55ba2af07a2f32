//! `derive(none)` with impls by hand, and `derive(skip(…))`.

use mosaik::declare::Declared;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[mosaik::stream(derive(none))]
struct Cents(u64);

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}

/// What cannot be cloned.
#[derive(Serialize, Deserialize)]
struct Once;

#[mosaik::stream(derive(skip(Clone)))]
struct Price(Once);

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

fn main() {
    let decl = Cents::declaration();
    assert_eq!(decl.schema.resolve(decl.name).unwrap().to_string(), "u64");
    let Price(_) = Price(Once);
    assert!(Opaque.clone() == Opaque);
    assert_eq!(mosaik::declarations().len(), 3);
}
