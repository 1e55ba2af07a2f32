//! Traces a type by deserializing it from samples.
//!
//! A round deserializes one value of the root type. On the way, every named type is *explored* the
//! first time that it is met: options are `Some`, sequences have one item, and what is inside is
//! written down. Met again it is only *visited*: options are `None`, sequences empty, enums take a
//! variant that is known to end, so that recursive types come to an end. An enum explores one variant
//! a round; a variant whose inside is incomplete is taken again, until nothing is left to explore.
//!
//! A type that refuses a sample is offered the next one in the next round.
//!
//! Types are told apart by their Rust names, so two of one serde name do not get mixed up. Two types
//! may share even that, when they come from two versions of one crate or from two blocks of one
//! function: then their members' names and their sizes in memory tell them apart. Where those agree
//! too, one is taken for the other, which a declaration avoids with `schema = "v1"`.
//!
//! The method is that of [serde-reflection], whose tracer recurses without end into enums that start
//! with a recursive variant, and takes instances of one generic type for each other.
//!
//! [serde-reflection]: https://docs.rs/serde-reflection

mod site;

use std::{
    any::type_name,
    collections::{BTreeSet, HashMap},
    fmt,
};

use serde::de::DeserializeOwned;

use super::{
    SchemaError,
    model::{Body, Ref, Table, Type, Variant},
};
use site::Site;

/// Most rounds of one trace. Each explores a variant or tries another sample.
const MAX_ROUNDS: u32 = 4096;

/// Most values that one round deserializes, nested ones included.
const MAX_VALUES: usize = 1 << 20;

/// Most values that all rounds of one trace deserialize.
const MAX_TOTAL_VALUES: usize = 1 << 26;

/// How deep the sample values may nest.
const MAX_DEPTH: usize = 128;

/// Traces `T` completely.
pub(super) fn trace<T: DeserializeOwned>() -> Result<Table, TraceError> {
    let mut tracer = Tracer::default();
    for _ in 0..MAX_ROUNDS {
        tracer.start_round()?;
        let mut root = None;
        let outcome = T::deserialize(Site::explored(&mut tracer, &mut root));
        match outcome {
            Ok(_) if tracer.incomplete == 0 => {
                let root = root.ok_or_else(TraceError::unseen)?;
                return Ok(Table::canonical(&tracer.types, root));
            }
            Ok(_) => {}
            Err(_) if tracer.retry => {}
            Err(TraceError::Refused(_)) if tracer.skip_sample() => {}
            Err(error) => return Err(error),
        }
    }
    Err(TraceError::Limit(format!(
        "it is not complete after {MAX_ROUNDS} rounds"
    )))
}

/// Why a trace fails.
#[derive(Debug)]
pub(super) enum TraceError {
    /// The type calls `deserialize_any` or one of its kin.
    SelfDescribing,
    /// The type returned an error.
    Refused(String),
    /// The type asks for too much.
    Limit(String),
}

impl TraceError {
    pub(super) fn for_type<T>(self) -> SchemaError {
        let type_name = type_name::<T>();
        match self {
            Self::SelfDescribing => SchemaError::SelfDescribing { type_name },
            Self::Refused(reason) | Self::Limit(reason) => {
                SchemaError::Untraceable { type_name, reason }
            }
        }
    }

    fn unseen() -> Self {
        Self::Refused("a part of it deserializes nothing".into())
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfDescribing => f.write_str("it asks the format what comes next"),
            Self::Refused(reason) | Self::Limit(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for TraceError {}

impl serde::de::Error for TraceError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Refused(message.to_string())
    }
}

/// A named type: what tells it from others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Its name in serde.
    name: &'static str,
    /// Its name in Rust, with the path.
    rust_name: &'static str,
    /// Its size in memory, in bytes.
    size: usize,
    members: MemberNames,
}

/// The members that a named type announces.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum MemberNames {
    Unnamed(usize),
    Fields(&'static [&'static str]),
    Variants(&'static [&'static str]),
}

#[derive(Default)]
struct Tracer {
    types: Vec<Type>,
    unnamed: HashMap<Type, Ref>,
    named: HashMap<Key, Named>,
    /// How many samples each Rust type has refused.
    refused: HashMap<&'static str, usize>,
    /// The Rust type that took a sample last, and how many samples there are for it.
    took_sample: Option<(&'static str, usize)>,
    round: u32,
    /// How many incomplete enums this round has explored.
    incomplete: usize,
    /// Whether this round failed and the next will not fail in the same way.
    retry: bool,
    values: usize,
    total_values: usize,
    depth: usize,
}

#[derive(Default)]
struct Named {
    at: Ref,
    explored_in: u32,
    defined: bool,
    variants: Option<Variants>,
}

/// What is known of an enum.
struct Variants {
    bodies: Vec<Option<Body>>,
    names: Option<&'static [&'static str]>,
    /// Explored variants with something inside that is not complete.
    incomplete: BTreeSet<u32>,
    /// A variant whose value is known to end.
    base: Option<u32>,
    /// The variants that are being deserialized, inside each other.
    open: Vec<u32>,
}

impl Tracer {
    fn start_round(&mut self) -> Result<(), TraceError> {
        self.total_values += self.values;
        if self.total_values > MAX_TOTAL_VALUES {
            return Err(TraceError::Limit(format!(
                "it takes more than {MAX_TOTAL_VALUES} sample values"
            )));
        }
        self.values = 0;
        self.took_sample = None;
        self.round += 1;
        self.incomplete = 0;
        self.retry = false;
        self.depth = 0;
        for variants in self.named.values_mut().filter_map(|n| n.variants.as_mut()) {
            variants.open.clear();
        }
        Ok(())
    }

    /// Passes over the sample that was taken last, when the round failed outside of any sample:
    /// a type may deserialize another one first and check the value then, as `try_from` does.
    fn skip_sample(&mut self) -> bool {
        let Some((rust_name, samples)) = self.took_sample else {
            return false;
        };
        let refused = self.refused.entry(rust_name).or_default();
        *refused += 1;
        *refused < samples
    }

    fn count(&mut self) -> Result<(), TraceError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(TraceError::Limit(format!(
                "it takes more than {MAX_VALUES} sample values at once"
            )));
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<(), TraceError> {
        self.count()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TraceError::Limit(format!(
                "it nests deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The position of a type without a name.
    fn intern(&mut self, ty: Type) -> Ref {
        if let Some(at) = self.unnamed.get(&ty) {
            return *at;
        }
        let at = self.reserve();
        self.types[at as usize] = ty.clone();
        self.unnamed.insert(ty, at);
        at
    }

    fn reserve(&mut self) -> Ref {
        self.types.push(Type::Unit);
        (self.types.len() - 1) as Ref
    }

    /// Meets a named type: its position, and whether it is to be explored.
    fn meet(&mut self, key: Key, explore: bool) -> (Ref, bool) {
        if !self.named.contains_key(&key) {
            let at = self.reserve();
            let named = Named {
                at,
                ..Named::default()
            };
            self.named.insert(key, named);
        }
        let round = self.round;
        let named = self.named(key);
        let explore = explore && named.explored_in != round;
        if explore {
            named.explored_in = round;
        }
        (named.at, explore)
    }

    fn named(&mut self, key: Key) -> &mut Named {
        self.named.entry(key).or_default()
    }

    fn define(&mut self, key: Key, body: Body) -> Result<(), TraceError> {
        let name = key.name.to_owned();
        let ty = Type::Struct { name, body };
        let named = self.named(key);
        let (at, before) = (named.at as usize, named.defined);
        named.defined = true;
        if before && self.types[at] != ty {
            return Err(TraceError::Limit(format!(
                "`{}` deserializes in more than one way",
                key.rust_name
            )));
        }
        self.types[at] = ty;
        Ok(())
    }

    /// Begins a variant of an enum and says which.
    fn open(
        &mut self,
        key: Key,
        names: &'static [&'static str],
        explore: bool,
    ) -> Result<u32, TraceError> {
        let variants = self.named(key).variants.get_or_insert_with(|| Variants {
            bodies: vec![None; names.len()],
            names: Some(names),
            incomplete: BTreeSet::new(),
            base: None,
            open: Vec::new(),
        });
        let index = variants.choose(explore).ok_or_else(|| {
            let name = key.rust_name;
            TraceError::Limit(format!("every variant of `{name}` contains itself"))
        })?;
        variants.open.push(index);
        Ok(index)
    }

    /// Notes that an enum has fewer variants than names, which is so when some are aliases.
    fn has_no_variant(&mut self, key: Key, index: u32) {
        if index == 0 {
            return;
        }
        if let Some(variants) = &mut self.named(key).variants {
            variants.bodies.truncate(index as usize);
            variants.names = None;
            self.retry = true;
        }
    }

    /// Ends the variant that was begun last.
    fn close(&mut self, key: Key) {
        if let Some(variants) = &mut self.named(key).variants
            && let Some(index) = variants.open.pop()
        {
            variants.base.get_or_insert(index);
        }
    }

    /// Writes down an explored variant; `complete` says whether all inside it is.
    fn explored(
        &mut self,
        key: Key,
        index: u32,
        body: Option<Body>,
        complete: bool,
    ) -> Result<(), TraceError> {
        let named = self.named(key);
        let at = named.at;
        let Some(variants) = &mut named.variants else {
            return Ok(());
        };
        if let Some(slot) = variants.bodies.get_mut(index as usize) {
            *slot = Some(body.ok_or_else(TraceError::unseen)?);
        }
        if complete {
            variants.incomplete.remove(&index);
        } else {
            variants.incomplete.insert(index);
        }
        let done = variants.incomplete.is_empty() && variants.bodies.iter().all(Option::is_some);
        let ty = Type::Enum {
            name: key.name.to_owned(),
            variants: variants.list(),
        };
        self.incomplete += usize::from(!done);
        self.types[at as usize] = ty;
        Ok(())
    }
}

impl Variants {
    fn choose(&self, explore: bool) -> Option<u32> {
        let mut all = 0..self.bodies.len() as u32;
        if explore {
            let unexplored = self.bodies.iter().position(Option::is_none);
            if let Some(index) = unexplored {
                return Some(index as u32);
            }
            if let Some(index) = self.incomplete.first() {
                return Some(*index);
            }
        }
        self.base
            .or_else(|| all.find(|index| !self.open.contains(index)))
    }

    fn list(&self) -> Vec<Variant> {
        let name = |index: usize| match self.names.and_then(|names| names.get(index)) {
            Some(name) => (*name).to_owned(),
            None => index.to_string(),
        };
        let bodies = self.bodies.iter().enumerate();
        bodies
            .filter_map(|(index, body)| {
                let (name, body) = (name(index), body.clone()?);
                Some(Variant { name, body })
            })
            .collect()
    }
}
