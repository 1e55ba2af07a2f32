//! `#[stream]`: parse, validate, expand, with a fallback when one of the first two fails.

mod expand;
mod fallback;
mod options;
mod valid;

use proc_macro2::TokenStream;

use crate::common::{error, item};

/// What an item of another kind gets.
const COMPLAINT: &str =
    "`#[stream]` declares the datums of a stream: it stands on a struct or an enum";

/// Expands the attribute on `item`. Errors come first, then an expansion that causes no more of them.
pub(crate) fn stream(args: TokenStream, item: TokenStream) -> TokenStream {
    let declared = match item::parse(item.clone(), COMPLAINT) {
        Ok(declared) => declared,
        Err(error) => return error::unsupported(&error, &item),
    };
    let (options, mut errors) = options::parse(args);
    errors.extend(valid::check(&declared));
    match error::combined(errors) {
        None => expand::expand(&declared, &options),
        Some(error) => fallback::fallback(&error, &declared, &options),
    }
}
