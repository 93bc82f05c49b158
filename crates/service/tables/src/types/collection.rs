//! Serialized collections, tuples, user types and vectors: taken apart and put together.
//!
//! The readers take what has been validated; on anything else they end early, they never panic.

use super::compare::compare;
use bytes::{BufMut, Bytes, BytesMut};
use holon_cql::value::vint;
use holon_cql::{CqlType, VectorType};

fn take_length(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*length), rest))
}

/// How many elements a serialized list, set or map has.
pub fn count(value: &[u8]) -> usize {
    take_length(value).map_or(0, |(count, _)| usize::try_from(count).unwrap_or(0))
}

/// The elements of a list or set.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    fields(value.get(4..).unwrap_or_default()).map_while(|element| element)
}

/// Keys and values of a map in turn.
pub fn map_parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    elements(value)
}

/// The entries of a map.
pub fn entries(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut parts = map_parts(value);
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}

/// The fields of a tuple or user type, as many as are there; `None` is null.
pub fn fields(value: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (length, after) = take_length(rest)?;
        match usize::try_from(length) {
            Ok(length) => {
                let (field, after) = after.split_at_checked(length)?;
                rest = after;
                Some(Some(field))
            }
            Err(_) => {
                rest = after;
                Some(None)
            }
        }
    })
}

/// A part of a value, sharing its memory.
pub fn shared(value: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { value.slice_ref(part) }
}

pub fn vector_elements<'a>(vector: &VectorType, value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let fixed = vector.element.vector_element_length();
    let mut rest = value;
    let mut left = vector.dimensions;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let length = match fixed {
            Some(length) => length,
            None => {
                let (length, prefix) = vint::read_unsigned(rest)?;
                rest = rest.get(prefix..)?;
                usize::try_from(length).ok()?
            }
        };
        let (element, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(element)
    })
}

pub fn encode_vector(vector: &VectorType, elements: &[Bytes]) -> Vec<u8> {
    let fixed = vector.element.vector_element_length();
    let mut out = BytesMut::new();
    for element in elements {
        if fixed.is_none() {
            vint::write_unsigned(element.len() as u64, &mut out);
        }
        out.put_slice(element);
    }
    out.to_vec()
}

fn put_prefixed(value: &[u8], out: &mut BytesMut) {
    // Values come from frames of at most 16 MiB.
    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
    out.put_slice(value);
}

/// A list of these elements, in this order.
pub fn encode_list<T: AsRef<[u8]>>(elements: &[T]) -> Bytes {
    let size = elements.iter().map(|element| element.as_ref().len() + 4).sum::<usize>() + 4;
    let mut out = BytesMut::with_capacity(size);
    out.put_i32(i32::try_from(elements.len()).unwrap_or(i32::MAX));
    elements.iter().for_each(|element| put_prefixed(element.as_ref(), &mut out));
    out.freeze()
}

/// A set: sorted, each element once.
pub fn encode_set(element_type: &CqlType, mut elements: Vec<Bytes>) -> Bytes {
    elements.sort_by(|a, b| compare(element_type, a, b));
    elements.dedup_by(|a, b| compare(element_type, a, b).is_eq());
    encode_list(&elements)
}

/// A map: sorted by key; of equal keys the last counts.
pub fn encode_map(key_type: &CqlType, mut entries: Vec<(Bytes, Bytes)>) -> Bytes {
    entries.reverse();
    entries.sort_by(|a, b| compare(key_type, &a.0, &b.0));
    entries.dedup_by(|later, first| compare(key_type, &later.0, &first.0).is_eq());
    encode_entries(&entries)
}

/// A map of entries that are in order already.
pub fn encode_entries(entries: &[(Bytes, Bytes)]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(i32::try_from(entries.len()).unwrap_or(i32::MAX));
    for (key, value) in entries {
        put_prefixed(key, &mut out);
        put_prefixed(value, &mut out);
    }
    out.freeze()
}

/// A tuple or user type.
pub fn encode_fields<T: AsRef<[u8]>>(fields: &[Option<T>]) -> Bytes {
    let mut out = BytesMut::new();
    for field in fields {
        match field {
            Some(field) => put_prefixed(field.as_ref(), &mut out),
            None => out.put_i32(-1),
        }
    }
    out.freeze()
}

/// Whether a type is a set or a map, or has one inside.
pub fn holds_sets(cql_type: &CqlType) -> bool {
    match cql_type.unfrozen() {
        CqlType::Set(_) | CqlType::Map(_) => true,
        CqlType::List(element) => holds_sets(element),
        CqlType::Tuple(types) => types.iter().any(holds_sets),
        CqlType::Udt(udt) => udt.fields.iter().any(|field| holds_sets(&field.cql_type)),
        CqlType::Vector(vector) => holds_sets(&vector.element),
        _ => false,
    }
}

/// A value with its sets and maps sorted, each element once: clients send them in any order, and two that are equal
/// have to have equal bytes.
pub fn in_order(cql_type: &CqlType, value: &Bytes) -> Bytes {
    if !holds_sets(cql_type) {
        return value.clone();
    }
    let inner = |of: &CqlType, part: &[u8]| in_order(of, &shared(value, part));
    match cql_type.unfrozen() {
        CqlType::List(of) => encode_list(&elements(value).map(|part| inner(of, part)).collect::<Vec<_>>()),
        CqlType::Set(of) => encode_set(of, elements(value).map(|part| inner(of, part)).collect()),
        CqlType::Map(pair) => {
            let entry = |(key, value): (&[u8], &[u8])| (inner(&pair.0, key), inner(&pair.1, value));
            encode_map(&pair.0, entries(value).map(entry).collect())
        }
        CqlType::Tuple(types) => in_order_fields(types.iter(), value),
        CqlType::Udt(udt) => in_order_fields(udt.fields.iter().map(|field| &field.cql_type), value),
        CqlType::Vector(vector) => {
            let parts: Vec<Bytes> = vector_elements(vector, value).map(|part| inner(&vector.element, part)).collect();
            encode_vector(vector, &parts).into()
        }
        _ => value.clone(),
    }
}

fn in_order_fields<'a>(types: impl Iterator<Item = &'a CqlType>, value: &Bytes) -> Bytes {
    let parts = fields(value).zip(types);
    let field = |(part, of): (Option<&[u8]>, &CqlType)| part.map(|part| in_order(of, &shared(value, part)));
    encode_fields(&parts.map(field).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_in_order_however_they_were_sent() {
        let of = CqlType::map(CqlType::frozen(CqlType::set(CqlType::TinyInt)), CqlType::TinyInt);
        let set = |elements: &[u8]| encode_list(&elements.iter().map(std::slice::from_ref).collect::<Vec<_>>());
        let map = |keys: &[&[u8]]| {
            encode_entries(&keys.iter().map(|key| (set(key), Bytes::from_static(&[7]))).collect::<Vec<_>>())
        };
        let sent = map(&[&[3, 2], &[2, 1, 1]]);
        assert_eq!(in_order(&of, &sent), map(&[&[1, 2], &[2, 3]]));
        let plain = CqlType::list(CqlType::TinyInt);
        assert_eq!(in_order(&plain, &set(&[3, 2])), set(&[3, 2]), "a list keeps its order");
    }
}
