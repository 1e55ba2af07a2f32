//! The methods of the handles, and how to get one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, Path, Type, ext::IdentExt};

use super::{
    borrowing,
    method::{Kind, Method},
    methods::Expansion,
    variable,
};

/// Which of the two handles a method is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handle {
    /// Of a node with a replica.
    Member,
    /// Of a node without one.
    Client,
}

impl Handle {
    /// What is appended to the name of the state.
    fn suffix(self) -> &'static str {
        match self {
            Self::Member => "Group",
            Self::Client => "Client",
        }
    }

    /// The path of what it dereferences to.
    fn inner(self, root: &TokenStream) -> TokenStream {
        match self {
            Self::Member => quote!(#root::Group),
            Self::Client => quote!(#root::groups::GroupClient),
        }
    }
}

impl Expansion<'_> {
    /// How to take part, on the state itself. No more visible than that is.
    fn joining(&self, handle: &TokenStream) -> TokenStream {
        let Self { root, state, .. } = self;
        let client = self.handle(Handle::Client.suffix(), TokenStream::new());
        let (parameters, _, conditions) = self.generics.split_for_impl();
        let functions = [
            (
                "join",
                quote! {
                    /// Takes part in the group as a writer: votes if chosen.
                    ///
                    /// A member that may not take part gets a handle that answers every call with why.
                    pub fn join(network: &#root::Network) -> #handle {
                        ::core::convert::From::from(Self::group_builder(network).join())
                    }
                },
            ),
            (
                "observe",
                quote! {
                    /// Follows the group: never votes, and may send commands and queries all the same.
                    pub fn observe(network: &#root::Network) -> #handle {
                        ::core::convert::From::from(Self::group_builder(network).observe())
                    }
                },
            ),
            (
                "connect",
                quote! {
                    /// Connects to the group as a client: this node holds no state, and a member answers its commands
                    /// and queries.
                    pub fn connect(network: &#root::Network) -> #client {
                        ::core::convert::From::from(Self::group_builder(network).connect())
                    }
                },
            ),
            (
                "group_builder",
                quote! {
                    /// Options for taking part, which begin as they are declared; what its `join`, `observe` and
                    /// `connect` return converts into the handle.
                    pub fn group_builder(network: &#root::Network) -> #root::groups::GroupBuilder<Self> {
                        network.groups().declared()
                    }
                },
            ),
        ];
        let free = |name: &str| !self.taken.iter().any(|taken| taken == name);
        let functions = functions.into_iter().filter(|(name, _)| free(name));
        let functions = functions.map(|(_, function)| function);
        quote! {
            impl #parameters #state #conditions {
                #(#functions)*
            }
        }
    }

    /// The methods of the handles.
    pub(super) fn handles(&self) -> TokenStream {
        let (root, state) = (&self.root, &self.state);
        let local = self.of(Kind::Query).map(|method| self.local(method));
        let batched = self.of(Kind::Command).map(|method| self.batched(method));
        let (parameters, _, conditions) = self.generics.split_for_impl();
        let borrowing = borrowing(&self.generics, true);
        let (batch_parameters, _, _) = borrowing.split_for_impl();
        let handle = self.handle(Handle::Member.suffix(), TokenStream::new());
        let local_handle = self.handle("Local", quote!('_,));
        let batch = self.handle("Batch", quote!('__group, __Outputs,));
        let allowed = quote! {
            #[allow(dead_code, deprecated, unreachable_pub, clippy::all, clippy::pedantic)]
        };
        let joining = self.joining(&handle);
        let (member, client) = (self.calls(Handle::Member), self.calls(Handle::Client));
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
            }

            #allowed
            #member

            #allowed
            #client

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

    /// What both handles have: a method for each command and query.
    fn calls(&self, of: Handle) -> TokenStream {
        let inner = of.inner(&self.root);
        let handle = self.handle(of.suffix(), TokenStream::new());
        let empty_batch = self.handle("Batch", quote!('_, (),));
        let commands = self.of(Kind::Command);
        let commands = commands.map(|method| self.command(method, &inner));
        let queries = self.of(Kind::Query).map(|method| match of {
            Handle::Member => self.query(method),
            Handle::Client => self.remote_query(method),
        });
        let untravelled = self.methods.iter().filter(|each| !each.travels);
        let stubs = untravelled.filter(|each| each.stands_in);
        let stubs = stubs.map(|method| self.stub(method));
        let (parameters, _, conditions) = self.generics.split_for_impl();
        quote! {
            impl #parameters #handle #conditions {
                /// Begins a batch: commands that are applied as one log entry, with nothing in between.
                pub fn batch(&self) -> #empty_batch {
                    ::core::convert::From::from(#inner::begin(self))
                }

                #(#commands)*
                #(#queries)*
                #(#stubs)*
            }
        }
    }

    /// A command, and many of it, on the handle.
    fn command(&self, method: &Method, inner: &TokenStream) -> TokenStream {
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
                    #inner::call_many::<#item, #output>(self, #private::number(#name), calls).await
                }
            }
        });
        quote! {
            #attributes
            #visibility async fn #ident(&self, #(#names: #types),*) -> #result {
                // What is sent is encoded first, so that no argument has to wait with it.
                let #sending = #inner::call::<_, #output>(self, #private::number(#name), &(#(#names,)*));
                #sending.await
            }
            #many
        }
    }

    /// What stands in for a method that cannot travel, beside the error that says so: its calls are right.
    fn stub(&self, method: &Method) -> TokenStream {
        let root = &self.root;
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let (names, types) = method.named();
        quote! {
            #[allow(unused_variables)]
            #visibility async fn #ident(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#output, #root::GroupError> {
                ::core::unimplemented!()
            }
        }
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

    /// A query on the handle of a client: what it borrows is sent as a copy.
    fn remote_query(&self, method: &Method) -> TokenStream {
        let (root, private) = (&self.root, &self.private);
        let (ident, visibility, output) = (&method.ident, &method.visibility, &method.output);
        let (attributes, name) = (method.attributes(), method.name());
        let (names, types) = method.named();
        let inner = Handle::Client.inner(root);
        let owned = method.owned_tuple();
        let sent = method.arguments.iter().map(|argument| {
            let name = &argument.ident;
            match &argument.borrowed {
                Some(ty) => quote!(<#ty as ::std::borrow::ToOwned>::to_owned(#name)),
                None => quote!(#name),
            }
        });
        let asking = variable("asking");
        quote! {
            #attributes
            #visibility async fn #ident(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#output, #root::GroupError> {
                let #asking = #inner::ask::<#owned, #output>(self, #private::number(#name), &(#(#sent,)*));
                #asking.await
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

impl Method {
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

    /// Names and types of its arguments.
    fn named(&self) -> (Vec<&Ident>, Vec<&Type>) {
        let named = self.arguments.iter();
        named
            .map(|argument| (&argument.ident, &argument.ty))
            .unzip()
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
