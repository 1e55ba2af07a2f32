//! The expansion: the item with its derives, an `impl Declared` and a submission to the registry.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::ext::IdentExt;

use super::options::Options;
use crate::common::{declaration, derives, item::Declared};

/// The whole expansion.
pub(crate) fn expand(declared: &Declared, options: &Options) -> TokenStream {
    let item = &declared.item;
    let derives = derives::missing(declared, options.skip, &options.runtime);
    let implementation = implementation(declared, options);
    let submission = submission(declared, options);
    quote! {
        #derives
        #item

        const _: () = {
            #implementation
            #submission
        };
    }
}

fn implementation(declared: &Declared, options: &Options) -> TokenStream {
    let private = options.runtime.private();
    let serde = options.runtime.serde();
    let ident = &declared.ident;
    let name = declaration::name(declared, options.name.as_ref(), &options.runtime);
    let schema = declaration::schema(options.schema.as_ref(), &options.runtime);
    let setters = options.settings.iter().map(|(setter, value)| {
        let value = Literal::u64_unsuffixed(*value);
        quote!(.#setter(#value))
    });
    let tickets = &options.tickets;
    let mut generics = declared.generics.clone();
    if declared.is_generic() {
        generics
            .make_where_clause()
            .predicates
            .push(syn::parse_quote!(
                Self: #serde::Serialize
                    + #serde::de::DeserializeOwned
                    + ::core::marker::Send
                    + ::core::marker::Sync
                    + 'static
            ));
    }
    let (parameters, arguments, conditions) = generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #parameters #private::Declared for #ident #arguments #conditions {
            fn declaration() -> #private::TopicDecl {
                #private::declaration::<Self>(
                    #name,
                    ::core::file!(),
                    ::core::line!(),
                    #schema,
                    #private::Options::DEFAULT #(#setters)* #(.ticket(#tickets))* .build(),
                )
            }
        }
    }
}

fn submission(declared: &Declared, options: &Options) -> TokenStream {
    let private = options.runtime.private();
    let ident = &declared.ident;
    if !declared.is_generic() {
        return quote! {
            #private::inventory::submit! {
                #private::Submission::Topic(<#ident as #private::Declared>::declaration)
            }
        };
    }
    let ident = ident.unraw().to_string();
    // The inner block keeps the marker's name from the user's types; the runtime expects it there.
    quote! {
        const _: () = {
            enum Marker {}
            #private::inventory::submit! {
                #private::Submission::Generic(#private::GenericDecl {
                    marker: ::core::any::type_name::<Marker>,
                    ident: #ident,
                    location: #private::Location {
                        file: ::core::file!(),
                        line: ::core::line!(),
                    },
                })
            }
        };
    }
}
