//! One postcard datum to JSON, by schema alone.
//!
//! Both the schema and the bytes may come from a faulty peer. Memory is bounded by a budget that
//! every value, string and key draws on, the stack by a depth.

use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::{
    SchemaError, Type,
    model::{Body, Ref, Table},
};

/// Memory that one datum may take as JSON, in bytes, roughly: 64 MiB.
const MAX_JSON: usize = 64 * 1024 * 1024;

/// How deep values may nest.
const MAX_DEPTH: usize = 128;

/// What a value costs besides its text, in bytes.
const VALUE_COST: usize = 32;

/// Decodes the datum that fills `bytes`.
pub(super) fn to_json(table: &Table, bytes: &[u8]) -> Result<Value, SchemaError> {
    let mut reader = Reader {
        table,
        rest: bytes,
        budget: MAX_JSON,
    };
    let value = reader.value(Table::ROOT, 0)?;
    match reader.rest.len() {
        0 => Ok(value),
        extra => Err(SchemaError::Datum(format!("{extra} bytes follow it"))),
    }
}

struct Reader<'a> {
    table: &'a Table,
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, at: Ref, depth: usize) -> Result<Value, SchemaError> {
        self.spend(VALUE_COST)?;
        if depth > MAX_DEPTH {
            return Err(SchemaError::Datum(format!(
                "it nests deeper than {MAX_DEPTH} levels"
            )));
        }
        let table = self.table;
        match table.get(at) {
            Type::Option(item) => match self.take::<u8>()? {
                0 => Ok(Value::Null),
                1 => self.value(*item, depth + 1),
                _ => Err(SchemaError::Datum("an option is neither 0 nor 1".into())),
            },
            Type::Seq(item) => {
                let len = self.take::<usize>()?;
                self.repeat(*item, len, depth)
            }
            Type::Array { item, len } => self.repeat(*item, *len as usize, depth),
            Type::Tuple(items) => self.tuple(items, depth),
            Type::Map { key, value } => self.map(*key, *value, depth),
            Type::Struct { body, .. } => self.body(body, depth),
            Type::Enum { variants, .. } => {
                let index = self.take::<u32>()?;
                let variant = usize::try_from(index).ok().and_then(|at| variants.get(at));
                let variant = variant
                    .ok_or_else(|| SchemaError::Datum(format!("there is no variant {index}")))?;
                if variant.body == Body::Unit {
                    return self.text(&variant.name);
                }
                let key = self.key(&variant.name)?;
                let value = self.body(&variant.body, depth)?;
                Ok(Value::Object(Map::from_iter([(key, value)])))
            }
            leaf => self.leaf(leaf),
        }
    }

    fn leaf(&mut self, ty: &Type) -> Result<Value, SchemaError> {
        Ok(match ty {
            Type::Bool => Value::Bool(self.take()?),
            Type::I8 => self.take::<i8>()?.into(),
            Type::I16 => self.take::<i16>()?.into(),
            Type::I32 => self.take::<i32>()?.into(),
            Type::I64 => self.take::<i64>()?.into(),
            Type::I128 => {
                let value = self.take::<i128>()?;
                Number::from_i128(value).map_or_else(|| value.to_string().into(), Value::Number)
            }
            Type::U8 => self.take::<u8>()?.into(),
            Type::U16 => self.take::<u16>()?.into(),
            Type::U32 => self.take::<u32>()?.into(),
            Type::U64 => self.take::<u64>()?.into(),
            Type::U128 => {
                let value = self.take::<u128>()?;
                Number::from_u128(value).map_or_else(|| value.to_string().into(), Value::Number)
            }
            Type::F32 => self.take::<f32>()?.into(),
            Type::F64 => self.take::<f64>()?.into(),
            Type::Char => self.take::<char>()?.to_string().into(),
            Type::Str => {
                let text = self.take::<&'a str>()?;
                return self.text(text);
            }
            Type::Bytes => {
                let bytes = self.take::<&'a [u8]>()?;
                self.spend(bytes.len().saturating_mul(VALUE_COST))?;
                bytes.iter().copied().map(Value::from).collect()
            }
            _ => Value::Null,
        })
    }

    fn body(&mut self, body: &Body, depth: usize) -> Result<Value, SchemaError> {
        match body {
            Body::Unit => Ok(Value::Null),
            Body::NewType(item) => self.value(*item, depth + 1),
            Body::Tuple(items) => self.tuple(items, depth),
            Body::Struct(fields) => {
                let mut object = Map::new();
                for field in fields {
                    let key = self.key(&field.name)?;
                    object.insert(key, self.value(field.ty, depth + 1)?);
                }
                Ok(Value::Object(object))
            }
        }
    }

    fn tuple(&mut self, items: &[Ref], depth: usize) -> Result<Value, SchemaError> {
        items.iter().map(|at| self.value(*at, depth + 1)).collect()
    }

    fn repeat(&mut self, item: Ref, len: usize, depth: usize) -> Result<Value, SchemaError> {
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(self.value(item, depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, key: Ref, value: Ref, depth: usize) -> Result<Value, SchemaError> {
        let mut object = Map::new();
        for _ in 0..self.take::<usize>()? {
            let key = match self.value(key, depth + 1)? {
                Value::String(text) => text,
                other => other.to_string(),
            };
            self.spend(key.len())?;
            object.insert(key, self.value(value, depth + 1)?);
        }
        Ok(Value::Object(object))
    }

    fn text(&mut self, text: &str) -> Result<Value, SchemaError> {
        self.key(text).map(Value::String)
    }

    fn key(&mut self, text: &str) -> Result<String, SchemaError> {
        self.spend(VALUE_COST.saturating_add(text.len()))?;
        Ok(text.to_owned())
    }

    fn take<T: Deserialize<'a>>(&mut self) -> Result<T, SchemaError> {
        let (value, rest) = postcard::take_from_bytes(self.rest)
            .map_err(|error| SchemaError::Datum(error.to_string()))?;
        self.rest = rest;
        Ok(value)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), SchemaError> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| {
            SchemaError::Datum(format!("it takes more than {MAX_JSON} bytes as JSON"))
        })?;
        Ok(())
    }
}
