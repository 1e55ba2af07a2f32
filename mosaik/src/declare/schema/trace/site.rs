//! The deserializer that a trace runs: each site writes down what the type asks for there.

use std::any::type_name;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{Key, MemberNames, TraceError, Tracer};
use crate::declare::schema::model::{Body, Field, Ref, Type};

/// What strings are tried as: text, numbers and what common types parse.
const TEXTS: &[&str] = &[
    "",
    "a",
    "1",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01",
    "00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "http://a/",
    "127.0.0.1",
    "127.0.0.1:1",
    "0.0.0",
    "en",
    "Mon",
    "January",
];

/// What bytes are tried as: none, and the lengths of common identifiers, digests, keys and
/// signatures.
const BYTES: &[&[u8]] = &[
    b"", &[0; 16], &[0; 32], &[0; 4], &[0; 8], &[0; 12], &[0; 20], &[0; 24], &[0; 28], &[0; 33],
    &[0; 48], &[0; 64], &[0; 65], &[0; 96],
];

/// A place in a value where something is deserialized.
pub(super) struct Site<'a> {
    tracer: &'a mut Tracer,
    /// Where the type found here is written down; nowhere when it is only visited.
    slot: Option<&'a mut Option<Ref>>,
}

impl<'a> Site<'a> {
    pub(super) fn explored(tracer: &'a mut Tracer, slot: &'a mut Option<Ref>) -> Self {
        let slot = Some(slot);
        Self { tracer, slot }
    }

    fn inner(tracer: &'a mut Tracer, slot: &'a mut Option<Ref>, explore: bool) -> Self {
        let slot = explore.then_some(slot);
        Self { tracer, slot }
    }

    fn write(&mut self, ty: Type) {
        if let Some(slot) = &mut self.slot {
            **slot = Some(self.tracer.intern(ty));
        }
    }

    /// Meets the named type that `V` makes here.
    fn meet<V>(&mut self, name: &'static str, members: MemberNames) -> (Key, bool) {
        let key = Key {
            name,
            rust_name: type_name::<V>(),
            size: size_of::<V>(),
            members,
        };
        let (at, explore) = self.tracer.meet(key, self.slot.is_some());
        if let Some(slot) = &mut self.slot {
            **slot = Some(at);
        }
        (key, explore)
    }

    /// Offers samples, the next one in each round that the type refuses one.
    fn leaf<'de, V: Visitor<'de>, S: Copy>(
        mut self,
        ty: Type,
        samples: &[S],
        visit: impl FnOnce(S) -> Result<V::Value, TraceError>,
    ) -> Result<V::Value, TraceError> {
        self.tracer.count()?;
        self.write(ty);
        let rust_name = type_name::<V::Value>();
        let refused = self.tracer.refused.entry(rust_name).or_default();
        let outcome = visit(samples[(*refused).min(samples.len() - 1)]);
        if outcome.is_ok() {
            self.tracer.took_sample = Some((rust_name, samples.len()));
        } else {
            self.tracer.took_sample = None;
            *refused += 1;
            self.tracer.retry = *refused < samples.len();
        }
        outcome
    }

    /// Deserializes members in order; returns the types of those that were asked for.
    fn members<'de, V: Visitor<'de>>(
        tracer: &mut Tracer,
        len: usize,
        explore: bool,
        visitor: V,
    ) -> Result<(V::Value, Option<Vec<Ref>>), TraceError> {
        tracer.enter()?;
        let mut members = Members {
            tracer,
            explore,
            left: len,
            seen: Vec::new(),
        };
        let value = visitor.visit_seq(&mut members)?;
        let seen = members.seen.iter().copied().collect();
        tracer.leave();
        Ok((value, seen))
    }

    /// A struct with these members.
    fn container<'de, V: Visitor<'de>>(
        mut self,
        name: &'static str,
        members: MemberNames,
        visitor: V,
        body: impl FnOnce(Vec<Ref>) -> Body,
    ) -> Result<V::Value, TraceError> {
        let (key, explore) = self.meet::<V::Value>(name, members);
        let len = match members {
            MemberNames::Unnamed(len) => len,
            MemberNames::Fields(names) | MemberNames::Variants(names) => names.len(),
        };
        let (value, seen) = Self::members(self.tracer, len, explore, visitor)?;
        if explore {
            let seen = seen.ok_or_else(TraceError::unseen)?;
            self.tracer.define(key, body(seen))?;
        }
        Ok(value)
    }
}

/// Fields with the names that a type announces, unless some of those are aliases.
fn named_fields(names: &[&str], types: Vec<Ref>) -> Body {
    let aliased = names.len() != types.len();
    let name = |at: usize| {
        if aliased {
            at.to_string()
        } else {
            names[at].to_owned()
        }
    };
    let fields = types
        .into_iter()
        .enumerate()
        .map(|(at, ty)| Field { name: name(at), ty });
    Body::Struct(fields.collect())
}

macro_rules! leaves {
    ($($deserialize:ident => $visit:ident($ty:ident: $samples:expr);)+) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
            self.leaf::<V, _>(Type::$ty, $samples, |sample| visitor.$visit(sample))
        }
    )+};
}

macro_rules! self_describing {
    ($($deserialize:ident)+) => {$(
        fn $deserialize<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceError> {
            Err(TraceError::SelfDescribing)
        }
    )+};
}

impl<'de> Deserializer<'de> for Site<'_> {
    type Error = TraceError;

    leaves! {
        deserialize_bool => visit_bool(Bool: &[false, true]);
        deserialize_i8 => visit_i8(I8: &[0, 1]);
        deserialize_i16 => visit_i16(I16: &[0, 1]);
        deserialize_i32 => visit_i32(I32: &[0, 1]);
        deserialize_i64 => visit_i64(I64: &[0, 1]);
        deserialize_i128 => visit_i128(I128: &[0, 1]);
        deserialize_u8 => visit_u8(U8: &[0, 1]);
        deserialize_u16 => visit_u16(U16: &[0, 1]);
        deserialize_u32 => visit_u32(U32: &[0, 1]);
        deserialize_u64 => visit_u64(U64: &[0, 1]);
        deserialize_u128 => visit_u128(U128: &[0, 1]);
        deserialize_f32 => visit_f32(F32: &[0.0, 1.0]);
        deserialize_f64 => visit_f64(F64: &[0.0, 1.0]);
        deserialize_char => visit_char(Char: &['a', '0']);
        deserialize_str => visit_borrowed_str(Str: TEXTS);
        deserialize_string => visit_borrowed_str(Str: TEXTS);
        deserialize_bytes => visit_borrowed_bytes(Bytes: BYTES);
        deserialize_byte_buf => visit_borrowed_bytes(Bytes: BYTES);
    }

    self_describing! { deserialize_any deserialize_identifier deserialize_ignored_any }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        self.leaf::<V, _>(Type::Unit, &[()], |()| visitor.visit_unit())
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let ty = Type::Struct {
            name: name.into(),
            body: Body::Unit,
        };
        self.leaf::<V, _>(ty, &[()], |()| visitor.visit_unit())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let Self { tracer, slot } = self;
        let Some(slot) = slot else {
            return visitor.visit_none();
        };
        tracer.enter()?;
        let mut item = None;
        let value = visitor.visit_some(Site::explored(tracer, &mut item))?;
        *slot = item.map(|item| tracer.intern(Type::Option(item)));
        tracer.leave();
        Ok(value)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (key, explore) = self.meet::<V::Value>(name, MemberNames::Unnamed(1));
        let mut item = None;
        self.tracer.enter()?;
        let value = visitor.visit_newtype_struct(Site::inner(self.tracer, &mut item, explore))?;
        self.tracer.leave();
        if explore {
            let item = item.ok_or_else(TraceError::unseen)?;
            self.tracer.define(key, Body::NewType(item))?;
        }
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let Self { tracer, slot } = self;
        let len = usize::from(slot.is_some());
        let (value, seen) = Self::members(tracer, len, len > 0, visitor)?;
        if let Some(slot) = slot {
            let item = seen.and_then(|seen| seen.first().copied());
            *slot = item.map(|item| tracer.intern(Type::Seq(item)));
        }
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let Self { tracer, slot } = self;
        let (value, seen) = Self::members(tracer, len, slot.is_some(), visitor)?;
        if let Some(slot) = slot {
            *slot = seen.map(|seen| tracer.intern(Type::tuple(seen)));
        }
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        self.container(name, MemberNames::Unnamed(len), visitor, Body::Tuple)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let body = |types| named_fields(names, types);
        self.container(name, MemberNames::Fields(names), visitor, body)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceError> {
        let Self { tracer, slot } = self;
        tracer.enter()?;
        let entries = usize::from(slot.is_some());
        let mut members = Members {
            tracer,
            explore: entries > 0,
            left: 2 * entries,
            seen: Vec::new(),
        };
        let value = visitor.visit_map(&mut members)?;
        let seen = members.seen;
        tracer.leave();
        if let (Some(slot), [Some(key), Some(item)]) = (slot, seen.as_slice()) {
            let (key, value) = (*key, *item);
            *slot = Some(tracer.intern(Type::Map { key, value }));
        }
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (key, explore) = self.meet::<V::Value>(name, MemberNames::Variants(names));
        let tracer = self.tracer;
        tracer.enter()?;
        let index = tracer.open(key, names, explore)?;
        let before = tracer.incomplete;
        let mut body = None;
        let value = visitor.visit_enum(Alternative {
            tracer: &mut *tracer,
            key,
            index,
            explore,
            body: &mut body,
        })?;
        tracer.close(key);
        tracer.leave();
        if explore {
            let complete = tracer.incomplete == before;
            tracer.explored(key, index, body, complete)?;
        }
        Ok(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The members of a sequence, tuple, struct or map.
struct Members<'a> {
    tracer: &'a mut Tracer,
    explore: bool,
    left: usize,
    seen: Vec<Option<Ref>>,
}

impl Members<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, TraceError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let mut slot = None;
        let value = seed.deserialize(Site::inner(self.tracer, &mut slot, self.explore))?;
        self.seen.push(slot);
        Ok(Some(value))
    }
}

impl<'de> SeqAccess<'de> for &mut Members<'_> {
    type Error = TraceError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, TraceError> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_> {
    type Error = TraceError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, TraceError> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, TraceError> {
        self.next(seed)?.ok_or_else(TraceError::unseen)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left / 2)
    }
}

/// One variant of an enum.
struct Alternative<'a> {
    tracer: &'a mut Tracer,
    key: Key,
    index: u32,
    explore: bool,
    body: &'a mut Option<Body>,
}

impl<'de> EnumAccess<'de> for Alternative<'_> {
    type Error = TraceError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), TraceError> {
        let index = self.index;
        match seed.deserialize(IntoDeserializer::<TraceError>::into_deserializer(index)) {
            Ok(variant) => Ok((variant, self)),
            Err(error) => {
                self.tracer.has_no_variant(self.key, index);
                Err(error)
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Alternative<'_> {
    type Error = TraceError;

    fn unit_variant(self) -> Result<(), TraceError> {
        *self.body = Some(Body::Unit);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, TraceError> {
        let mut item = None;
        let value = seed.deserialize(Site::inner(self.tracer, &mut item, self.explore))?;
        *self.body = item.map(Body::NewType);
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (value, seen) = Site::members(self.tracer, len, self.explore, visitor)?;
        *self.body = seen.map(Body::Tuple);
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceError> {
        let (value, seen) = Site::members(self.tracer, names.len(), self.explore, visitor)?;
        *self.body = seen.map(|types| named_fields(names, types));
        Ok(value)
    }
}
