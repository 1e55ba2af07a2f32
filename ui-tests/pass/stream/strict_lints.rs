//! The expansion trips no lint of a strict crate.
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    missing_debug_implementations,
    unused_qualifications,
    unreachable_pub,
    unused,
    clippy::all,
    clippy::pedantic
)]

use mosaik::declare::Declared;

/// A price.
#[mosaik::stream(name = "price", capacity = 2)]
#[derive(Debug)]
pub struct Price {
    /// In cents.
    pub cents: u64,
}

/// A wrapper.
#[mosaik::stream]
#[derive(Debug)]
pub struct Wrap<T> {
    /// What it wraps.
    pub inner: T,
}

mod private {
    //! A module that is not public.

    /// Of the crate only.
    #[mosaik::stream]
    #[derive(Debug)]
    pub(crate) enum Side {
        Long,
        Short,
    }
}

fn main() {
    assert_eq!(Price::declaration().name, "price");
    assert!(Wrap::<u8>::declaration().name.ends_with("/Wrap<u8>"));
    let sides = [private::Side::Long, private::Side::Short];
    assert_eq!(format!("{sides:?}"), "[Long, Short]");
    assert_eq!(mosaik::declarations().len(), 2);
}
