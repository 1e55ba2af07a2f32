//! Networks in simulated worlds.

mod clocks;
mod deaf;
mod delivery;
mod discovery;
mod distance;
mod export;
mod gaps;
mod groups;
mod import;
mod locks;
mod recover;
mod rest;
mod rollback;
mod slow;
mod streams;
mod transfers;
mod trio;
mod world;
