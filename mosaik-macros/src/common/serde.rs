//! The serde attributes that postcard cannot carry.

use proc_macro2::TokenTree;
use syn::{Attribute, Meta};

use super::item::Declared;

/// An error at each serde attribute of an item that cannot be carried.
pub(crate) fn check(declared: &Declared, carrier: &str) -> Vec<syn::Error> {
    let anywhere = declared.attributes().iter();
    let anywhere = anywhere.chain(declared.field_attributes());
    let anywhere = anywhere.filter_map(|attribute| error(attribute, &FORBIDDEN, carrier));
    let variants = declared.variant_attributes().into_iter();
    let on_variants = variants.filter_map(|attribute| {
        error(attribute, &FORBIDDEN, carrier)
            .or_else(|| error(attribute, &FORBIDDEN_ON_VARIANTS, carrier))
    });
    anywhere.chain(on_variants).collect()
}

/// Serde attributes that postcard cannot carry, and why.
const FORBIDDEN: [(&str, &str); 7] = [
    (
        "skip_serializing_if",
        "a field cannot be left out: use an `Option`",
    ),
    ("untagged", "a variant cannot be guessed from its content"),
    (
        "tag",
        "variants are told apart by their position, not by a field",
    ),
    (
        "content",
        "variants are told apart by their position, not by a field",
    ),
    (
        "flatten",
        "fields have no names to be merged by: nest the struct",
    ),
    (
        "skip_serializing",
        "whoever receives it would still expect it: use `skip`",
    ),
    ("skip_deserializing", "it would still be sent: use `skip`"),
];

/// Those that only variants may not have.
const FORBIDDEN_ON_VARIANTS: [(&str, &str); 1] = [(
    "skip",
    "variants after it would be received as others than were sent",
)];

/// An error at the first of the `forbidden` words in a serde attribute.
fn error(attribute: &Attribute, forbidden: &[(&str, &str)], carrier: &str) -> Option<syn::Error> {
    let Meta::List(list) = &attribute.meta else {
        return None;
    };
    if !list.path.is_ident("serde") {
        return None;
    }
    let mut starts = true;
    for token in list.tokens.clone() {
        if let TokenTree::Ident(word) = &token
            && starts
            && let Some((_, why)) = forbidden.iter().find(|(name, _)| word == name)
        {
            return Some(syn::Error::new(
                word.span(),
                format!("a {carrier} cannot carry `{word}`: {why}"),
            ));
        }
        starts = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ',');
    }
    None
}
