//! Order and round trips of key components, for all types that may be keys.

use super::{compare, ordered};
use bytes::Bytes;
use holon_cql::CqlType;
use holon_cql::value::validate;
use proptest::prelude::*;

fn integer(bytes: usize) -> BoxedStrategy<Vec<u8>> {
    let edges = [vec![0; bytes], vec![0xff; bytes], {
        let mut edge = vec![0; bytes];
        edge[0] = 0x80;
        edge
    }];
    prop_oneof![proptest::sample::select(edges.to_vec()), proptest::collection::vec(any::<u8>(), bytes)].boxed()
}

/// Valid values of a type, none of them empty where empty is a value of its own.
fn values(cql_type: &CqlType) -> BoxedStrategy<Vec<u8>> {
    match cql_type.unfrozen() {
        CqlType::TinyInt => integer(1),
        CqlType::SmallInt => integer(2),
        CqlType::Int | CqlType::Date => integer(4),
        CqlType::BigInt | CqlType::Timestamp => integer(8),
        CqlType::Uuid => integer(16),
        CqlType::Time => (0..super::calendar::DAY_NANOS).prop_map(|nanos| nanos.to_be_bytes().to_vec()).boxed(),
        CqlType::Boolean => any::<bool>().prop_map(|value| vec![u8::from(value)]).boxed(),
        CqlType::Float => any::<f32>().prop_map(|value| value.to_be_bytes().to_vec()).boxed(),
        CqlType::Double => any::<f64>().prop_map(|value| value.to_be_bytes().to_vec()).boxed(),
        CqlType::Text => "[\\x00-\\x02a-c]{0,4}".prop_map(String::into_bytes).boxed(),
        CqlType::Blob => proptest::collection::vec(proptest::sample::select(vec![0, 1, 0xfe, 0xff]), 0..5).boxed(),
        CqlType::Inet => prop_oneof![integer(4), integer(16)].boxed(),
        CqlType::VarInt => {
            proptest::collection::vec(proptest::sample::select(vec![0, 1, 0x7f, 0x80, 0xff]), 1..5).boxed()
        }
        CqlType::Decimal => {
            (-3i32..4, proptest::collection::vec(proptest::sample::select(vec![0, 1, 10, 100, 0xff, 0x9c]), 1..4))
                .prop_map(|(scale, number)| [scale.to_be_bytes().to_vec(), number].concat())
                .boxed()
        }
        CqlType::TimeUuid => (any::<i64>(), any::<u64>())
            .prop_map(|(time, tie)| super::uuids::time_uuid(time, tie).to_be_bytes().to_vec())
            .boxed(),
        CqlType::List(element) => proptest::collection::vec(values(element), 0..4)
            .prop_map(|elements| super::collection::encode_list(&elements).to_vec())
            .boxed(),
        CqlType::Map(pair) => {
            let key_type = pair.0.clone();
            proptest::collection::vec((values(&pair.0), values(&pair.1)), 0..4)
                .prop_map(move |entries| {
                    let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
                    super::collection::encode_map(&key_type, entries).to_vec()
                })
                .boxed()
        }
        CqlType::Tuple(types) => {
            let fields: Vec<_> = types.iter().map(|field| proptest::option::of(values(field))).collect();
            fields.prop_map(|fields| super::collection::encode_fields(&fields).to_vec()).boxed()
        }
        CqlType::Vector(vector) => {
            let vector_type = vector.clone();
            proptest::collection::vec(values(&vector.element), vector.dimensions as usize)
                .prop_map(move |elements| {
                    let elements: Vec<Bytes> = elements.into_iter().map(Bytes::from).collect();
                    super::collection::encode_vector(&vector_type, &elements)
                })
                .boxed()
        }
        other => panic!("no values of {other}"),
    }
}

fn key_types() -> Vec<CqlType> {
    let mut types: Vec<CqlType> = CqlType::SCALARS.into_iter().map(|(cql_type, _)| cql_type).collect();
    types.retain(|cql_type| !matches!(cql_type, CqlType::Counter | CqlType::Duration | CqlType::Ascii));
    types.extend([
        CqlType::frozen(CqlType::list(CqlType::Text)),
        CqlType::frozen(CqlType::map(CqlType::Int, CqlType::Blob)),
        CqlType::tuple([CqlType::Int, CqlType::Text]),
        CqlType::vector(CqlType::Float, 2),
        CqlType::vector(CqlType::VarInt, 2),
    ]);
    types
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_of_bytes_is_the_order_of_cql(
        (cql_type, a, b) in proptest::sample::select(key_types())
            .prop_flat_map(|cql_type| (Just(cql_type.clone()), values(&cql_type), values(&cql_type))),
        rest in any::<u8>(),
    ) {
        let order = compare::compare(&cql_type, &a, &b);
        for descending in [false, true] {
            let encoded = |value: &[u8]| {
                let mut out = Vec::new();
                ordered::encode(&cql_type, value, descending, &mut out);
                out
            };
            let (key_a, key_b) = (encoded(&a), encoded(&b));
            let expected = if descending { order.reverse() } else { order };
            prop_assert_eq!(key_a.cmp(&key_b), expected, "{} {:?} {:?}", cql_type, a, b);
            // Self-delimiting: what follows is not read, and the value comes back (equal, if not in the same bytes).
            let mut followed = key_a.clone();
            followed.push(rest);
            let mut decoder = ordered::Decoder::new(&followed);
            let back = decoder.next(&cql_type, descending).expect("decodes");
            prop_assert!(validate(&cql_type, &back).is_ok());
            prop_assert_eq!(compare::compare(&cql_type, &back, &a), std::cmp::Ordering::Equal);
            prop_assert!(!decoder.is_at_end());
            for cut in 0..key_a.len() {
                prop_assert_eq!(ordered::Decoder::new(&key_a[..cut]).next(&cql_type, descending), None);
            }
        }
    }
}

#[test]
fn an_empty_value_comes_first_and_comes_back() {
    for cql_type in [CqlType::Int, CqlType::Text, CqlType::Uuid, CqlType::Decimal, CqlType::Inet] {
        let empty = ordered::encoded(&cql_type, &[]);
        assert_eq!(ordered::Decoder::new(&empty).next(&cql_type, false), Some(Bytes::new()), "{cql_type}");
    }
    assert!(ordered::encoded(&CqlType::Int, &[]) < ordered::encoded(&CqlType::Int, &i32::MIN.to_be_bytes()));
}

#[test]
fn a_decimal_key_reads_as_a_plain_number() {
    for (text, expected) in [("1.50", "1.5"), ("100", "100"), ("-0.010", "-0.01"), ("0.00", "0"), ("1e2", "100")] {
        let value = super::number::Decimal::from_text(text).expect("a decimal").encode();
        let key = ordered::encoded(&CqlType::Decimal, &value);
        let back = ordered::Decoder::new(&key).next(&CqlType::Decimal, false).expect("decodes");
        assert_eq!(super::number::Decimal::decode(&back).expect("a decimal").to_string(), expected);
    }
}
