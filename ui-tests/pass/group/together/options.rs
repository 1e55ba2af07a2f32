//! Every option.

use std::time::Duration;

use mosaik::{
    declare::SchemaSource,
    groups::{DeclaredGroup, Durability, Options, Preference},
    tickets::{Algorithm, Jwt},
};

const SECRET: &str = "secret";

fn checks(class: &str) -> Jwt {
    Jwt::secret(Algorithm::Hs256, SECRET).unwrap().class(class)
}

#[mosaik::group(
    name = "bank with options",
    founders = 3,
    voters = 7,
    durable = required,
    evict_after = "1m",
    recover = after("2h"),
    command_timeout = "250ms",
    heartbeat = "50ms",
    election_timeout = ("200ms", "300ms"),
    quiesce_after = "9s",
    leader = prefer,
    key = SECRET,
    ticket = checks("a"),
    ticket = checks("b"),
    schema = "v1",
)]
#[derive(Default)]
struct Bank;

#[mosaik::group]
impl Bank {}

#[mosaik::group(durable = volatile, leader = avoid)]
#[derive(Default)]
struct Plain;

#[mosaik::group]
impl Plain {}

pub fn main() {
    let options = Bank::options();
    assert_eq!(options.founders, Some(3));
    assert_eq!(options.voters, 7);
    assert_eq!(options.durable, Durability::Required);
    assert_eq!(options.evict_after, Duration::from_secs(60));
    assert_eq!(options.recover_after, Some(Duration::from_secs(7200)));
    assert_eq!(options.command_timeout, Duration::from_millis(250));
    assert_eq!(options.heartbeat, Some(Duration::from_millis(50)));
    let elections = (Duration::from_millis(200), Duration::from_millis(300));
    assert_eq!(options.election_timeout, Some(elections));
    assert_eq!(options.quiesce_after, Duration::from_secs(9));
    assert_eq!(options.preference, Preference::Prefer);
    assert_eq!(options.key.as_deref(), Some("secret"));
    assert!(options.tickets.classes().eq(["a", "b"]));
    let declaration = Bank::declaration();
    assert_eq!(declaration.name, "bank with options");
    assert!(matches!(declaration.schema, SchemaSource::Stated("v1")));
    let plain = Plain::options();
    assert_eq!((plain.durable, plain.preference), (Durability::Volatile, Preference::Avoid));
    let mut default = Options::default();
    (default.durable, default.preference) = (Durability::Volatile, Preference::Avoid);
    assert_eq!(plain, default);
    assert!(Plain::declaration().name.ends_with("/Plain"));
    assert_eq!(here!().len(), 2);
}
