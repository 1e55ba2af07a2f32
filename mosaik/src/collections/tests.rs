//! Stores, without a network.

use std::sync::Arc;

use super::{
    place::Place,
    replica::{Alone, EXPIRE, Layout, Replica, TRANSACTION, WRITE},
    state::{
        State,
        changes::Changes,
        deadlines::MOST_EXPIRED,
        map::{MapState, MapWrite},
        stamp::{Origin, Stamps},
        vec::{VecState, VecWrite},
    },
    transaction::{Draft, Proposal},
    twin::Twin,
};
use crate::{
    declare::{Schema, SchemaSource},
    groups::{Application, Ctx, Reply, number},
    wire,
};

type Prices = MapState<String, u64>;
type PriceStore = Replica<Alone<Prices>>;

/// Two collections.
struct Market;

impl Layout for Market {
    type States = (Twin<Prices>, (Twin<VecState<u64>>, ()));

    const WRITES: &'static [&'static str] = &["prices.write", "trades.write"];

    fn schema() -> SchemaSource {
        SchemaSource::Traced(Schema::trace::<Vec<u64>>)
    }
}

/// Two collections of one type.
struct Pair<const ORDER: usize>;

impl<const ORDER: usize> Layout for Pair<ORDER> {
    type States = (Twin<Prices>, (Twin<Prices>, ()));

    const WRITES: &'static [&'static str] =
        [&["a.write", "b.write"], &["b.write", "a.write"]][ORDER];

    fn schema() -> SchemaSource {
        SchemaSource::Traced(Schema::trace::<Vec<u64>>)
    }
}

/// Applies a command; returns what it answers.
fn apply<L: Layout>(store: &mut Replica<L>, ctx: &Ctx, name: &str, arguments: &[u8]) -> Vec<u8> {
    let command = [&number(name).to_le_bytes(), arguments].concat();
    let (operation, rest) = Replica::<L>::decode(&command).unwrap();
    assert!(rest.is_empty());
    let mut reply = Reply::default();
    store.run(ctx, operation, &mut reply).unwrap();
    reply.bytes().to_vec()
}

fn insert<L: Layout>(store: &mut Replica<L>, ctx: &Ctx, key: &str, price: u64) {
    let write = wire::encode(&MapWrite::Insert(key.to_owned(), price)).unwrap();
    apply(store, ctx, L::WRITES[0], &write);
}

fn price(place: &Place, key: &str) -> Option<u64> {
    let shot = place.load();
    let price = shot.state::<Prices>(0).get(&key.to_owned());
    price.map(|price| *price.value())
}

#[test]
fn a_state_is_shown_when_its_entry_is_applied_and_whatever_takes_its_place() {
    let ctx = Ctx::example();
    let mut store = PriceStore::default();
    let shown = store.shown();
    let place = shown.place();
    insert(&mut store, &ctx, "a", 1);
    assert_eq!(price(place, "a"), None, "the entry is not applied yet");
    store.publish(1);
    let held: Arc<Prices> = place.load().keep(0);
    insert(&mut store, &ctx, "a", 2);
    insert(&mut store, &ctx, "b", 3);
    store.publish(2);
    assert_eq!(price(place, "a"), Some(2));
    assert_eq!(*held.get(&"a".to_owned()).unwrap().value(), 1, "a snapshot");

    // Another state, of as many stamps, that comes from elsewhere.
    let mut other = PriceStore::default();
    for _ in 0..3 {
        insert(&mut other, &ctx, "c", 4);
    }
    let encoded = wire::encode(&other.image()).unwrap();
    let mut restored = PriceStore::from_image(wire::decode(&encoded).unwrap());
    restored.succeed(&mut store);
    drop(store);
    assert_eq!(price(place, "a"), Some(2), "nobody reads it yet");
    restored.publish(3);
    assert_eq!((price(place, "a"), price(place, "c")), (None, Some(4)));
}

#[test]
fn what_was_not_written_is_shown_as_it_was() {
    let ctx = Ctx::example();
    let mut store = Replica::<Market>::default();
    let place = store.shown().place().clone();
    let trade = wire::encode(&VecWrite::PushBack(7_u64)).unwrap();
    apply(&mut store, &ctx, "trades.write", &trade);
    insert(&mut store, &ctx, "a", 1);
    store.publish(1);
    let before = place.load_full();
    insert(&mut store, &ctx, "a", 2);
    store.publish(2);
    let after = place.load_full();
    assert_eq!((before.version, after.version), (1, 2));
    let trades = |shot: &super::place::Shot| shot.keep::<VecState<u64>>(1);
    assert!(Arc::ptr_eq(&trades(&before), &trades(&after)));
    assert_eq!(trades(&after).len(), 1);
}

#[test]
fn a_state_with_stamps_that_were_never_given_out_is_refused() {
    let mut stamps = Stamps::default();
    let before = stamps.clone();
    let mut prices = Prices::default();
    let insert = MapWrite::Insert("a".into(), 1);
    prices.write(insert, &mut stamps, &mut Changes::ignored());
    let encoded = |stamps: &Stamps| wire::encode(&(stamps, (&prices, ()))).unwrap();
    let is_sound = |bytes: &[u8]| wire::decode::<<PriceStore as Application>::Image>(bytes).is_ok();
    assert!(is_sound(&encoded(&stamps)));
    assert!(!is_sound(&encoded(&before)));
}

#[test]
fn a_store_has_the_interface_of_its_collections() {
    let print = |interface: crate::groups::Interface| interface.fingerprint().unwrap();
    let prices = print(PriceStore::interface());
    assert_eq!(prices, print(PriceStore::interface()));
    assert_ne!(
        prices,
        print(Replica::<Alone<MapState<String, u32>>>::interface())
    );
    assert_ne!(prices, print(Replica::<Market>::interface()));
    let (one, other) = (
        print(Replica::<Pair<0>>::interface()),
        print(Replica::<Pair<1>>::interface()),
    );
    assert_ne!(one, other, "two of one type that changed places");
    let unknown = number("else").to_le_bytes();
    assert!(PriceStore::decode(&unknown).is_err());
}

/// A transaction that reads the price of `reads`, puts 10 in its place, and appends a trade.
fn propose(place: &Place, reads: &str) -> Vec<u8> {
    let shot = place.load();
    let mut proposal = Proposal::new(&shot);
    let mut prices = super::transaction::MapTransaction::new(Draft::new(
        0,
        number("prices.write"),
        shot.keep(0),
    ));
    prices.get(&reads.to_owned());
    prices.insert(reads.to_owned(), 10_u64);
    let mut trades = super::transaction::VecTransaction::new(Draft::new(
        1,
        number("trades.write"),
        shot.keep(1),
    ));
    trades.push_back(10_u64);
    prices.draft.put(&mut proposal);
    trades.draft.put(&mut proposal);
    proposal.encode().unwrap()
}

#[test]
fn a_transaction_is_applied_whole_if_what_it_read_is_still_there() {
    let ctx = Ctx::example();
    let mut store = Replica::<Market>::default();
    let place = store.shown().place().clone();
    insert(&mut store, &ctx, "a", 1);
    store.publish(1);
    let first = propose(&place, "a");
    let (applied, refused) = (wire::encode(&true).unwrap(), wire::encode(&false).unwrap());
    let trades = |store: &mut Replica<Market>| {
        store.publish(9);
        place.load().state::<VecState<u64>>(1).len()
    };
    // What it did not read does not matter.
    insert(&mut store, &ctx, "b", 1);
    assert_eq!(apply(&mut store, &ctx, TRANSACTION, &first), applied);
    assert_eq!(price_after(&mut store, &place, "a"), Some(10));
    assert_eq!(trades(&mut store), 1);
    // The same one again has read what is there no longer.
    assert_eq!(apply(&mut store, &ctx, TRANSACTION, &first), refused);
    assert_eq!(price_after(&mut store, &place, "a"), Some(10));
    assert_eq!(trades(&mut store), 1);
}

fn price_after(store: &mut Replica<Market>, place: &Place, key: &str) -> Option<u64> {
    store.publish(9);
    price(place, key)
}

#[test]
fn a_transaction_of_another_charter_is_refused_and_can_be_tried_again() {
    let (ctx, other) = (Ctx::example(), Ctx::example_of([8; 16]));
    let mut store = Replica::<Market>::default();
    let place = store.shown().place().clone();
    insert(&mut store, &ctx, "a", 1);
    store.publish(1);
    let first = propose(&place, "a");
    let (applied, refused) = (wire::encode(&true).unwrap(), wire::encode(&false).unwrap());
    assert_eq!(apply(&mut store, &other, TRANSACTION, &first), refused);
    store.publish(2);
    assert_eq!(
        place.load().origin,
        Origin::of([8; 16]),
        "it is shown to whoever tries again"
    );
    let again = propose(&place, "a");
    assert_eq!(apply(&mut store, &other, TRANSACTION, &again), applied);
    // Of who has read nothing the charter does not matter.
    let shot = place.load();
    let mut proposal = Proposal::new(&shot);
    let draft = Draft::new(1, number("trades.write"), shot.keep(1));
    let mut trades = super::transaction::VecTransaction::new(draft);
    trades.push_back(10_u64);
    trades.draft.put(&mut proposal);
    let blind = proposal.encode().unwrap();
    let third = Ctx::example_of([9; 16]);
    assert_eq!(apply(&mut store, &third, TRANSACTION, &blind), applied);
}

#[test]
fn a_transaction_of_before_an_import_is_refused() {
    let ctx = Ctx::example();
    let (mut store, mut other) = (Replica::<Market>::default(), Replica::<Market>::default());
    insert(&mut store, &ctx, "a", 1);
    insert(&mut other, &ctx, "a", 2);
    let place = store.shown().place().clone();
    store.publish(1);
    let before = propose(&place, "a");
    // It comes from a group with another charter, or from this one: its stamps are the same.
    let image = wire::encode(&other.image()).unwrap();
    let mut imported = Replica::<Market>::from_image(wire::decode(&image).unwrap());
    imported.succeed(&mut store);
    imported.imported(ctx.epoch(), 2);
    let (applied, refused) = (wire::encode(&true).unwrap(), wire::encode(&false).unwrap());
    assert_eq!(apply(&mut imported, &ctx, TRANSACTION, &before), refused);
    imported.publish(3);
    let after = propose(&place, "a");
    assert_eq!(apply(&mut imported, &ctx, TRANSACTION, &after), applied);
    // So it is for who restores a snapshot of it.
    let image = wire::encode(&imported.image()).unwrap();
    let mut restored = Replica::<Market>::from_image(wire::decode(&image).unwrap());
    restored.succeed(&mut imported);
    restored.publish(3);
    let again = propose(&place, "a");
    assert_eq!(apply(&mut restored, &ctx, TRANSACTION, &before), refused);
    assert_eq!(apply(&mut restored, &ctx, TRANSACTION, &again), applied);
}

#[test]
fn what_has_come_to_its_end_is_gone_before_a_command_begins() {
    let mut store = Replica::<Market>::default();
    let place = store.shown().place().clone();
    let expiry = place.expiry();
    let at = Ctx::example_at;
    let insert_for = |key: &str, millis| {
        wire::encode(&MapWrite::InsertFor(key.to_owned(), 1_u64, millis)).unwrap()
    };
    apply(&mut store, &at(1000), "prices.write", &insert_for("a", 10));
    apply(&mut store, &at(1000), "prices.write", &insert_for("b", 20));
    store.publish(1);
    assert_eq!(expiry.borrow().expiry.clock, Some(1010));
    let reads_a = propose(&place, "a");
    let reads_b = propose(&place, "b");
    let (applied, refused) = (wire::encode(&true).unwrap(), wire::encode(&false).unwrap());
    assert_eq!(apply(&mut store, &at(1010), TRANSACTION, &reads_a), refused);
    assert_eq!(
        apply(&mut store, &at(1019), TRANSACTION, &reads_b),
        applied,
        "it has put another value there, for ever"
    );
    store.publish(2);
    assert_eq!((price(&place, "a"), price(&place, "b")), (None, Some(10)));
    assert_eq!(expiry.borrow().left(), None);
    apply(&mut store, &at(1020), "prices.write", &insert_for("c", 5));
    let expire = |store: &mut Replica<Market>, now| apply(store, &at(now), EXPIRE, &[]);
    let count = |count: u64| wire::encode(&count).unwrap();
    assert_eq!(expire(&mut store, 1024), count(0));
    assert_eq!(expire(&mut store, 1025), count(1));
    store.publish(3);
    assert_eq!((price(&place, "b"), price(&place, "c")), (Some(10), None));
}

#[test]
fn no_more_ends_with_one_command_than_may() {
    let mut store = PriceStore::default();
    let many = MOST_EXPIRED + 10;
    for key in 0..many {
        let write = MapWrite::InsertFor(key.to_string(), 1_u64, 0);
        apply(
            &mut store,
            &Ctx::example(),
            WRITE,
            &wire::encode(&write).unwrap(),
        );
    }
    let expire = |store: &mut PriceStore| {
        let expired = apply(store, &Ctx::example_at(1), EXPIRE, &[]);
        wire::decode::<u64>(&expired).unwrap()
    };
    // What is put for no time is gone with the next.
    assert_eq!(expire(&mut store), 1);
    for key in 0..many {
        let write = MapWrite::InsertFor(key.to_string(), 1_u64, 9);
        apply(
            &mut store,
            &Ctx::example(),
            WRITE,
            &wire::encode(&write).unwrap(),
        );
    }
    let ctx = Ctx::example_at(9);
    for left in [10, 0] {
        apply(&mut store, &ctx, EXPIRE, &[]);
        store.publish(1);
        let shot = store.shown().place().load_full();
        assert_eq!(shot.state::<Prices>(0).len(), left);
    }
}

#[test]
fn a_transaction_that_is_cut_or_of_unknown_collections_is_no_command() {
    let store = Replica::<Market>::default();
    let place = store.shown().place().clone();
    let arguments = propose(&place, "a");
    let command = [&number(TRANSACTION).to_le_bytes(), arguments.as_slice()].concat();
    assert!(Replica::<Market>::decode(&command).is_ok());
    for len in 0..command.len() {
        assert!(Replica::<Market>::decode(&command[..len]).is_err(), "{len}");
    }
    assert!(
        PriceStore::decode(&command).is_err(),
        "it has one collection"
    );
    // More parts than there are bytes for.
    let many = wire::encode(&(Origin::default(), u32::MAX)).unwrap();
    let many = [&number(TRANSACTION).to_le_bytes(), many.as_slice()].concat();
    assert!(Replica::<Market>::decode(&many).is_err());
    assert_eq!(Alone::<Prices>::WRITES, [WRITE]);
}
