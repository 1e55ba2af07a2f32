//! The annotated item: a struct or an enum, and the derives that stand below the attribute.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Generics, Ident, Item, Visibility};

use super::derives::Derives;

/// A struct or an enum.
pub(crate) struct Declared {
    pub(crate) item: Item,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// The traits that the item derives by itself.
    pub(crate) derives: Derives,
}

/// Reads the item; `complaint` is what an item of another kind gets.
pub(crate) fn parse(tokens: TokenStream, complaint: &str) -> syn::Result<Declared> {
    let item: Item = syn::parse2(tokens)?;
    let (ident, generics) = match &item {
        Item::Struct(item) => (item.ident.clone(), item.generics.clone()),
        Item::Enum(item) => (item.ident.clone(), item.generics.clone()),
        other => {
            return Err(syn::Error::new_spanned(subject(other), complaint));
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
    pub(crate) fn visibility(&self) -> &Visibility {
        match &self.item {
            Item::Struct(item) => &item.vis,
            Item::Enum(item) => &item.vis,
            _ => &Visibility::Inherited,
        }
    }

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
