//! Networks in simulated worlds.

mod delivery;
mod discovery;
mod gaps;
mod groups;
mod streams;
mod world;
