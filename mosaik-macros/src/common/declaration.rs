//! What declarations of all kinds say: a name, and where the schema comes from.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{LitStr, ext::IdentExt};

use super::item::Declared;
use crate::path::Runtime;

/// An expression for the name on the wire.
pub(crate) fn name(declared: &Declared, given: Option<&LitStr>, runtime: &Runtime) -> TokenStream {
    let ident = declared.ident.unraw().to_string();
    let name = match given {
        Some(name) => quote!(#name),
        None => quote!(::core::concat!(::core::env!("CARGO_PKG_NAME"), "/", #ident)),
    };
    if !declared.is_generic() {
        return name;
    }
    let private = runtime.private();
    quote!(#private::instance_name::<Self>(#name))
}

/// An expression for the source of the schema.
pub(crate) fn schema(stated: Option<&LitStr>, runtime: &Runtime) -> TokenStream {
    let private = runtime.private();
    match stated {
        Some(version) => quote!(#private::SchemaSource::Stated(#version)),
        None => quote!(#private::SchemaSource::Traced(#private::trace::<Self>)),
    }
}
