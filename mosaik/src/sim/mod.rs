//! Whole networks in one test: simulated hosts, links, disks and clocks, in virtual time, with faults.
//!
//! What runs in a [`World`] is the code that ships. Only what lies below it is replaced: sockets by a
//! simulated network, files by simulated disks, clocks and chance by the world's own. A minute of an idle
//! network takes a fraction of a second, a test is an ordinary `#[test]`, and whatever it finds can be
//! found again, because everything that happens follows from a seed.
//!
//! # A first world
//!
//! ```
//! use mosaik::{sim::World, *};
//!
//! /// A price tick.
//! #[mosaik::stream]
//! struct Price { cents: u64 }
//!
//! let world = World::new(7);
//! world.run(async {
//!     let (a, b) = (world.host("a"), world.host("b"));
//!     // `builder` gives a node its host's key and address, and peers to start from.
//!     let one = a.run(a.builder("test", [&b]).build()).await.unwrap().unwrap();
//!     let other = b.run(b.builder("test", [&a]).build()).await.unwrap().unwrap();
//!
//!     let producer = Price::producer(&one);
//!     let mut prices = Price::consumer(&other);
//!     producer.when().online().await;
//!     producer.send(Price { cents: 1 }).await.unwrap();
//!     assert_eq!(prices.next().await.unwrap().cents, 1);
//!
//!     // Nothing passes for an hour. It takes no time.
//!     world.cut(&a, &b);
//!     world.sleep(std::time::Duration::from_secs(3600 / 2)).await;
//!     world.heal(&a, &b);
//!     producer.when().online().await;
//!     producer.send(Price { cents: 2 }).await.unwrap();
//!     assert_eq!(prices.next().await.unwrap().cents, 2);
//! });
//! ```
//!
//! The future given to [`World::run`] is the *scenario*: who watches the world and does things to it. What
//! is to run *on a host*, and so to stop when the host is paused and to vanish when it crashes, goes through
//! [`Host::run`], [`Host::spawn`] or [`Host::start`]. A program that was given to `start` begins anew at
//! [`Host::restart`]. Handles that a program gives to the scenario work there too, until its host crashes; what is
//! asked of them after that is not answered.
//!
//! # What can go wrong
//!
//! | | |
//! |---|---|
//! | links | latency, jitter, loss, reordering, bandwidth ([`Conditions`]), for all or for one way; cuts in one direction or both; partitions |
//! | hosts | [crash](Host::crash) and restart, with the disk as it was last synced and chance deciding about the rest; [pause](Host::pause) |
//! | disks | [stalls](Disk::stall), errors of reads and of writes, full disks, slow syncs, a [power cut](Disk::cut_power_after) between any two changes, torn writes at a crash, loss of everything, an [older image](Disk::restore) in its place |
//! | clocks | wall clocks that are [wrong, and jump](Host::set_clock) |
//!
//! Links behave as QUIC over such links does: what is lost is sent again and arrives later, the bytes of one
//! stream stay in order while streams overtake each other, a peer that is not heard of for four seconds is
//! given up, and that a connection was closed may go unheard.
//!
//! # Many seeds
//!
//! A [`Nemesis`] draws a [`Schedule`] of faults from a seed, and a [`Campaign`] runs a scenario with many.
//! When one fails, it leaves out faults for as long as it still fails, and prints what is left with the
//! command that repeats it:
//!
//! ```
//! use mosaik::sim::{Campaign, Schedule, World};
//!
//! # let seeds = 2;
//! Campaign::new(3).seeds(0..seeds).run(|world: &World, schedule: &Schedule| {
//!     world.run(async {
//!         for host in world.hosts() {
//!             let everybody = world.hosts();
//!             host.start(move |host| {
//!                 let builder = host.builder("test", &everybody);
//!                 async move {
//!                     let network = builder.build().await.expect("a node");
//!                     std::future::pending::<()>().await;
//!                     drop(network);
//!                 }
//!             });
//!         }
//!         schedule.carry_out(world).await;
//!         // Here: wait until all is well again, and panic if it never is.
//!     });
//! });
//! ```
//!
//! A schedule can also be written down: [`Schedule::with`].
//!
//! # Histories
//!
//! [`history`] records what clients ask and are answered, and checks that it could have been one copy of the
//! state, with every operation taking effect once and at one moment (linearizability), that what was
//! acknowledged is there and there once, and that nobody read what was stale.
//!
//! # What a seed decides
//!
//! Everything, as long as the scenario and the programs keep to it. [`World::digest`] tells two runs apart, a
//! campaign compares it for every tenth seed. What a test must not do:
//!
//! - read the clock of the operating system, or draw random numbers elsewhere than from
//!   [`World::random`];
//! - leave the thread, with `std::thread` or `spawn_blocking`;
//! - use `tokio::select!` without `biased`, or `tokio::sync::watch` with several receivers: both draw lots
//!   that no seed decides;
//! - iterate a `HashMap` with the default hasher where the order matters;
//! - spawn with `tokio::spawn` what is to end with a host: it belongs to the scenario.
//!
//! Virtual time has a resolution of one millisecond, that of tokio's timers.

mod campaign;
pub mod history;
mod host;
mod nemesis;
mod schedule;
mod world;

pub use campaign::Campaign;
pub use host::{Crashed, Disk, DiskImage, Host};
pub use nemesis::Nemesis;
pub use schedule::{Fault, Schedule, Step};
pub use world::{DEFAULT_LIMIT, World};

pub use crate::transport::memory::Conditions;
