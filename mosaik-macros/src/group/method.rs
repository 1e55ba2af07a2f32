//! The commands and queries of an `impl` block.

use std::fmt;

use syn::{
    AttrStyle, Attribute, Ident, ImplItemFn, Meta, ReturnType, Type, Visibility, ext::IdentExt,
    parse_quote,
};

use super::signature::{self, Argument};

/// What the handle has already, so that a command or query cannot be called so.
const RESERVED: [&str; 17] = [
    "batch",
    "clone",
    "events",
    "explain",
    "id",
    "is_leader",
    "is_online",
    "leader",
    "leave",
    "local",
    "members",
    "name",
    "read",
    "recover",
    "transfer_leadership",
    "version",
    "when",
];

/// What the state gets from the attribute, so that no function of it can be called so.
const TAKEN: [&str; 4] = ["connect", "group_builder", "join", "observe"];

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
    /// Which lints it allows, and whether it is deprecated.
    pub(super) lints: Vec<Attribute>,
    pub(super) has_context: bool,
    pub(super) arguments: Vec<Argument>,
    pub(super) output: Type,
    /// Whether the handle has a method that sends many of it at once.
    pub(super) has_many: bool,
    /// Whether it can be sent, by what its signature says.
    pub(super) travels: bool,
    /// Whether the handle can have a method with its signature.
    pub(super) stands_in: bool,
    /// Whether nothing was wrong with it.
    pub(super) sound: bool,
}

/// Reads a method as far as it makes sense, with what is wrong with it, and takes the attributes off that the compiler
/// would not know; `None` if it has none.
pub(super) fn take(function: &mut ImplItemFn) -> Option<(Method, Vec<syn::Error>)> {
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
    let parsed = signature::parse(kind, &mut function.sig);
    let signature = &function.sig;
    let name = signature.ident.unraw().to_string();
    let reserved = RESERVED.contains(&name.as_str());
    if reserved {
        errors.push(syn::Error::new(
            signature.ident.span(),
            format!("`{name}` is a method of every group's handle: give this {kind} another name"),
        ));
    }
    errors.extend(parsed.errors);
    let attributes = &function.attrs;
    let method = Method {
        kind,
        ident: signature.ident.clone(),
        visibility: function.vis.clone(),
        conditions: outer(attributes, &["cfg"]),
        docs: outer(attributes, &["doc", "must_use"]),
        lints: lints(attributes),
        has_context: parsed.has_context,
        has_many: kind == Kind::Command && !parsed.arguments.is_empty(),
        arguments: parsed.arguments,
        output: match &signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        },
        travels: parsed.travels && !reserved,
        stands_in: parsed.stands_in && !reserved,
        sound: errors.is_empty(),
    };
    Some((method, errors))
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

/// An error at a function of the state that is called like one that the attribute adds.
pub(super) fn taken(ident: &Ident) -> Option<syn::Error> {
    let name = ident.unraw().to_string();
    TAKEN.contains(&name.as_str()).then(|| {
        let text =
            format!("`#[group]` gives the state a function `{name}`: give this one another name");
        syn::Error::new(ident.span(), text)
    })
}

/// The attributes of these names, to stand in front of another item.
fn outer(attributes: &[Attribute], names: &[&str]) -> Vec<Attribute> {
    let named = attributes.iter().filter(|attribute| {
        let path = attribute.path();
        names.iter().any(|name| path.is_ident(name))
    });
    let outer = named.cloned().map(|mut attribute| {
        attribute.style = AttrStyle::Outer;
        attribute
    });
    outer.collect()
}

/// The lints that a method allows, which what is generated of it may trip too, and whether it is deprecated.
fn lints(attributes: &[Attribute]) -> Vec<Attribute> {
    let expected = outer(attributes, &["expect"]).into_iter();
    // Nothing is to be expected of what its author did not write.
    let expected = expected.filter_map(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return None;
        };
        let lints = &list.tokens;
        Some(parse_quote!(#[allow(#lints)]))
    });
    let mut lints = outer(attributes, &["allow", "deprecated"]);
    lints.extend(expected);
    lints
}

/// An error at each command or query that is called like the `_many` of another, which then has none.
pub(super) fn clashes(methods: &mut [Method]) -> Vec<syn::Error> {
    let mut errors = Vec::new();
    for at in 0..methods.len() {
        let of = methods[at].ident.unraw();
        let taken = format!("{of}_many");
        let other = methods.iter().find(|other| other.ident.unraw() == taken);
        let Some(other) = other.filter(|_| methods[at].has_many && methods[at].travels) else {
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
