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

use mosaik::{Ctx, groups::DeclaredGroup};

/// A counter.
#[mosaik::group(name = "counter", founders = 3, evict_after = "10s")]
#[derive(Debug, Default)]
pub struct Counter {
    value: u64,
}

#[mosaik::group]
impl Counter {
    /// Adds.
    #[command]
    pub fn add(&mut self, amount: u64) -> u64 {
        self.value += amount;
        self.value
    }

    #[command]
    fn undocumented(&mut self, ctx: &Ctx) {
        self.value += ctx.index();
    }

    /// How much it is.
    #[query]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Was there once.
    #[deprecated = "use `value`"]
    #[query]
    pub fn old(&self) -> u64 {
        self.value
    }
}

/// A generic one.
#[mosaik::group]
#[derive(Debug, Default)]
pub struct Slot<T> {
    inner: Option<T>,
}

#[mosaik::group]
impl<T> Slot<T> {
    /// Sets.
    #[command]
    pub fn set(&mut self, to: Option<T>) {
        self.inner = to;
    }
}

mod private {
    //! A module that is not public.

    /// Of the crate only.
    #[mosaik::group]
    #[derive(Debug, Default)]
    pub(crate) enum Side {
        #[default]
        Long,
        Short,
    }

    #[mosaik::group]
    impl Side {
        #[command]
        pub(crate) fn turn(&mut self) {
            *self = match self {
                Self::Long => Self::Short,
                Self::Short => Self::Long,
            };
        }
    }
}

fn main() {
    assert_eq!(Counter::declaration().name, "counter");
    assert!(Slot::<u8>::declaration().name.ends_with("/Slot<u8>"));
    let mut side = private::Side::default();
    side.turn();
    assert_eq!(format!("{side:?}"), "Short");
    assert_eq!(mosaik::declarations().len(), 2);
}
