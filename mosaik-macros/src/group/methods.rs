//! `#[group]` on an `impl` block: which commands and queries it has, and what is made of them.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    GenericParam, Generics, Ident, ImplItem, ItemImpl, Lifetime, Path, PathArguments, Type,
    TypePath, ext::IdentExt, parse_quote, visit::Visit,
};

use super::{
    beside,
    method::{self, Kind, Method},
    own, peeled,
};
use crate::{
    common::{
        arguments::{self, Names, value},
        error,
        own::in_generics,
    },
    path::Runtime,
};

/// Expands the attribute.
pub(super) fn group(args: TokenStream, mut block: ItemImpl) -> TokenStream {
    let (runtime, mut errors) = parse_options(args);
    let (mut methods, mut taken) = (Vec::new(), Vec::new());
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else {
            continue;
        };
        if let Some(error) = method::taken(&function.sig.ident) {
            errors.push(error);
            taken.push(function.sig.ident.unraw().to_string());
        }
        if let Some((method, wrong)) = method::take(function) {
            errors.extend(wrong);
            methods.push(method);
        }
    }
    errors.extend(method::clashes(&mut methods));
    let state = state(&block).map_err(|error| errors.push(error)).ok();
    // Of a state that borrows its own attribute says that it cannot.
    let state = state.filter(|state| !borrows(&block.generics, state));
    let error = error::combined(errors).map(|error| error.to_compile_error());
    let Some(state) = state else {
        return quote!(#error #block);
    };
    for method in &mut methods {
        own::in_method(method, &block.self_ty);
    }
    let mut expansion = Expansion::new(&block, state, &methods, &runtime);
    expansion.taken = taken;
    let (application, handles) = (expansion.application(), expansion.handles());
    quote! {
        #error
        #block
        const _: () = {
            #application
            #handles
        };
    }
}

/// Parses the options.
fn parse_options(args: TokenStream) -> (Runtime, Vec<syn::Error>) {
    let mut runtime = Runtime::default();
    let names = Names {
        valid: &["crate"],
        ..Names::default()
    };
    let errors = arguments::parse(args, names, |_, meta| {
        runtime = Runtime::at(Path::parse_mod_style(value(meta)?)?);
        Ok(())
    });
    (runtime, errors)
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
pub(super) struct Expansion<'a> {
    pub(super) methods: &'a [Method],
    pub(super) state: Path,
    /// The parameters of the block, with what its commands need of them as conditions.
    pub(super) generics: Generics,
    pub(super) is_generic: bool,
    /// Functions of the state that stand in the place of what would be added, beside the error that says so.
    pub(super) taken: Vec<String>,
    pub(super) root: TokenStream,
    pub(super) private: TokenStream,
}

impl<'a> Expansion<'a> {
    fn new(block: &ItemImpl, state: Path, methods: &'a [Method], runtime: &Runtime) -> Self {
        let private = runtime.private();
        let serde = runtime.serde();
        let mut generics = block.generics.clone();
        in_generics(&mut generics, &block.self_ty);
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
            taken: Vec::new(),
            root: runtime.root(),
            private,
        }
    }

    /// The state's name with something behind, and its arguments behind others.
    pub(super) fn handle(&self, suffix: &str, before: TokenStream) -> TokenStream {
        let mut path = self.state.clone();
        let Some(last) = path.segments.last_mut() else {
            return TokenStream::new();
        };
        last.ident = beside(&last.ident, suffix);
        let own = match std::mem::replace(&mut last.arguments, PathArguments::None) {
            PathArguments::AngleBracketed(own) => {
                let own = own.args;
                quote!(#own)
            }
            _ => TokenStream::new(),
        };
        quote!(#path < #before #own >)
    }

    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &'a Method> + use<'a> {
        let methods = self.methods.iter();
        methods.filter(move |each| each.kind == kind && each.travels)
    }
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
    pub(super) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The types of its arguments as they travel.
    pub(super) fn owned(&self) -> Vec<TokenStream> {
        let owned = self.arguments.iter().map(|argument| {
            let ty = &argument.ty;
            match &argument.borrowed {
                Some(ty) => quote!(<#ty as ::std::borrow::ToOwned>::Owned),
                None => quote!(#ty),
            }
        });
        owned.collect()
    }

    pub(super) fn owned_tuple(&self) -> TokenStream {
        let owned = self.owned();
        quote!((#(#owned,)*))
    }

    /// All types that travel.
    fn travelling(&self) -> Vec<Type> {
        let owned = self.owned().into_iter().map(|ty| parse_quote!(#ty));
        owned.chain([self.output.clone()]).collect()
    }
}
