//! All options.

use std::time::Duration;

use mosaik::{
    collections::Map,
    groups::{Durability, Preference},
    tickets::{Algorithm, Jwt},
};

#[mosaik::replicated(
    name = "all.options",
    founders = 3,
    voters = 7,
    durable = volatile,
    evict_after = "1m",
    recover = after("2m"),
    command_timeout = "3s",
    heartbeat = "50ms",
    election_timeout = ("200ms", "300ms"),
    quiesce_after = "9s",
    leader = avoid,
    key = "hush",
    ticket = Jwt::secret(Algorithm::Hs256, "secret").unwrap(),
    schema = "1",
    crate = mosaik,
)]
struct Prices {
    prices: Map<String, u64>,
}

pub fn main() {
    use mosaik::__private::DeclaredStore as _;

    let options = __PricesCollections::options();
    assert_eq!((options.founders, options.voters), (Some(3), 7));
    assert_eq!(options.durable, Durability::Volatile);
    assert_eq!(options.preference, Preference::Avoid);
    assert_eq!(options.command_timeout, Duration::from_secs(3));
    assert_eq!(options.recover_after, Some(Duration::from_secs(120)));
    assert_eq!(options.key.as_deref(), Some("hush"));
    assert_eq!(__PricesCollections::declaration().name, "all.options");
}
