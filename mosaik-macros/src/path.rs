//! The one place that knows where expansions find the runtime.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Path;

/// The runtime crate, `::mosaik` unless `crate = path` says otherwise.
#[derive(Default)]
pub(crate) struct Runtime(Option<Path>);

impl Runtime {
    pub(crate) fn at(path: Path) -> Self {
        Self(Some(path))
    }

    /// The crate itself.
    pub(crate) fn root(&self) -> TokenStream {
        match &self.0 {
            Some(path) => quote!(#path),
            None => quote!(::mosaik),
        }
    }

    /// What expansions call.
    pub(crate) fn private(&self) -> TokenStream {
        let root = self.root();
        quote!(#root::__private)
    }

    /// The serde that the added derives use.
    pub(crate) fn serde(&self) -> TokenStream {
        let root = self.root();
        quote!(#root::serde)
    }
}
