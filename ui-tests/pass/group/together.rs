//! The programs in `together/`, one after the other: to link each by itself would take most of the time.

#![allow(dead_code)]

#[macro_use]
#[path = "../here.rs"]
mod here;

#[path = "together/arguments.rs"]
mod arguments;
#[path = "together/bank.rs"]
mod bank;
#[path = "together/conditional.rs"]
mod conditional;
#[path = "together/from_macro.rs"]
mod from_macro;
#[path = "together/generics.rs"]
mod generics;
#[path = "together/names.rs"]
mod names;
#[path = "together/options.rs"]
mod options;
#[path = "together/own_derives.rs"]
mod own_derives;
#[path = "together/refused.rs"]
mod refused;
#[path = "together/unordered.rs"]
mod unordered;

fn main() -> anyhow::Result<()> {
    arguments::main()?;
    bank::main()?;
    conditional::main();
    from_macro::main();
    generics::main()?;
    names::main()?;
    options::main();
    own_derives::main();
    refused::main()?;
    unordered::main();
    Ok(())
}
