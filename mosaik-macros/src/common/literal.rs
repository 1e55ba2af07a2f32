//! The values that options may have.

use syn::{LitInt, LitStr};

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
