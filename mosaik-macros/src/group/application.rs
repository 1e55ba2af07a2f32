//! `impl Application` for a state: its commands as an enum, and what they and its queries are called and take.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Ident;

use super::{
    method::{Kind, Method},
    methods::Expansion,
    variable,
};

impl Expansion<'_> {
    /// `impl Application`, with the type of its commands.
    pub(super) fn application(&self) -> TokenStream {
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
                    here: &#private::Here<'_, Self>,
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
            let add = variable(&method.kind.to_string());
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
                quote! {
                    let answer = here.look(|state| Self::#ident(state, #(#passed),*))?;
                    ::core::result::Result::Ok(reply.put::<#output>(&answer)?)
                }
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
}

/// The name of the constant with the number of a method. It is none that a method could have.
fn number(at: usize) -> Ident {
    variable(&format!("__NUMBER_{at}"))
}

impl Method {
    /// Names for its arguments that clash with nothing.
    fn locals(&self) -> Vec<Ident> {
        let local = |at| variable(&format!("argument_{at}"));
        (0..self.arguments.len()).map(local).collect()
    }
}
