//! What members compare of the programs that they run.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use super::StateMachine;
use crate::{
    declare::{Schema, SchemaError, SchemaSource},
    groups::proto::versions::{Announced, MAX_METHODS, Methods, Signature},
};

/// What separates the digests of layouts from all others.
const CONTEXT: &str = "mosaik/group/machine/1";
/// The same, of the names of parts.
const PARTS_CONTEXT: &str = "mosaik/group/parts/1";
/// The same, of signatures.
const SIGNATURE_CONTEXT: &str = "mosaik/group/signature/1";

/// What a program keeps and understands: the layout of its state, and its commands and queries by name.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Digests of what has no name, in order.
    layout: Vec<[u8; 32]>,
    commands: BTreeMap<u64, Method>,
    queries: BTreeMap<u64, Method>,
    /// The version that stands for the schema of the state, and for others that cannot be traced.
    stated: Option<&'static str>,
    /// Why it cannot be compared.
    fault: Option<InterfaceError>,
}

/// A command or query.
#[derive(Clone, Debug)]
struct Method {
    name: &'static str,
    /// A digest of the schemas of its arguments and of what it returns.
    signature: Signature,
}

/// Why programs cannot be compared by their interfaces.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum InterfaceError {
    /// See what the error says.
    #[error("{what}: {error}")]
    Schema {
        /// What has no schema.
        what: String,
        /// Why.
        error: SchemaError,
    },
    /// Rename one of the two.
    #[error("`{0}` and `{1}` have one number: rename one of them")]
    Number(&'static str, &'static str),
    /// Split the state into several groups, or have one command do what several do.
    #[error("{count} {what} are more than the {MAX_METHODS} that a group may have")]
    TooMany {
        /// Whether they are commands or queries.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

impl Interface {
    /// That of a program whose commands have names, with its state declared so.
    pub fn of<State: Serialize + DeserializeOwned>(schema: SchemaSource) -> Self {
        let mut interface = Self::empty();
        let state = match schema {
            SchemaSource::Stated(version) => {
                interface.stated = Some(version);
                *Schema::stated("the state", version)
                    .fingerprint()
                    .as_bytes()
            }
            SchemaSource::Traced(_) => interface.digest::<State>(|| "the state".into()),
        };
        interface.layout.push(state);
        interface
    }

    /// That of a program whose commands are told apart by how their type is encoded: it is the same or not.
    pub(super) fn of_types<M: StateMachine>() -> Self {
        let mut interface = Self::empty();
        interface.layout = vec![
            interface.digest::<M::Command>(|| "the commands".into()),
            interface.digest::<M::Output>(|| "the outputs".into()),
            interface.digest::<M::Query>(|| "the queries".into()),
            interface.digest::<M::Answer>(|| "the answers".into()),
            interface.digest::<M::Snapshot>(|| "the snapshot".into()),
        ];
        interface
    }

    fn empty() -> Self {
        Self {
            layout: Vec::new(),
            commands: BTreeMap::new(),
            queries: BTreeMap::new(),
            stated: None,
            fault: None,
        }
    }

    /// The parts of the layout have these names, in this order.
    pub(crate) fn parts(&mut self, names: &[&str]) {
        let mut hasher = blake3::Hasher::new_derive_key(PARTS_CONTEXT);
        for name in names {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        self.layout.push(*hasher.finalize().as_bytes());
    }

    /// Adds a command.
    pub fn command<Arguments, Output>(&mut self, name: &'static str)
    where
        Arguments: Serialize + DeserializeOwned,
        Output: Serialize + DeserializeOwned,
    {
        let method = self.method::<Arguments, Output>(name);
        let other = self.commands.insert(number(name), method);
        self.same_number(other, name);
    }

    /// Adds a query.
    pub fn query<Arguments, Answer>(&mut self, name: &'static str)
    where
        Arguments: Serialize + DeserializeOwned,
        Answer: Serialize + DeserializeOwned,
    {
        let method = self.method::<Arguments, Answer>(name);
        let other = self.queries.insert(number(name), method);
        self.same_number(other, name);
    }

    fn method<Arguments, Output>(&mut self, name: &'static str) -> Method
    where
        Arguments: Serialize + DeserializeOwned,
        Output: Serialize + DeserializeOwned,
    {
        let mut hasher = blake3::Hasher::new_derive_key(SIGNATURE_CONTEXT);
        hasher.update(&self.digest::<Arguments>(|| format!("an argument of `{name}`")));
        hasher.update(&self.digest::<Output>(|| format!("what `{name}` returns")));
        let mut signature = Signature::default();
        hasher.finalize_xof().fill(&mut signature);
        Method { name, signature }
    }

    fn digest<T: Serialize + DeserializeOwned>(
        &mut self,
        what: impl FnOnce() -> String,
    ) -> [u8; 32] {
        match Schema::trace::<T>() {
            Ok(schema) => *schema.fingerprint().as_bytes(),
            Err(error) => {
                let what = what();
                if let Some(version) = self.stated {
                    return *Schema::stated(&what, version).fingerprint().as_bytes();
                }
                self.fault
                    .get_or_insert(InterfaceError::Schema { what, error });
                [0; 32]
            }
        }
    }

    fn same_number(&mut self, other: Option<Method>, name: &'static str) {
        if let Some(other) = other {
            self.fault
                .get_or_insert(InterfaceError::Number(other.name, name));
        }
    }

    /// The digest of what all members must have alike: the layout of the state, and everything of which commands
    /// without names are made; with whether the build checks for overflow, as far as that can be told: members that
    /// differ in it would compute other things.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], InterfaceError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for digest in &self.layout {
            hasher.update(digest);
        }
        hasher.update(&[u8::from(cfg!(debug_assertions))]);
        Ok(*hasher.finalize().as_bytes())
    }

    /// What members tell each other that they know.
    pub(crate) fn announced(&self) -> Result<Announced, InterfaceError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let methods = |what, of: &BTreeMap<u64, Method>| {
            let signatures = of
                .iter()
                .map(|(number, method)| (*number, method.signature));
            let count = of.len();
            Methods::new(&signatures.collect()).ok_or(InterfaceError::TooMany { what, count })
        };
        Ok(Announced {
            commands: methods("commands", &self.commands)?,
            queries: methods("queries", &self.queries)?,
        })
    }

    /// What commands and queries are called.
    pub(crate) fn names(&self) -> BTreeMap<u64, &'static str> {
        let methods = self.commands.iter().chain(&self.queries);
        methods
            .map(|(number, method)| (*number, method.name))
            .collect()
    }
}

/// The number by which a command or query travels: the 64-bit FNV-1a hash of its name (G. Fowler, L. C. Noll,
/// K.-P. Vo, D. Eastlake, *The FNV Non-Cryptographic Hash Algorithm*).
pub const fn number(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACED: SchemaSource = SchemaSource::Traced(Schema::trace::<u64>);

    /// Has no schema.
    #[derive(Debug, serde::Serialize)]
    struct Whatever;

    impl<'de> serde::Deserialize<'de> for Whatever {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(serde::de::IgnoredAny).map(|_| Self)
        }
    }

    #[test]
    fn numbers_are_those_of_the_hash() {
        // From the vectors that its authors publish.
        assert_eq!(number(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(number("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(number("foobar"), 0x8594_4171_f739_67e8);
    }

    type Build = fn(&mut Interface);

    fn built(build: Build) -> Interface {
        let mut interface = Interface::of::<u64>(TRACED);
        build(&mut interface);
        interface
    }

    #[test]
    fn the_fingerprint_is_that_of_the_layout() {
        let print = |interface: Interface| interface.fingerprint().unwrap();
        let plain = print(built(|_| {}));
        assert_eq!(plain, print(built(|i| i.command::<(u64,), u64>("add"))));
        assert_eq!(plain, print(built(|i| i.query::<(u64,), u64>("add"))));
        let other = SchemaSource::Traced(Schema::trace::<u32>);
        assert_ne!(plain, print(Interface::of::<u32>(other)));
    }

    #[test]
    fn a_method_is_compared_by_its_types() {
        let announced = |build: Build| built(build).announced().unwrap();
        let add = |i: &mut Interface| i.command::<(u64,), u64>("add");
        let ours = announced(add);
        let check = |build: Build, expected: Option<&str>| {
            let theirs = announced(build);
            let expected = expected.map(number);
            assert_eq!(ours.contradicts(&theirs), expected);
            assert_eq!(theirs.contradicts(&ours), expected);
        };
        check(|_| {}, None);
        check(|i| i.command::<(u64,), u64>("add"), None);
        check(|i| i.command::<(u64,), u64>("sub"), None);
        check(|i| i.query::<(u32,), u64>("add"), None);
        check(|i| i.command::<(u32,), u64>("add"), Some("add"));
        check(|i| i.command::<(u64,), ()>("add"), Some("add"));
        check(|i| i.command::<u64, (u64,)>("add"), Some("add"));
        // The order in which they are declared is no difference.
        let both = announced(|i| {
            i.command::<(u64,), u64>("add");
            i.command::<(), ()>("reset");
        });
        let turned = announced(|i| {
            i.command::<(), ()>("reset");
            i.command::<(u64,), u64>("add");
        });
        assert_eq!(both, turned);
        assert!(both.commands.numbers().contains(&number("reset")));
        assert!(!both.queries.numbers().contains(&number("reset")));
    }

    #[test]
    fn there_are_so_many_methods_and_no_more() {
        let names = (0..=MAX_METHODS).map(|n| &*format!("m{n}").leak());
        let mut interface = Interface::of::<u64>(TRACED);
        for (at, name) in names.enumerate() {
            assert!(interface.announced().is_ok(), "{at}");
            interface.query::<(), ()>(name);
            if at < MAX_METHODS {
                interface.command::<(), ()>(name);
            }
        }
        let fault = interface.announced().unwrap_err().to_string();
        assert!(fault.starts_with("257 queries are more"), "{fault}");
    }

    #[test]
    fn what_cannot_be_compared_says_what_it_is() {
        let mut interface = Interface::of::<u64>(TRACED);
        interface.command::<(), ()>("reset");
        interface.command::<(), ()>("reset");
        let fault = interface.fingerprint().unwrap_err().to_string();
        assert!(fault.contains("`reset`"), "{fault}");
        let mut interface = Interface::of::<u64>(TRACED);
        interface.query::<(), Whatever>("all");
        let fault = interface.fingerprint().unwrap_err().to_string();
        assert!(fault.starts_with("what `all` returns: "), "{fault}");
        let mut versions =
            ["1", "2"].map(|version| Interface::of::<u64>(SchemaSource::Stated(version)));
        // The version stands for what cannot be traced.
        let [one, two] = versions.each_mut().map(|interface| {
            interface.query::<(), Whatever>("all");
            interface.announced().unwrap()
        });
        assert_eq!(one.contradicts(&two), Some(number("all")));
    }
}
