//! What is declared of a topic or a group: name, place, schema source and options.

use std::{any::TypeId, fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::schema::{Schema, SchemaError};
use crate::tickets::RequiredTickets;

/// A type with a `#[mosaik::stream]` declaration.
pub trait Declared: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its declaration.
    fn declaration() -> TopicDecl;
}

/// One declared topic.
#[derive(Clone, Debug)]
pub struct TopicDecl {
    /// The name on the wire, by default `<crate name>/<type name>`.
    pub name: &'static str,
    /// The Rust type, for people.
    pub type_name: &'static str,
    /// The Rust type, for look-up by type.
    pub type_id: TypeId,
    /// Where it is declared.
    pub location: Location,
    /// How the type's schema is found.
    pub schema: SchemaSource,
    /// What else the declaration says.
    pub options: TopicOptions,
}

/// How the schema of a declared type is found.
#[derive(Clone, Copy)]
pub enum SchemaSource {
    /// Traced through the type's `Deserialize`, nested types included.
    Traced(fn() -> Result<Schema, SchemaError>),
    /// Stated by the author as `schema = "…"`, for types that cannot be traced.
    Stated(&'static str),
}

impl SchemaSource {
    /// Traces or derives the schema.
    ///
    /// # Errors
    /// When the type cannot be traced; the error says what to do.
    pub fn resolve(&self, name: &str) -> Result<Schema, SchemaError> {
        match self {
            Self::Traced(trace) => trace(),
            Self::Stated(version) => Ok(Schema::stated(name, version)),
        }
    }
}

impl fmt::Debug for SchemaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traced(_) => f.write_str("Traced"),
            Self::Stated(version) => f.debug_tuple("Stated").field(version).finish(),
        }
    }
}

/// A place in source code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as the compiler saw it.
    pub file: &'static str,
    /// The line, from one.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What happens when the slowest consumer would fall behind the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// The producer's `send` waits; a consumer that takes nothing for
    /// [`stall`](TopicOptions::stall) is cut. Nothing is lost on the way.
    #[default]
    Block,
}

/// The options of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// Datums buffered for the slowest consumer. Default 16,384, at least 1.
    pub capacity: usize,
    /// Bytes buffered for the slowest consumer. Default 4 MiB; one datum always fits.
    pub capacity_bytes: usize,
    /// What happens when that is full. Default [`Lag::Block`].
    pub lag: Lag,
    /// How long a consumer may take nothing while others wait for it, before it is cut. Default 5 s.
    pub stall: Duration,
    /// Most consumers that a producer serves at once. Default 4,096.
    pub max_consumers: usize,
    /// Consumers needed before a producer is online. Default 1; with 0 it is online at once.
    pub online_when: usize,
    /// The tickets that producers and consumers have to carry, each for the other. Default: none. What is on one node is
    /// not checked.
    pub tickets: RequiredTickets,
}

impl TopicOptions {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        capacity: 16_384,
        capacity_bytes: 4 * 1024 * 1024,
        lag: Lag::Block,
        stall: Duration::from_secs(5),
        max_consumers: 4096,
        online_when: 1,
        tickets: RequiredTickets::new(),
    };
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One declared group.
#[derive(Clone, Debug)]
pub struct GroupDecl {
    /// The name on the wire, by default `<crate name>/<type name>`.
    pub name: &'static str,
    /// The Rust type of its state, for people.
    pub type_name: &'static str,
    /// The Rust type of its state, for look-up by type.
    pub type_id: TypeId,
    /// Where it is declared.
    pub location: Location,
    /// How the schema of its state is found.
    pub schema: SchemaSource,
}

/// Something that a binary declares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Declaration {
    /// A topic, by `#[mosaik::stream]`.
    Topic(TopicDecl),
    /// A group, by `#[mosaik::group]`.
    Group(GroupDecl),
    /// A store of collections, by `#[mosaik::replicated]`; the state of its group is the struct.
    Store(GroupDecl),
}

impl Declaration {
    /// `topic`, `group` or `store`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Group(_) => "group",
            Self::Store(_) => "store",
        }
    }

    /// The name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Topic(topic) => topic.name,
            Self::Group(group) | Self::Store(group) => group.name,
        }
    }

    /// The Rust type, for people.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Topic(topic) => topic.type_name,
            Self::Group(group) | Self::Store(group) => group.type_name,
        }
    }

    /// The Rust type.
    pub fn type_id(&self) -> TypeId {
        match self {
            Self::Topic(topic) => topic.type_id,
            Self::Group(group) | Self::Store(group) => group.type_id,
        }
    }

    /// Where it is declared.
    pub fn location(&self) -> Location {
        match self {
            Self::Topic(topic) => topic.location,
            Self::Group(group) | Self::Store(group) => group.location,
        }
    }

    /// How the schema of its data, or of its state, is found.
    pub fn schema(&self) -> SchemaSource {
        match self {
            Self::Topic(topic) => topic.schema,
            Self::Group(group) | Self::Store(group) => group.schema,
        }
    }
}

/// A generic declaration, known only to refuse look-ups of its instances by type.
#[derive(Clone, Copy, Debug)]
pub struct GenericDecl {
    /// Name of a type called `Marker`, two blocks `const _: () = {…};` deep beside the declared
    /// one, as [`std::any::type_name`] spells it. Unlike `module_path!()` it tells the functions
    /// apart that types are declared in.
    pub marker: fn() -> &'static str,
    /// The type's own name.
    pub ident: &'static str,
    /// Where it is declared.
    pub location: Location,
}

impl GenericDecl {
    /// Whether the type called `type_name` is an instance of this declaration.
    ///
    /// Types of one name in two blocks of one function have one path, so an instance of either is
    /// taken for an instance of both.
    pub(super) fn has_instance(&self, type_name: &str) -> bool {
        let arguments = (self.marker)()
            .strip_suffix("_::_::Marker")
            .and_then(|scope| type_name.strip_prefix(scope))
            .and_then(|rest| rest.strip_prefix(self.ident));
        arguments.is_some_and(|arguments| arguments.starts_with('<'))
    }
}

/// The topic name of a type that declares none: its Rust type name.
pub fn default_topic_name<T: ?Sized>() -> &'static str {
    std::any::type_name::<T>()
}
