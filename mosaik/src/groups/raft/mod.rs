//! openraft, wrapped: its types are named here and nowhere else.
//!
//! [`types`] is its configuration of types, [`log`] its view of a group's log, [`runtime`] what its tasks run on.

mod log;
mod runtime;
#[cfg(test)]
mod tests;
mod types;
