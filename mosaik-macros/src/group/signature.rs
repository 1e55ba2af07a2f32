//! What the signature of a command or query may be, with an error at each token that it may not have.

use syn::{
    FnArg, Ident, Lifetime, Pat, PatIdent, ReceiverKind, ReturnType, Safety, Signature, Token,
    Type, TypeImplTrait, TypeReference, spanned::Spanned, visit::Visit,
};

use super::{method::Kind, peeled, valid, variable};

/// Most arguments of a command or query.
const MOST_ARGUMENTS: usize = 12;

/// An argument.
pub(super) struct Argument {
    pub(super) ident: Ident,
    pub(super) ty: Type,
    /// What it borrows, if it is `&T`.
    pub(super) borrowed: Option<Type>,
}

/// A signature, as far as it makes sense.
pub(super) struct Parsed {
    /// Whether a command wants the context.
    pub(super) has_context: bool,
    pub(super) arguments: Vec<Argument>,
    /// Whether its arguments and what it returns can travel.
    pub(super) travels: bool,
    /// Whether a method of the handle can have this signature, even if it cannot travel.
    pub(super) stands_in: bool,
    pub(super) errors: Vec<syn::Error>,
}

/// Reads a signature, and takes the attributes off that the compiler would not know.
pub(super) fn parse(kind: Kind, signature: &mut Signature) -> Parsed {
    let excepted = exceptions(signature);
    let signature = &*signature;
    let mut errors = Vec::new();
    modifiers(kind, signature, &mut errors);
    errors.extend(receiver(kind, signature));
    let untravelled = errors.len();
    let mut has_context = false;
    let mut arguments = Vec::new();
    let first = usize::from(signature.receiver().is_some());
    for (at, input) in signature.inputs.iter().enumerate().skip(first) {
        let FnArg::Typed(input) = input else {
            continue;
        };
        match context(kind, &input.ty, at == first) {
            Some(Ok(())) => {
                has_context = true;
                continue;
            }
            Some(Err(error)) => {
                errors.push(error);
                continue;
            }
            None => {}
        }
        let (argument, wrong) = argument(kind, &input.pat, &input.ty, arguments.len());
        arguments.push(argument);
        errors.extend(wrong);
        if kind == Kind::Command && !excepted.contains(&at) {
            errors.extend(unordered(
                &input.ty,
                "mark the argument with `#[nondeterministic_ok]`",
            ));
        }
    }
    if let Some(argument) = arguments.get(MOST_ARGUMENTS) {
        errors.push(syn::Error::new(
            argument.ident.span(),
            format!("a {kind} has at most {MOST_ARGUMENTS} arguments: gather some in a struct"),
        ));
    }
    let mut is_opaque = false;
    if let ReturnType::Type(_, ty) = &signature.output {
        let mut travel = Travel::default();
        travel.visit_type(ty);
        is_opaque = !travel.opaque.is_empty();
        if kind == Kind::Command {
            errors.extend(unordered(ty, "sort what it returns"));
        }
        errors.extend(travel.errors(&format!(
            "what a {kind} returns travels to whoever asked, so it cannot borrow"
        )));
    }
    Parsed {
        has_context,
        arguments,
        travels: errors.len() == untravelled,
        stands_in: !is_opaque && signature.generics.params.is_empty(),
        errors,
    }
}

/// Removes `#[nondeterministic_ok]` from arguments; returns which had it.
fn exceptions(signature: &mut Signature) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, input) in signature.inputs.iter_mut().enumerate() {
        if let FnArg::Typed(input) = input {
            let before = input.attrs.len();
            input
                .attrs
                .retain(|attribute| !valid::is_exception(attribute));
            if input.attrs.len() < before {
                found.push(at);
            }
        }
    }
    found
}

/// Errors at the collections of no order in what a command is given or returns.
fn unordered(ty: &Type, way_out: &str) -> Vec<syn::Error> {
    let found = valid::unordered(ty).into_iter();
    let errors = found.map(|(found, instead)| {
        let text = format!(
            "a `{found}` has another order on each replica, which would differ then: use a `{instead}`, or {way_out}"
        );
        syn::Error::new(found.span(), text)
    });
    errors.collect()
}

/// `async`, `unsafe`, `extern` and generics.
fn modifiers(kind: Kind, signature: &Signature, errors: &mut Vec<syn::Error>) {
    if let Some(token) = &signature.asyncness {
        errors.push(syn::Error::new(
            token.span(),
            format!("a {kind} cannot wait: it {}", kind.haste()),
        ));
    }
    if let Safety::Unsafe(token) = &signature.safety {
        let text = format!("a {kind} cannot be `unsafe`: any member may send it");
        errors.push(syn::Error::new(token.span(), text));
    }
    if let Some(abi) = &signature.abi {
        let text = format!("a {kind} is a plain function");
        errors.push(syn::Error::new_spanned(abi, text));
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        let text = match generics.type_params().next() {
            Some(_) => format!(
                "a {kind} cannot be generic: the types of its arguments are what members agree on"
            ),
            None => {
                format!("a {kind} has no parameters of its own: a plain `&T` needs no lifetime")
            }
        };
        errors.push(syn::Error::new_spanned(&generics.params, text));
    } else if let Some(conditions) = &generics.where_clause {
        let text = format!("a {kind} cannot have conditions: put them on the `impl` block");
        errors.push(syn::Error::new_spanned(conditions, text));
    }
}

/// What is wrong with how a method takes the state.
fn receiver(kind: Kind, signature: &Signature) -> Option<syn::Error> {
    let Some(receiver) = signature.receiver() else {
        let text = format!("a {kind} takes `{}`", kind.receiver());
        return Some(syn::Error::new(signature.ident.span(), text));
    };
    let text = match (kind, &receiver.kind) {
        (_, ReceiverKind::Reference(_, Some(lifetime), _)) => {
            let text = format!("a {kind} cannot borrow for longer than it runs");
            return Some(syn::Error::new_spanned(lifetime, text));
        }
        (Kind::Command, ReceiverKind::Reference(_, None, Some(_)))
        | (Kind::Query, ReceiverKind::Reference(_, None, None)) => return None,
        (Kind::Command, ReceiverKind::Reference(..)) => {
            "a command changes the state: it takes `&mut self`; what only reads is a `#[query]`"
        }
        (Kind::Query, ReceiverKind::Reference(..)) => {
            "a query only reads: it takes `&self`; what changes the state is a `#[command]`"
        }
        (Kind::Command, _) => "a command takes `&mut self`",
        (Kind::Query, _) => "a query takes `&self`",
    };
    Some(syn::Error::new_spanned(receiver, text))
}

/// Whether an argument is the context of a command; it is wrong elsewhere.
fn context(kind: Kind, ty: &Type, first: bool) -> Option<syn::Result<()>> {
    let ty = peeled(ty);
    let inner = match ty {
        Type::Reference(reference) => peeled(&reference.elem),
        ty => ty,
    };
    let Type::Path(path) = inner else {
        return None;
    };
    let last = path.path.segments.last()?;
    if last.ident != "Ctx" || !last.arguments.is_empty() {
        return None;
    }
    let wrong = |text: &str| Some(Err(syn::Error::new_spanned(ty, text)));
    match ty {
        _ if kind == Kind::Query => {
            wrong("only a command has a `Ctx`: a query is no entry of the log")
        }
        Type::Reference(reference) if reference.mutability.is_none() && first => Some(Ok(())),
        Type::Reference(reference) if reference.mutability.is_none() => {
            wrong("the `Ctx` comes first, right behind `&mut self`")
        }
        _ => wrong("a command takes the context as `&Ctx`"),
    }
}

/// The argument at `at`, as far as it makes sense, and what is wrong with it.
fn argument(kind: Kind, pattern: &Pat, ty: &Type, at: usize) -> (Argument, Vec<syn::Error>) {
    let ty = peeled(ty);
    let mut errors = Vec::new();
    let ident = match pattern {
        Pat::Ident(PatIdent {
            by_ref: None,
            subpat: None,
            ident,
            ..
        }) => ident.clone(),
        pattern => {
            let text = format!("an argument of a {kind} has a plain name, which its callers see");
            errors.push(syn::Error::new_spanned(pattern, text));
            variable(&format!("argument_{at}"))
        }
    };
    let mut travel = Travel::default();
    let mut borrowed = None;
    match ty {
        Type::Reference(reference) if kind == Kind::Query => {
            if let Some(mutable) = &reference.mutability {
                let text = "a query only reads: it cannot have `&mut`";
                errors.push(syn::Error::new(mutable.span(), text));
            }
            if let Some(lifetime) = &reference.lifetime {
                travel.visit_lifetime(lifetime);
            }
            travel.visit_type(&reference.elem);
            borrowed = Some((*reference.elem).clone());
        }
        ty => travel.visit_type(ty),
    }
    errors.extend(travel.errors(match kind {
        Kind::Command => {
            "a command is kept in the log, so it owns its arguments: `String` for `&str`, `Vec<T>` for `&[T]`"
        }
        Kind::Query => {
            "an argument of a query may travel, so it is owned, or a plain `&T` of what can be owned"
        }
    }));
    let argument = Argument {
        ident,
        ty: ty.clone(),
        borrowed,
    };
    (argument, errors)
}

/// Finds what cannot travel in a type.
#[derive(Default)]
struct Travel {
    references: Vec<Token![&]>,
    lifetimes: Vec<Lifetime>,
    opaque: Vec<Token![impl]>,
}

impl Travel {
    /// An error at each; `borrows` is what those get that borrow.
    fn errors(self, borrows: &str) -> Vec<syn::Error> {
        let references = self.references.iter().map(Spanned::span);
        let spans = references.chain(self.lifetimes.iter().map(Lifetime::span));
        let borrowed = spans.map(|span| syn::Error::new(span, borrows));
        let opaque = self.opaque.iter().map(|token| {
            let text = "`impl Trait` is no type that members could agree on: name it";
            syn::Error::new(token.span(), text)
        });
        borrowed.chain(opaque).collect()
    }
}

impl<'ast> Visit<'ast> for Travel {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        self.references.push(reference.and_token);
        // One error a reference: its lifetime is none of its own.
        self.visit_type(&reference.elem);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.lifetimes.push(lifetime.clone());
        }
    }

    fn visit_type_impl_trait(&mut self, opaque: &'ast TypeImplTrait) {
        self.opaque.push(opaque.impl_token);
    }
}
