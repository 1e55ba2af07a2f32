//! The attribute macros of [mosaik], which re-exports them.
//!
//! [mosaik]: https://docs.rs/mosaik

mod path;
mod stream;

use proc_macro::TokenStream;

/// Declares a topic: a stream of datums of the annotated struct or enum.
///
/// ```ignore
/// /// A price tick.
/// #[mosaik::stream(name = "oracle.price", capacity = 4096, stall = "2s")]
/// pub struct Price {
///     pub symbol: String,
///     pub cents: u64,
/// }
///
/// let producer = Price::producer(&network);
/// let mut prices = Price::consumer(&network);
/// ```
///
/// The attribute stands above the derives. It adds `Clone`, `Serialize` and `Deserialize` unless it
/// finds them below itself, and declares the type to the binary: `mosaik::declarations()` lists it.
///
/// # Options
///
/// | option | default | meaning |
/// |---|---|---|
/// | `name = "…"` | `<crate name>/<type name>` | the topic's name on the wire, 1 to 256 bytes |
/// | `capacity = N` | 16384 | datums buffered for the slowest consumer, at least 1 |
/// | `capacity_bytes = N` | 4 MiB | bytes buffered for the slowest consumer, at least 1; one datum always fits |
/// | `lag = block` | `block` | what happens when that is full: `send` waits |
/// | `stall = "…"` | `"5s"` | how long a consumer may take nothing while others wait for it; a number with `ms`, `s`, `m` or `h` |
/// | `max_consumers = N` | 4096 | most consumers that a producer serves at once, at least 1 |
/// | `online_when = N` | 1 | consumers needed before a producer is online; with 0 it is so at once |
/// | `schema = "…"` | traced | a version that stands for the type's schema, where it cannot be traced |
/// | `derive(none)` | | adds no derives |
/// | `derive(skip(Clone, …))` | | adds all but these of `Clone`, `Serialize`, `Deserialize` |
/// | `crate = path` | `::mosaik` | where the runtime crate is found |
///
/// # Generic types
///
/// A type may have type and const parameters and a `where` clause, but no lifetimes. Each instance is
/// a topic of its own, named after its arguments: `Wrap<u64>` of the crate `app` is `app/Wrap<u64>`,
/// or `wrapped<u64>` with `name = "wrapped"`. Peers agree on the name when they spell the paths of the
/// arguments alike. An instance is a topic where it implements `Serialize`, `DeserializeOwned`, `Send`
/// and `Sync`, which the added derives give it if its arguments do. It is declared on its first use.
///
/// # What cannot be sent
///
/// Data travel as [postcard], which has no field names. The serde attributes that need those, such as
/// `skip_serializing_if`, `untagged`, `tag`, `content` and `flatten`, are errors.
///
/// [postcard]: https://postcard.jamesmunns.com
#[proc_macro_attribute]
pub fn stream(args: TokenStream, item: TokenStream) -> TokenStream {
    stream::stream(args.into(), item.into()).into()
}
