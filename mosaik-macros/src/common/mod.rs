//! What the attributes have in common.

pub(crate) mod arguments;
pub(crate) mod derives;
pub(crate) mod item;
pub(crate) mod literal;
pub(crate) mod serde;
