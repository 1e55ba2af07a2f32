//! Networks in simulated worlds.

mod discovery;
mod gaps;
mod streams;
mod world;
