//! The annotated item: a struct or an enum, and the derives that stand below the attribute.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{Attribute, Field, Fields, Generics, Ident, Item, Visibility, ext::IdentExt};

use super::derives::Derives;

/// A struct or an enum.
#[derive(Clone)]
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

/// The name of a type that is made for an item.
pub(crate) fn beside(item: &Ident, suffix: &str) -> Ident {
    Ident::new(&format!("{}{suffix}", item.unraw()), item.span())
}

/// A variable that clashes with nothing of the user's.
pub(crate) fn variable(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
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

    /// Whether each of its instances is declared on its own.
    pub(crate) fn is_generic(&self) -> bool {
        !self.generics.params.is_empty()
    }

    /// An error at each lifetime, which nothing that is declared can have.
    pub(crate) fn lifetimes(&self, complaint: &str) -> Vec<syn::Error> {
        let lifetimes = self.generics.lifetimes();
        let errors = lifetimes.map(|each| syn::Error::new_spanned(&each.lifetime, complaint));
        errors.collect()
    }

    /// Every field.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        match &self.item {
            Item::Struct(item) => item.fields.iter().collect(),
            Item::Enum(item) => {
                let variants = item.variants.iter();
                variants.flat_map(|variant| &variant.fields).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The attributes of every field.
    pub(crate) fn field_attributes(&self) -> Vec<&Attribute> {
        let fields = self.fields().into_iter();
        fields.flat_map(|field| &field.attrs).collect()
    }

    /// Takes attributes off the fields, which the compiler would not know.
    pub(crate) fn strip(&mut self, is_unknown: impl Fn(&Attribute) -> bool) {
        let strip = |fields: &mut Fields| {
            for field in fields {
                field.attrs.retain(|each| !is_unknown(each));
            }
        };
        match &mut self.item {
            Item::Struct(item) => strip(&mut item.fields),
            Item::Enum(item) => {
                let variants = item.variants.iter_mut();
                variants.for_each(|variant| strip(&mut variant.fields));
            }
            _ => {}
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
