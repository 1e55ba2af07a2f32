//! The programs in `together/`, one after the other: to link each by itself would take most of the time.

#![allow(dead_code)]

#[macro_use]
#[path = "../here.rs"]
mod here;

#[path = "together/enums.rs"]
mod enums;
#[path = "together/from_macro.rs"]
mod from_macro;
#[path = "together/generics.rs"]
mod generics;
#[path = "together/generics_inside_fn.rs"]
mod generics_inside_fn;
#[path = "together/inside_fn.rs"]
mod inside_fn;
#[path = "together/no_derives.rs"]
mod no_derives;
#[path = "together/options.rs"]
mod options;
#[path = "together/own_derives.rs"]
mod own_derives;
#[path = "together/plain_struct.rs"]
mod plain_struct;
#[path = "together/struct_shapes.rs"]
mod struct_shapes;

fn main() {
    enums::main();
    from_macro::main();
    generics::main();
    generics_inside_fn::main();
    inside_fn::main();
    no_derives::main();
    options::main();
    own_derives::main();
    plain_struct::main();
    struct_shapes::main();
}
