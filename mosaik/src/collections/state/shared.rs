//! Values as the states keep them: stamped, and shared by all who have a use for them.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer};

use super::stamp::Stamp;

/// A value with the stamp that it got when it was written.
///
/// It is shared by a state, its snapshots, the answers of writes and the feeds of changes: a clone takes constant
/// time, and no value is ever copied for any of them. Encodes as the value alone, which is what an answer carries.
pub struct Shared<V>(Arc<Entry<V>>);

struct Entry<V> {
    stamp: Stamp,
    value: V,
}

impl<V> Shared<V> {
    /// The value `value`, marked by `stamp`.
    pub(crate) fn new(stamp: Stamp, value: V) -> Self {
        Self(Arc::new(Entry { stamp, value }))
    }

    /// The stamp that marks it.
    pub(crate) fn stamp(&self) -> Stamp {
        self.0.stamp
    }

    /// The value.
    pub(crate) fn value(&self) -> &V {
        &self.0.value
    }
}

impl<V> Deref for Shared<V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value()
    }
}

impl<V> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: fmt::Debug> fmt::Debug for Shared<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl<V: Serialize> Serialize for Shared<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}
