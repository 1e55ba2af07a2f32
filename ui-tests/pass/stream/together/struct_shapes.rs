//! Unit, newtype and tuple structs, and a raw identifier.

use mosaik::declare::Declared;

#[mosaik::stream]
struct Tick;

#[mosaik::stream]
struct Cents(u64);

#[mosaik::stream]
struct Pair(u8, String);

#[mosaik::stream]
struct Empty {}

#[mosaik::stream]
#[allow(non_camel_case_types)]
struct r#type;

fn schema<T: Declared>() -> String {
    let decl = T::declaration();
    decl.schema.resolve(decl.name).unwrap().to_string()
}

pub fn main() {
    let _ = (Tick, Cents(1).0, Pair(1, String::new()).clone().1, Pair(1, String::new()).0, Empty {}, r#type);
    assert_eq!(schema::<Tick>(), "struct Tick");
    assert_eq!(schema::<Cents>(), "struct Cents(u64)");
    assert_eq!(schema::<Pair>(), "struct Pair(u8, str)");
    assert_eq!(schema::<Empty>(), "struct Empty {}");
    assert!(r#type::declaration().name.ends_with("/type"));
    assert_eq!(here!().len(), 5);
    mosaik::declare::check_declarations().unwrap();
}
