//! What is emitted beside an error, so that it stays the only one.

use proc_macro2::TokenStream;
use quote::quote;

/// The error, and an item that is no group at all, as it stands.
pub(super) fn unsupported(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#error #item)
}
