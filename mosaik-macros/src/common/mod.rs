//! What the attributes have in common.

pub(crate) mod arguments;
pub(crate) mod declaration;
pub(crate) mod derives;
pub(crate) mod error;
pub(crate) mod item;
pub(crate) mod literal;
pub(crate) mod options;
pub(crate) mod own;
pub(crate) mod serde;
