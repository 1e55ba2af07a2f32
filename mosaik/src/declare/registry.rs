//! The link-time registry of declarations, and its checks.

use std::{
    any::TypeId,
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex, PoisonError},
};

use super::{
    schema::SchemaError,
    topic::{GenericDecl, Location, TopicDecl},
};

/// What an expansion hands to the link-time registry.
#[derive(Debug)]
#[doc(hidden)]
pub enum Submission {
    /// A declaration on a type without parameters.
    Topic(fn() -> TopicDecl),
    /// A declaration on a generic type.
    Generic(GenericDecl),
}

inventory::collect!(Submission);

static TOPICS: LazyLock<HashMap<TypeId, TopicDecl>> = LazyLock::new(|| {
    inventory::iter::<Submission>()
        .filter_map(|submission| match submission {
            Submission::Topic(declaration) => Some(declaration()),
            Submission::Generic(_) => None,
        })
        .map(|decl| (decl.type_id, decl))
        .collect()
});

/// Instances of generic declarations, registered on first use.
static INSTANCES: Mutex<BTreeMap<TypeId, TopicDecl>> = Mutex::new(BTreeMap::new());

/// Everything that this binary declares, by name: what is linked in, and the instances of generic
/// declarations that were used so far.
pub fn declarations() -> Vec<TopicDecl> {
    let instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<_> = TOPICS.values().chain(instances.values()).cloned().collect();
    all.sort_by(|a, b| (a.name, a.type_name).cmp(&(b.name, b.type_name)));
    all
}

/// The declaration of the type with this id, if it has one that is not generic.
pub fn topic_of_type(id: TypeId) -> Option<&'static TopicDecl> {
    TOPICS.get(&id)
}

/// The generic declaration that the type called `type_name` is an instance of.
///
/// Rust offers no look-up of instances by type, so this compares names as
/// [`std::any::type_name`] spells them.
pub fn generic_origin(type_name: &str) -> Option<&'static GenericDecl> {
    inventory::iter::<Submission>()
        .filter_map(|submission| match submission {
            Submission::Generic(decl) => Some(decl),
            Submission::Topic(_) => None,
        })
        .find(|decl| decl.has_instance(type_name))
}

/// Registers an instance of a generic declaration on its first use.
///
/// # Errors
/// When another declaration has the name and a different schema.
pub(crate) fn register_instance(decl: &TopicDecl) -> Result<(), ConflictError> {
    if TOPICS.contains_key(&decl.type_id) {
        return Ok(());
    }
    let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    if instances.contains_key(&decl.type_id) {
        return Ok(());
    }
    let others = TOPICS.values().chain(instances.values());
    for other in others.filter(|other| other.name == decl.name) {
        compare(other, decl)?;
    }
    instances.insert(decl.type_id, decl.clone());
    Ok(())
}

/// Checks that declarations which share a name share a schema too.
///
/// # Errors
/// Names both places of the first conflict.
pub fn check_declarations() -> Result<(), ConflictError> {
    let mut seen: BTreeMap<&str, TopicDecl> = BTreeMap::new();
    for decl in declarations() {
        match seen.get(decl.name) {
            Some(first) => compare(first, &decl)?,
            None => {
                seen.insert(decl.name, decl);
            }
        }
    }
    Ok(())
}

fn compare(first: &TopicDecl, second: &TopicDecl) -> Result<(), ConflictError> {
    let untraceable = |decl: &TopicDecl| {
        let location = decl.location;
        move |source| ConflictError::Untraceable { location, source }
    };
    let a = first
        .schema
        .resolve(first.name)
        .map_err(untraceable(first))?;
    let b = second
        .schema
        .resolve(second.name)
        .map_err(untraceable(second))?;
    if a.fingerprint() == b.fingerprint() {
        return Ok(());
    }
    Err(ConflictError::Schemas {
        name: first.name,
        first: (first.type_name, first.location),
        second: (second.type_name, second.location),
        difference: a
            .difference(&b)
            .unwrap_or_else(|| "their stated schemas differ".into()),
    })
}

/// Two declarations of this binary contradict each other.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConflictError {
    /// Give one of the two another `name = "…"`, or make them one type.
    #[error(
        "topic `{name}` is declared as `{}` at {} and differently as `{}` at {}: {difference}; \
         give one of them another name with `name = \"…\"`",
        first.0, first.1, second.0, second.1
    )]
    Schemas {
        /// The name that both have.
        name: &'static str,
        /// Type and place of the first.
        first: (&'static str, Location),
        /// Type and place of the second.
        second: (&'static str, Location),
        /// How their schemas differ.
        difference: String,
    },
    /// State a schema by hand, as the source says.
    #[error("the schema of the declaration at {location} cannot be compared: {source}")]
    Untraceable {
        /// Where the declaration stands.
        location: Location,
        /// Why its schema cannot be traced.
        source: SchemaError,
    },
}
