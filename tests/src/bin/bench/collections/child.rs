//! What a child does for collections: it holds a map, or is a reader of one.

use super::{
    kind::{Hashed, Kind, Sorted},
    reader, replica,
};
use crate::child::build;

/// `REPLICA KIND ENTRIES`: holds so many entries as the only member of a group, and says what memory they take.
pub(super) const REPLICA: &str = "replica";
/// `STD KIND ENTRIES`: the same with the counterpart of the kind.
pub(super) const STD: &str = "std";
/// `READER NETWORK ENTRIES TICKET…`: reads the map until it has so many entries, and says what that took.
pub(super) const READER: &str = "reader";

/// Does what a child is told.
pub(crate) async fn child(args: &[String]) -> anyhow::Result<()> {
    match args {
        [role, kind, entries] if role == REPLICA && kind == Hashed::NAME => {
            replica::hold::<Hashed>(entries.parse()?).await
        }
        [role, kind, entries] if role == REPLICA && kind == Sorted::NAME => {
            replica::hold::<Sorted>(entries.parse()?).await
        }
        [role, kind, entries] if role == STD && kind == Hashed::NAME => {
            replica::hold_std::<Hashed>(entries.parse()?)
        }
        [role, kind, entries] if role == STD && kind == Sorted::NAME => {
            replica::hold_std::<Sorted>(entries.parse()?)
        }
        [role, name, entries, bootstrap @ ..] if role == READER => {
            let network = build(name, bootstrap).await?;
            reader::follow(&network, entries.parse()?).await?;
            network.shutdown().await;
            Ok(())
        }
        other => anyhow::bail!("a child cannot do {other:?}"),
    }
}
