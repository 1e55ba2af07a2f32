//! The options of `#[stream]`.

use proc_macro2::{Span, TokenStream};
use syn::{Expr, Ident, LitInt, LitStr, Path, ext::IdentExt, meta::ParseNestedMeta};

use super::valid;
use crate::{
    common::{
        arguments::{self, Names, value},
        derives::{self, Derives},
        literal,
    },
    path::Runtime,
};

/// The options there are.
const VALID: [&str; 11] = [
    "name",
    "capacity",
    "capacity_bytes",
    "lag",
    "stall",
    "max_consumers",
    "online_when",
    "ticket",
    "schema",
    "derive",
    "crate",
];

/// Options of a later version.
const LATER: [&str; 4] = ["history", "require", "producer_require", "consumer_require"];

/// Those that may be given several times.
const REPEATED: [&str; 1] = ["ticket"];

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
    /// What checks tickets.
    pub(crate) tickets: Vec<Expr>,
}

/// Parses the options as far as they make sense.
pub(crate) fn parse(args: TokenStream) -> (Options, Vec<syn::Error>) {
    let mut options = Options::default();
    let names = Names {
        valid: &VALID,
        later: &LATER,
        repeated: &REPEATED,
    };
    let errors = arguments::parse(args, names, |key, meta| options.set(key, meta));
    (options, errors)
}

impl Options {
    fn set(&mut self, key: &str, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        match key {
            "name" => self.name = Some(literal::name(value(meta)?.parse()?)?),
            "schema" => self.schema = Some(literal::name(value(meta)?.parse()?)?),
            "capacity" | "capacity_bytes" | "max_consumers" => self.count(meta, 1)?,
            "online_when" => self.count(meta, 0)?,
            "stall" => {
                let millis = literal::duration(&value(meta)?.parse()?)?;
                self.setting(meta, millis);
            }
            "lag" => valid::lag(&Ident::parse_any(value(meta)?)?)?,
            "ticket" => self.tickets.push(value(meta)?.parse()?),
            "crate" => self.runtime = Runtime::at(Path::parse_mod_style(value(meta)?)?),
            "derive" => self.skip = derives::option(meta)?,
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, meta: &ParseNestedMeta<'_>, least: u64) -> syn::Result<()> {
        let literal: LitInt = value(meta)?.parse()?;
        let count = literal::count(&literal, least)?;
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
