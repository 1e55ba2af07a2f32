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

use mosaik::collections::{Map, Vec};

/// A book of orders.
#[mosaik::replicated(name = "book", founders = 3, evict_after = "10s")]
#[derive(Debug)]
pub struct Book {
    /// Orders.
    pub orders: Map<u64, u64>,
    /// Was there once.
    #[deprecated = "use `orders`"]
    pub old: Map<u64, u64>,
    trades: Vec<u64>,
}

/// One by itself.
#[mosaik::replicated]
#[derive(Debug)]
pub struct Prices<T>(Map<T, u64>);

mod private {
    //! A module that is not public.

    use mosaik::collections::Cell;

    /// Of the crate only.
    #[mosaik::replicated]
    pub(crate) struct Flag {
        /// Whether it is set.
        pub(super) set: Cell<bool>,
    }
}

fn main() {
    let _ = (Book::writer, BookWriter::clone, Prices::<u8>::reader);
    let _ = |book: &BookReader, flag: &private::FlagReader| (book.trades.len(), flag.set.get());
    assert_eq!(mosaik::declarations().len(), 2);
}
