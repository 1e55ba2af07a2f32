//! The driver: the one task that owns discovery's state, feeds it facts and carries out what it wants.
//!
//! It never waits for a peer: what does runs in tasks of its own ([`outbound`](super::outbound),
//! [`serve`](super::serve)) and reports back as an [`Input`](super::shared::Input). [`event_loop`] has
//! the one `select!`, [`catalog`] what goes into the catalog and is published of it, [`spread`]
//! announcements and exchanges, [`peers`] connections and gossip links, [`suspicion`] who lives.

mod catalog;
mod event_loop;
mod peers;
mod recent;
mod spread;
mod suspicion;
#[cfg(test)]
mod tests;

pub(super) use event_loop::Driver;
