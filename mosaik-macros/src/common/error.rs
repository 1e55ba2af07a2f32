//! Mistakes, and what is emitted beside them so that each stays one diagnostic.

use proc_macro2::TokenStream;
use quote::quote;

/// The error, and an item that the attribute cannot stand on, as it stands.
pub(crate) fn unsupported(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}

/// All of them as one, if there are any.
pub(crate) fn combined(errors: Vec<syn::Error>) -> Option<syn::Error> {
    errors.into_iter().reduce(|mut all, next| {
        all.combine(next);
        all
    })
}
