//! Type and const parameters, bounds, defaults and `where`: each instance is a topic.

use std::fmt::Debug;

use mosaik::declare::{Declared, generic_origin};

#[mosaik::stream]
struct Pack<T: Debug = u8, const N: usize = 2>
where
    T: PartialEq,
{
    items: Vec<T>,
    marker: std::marker::PhantomData<[T; N]>,
}

#[mosaik::stream(name = "either")]
enum Either<A, B> {
    Left(A),
    Right(B),
}

fn name<T: Declared>() -> &'static str {
    T::declaration().name
}

pub fn main() {
    let package = env!("CARGO_PKG_NAME");
    assert_eq!(name::<Pack<u64>>(), format!("{package}/Pack<u64>"));
    assert_eq!(name::<Pack<u64, 3>>(), format!("{package}/Pack<u64, 3>"));
    assert_eq!(name::<Either<u8, bool>>(), "either<u8, bool>");
    assert!(std::ptr::eq(name::<Either<u8, u8>>(), name::<Either<u8, u8>>()));
    let decl = Either::<u8, Pack<char>>::declaration();
    let schema = decl.schema.resolve(decl.name).unwrap().to_string();
    assert!(schema.contains("Left(u8), Right(Pack)"), "{schema}");
    assert!(here!().is_empty(), "instances register on first use");
    let origin = generic_origin(std::any::type_name::<Pack<u64>>()).unwrap();
    assert_eq!(origin.ident, "Pack");
    assert_eq!(origin.location.line, 7);
    let wrap = Pack::<u8, 2> { items: vec![1], marker: std::marker::PhantomData }.clone();
    assert_eq!((wrap.items, wrap.marker), (vec![1], std::marker::PhantomData));
    let _ = [Either::Left(1), Either::Right(2)].map(|e| match e { Either::Left(n) | Either::Right(n) => n });
}
