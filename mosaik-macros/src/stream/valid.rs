//! What makes an option's value, or an item, one that a stream can have.

use proc_macro2::TokenTree;
use syn::{Attribute, Ident, LitInt, LitStr, Meta};

use super::item::Declared;

/// Longest name, in bytes.
const MAX_NAME: usize = 256;

/// A name that goes over the wire.
pub(crate) fn name(literal: LitStr) -> syn::Result<LitStr> {
    let name = literal.value();
    let complaint = if name.is_empty() {
        "this must not be empty"
    } else if name.len() > MAX_NAME {
        "this must not be longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "this must not contain control characters"
    } else if name.trim() != name {
        "this must not begin or end with whitespace"
    } else {
        return Ok(literal);
    };
    Err(syn::Error::new(literal.span(), complaint))
}

/// A number of at least `least`.
pub(crate) fn count(literal: &LitInt, least: u64) -> syn::Result<u64> {
    let count = literal
        .base10_parse::<u32>()
        .map_err(|_| syn::Error::new(literal.span(), "this must be a number up to 4294967295"))?;
    if u64::from(count) < least {
        return Err(syn::Error::new(
            literal.span(),
            format!("this must be at least {least}"),
        ));
    }
    Ok(count.into())
}

/// A duration like `"5s"`, in milliseconds.
pub(crate) fn duration(literal: &LitStr) -> syn::Result<u64> {
    let text = literal.value();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = unit.zip(digits.parse::<u64>().ok());
    match millis.and_then(|(unit, n)| n.checked_mul(unit)) {
        Some(0) => Err(syn::Error::new(
            literal.span(),
            "this must be longer than 0",
        )),
        Some(millis) => Ok(millis),
        None => Err(syn::Error::new(
            literal.span(),
            "this must be a number and a unit of `ms`, `s`, `m` or `h`, like `\"500ms\"`",
        )),
    }
}

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
    let serde = declared.attributes().iter().chain(fields.iter().copied());
    let serde = serde
        .filter_map(|attribute| serde_error(attribute, &FORBIDDEN))
        .chain(variants.into_iter().filter_map(|attribute| {
            serde_error(attribute, &FORBIDDEN)
                .or_else(|| serde_error(attribute, &FORBIDDEN_ON_VARIANTS))
        }));
    lifetimes.chain(keys).chain(serde).collect()
}

/// Whether this is `#[key]`.
pub(crate) fn is_key(attribute: &Attribute) -> bool {
    attribute.path().is_ident("key")
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
fn serde_error(attribute: &Attribute, forbidden: &[(&str, &str)]) -> Option<syn::Error> {
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
                format!("a stream cannot carry `{word}`: {why}"),
            ));
        }
        starts = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ',');
    }
    None
}
