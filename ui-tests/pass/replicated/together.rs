//! The programs in `together/`, one after the other: to link each by itself would take most of the time.

#![allow(dead_code)]

#[macro_use]
#[path = "../here.rs"]
mod here;

#[path = "together/exchange.rs"]
mod exchange;
#[path = "together/from_macro.rs"]
mod from_macro;
#[path = "together/generics.rs"]
mod generics;
#[path = "together/inside_fn.rs"]
mod inside_fn;
#[path = "together/names.rs"]
mod names;
#[path = "together/newtype.rs"]
mod newtype;
#[path = "together/options.rs"]
mod options;
#[path = "together/public.rs"]
mod public;

fn main() -> anyhow::Result<()> {
    exchange::main()?;
    from_macro::main();
    generics::main()?;
    inside_fn::main();
    names::main()?;
    newtype::main()?;
    options::main();
    public::main()?;
    Ok(())
}
