//! What a handle needs to know of its topic: name, schema, options.

use std::{
    any::TypeId,
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use serde::de::DeserializeOwned;

use crate::{
    declare::{self, Fingerprint, Schema, SchemaError, TopicDecl, TopicOptions},
    id::TopicId,
};

/// A topic as this node sees it.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    /// Without one, datums are not checked.
    pub(crate) schema: Option<Schema>,
    /// Why there is none, for people.
    pub(crate) unchecked: Option<SchemaError>,
    pub(crate) options: TopicOptions,
}

impl Topic {
    /// The topic of type `T`: its declaration's, or a default one.
    ///
    /// # Errors
    /// In words, when handles of `T` must be refused.
    pub(crate) fn of_type<T: DeserializeOwned + 'static>() -> Result<Self, String> {
        if let Some(decl) = declare::topic_of_type(TypeId::of::<T>()) {
            return Self::of_decl(decl);
        }
        let type_name = std::any::type_name::<T>();
        if let Some(origin) = declare::generic_origin(type_name) {
            let arguments = type_name.split_once('<').map_or("", |(_, rest)| rest);
            return Err(format!(
                "`{ident}` at {place} is generic, and its instances cannot be found by type: use \
                 `{ident}::<{arguments}::producer(&network)` or `::consumer(&network)`",
                ident = origin.ident,
                place = origin.location,
            ));
        }
        Ok(Self::undeclared::<T>(declare::default_topic_name::<T>()))
    }

    /// A topic of any name for datums of type `T`.
    pub(crate) fn undeclared<T: DeserializeOwned + 'static>(name: &str) -> Self {
        let (schema, unchecked) = match traced::<T>() {
            Ok(schema) => (Some(schema), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            id: TopicId::from_name(name),
            name: name.into(),
            schema,
            unchecked,
            options: TopicOptions::default(),
        }
    }

    /// A topic of any name whose datums are taken as they are.
    pub(crate) fn raw(name: &str) -> Self {
        Self {
            id: TopicId::from_name(name),
            name: name.into(),
            schema: None,
            unchecked: None,
            options: TopicOptions::default(),
        }
    }

    /// A declared topic.
    ///
    /// # Errors
    /// In words, when its type cannot be traced.
    pub(crate) fn of_decl(decl: &TopicDecl) -> Result<Self, String> {
        let schema = decl
            .schema
            .resolve(decl.name)
            .map_err(|error| format!("`{}` at {}: {error}", decl.type_name, decl.location))?;
        Ok(Self {
            id: TopicId::from_name(decl.name),
            name: decl.name.into(),
            schema: Some(schema),
            unchecked: None,
            options: decl.options.clone(),
        })
    }

    /// What stands in for a topic that a handle was refused for.
    pub(crate) fn refused<T: 'static>() -> Self {
        Self::raw(std::any::type_name::<T>())
    }

    /// The schema's fingerprint.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.schema.as_ref().map(Schema::fingerprint)
    }

    /// Compares a producer's topic with what a consumer takes it for; both must have a schema to differ.
    ///
    /// # Errors
    /// In words, how they differ.
    pub(crate) fn compare(&self, consumers: Option<&Schema>) -> Result<(), String> {
        let (Some(mine), Some(other)) = (&self.schema, consumers) else {
            return Ok(());
        };
        if mine.fingerprint() == other.fingerprint() {
            return Ok(());
        }
        let difference = mine
            .difference(other)
            .unwrap_or_else(|| "their fingerprints differ".into());
        Err(format!(
            "producer (here) and consumer (there) declare topic `{}` differently: {difference}",
            self.name
        ))
    }
}

/// Longest name of a topic, in bytes.
const MAX_NAME: usize = 256;

/// Whether a topic of that name can be announced.
///
/// # Errors
/// In words, why not.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let len = name.len();
    if len > MAX_NAME {
        return Err(format!(
            "the topic's name has {len} bytes, and at most {MAX_NAME} can be announced"
        ));
    }
    if name.is_empty() {
        return Err("the topic's name is empty".into());
    }
    if name.chars().any(char::is_control) {
        return Err("the topic's name holds control characters".into());
    }
    Ok(())
}

/// Traces each type once.
fn traced<T: DeserializeOwned + 'static>() -> Result<Schema, SchemaError> {
    type Cache = HashMap<TypeId, Result<Schema, SchemaError>>;
    static TRACED: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);
    let cached = |cache: &Cache| cache.get(&TypeId::of::<T>()).cloned();
    if let Some(known) = cached(&TRACED.lock().unwrap_or_else(PoisonError::into_inner)) {
        return known;
    }
    let traced = Schema::trace::<T>();
    let mut cache = TRACED.lock().unwrap_or_else(PoisonError::into_inner);
    cache.entry(TypeId::of::<T>()).or_insert(traced).clone()
}
