//! The handles of a struct of collections.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{GenericParam, Ident, spanned::Spanned as _};

use super::{Expansion, at, fields::Field, list};
use crate::common::item::variable;

impl Expansion<'_> {
    /// How to take part, and all types.
    pub(super) fn handles(&self, fields: &[Field]) -> TokenStream {
        let (entry, writer) = (self.entry(), self.writer(fields));
        let (reader, view) = (self.reader(fields), self.view(fields));
        let (transaction, transacting) = (self.transaction(fields), self.transacting(fields));
        quote!(#entry #writer #reader #view #transaction #transacting)
    }

    /// How to take part.
    fn entry(&self) -> TokenStream {
        let Self {
            root,
            private,
            store,
            content,
            ..
        } = self;
        let (parameters, arguments, conditions) = self.replicated.split_for_impl();
        let (writer, reader) = (self.beside("Writer"), self.beside("Reader"));
        let (writer, reader) = (quote!(#writer #arguments), quote!(#reader #arguments));
        quote! {
            #[allow(dead_code, private_bounds, unreachable_pub, clippy::all, clippy::pedantic)]
            impl #parameters #store #conditions {
                /// Handles that read and write the collections. This node is a member of the store's group, and votes if
                /// chosen. Once it follows the store as a reader, a writer is refused: open that first.
                pub fn writer(network: &#root::Network) -> #writer {
                    Self::builder(network).writer()
                }

                /// Handles that read the collections. This node follows the store's group, and never votes, unless it is
                /// a member already.
                pub fn reader(network: &#root::Network) -> #reader {
                    Self::builder(network).reader()
                }

                /// Options for the store, which begin as they are declared.
                pub fn builder(network: &#root::Network) -> #root::collections::Builder<#writer, #reader> {
                    #private::Entered::<#content>::builder(network.groups())
                }
            }
        }
    }

    /// A type with a field for each collection.
    fn with_fields(
        &self,
        ident: &Ident,
        of: &TokenStream,
        fields: &[Field],
        more: &TokenStream,
        doc: &str,
    ) -> TokenStream {
        let visibility = self.visibility;
        let defined = &self.generics;
        let conditions = &self.generics.where_clause;
        let fields = fields.iter().map(|field| {
            let Field {
                name,
                visibility,
                attributes,
                ty,
                ..
            } = field;
            let of = at(ty.span(), of.clone());
            quote!(#(#attributes)* #visibility #name: #of<#ty>)
        });
        quote! {
            #[doc = #doc]
            #[allow(dead_code)]
            #visibility struct #ident #defined #conditions {
                #(#fields,)*
                #more
            }
        }
    }

    /// `Deref` to `target`, by way of a field.
    fn deref(&self, ident: &Ident, target: &TokenStream, by: &TokenStream) -> TokenStream {
        let (parameters, arguments, conditions) = self.generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #parameters ::core::ops::Deref for #ident #arguments #conditions {
                type Target = #target;

                fn deref(&self) -> &Self::Target {
                    #by
                }
            }
        }
    }

    /// `Clone`, field by field, and `Debug`, as what a field shows or as the name alone.
    fn clone_and_debug(
        &self,
        ident: &Ident,
        fields: &[Field],
        more: &Ident,
        debug: &TokenStream,
    ) -> TokenStream {
        let (parameters, arguments, conditions) = self.generics.split_for_impl();
        let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
        quote! {
            #[automatically_derived]
            #[allow(deprecated)]
            impl #parameters ::core::clone::Clone for #ident #arguments #conditions {
                fn clone(&self) -> Self {
                    Self {
                        #(#names: ::core::clone::Clone::clone(&self.#names),)*
                        #more: ::core::clone::Clone::clone(&self.#more),
                    }
                }
            }

            #[automatically_derived]
            impl #parameters ::core::fmt::Debug for #ident #arguments #conditions {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    #debug
                }
            }
        }
    }

    fn writer(&self, fields: &[Field]) -> TokenStream {
        let Self {
            root,
            private,
            content,
            ..
        } = self;
        let ident = self.beside("Writer");
        let reader = self.beside("Reader");
        let (parameters, arguments, conditions) = self.replicated.split_for_impl();
        let doc = format!(
            "Reads and writes the collections of [`{}`].\n\n\
             Clones are the same store. It dereferences to what reads them.",
            self.declared.ident
        );
        let of = quote!(#root::collections::Writer);
        let more = quote!(__reader: #reader #arguments,);
        let definition = self.with_fields(&ident, &of, fields, &more, &doc);
        let target = quote!(#reader #arguments);
        let deref = self.deref(&ident, &target, &quote!(&self.__reader));
        let debug = quote!(::core::fmt::Debug::fmt(&self.__reader, f));
        let more = Ident::new("__reader", ident.span());
        let common = self.clone_and_debug(&ident, fields, &more, &debug);
        let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
        let listed = list(names.iter());
        let entered = variable("entered");
        quote! {
            #definition
            #deref
            #common

            #[automatically_derived]
            #[allow(deprecated)]
            impl #parameters ::core::convert::From<#private::Entered<#content>> for #ident #arguments #conditions {
                fn from(#entered: #private::Entered<#content>) -> Self {
                    let #listed = #entered.writers();
                    Self {
                        #(#names,)*
                        __reader: ::core::convert::From::from(#entered),
                    }
                }
            }
        }
    }

    /// The method that runs transactions.
    fn transacting(&self, fields: &[Field]) -> TokenStream {
        let Self {
            root,
            private,
            content,
            ..
        } = self;
        let (ident, transaction) = (self.beside("Writer"), self.beside("Transaction"));
        let (parameters, arguments, conditions) = self.replicated.split_for_impl();
        let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
        let listed = list(names.iter());
        let captured = self
            .generics
            .params
            .iter()
            .map(|parameter| match parameter {
                GenericParam::Lifetime(lifetime) => lifetime.lifetime.to_token_stream(),
                GenericParam::Type(ty) => ty.ident.to_token_stream(),
                GenericParam::Const(constant) => constant.ident.to_token_stream(),
            });
        let body = variable("body");
        let (begun, outcome) = (variable("transaction"), variable("outcome"));
        let returned = list(names.iter().map(|name| quote!(#begun.#name)));
        quote! {
            #[allow(dead_code, deprecated, private_bounds, unreachable_pub, clippy::all, clippy::pedantic)]
            impl #parameters #ident #arguments #conditions {
                /// Reads and writes the collections as if nobody else did meanwhile: all that `body` writes is applied
                /// together, and only if what it has read is still the same then; else `body` is called again. Returns
                /// what it returns; with `None` or an `Err` from it nothing is written, and `None` is returned.
                ///
                /// See `mosaik::collections::transaction` for what counts as read.
                ///
                /// # Errors
                /// `GroupError::Contended` if others were faster again and again until the store's `command_timeout`:
                /// nothing was written. After `GroupError::Timeout` the writes are still under way, and their outcome is a
                /// `bool`: whether they were applied.
                pub fn transaction<__Body, __Outcome>(
                    &self,
                    mut #body: __Body,
                ) -> impl ::core::future::Future<
                    Output = ::core::result::Result<
                        ::core::option::Option<<__Outcome as #root::collections::transaction::Outcome>::Value>,
                        #root::GroupError,
                    >,
                > + ::core::marker::Send + use<#(#captured,)* __Body, __Outcome>
                where
                    __Body: ::core::ops::FnMut(&mut #transaction #arguments) -> __Outcome + ::core::marker::Send,
                    __Outcome: #root::collections::transaction::Outcome,
                {
                    #private::transaction_of::<#content, _, _>(self, move |#listed| {
                        let mut #begun = #transaction { #(#names,)* };
                        let #outcome = #body(&mut #begun);
                        (#outcome, #returned)
                    })
                }
            }
        }
    }

    fn reader(&self, fields: &[Field]) -> TokenStream {
        let Self {
            root,
            private,
            content,
            ..
        } = self;
        let (ident, view) = (self.beside("Reader"), self.beside("View"));
        let (parameters, arguments, conditions) = self.replicated.split_for_impl();
        let doc = format!(
            "Reads the collections of [`{}`].\n\n\
             Clones are the same store. It dereferences to what all stores have in common.",
            self.declared.ident
        );
        let of = quote!(#root::collections::Reader);
        let more = quote!(__store: #root::collections::Store,);
        let definition = self.with_fields(&ident, &of, fields, &more, &doc);
        let target = quote!(#root::collections::Store);
        let deref = self.deref(&ident, &target, &quote!(&self.__store));
        let debug = quote!(::core::fmt::Debug::fmt(&self.__store, f));
        let more = Ident::new("__store", ident.span());
        let common = self.clone_and_debug(&ident, fields, &more, &debug);
        let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
        let entered = variable("entered");
        let listed = list(names.iter());
        quote! {
            #definition
            #deref
            #common

            #[automatically_derived]
            #[allow(deprecated)]
            impl #parameters ::core::convert::From<#private::Entered<#content>> for #ident #arguments #conditions {
                fn from(#entered: #private::Entered<#content>) -> Self {
                    let #listed = #entered.readers();
                    Self {
                        #(#names,)*
                        __store: #entered.store(),
                    }
                }
            }

            #[allow(dead_code, deprecated, private_bounds, unreachable_pub, clippy::all, clippy::pedantic)]
            impl #parameters #ident #arguments #conditions {
                /// The collections as this node has them now, all at the same version, to be looked at for as long as is
                /// wanted, without any copy.
                pub fn view(&self) -> #view #arguments {
                    let (__version, #listed) = #private::views_of::<#content>(self);
                    #view {
                        #(#names,)*
                        __version,
                    }
                }
            }
        }
    }

    fn view(&self, fields: &[Field]) -> TokenStream {
        let root = &self.root;
        let ident = self.beside("View");
        let (parameters, arguments, conditions) = self.generics.split_for_impl();
        let doc = format!(
            "The collections of [`{}`] as they were at one moment: whatever is written later does not show in them.",
            self.declared.ident
        );
        let of = quote!(#root::collections::View);
        let more = quote!(__version: #root::Version,);
        let definition = self.with_fields(&ident, &of, fields, &more, &doc);
        let name = self.declared.ident.to_string();
        let debug = quote! {
            f.debug_struct(#name)
                .field("version", &self.__version)
                .finish_non_exhaustive()
        };
        let more = Ident::new("__version", ident.span());
        let common = self.clone_and_debug(&ident, fields, &more, &debug);
        quote! {
            #definition
            #common

            #[allow(dead_code, unreachable_pub)]
            impl #parameters #ident #arguments #conditions {
                /// The version of the store that this is.
                pub fn version(&self) -> #root::Version {
                    self.__version
                }
            }
        }
    }

    fn transaction(&self, fields: &[Field]) -> TokenStream {
        let root = &self.root;
        let ident = self.beside("Transaction");
        let (parameters, arguments, conditions) = self.generics.split_for_impl();
        let doc = format!(
            "The collections of [`{}`] in a transaction: see `mosaik::collections::transaction` for what counts as read.",
            self.declared.ident
        );
        let of = quote!(#root::collections::Transaction);
        let definition = self.with_fields(&ident, &of, fields, &TokenStream::new(), &doc);
        let name = ident.to_string();
        quote! {
            #definition

            #[automatically_derived]
            impl #parameters ::core::fmt::Debug for #ident #arguments #conditions {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.debug_struct(#name).finish_non_exhaustive()
                }
            }
        }
    }
}
