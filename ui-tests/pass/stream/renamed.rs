//! The runtime under another name, while something else has its usual one.

extern crate mosaik as renamed;
extern crate std as mosaik;

use renamed::declare::Declared;

#[renamed::stream(crate = ::renamed, name = "price")]
struct Price {
    cents: u64,
}

#[renamed::stream(crate = ::renamed)]
struct Wrap<T>(T);

mod nested {
    /// A path that goes through the user's own crate.
    pub mod runtime {
        pub use renamed::*;
        pub use renamed::__private;
    }

    #[runtime::stream(crate = crate::nested::runtime, capacity = 3)]
    pub struct Cents(pub u64);
}

fn main() {
    let _ = (Price { cents: 1 }.cents, Wrap(1).0, nested::Cents(1).0);
    assert_eq!(Price::declaration().name, "price");
    assert!(Wrap::<u8>::declaration().name.ends_with("/Wrap<u8>"));
    assert_eq!(nested::Cents::declaration().options.capacity, 3);
    assert_eq!(renamed::declarations().len(), 2);
}
