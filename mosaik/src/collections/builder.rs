//! Options of a store, and the handles that come of them.

use std::fmt;

use super::{
    declared::enter_alone,
    list::Stored,
    replica::{Alone, Replica},
};
use crate::groups::{Groups, Options, setters};

/// Takes part in a store: yields a handle.
type Enter<H> = fn(&Groups, String, Options) -> H;

/// Options of a store: from the `builder` of a collection, or of a struct with `#[mosaik::replicated]`.
///
/// They are those of a [group](crate::groups::Options), and mean the same.
#[must_use = "call `writer` or `reader` to take part"]
pub struct Builder<W, R> {
    groups: Groups,
    name: String,
    options: Options,
    write: Enter<W>,
    read: Enter<R>,
}

impl<W, R> Builder<W, R> {
    /// For a store of one collection.
    pub(super) fn alone<C: Stored<Writer = W, Reader = R>>(groups: &Groups, name: String) -> Self {
        fn enter<C: Stored>(
            groups: &Groups,
            name: String,
            options: Options,
            writer: bool,
        ) -> C::Reader {
            let builder = groups.of::<Replica<Alone<C::State>>>(name);
            enter_alone::<C, _>(builder, options, writer)
        }
        Self::new(
            groups,
            name,
            |groups, name, options| C::writer(enter::<C>(groups, name, options, true)),
            |groups, name, options| enter::<C>(groups, name, options, false),
        )
    }

    pub(super) fn new(groups: &Groups, name: String, write: Enter<W>, read: Enter<R>) -> Self {
        Self {
            groups: groups.clone(),
            name,
            options: Options::default(),
            write,
            read,
        }
    }

    setters!();

    /// Takes part as a member, which votes if chosen: a handle that reads and writes.
    pub fn writer(self) -> W {
        (self.write)(&self.groups, self.name, self.options)
    }

    /// Follows the store, and never votes: a handle that only reads.
    pub fn reader(self) -> R {
        (self.read)(&self.groups, self.name, self.options)
    }
}

impl<W, R> fmt::Debug for Builder<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
