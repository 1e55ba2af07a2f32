//! What is compared: each system as a program would use it, behind one trait.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "hiqlite")]
mod hiqlite;
mod member;
mod mosaik;
mod system;

#[cfg(feature = "etcd")]
pub(crate) use self::etcd::Etcd;
#[cfg(feature = "hiqlite")]
pub(crate) use self::hiqlite::Hiqlite;
pub(crate) use self::{member::Member, mosaik::Mosaik, system::System};
