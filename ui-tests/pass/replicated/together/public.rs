//! What a program may do with the types: name them in its own, and pass them on.

use mosaik::collections::{
    Collection, Map, Reader, Store, Transaction, View, Writer,
    transaction::{MapTransaction, Outcome},
};

#[mosaik::replicated]
struct Ledger {
    balances: Map<u32, u64>,
}

/// Known here only, as is what holds it.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Note(String);

#[mosaik::replicated]
pub struct Notes {
    notes: Map<u32, Note>,
}

#[mosaik::replicated]
pub struct NotesBy<K> {
    notes: Map<K, Note>,
}

#[mosaik::replicated]
pub struct OnlyNotes(Map<u32, Note>);

struct Service {
    ledger: LedgerWriter,
    balances: Writer<Map<u32, u64>>,
}

fn debit(balances: &mut MapTransaction<u32, u64>, from: u32, cents: u64) -> Result<u64, String> {
    let balance = balances.get(&from).ok_or("unknown")?;
    let rest = balance.checked_sub(cents).ok_or("too little")?;
    balances.insert(from, rest);
    Ok(rest)
}

impl Service {
    /// What went wrong is kept outside: the transaction itself says no more than that it was not applied.
    async fn debit(&self, from: u32, cents: u64) -> anyhow::Result<Result<u64, String>> {
        let mut why = None;
        let done = self.ledger.transaction(|ledger| debit(&mut ledger.balances, from, cents).map_err(|error| why = Some(error)));
        let done = done.await?;
        Ok(done.ok_or_else(|| why.unwrap_or_default()))
    }
}

fn read_only<C: Collection>(reader: Reader<C>) -> Reader<C> {
    reader
}

fn in_common(store: &Store) -> &str {
    store.name()
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = mosaik::Network::builder("ui-tests public").offline().build().await?;
    let ledger = Ledger::writer(&network);
    ledger.when().online().await;
    let service = Service { balances: ledger.balances.clone(), ledger };
    assert_eq!(service.debit(1, 5).await?, Err("unknown".into()));
    service.balances.insert(1, 9).await?;
    assert_eq!(service.debit(1, 5).await?, Ok(4));
    assert_eq!(service.debit(1, 5).await?, Err("too little".into()));
    let reader = read_only::<Map<u32, u64>>(Ledger::reader(&network).balances);
    let view: View<Map<u32, u64>> = reader.view();
    assert_eq!(view.get(&1), Some(&4));
    assert_eq!(in_common(&reader), in_common(&service.ledger));
    let notes = Notes::writer(&network);
    notes.when().online().await;
    let noted = notes.transaction(|store| {
        store.notes.insert(1, Note("one".into()));
        Some(())
    });
    assert_eq!(noted.await?, Some(()));
    assert_eq!(notes.view().notes.get(&1).map(|note| note.0.as_str()), Some("one"));
    let by = NotesBy::<u64>::builder(&network).founders(1).writer();
    by.when().online().await;
    by.notes.insert(1, Note("one".into())).await?;
    let alone = OnlyNotes::builder(&network).founders(1).writer();
    alone.when().online().await;
    alone.insert(1, Note("one".into())).await?;
    let _ = |transaction: Transaction<Map<u32, u64>>| drop(transaction);
    let _ = Some(1).value();
    Ok(())
}
