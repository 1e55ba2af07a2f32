//! The attribute macros of [mosaik], which re-exports them.
//!
//! [mosaik]: https://docs.rs/mosaik

mod common;
mod group;
mod path;
mod replicated;
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
/// | `ticket = …` | none | what checks a ticket that producers and consumers have to carry, each for the other: a `mosaik::tickets::TicketValidator`; may be repeated, all have to be carried |
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

/// Declares a group: members that agree on one state. It stands on the state, and on the `impl` block with its
/// commands and queries.
///
/// ```ignore
/// /// Accounts.
/// #[mosaik::group(name = "bank", founders = 3)]
/// #[derive(Default)]
/// pub struct Bank {
///     accounts: BTreeMap<String, u64>,
/// }
///
/// #[mosaik::group]
/// impl Bank {
///     /// Adds to an account; returns the new balance.
///     #[command]
///     pub fn deposit(&mut self, account: String, cents: u64) -> u64 {
///         let balance = self.accounts.entry(account).or_default();
///         *balance += cents;
///         *balance
///     }
///
///     #[query]
///     pub fn balance(&self, account: &str) -> Option<u64> {
///         self.accounts.get(account).copied()
///     }
/// }
///
/// let bank = Bank::join(&network);
/// bank.when().online().await;
/// let now = bank.deposit("alice".into(), 100).await?;
/// let alice = bank.balance("alice").await?;
/// ```
///
/// # On the state
///
/// It stands above the derives of a struct or an enum, adds `Clone`, `Serialize` and `Deserialize` unless it finds
/// them below itself, and declares the group to the binary: `mosaik::declarations()` lists it. The state begins as
/// its `Default`, and is cloned for each snapshot, while no command is applied.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `name = "…"` | `<crate name>/<type name>` | the group's name on the wire, 1 to 256 bytes |
/// | `founders = N` | the network's, which is 1 | members that found the group together, 1 to 9; 1 is *development mode* |
/// | `voters = N` | 5 | voters to aim at: odd, up to 9 |
/// | `durable = required` | `if_possible` | whether the log is on disk: `required`, `if_possible`, `volatile` |
/// | `evict_after = "…"` | `"30s"` | silence after which a voter may be replaced |
/// | `recover = after("…")` | never | how long the quorum has to be lost before the rest found the group anew |
/// | `command_timeout = "…"` | `"10s"` | how long a command or query waits for its answer |
/// | `heartbeat = "…"` | measured | how often an idle leader shows that it is there |
/// | `election_timeout = ("…", "…")` | measured | between which times a follower that misses its leader stands |
/// | `quiesce_after = "…"` | `"5s"` | how long nothing has to happen before the group rests |
/// | `leader = prefer` | | whether this member likes to lead: `prefer` or `avoid` |
/// | `key = …` | none | a secret that members prove to know: anything that converts into a `String` |
/// | `ticket = …` | none | what checks a ticket that members and clients have to carry: a `mosaik::tickets::TicketValidator`; may be repeated, all have to be carried |
/// | `schema = "…"` | traced | a version that stands for the schema of the state, and of arguments and results that cannot be traced |
/// | `derive(none)`, `derive(skip(Clone, …))` | | adds no derives, or not these |
/// | `crate = path` | `::mosaik` | where the runtime crate is found; to be given on the `impl` block too |
///
/// Durations are a number with `ms`, `s`, `m` or `h`. `mosaik::groups::Options` says more of each.
///
/// A `HashMap` or `HashSet` has another order on each replica, so it is an error in a field, and in an argument of a
/// command, that is not marked with `#[nondeterministic_ok]`, and in what a command returns.
///
/// # On the `impl` block
///
/// A `#[command]` takes `&mut self`, then `&Ctx` if it wants to, then what it owns. Every replica applies it, so it
/// must depend on nothing else: no clock, no randomness, no file. A `#[query]` takes `&self`, then what it owns or
/// borrows as a plain `&T`. Either has up to 12 arguments, and returns something that it owns. All of these types
/// implement `Serialize`, `DeserializeOwned` and `Send`, and travel as [postcard]. The context is known by how it is
/// written, so it has to be called `Ctx`. Other methods stay what they are.
///
/// Members know commands and queries by their names, whatever their order.
///
/// A state has one such block, which names it as it is called, not by an alias; the types below have to be in scope
/// under the same path as the state.
///
/// # What it makes
///
/// For a state called `Bank`:
/// - `Bank::join` takes part as a writer, `Bank::observe` follows and never votes; `Bank::group_builder` has options.
/// - `BankGroup`, the handle, has an async method for each command and query, which returns a
///   `Result<_, GroupError>`; for each command with arguments one called `…_many`; and all that `mosaik::Group` has.
/// - `BankLocal`, from `local()`, answers queries from the state of this node, at once.
/// - `BankBatch`, from `batch()`, gathers up to 12 commands for one log entry, and is awaited.
///
/// A command or query cannot be called like a method that all handles have, nor like the `…_many` of another.
///
/// [postcard]: https://postcard.jamesmunns.com
#[proc_macro_attribute]
pub fn group(args: TokenStream, item: TokenStream) -> TokenStream {
    group::group(args.into(), item.into()).into()
}

/// Declares a store: replicated collections, which share one log.
///
/// ```ignore
/// use mosaik::collections::{Cell, Map, PriorityQueue, Vec};
///
/// /// An exchange.
/// #[mosaik::replicated(name = "exchange", founders = 3)]
/// pub struct Exchange {
///     /// All orders that are open.
///     pub orders: Map<OrderId, Order>,
///     pub bids: PriorityQueue<Cents, OrderId, Order>,
///     pub trades: Vec<Trade>,
///     pub halted: Cell<bool>,
/// }
///
/// let exchange = Exchange::writer(&network);
/// exchange.when().online().await;
/// exchange.orders.insert(id, order).await?;
/// let traded = exchange
///     .transaction(|exchange| {
///         let order = exchange.orders.remove(&id)?;
///         exchange.trades.push_back(order.fill());
///         Some(())
///     })
///     .await?;
/// ```
///
/// It stands on a struct whose fields are collections from `mosaik::collections`, and declares it to the binary:
/// `mosaik::declarations()` lists it. The struct itself is never made: it says what the store consists of.
///
/// Members know the fields by their names, and compare their types: all declare the same fields, in one order.
///
/// # Options
///
/// They are those of [`group`](macro@group) on a state, but for `derive`, and mean the same.
///
/// # What it makes
///
/// For a struct called `Exchange`:
/// - `Exchange::writer` takes part as a writer, and votes if chosen; `Exchange::reader` follows, and never votes;
///   `Exchange::builder` has options.
/// - `ExchangeWriter` has a field for each of the struct's, of its name, visibility and documentation: a handle that reads
///   and writes the collection. Its `transaction` reads and writes several of them at once. It dereferences to the reader.
/// - `ExchangeReader` has such fields that only read. Its `view` is an `ExchangeView`: all collections as they were at one
///   moment. It dereferences to `mosaik::collections::Store`, which has what all stores have.
/// - `ExchangeTransaction`, which `transaction` calls its closure with.
///
/// For a struct of one field without a name, such as `struct Prices(Map<String, u64>);`, it makes no types: the writer and
/// the reader are those of the collection, as if its name and options were given to `Map::builder`.
///
/// # Generic types
///
/// A struct may have type and const parameters and a `where` clause, but no lifetimes. Each instance is a store of its own,
/// named after its arguments, as with [`stream`](macro@stream). The fields need to be collections for the arguments that it
/// is used with; the struct need not say so.
#[proc_macro_attribute]
pub fn replicated(args: TokenStream, item: TokenStream) -> TokenStream {
    replicated::replicated(args.into(), item.into()).into()
}
