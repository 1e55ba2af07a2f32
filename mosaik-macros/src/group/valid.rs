//! What keeps an item from being the state of a group.

use syn::{Attribute, Ident, Type, visit::Visit};

use crate::common::{item::Declared, serde};

/// Collections whose order differs from one process to the next.
const UNORDERED: [(&str, &str); 2] = [("HashMap", "BTreeMap"), ("HashSet", "BTreeSet")];

/// What is wrong with the item.
pub(super) fn check(declared: &Declared) -> Vec<syn::Error> {
    let mut errors = declared
        .lifetimes("the state of a group outlives whoever made it, so it must own what it holds");
    errors.extend(serde::check(declared, "group"));
    let fields = declared.fields().into_iter();
    let fields = fields.filter(|field| !field.attrs.iter().any(is_exception));
    let unordered = fields.flat_map(|field| unordered(&field.ty));
    errors.extend(unordered.map(|(found, instead)| {
        syn::Error::new(
            found.span(),
            format!(
                "a `{found}` has another order on each replica: use a `{instead}`, or mark the field with \
                 `#[nondeterministic_ok]` if no command or query depends on its order"
            ),
        )
    }));
    errors
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
