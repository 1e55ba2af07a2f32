//! `#[group]`, on the state and on its `impl` block.

mod application;
mod handles;
mod method;
mod methods;
mod own;
mod signature;
mod state;
mod valid;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Generics, Item, parse_quote};

use crate::common::{
    error,
    item::{beside, variable},
};

/// Expands the attribute on `item`. Errors come first, then an expansion that causes no more of them.
pub(crate) fn group(args: TokenStream, item: TokenStream) -> TokenStream {
    match syn::parse2(item.clone()) {
        Ok(Item::Impl(block)) => methods::group(args, block),
        Ok(item) => state::group(args, item.into_token_stream()),
        Err(error) => error::unsupported(&error, &item),
    }
}

/// The type inside parentheses, or the groups that macros put around what they are given.
fn peeled(ty: &syn::Type) -> &syn::Type {
    match ty {
        syn::Type::Group(group) => peeled(&group.elem),
        syn::Type::Paren(parentheses) => peeled(&parentheses.elem),
        ty => ty,
    }
}

/// The parameters of a type that borrows the handle: those of the state behind a lifetime and, if it is a batch, what
/// that returns.
fn borrowing(state: &Generics, is_batch: bool) -> Generics {
    let mut generics = state.clone();
    generics.params.insert(0, parse_quote!('__group));
    if is_batch {
        generics.params.insert(1, parse_quote!(__Outputs));
    }
    generics
}
