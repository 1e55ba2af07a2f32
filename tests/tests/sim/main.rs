//! Networks in simulated worlds.

mod delivery;
mod discovery;
mod gaps;
mod groups;
mod recover;
mod rest;
mod streams;
mod world;
