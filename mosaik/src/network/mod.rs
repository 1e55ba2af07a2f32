//! A node of a network: puts transport, discovery and streams together.
//!
//! This is the only module that knows all subsystems.

mod bootstrap;
mod builder;
mod datadir;
mod handle;
mod keyfile;
mod topic;

pub use bootstrap::Bootstrap;
pub use builder::{BuildError, Builder};
pub use handle::{Local, Network};
pub use topic::Topic;
