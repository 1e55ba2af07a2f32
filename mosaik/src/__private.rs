//! What macro expansions call; no part of the public interface.

use std::{
    any::{TypeId, type_name},
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

pub use inventory;
use serde::de::DeserializeOwned;

pub use crate::collections::{
    DeclaredCollections, DeclaredStore, Entered, Replicated, Stored, builder_of_one,
    transaction_of, views_of,
};
pub use crate::declare::{
    Declared, GenericDecl, GroupDecl, Lag, Location, SchemaSource, Submission, TopicDecl,
    TopicOptions,
};
pub use crate::groups::{
    Application, AskError, Batch, BatchOfAtMostTwelve, DeclaredGroup, Here, Interface, Reply,
    Unencodable, Unknown, number,
};
use crate::{
    collections::layout_of,
    declare::{Schema, SchemaError},
    tickets::TicketValidator,
};

/// The declaration of `T`.
pub fn declaration<T: Declared>(
    name: &'static str,
    file: &'static str,
    line: u32,
    schema: SchemaSource,
    options: TopicOptions,
) -> TopicDecl {
    TopicDecl {
        name,
        type_name: type_name::<T>(),
        type_id: TypeId::of::<T>(),
        location: Location { file, line },
        schema,
        options,
    }
}

/// The declaration of the group whose state is `T`.
pub fn group_declaration<T: 'static>(
    name: &'static str,
    file: &'static str,
    line: u32,
    schema: SchemaSource,
) -> GroupDecl {
    GroupDecl {
        name,
        type_name: type_name::<T>(),
        type_id: TypeId::of::<T>(),
        location: Location { file, line },
        schema,
    }
}

/// Has commands and queries, or the program does not compile.
pub const fn application<T: Application>() {}

/// Traces the schema of `T`.
pub fn trace<T: DeserializeOwned>() -> Result<Schema, SchemaError> {
    Schema::trace::<T>()
}

/// Traces the schema of the collections of `D`.
pub fn trace_store<D: Replicated>() -> Result<Schema, SchemaError> {
    layout_of::<D>()
}

/// The topic name of an instance of a generic declaration: `base` and the type's arguments, as in
/// `oracle.price<u64>`.
///
/// Each name is leaked once a type, of which a binary has finitely many.
pub fn instance_name<T: 'static>(base: &'static str) -> &'static str {
    static NAMES: Mutex<BTreeMap<(&str, TypeId), &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.entry((base, TypeId::of::<T>())).or_insert_with(|| {
        let path = type_name::<T>();
        let arguments = path.find('<').map_or("", |at| &path[at..]);
        format!("{base}{arguments}").leak()
    })
}

/// The options of a declaration, set one by one.
#[derive(Debug)]
pub struct Options(TopicOptions);

impl Options {
    /// The defaults.
    pub const DEFAULT: Self = Self(TopicOptions::DEFAULT);

    /// Sets [`TopicOptions::capacity`].
    pub fn capacity(mut self, datums: usize) -> Self {
        self.0.capacity = datums;
        self
    }

    /// Sets [`TopicOptions::capacity_bytes`].
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.0.capacity_bytes = bytes;
        self
    }

    /// Sets [`TopicOptions::stall`].
    pub fn stall(mut self, millis: u64) -> Self {
        self.0.stall = Duration::from_millis(millis);
        self
    }

    /// Sets [`TopicOptions::max_consumers`].
    pub fn max_consumers(mut self, consumers: usize) -> Self {
        self.0.max_consumers = consumers;
        self
    }

    /// Sets [`TopicOptions::online_when`].
    pub fn online_when(mut self, consumers: usize) -> Self {
        self.0.online_when = consumers;
        self
    }

    /// Adds to [`TopicOptions::tickets`].
    pub fn ticket(mut self, validator: impl TicketValidator) -> Self {
        self.0.tickets.require(validator);
        self
    }

    /// The options.
    pub fn build(self) -> TopicOptions {
        self.0
    }
}
