//! What makes an item one that a stream can have.

use syn::{Attribute, Ident};

use crate::common::{item::Declared, serde};

/// The one lag policy there is.
pub(crate) fn lag(policy: &Ident) -> syn::Result<()> {
    match policy.to_string().as_str() {
        "block" => Ok(()),
        later @ ("drop_oldest" | "disconnect") => Err(syn::Error::new(
            policy.span(),
            format!("`{later}` is not available yet in this version of mosaik"),
        )),
        _ => Err(syn::Error::new(
            policy.span(),
            "the valid policy is `block`",
        )),
    }
}

/// What keeps the item from being a datum.
pub(crate) fn check(declared: &Declared) -> Vec<syn::Error> {
    let lifetimes = declared.generics.lifetimes().map(|parameter| {
        syn::Error::new_spanned(
            &parameter.lifetime,
            "a datum outlives whoever sends it, so it must own what it holds: use `String` for \
             `&str`, `Vec<T>` for `&[T]`",
        )
    });
    let fields = declared.field_attributes();
    let keys = fields.iter().filter(|attribute| is_key(attribute));
    let keys = keys.map(|key| {
        syn::Error::new_spanned(
            key,
            "`#[key]` is not available yet in this version of mosaik",
        )
    });
    let variants = declared.variant_attributes();
    let others = declared.attributes().iter().chain(fields.iter().copied());
    let carried = others
        .filter_map(|attribute| serde::check(attribute, "stream"))
        .chain(
            variants
                .into_iter()
                .filter_map(|variant| serde::check_variant(variant, "stream")),
        );
    lifetimes.chain(keys).chain(carried).collect()
}

/// Whether this is `#[key]`.
pub(crate) fn is_key(attribute: &Attribute) -> bool {
    attribute.path().is_ident("key")
}
