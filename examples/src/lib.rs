//! Holds the examples, which are programs of their own, and compiles those of the README and the book.

#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../book/src/introduction.md")]
    mod introduction {}
    #[doc = include_str!("../../book/src/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../book/src/streams.md")]
    mod streams {}
    #[doc = include_str!("../../book/src/groups.md")]
    mod groups {}
    #[doc = include_str!("../../book/src/commands.md")]
    mod commands {}
    #[doc = include_str!("../../book/src/collections.md")]
    mod collections {}
    #[doc = include_str!("../../book/src/durability.md")]
    mod durability {}
    #[doc = include_str!("../../book/src/tickets.md")]
    mod tickets {}
    #[doc = include_str!("../../book/src/internals.md")]
    mod internals {}
    #[doc = include_str!("../../book/src/founding.md")]
    mod founding {}
    #[doc = include_str!("../../book/src/operating.md")]
    mod operating {}
    #[doc = include_str!("../../book/src/discovery.md")]
    mod discovery {}
    #[doc = include_str!("../../book/src/command-line.md")]
    mod command_line {}
    #[doc = include_str!("../../book/src/metrics.md")]
    mod metrics {}
}
