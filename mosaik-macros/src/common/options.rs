//! The options of what is agreed on: of `#[group]` on a state, and of `#[replicated]`.

use proc_macro2::{Literal, Span, TokenStream};
use quote::quote;
use syn::{Expr, Ident, LitInt, LitStr, Path, Token, ext::IdentExt, meta::ParseNestedMeta};

use crate::{
    common::{
        arguments::{self, Names, value},
        derives::{self, Derives},
        literal,
    },
    path::Runtime,
};

/// The options there are.
const VALID: [&str; 16] = [
    "name",
    "founders",
    "voters",
    "durable",
    "evict_after",
    "recover",
    "command_timeout",
    "heartbeat",
    "election_timeout",
    "quiesce_after",
    "leader",
    "key",
    "ticket",
    "schema",
    "derive",
    "crate",
];

/// Those that may be given several times.
const REPEATED: [&str; 1] = ["ticket"];

/// Most founders and voters.
const MOST: u64 = 9;

/// What the attribute says; what it does not say is left to the runtime's defaults.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) schema: Option<LitStr>,
    pub(crate) runtime: Runtime,
    /// The derives that are opted out of.
    pub(crate) skip: Derives,
    /// Fields of the runtime's options, in the order of the source.
    settings: Vec<(&'static str, Setting)>,
    /// What checks tickets.
    tickets: Vec<Expr>,
}

/// The value of an option.
enum Setting {
    Count(u64),
    MaybeCount(u64),
    /// In milliseconds.
    Duration(u64),
    MaybeDuration(u64),
    MaybeDurations(u64, u64),
    /// A variant of an enum of the runtime's `groups`.
    Variant(&'static str, &'static str),
    Key(Box<Expr>),
}

/// Parses the options as far as they make sense; `without` says which do not apply.
pub(crate) fn parse(args: TokenStream, without: &[&str]) -> (Options, Vec<syn::Error>) {
    let mut options = Options::default();
    let valid = VALID.iter().filter(|name| !without.contains(name));
    let valid: Vec<_> = valid.copied().collect();
    let names = Names {
        valid: &valid,
        repeated: &REPEATED,
        later: &[],
    };
    let errors = arguments::parse(args, names, |key, meta| options.set(key, meta));
    (options, errors)
}

impl Options {
    fn set(&mut self, key: &str, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let (field, setting) = match key {
            "name" => {
                self.name = Some(literal::name(value(meta)?.parse()?)?);
                return Ok(());
            }
            "schema" => {
                self.schema = Some(literal::name(value(meta)?.parse()?)?);
                return Ok(());
            }
            "crate" => {
                self.runtime = Runtime::at(Path::parse_mod_style(value(meta)?)?);
                return Ok(());
            }
            "derive" => {
                self.skip = derives::option(meta)?;
                return Ok(());
            }
            "ticket" => {
                self.tickets.push(value(meta)?.parse()?);
                return Ok(());
            }
            "founders" => ("founders", Setting::MaybeCount(founders(meta)?)),
            "voters" => ("voters", Setting::Count(voters(meta)?)),
            "durable" => (
                "durable",
                word(
                    meta,
                    "Durability",
                    &[
                        ("required", "Required"),
                        ("if_possible", "IfPossible"),
                        ("volatile", "Volatile"),
                    ],
                )?,
            ),
            "leader" => (
                "preference",
                word(
                    meta,
                    "Preference",
                    &[("prefer", "Prefer"), ("avoid", "Avoid")],
                )?,
            ),
            "evict_after" => ("evict_after", Setting::Duration(duration(meta)?)),
            "command_timeout" => ("command_timeout", Setting::Duration(duration(meta)?)),
            "quiesce_after" => ("quiesce_after", Setting::Duration(duration(meta)?)),
            "heartbeat" => ("heartbeat", Setting::MaybeDuration(duration(meta)?)),
            "recover" => ("recover_after", Setting::MaybeDuration(recover(meta)?)),
            "election_timeout" => ("election_timeout", elections(meta)?),
            _ => ("key", Setting::Key(Box::new(value(meta)?.parse()?))),
        };
        self.settings.push((field, setting));
        Ok(())
    }

    /// A block that makes the runtime's options, with what was given.
    pub(crate) fn statements(&self) -> TokenStream {
        let root = self.runtime.root();
        let options = Ident::new("options", Span::mixed_site());
        let statements = self.settings.iter().map(|(field, setting)| {
            let field = Ident::new(field, Span::mixed_site());
            let value = setting.expand(&root);
            quote!(#options.#field = #value;)
        });
        let tickets = &self.tickets;
        quote! {
            let mut #options = <#root::groups::Options as ::core::default::Default>::default();
            #(#statements)*
            #(#options.tickets.require(#tickets);)*
            #options
        }
    }
}

impl Setting {
    fn expand(&self, root: &TokenStream) -> TokenStream {
        let number = |n: &u64| Literal::u64_unsuffixed(*n);
        let millis = |n: &u64| {
            let n = number(n);
            quote!(::core::time::Duration::from_millis(#n))
        };
        let some = |value: TokenStream| quote!(::core::option::Option::Some(#value));
        match self {
            Self::Count(count) => {
                let count = number(count);
                quote!(#count)
            }
            Self::MaybeCount(count) => {
                let count = number(count);
                some(quote!(#count))
            }
            Self::Duration(length) => millis(length),
            Self::MaybeDuration(length) => some(millis(length)),
            Self::MaybeDurations(min, max) => {
                let (min, max) = (millis(min), millis(max));
                some(quote!((#min, #max)))
            }
            Self::Variant(name, variant) => {
                let name = Ident::new(name, Span::mixed_site());
                let variant = Ident::new(variant, Span::mixed_site());
                quote!(#root::groups::#name::#variant)
            }
            Self::Key(key) => {
                let string = quote!(::std::string::String);
                some(quote!(<#string as ::core::convert::From<_>>::from(#key)))
            }
        }
    }
}

fn founders(meta: &ParseNestedMeta<'_>) -> syn::Result<u64> {
    let literal: LitInt = value(meta)?.parse()?;
    let count = literal::count(&literal, 1)?;
    if count > MOST {
        return Err(syn::Error::new(
            literal.span(),
            format!("this must be at most {MOST}"),
        ));
    }
    Ok(count)
}

fn voters(meta: &ParseNestedMeta<'_>) -> syn::Result<u64> {
    let literal: LitInt = value(meta)?.parse()?;
    let count = literal::count(&literal, 1)?;
    if count > MOST || count.is_multiple_of(2) {
        return Err(syn::Error::new(
            literal.span(),
            format!(
                "this must be odd and at most {MOST}: one voter more than an odd number bears no more failures"
            ),
        ));
    }
    Ok(count)
}

fn duration(meta: &ParseNestedMeta<'_>) -> syn::Result<u64> {
    literal::duration(&value(meta)?.parse()?)
}

/// One of the words that an option may be.
fn word(
    meta: &ParseNestedMeta<'_>,
    of: &'static str,
    words: &[(&str, &'static str)],
) -> syn::Result<Setting> {
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    let expected = format!("the valid values are {}", arguments::list(&names));
    let word = Ident::parse_any(value(meta)?);
    let word = word.map_err(|error| syn::Error::new(error.span(), &expected))?;
    match words.iter().find(|(known, _)| word == known) {
        Some((_, variant)) => Ok(Setting::Variant(of, variant)),
        None => Err(syn::Error::new(word.span(), expected)),
    }
}

/// `after("60s")`.
fn recover(meta: &ParseNestedMeta<'_>) -> syn::Result<u64> {
    let input = value(meta)?;
    let expected = "expected `after(\"…\")`, the time without a quorum after which to recover";
    let word = Ident::parse_any(input).map_err(|error| syn::Error::new(error.span(), expected))?;
    if word != "after" || !input.peek(syn::token::Paren) {
        return Err(syn::Error::new(word.span(), expected));
    }
    let inner;
    syn::parenthesized!(inner in input);
    // What follows the duration is an error of its own.
    literal::duration(&inner.parse()?)
}

/// `("150ms", "250ms")`.
fn elections(meta: &ParseNestedMeta<'_>) -> syn::Result<Setting> {
    let input = value(meta)?;
    if !input.peek(syn::token::Paren) {
        return Err(input.error("expected the least and the most, as in `(\"150ms\", \"250ms\")`"));
    }
    let inner;
    syn::parenthesized!(inner in input);
    let min: LitStr = inner.parse()?;
    inner.parse::<Token![,]>()?;
    let max: LitStr = inner.parse()?;
    inner.parse::<Option<Token![,]>>()?;
    let (shortest, longest) = (literal::duration(&min)?, literal::duration(&max)?);
    if shortest >= longest {
        return Err(syn::Error::new(
            max.span(),
            "this must be longer than the first",
        ));
    }
    Ok(Setting::MaybeDurations(shortest, longest))
}
