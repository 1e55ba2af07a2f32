//! Writes the annotated type out where a user says `Self`, which is something else in what is generated.

use syn::{
    Expr, ExprPath, Generics, Path, Type, TypePath, parse_quote,
    visit_mut::{self, VisitMut},
};

/// In bounds and conditions.
pub(crate) fn in_generics(generics: &mut Generics, own: &Type) {
    ReplaceSelf(own).visit_generics_mut(generics);
}

/// Puts a type in the place of `Self`.
pub(crate) struct ReplaceSelf<'a>(pub(crate) &'a Type);

impl ReplaceSelf<'_> {
    /// `<State>::Rest` for `Self::Rest`.
    fn qualified<T: syn::parse::Parse>(&self, path: &Path) -> Option<T> {
        let own = self.0;
        let mut segments = path.segments.iter();
        let first = segments.next()?;
        (first.ident == "Self" && path.segments.len() > 1)
            .then(|| parse_quote!(<#own> #(:: #segments)*))
    }
}

impl VisitMut for ReplaceSelf<'_> {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if let Type::Path(TypePath {
            qself: None, path, ..
        }) = ty
        {
            if path.is_ident("Self") {
                *ty = self.0.clone();
                return;
            }
            if let Some(qualified) = self.qualified(path) {
                *ty = qualified;
                return;
            }
        }
        visit_mut::visit_type_mut(self, ty);
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        if let Expr::Path(ExprPath {
            qself: None, path, ..
        }) = expr
            && let Some(qualified) = self.qualified(path)
        {
            *expr = qualified;
            return;
        }
        visit_mut::visit_expr_mut(self, expr);
    }
}
