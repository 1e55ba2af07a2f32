//! Groups from the type that declares them.

use std::marker::PhantomData;

use super::{
    Options,
    error::Refusal,
    handle::{GroupBuilder, Groups},
    machine::Application,
};
use crate::declare::{self, Declaration, GroupDecl};

/// A type with `#[mosaik::group]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not declared as the state of a group",
    label = "this is no group yet",
    note = "put `#[mosaik::group]` on the struct too"
)]
pub trait DeclaredGroup: Sized + 'static {
    /// Its declaration.
    fn declaration() -> GroupDecl;

    /// The options that it declares.
    fn options() -> Options;
}

impl Groups {
    /// Options for taking part in the group that a type declares, which begin as it declares them.
    pub fn declared<M: Application + DeclaredGroup>(&self) -> GroupBuilder<M> {
        let declaration = M::declaration();
        let name = declaration.name.to_owned();
        let registered = declare::register_instance(Declaration::Group(declaration));
        let refused = registered.err();
        GroupBuilder {
            groups: self.clone(),
            name,
            options: M::options(),
            refused: refused.map(|conflict| Refusal::BadOptions(conflict.to_string())),
            machine: PhantomData,
        }
    }
}
