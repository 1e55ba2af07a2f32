//! The annotated item: a struct or an enum, and the derives that stand below the attribute.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Generics, Ident, Item, Path, Token, punctuated::Punctuated};

/// A struct or an enum.
pub(crate) struct Declared {
    pub(crate) item: Item,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// The traits that the item derives by itself.
    pub(crate) derives: Derives,
}

/// Which of the traits that a datum needs are derived.
#[derive(Clone, Copy, Default)]
pub(crate) struct Derives {
    pub(crate) clone: bool,
    pub(crate) serialize: bool,
    pub(crate) deserialize: bool,
}

/// Reads the item.
pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Declared> {
    let item: Item = syn::parse2(tokens)?;
    let (ident, generics) = match &item {
        Item::Struct(item) => (item.ident.clone(), item.generics.clone()),
        Item::Enum(item) => (item.ident.clone(), item.generics.clone()),
        other => {
            return Err(syn::Error::new_spanned(
                subject(other),
                "`#[stream]` declares the datums of a stream: it stands on a struct or an enum",
            ));
        }
    };
    let mut declared = Declared {
        derives: Derives::default(),
        item,
        ident,
        generics,
    };
    for attribute in declared.attributes().to_vec() {
        declared.derives.see(&attribute);
    }
    Ok(declared)
}

/// The token that names what kind of item this is.
fn subject(item: &Item) -> TokenStream {
    match item {
        Item::Union(item) => item.union_token.to_token_stream(),
        Item::Fn(item) => item.sig.fn_token.to_token_stream(),
        Item::Impl(item) => item.impl_token.to_token_stream(),
        Item::Trait(item) => item.trait_token.to_token_stream(),
        Item::Type(item) => item.type_token.to_token_stream(),
        Item::Mod(item) => item.mod_token.to_token_stream(),
        other => other.to_token_stream(),
    }
}

impl Declared {
    pub(crate) fn attributes(&self) -> &[Attribute] {
        match &self.item {
            Item::Struct(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            _ => &[],
        }
    }

    /// The attributes of every field.
    pub(crate) fn field_attributes(&self) -> Vec<&Attribute> {
        match &self.item {
            Item::Struct(item) => item.fields.iter().flat_map(|field| &field.attrs).collect(),
            Item::Enum(item) => {
                let fields = item.variants.iter().flat_map(|variant| &variant.fields);
                fields.flat_map(|field| &field.attrs).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The attributes of every variant.
    pub(crate) fn variant_attributes(&self) -> Vec<&Attribute> {
        match &self.item {
            Item::Enum(item) => item.variants.iter().flat_map(|v| &v.attrs).collect(),
            _ => Vec::new(),
        }
    }
}

impl Derives {
    /// Notes what a `derive` attribute derives; any other is of no interest.
    fn see(&mut self, attribute: &Attribute) {
        if !attribute.path().is_ident("derive") {
            return;
        }
        let list = Punctuated::<Path, Token![,]>::parse_terminated;
        let Ok(paths) = attribute.parse_args_with(list) else {
            return;
        };
        for path in paths {
            match path.segments.last().map(|last| last.ident.to_string()) {
                Some(name) if name == "Clone" => self.clone = true,
                Some(name) if name == "Serialize" => self.serialize = true,
                Some(name) if name == "Deserialize" => self.deserialize = true,
                _ => {}
            }
        }
    }
}
