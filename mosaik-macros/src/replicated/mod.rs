//! `#[replicated]`, on a struct of collections.

mod fields;
mod handles;
mod newtype;

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::quote;
use syn::{Generics, Ident, LitStr, Visibility, ext::IdentExt as _, parse_quote};

use self::fields::{Field, Shape};
use crate::common::{
    declaration, error,
    item::{self, Declared},
    options::{self, Options},
    own,
};

/// What an item of another kind gets.
const COMPLAINT: &str =
    "`#[replicated]` stands on a struct whose fields are collections of `mosaik::collections`";
/// What a lifetime gets.
const BORROWS: &str = "what is replicated outlives whoever wrote it, so it must own what it holds";

/// Expands the attribute.
pub(crate) fn replicated(args: TokenStream, item: TokenStream) -> TokenStream {
    let declared = match item::parse(item.clone(), COMPLAINT) {
        Ok(declared) => declared,
        Err(error) => return error::unsupported(&error, &item),
    };
    let (options, mut errors) = options::parse(args, &["derive"]);
    let lifetimes = declared.lifetimes(BORROWS);
    let has_lifetimes = !lifetimes.is_empty();
    errors.extend(lifetimes);
    let shape = fields::of(&declared).map_err(|wrong| errors.extend(wrong));
    let error = error::combined(errors).map(|error| error.to_compile_error());
    let item = &declared.item;
    let Ok(shape) = shape else {
        return quote!(#error #item);
    };
    if has_lifetimes {
        return quote!(#error #item);
    }
    let expansion = Expansion::new(&declared, &options, &shape);
    let (content, declaration) = (expansion.content(), expansion.declaration());
    let handles = match &shape {
        Shape::Named(fields) => expansion.handles(fields),
        Shape::Newtype(field) => expansion.newtype(field),
    };
    quote! {
        #error
        // It says what there is, and is never made.
        #[allow(dead_code, missing_debug_implementations)]
        #item
        #content
        #handles
        const _: () = { #declaration };
    }
}

/// What is needed to write the parts.
struct Expansion<'a> {
    declared: &'a Declared,
    options: &'a Options,
    shape: &'a Shape,
    visibility: &'a Visibility,
    /// The parameters of the struct.
    generics: Generics,
    /// The same, on the condition that what the fields hold may be replicated.
    replicated: Generics,
    root: TokenStream,
    private: TokenStream,
    /// The struct, with its arguments.
    store: TokenStream,
    /// What stands for the struct where it says what it consists of, with the same arguments. It is private: what a
    /// collection holds may be so, too, and then nothing public may tell.
    content: TokenStream,
}

impl<'a> Expansion<'a> {
    fn new(declared: &'a Declared, options: &'a Options, shape: &'a Shape) -> Self {
        let (root, private) = (options.runtime.root(), options.runtime.private());
        let ident = &declared.ident;
        let (_, arguments, _) = declared.generics.split_for_impl();
        let store = quote!(#ident #arguments);
        let content = content_of(ident);
        let content = quote!(#content #arguments);
        let mut generics = declared.generics.clone();
        own::in_generics(&mut generics, &parse_quote!(#store));
        let mut replicated = generics.clone();
        let predicates = &mut replicated.make_where_clause().predicates;
        if declared.is_generic() {
            // That all of it is replicated would hide from the compiler what it consists of.
            predicates.push(parse_quote!(#store: 'static));
            for Field { ty, .. } in shape.fields() {
                predicates.push(parse_quote!(#ty: #private::Stored));
            }
        } else {
            // Where it says what is wrong, it is wrong in the struct.
            let predicate = quote!(#content: #private::Replicated);
            let predicate = at(ident.span(), predicate);
            predicates.push(parse_quote!(#predicate));
        }
        Self {
            declared,
            options,
            shape,
            visibility: declared.visibility(),
            generics,
            replicated,
            root,
            private,
            store,
            content,
        }
    }

    /// The name of a type that is made for the struct.
    fn beside(&self, suffix: &str) -> Ident {
        item::beside(&self.declared.ident, suffix)
    }

    /// What stands for the struct: whatever is generated asks it what it consists of.
    fn content(&self) -> TokenStream {
        let Self { store, .. } = self;
        let ident = content_of(&self.declared.ident);
        let generics = &self.generics;
        let conditions = &self.generics.where_clause;
        quote! {
            #[doc(hidden)]
            #[allow(missing_debug_implementations)]
            struct #ident #generics (::core::marker::PhantomData<fn() -> #store>) #conditions;
        }
    }

    /// `impl DeclaredStore`, and a submission to the registry.
    fn declaration(&self) -> TokenStream {
        let Self {
            root,
            private,
            store,
            content,
            options,
            ..
        } = self;
        let name = declaration::name(self.declared, options.name.as_ref(), &options.runtime);
        let schema = match &options.schema {
            Some(version) => quote!(#private::SchemaSource::Stated(#version)),
            None => quote!(#private::SchemaSource::Traced(#private::trace_store::<Self>)),
        };
        let settings = options.statements();
        let types = self.shape.fields().iter().map(|field| &field.ty);
        let collections = list(types);
        let writes = self.shape.fields().iter().map(Field::command);
        let submission = (!self.declared.is_generic()).then(|| {
            let declared = at(
                self.declared.ident.span(),
                quote!(<#content as #private::DeclaredStore>::declaration),
            );
            quote! {
                #private::inventory::submit! {
                    #private::Submission::Store(#declared)
                }
            }
        });
        let (parameters, _, conditions) = self.generics.split_for_impl();
        let (_, _, replicated) = self.replicated.split_for_impl();
        let header = at(
            self.declared.ident.span(),
            quote!(impl #parameters #private::DeclaredStore for #content #replicated),
        );
        quote! {
            #[automatically_derived]
            impl #parameters #private::DeclaredCollections for #content #conditions {
                type Collections = #collections;

                const WRITES: &'static [&'static str] = &[#(#writes),*];
            }

            #[automatically_derived]
            #header {
                fn declaration() -> #private::GroupDecl {
                    #private::group_declaration::<#store>(
                        #name,
                        ::core::file!(),
                        ::core::line!(),
                        #schema,
                    )
                }

                #[allow(unused_mut, clippy::all, clippy::pedantic)]
                fn options() -> #root::groups::Options {
                    #settings
                }
            }
            #submission
        }
    }
}

/// The name of what stands for the struct.
fn content_of(ident: &Ident) -> Ident {
    Ident::new(&format!("__{}Collections", ident.unraw()), ident.span())
}

/// A list, each with what follows it: `(first, (second, ()))`.
fn list<T: quote::ToTokens>(
    items: impl IntoIterator<Item = T, IntoIter: DoubleEndedIterator>,
) -> TokenStream {
    let items = items.into_iter().rev();
    items.fold(quote!(()), |rest, first| quote!((#first, #rest)))
}

/// The tokens as if they stood at `span`, for errors to be shown there, once.
fn at(span: Span, tokens: TokenStream) -> TokenStream {
    let tokens = tokens.into_iter().map(|mut token| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), at(span, group.stream())).into();
        }
        token.set_span(span);
        token
    });
    tokens.collect()
}

/// A string literal at a name.
fn literal(text: &str, at: &Ident) -> LitStr {
    LitStr::new(text, at.span())
}
