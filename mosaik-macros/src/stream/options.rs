//! The options in the attribute's parentheses: parsed one by one, each error at its token.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Ident, LitInt, LitStr, Path, Token,
    ext::IdentExt,
    meta::{ParseNestedMeta, parser},
    parse::{ParseStream, Parser},
    token,
};

use super::{item::Derives, valid};
use crate::path::Runtime;

/// The options there are.
const VALID: [&str; 10] = [
    "name",
    "capacity",
    "capacity_bytes",
    "lag",
    "stall",
    "max_consumers",
    "online_when",
    "schema",
    "derive",
    "crate",
];

/// Options of a later version.
const LATER: [&str; 5] = [
    "history",
    "require",
    "producer_require",
    "consumer_require",
    "ticket",
];

/// What the attribute says; what it does not say is left to the runtime's defaults.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) schema: Option<LitStr>,
    pub(crate) runtime: Runtime,
    /// The derives that are opted out of.
    pub(crate) skip: Derives,
    /// Settings of `TopicOptions`: the setter's name and its argument, in the order of the source.
    pub(crate) settings: Vec<(Ident, u64)>,
}

/// Parses the options as far as they make sense.
pub(crate) fn parse(args: TokenStream) -> (Options, Vec<syn::Error>) {
    let mut options = Options::default();
    let mut errors = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let parsed = parser(|meta| {
        let name = meta.path.get_ident().map(ToString::to_string);
        let name = name.unwrap_or_default();
        if seen.contains(&name) {
            errors.push(meta.error(format!(
                "`{name}` is given twice; the valid options are {}, each once",
                list(&VALID)
            )));
            return skip_value(&meta);
        }
        if let Err(error) = options.set(&name, &meta) {
            errors.push(error);
            skip_value(&meta)?;
        }
        seen.push(name);
        Ok(())
    })
    .parse2(args);
    errors.extend(parsed.err());
    (options, errors)
}

impl Options {
    fn set(&mut self, key: &str, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        match key {
            "name" => self.name = Some(valid::name(value(meta)?.parse()?)?),
            "schema" => self.schema = Some(valid::name(value(meta)?.parse()?)?),
            "capacity" | "capacity_bytes" | "max_consumers" => self.count(meta, 1)?,
            "online_when" => self.count(meta, 0)?,
            "stall" => {
                let millis = valid::duration(&value(meta)?.parse()?)?;
                self.setting(meta, millis);
            }
            "lag" => valid::lag(&Ident::parse_any(value(meta)?)?)?,
            "crate" => self.runtime = Runtime::at(Path::parse_mod_style(value(meta)?)?),
            "derive" => self.skip = derive(meta)?,
            later if LATER.contains(&later) => {
                return Err(meta.error(format!(
                    "`{later}` is not available yet in this version of mosaik"
                )));
            }
            _ => {
                return Err(meta.error(format!(
                    "unknown option; the valid ones are {}",
                    list(&VALID)
                )));
            }
        }
        Ok(())
    }

    fn count(&mut self, meta: &ParseNestedMeta<'_>, least: u64) -> syn::Result<()> {
        let literal: LitInt = value(meta)?.parse()?;
        let count = valid::count(&literal, least)?;
        self.setting(meta, count);
        Ok(())
    }

    fn setting(&mut self, meta: &ParseNestedMeta<'_>, value: u64) {
        if let Some(key) = meta.path.get_ident() {
            // The key's span would have lints of the user's code look at a call that is not theirs.
            let setter = Ident::new(&key.to_string(), Span::mixed_site());
            self.settings.push((setter, value));
        }
    }
}

/// What stands behind the `=` of an option. Without one, the error is at the option.
fn value<'a>(meta: &ParseNestedMeta<'a>) -> syn::Result<ParseStream<'a>> {
    if meta.input.peek(Token![=]) && !meta.input.peek(Token![==]) {
        meta.value()
    } else {
        Err(meta.error("expected a value, as in `option = value`"))
    }
}

/// `derive(none)` or `derive(skip(Clone, …))`.
fn derive(meta: &ParseNestedMeta<'_>) -> syn::Result<Derives> {
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

/// Goes on to the next option, so that one mistake hides no other.
fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    let input = meta.input;
    if input.peek(Token![=]) && input.peek2(Token![|]) {
        // A closure may have commas in it.
        input.parse::<Token![=]>()?;
        input.parse::<syn::Expr>()?;
    }
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// The names as prose: "`a`, `b` and `c`".
fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
