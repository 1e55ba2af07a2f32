//! Tables of types with their schemas, and what hostile bytes do.

use std::{
    any::type_name,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use proptest::prelude::*;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, EnumAccess, VariantAccess, Visitor},
};

use super::{
    MAX_SCHEMA, Schema, SchemaError, Type,
    model::{Body, Field},
};
use crate::wire;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Side {
    Long,
    Short { fee: u8 },
    Other(Kindness, u64),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Kindness {
    Nice,
    Odd(Depth),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Depth {
    Deep(Option<Box<Side>>),
    Deeper,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[expect(clippy::vec_box, reason = "recursion through a box in a sequence")]
struct Tree {
    value: u128,
    children: Vec<Box<Self>>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Literal(i64),
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Wrap<T> {
    inner: T,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Everything {
    sides: Vec<Side>,
    letter: char,
    map: BTreeMap<u16, (bool, f32)>,
    digest: [u8; 32],
    one: Wrap<u8>,
    other: Wrap<String>,
    marker: PhantomData<u8>,
    count: NonZeroU32,
    unit: (),
}

fn traced<T: DeserializeOwned>() -> Schema {
    Schema::trace::<T>().expect("the type can be traced")
}

#[test]
fn schemas_read_like_declarations() {
    fn check<T: DeserializeOwned>(expected: &str) {
        assert_eq!(traced::<T>().to_string(), expected);
    }
    check::<u64>("u64");
    check::<Vec<Option<String>>>("[Option<str>]");
    check::<Result<u8, char>>("enum Result { Ok(u8), Err(char) }");
    check::<Wrap<i128>>("struct Wrap { inner: i128 }");
    check::<Tree>("struct Tree { value: u128, children: [Tree] }");
    check::<Expr>("enum Expr { Add(Expr, Expr), Literal(i64) }");
    check::<Side>(
        "enum Side { Long, Short { fee: u8 }, Other(Kindness, u64) }; \
         enum Kindness { Nice, Odd(Depth) }; enum Depth { Deep(Option<Side>), Deeper }",
    );
    check::<Everything>(
        "struct Everything { sides: [Side], letter: char, map: {u16: (bool, f32)}, \
         digest: [u8; 32], one: Wrap, other: Wrap, marker: PhantomData, count: u32, unit: () }; \
         struct Wrap { inner: u8 }; struct Wrap { inner: str }; struct PhantomData; \
         enum Side { Long, Short { fee: u8 }, Other(Kindness, u64) }; \
         enum Kindness { Nice, Odd(Depth) }; enum Depth { Deep(Option<Side>), Deeper }",
    );
}

#[test]
fn tracing_ends_for_mutual_recursion_and_chains_of_enums() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    enum A {
        First(Box<B>),
        Second,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    enum B {
        First(Box<A>, Option<Box<B>>),
        Second([Side; 2]),
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    struct Endless(Box<Endless>);
    assert_eq!(
        traced::<(A, B)>().to_string().matches("enum").count(),
        5,
        "every enum is found"
    );
    let error = Schema::trace::<Endless>().expect_err("no value is finite");
    assert!(error.to_string().contains("nests deeper"), "{error}");
}

#[test]
fn aliases_do_not_add_members() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    enum Aliased {
        #[serde(alias = "Uno")]
        One(u8),
        Two,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    struct Fields {
        #[serde(alias = "old")]
        new: Aliased,
    }
    assert_eq!(
        traced::<Fields>().to_string(),
        "struct Fields { 0: Aliased }; enum Aliased { 0(u8), 1 }"
    );
}

#[test]
fn untraceable_types_are_told_the_remedy() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only traced")]
    enum Untagged {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(tag = "type")]
    #[expect(dead_code, reason = "only traced")]
    enum Tagged {
        Number { value: u64 },
    }
    #[derive(Deserialize)]
    #[serde(try_from = "u64")]
    struct Picky;
    impl TryFrom<u64> for Picky {
        type Error = &'static str;
        fn try_from(_: u64) -> Result<Self, &'static str> {
            Err("never good enough")
        }
    }
    fn check<T: DeserializeOwned>(self_describing: bool) {
        let error = Schema::trace::<T>().expect_err("the type cannot be traced");
        assert!(error.to_string().contains("schema = \"v1\""), "{error}");
        assert_eq!(
            matches!(error, SchemaError::SelfDescribing { .. }),
            self_describing,
            "{error}"
        );
    }
    check::<Untagged>(true);
    check::<Vec<Option<Untagged>>>(true);
    check::<Tagged>(true);
    check::<Picky>(false);
    check::<Wrap<Picky>>(false);
}

#[test]
fn types_of_other_crates_can_be_traced() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    struct Nested {
        id: uuid::Uuid,
        at: Option<chrono::DateTime<chrono::Utc>>,
        days: BTreeMap<chrono::NaiveDate, Vec<chrono::NaiveTime>>,
        page: Result<url::Url, (u8, SocketAddr)>,
    }
    fn check<T: DeserializeOwned>(expected: &str) {
        let (one, other) = (traced::<T>(), traced::<T>());
        assert_eq!(one.to_string(), expected);
        assert_eq!(one.fingerprint(), other.fingerprint());
    }
    check::<chrono::DateTime<chrono::Utc>>("str");
    check::<chrono::DateTime<chrono::FixedOffset>>("str");
    check::<chrono::NaiveDateTime>("str");
    check::<chrono::NaiveDate>("str");
    check::<chrono::NaiveTime>("str");
    check::<chrono::Weekday>("str");
    check::<chrono::Month>("str");
    check::<chrono::TimeDelta>("(i64, i32)");
    check::<uuid::Uuid>("bytes");
    check::<url::Url>("str");
    check::<IpAddr>("enum IpAddr { V4((u8, u8, u8, u8)), V6([u8; 16]) }");
    check::<Nested>(
        "struct Nested { id: bytes, at: Option<str>, days: {str: [str]}, page: Result }; \
         enum Result { Ok(str), Err((u8, SocketAddr)) }; \
         enum SocketAddr { V4(((u8, u8, u8, u8), u16)), V6(([u8; 16], u16)) }",
    );
}

#[test]
fn values_that_are_checked_after_they_were_read_are_tried_again() {
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    struct Language;
    impl TryFrom<String> for Language {
        type Error = &'static str;
        fn try_from(text: String) -> Result<Self, &'static str> {
            (text == "en").then_some(Self).ok_or("no language")
        }
    }
    #[derive(Deserialize)]
    #[serde(try_from = "(i32, u16)")]
    struct OrdinalDate;
    impl TryFrom<(i32, u16)> for OrdinalDate {
        type Error = &'static str;
        fn try_from((_, day): (i32, u16)) -> Result<Self, &'static str> {
            (1..=366).contains(&day).then_some(Self).ok_or("no day")
        }
    }
    assert_eq!(
        traced::<(Language, Option<OrdinalDate>)>().to_string(),
        "(str, Option<(i32, u16)>)"
    );
}

#[test]
fn a_wide_enum_beside_a_large_array_can_be_traced() {
    const VARIANTS: [&str; 300] = ["V"; 300];
    struct Wide;
    impl<'de> Deserialize<'de> for Wide {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_enum("Wide", &VARIANTS, Self)
        }
    }
    impl<'de> Visitor<'de> for Wide {
        type Value = Self;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a variant")
        }
        fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self, A::Error> {
            let (_, variant) = data.variant::<u32>()?;
            variant.unit_variant()?;
            Ok(self)
        }
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    struct Page {
        kind: Wide,
        data: [[[u8; 32]; 32]; 5],
    }
    let text = traced::<Page>().to_string();
    assert!(text.starts_with("struct Page { kind: Wide, data: [[[u8; 32]; 32]; 5] }"));
    assert_eq!(text.matches('V').count(), VARIANTS.len());
}

#[test]
fn schemas_are_shared_between_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Schema>();
    check::<SchemaError>();
}

mod theirs {
    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    pub(super) struct Price {
        symbol: String,
        cents: Vec<u32>,
    }

    #[derive(Deserialize)]
    pub(super) enum Side {
        Long,
        Flat,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    pub(super) struct Wrap<T> {
        inner: T,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    pub(super) enum Expr {
        Add(Box<super::Expr>, Box<Expr>),
        Literal(i64),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    pub(super) struct Tree {
        value: u128,
        children: Vec<Option<Box<Self>>>,
    }
}

#[test]
fn a_difference_anywhere_changes_the_fingerprint_and_is_put_into_words() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    struct Price {
        symbol: String,
        cents: Vec<u64>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only traced")]
    struct Swapped(u8, u16);
    fn check<A: DeserializeOwned, B: DeserializeOwned>(expected: Option<&str>) {
        let (a, b) = (traced::<A>(), traced::<B>());
        assert_eq!(a.difference(&b).as_deref(), expected);
        assert_eq!(a.fingerprint() == b.fingerprint(), expected.is_none());
    }
    check::<Everything, Everything>(None);
    check::<Tree, Tree>(None);
    check::<Vec<u8>, Vec<u8>>(None);
    check::<u8, i8>(Some("the datum is u8 here and i8 there"));
    check::<Wrap<u8>, Wrap<i8>>(Some("field `Wrap.inner` is u8 here and i8 there"));
    check::<Option<Price>, Option<theirs::Price>>(Some(
        "field `Price.cents` is [u64] here and [u32] there",
    ));
    check::<Side, theirs::Side>(Some("`Side` has variant `Short` only here"));
    check::<theirs::Side, Side>(Some("`Side` has variant `Flat` only here"));
    check::<Tree, theirs::Tree>(Some(
        "field `Tree.children` is [Tree] here and [Option<Tree>] there",
    ));
    check::<Price, Swapped>(Some("the datum is Price here and Swapped there"));
}

#[test]
fn where_a_type_is_declared_does_not_change_the_fingerprint() {
    fn check<A: DeserializeOwned, B: DeserializeOwned>() {
        let (a, b) = (traced::<A>(), traced::<B>());
        assert_eq!(a.difference(&b), None);
        assert_eq!(a.to_string(), b.to_string());
        assert_eq!(a.fingerprint(), b.fingerprint());
    }
    type Mine = Wrap<u8>;
    type Theirs = theirs::Wrap<u8>;
    check::<Mine, Theirs>();
    check::<(Mine, Mine), (Mine, Theirs)>();
    check::<(Mine, Option<Mine>), (Theirs, Option<Mine>)>();
    check::<[Mine; 5], (Mine, Theirs, Mine, Theirs, Mine)>();
    check::<([Mine; 5], Vec<[Mine; 5]>), ([Mine; 5], Vec<(Mine, Mine, Mine, Mine, Theirs)>)>();
    check::<Expr, theirs::Expr>();
    check::<(Expr, Vec<Expr>), (theirs::Expr, Vec<Expr>)>();
    assert_ne!(
        traced::<(Mine, Mine)>().fingerprint(),
        traced::<(Mine, theirs::Wrap<u16>)>().fingerprint()
    );
}

#[test]
fn types_of_one_path_are_told_apart() {
    fn pair<A: DeserializeOwned, B: DeserializeOwned>(_: fn(A), _: fn(B)) -> String {
        assert_eq!(type_name::<A>(), type_name::<B>());
        traced::<(A, B)>().to_string()
    }
    /// Two types of the same path, made of what is given.
    macro_rules! pair {
        ($one:item $other:item) => {{
            let one = {
                #[derive(Deserialize)]
                $one
                |_: P| ()
            };
            let other = {
                #[derive(Deserialize)]
                $other
                |_: P| ()
            };
            pair(one, other)
        }};
    }
    let (names, sizes, variants) = (
        pair!(
            struct P {
                _a: u8,
            }
            struct P {
                _b: u8,
            }
        ),
        pair!(
            struct P {
                _a: u8,
            }
            struct P {
                _a: u16,
            }
        ),
        pair!(
            enum P {
                A,
                B,
            }
            enum P {
                A,
                C(()),
            }
        ),
    );
    assert_eq!(names, "(P, P); struct P { _a: u8 }; struct P { _b: u8 }");
    assert_eq!(sizes, "(P, P); struct P { _a: u8 }; struct P { _a: u16 }");
    assert_eq!(variants, "(P, P); enum P { A, B }; enum P { A, C(()) }");
}

#[test]
fn stated_schemas_differ_by_version() {
    let v1 = Schema::stated("t", "v1");
    let v2 = Schema::stated("t", "v2");
    assert_eq!(v1.difference(&v1), None);
    assert_eq!(v1.to_string(), "stated as \"v1\" for `t`");
    assert_eq!(
        v1.difference(&v2).as_deref(),
        Some("the schema is stated as \"v1\" for `t` here and stated as \"v2\" for `t` there")
    );
    assert_eq!(
        v1.difference(&traced::<u8>()).as_deref(),
        Some("the schema is stated as \"v1\" for `t` here and traced there")
    );
    assert_ne!(v1.fingerprint(), v2.fingerprint());
}

#[test]
fn schemas_survive_encoding() {
    let all = [
        traced::<Everything>(),
        traced::<Tree>(),
        traced::<()>(),
        Schema::stated("t", "v1"),
    ];
    for schema in all {
        let decoded = Schema::decode(&schema.encode()).expect("our own encoding decodes");
        assert_eq!(decoded, schema);
        assert_eq!(decoded.fingerprint(), schema.fingerprint());
    }
}

/// A schema as a peer would send it, encoded.
fn forged(types: &[Type]) -> Vec<u8> {
    #[derive(Serialize)]
    enum Forged<'a> {
        Traced { types: &'a [Type] },
    }
    wire::encode(&Forged::Traced { types }).expect("types encode")
}

#[test]
fn hostile_schemas_are_refused() {
    let long = Type::Struct {
        name: "x".repeat(300),
        body: Body::Unit,
    };
    let escape = Type::Struct {
        name: "\u{1b}[2J".into(),
        body: Body::Unit,
    };
    for types in [vec![], vec![Type::Option(7)], vec![long], vec![escape]] {
        let error = Schema::decode(&forged(&types)).expect_err("the schema is hostile");
        assert!(matches!(error, SchemaError::Malformed(_)), "{error}");
    }
    let error = Schema::decode(&[0; MAX_SCHEMA + 1]).expect_err("too large");
    assert!(matches!(error, SchemaError::TooLarge { .. }), "{error}");
}

/// Schemas that are valid and mean harm: depth, doubling, cycles without end.
fn bombs() -> Vec<Schema> {
    let chain = |link: fn(u32) -> Type| {
        let mut types: Vec<_> = (1..10_000).map(link).collect();
        types.push(Type::Unit);
        Schema::decode(&forged(&types)).expect("valid")
    };
    let field = |name: &str| Field {
        name: name.into(),
        ty: 0,
    };
    let ring = Type::Struct {
        name: "Ring".into(),
        body: Body::Struct(vec![field("a"), field("b")]),
    };
    vec![
        chain(Type::Option),
        chain(|next| Type::Tuple(vec![next, next])),
        chain(|next| Type::Map {
            key: next,
            value: next,
        }),
        Schema::decode(&forged(&[ring])).expect("valid"),
        Schema::decode(&forged(&[Type::Option(0)])).expect("valid"),
        Schema::decode(&forged(&[Type::Seq(1), Type::Unit])).expect("valid"),
        Schema::decode(&forged(&[
            Type::Array {
                item: 0,
                len: u32::MAX,
            },
            Type::Unit,
        ]))
        .expect("valid"),
    ]
}

#[test]
fn bombs_do_not_go_off() {
    let bombs = bombs();
    for a in &bombs {
        assert!(a.to_string().len() < 64 * 1024);
        for b in &bombs {
            assert_eq!(a.difference(b).is_none(), a == b);
        }
        #[cfg(feature = "cli")]
        for bytes in [[1; 512], [0xff; 512]] {
            assert!(a.to_json(&bytes).is_err());
        }
    }
}

#[test]
fn fingerprints_print_as_hexadecimal() {
    let fingerprint = traced::<u8>().fingerprint();
    assert_eq!(fingerprint.to_string().len(), 64);
    assert_eq!(
        format!("{fingerprint:?}"),
        format!("Fingerprint({})", fingerprint.short())
    );
    let bytes = wire::encode(&fingerprint).expect("a fingerprint encodes");
    assert_eq!(bytes, fingerprint.as_bytes());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(schema) = Schema::decode(&bytes) {
            let _ = (schema.to_string(), schema.difference(&traced::<Everything>()));
            #[cfg(feature = "cli")]
            let _ = schema.to_json(&bytes);
        }
    }

    #[test]
    fn corrupted_schemas_never_panic(at in 0_usize..200, to in any::<u8>()) {
        let mut bytes = traced::<Everything>().encode();
        let len = bytes.len();
        bytes[at % len] = to;
        if let Ok(schema) = Schema::decode(&bytes) {
            let _ = (schema.to_string(), schema.difference(&traced::<Everything>()));
            #[cfg(feature = "cli")]
            let _ = schema.to_json(&bytes);
        }
    }
}

#[cfg(feature = "cli")]
mod json {
    use serde_json::json;

    use super::*;

    fn check<T: Serialize + DeserializeOwned>(value: &T) {
        let bytes = wire::encode(value).expect("the value encodes");
        let schema = Schema::decode(&traced::<T>().encode()).expect("the schema decodes");
        assert_eq!(
            schema.to_json(&bytes).expect("the datum decodes"),
            serde_json::to_value(value).expect("the value has a JSON form"),
        );
    }

    fn everything() -> Everything {
        let odd = Kindness::Odd(Depth::Deep(Some(Box::new(Side::Short { fee: 3 }))));
        Everything {
            sides: vec![Side::Long, Side::Other(odd, u64::MAX)],
            letter: 'ß',
            map: BTreeMap::from([(7, (true, 0.5)), (300, (false, f32::NAN))]),
            digest: [9; 32],
            one: Wrap { inner: 200 },
            other: Wrap {
                inner: "text".into(),
            },
            marker: PhantomData,
            count: NonZeroU32::MIN,
            unit: (),
        }
    }

    #[test]
    fn data_decode_as_serde_json_would_have_written_them() {
        check(&everything());
        check(&Expr::Add(
            Box::new(Expr::Literal(-1)),
            Box::new(Expr::Literal(i64::MIN)),
        ));
        check(&Tree {
            value: 1,
            children: vec![Box::new(Tree {
                value: 2,
                children: vec![],
            })],
        });
        check(&(1_u8, -2_i16, 3_u32, 4_i128, 1.5_f64, "x".to_owned()));
        check(&BTreeMap::from([
            ("k".to_owned(), Some(1_u8)),
            ("l".to_owned(), None),
        ]));
        check(&Some(vec![true, false]));
        check(&bytes::Bytes::from_static(b"\x00\xff"));
        check(&());
    }

    #[test]
    fn large_integers_and_odd_keys_become_strings() {
        let value = (u128::MAX, i128::MIN);
        let bytes = wire::encode(&value).expect("the value encodes");
        assert_eq!(
            traced::<(u128, i128)>().to_json(&bytes),
            Ok(json!([u128::MAX.to_string(), i128::MIN.to_string()]))
        );
        let value = BTreeMap::from([((1_u8, 2_u8), 'x')]);
        let bytes = wire::encode(&value).expect("the value encodes");
        assert_eq!(
            traced::<BTreeMap<(u8, u8), char>>().to_json(&bytes),
            Ok(json!({ "[1,2]": "x" }))
        );
    }

    #[test]
    fn what_is_no_datum_is_refused() {
        let schema = traced::<Vec<Side>>();
        for bytes in [&[1][..], &[1, 9], &[0, 0], &[0xff; 10], &[2, 0]] {
            let error = schema.to_json(bytes).expect_err("not a datum");
            assert!(matches!(error, SchemaError::Datum(_)), "{error}");
        }
        let opaque = Schema::stated("t", "v1").to_json(&[]);
        assert_eq!(opaque, Err(SchemaError::Opaque));
    }

    proptest! {
        #[test]
        fn corrupted_data_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = traced::<Everything>().to_json(&bytes);
            let _ = traced::<Expr>().to_json(&bytes);
        }
    }
}
