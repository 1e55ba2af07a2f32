//! Stores, without a network.

use crate::{
    collections::{
        state::{
            State as _,
            changes::Changes,
            map::{MapChange, MapState, MapWrite},
            stamp::Stamps,
        },
        store::{One, Shown, Store, WRITE},
    },
    groups::{Application, Ctx, Reply, number},
    wire,
};

type Prices = MapState<String, u64>;
type PriceStore = Store<One<Prices>>;

fn insert(store: &mut PriceStore, ctx: &Ctx, key: &str, price: u64) {
    let mut command = number(WRITE).to_le_bytes().to_vec();
    command.extend(wire::encode(&MapWrite::Insert(key.to_owned(), price)).unwrap());
    let (write, rest) = PriceStore::decode(&command).unwrap();
    assert!(rest.is_empty());
    store.run(ctx, write, &mut Reply::default()).unwrap();
}

fn price(shown: &Shown<Prices, MapChange<String, u64>>, key: &str) -> Option<u64> {
    shown
        .load()
        .get(&key.to_owned())
        .map(|price| *price.value())
}

#[test]
fn a_state_is_shown_when_its_entry_is_applied_and_whatever_takes_its_place() {
    let ctx = Ctx::example();
    let mut store = PriceStore::default();
    let shown = store.shown();
    insert(&mut store, &ctx, "a", 1);
    assert_eq!(price(&shown, "a"), None, "the entry is not applied yet");
    store.publish(1);
    let held = shown.load_full();
    insert(&mut store, &ctx, "a", 2);
    insert(&mut store, &ctx, "b", 3);
    store.publish(2);
    assert_eq!(price(&shown, "a"), Some(2));
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
    assert_eq!(price(&shown, "a"), Some(2), "nobody reads it yet");
    restored.publish(3);
    assert_eq!((price(&shown, "a"), price(&shown, "c")), (None, Some(4)));
}

#[test]
fn a_state_with_stamps_that_were_never_given_out_is_refused() {
    let mut stamps = Stamps::default();
    let before = stamps.clone();
    let mut prices = Prices::default();
    prices.write(
        MapWrite::Insert("a".into(), 1),
        &mut stamps,
        &mut Changes::ignored(),
    );
    let encoded = |stamps: &Stamps| wire::encode(&(stamps, &prices)).unwrap();
    let is_sound = |bytes: &[u8]| wire::decode::<<PriceStore as Application>::Image>(bytes).is_ok();
    assert!(is_sound(&encoded(&stamps)));
    assert!(!is_sound(&encoded(&before)));
}

#[test]
fn a_store_has_the_interface_of_its_collection() {
    let print = |interface: crate::groups::Interface| interface.fingerprint().unwrap();
    assert_eq!(
        print(PriceStore::interface()),
        print(PriceStore::interface())
    );
    let other = Store::<One<MapState<String, u32>>>::interface();
    assert_ne!(print(PriceStore::interface()), print(other));
    let unknown = number("else").to_le_bytes();
    assert!(PriceStore::decode(&unknown).is_err());
}
