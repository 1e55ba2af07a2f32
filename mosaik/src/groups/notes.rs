//! The small things that a group's log keeps besides its entries, by their numbers.
//!
//! Each is an [`Op::Note`](super::storage::Op::Note) and changes with other parts of one write or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::proto::founding::charter::Epoch;

/// What the founding protocol remembers.
pub(crate) const FOUNDING_NOTE: u8 = 1;
/// Which snapshot file counts: see [`machine`](super::machine).
pub(crate) const SNAPSHOT_NOTE: u8 = 2;
/// The epoch whose log it is.
pub(crate) const EPOCH_NOTE: u8 = 3;
/// Which commands the members were heard to know: see [`versions`](super::proto::versions).
pub(crate) const VERSIONS_NOTE: u8 = 4;

/// The epoch whose log it is, if the notes say so.
pub(crate) fn epoch(notes: &BTreeMap<u8, Bytes>) -> Option<Epoch> {
    let name = notes.get(&EPOCH_NOTE)?;
    let name = <[u8; 16]>::try_from(&name[..]).ok()?;
    Some(Epoch::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_number_of_its_own() {
        let notes = [FOUNDING_NOTE, SNAPSHOT_NOTE, EPOCH_NOTE, VERSIONS_NOTE];
        assert_eq!(std::collections::BTreeSet::from(notes).len(), notes.len());
    }
}
