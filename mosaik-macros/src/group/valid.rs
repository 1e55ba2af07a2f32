//! What keeps an item from being the state of a group.

use syn::{Attribute, Fields, Ident, Item, Type, visit::Visit};

use crate::common::{item::Declared, serde};

/// Collections whose order differs from one process to the next.
const UNORDERED: [(&str, &str); 2] = [("HashMap", "BTreeMap"), ("HashSet", "BTreeSet")];

/// What is wrong with the item.
pub(super) fn check(declared: &Declared) -> Vec<syn::Error> {
    let lifetimes = declared.generics.lifetimes().map(|parameter| {
        syn::Error::new_spanned(
            &parameter.lifetime,
            "the state of a group outlives whoever made it, so it must own what it holds",
        )
    });
    let others = declared.attributes().iter();
    let others = others.chain(declared.field_attributes());
    let carried = others
        .filter_map(|attribute| serde::check(attribute, "group"))
        .chain(
            declared
                .variant_attributes()
                .into_iter()
                .filter_map(|attribute| serde::check_variant(attribute, "group")),
        );
    let unordered = fields(&declared.item)
        .into_iter()
        .flat_map(Fields::iter)
        .filter(|field| !field.attrs.iter().any(is_exception))
        .flat_map(|field| unordered(&field.ty));
    let unordered = unordered.map(|(found, instead)| {
        syn::Error::new(
            found.span(),
            format!(
                "a `{found}` has another order on each replica: use a `{instead}`, or mark the field with \
                 `#[nondeterministic_ok]` if no command or query depends on its order"
            ),
        )
    });
    lifetimes.chain(carried).chain(unordered).collect()
}

/// The collections of no order in a type, and what to use instead.
pub(super) fn unordered(ty: &Type) -> Vec<(Ident, &'static str)> {
    let mut unordered = Unordered::default();
    unordered.visit_type(ty);
    unordered.found
}

/// Whether this is `#[nondeterministic_ok]`.
pub(super) fn is_exception(attribute: &Attribute) -> bool {
    attribute.path().is_ident("nondeterministic_ok")
}

/// Removes `#[nondeterministic_ok]`, which the compiler would not know.
pub(super) fn without_exceptions(item: &mut Item) {
    let strip = |fields: &mut Fields| {
        for field in fields {
            field.attrs.retain(|each| !is_exception(each));
        }
    };
    match item {
        Item::Struct(item) => strip(&mut item.fields),
        Item::Enum(item) => item
            .variants
            .iter_mut()
            .for_each(|variant| strip(&mut variant.fields)),
        _ => {}
    }
}

fn fields(item: &Item) -> Vec<&Fields> {
    match item {
        Item::Struct(item) => vec![&item.fields],
        Item::Enum(item) => item.variants.iter().map(|each| &each.fields).collect(),
        _ => Vec::new(),
    }
}

/// Finds the collections of no order in a type.
#[derive(Default)]
struct Unordered {
    found: Vec<(Ident, &'static str)>,
}

impl<'ast> Visit<'ast> for Unordered {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        let known = UNORDERED.iter().find(|(name, _)| segment.ident == name);
        if let Some((_, instead)) = known {
            self.found.push((segment.ident.clone(), instead));
        }
        syn::visit::visit_path_segment(self, segment);
    }
}
