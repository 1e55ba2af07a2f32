//! Two declarations of one name and different schemas: both places are told, and the difference.

mod ours {
    #[mosaik::stream(name = "price")]
    pub struct Price {
        pub cents: u64,
    }
}

mod theirs {
    #[mosaik::stream(name = "price")]
    pub struct Price {
        pub cents: u32,
    }
}

fn main() {
    let _ = (ours::Price { cents: 1 }.cents, theirs::Price { cents: 1 }.cents);
    let error = mosaik::declare::check_declarations().unwrap_err().to_string();
    for part in ["conflict.rs:4", "conflict.rs:11", "ours::Price", "theirs::Price"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(error.contains("field `Price.cents` is u64 here and u32 there"), "{error}");
}
