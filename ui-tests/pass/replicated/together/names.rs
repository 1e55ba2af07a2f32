//! Names that the expansion might have taken for itself, raw ones, and std's under other meanings.

#![allow(non_camel_case_types, dead_code)]

use mosaik::collections::{Cell, Map, Set, Vec};

struct Option;
struct String;
struct Result;
struct Box;

#[mosaik::replicated]
struct Names {
    body: Map<u8, u8>,
    entered: Vec<u8>,
    transaction: Cell<u8>,
    outcome: Set<u8>,
    view: Map<u8, u8>,
    when: Map<u8, u8>,
    version: Map<u8, u8>,
    writer: Map<u8, u8>,
    f: Map<u8, u8>,
    r#type: Map<u8, u8>,
    network: Map<u8, u8>,
}

#[mosaik::replicated]
struct r#move {
    a: Cell<u8>,
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    use mosaik::__private::DeclaredCollections as _;

    let network = mosaik::Network::builder("ui-tests names").offline().build().await?;
    let names = Names::writer(&network);
    names.when().online().await;
    names.r#type.insert(1, 1).await?;
    let done = names.transaction(|tx| {
        tx.entered.push_back(tx.r#type.get(&1)?);
        tx.transaction.set(1);
        tx.outcome.insert(1);
        tx.body.insert(1, 1);
        tx.body.get(&1)
    });
    assert_eq!(done.await?, Some(1));
    assert_eq!(names.view().transaction.get(), Some(&1));
    assert_eq!(__NamesCollections::WRITES[9], "type.write");
    let moved: moveWriter = r#move::writer(&network);
    assert!(moved.name().ends_with("/move"));
    Ok(())
}
