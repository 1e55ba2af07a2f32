//! The options of `#[stream]`.

use proc_macro2::{Span, TokenStream};
use syn::{Ident, LitInt, LitStr, Path, ext::IdentExt, meta::ParseNestedMeta};

use super::valid;
use crate::{
    common::{
        arguments::{self, value},
        derives::{self, Derives},
        literal,
    },
    path::Runtime,
};

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
    let errors = arguments::parse(args, &VALID, &LATER, |key, meta| options.set(key, meta));
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
