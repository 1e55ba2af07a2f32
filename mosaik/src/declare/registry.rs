//! The link-time registry of declarations, and its checks.

use std::{
    any::TypeId,
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex, PoisonError},
};

use super::{
    schema::SchemaError,
    topic::{Declaration, GenericDecl, GroupDecl, Location, TopicDecl},
};

/// What an expansion hands to the link-time registry.
#[derive(Debug)]
#[doc(hidden)]
pub enum Submission {
    /// A declaration on a type without parameters.
    Topic(fn() -> TopicDecl),
    /// A declaration on a generic type.
    Generic(GenericDecl),
    /// The declaration of a group without parameters.
    Group(fn() -> GroupDecl),
    /// The declaration of a store without parameters.
    Store(fn() -> GroupDecl),
}

inventory::collect!(Submission);

/// The kind and the type: one type may be several things.
type Key = (&'static str, TypeId);

fn key(declaration: &Declaration) -> Key {
    (declaration.kind(), declaration.type_id())
}

static DECLARED: LazyLock<HashMap<Key, Declaration>> = LazyLock::new(|| {
    inventory::iter::<Submission>()
        .filter_map(|submission| match submission {
            Submission::Topic(declaration) => Some(Declaration::Topic(declaration())),
            Submission::Group(declaration) => Some(Declaration::Group(declaration())),
            Submission::Store(declaration) => Some(Declaration::Store(declaration())),
            Submission::Generic(_) => None,
        })
        .map(|decl| (key(&decl), decl))
        .collect()
});

/// Instances of generic declarations, registered on first use.
static INSTANCES: Mutex<BTreeMap<Key, Declaration>> = Mutex::new(BTreeMap::new());

/// Everything that this binary declares, by name: what is linked in, and the instances of generic
/// declarations that were used so far.
pub fn declarations() -> Vec<Declaration> {
    let instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    let declared = DECLARED.values().chain(instances.values());
    let mut all: Vec<_> = declared.cloned().collect();
    all.sort_by_key(|decl| (decl.name(), decl.kind(), decl.type_name()));
    all
}

/// The declaration of the type with this id, if it has one that is not generic.
pub fn topic_of_type(id: TypeId) -> Option<&'static TopicDecl> {
    match DECLARED.get(&("topic", id)) {
        Some(Declaration::Topic(topic)) => Some(topic),
        _ => None,
    }
}

/// The generic declaration that the type called `type_name` is an instance of.
///
/// Rust offers no look-up of instances by type, so this compares names as
/// [`std::any::type_name`] spells them.
pub fn generic_origin(type_name: &str) -> Option<&'static GenericDecl> {
    inventory::iter::<Submission>()
        .filter_map(|submission| match submission {
            Submission::Generic(decl) => Some(decl),
            Submission::Topic(_) | Submission::Group(_) | Submission::Store(_) => None,
        })
        .find(|decl| decl.has_instance(type_name))
}

/// Registers an instance of a generic declaration on its first use.
///
/// # Errors
/// When another declaration has the name and a different schema.
pub(crate) fn register_instance(decl: Declaration) -> Result<(), ConflictError> {
    if DECLARED.contains_key(&key(&decl)) {
        return Ok(());
    }
    let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    if instances.contains_key(&key(&decl)) {
        return Ok(());
    }
    let others = DECLARED.values().chain(instances.values());
    for other in others.filter(|other| name(other) == name(&decl)) {
        compare(other, &decl)?;
    }
    instances.insert(key(&decl), decl);
    Ok(())
}

/// Checks that topics which share a name share a schema too, and groups and stores, which have names in common, a kind
/// and a schema.
///
/// # Errors
/// Names both places of the first conflict.
pub fn check_declarations() -> Result<(), ConflictError> {
    let mut seen: BTreeMap<(bool, &str), Declaration> = BTreeMap::new();
    for decl in declarations() {
        match seen.get(&name(&decl)) {
            Some(first) => compare(first, &decl)?,
            None => {
                seen.insert(name(&decl), decl);
            }
        }
    }
    Ok(())
}

/// The name, and whether it is that of a group: a store is one.
fn name(decl: &Declaration) -> (bool, &'static str) {
    (!matches!(decl, Declaration::Topic(_)), decl.name())
}

/// The type, and what it is.
fn of_kind(decl: &Declaration) -> Box<str> {
    format!("{} `{}`", decl.kind(), decl.type_name()).into()
}

fn compare(first: &Declaration, second: &Declaration) -> Result<(), ConflictError> {
    if first.kind() != second.kind() {
        return Err(ConflictError::Kinds {
            name: first.name().into(),
            first: (of_kind(first), first.location()),
            second: (of_kind(second), second.location()),
        });
    }
    let schema = |decl: &Declaration| {
        let location = decl.location();
        let resolved = decl.schema().resolve(decl.name());
        resolved.map_err(|source| ConflictError::Untraceable { location, source })
    };
    let (a, b) = (schema(first)?, schema(second)?);
    if a.fingerprint() == b.fingerprint() {
        return Ok(());
    }
    Err(ConflictError::Schemas {
        what: format!("{} `{}`", first.kind(), first.name()).into(),
        first: (first.type_name(), first.location()),
        second: (second.type_name(), second.location()),
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
        "{what} is declared as `{}` at {} and differently as `{}` at {}: {difference}; \
         give one of them another name with `name = \"…\"`",
        first.0, first.1, second.0, second.1
    )]
    Schemas {
        /// What both are, and the name that both have.
        what: Box<str>,
        /// Type and place of the first.
        first: (&'static str, Location),
        /// Type and place of the second.
        second: (&'static str, Location),
        /// How their schemas differ.
        difference: String,
    },
    /// Give one of the two another `name = "…"`: a store is a group, too.
    #[error(
        "`{name}` is declared as the {} at {} and as the {} at {}, which cannot both be there; \
         give one of them another name with `name = \"…\"`",
        first.0, first.1, second.0, second.1
    )]
    Kinds {
        /// The name that both have.
        name: Box<str>,
        /// Kind and type of the first, and its place.
        first: (Box<str>, Location),
        /// Kind and type of the second, and its place.
        second: (Box<str>, Location),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declare::SchemaSource;

    fn declared(type_name: &'static str, version: &'static str) -> GroupDecl {
        GroupDecl {
            name: "book",
            type_name,
            type_id: TypeId::of::<()>(),
            location: Location {
                file: "book.rs",
                line: 7,
            },
            schema: SchemaSource::Stated(version),
        }
    }

    #[test]
    fn a_group_and_a_store_have_no_name_in_common() {
        let group = Declaration::Group(declared("Book", "1"));
        let store = Declaration::Store(declared("Orders", "1"));
        assert_eq!(name(&group), name(&store));
        let error = compare(&group, &store).unwrap_err().to_string();
        for part in ["`book`", "group `Book` at book.rs:7", "store `Orders`"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(compare(&group, &group).is_ok());
        let other = Declaration::Store(declared("Others", "2"));
        let error = compare(&store, &other).unwrap_err().to_string();
        assert!(error.contains("store `book`"), "{error}");
    }
}
