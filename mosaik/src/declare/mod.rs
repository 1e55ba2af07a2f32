//! What a binary declares: the topics and groups that `#[mosaik::stream]` and
//! `#[mosaik::group]` register at link time.
//!
//! A declaration is data: a name, where it stands, its options and a way to trace its schema. The
//! attribute macros submit each to a link-time registry, [`declarations`] lists them, and building a
//! network checks that no two of a kind share a name and differ in schema.

mod registry;
mod schema;
mod topic;

pub use registry::{
    ConflictError, check_declarations, declarations, generic_origin, topic_of_type,
};
pub use schema::{Fingerprint, MAX_SCHEMA, Schema, SchemaError};
pub use topic::{
    Declaration, Declared, GenericDecl, GroupDecl, Lag, Location, SchemaSource, TopicDecl,
    TopicOptions, default_topic_name,
};

pub(crate) use registry::register_instance;

#[doc(hidden)]
pub use registry::Submission;
