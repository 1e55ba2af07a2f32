//! Types as people read them: `struct Price { symbol: str, cents: u64 }`.

use super::{
    Type,
    model::{Body, Ref, Table},
};

/// Longest text, in bytes, after which the rest is cut: what a peer sent may unfold exponentially.
const MAX_TEXT: usize = 16 * 1024;

/// How deep types without a name are shown inside each other.
const MAX_DEPTH: usize = 16;

/// Every named type of the table, with what it is made of.
pub(super) fn definitions(table: &Table) -> String {
    let mut text = Text::new(table);
    if table.get(Table::ROOT).name().is_none() {
        text.type_at(Table::ROOT, 0);
    }
    for ty in table.iter().filter(|ty| ty.name().is_some()) {
        if !text.out.is_empty() {
            text.push("; ");
        }
        text.definition(ty);
        if text.full() {
            break;
        }
    }
    text.out
}

/// The type at `at`, named types by their name only.
pub(super) fn expression(table: &Table, at: Ref) -> String {
    let mut text = Text::new(table);
    text.type_at(at, 0);
    text.out
}

struct Text<'a> {
    table: &'a Table,
    out: String,
}

impl<'a> Text<'a> {
    fn new(table: &'a Table) -> Self {
        let out = String::new();
        Self { table, out }
    }

    fn full(&self) -> bool {
        self.out.len() > MAX_TEXT
    }

    fn push(&mut self, part: &str) {
        if !self.full() {
            self.out.push_str(part);
            if self.full() {
                self.out.push('…');
            }
        }
    }

    fn definition(&mut self, ty: &Type) {
        match ty {
            Type::Struct { name, body } => {
                self.push("struct ");
                self.push(name);
                self.body(body);
            }
            Type::Enum { name, variants } => {
                self.push("enum ");
                self.push(name);
                self.push(" { ");
                for (n, variant) in variants.iter().enumerate() {
                    self.comma(n);
                    self.push(&variant.name);
                    self.body(&variant.body);
                }
                self.push(" }");
            }
            _ => {}
        }
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Unit => {}
            Body::NewType(item) => self.items("(", &[*item], ")", 0),
            Body::Tuple(items) => self.items("(", items, ")", 0),
            Body::Struct(fields) if fields.is_empty() => self.push(" {}"),
            Body::Struct(fields) => {
                self.push(" { ");
                for (n, field) in fields.iter().enumerate() {
                    self.comma(n);
                    self.push(&field.name);
                    self.push(": ");
                    self.type_at(field.ty, 0);
                }
                self.push(" }");
            }
        }
    }

    fn type_at(&mut self, at: Ref, depth: usize) {
        if depth > MAX_DEPTH || self.full() {
            return self.push("…");
        }
        let inner = depth + 1;
        match self.table.get(at) {
            Type::Option(item) => self.items("Option<", &[*item], ">", inner),
            Type::Seq(item) => self.items("[", &[*item], "]", inner),
            Type::Tuple(items) => self.items("(", items, ")", inner),
            Type::Array { item, len } => {
                self.items("[", &[*item], "; ", inner);
                self.push(&len.to_string());
                self.push("]");
            }
            Type::Map { key, value } => {
                self.items("{", &[*key], ": ", inner);
                self.items("", &[*value], "}", inner);
            }
            Type::Struct { name, .. } | Type::Enum { name, .. } => self.push(name),
            leaf => self.push(leaf_name(leaf)),
        }
    }

    fn items(&mut self, open: &str, items: &[Ref], close: &str, depth: usize) {
        self.push(open);
        for (n, item) in items.iter().enumerate() {
            if self.full() {
                break;
            }
            self.comma(n);
            self.type_at(*item, depth);
        }
        self.push(close);
    }

    fn comma(&mut self, n: usize) {
        if n > 0 {
            self.push(", ");
        }
    }
}

fn leaf_name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::I8 => "i8",
        Type::I16 => "i16",
        Type::I32 => "i32",
        Type::I64 => "i64",
        Type::I128 => "i128",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::U128 => "u128",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::Str => "str",
        Type::Bytes => "bytes",
        _ => "()",
    }
}
