//! The options in an attribute's parentheses: parsed one by one, each error at its token.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Token,
    meta::{ParseNestedMeta, parser},
    parse::{ParseStream, Parser},
};

/// The names of options.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    /// All there are.
    pub(crate) valid: &'a [&'a str],
    /// Those of them that may be given several times.
    pub(crate) repeated: &'a [&'a str],
    /// Those of a later version.
    pub(crate) later: &'a [&'a str],
}

/// Parses options, as far as they make sense. `set` takes the value of one.
pub(crate) fn parse(
    args: TokenStream,
    names: Names<'_>,
    mut set: impl FnMut(&str, &ParseNestedMeta<'_>) -> syn::Result<()>,
) -> Vec<syn::Error> {
    let Names {
        valid,
        repeated,
        later,
    } = names;
    let mut errors = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let parsed = parser(|meta| {
        let name = meta.path.get_ident().map(ToString::to_string);
        let name = name.unwrap_or_default();
        let again = seen.contains(&name) && !repeated.contains(&name.as_str());
        if !name.is_empty() && again {
            errors.push(meta.error(format!(
                "`{name}` is given twice; the valid options are {}, each once",
                list(valid)
            )));
            return skip_value(&meta);
        }
        let is_set = if valid.contains(&name.as_str()) {
            set(&name, &meta)
        } else if later.contains(&name.as_str()) {
            Err(meta.error(format!(
                "`{name}` is not available yet in this version of mosaik"
            )))
        } else {
            Err(meta.error(format!(
                "unknown option; the valid ones are {}",
                list(valid)
            )))
        };
        if let Err(error) = is_set {
            errors.push(error);
            skip_value(&meta)?;
        }
        seen.push(name);
        Ok(())
    })
    .parse2(args);
    errors.extend(parsed.err());
    errors
}

/// What stands behind the `=` of an option. Without one, the error is at the option.
pub(crate) fn value<'a>(meta: &ParseNestedMeta<'a>) -> syn::Result<ParseStream<'a>> {
    if meta.input.peek(Token![=]) && !meta.input.peek(Token![==]) {
        meta.value()
    } else {
        Err(meta.error("expected a value, as in `option = value`"))
    }
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
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
