//! `#[group]`, on the state and on its `impl` block.

mod fallback;
mod method;
mod methods;
mod options;
mod own;
mod signature;
mod state;
mod valid;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Item;

/// Expands the attribute on `item`. Errors come first, then an expansion that causes no more of them.
pub(crate) fn group(args: TokenStream, item: TokenStream) -> TokenStream {
    match syn::parse2(item.clone()) {
        Ok(Item::Impl(block)) => methods::group(args, block),
        Ok(item) => state::group(args, item.into_token_stream()),
        Err(error) => fallback::unsupported(&error, &item),
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

/// All of them as one, if there are any.
fn combined(errors: Vec<syn::Error>) -> Option<syn::Error> {
    errors.into_iter().reduce(|mut all, next| {
        all.combine(next);
        all
    })
}
