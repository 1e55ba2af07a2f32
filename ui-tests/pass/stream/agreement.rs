//! Two declarations may share a name when they share a schema too.

mod ours {
    #[mosaik::stream(name = "price")]
    pub struct Price(pub u64);
}

mod theirs {
    #[mosaik::stream(name = "price")]
    pub struct Price(pub u64);
}

fn main() {
    let _ = (ours::Price(1).0, theirs::Price(1).0);
    assert_eq!(mosaik::declarations().len(), 2);
    mosaik::declare::check_declarations().unwrap();
}
