//! The expansion: the item with its derives, an `impl Declared` and a submission to the registry.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::ext::IdentExt;

use super::options::Options;
use crate::common::{derives, item::Declared};

/// The whole expansion.
pub(crate) fn expand(declared: &Declared, options: &Options) -> TokenStream {
    let item = &declared.item;
    let derives = derives(declared, options);
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

/// The derives that the item lacks, to stand above it.
pub(crate) fn derives(declared: &Declared, options: &Options) -> TokenStream {
    let (attributes, has) = (declared.attributes(), declared.derives);
    derives::missing(attributes, has, options.skip, &options.runtime)
}

fn implementation(declared: &Declared, options: &Options) -> TokenStream {
    let private = options.runtime.private();
    let serde = options.runtime.serde();
    let ident = &declared.ident;
    let name = name(declared, options);
    let schema = match &options.schema {
        Some(version) => quote!(#private::SchemaSource::Stated(#version)),
        None => quote!(#private::SchemaSource::Traced(#private::trace::<Self>)),
    };
    let setters = options.settings.iter().map(|(setter, value)| {
        let value = Literal::u64_unsuffixed(*value);
        quote!(.#setter(#value))
    });
    let mut generics = declared.generics.clone();
    if is_generic(declared) {
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
                    #private::Options::DEFAULT #(#setters)* .build(),
                )
            }
        }
    }
}

/// An expression for the topic's name.
fn name(declared: &Declared, options: &Options) -> TokenStream {
    let private = options.runtime.private();
    let ident = declared.ident.unraw().to_string();
    let name = match &options.name {
        Some(name) => quote!(#name),
        None => quote!(::core::concat!(::core::env!("CARGO_PKG_NAME"), "/", #ident)),
    };
    if is_generic(declared) {
        quote!(#private::instance_name::<Self>(#name))
    } else {
        name
    }
}

fn submission(declared: &Declared, options: &Options) -> TokenStream {
    let private = options.runtime.private();
    let ident = &declared.ident;
    if !is_generic(declared) {
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

fn is_generic(declared: &Declared) -> bool {
    !declared.generics.params.is_empty()
}
