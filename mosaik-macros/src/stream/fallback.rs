//! What is emitted beside an error, so that it stays the only one.

use proc_macro2::TokenStream;
use quote::quote;

use super::{expand::expand, options::Options, valid::is_key};
use crate::common::{derives, item::Declared};

/// The error, and the item as it would be without the mistake.
pub(crate) fn fallback(error: &syn::Error, declared: &Declared, options: &Options) -> TokenStream {
    let error = error.to_compile_error();
    let mut declared = declared.clone();
    declared.strip(is_key);
    if declared.generics.lifetimes().next().is_none() {
        let expansion = expand(&declared, options);
        return quote!(#error #expansion);
    }
    // Nothing that borrows can implement `Declared`.
    let derives = derives::missing(&declared, options.skip, &options.runtime);
    let item = &declared.item;
    quote!(#error #derives #item)
}
