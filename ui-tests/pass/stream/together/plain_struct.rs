//! The default name, the added derives, and the options' defaults.

use mosaik::declare::{Declared, Lag, TopicOptions};

/// A price tick.
#[mosaik::stream]
#[derive(Debug, PartialEq)]
pub struct Price {
    pub symbol: String,
    pub cents: u64,
}

fn sendable<T: Clone + serde::Serialize + serde::de::DeserializeOwned>() {}

pub fn main() {
    sendable::<Price>();
    let decl = Price::declaration();
    assert_eq!(decl.name, concat!(env!("CARGO_PKG_NAME"), "/Price"));
    assert!(decl.type_name.ends_with("::Price"));
    assert!(decl.location.file.ends_with("plain_struct.rs"));
    assert_eq!(decl.location.line, 6);
    assert_eq!(decl.options, TopicOptions::DEFAULT);
    assert_eq!(decl.options.lag, Lag::Block);
    let schema = decl.schema.resolve(decl.name).unwrap();
    assert_eq!(schema.to_string(), "struct Price { symbol: str, cents: u64 }");
    let all = here!();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].name(), decl.name);
}
