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
    let mut errors = declared.lifetimes(
        "a datum outlives whoever sends it, so it must own what it holds: use `String` for \
         `&str`, `Vec<T>` for `&[T]`",
    );
    let keys = declared.field_attributes().into_iter();
    errors.extend(keys.filter(|attribute| is_key(attribute)).map(|key| {
        syn::Error::new_spanned(
            key,
            "`#[key]` is not available yet in this version of mosaik",
        )
    }));
    errors.extend(serde::check(declared, "stream"));
    errors
}

/// Whether this is `#[key]`.
pub(crate) fn is_key(attribute: &Attribute) -> bool {
    attribute.path().is_ident("key")
}
