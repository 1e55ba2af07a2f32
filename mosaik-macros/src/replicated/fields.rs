//! The fields of the struct, and what is wrong with them.

use quote::ToTokens;
use syn::{
    Attribute, Fields, FieldsNamed, FieldsUnnamed, Ident, Item, LitStr, Type, Visibility,
    ext::IdentExt, spanned::Spanned,
};

use super::literal;
use crate::common::item::Declared;

/// What the struct looks like.
pub(super) enum Shape {
    /// Collections with names.
    Named(Vec<Field>),
    /// One collection.
    Newtype(Box<Field>),
}

/// A collection.
pub(super) struct Field {
    pub(super) name: Ident,
    pub(super) visibility: Visibility,
    /// Its documentation, and whether it is deprecated.
    pub(super) attributes: Vec<Attribute>,
    pub(super) ty: Type,
    /// The name of the command that writes to it.
    command: LitStr,
}

impl Field {
    /// The name of the command that writes to it.
    pub(super) fn command(&self) -> &LitStr {
        &self.command
    }
}

impl Shape {
    /// Every collection.
    pub(super) fn fields(&self) -> &[Field] {
        match self {
            Self::Named(fields) => fields,
            Self::Newtype(field) => std::slice::from_ref(field),
        }
    }
}

/// The shape of what is declared.
///
/// # Errors
/// When it is no struct of collections.
pub(super) fn of(declared: &Declared) -> Result<Shape, Vec<syn::Error>> {
    let Item::Struct(item) = &declared.item else {
        let Item::Enum(item) = &declared.item else {
            return Err(Vec::new());
        };
        let complaint =
            "`#[replicated]` stands on a struct: its fields are collections, all of them at once";
        return Err(vec![syn::Error::new(item.enum_token.span(), complaint)]);
    };
    match &item.fields {
        Fields::Named(fields) if !fields.named.is_empty() => named(fields),
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => newtype(declared, fields),
        Fields::Unnamed(fields) if fields.unnamed.len() > 1 => Err(vec![syn::Error::new_spanned(
            &fields.unnamed[1],
            "give the collections names, by which members know them: only one of its own has none",
        )]),
        _ => Err(vec![syn::Error::new(
            declared.ident.span(),
            "there is nothing to replicate: add a field, as in `orders: Map<u64, Order>`",
        )]),
    }
}

fn named(fields: &FieldsNamed) -> Result<Shape, Vec<syn::Error>> {
    let mut errors = Vec::new();
    let mut named = Vec::new();
    for field in &fields.named {
        errors.extend(attributes(&field.attrs));
        errors.extend(mistaken(&field.ty));
        let Some(name) = &field.ident else {
            continue;
        };
        let text = name.unraw().to_string();
        if text.starts_with("__") {
            let complaint = "names that begin with `__` are taken by what is generated";
            errors.push(syn::Error::new(name.span(), complaint));
        }
        named.push(Field {
            name: name.clone(),
            visibility: field.vis.clone(),
            attributes: kept(&field.attrs),
            ty: field.ty.clone(),
            command: literal(&format!("{text}.write"), name),
        });
    }
    if errors.is_empty() {
        Ok(Shape::Named(named))
    } else {
        Err(errors)
    }
}

fn newtype(declared: &Declared, fields: &FieldsUnnamed) -> Result<Shape, Vec<syn::Error>> {
    let field = &fields.unnamed[0];
    let mut errors = attributes(&field.attrs);
    errors.extend(mistaken(&field.ty));
    if !errors.is_empty() {
        return Err(errors);
    }
    let name = &declared.ident;
    Ok(Shape::Newtype(Box::new(Field {
        name: name.clone(),
        visibility: field.vis.clone(),
        attributes: Vec::new(),
        ty: field.ty.clone(),
        command: literal("write", name),
    })))
}

/// What is wrong with the attributes of a field.
fn attributes(attributes: &[Attribute]) -> Vec<syn::Error> {
    let wrong = attributes.iter().filter_map(|attribute| {
        let complaint = match attribute.path().to_token_stream().to_string().as_str() {
            "cfg" | "cfg_attr" => {
                "a collection cannot depend on how a node is built: all of them hold the same"
            }
            "serde" => "a collection is written by mosaik: `serde` has no say here",
            _ => return None,
        };
        Some(syn::Error::new_spanned(attribute, complaint))
    });
    wrong.collect()
}

/// Types of std that somebody may take for a collection here, and what there is instead.
const INSTEAD: [(&[&str], &str); 8] = [
    (&["HashMap"], "Map"),
    (&["BTreeMap"], "SortedMap"),
    (&["HashSet", "BTreeSet"], "Set"),
    (&["VecDeque", "LinkedList"], "Vec"),
    (&["BinaryHeap"], "PriorityQueue"),
    (
        &[
            "AtomicU8",
            "AtomicU16",
            "AtomicU32",
            "AtomicU64",
            "AtomicUsize",
            "AtomicI8",
            "AtomicI16",
            "AtomicI32",
            "AtomicI64",
            "AtomicIsize",
        ],
        "Counter",
    ),
    (&["OnceLock", "OnceCell", "LazyLock"], "Once"),
    (
        &[
            "bool", "char", "String", "Option", "Mutex", "RwLock", "RefCell", "u8", "u16", "u32",
            "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
        ],
        "Cell",
    ),
];

/// What is wrong with a type that is clearly no collection. Others are for the compiler to judge.
fn mistaken(ty: &Type) -> Option<syn::Error> {
    let Type::Path(path) = ty else {
        return None;
    };
    let name = path.path.segments.last()?.ident.to_string();
    let known = |(names, _): &&(&[&str], &str)| names.contains(&name.as_str());
    let (_, instead) = INSTEAD.iter().find(known)?;
    let complaint = format!(
        "a `{name}` is no replicated collection: use a `{instead}` from `mosaik::collections`"
    );
    Some(syn::Error::new_spanned(ty, complaint))
}

/// The attributes that the fields of the handles have, too.
fn kept(attributes: &[Attribute]) -> Vec<Attribute> {
    let kept = |attribute: &&Attribute| {
        let path = attribute.path();
        path.is_ident("doc") || path.is_ident("deprecated")
    };
    attributes.iter().filter(kept).cloned().collect()
}
