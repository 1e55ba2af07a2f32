//! Every option at once, with a trailing comma.

use std::time::Duration;

use mosaik::{
    declare::{Declared, SchemaSource},
    tickets::{Algorithm, Jwt},
};

fn checks(class: &str) -> Jwt {
    Jwt::secret(Algorithm::Hs256, "secret").unwrap().class(class)
}

#[mosaik::stream(
    name = "oracle.price",
    capacity = 4_096,
    capacity_bytes = 65536,
    lag = block,
    stall = "250ms",
    max_consumers = 8,
    online_when = 0,
    ticket = checks("a"),
    ticket = checks("b"),
    schema = "v1",
    crate = ::mosaik,
)]
struct Price(#[allow(dead_code)] u64);

#[mosaik::stream(stall = "2h")]
struct Slow;

pub fn main() {
    let decl = Price::declaration();
    assert_eq!(decl.name, "oracle.price");
    assert_eq!(decl.options.capacity, 4096);
    assert_eq!(decl.options.capacity_bytes, 65536);
    assert_eq!(decl.options.stall, Duration::from_millis(250));
    assert_eq!(decl.options.max_consumers, 8);
    assert_eq!(decl.options.online_when, 0);
    assert!(decl.options.tickets.classes().eq(["a", "b"]));
    assert!(matches!(decl.schema, SchemaSource::Stated("v1")));
    assert_eq!(Slow::declaration().options.stall, Duration::from_secs(7200));
    assert_eq!(here!().len(), 2);
}
