//! Generic declarations in function bodies, found by the names of their instances.

use std::any::type_name;

use mosaik::declare::{GenericDecl, generic_origin};

/// The line of the declaration that `T` is an instance of.
fn line<T>() -> Option<u32> {
    let decl: Option<&GenericDecl> = generic_origin(type_name::<T>());
    decl.map(|decl| decl.location.line)
}

fn first() -> [Option<u32>; 2] {
    #[mosaik::stream]
    struct Wrap<T>(T);
    let _ = Wrap(1).clone().0;
    [line::<Wrap<u64>>(), line::<Wrap<Wrap<fn() -> u8>>>()]
}

fn second() -> Option<u32> {
    #[mosaik::stream]
    enum Wrap<T> {
        Inner(T),
    }
    let Wrap::Inner(_) = Wrap::Inner(1).clone();
    line::<Wrap<u64>>()
}

fn in_closure() -> Option<u32> {
    let closure = || {
        #[mosaik::stream]
        struct Wrap<T>(T);
        let _ = Wrap(1).clone().0;
        line::<Wrap<u64>>()
    };
    closure()
}

fn undeclared() -> Option<u32> {
    struct Wrap<T>(T);
    let _ = Wrap(1).0;
    line::<Wrap<u64>>()
}

struct Owner<T>(T);

impl<T> Owner<T> {
    fn method() -> Option<u32> {
        #[mosaik::stream]
        struct Wrap<U>(U);
        let _ = Wrap(1).clone().0;
        line::<Wrap<u64>>()
    }
}

mod module {
    /// Its name is that of the marker in the expansion.
    #[mosaik::stream]
    pub struct Marker<T>(pub T);

    #[mosaik::stream]
    pub struct Wrap<T>(pub Marker<T>);

    pub struct Wrapped<T>(pub T);
}

pub fn main() {
    assert_eq!(first(), [Some(14), Some(14)]);
    assert_eq!(second(), Some(21));
    assert_eq!(in_closure(), Some(31));
    assert_eq!(Owner::<u8>::method(), Some(49));
    assert_eq!(Owner(undeclared()).0, None);
    assert_eq!(line::<module::Marker<u64>>(), Some(58));
    assert_eq!(line::<module::Wrap<u64>>(), Some(61));
    assert_eq!(line::<module::Wrapped<module::Wrap<u64>>>(), None);
    let _ = module::Wrapped(module::Wrap(module::Marker(1)).0.0).0;
}
