//! The commands and queries of an `impl` block.

use std::fmt;

use syn::{
    Attribute, Ident, ImplItemFn, Meta, ReturnType, Type, Visibility, ext::IdentExt, parse_quote,
};

use super::signature::{self, Argument};

/// What the handle, or the state, has already, so that a command or query cannot be called so.
const RESERVED: [&str; 21] = [
    "batch",
    "clone",
    "connect",
    "events",
    "explain",
    "group_builder",
    "id",
    "is_leader",
    "is_online",
    "join",
    "leader",
    "leave",
    "local",
    "members",
    "name",
    "observe",
    "read",
    "recover",
    "transfer_leadership",
    "version",
    "when",
];

/// What a method is to the group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    Query,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::Query => "query",
        })
    }
}

impl Kind {
    /// How it takes the state.
    pub(super) fn receiver(self) -> &'static str {
        match self {
            Self::Command => "&mut self",
            Self::Query => "&self",
        }
    }

    /// Why it cannot wait.
    pub(super) fn haste(self) -> &'static str {
        match self {
            Self::Command => "is applied by every member, at once and alike",
            Self::Query => "is answered from the state as it is",
        }
    }
}

/// A command or query.
pub(super) struct Method {
    pub(super) kind: Kind,
    pub(super) ident: Ident,
    pub(super) visibility: Visibility,
    /// Under which conditions it is there at all.
    pub(super) conditions: Vec<Attribute>,
    /// What its users say of it.
    pub(super) docs: Vec<Attribute>,
    pub(super) has_context: bool,
    pub(super) arguments: Vec<Argument>,
    pub(super) output: Type,
    /// Whether the handle has a method that sends many of it at once.
    pub(super) has_many: bool,
    /// Whether nothing was wrong with it.
    pub(super) sound: bool,
}

/// What stands on a method of an `impl` block.
pub(super) struct Found {
    /// As far as the handle can have it.
    pub(super) method: Option<Method>,
    pub(super) errors: Vec<syn::Error>,
}

/// Reads a method, and takes the attributes off that the compiler would not know; `None` if it has none.
pub(super) fn take(function: &mut ImplItemFn) -> Option<Found> {
    let mut errors = Vec::new();
    let mut kind = None;
    function.attrs.retain(|attribute| {
        let Some(found) = kind_of(attribute) else {
            return true;
        };
        if !matches!(attribute.meta, Meta::Path(_)) {
            let text = format!("`#[{found}]` takes no arguments");
            errors.push(syn::Error::new_spanned(&attribute.meta, text));
        }
        if kind.is_some() {
            let text = "a method is one command, or one query";
            errors.push(syn::Error::new_spanned(attribute, text));
        }
        kind.get_or_insert(found);
        false
    });
    let kind = kind?;
    let signature = &function.sig;
    let parsed = signature::parse(kind, signature);
    let name = signature.ident.unraw().to_string();
    let reserved = RESERVED.contains(&name.as_str());
    if reserved {
        errors.push(syn::Error::new(
            signature.ident.span(),
            format!("`{name}` is a method of every group's handle: give this {kind} another name"),
        ));
    }
    errors.extend(parsed.errors);
    let of_users = |attribute: &&Attribute| {
        ["doc", "deprecated", "must_use"]
            .iter()
            .any(|known| attribute.path().is_ident(known))
    };
    let method = Method {
        kind,
        ident: signature.ident.clone(),
        visibility: function.vis.clone(),
        conditions: conditions(&function.attrs),
        docs: function.attrs.iter().filter(of_users).cloned().collect(),
        has_context: parsed.has_context,
        has_many: kind == Kind::Command && !parsed.arguments.is_empty(),
        arguments: parsed.arguments,
        output: match &signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        },
        sound: errors.is_empty(),
    };
    Some(Found {
        method: (parsed.travels && !reserved).then_some(method),
        errors,
    })
}

fn kind_of(attribute: &Attribute) -> Option<Kind> {
    let path = attribute.path();
    if path.is_ident("command") {
        Some(Kind::Command)
    } else if path.is_ident("query") {
        Some(Kind::Query)
    } else {
        None
    }
}

fn conditions(attributes: &[Attribute]) -> Vec<Attribute> {
    let cfg = attributes.iter().filter(|each| each.path().is_ident("cfg"));
    cfg.cloned().collect()
}

/// An error at each command or query that is called like the `_many` of another, which then has none.
pub(super) fn clashes(methods: &mut [Method]) -> Vec<syn::Error> {
    let mut errors = Vec::new();
    for at in 0..methods.len() {
        let of = methods[at].ident.unraw();
        let taken = format!("{of}_many");
        let other = methods.iter().find(|other| other.ident.unraw() == taken);
        let Some(other) = other.filter(|_| methods[at].has_many) else {
            continue;
        };
        let text = format!(
            "`{taken}` is what sends many `{of}` at once: give this {} another name",
            other.kind
        );
        errors.push(syn::Error::new(other.ident.span(), text));
        methods[at].has_many = false;
    }
    errors
}
