//! The order of serialized values, as CQL has it: of clustering columns, of set elements and map keys, of `min` and
//! `max`.

use super::number::{Decimal, compare_varint};
use super::{collection, uuids};
use holon_cql::CqlType;
use std::cmp::Ordering;

fn int<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk::<N>().copied()
}

macro_rules! by_number {
    ($type:ty, $a:expr, $b:expr) => {
        int($a).map(<$type>::from_be_bytes).cmp(&int($b).map(<$type>::from_be_bytes))
    };
}

/// Both values must be valid for the type. An empty value comes before all others.
pub fn compare(cql_type: &CqlType, a: &[u8], b: &[u8]) -> Ordering {
    if a.is_empty() || b.is_empty() {
        return b.is_empty().cmp(&a.is_empty());
    }
    match cql_type.unfrozen() {
        CqlType::TinyInt => by_number!(i8, a, b),
        CqlType::SmallInt => by_number!(i16, a, b),
        CqlType::Int => by_number!(i32, a, b),
        CqlType::BigInt | CqlType::Counter | CqlType::Timestamp | CqlType::Time => by_number!(i64, a, b),
        CqlType::Float => compare_floats(float(a).into(), float(b).into()),
        CqlType::Double => compare_floats(double(a), double(b)),
        CqlType::Uuid => pair(a, b, uuids::from_bytes, uuids::compare_uuid),
        CqlType::TimeUuid => pair(a, b, uuids::from_bytes, uuids::compare_time_uuid),
        CqlType::VarInt => compare_varint(a, b),
        CqlType::Decimal => pair(a, b, Decimal::decode, |a, b| a.compare(&b)),
        CqlType::List(element) | CqlType::Set(element) => {
            compare_sequences(collection::elements(a), collection::elements(b), |_, a, b| compare(element, a, b))
        }
        CqlType::Map(types) => {
            let by_part = |index: usize, a: &[u8], b: &[u8]| {
                compare(if index.is_multiple_of(2) { &types.0 } else { &types.1 }, a, b)
            };
            compare_sequences(collection::map_parts(a), collection::map_parts(b), by_part)
        }
        CqlType::Tuple(types) => compare_fields(types.iter(), a, b),
        CqlType::Udt(udt) => compare_fields(udt.fields.iter().map(|field| &field.cql_type), a, b),
        CqlType::Vector(vector) => {
            let (a, b) = (collection::vector_elements(vector, a), collection::vector_elements(vector, b));
            compare_sequences(a, b, |_, a, b| compare(&vector.element, a, b))
        }
        _ => a.cmp(b),
    }
}

fn float(bytes: &[u8]) -> f32 {
    int(bytes).map_or(0.0, f32::from_be_bytes)
}

fn double(bytes: &[u8]) -> f64 {
    int(bytes).map_or(0.0, f64::from_be_bytes)
}

/// As Java's `Double.compare`: -0 before 0, NaN last, all NaNs equal.
fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

fn pair<T>(a: &[u8], b: &[u8], read: impl Fn(&[u8]) -> Option<T>, order: impl Fn(T, T) -> Ordering) -> Ordering {
    match (read(a), read(b)) {
        (Some(a), Some(b)) => order(a, b),
        _ => a.cmp(b),
    }
}

fn compare_sequences<'a>(
    mut a: impl Iterator<Item = &'a [u8]>,
    mut b: impl Iterator<Item = &'a [u8]>,
    order: impl Fn(usize, &[u8], &[u8]) -> Ordering,
) -> Ordering {
    for index in 0.. {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) => match order(index, a, b) {
                Ordering::Equal => {}
                other => return other,
            },
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
    Ordering::Equal
}

fn compare_fields<'a>(types: impl Iterator<Item = &'a CqlType>, a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (collection::fields(a), collection::fields(b));
    for field_type in types {
        let order = match (a.next().flatten(), b.next().flatten()) {
            (Some(a), Some(b)) => compare(field_type, a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}
