//! The `mosaik` command: streams, discovery and the operation of groups from a shell.
//!
//! - `mosaik pub` publishes standard input by line, and knows whether it arrived (`delivery`).
//! - `mosaik sub` prints a topic, decoded by the schema that its producers serve (`formats`).
//! - `mosaik beacon` is a peer to start from.
//! - `mosaik peers` lists who is there.
//! - `mosaik groups` lists the groups; `mosaik group` looks after one.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 for success, 1 for a
//! failure at run time, 2 for arguments that are not understood, 130 for an interruption.

mod args;
mod beacon;
mod delivery;
mod export;
mod formats;
mod groups;
mod import;
mod input;
mod node;
mod output;
mod peers;
mod publish;
mod recover;
mod run;
mod signal;
mod subscribe;
mod wait;

pub use run::main;
