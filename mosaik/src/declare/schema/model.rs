//! The data model of a schema: a flat table of types that refer to each other by position.
//!
//! Flat, so that neither decoding nor comparing one ever recurses as deep as a peer likes.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::MAX_NAME;

/// Position of a type in its table.
pub(super) type Ref = u32;

/// The types that a datum is made of, in the order of a breadth-first walk from the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    types: Vec<Type>,
}

/// One type of serde's data model, as postcard carries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Type {
    Unit,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    Option(Ref),
    Seq(Ref),
    Map {
        key: Ref,
        value: Ref,
    },
    Tuple(Vec<Ref>),
    Array {
        item: Ref,
        len: u32,
    },
    Struct {
        name: String,
        body: Body,
    },
    Enum {
        name: String,
        variants: Vec<Variant>,
    },
}

/// What a struct or a variant holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Body {
    Unit,
    NewType(Ref),
    Tuple(Vec<Ref>),
    Struct(Vec<Field>),
}

/// A field with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) ty: Ref,
}

/// A variant; its position is its discriminant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) body: Body,
}

impl Table {
    /// The root's position.
    pub(super) const ROOT: Ref = 0;

    /// Keeps what `root` reaches of `types`, each type once, in canonical order.
    pub(super) fn canonical(types: &[Type], root: Ref) -> Self {
        let (types, classes) = merged(types);
        let root = classes[root as usize];
        let mut position = vec![None; types.len()];
        let mut order = VecDeque::from([root]);
        let mut table = Vec::new();
        position[root as usize] = Some(Self::ROOT);
        let mut seen: Ref = 1;
        while let Some(at) = order.pop_front() {
            let mut ty = types[at as usize].clone();
            ty.for_each_ref(|child| {
                let old = *child as usize;
                *child = *position[old].get_or_insert_with(|| {
                    order.push_back(old as Ref);
                    seen += 1;
                    seen - 1
                });
            });
            table.push(ty);
        }
        Self { types: table }
    }

    /// Whether every reference has a target and every name is fit to be shown.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.types.is_empty() {
            return Err("it has no types".into());
        }
        for ty in &self.types {
            let mut dangling = false;
            ty.clone()
                .for_each_ref(|at| dangling |= *at as usize >= self.types.len());
            if dangling {
                return Err("it refers to a type that it does not have".into());
            }
            ty.names().into_iter().try_for_each(check_name)?;
        }
        Ok(())
    }

    /// The type at `at`, which [`check`](Self::check) saw.
    pub(super) fn get(&self, at: Ref) -> &Type {
        &self.types[at as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Type> {
        self.types.iter()
    }
}

/// Merges types that look the same to whoever reads a datum: one type a class, which refers to
/// classes, and the class of each of `types`.
///
/// Starts with all types in one class and splits classes until members agree in their own shape and
/// in the classes that they refer to, as automata are minimized (Moore, "Gedanken-experiments on
/// sequential machines", 1956). So recursive types merge too.
fn merged(types: &[Type]) -> (Vec<Type>, Vec<Ref>) {
    let mut classes: Vec<Ref> = vec![0; types.len()];
    loop {
        let mut split: HashMap<Type, Ref> = HashMap::new();
        let mut members = Vec::new();
        let of_type = |ty: &Type| {
            let shape = ty.with_classes(&classes);
            let next = members.len() as Ref;
            *split.entry(shape).or_insert_with_key(|shape| {
                members.push(shape.clone());
                next
            })
        };
        let refined: Vec<Ref> = types.iter().map(of_type).collect();
        if refined == classes {
            return (members, classes);
        }
        classes = refined;
    }
}

/// Whether `name` is short and free of what would garble a terminal.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME {
        return Err(format!("a name in it is longer than {MAX_NAME} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("its name {name:?} has control characters"));
    }
    Ok(())
}

impl Type {
    /// A tuple, or an array where writing out equal items would only be noise.
    pub(super) fn tuple(items: Vec<Ref>) -> Self {
        const LONGEST_TUPLE: usize = 4;
        match items.first() {
            Some(&item) if items.len() > LONGEST_TUPLE && items.iter().all(|at| *at == item) => {
                match u32::try_from(items.len()) {
                    Ok(len) => Self::Array { item, len },
                    Err(_) => Self::Tuple(items),
                }
            }
            _ => Self::Tuple(items),
        }
    }

    /// The name of a struct or an enum.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Struct { name, .. } | Self::Enum { name, .. } => Some(name),
            _ => None,
        }
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.name().into_iter().collect();
        match self {
            Self::Struct { body, .. } => names.extend(body.names()),
            Self::Enum { variants, .. } => {
                for variant in variants {
                    names.push(&variant.name);
                    names.extend(variant.body.names());
                }
            }
            _ => {}
        }
        names
    }

    /// This type, with each reference replaced by the class of its target.
    fn with_classes(&self, classes: &[Ref]) -> Self {
        let mut ty = self.clone();
        ty.for_each_ref(|at| *at = classes[*at as usize]);
        match ty {
            Self::Tuple(items) => Self::tuple(items),
            ty => ty,
        }
    }

    fn for_each_ref(&mut self, mut each: impl FnMut(&mut Ref)) {
        match self {
            Self::Option(item) | Self::Seq(item) | Self::Array { item, .. } => each(item),
            Self::Map { key, value } => {
                each(key);
                each(value);
            }
            Self::Tuple(items) => items.iter_mut().for_each(each),
            Self::Struct { body, .. } => body.for_each_ref(&mut each),
            Self::Enum { variants, .. } => {
                for variant in variants {
                    variant.body.for_each_ref(&mut each);
                }
            }
            _ => {}
        }
    }
}

impl Body {
    fn names(&self) -> impl Iterator<Item = &str> {
        let fields = match self {
            Self::Struct(fields) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|field| field.name.as_str())
    }

    fn for_each_ref(&mut self, each: &mut impl FnMut(&mut Ref)) {
        match self {
            Self::Unit => {}
            Self::NewType(item) => each(item),
            Self::Tuple(items) => items.iter_mut().for_each(each),
            Self::Struct(fields) => fields.iter_mut().for_each(|field| each(&mut field.ty)),
        }
    }
}
