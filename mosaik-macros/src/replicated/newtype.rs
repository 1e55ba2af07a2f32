//! What a struct gets that names one collection.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Expansion, fields::Field};

impl Expansion<'_> {
    /// How to take part.
    pub(super) fn newtype(&self, field: &Field) -> TokenStream {
        let Self {
            root,
            private,
            store,
            content,
            ..
        } = self;
        let ty = &field.ty;
        let (parameters, _, conditions) = self.replicated.split_for_impl();
        let (writer, reader) = (
            quote!(#root::collections::Writer<#ty>),
            quote!(#root::collections::Reader<#ty>),
        );
        quote! {
            #[allow(dead_code, private_bounds, private_interfaces, unreachable_pub, clippy::all, clippy::pedantic)]
            impl #parameters #store #conditions {
                /// A handle that reads and writes the collection. This node is a member of the store's group, and
                /// votes if chosen.
                pub fn writer(network: &#root::Network) -> #writer {
                    Self::builder(network).writer()
                }

                /// A handle that reads the collection. This node follows the store's group, and never votes, unless
                /// it is a member already.
                pub fn reader(network: &#root::Network) -> #reader {
                    Self::builder(network).reader()
                }

                /// Options for the store, which begin as they are declared.
                pub fn builder(network: &#root::Network) -> #root::collections::Builder<#writer, #reader> {
                    #private::builder_of_one::<#content, #ty>(network.groups())
                }
            }
        }
    }
}
