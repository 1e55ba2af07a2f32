//! The derives that an item needs: those that stand below the attribute, and those that it adds.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Meta, Path, Token, meta::ParseNestedMeta, punctuated::Punctuated, token};

use super::item::Declared;
use crate::path::Runtime;

/// Which of the traits that an item needs are derived.
#[derive(Clone, Copy, Default)]
pub(crate) struct Derives {
    pub(crate) clone: bool,
    pub(crate) serialize: bool,
    pub(crate) deserialize: bool,
}

impl Derives {
    /// Notes what a `derive` attribute derives; any other is of no interest.
    pub(crate) fn see(&mut self, attribute: &Attribute) {
        if !attribute.path().is_ident("derive") {
            return;
        }
        let list = Punctuated::<Path, Token![,]>::parse_terminated;
        let Ok(paths) = attribute.parse_args_with(list) else {
            return;
        };
        for path in paths {
            match path.segments.last().map(|last| last.ident.to_string()) {
                Some(name) if name == "Clone" => self.clone = true,
                Some(name) if name == "Serialize" => self.serialize = true,
                Some(name) if name == "Deserialize" => self.deserialize = true,
                _ => {}
            }
        }
    }
}

/// `derive(none)` or `derive(skip(Clone, …))`.
pub(crate) fn option(meta: &ParseNestedMeta<'_>) -> syn::Result<Derives> {
    let mut skip = Derives::default();
    if !meta.input.peek(token::Paren) {
        return Err(meta.error("expected `derive(none)` or `derive(skip(…))`"));
    }
    meta.parse_nested_meta(|inner| {
        if inner.path.is_ident("none") {
            skip = Derives {
                clone: true,
                serialize: true,
                deserialize: true,
            };
            return Ok(());
        }
        if !inner.path.is_ident("skip") || !inner.input.peek(token::Paren) {
            return Err(inner.error("expected `none` or `skip(…)`"));
        }
        inner.parse_nested_meta(|derived| {
            let flag = match derived.path.get_ident().map(ToString::to_string).as_deref() {
                Some("Clone") => &mut skip.clone,
                Some("Serialize") => &mut skip.serialize,
                Some("Deserialize") => &mut skip.deserialize,
                _ => {
                    return Err(derived.error(
                        "only `Clone`, `Serialize` and `Deserialize` are added and can be skipped",
                    ));
                }
            };
            *flag = true;
            Ok(())
        })
    })?;
    Ok(skip)
}

/// The derives that the item lacks, to stand above it, but for those in `skip`.
pub(crate) fn missing(declared: &Declared, skip: Derives, runtime: &Runtime) -> TokenStream {
    let has = declared.derives;
    let serde = runtime.serde();
    let clone = (!has.clone && !skip.clone).then(|| quote!(::core::clone::Clone,));
    let serialize = (!has.serialize && !skip.serialize).then(|| quote!(#serde::Serialize,));
    let deserialize = (!has.deserialize && !skip.deserialize).then(|| quote!(#serde::Deserialize,));
    let names_serde = declared.attributes().iter().any(names_serde_crate);
    let adds_serde = serialize.is_some() || deserialize.is_some();
    let serde_crate = (adds_serde && !names_serde).then(|| {
        let path: String = serde.to_string().split_whitespace().collect();
        quote!(#[serde(crate = #path)])
    });
    let adds = clone.is_some() || adds_serde;
    let derive = adds.then(|| quote!(#[derive(#clone #serialize #deserialize)]));
    quote!(#derive #serde_crate)
}

/// Whether this is `#[serde(crate = "…")]`.
fn names_serde_crate(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else {
        return false;
    };
    let mut tokens = list.tokens.clone().into_iter();
    list.path.is_ident("serde") && tokens.any(|token| token.to_string() == "crate")
}
