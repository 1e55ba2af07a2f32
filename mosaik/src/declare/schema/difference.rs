//! What differs between two schemas, in words.

use std::collections::{HashSet, VecDeque};

use super::{
    Type,
    model::{Body, Field, Ref, Table, Variant},
    render::expression,
};

/// Most pairs of types that are compared; what a peer sent may pair up quadratically.
const MAX_PAIRS: usize = 16 * 1024;

/// The difference that is nearest to the root.
pub(super) fn difference(here: &Table, there: &Table) -> Option<String> {
    let mut walk = Walk {
        seen: HashSet::new(),
        queue: VecDeque::new(),
    };
    let root = Pair {
        here: Table::ROOT,
        there: Table::ROOT,
    };
    walk.enqueue("the datum", root, root);
    while let Some(step) = walk.queue.pop_front() {
        if let Some(sentence) = compare(here, there, &step, &mut walk) {
            return Some(sentence);
        }
        if walk.seen.len() > MAX_PAIRS {
            return Some("they are too large to say where they differ".into());
        }
    }
    None
}

/// A type here and the one that stands in its place there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    here: Ref,
    there: Ref,
}

/// A pair to compare.
struct Step {
    /// What the pair belongs to: a field, an item, a variant.
    label: String,
    /// The pair that the label names, of which `pair` is a part.
    whole: Pair,
    pair: Pair,
}

struct Walk {
    seen: HashSet<Pair>,
    queue: VecDeque<Step>,
}

impl Walk {
    fn enqueue(&mut self, label: &str, whole: Pair, pair: Pair) {
        if self.seen.insert(pair) {
            self.queue.push_back(Step {
                label: label.into(),
                whole,
                pair,
            });
        }
    }

    fn member(&mut self, label: &str, here: Ref, there: Ref) {
        let pair = Pair { here, there };
        self.enqueue(label, pair, pair);
    }

    fn part(&mut self, step: &Step, here: Ref, there: Ref) {
        self.enqueue(&step.label, step.whole, Pair { here, there });
    }
}

fn compare(here: &Table, there: &Table, step: &Step, walk: &mut Walk) -> Option<String> {
    let (a, b) = (here.get(step.pair.here), there.get(step.pair.there));
    match (a, b) {
        (Type::Option(x), Type::Option(y)) | (Type::Seq(x), Type::Seq(y)) => {
            walk.part(step, *x, *y);
        }
        (Type::Map { key: k, value: v }, Type::Map { key: l, value: w }) => {
            walk.part(step, *k, *l);
            walk.part(step, *v, *w);
        }
        (Type::Tuple(x), Type::Tuple(y)) if x.len() == y.len() => {
            x.iter().zip(y).for_each(|(x, y)| walk.part(step, *x, *y));
        }
        (Type::Array { item: x, len: n }, Type::Array { item: y, len: m }) if n == m => {
            walk.part(step, *x, *y);
        }
        (
            Type::Struct { name, body: x },
            Type::Struct {
                name: same,
                body: y,
            },
        ) if name == same => {
            return bodies(name, x, y, walk);
        }
        (
            Type::Enum { name, variants: x },
            Type::Enum {
                name: same,
                variants: y,
            },
        ) if name == same => return enums(name, x, y, walk),
        (a, b) if a == b => {}
        _ => {
            let mine = expression(here, step.whole.here);
            let theirs = expression(there, step.whole.there);
            return Some(if mine == theirs {
                // Types of one name and different kinds, or a difference that was cut off.
                format!("{} is another `{mine}` here than there", step.label)
            } else {
                format!("{} is {mine} here and {theirs} there", step.label)
            });
        }
    }
    None
}

fn bodies(owner: &str, here: &Body, there: &Body, walk: &mut Walk) -> Option<String> {
    match (here, there) {
        (Body::Unit, Body::Unit) => None,
        (Body::NewType(x), Body::NewType(y)) => {
            walk.member(&format!("field `{owner}.0`"), *x, *y);
            None
        }
        (Body::Tuple(x), Body::Tuple(y)) if x.len() == y.len() => {
            for (n, (x, y)) in x.iter().zip(y).enumerate() {
                walk.member(&format!("field `{owner}.{n}`"), *x, *y);
            }
            None
        }
        (Body::Struct(x), Body::Struct(y)) => fields(owner, x, y, walk),
        _ => {
            let (mine, theirs) = (kind(here), kind(there));
            Some(format!("`{owner}` has {mine} here and {theirs} there"))
        }
    }
}

fn kind(body: &Body) -> String {
    match body {
        Body::Unit => "no fields".into(),
        Body::NewType(_) => "one field without a name".into(),
        Body::Tuple(items) => format!("{} fields without names", items.len()),
        Body::Struct(_) => "fields with names".into(),
    }
}

fn fields(owner: &str, here: &[Field], there: &[Field], walk: &mut Walk) -> Option<String> {
    let names = |fields: &[Field]| fields.iter().map(|field| field.name.clone()).collect();
    if let Some(sentence) = listing(owner, "field", names(here), names(there)) {
        return Some(sentence);
    }
    for (x, y) in here.iter().zip(there) {
        walk.member(&format!("field `{owner}.{}`", x.name), x.ty, y.ty);
    }
    None
}

fn enums(owner: &str, here: &[Variant], there: &[Variant], walk: &mut Walk) -> Option<String> {
    let names = |variants: &[Variant]| variants.iter().map(|v| v.name.clone()).collect();
    if let Some(sentence) = listing(owner, "variant", names(here), names(there)) {
        return Some(sentence);
    }
    here.iter()
        .zip(there)
        .find_map(|(x, y)| bodies(&format!("{owner}::{}", x.name), &x.body, &y.body, walk))
}

/// How two lists of members differ: in what they hold, or else in their order.
fn listing(owner: &str, what: &str, here: Vec<String>, there: Vec<String>) -> Option<String> {
    let (mine, theirs): (HashSet<_>, HashSet<_>) = (here.iter().collect(), there.iter().collect());
    if let Some(name) = here.iter().find(|name| !theirs.contains(name)) {
        return Some(format!("`{owner}` has {what} `{name}` only here"));
    }
    if let Some(name) = there.iter().find(|name| !mine.contains(name)) {
        return Some(format!("`{owner}` has {what} `{name}` only there"));
    }
    let (n, (x, y)) = (here.iter().zip(&there).enumerate()).find(|(_, (x, y))| x != y)?;
    Some(format!(
        "{what} {} of `{owner}` is `{x}` here and `{y}` there",
        n + 1
    ))
}
