//! Networks in simulated worlds.

mod delivery;
mod discovery;
mod gaps;
mod streams;
mod world;
