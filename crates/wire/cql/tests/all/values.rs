//! Values of all types: round trips, the examples of the specification, and what is told about bytes that are none.

use bytes::{Bytes, BytesMut};
use holon_cql::value::{DATE_EPOCH, NANOSECONDS_PER_DAY, accepts_empty, validate};
use holon_cql::{CqlType, Reader, UdtField, Value, ValueError, Version, Writer};
use num_bigint::BigInt;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::strategies::{cases, cql_type, small_bytes};

fn scalar_value(cql_type: &CqlType) -> BoxedStrategy<Value> {
    match cql_type {
        CqlType::Ascii => "[ -~]{0,8}".prop_map(Value::Ascii).boxed(),
        CqlType::BigInt => any::<i64>().prop_map(Value::BigInt).boxed(),
        CqlType::Blob => small_bytes().prop_map(Value::Blob).boxed(),
        CqlType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        CqlType::Counter => any::<i64>().prop_map(Value::Counter).boxed(),
        CqlType::Decimal => {
            let digits = any::<i128>().prop_map(BigInt::from);
            (digits, any::<i32>()).prop_map(|(unscaled, scale)| Value::Decimal { unscaled, scale }).boxed()
        }
        CqlType::Double => any::<f64>().prop_map(Value::Double).boxed(),
        CqlType::Float => any::<f32>().prop_map(Value::Float).boxed(),
        CqlType::Int => any::<i32>().prop_map(Value::Int).boxed(),
        CqlType::Timestamp => any::<i64>().prop_map(Value::Timestamp).boxed(),
        CqlType::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        CqlType::Text => any::<String>().prop_map(Value::Text).boxed(),
        CqlType::VarInt => any::<i128>().prop_map(|value| Value::VarInt(BigInt::from(value))).boxed(),
        CqlType::TimeUuid => any::<[u8; 16]>()
            .prop_map(|mut uuid| {
                uuid[6] = uuid[6] & 0x0F | 0x10;
                Value::TimeUuid(uuid)
            })
            .boxed(),
        CqlType::Inet => any::<core::net::IpAddr>().prop_map(Value::Inet).boxed(),
        CqlType::Date => any::<u32>().prop_map(Value::Date).boxed(),
        CqlType::Time => (0..NANOSECONDS_PER_DAY).prop_map(Value::Time).boxed(),
        CqlType::SmallInt => any::<i16>().prop_map(Value::SmallInt).boxed(),
        CqlType::TinyInt => any::<i8>().prop_map(Value::TinyInt).boxed(),
        CqlType::Duration => (any::<bool>(), 0..=i32::MAX, 0..=i32::MAX, 0..=i64::MAX)
            .prop_map(|(negative, months, days, nanoseconds)| match negative {
                true => Value::Duration { months: !months, days: !days, nanoseconds: !nanoseconds },
                false => Value::Duration { months, days, nanoseconds },
            })
            .boxed(),
        _ => small_bytes().prop_map(Value::Custom).boxed(),
    }
}

fn fields<'a>(types: impl Iterator<Item = &'a CqlType>) -> BoxedStrategy<Vec<Option<Value>>> {
    let fields: Vec<_> = types.map(|cql_type| option::of(value_of(cql_type))).collect();
    let count = fields.len();
    (fields, 0..=count)
        .prop_map(|(mut fields, count)| {
            fields.truncate(count);
            fields
        })
        .boxed()
}

/// A random value of a type.
fn value_of(cql_type: &CqlType) -> BoxedStrategy<Value> {
    match cql_type {
        CqlType::List(element) => vec(value_of(element), 0..4).prop_map(Value::List).boxed(),
        CqlType::Set(element) => vec(value_of(element), 0..4).prop_map(Value::Set).boxed(),
        CqlType::Map(pair) => vec((value_of(&pair.0), value_of(&pair.1)), 0..4).prop_map(Value::Map).boxed(),
        CqlType::Tuple(elements) => fields(elements.iter()).prop_map(Value::Tuple).boxed(),
        CqlType::Udt(udt) => fields(udt.fields.iter().map(|field| &field.cql_type)).prop_map(Value::Udt).boxed(),
        CqlType::Vector(vector) => {
            let dimensions = vector.dimensions as usize;
            vec(value_of(&vector.element), dimensions..=dimensions).prop_map(Value::Vector).boxed()
        }
        scalar => scalar_value(scalar),
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn values_round_trip(
        (cql_type, value) in cql_type().prop_flat_map(|cql_type| {
            let value = value_of(&cql_type);
            (Just(cql_type), value)
        }),
    ) {
        let bytes = value.to_bytes(&cql_type).expect("a value of the type");
        prop_assert_eq!(validate(&cql_type, &bytes), Ok(()));
        let decoded = Value::decode(&cql_type, &bytes).expect("valid");
        prop_assert_eq!(&decoded, &value);
        prop_assert_eq!(decoded.to_bytes(&CqlType::frozen(cql_type)), Ok(bytes), "frozen changes nothing");
    }

    #[test]
    fn a_cut_collection_is_an_error(
        (cql_type, value) in cql_type().prop_map(CqlType::list).prop_flat_map(|cql_type| {
            let value = value_of(&cql_type);
            (Just(cql_type), value)
        }),
    ) {
        let bytes = value.to_bytes(&cql_type).expect("a value of the type");
        for length in 0..bytes.len() {
            prop_assert!(validate(&cql_type, &bytes[..length]).is_err(), "{} bytes of {:?}", length, value);
        }
        let longer = [&bytes[..], &[0]].concat();
        let trailing = matches!(validate(&cql_type, &longer), Err(ValueError::Trailing { extra: 1, .. }));
        prop_assert!(trailing, "one byte more than {:?}", value);
    }

    #[test]
    fn class_names_round_trip(cql_type in cql_type()) {
        let name = cql_type.class_name();
        prop_assert_eq!(CqlType::from_class_name(&name, 32), Some(cql_type), "{}", name);
    }

    #[test]
    fn types_round_trip_in_every_version(cql_type in cql_type()) {
        for version in Version::EVERY {
            let mut out = BytesMut::new();
            CqlType::frozen(cql_type.clone()).encode(&mut Writer::new(&mut out), version).expect("flat enough");
            let decoded = CqlType::decode(&mut Reader::new(out.freeze()));
            prop_assert_eq!(decoded.as_ref(), Ok(&cql_type));
        }
    }
}

#[test]
fn examples_of_the_specification() {
    let big = |value: i32| Value::VarInt(BigInt::from(value));
    let cases: [(CqlType, Value, &[u8]); 16] = [
        (CqlType::VarInt, big(0), &[0x00]),
        (CqlType::VarInt, big(1), &[0x01]),
        (CqlType::VarInt, big(127), &[0x7F]),
        (CqlType::VarInt, big(128), &[0x00, 0x80]),
        (CqlType::VarInt, big(129), &[0x00, 0x81]),
        (CqlType::VarInt, big(-1), &[0xFF]),
        (CqlType::VarInt, big(-128), &[0x80]),
        (CqlType::VarInt, big(-129), &[0xFF, 0x7F]),
        (CqlType::Date, Value::Date(DATE_EPOCH), &[0x80, 0, 0, 0]),
        (CqlType::Boolean, Value::Boolean(true), &[1]),
        (CqlType::Decimal, Value::Decimal { unscaled: BigInt::from(-15), scale: 1 }, &[0, 0, 0, 1, 0xF1]),
        (CqlType::Duration, Value::Duration { months: 1, days: 2, nanoseconds: 3 }, &[2, 4, 6]),
        (CqlType::Duration, Value::Duration { months: -1, days: 0, nanoseconds: -128 }, &[1, 0, 0x80, 0xFF]),
        (
            CqlType::vector(CqlType::Int, 2),
            Value::Vector(vec![Value::Int(1), Value::Int(2)]),
            &[0, 0, 0, 1, 0, 0, 0, 2],
        ),
        // Cassandra takes smallint for a type of variable length inside a vector.
        (CqlType::vector(CqlType::SmallInt, 1), Value::Vector(vec![Value::SmallInt(3)]), &[2, 0, 3]),
        (
            CqlType::tuple([CqlType::TinyInt, CqlType::TinyInt]),
            Value::Tuple(vec![None, Some(Value::TinyInt(-1))]),
            &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0xFF],
        ),
    ];
    for (cql_type, value, bytes) in cases {
        assert_eq!(value.to_bytes(&cql_type).as_deref(), Ok(bytes), "{cql_type}");
        assert_eq!(Value::decode(&cql_type, &Bytes::copy_from_slice(bytes)), Ok(value), "{cql_type}");
    }
}

#[test]
fn zero_bytes_are_a_value_of_most_types() {
    for (cql_type, name) in CqlType::SCALARS {
        let valid = validate(&cql_type, &[]).is_ok();
        assert_eq!(valid, !matches!(name, "date" | "time" | "smallint" | "tinyint" | "duration"), "{name}");
        assert_eq!(valid, accepts_empty(&cql_type), "{name}");
        assert_eq!(Value::Empty.to_bytes(&cql_type).is_ok(), valid, "{name}");
    }
    assert_eq!(Value::decode(&CqlType::Int, &Bytes::new()), Ok(Value::Empty));
    assert_eq!(Value::decode(&CqlType::Text, &Bytes::new()), Ok(Value::Text(String::new())));
    assert_eq!(Value::decode(&CqlType::tuple([CqlType::Int]), &Bytes::new()), Ok(Value::Tuple(vec![])));
}

#[test]
fn what_is_wrong_is_told() {
    let list = CqlType::list(CqlType::Int);
    let cases: [(CqlType, &[u8], &str); 20] = [
        (CqlType::Int, &[0; 3], "expected 4 bytes for int, got 3"),
        (CqlType::BigInt, &[0; 9], "expected 8 bytes for bigint, got 9"),
        (CqlType::Boolean, &[0; 2], "expected 1 bytes for boolean, got 2"),
        (CqlType::Date, &[], "expected 4 bytes for date, got 0"),
        (CqlType::Inet, &[0; 5], "expected 4 or 16 bytes for inet, got 5"),
        (CqlType::Decimal, &[0; 4], "expected at least 5 bytes for decimal, got 4"),
        (CqlType::Ascii, "aé".as_bytes(), "expected ascii, got the byte 0xc3 at 1; use text for other characters"),
        (CqlType::Text, &[b'a', 0xFF], "expected text in UTF-8, got an invalid sequence at byte 1"),
        (CqlType::TimeUuid, &[0x40; 16], "expected a uuid of version 1 for timeuuid, got version 4"),
        (CqlType::Time, &[0xFF; 8], "expected a time from 0 to 86399999999999 nanoseconds, got -1"),
        (
            CqlType::Duration,
            &[2, 1, 0],
            "The duration months, days and nanoseconds must be all of the same sign (1, -1, 0)",
        ),
        (CqlType::Duration, &[2, 2], "expected at least 3 bytes for duration, got 2"),
        (CqlType::Duration, &[2, 2, 2, 2], "1 bytes follow the end of the duration"),
        (list.clone(), &[], "not enough bytes to read a list: it needs 4, and 0 are left"),
        (
            list.clone(),
            &[0x7F, 0, 0, 0],
            "not enough bytes to read a list: it announces 2130706432 elements, which cannot be in 0 bytes",
        ),
        (
            list.clone(),
            &[0xFF, 0xFF, 0xFF, 0xFF],
            "not enough bytes to read a list: it announces -1 elements, which cannot be in 0 bytes",
        ),
        (list.clone(), &[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF], "list holds a null; collections and vectors cannot"),
        (list, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0], "expected 4 bytes for int, got 2"),
        (CqlType::vector(CqlType::Float, 3), &[0; 8], "expected 12 bytes for vector, got 8"),
        (
            CqlType::vector(CqlType::Text, 2),
            &[1, b'a'],
            "not enough bytes to read a vector: it needs 1, and 0 are left",
        ),
    ];
    for (cql_type, bytes, expected) in cases {
        let told = validate(&cql_type, bytes).expect_err("no value of the type").to_string();
        assert_eq!(told, expected, "{cql_type}");
        assert!(Value::decode(&cql_type, &Bytes::copy_from_slice(bytes)).is_err(), "{cql_type}");
    }
}

#[test]
fn values_of_another_type_are_refused() {
    let mismatch = Value::Int(1).to_bytes(&CqlType::Text).expect_err("an int is no text");
    assert_eq!(mismatch.to_string(), "expected a value of type text, got one of int");
    assert!(Value::Empty.to_bytes(&CqlType::list(CqlType::Int)).is_err());
    let empty_in_vector = Value::Vector(vec![Value::Empty]).to_bytes(&CqlType::vector(CqlType::Int, 1));
    assert!(empty_in_vector.is_err());
    assert!(Value::Vector(vec![]).to_bytes(&CqlType::vector(CqlType::Int, 1)).is_err());
    assert!(Value::Tuple(vec![None, None]).to_bytes(&CqlType::tuple([CqlType::Int])).is_err());
    assert!(Value::Ascii("é".into()).to_bytes(&CqlType::Ascii).is_err());
    assert!(Value::Time(NANOSECONDS_PER_DAY).to_bytes(&CqlType::Time).is_err());
    assert!(Value::TimeUuid([0; 16]).to_bytes(&CqlType::TimeUuid).is_err());
    let signs = Value::Duration { months: 1, days: -1, nanoseconds: 0 };
    assert!(signs.to_bytes(&CqlType::Duration).is_err());
}

#[test]
fn types_print_as_cql() {
    let field = |name: &str, cql_type| UdtField { name: name.into(), cql_type };
    let udt = CqlType::udt("ks", "Address", vec![field("street", CqlType::Text)]);
    let cases = [
        (CqlType::Text, "text"),
        (CqlType::map(CqlType::Text, CqlType::frozen(CqlType::list(CqlType::Int))), "map<text, frozen<list<int>>>"),
        (CqlType::frozen(CqlType::tuple([CqlType::Int, CqlType::set(CqlType::Uuid)])), "frozen<tuple<int, set<uuid>>>"),
        (CqlType::frozen(udt), "frozen<\"Address\">"),
        (CqlType::udt("ks", "address", vec![]), "address"),
        (CqlType::frozen(CqlType::Int), "int"),
        (CqlType::frozen(CqlType::frozen(CqlType::set(CqlType::Int))), "frozen<set<int>>"),
        (CqlType::vector(CqlType::Float, 3), "vector<float, 3>"),
        (CqlType::Custom("com.example.It's".into()), "'com.example.It''s'"),
    ];
    for (cql_type, expected) in cases {
        assert_eq!(cql_type.to_string(), expected);
    }
    for (cql_type, name) in CqlType::SCALARS {
        assert_eq!((cql_type.to_string().as_str(), CqlType::scalar(name)), (name, Some(cql_type)));
    }
    assert_eq!(CqlType::scalar("VARCHAR"), Some(CqlType::Text));
    assert_eq!(CqlType::scalar("list"), None);
}

#[test]
fn vectors_and_young_types_travel_as_cassandras_classes() {
    let class = |cql_type: &CqlType, version| {
        let mut out = BytesMut::new();
        cql_type.encode(&mut Writer::new(&mut out), version).expect("valid");
        let mut reader = Reader::new(out.freeze());
        assert_eq!(reader.short("type"), Ok(0), "{cql_type} is custom");
        reader.string("class").expect("a class")
    };
    let package = "org.apache.cassandra.db.marshal.";
    let vector = CqlType::vector(CqlType::Float, 3);
    assert_eq!(class(&vector, Version::V5), format!("{package}VectorType({package}FloatType , 3)"));
    assert_eq!(class(&CqlType::Duration, Version::V4), format!("{package}DurationType"));
    assert_eq!(class(&CqlType::SmallInt, Version::V3), format!("{package}ShortType"));
    assert_eq!(class(&CqlType::Date, Version::V3), format!("{package}SimpleDateType"));
    for strange in
        ["", "x", "org.apache.cassandra.db.marshal.VectorType(Int32Type, 0)", "ListType(Int32Type", "ListType()"]
    {
        let custom = CqlType::Custom(strange.into());
        assert_eq!(CqlType::from_class_name(strange, 32), Some(custom));
    }
}

#[test]
fn types_are_cheap_to_send_around() {
    fn assert_send<T: Send + Sync + 'static>() {}
    assert_send::<CqlType>();
    assert!(size_of::<CqlType>() <= 24, "{}", size_of::<CqlType>());
}
