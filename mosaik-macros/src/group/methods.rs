//! `#[group]` on an `impl` block: the commands and queries, and the methods of the handles for them.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    GenericParam, Generics, Ident, ImplItem, ItemImpl, Lifetime, Path, PathArguments, Type,
    TypePath, ext::IdentExt, parse_quote, visit::Visit,
};

use super::{
    combined,
    method::{self, Kind, Method},
    options, own, peeled,
};
use crate::path::Runtime;

/// Expands the attribute.
pub(super) fn group(args: TokenStream, mut block: ItemImpl) -> TokenStream {
    let (runtime, mut errors) = options::parse_methods(args);
    let mut methods = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else {
            continue;
        };
        errors.extend(method::taken(&function.sig.ident));
        if let Some(found) = method::take(function) {
            errors.extend(found.errors);
            methods.push(found.method);
        }
    }
    errors.extend(method::clashes(&mut methods));
    let state = match state(&block) {
        Ok(state) => state,
        Err(error) => {
            errors.push(error);
            let error = combined(errors).map(|all| all.to_compile_error());
            return quote!(#error #block);
        }
    };
    if borrows(&block.generics, &state) {
        // The state's own attribute says that it cannot.
        let error = combined(errors).map(|error| error.to_compile_error());
        return quote!(#error #block);
    }
    for method in &mut methods {
        own::in_method(method, &block.self_ty);
    }
    let expansion = Expansion::new(&block, state, &methods, &runtime);
    let (application, handles) = (expansion.application(), expansion.handles());
    let error = combined(errors).map(|error| error.to_compile_error());
    quote! {
        #error
        #block
        const _: () = {
            #application
            #handles
        };
    }
}

/// The path of the state.
fn state(block: &ItemImpl) -> syn::Result<Path> {
    if let Some((path, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(
            path,
            "commands and queries are methods of the state itself: put `#[group]` on an `impl` block without a trait",
        ));
    }
    match peeled(&block.self_ty) {
        Type::Path(TypePath {
            qself: None, path, ..
        }) => Ok(path.clone()),
        other => Err(syn::Error::new_spanned(
            other,
            "the state of a group is a struct or an enum, by its name",
        )),
    }
}

/// Whether the state has a lifetime.
fn borrows(generics: &Generics, state: &Path) -> bool {
    struct Lifetimes(bool);
    impl<'ast> Visit<'ast> for Lifetimes {
        fn visit_lifetime(&mut self, _: &'ast Lifetime) {
            self.0 = true;
        }
    }
    let mut lifetimes = Lifetimes(generics.lifetimes().next().is_some());
    lifetimes.visit_path(state);
    lifetimes.0
}

/// What is needed to write the parts.
struct Expansion<'a> {
    methods: &'a [Method],
    state: Path,
    /// The parameters of the block, with what its commands need of them as conditions.
    generics: Generics,
    is_generic: bool,
    root: TokenStream,
    private: TokenStream,
}

impl<'a> Expansion<'a> {
    fn new(block: &ItemImpl, state: Path, methods: &'a [Method], runtime: &Runtime) -> Self {
        let private = runtime.private();
        let serde = runtime.serde();
        let mut generics = block.generics.clone();
        own::in_generics(&mut generics, &block.self_ty);
        let is_generic = !generics.params.is_empty();
        if is_generic {
            let parameters = generics
                .params
                .iter()
                .filter_map(|parameter| match parameter {
                    GenericParam::Type(parameter) => Some(parameter.ident.clone()),
                    GenericParam::Const(parameter) => Some(parameter.ident.clone()),
                    GenericParam::Lifetime(_) => None,
                });
            let parameters: Vec<Ident> = parameters.collect();
            let travelling = methods.iter().filter(|each| each.travels);
            let travelling = travelling.flat_map(Method::travelling);
            let travelling = travelling.filter(|ty| mentions(ty, &parameters));
            let travelling = travelling.map(|ty| -> syn::WherePredicate {
                parse_quote!(
                    #ty: #serde::Serialize + #serde::de::DeserializeOwned + ::core::marker::Send + 'static
                )
            });
            let mut predicates: Vec<syn::WherePredicate> = travelling.collect();
            predicates.push(parse_quote!(
                #state: ::core::clone::Clone
                    + ::core::default::Default
                    + #serde::Serialize
                    + #serde::de::DeserializeOwned
                    + ::core::marker::Send
                    + ::core::marker::Sync
                    + #private::DeclaredGroup
            ));
            generics.make_where_clause().predicates.extend(predicates);
        }
        Self {
            methods,
            state,
            generics,
            is_generic,
            root: runtime.root(),
            private,
        }
    }

    /// The state's name with something behind, and its arguments behind others.
    fn handle(&self, suffix: &str, before: TokenStream) -> TokenStream {
        let mut path = self.state.clone();
        let Some(last) = path.segments.last_mut() else {
            return TokenStream::new();
        };
        last.ident = Ident::new(
            &format!("{}{suffix}", last.ident.unraw()),
            last.ident.span(),
        );
        let own = match std::mem::replace(&mut last.arguments, PathArguments::None) {
            PathArguments::AngleBracketed(own) => {
                let own = own.args;
                quote!(#own)
            }
            _ => TokenStream::new(),
        };
        quote!(#path < #before #own >)
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &'a Method> + use<'a> {
        let methods = self.methods.iter();
        methods.filter(move |each| each.kind == kind && each.travels)
    }

    /// `impl Application`, with the type of its commands.
    fn application(&self) -> TokenStream {
        let Self {
            private,
            root,
            state,
            ..
        } = self;
        let (parameters, _, conditions) = self.generics.split_for_impl();
        let operation = self.operation();
        let operation_type = self.operation_type();
        let (interface, decode) = (self.interface(), self.decode());
        let (run, ask) = (self.run(), self.ask());
        quote! {
            #operation

            #[automatically_derived]
            #[allow(deprecated, unreachable_patterns, unused_variables, clippy::all, clippy::pedantic)]
            impl #parameters #private::Application for #state #conditions {
                type Operation = #operation_type;
                type Image = Self;

                fn interface() -> #private::Interface {
                    #interface
                }

                fn decode(bytes: &[u8]) -> ::core::result::Result<(Self::Operation, &[u8]), #private::Unknown> {
                    #decode
                }

                fn run(
                    &mut self,
                    ctx: &#root::Ctx,
                    operation: Self::Operation,
                    reply: &mut #private::Reply,
                ) -> ::core::result::Result<(), #private::Unencodable> {
                    #run
                }

                fn ask(
                    &self,
                    query: &[u8],
                    reply: &mut #private::Reply,
                ) -> ::core::result::Result<(), #private::AskError> {
                    #ask
                }

                fn image(&self) -> Self {
                    ::core::clone::Clone::clone(self)
                }

                fn from_image(image: Self) -> Self {
                    image
                }
            }
        }
    }

    /// The enum of commands.
    fn operation(&self) -> TokenStream {
        let variants = self.of(Kind::Command).map(|method| {
            let (conditions, ident) = (&method.conditions, &method.ident);
            let types = method.arguments.iter().map(|argument| &argument.ty);
            quote!(#(#conditions)* #ident(#(#types),*),)
        });
        let never = self.is_generic.then(|| {
            let state = &self.state;
            quote!(__Never(::core::convert::Infallible, ::core::marker::PhantomData<fn() -> #state>),)
        });
        let (parameters, _, conditions) = self.generics.split_for_impl();
        let parameters = self.is_generic.then_some(parameters);
        quote! {
            #[doc(hidden)]
            #[allow(non_camel_case_types, private_bounds, private_interfaces, unreachable_pub, missing_docs, missing_debug_implementations, clippy::all, clippy::pedantic)]
            pub enum __Operation #parameters #conditions {
                #(#variants)*
                #never
            }
        }
    }

    fn operation_type(&self) -> TokenStream {
        let (_, arguments, _) = self.generics.split_for_impl();
        quote!(__Operation #arguments)
    }

    fn interface(&self) -> TokenStream {
        let private = &self.private;
        let travelling = self.methods.iter().filter(|each| each.travels);
        let entries = travelling.map(|method| {
            let (conditions, name) = (&method.conditions, method.name());
            let (arguments, output) = (method.owned_tuple(), &method.output);
            let add = Ident::new(&method.kind.to_string(), Span::mixed_site());
            quote!(#(#conditions)* interface.#add::<#arguments, #output>(#name);)
        });
        quote! {
            let declared = <Self as #private::DeclaredGroup>::declaration();
            #[allow(unused_mut)]
            let mut interface = #private::Interface::of::<Self>(declared.schema);
            #(#entries)*
            interface
        }
    }

    /// Constants with the numbers of methods, for patterns.
    fn numbers(&self, kind: Kind) -> TokenStream {
        let private = &self.private;
        let numbers = self.of(kind).enumerate().map(|(at, method)| {
            let (conditions, name) = (&method.conditions, method.name());
            let number = number(at);
            quote!(#(#conditions)* const #number: u64 = #private::number(#name);)
        });
        quote!(#(#numbers)*)
    }

    fn decode(&self) -> TokenStream {
        let private = &self.private;
        let numbers = self.numbers(Kind::Command);
        let arms = self.of(Kind::Command).enumerate().map(|(at, method)| {
            let (conditions, ident, number) = (&method.conditions, &method.ident, number(at));
            let (names, tuple) = (method.locals(), method.owned_tuple());
            quote! {
                #(#conditions)*
                #number => {
                    let ((#(#names,)*), rest) = #private::Unknown::arguments::<#tuple>(rest)?;
                    ::core::result::Result::Ok((__Operation::#ident(#(#names),*), rest))
                }
            }
        });
        quote! {
            #numbers
            let (number, rest) = #private::Unknown::number(bytes)?;
            match number {
                #(#arms)*
                unknown => ::core::result::Result::Err(#private::Unknown::method(unknown)),
            }
        }
    }

    fn run(&self) -> TokenStream {
        let arms = self.of(Kind::Command).map(|method| {
            let (conditions, ident) = (&method.conditions, &method.ident);
            let names = method.locals();
            let context = method.has_context.then(|| quote!(ctx,));
            let output = &method.output;
            let body = if method.sound {
                quote!(reply.put::<#output>(&Self::#ident(self, #context #(#names),*)))
            } else {
                quote!(::core::unimplemented!())
            };
            quote! {
                #(#conditions)*
                __Operation::#ident(#(#names),*) => #body,
            }
        });
        let never = self
            .is_generic
            .then(|| quote!(__Operation::__Never(never, _) => match never {},));
        quote! {
            match operation {
                #(#arms)*
                #never
            }
        }
    }

    fn ask(&self) -> TokenStream {
        let private = &self.private;
        let numbers = self.numbers(Kind::Query);
        let arms = self.of(Kind::Query).enumerate().map(|(at, method)| {
            let (conditions, ident, number) = (&method.conditions, &method.ident, number(at));
            let (names, tuple, output) = (method.locals(), method.owned_tuple(), &method.output);
            let passed =
                method.arguments.iter().zip(&names).map(|(argument, name)| {
                    match &argument.borrowed {
                        Some(ty) => quote!(<_ as ::core::borrow::Borrow<#ty>>::borrow(&#name)),
                        None => quote!(#name),
                    }
                });
            let body = if method.sound {
                let answer = quote!(Self::#ident(self, #(#passed),*));
                quote!(::core::result::Result::Ok(reply.put::<#output>(&#answer)?))
            } else {
                quote!(::core::unimplemented!())
            };
            quote! {
                #(#conditions)*
                #number => {
                    let (#(#names,)*) = #private::Unknown::all_arguments::<#tuple>(arguments)?;
                    #body
                }
            }
        });
        quote! {
            #numbers
            let (number, arguments) = #private::Unknown::number(query)?;
            match number {
                #(#arms)*
                unknown => ::core::result::Result::Err(#private::Unknown::method(unknown).into()),
            }
        }
    }

    /// How to take part, on the state itself. No more visible than that is.
    fn joining(&self, handle: &TokenStream) -> TokenStream {
        let Self { root, state, .. } = self;
        let (parameters, _, conditions) = self.generics.split_for_impl();
        quote! {
            impl #parameters #state #conditions {
                /// Takes part in the group as a writer: votes if chosen.
                ///
                /// A member that may not take part gets a handle that answers every call with why.
                pub fn join(network: &#root::Network) -> #handle {
                    ::core::convert::From::from(Self::group_builder(network).join())
                }

                /// Follows the group: never votes, and may send commands and queries all the same.
                pub fn observe(network: &#root::Network) -> #handle {
                    ::core::convert::From::from(Self::group_builder(network).observe())
                }

                /// Options for taking part, which begin as they are declared; what its `join` and `observe`
                /// return converts into the handle.
                pub fn group_builder(network: &#root::Network) -> #root::groups::GroupBuilder<Self> {
                    network.groups().declared()
                }
            }
        }
    }

    /// The methods of the handles.
    fn handles(&self) -> TokenStream {
        let (root, state) = (&self.root, &self.state);
        let commands = self.of(Kind::Command).map(|method| self.command(method));
        let queries = self.of(Kind::Query).map(|method| self.query(method));
        let local = self.of(Kind::Query).map(|method| self.local(method));
        let batched = self.of(Kind::Command).map(|method| self.batched(method));
        let stubs = self.methods.iter().filter(|each| !each.travels);
        let stubs = stubs.filter_map(|method| self.stub(method));
        let (parameters, _, conditions) = self.generics.split_for_impl();
        let mut borrowing = self.generics.clone();
        borrowing.params.insert(0, parse_quote!('__group));
        borrowing.params.insert(1, parse_quote!(__Outputs));
        let (batch_parameters, _, _) = borrowing.split_for_impl();
        let handle = self.handle("Group", TokenStream::new());
        let local_handle = self.handle("Local", quote!('_,));
        let batch = self.handle("Batch", quote!('__group, __Outputs,));
        let allowed = quote! {
            #[allow(dead_code, deprecated, unreachable_pub, clippy::all, clippy::pedantic)]
        };
        let joining = self.joining(&handle);
        let empty_batch = self.handle("Batch", quote!('_, (),));
        quote! {
            #allowed
            #joining

            #allowed
            impl #parameters #handle #conditions {
                /// The queries as the state here answers them, at once: it may be stale.
                pub fn local(&self) -> #local_handle {
                    let group: &#root::Group<#state> = self;
                    ::core::convert::From::from(group)
                }

                /// Begins a batch: commands that are applied as one log entry, with nothing in between.
                pub fn batch(&self) -> #empty_batch {
                    ::core::convert::From::from(#root::Group::begin(self))
                }

                #(#commands)*
                #(#queries)*
                #(#stubs)*
            }

            #allowed
            impl #parameters #local_handle #conditions {
                #(#local)*
            }

            #allowed
            impl #batch_parameters #batch #conditions {
                #(#batched)*
            }
        }
    }

    /// A command, and many of it, on the handle.
    fn command(&self, method: &Method) -> TokenStream {
        let (root, private) = (&self.root, &self.private);
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let (attributes, name) = (method.attributes(), method.name());
        let (names, types) = method.named();
        let result = quote!(::core::result::Result<#output, #root::GroupError>);
        let sending = variable("sending");
        let many = method.has_many.then(|| {
            let many = Ident::new(&format!("{}_many", ident.unraw()), ident.span());
            let (conditions, lints) = (&method.conditions, &method.lints);
            let doc = format!(
                "Sends many [`{0}`](Self::{0}) at once, as one log entry, and returns what each returns, in order.\n\n\
                 One that returns an `Err` does not undo the others; if one panics, none is applied.",
                ident.unraw()
            );
            let item = match &types[..] {
                [ty] => quote!(#ty),
                types => quote!((#(#types),*)),
            };
            quote! {
                #(#conditions)*
                #(#lints)*
                #[doc = #doc]
                #visibility async fn #many(
                    &self,
                    calls: impl ::core::iter::IntoIterator<Item = #item>,
                ) -> ::core::result::Result<::std::vec::Vec<#output>, #root::GroupError> {
                    #root::Group::call_many::<#item, #output>(self, #private::number(#name), calls).await
                }
            }
        });
        quote! {
            #attributes
            #visibility async fn #ident(&self, #(#names: #types),*) -> #result {
                // What is sent is encoded first, so that no argument has to wait with it.
                let #sending = #root::Group::call::<_, #output>(self, #private::number(#name), &(#(#names,)*));
                #sending.await
            }
            #many
        }
    }

    /// What stands in for a method that cannot travel, beside the error that says so: its calls are right.
    fn stub(&self, method: &Method) -> Option<TokenStream> {
        let root = &self.root;
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let (names, types) = method.named();
        let can_stand_in = method.stands_in;
        can_stand_in.then(|| {
            quote! {
                #[allow(unused_variables)]
                #visibility async fn #ident(
                    &self,
                    #(#names: #types),*
                ) -> ::core::result::Result<#output, #root::GroupError> {
                    ::core::unimplemented!()
                }
            }
        })
    }

    /// A query on the handle.
    fn query(&self, method: &Method) -> TokenStream {
        let root = &self.root;
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let attributes = method.attributes();
        let (names, types) = method.named();
        let state = &self.state;
        let here = variable("here");
        let call = method.call(state, &here, &names);
        quote! {
            #attributes
            #visibility async fn #ident(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#output, #root::GroupError> {
                #root::Group::read(self, |#here| #call).await
            }
        }
    }

    /// A query on the state as it is here.
    fn local(&self, method: &Method) -> TokenStream {
        let root = &self.root;
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let attributes = method.attributes();
        let (names, types) = method.named();
        let state = &self.state;
        let (here, group) = (variable("here"), variable("group"));
        let call = method.call(state, &here, &names);
        quote! {
            #attributes
            #visibility fn #ident(&self, #(#names: #types),*) -> #output {
                let #group: &#root::Group<#state> = ::core::convert::AsRef::as_ref(self);
                #root::Group::look(#group, |#here| #call)
            }
        }
    }

    /// A command of a batch.
    fn batched(&self, method: &Method) -> TokenStream {
        let (private, state) = (&self.private, &self.state);
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let (attributes, name) = (method.attributes(), method.name());
        let (names, types) = method.named();
        let inner = variable("inner");
        let extended = quote!(<__Outputs as #private::BatchOfAtMostTwelve<#output>>::Extended);
        let batch = self.handle("Batch", quote!('__group, #extended,));
        quote! {
            #attributes
            #visibility fn #ident(self, #(#names: #types),*) -> #batch
            where
                __Outputs: #private::BatchOfAtMostTwelve<#output>,
            {
                let #inner: #private::Batch<'__group, #state, __Outputs> = ::core::convert::From::from(self);
                let #inner = #inner.push::<_, #output>(#private::number(#name), &(#(#names,)*));
                ::core::convert::From::from(#inner)
            }
        }
    }
}

/// The name of the constant with the number of a method. It is none that a method could have.
fn number(at: usize) -> Ident {
    Ident::new(&format!("__NUMBER_{at}"), Span::mixed_site())
}

/// A variable that clashes with no argument.
fn variable(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Whether a type mentions one of the parameters.
fn mentions(ty: &Type, parameters: &[Ident]) -> bool {
    struct Mentions<'a> {
        parameters: &'a [Ident],
        found: bool,
    }
    impl<'ast> Visit<'ast> for Mentions<'_> {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.found |= self.parameters.contains(ident);
        }
    }
    let mut mentions = Mentions {
        parameters,
        found: false,
    };
    mentions.visit_type(ty);
    mentions.found
}

impl Method {
    /// The name by which members know it.
    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// What stands on the methods of the handles for it.
    fn attributes(&self) -> TokenStream {
        let (conditions, docs, lints) = (&self.conditions, &self.docs, &self.lints);
        let undocumented = !docs.iter().any(|each| each.path().is_ident("doc"));
        let own = undocumented.then(|| {
            let doc = format!("The {} `{}`.", self.kind, self.name());
            quote!(#[doc = #doc])
        });
        quote!(#(#conditions)* #(#lints)* #own #(#docs)*)
    }

    /// Names for its arguments that clash with nothing.
    fn locals(&self) -> Vec<Ident> {
        let local = |at| Ident::new(&format!("argument_{at}"), Span::mixed_site());
        (0..self.arguments.len()).map(local).collect()
    }

    /// Names and types of its arguments.
    fn named(&self) -> (Vec<&Ident>, Vec<&Type>) {
        let named = self.arguments.iter();
        named
            .map(|argument| (&argument.ident, &argument.ty))
            .unzip()
    }

    /// The types of its arguments as they travel.
    fn owned(&self) -> Vec<TokenStream> {
        let owned = self.arguments.iter().map(|argument| {
            let ty = &argument.ty;
            match &argument.borrowed {
                Some(ty) => quote!(<#ty as ::std::borrow::ToOwned>::Owned),
                None => quote!(#ty),
            }
        });
        owned.collect()
    }

    fn owned_tuple(&self) -> TokenStream {
        let owned = self.owned();
        quote!((#(#owned,)*))
    }

    /// All types that travel.
    fn travelling(&self) -> Vec<Type> {
        let owned = self.owned().into_iter().map(|ty| parse_quote!(#ty));
        owned.chain([self.output.clone()]).collect()
    }

    /// A call of it on the state that is `here`.
    fn call(&self, state: &Path, here: &Ident, names: &[&Ident]) -> TokenStream {
        let ident = &self.ident;
        if self.sound {
            quote!(<#state>::#ident(#here, #(#names),*))
        } else {
            quote!(::core::unimplemented!())
        }
    }
}
