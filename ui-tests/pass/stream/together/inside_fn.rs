//! Declarations in function bodies and in several scopes of one name.

use mosaik::declare::Declared;

fn first() -> &'static str {
    #[mosaik::stream(name = "first")]
    struct Local {
        _cents: u64,
    }
    Local::declaration().name
}

fn second() -> &'static str {
    #[mosaik::stream(name = "second")]
    struct Local;
    Local::declaration().name
}

pub fn main() {
    assert_eq!((first(), second()), ("first", "second"));
    let names: Vec<_> = here!().iter().map(|decl| decl.name()).collect();
    assert_eq!(names, ["first", "second"]);
}
