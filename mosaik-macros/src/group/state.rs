//! `#[group]` on the state: the declaration, and the types of the handles.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Generics, Ident, Visibility, parse_quote};

use super::{beside, borrowing, valid};
use crate::common::{
    declaration, derives, error,
    item::{self, Declared},
    options::{self, Options},
    own,
};

/// What an item of another kind gets.
const COMPLAINT: &str = "`#[group]` declares the state of a group: it stands on a struct or an enum, and on its `impl` block";

/// Expands the attribute.
pub(super) fn group(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut declared = match item::parse(item.clone(), COMPLAINT) {
        Ok(declared) => declared,
        Err(error) => return error::unsupported(&error, &item),
    };
    let (options, mut errors) = options::parse(args, &[]);
    errors.extend(valid::check(&declared));
    declared.strip(valid::is_exception);
    let derives = derives::missing(&declared, options.skip, &options.runtime);
    let item = &declared.item;
    let error = error::combined(errors).map(|error| error.to_compile_error());
    if declared.generics.lifetimes().next().is_some() {
        // Nothing that borrows can be the state of a group.
        return quote!(#error #derives #item);
    }
    let expansion = Expansion::new(&declared, &options);
    let declaration = expansion.declaration();
    let (member, client) = (expansion.member(), expansion.client());
    let local = expansion.local();
    let batch = expansion.batch();
    quote! {
        #error
        #derives
        #item
        #member
        #client
        #local
        #batch
        const _: () = { #declaration };
    }
}

/// What is needed to write the parts.
struct Expansion<'a> {
    declared: &'a Declared,
    options: &'a Options,
    visibility: &'a Visibility,
    /// The parameters of the state.
    generics: Generics,
    root: TokenStream,
    private: TokenStream,
    handle: Ident,
    client: Ident,
    local: Ident,
    batch: Ident,
    /// The state, with its arguments.
    state: TokenStream,
}

impl<'a> Expansion<'a> {
    fn new(declared: &'a Declared, options: &'a Options) -> Self {
        let ident = &declared.ident;
        let (root, private) = (options.runtime.root(), options.runtime.private());
        let (_, arguments, _) = declared.generics.split_for_impl();
        let state = quote!(#ident #arguments);
        let mut generics = declared.generics.clone();
        own::in_generics(&mut generics, &parse_quote!(#state));
        Self {
            declared,
            options,
            visibility: declared.visibility(),
            generics,
            root,
            private,
            handle: beside(ident, "Group"),
            client: beside(ident, "Client"),
            local: beside(ident, "Local"),
            batch: beside(ident, "Batch"),
            state,
        }
    }

    /// `impl DeclaredGroup`, and a submission to the registry.
    fn declaration(&self) -> TokenStream {
        let Self { root, private, .. } = self;
        let (ident, options) = (&self.declared.ident, self.options);
        let name = declaration::name(self.declared, options.name.as_ref(), &options.runtime);
        let schema = declaration::schema(options.schema.as_ref(), &options.runtime);
        let settings = options.statements();
        let is_generic = self.declared.is_generic();
        let submission = (!is_generic).then(|| {
            quote! {
                const _: () = #private::application::<#ident>();
                #private::inventory::submit! {
                    #private::Submission::Group(<#ident as #private::DeclaredGroup>::declaration)
                }
            }
        });
        let mut generics = self.declared.generics.clone();
        if is_generic {
            let serde = options.runtime.serde();
            let conditions = generics.make_where_clause();
            conditions
                .predicates
                .push(parse_quote!(Self: #serde::de::DeserializeOwned + 'static));
        }
        let (parameters, arguments, conditions) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #parameters #private::DeclaredGroup for #ident #arguments #conditions {
                fn declaration() -> #private::GroupDecl {
                    #private::group_declaration::<Self>(
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

    /// The handle of a member.
    fn member(&self) -> TokenStream {
        let (root, state) = (&self.root, &self.state);
        let doc = format!(
            "A member of the group whose state is [`{}`], with a method for each command and query.\n\n\
             Clones share it. It dereferences to what all groups have in common.",
            self.declared.ident
        );
        self.handle(&self.handle, &quote!(#root::Group<#state>), &doc)
    }

    /// The handle of a client.
    fn client(&self) -> TokenStream {
        let (root, state) = (&self.root, &self.state);
        let doc = format!(
            "A client of the group whose state is [`{}`], with a method for each command and query, which a member \
             answers: this node holds no state.\n\n\
             Clones share it. It dereferences to what all clients have in common.",
            self.declared.ident
        );
        let client = quote!(#root::groups::GroupClient<#state>);
        self.handle(&self.client, &client, &doc)
    }

    /// A handle around what all groups have in common.
    fn handle(&self, handle: &Ident, inner: &TokenStream, doc: &str) -> TokenStream {
        let visibility = self.visibility;
        let defined = &self.generics;
        let (parameters, arguments, conditions) = defined.split_for_impl();
        quote! {
            #[doc = #doc]
            #[allow(dead_code)]
            #visibility struct #handle #defined (#inner) #conditions;

            #[automatically_derived]
            impl #parameters ::core::ops::Deref for #handle #arguments #conditions {
                type Target = #inner;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }

            #[automatically_derived]
            impl #parameters ::core::convert::From<#inner> for #handle #arguments #conditions {
                fn from(group: #inner) -> Self {
                    Self(group)
                }
            }

            #[automatically_derived]
            impl #parameters ::core::clone::Clone for #handle #arguments #conditions {
                fn clone(&self) -> Self {
                    Self(::core::clone::Clone::clone(&self.0))
                }
            }

            #[automatically_derived]
            impl #parameters ::core::fmt::Debug for #handle #arguments #conditions {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::fmt::Debug::fmt(&self.0, f)
                }
            }
        }
    }

    /// The queries on the state as it is here.
    fn local(&self) -> TokenStream {
        let Self {
            root,
            visibility,
            local,
            state,
            ..
        } = self;
        let doc = format!(
            "The queries of [`{}`], as the state on this node answers them.\n\n\
             While that is being restored, after a start or after a command that panicked, they are answered from \
             the state that a group begins with; `local` of the group itself tells.",
            self.declared.ident
        );
        let generics = borrowing(&self.generics, false);
        let defined = &generics;
        let (parameters, arguments, conditions) = generics.split_for_impl();
        quote! {
            #[doc = #doc]
            #[allow(dead_code)]
            #visibility struct #local #defined (&'__group #root::Group<#state>) #conditions;

            #[automatically_derived]
            impl #parameters ::core::convert::From<&'__group #root::Group<#state>> for #local #arguments #conditions {
                fn from(group: &'__group #root::Group<#state>) -> Self {
                    Self(group)
                }
            }

            #[automatically_derived]
            impl #parameters ::core::convert::AsRef<#root::Group<#state>> for #local #arguments #conditions {
                fn as_ref(&self) -> &#root::Group<#state> {
                    self.0
                }
            }

            #[automatically_derived]
            impl #parameters ::core::clone::Clone for #local #arguments #conditions {
                fn clone(&self) -> Self {
                    *self
                }
            }

            #[automatically_derived]
            impl #parameters ::core::marker::Copy for #local #arguments #conditions {}

            #[automatically_derived]
            impl #parameters ::core::fmt::Debug for #local #arguments #conditions {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::fmt::Debug::fmt(self.0, f)
                }
            }
        }
    }

    /// Commands that are gathered for one entry.
    fn batch(&self) -> TokenStream {
        let Self {
            private,
            visibility,
            batch,
            state,
            ..
        } = self;
        let doc = format!(
            "Commands of [`{}`] to be applied as one log entry, with nothing in between: await it.\n\n\
             It returns a tuple of what they return, of up to 12. One that returns an `Err` does not undo the others; \
             if one panics, none is applied.",
            self.declared.ident
        );
        let generics = borrowing(&self.generics, true);
        let defined = &generics;
        let (parameters, arguments, conditions) = generics.split_for_impl();
        let inner = quote!(#private::Batch<'__group, #state, __Outputs>);
        let awaiting = self.awaiting();
        quote! {
            #[doc = #doc]
            #[must_use = "a batch is sent when it is awaited"]
            #[allow(dead_code)]
            #visibility struct #batch #defined (#inner) #conditions;

            #[automatically_derived]
            impl #parameters ::core::convert::From<#inner> for #batch #arguments #conditions {
                fn from(batch: #inner) -> Self {
                    Self(batch)
                }
            }

            #[automatically_derived]
            impl #parameters ::core::convert::From<#batch #arguments> for #inner #conditions {
                fn from(batch: #batch #arguments) -> Self {
                    batch.0
                }
            }

            #awaiting

            #[automatically_derived]
            impl #parameters ::core::fmt::Debug for #batch #arguments #conditions {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::fmt::Debug::fmt(&self.0, f)
                }
            }
        }
    }

    /// `IntoFuture` for a batch, whose methods say what it returns.
    fn awaiting(&self) -> TokenStream {
        let Self {
            root, batch, state, ..
        } = self;
        let serde = self.options.runtime.serde();
        let mut generics = borrowing(&self.generics, true);
        let predicates = &mut generics.make_where_clause().predicates;
        predicates.push(parse_quote!(
            __Outputs: #serde::de::DeserializeOwned + ::core::marker::Send + 'static
        ));
        if self.declared.is_generic() {
            predicates.push(parse_quote!(
                #state: ::core::marker::Send + ::core::marker::Sync
            ));
        }
        let (parameters, arguments, conditions) = generics.split_for_impl();
        let result = quote!(::core::result::Result<__Outputs, #root::GroupError>);
        quote! {
            #[automatically_derived]
            impl #parameters ::core::future::IntoFuture for #batch #arguments #conditions {
                type Output = #result;
                type IntoFuture = ::core::pin::Pin<::std::boxed::Box<
                    dyn ::core::future::Future<Output = #result> + ::core::marker::Send + '__group,
                >>;

                fn into_future(self) -> Self::IntoFuture {
                    self.0.send()
                }
            }
        }
    }
}
