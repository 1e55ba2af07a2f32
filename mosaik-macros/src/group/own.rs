//! Writes the state out where a user's types say `Self`, which is something else in what is generated.

use syn::{Type, visit_mut::VisitMut as _};

use super::method::Method;
use crate::common::own::ReplaceSelf;

/// In the types of a method.
pub(super) fn in_method(method: &mut Method, own: &Type) {
    let mut replace = ReplaceSelf(own);
    for argument in &mut method.arguments {
        replace.visit_type_mut(&mut argument.ty);
        if let Some(borrowed) = &mut argument.borrowed {
            replace.visit_type_mut(borrowed);
        }
    }
    replace.visit_type_mut(&mut method.output);
}
