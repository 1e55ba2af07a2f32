//! What is emitted beside an error, so that it stays the only one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Fields, Item};

use super::{
    expand::{derives, expand},
    options::Options,
    valid::is_key,
};
use crate::common::item::Declared;

/// The error, and the item as it would be without the mistake.
pub(crate) fn fallback(error: &syn::Error, declared: &Declared, options: &Options) -> TokenStream {
    let error = error.to_compile_error();
    let declared = Declared {
        item: without_keys(declared.item.clone()),
        ident: declared.ident.clone(),
        generics: declared.generics.clone(),
        derives: declared.derives,
    };
    if declared.generics.lifetimes().next().is_none() {
        let expansion = expand(&declared, options);
        return quote!(#error #expansion);
    }
    // Nothing that borrows can implement `Declared`.
    let (derives, item) = (derives(&declared, options), &declared.item);
    quote!(#error #derives #item)
}

/// The error, and an item that is no datum at all, as it stands.
pub(crate) fn unsupported(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}

/// Without `#[key]`, which the compiler would not know.
fn without_keys(mut item: Item) -> Item {
    let strip = |attributes: &mut Vec<Attribute>| attributes.retain(|each| !is_key(each));
    let strip_all = |fields: &mut Fields| fields.iter_mut().for_each(|f| strip(&mut f.attrs));
    match &mut item {
        Item::Struct(item) => strip_all(&mut item.fields),
        Item::Enum(item) => item
            .variants
            .iter_mut()
            .for_each(|variant| strip_all(&mut variant.fields)),
        _ => {}
    }
    item
}
