//! Serialized bytes to values. Blobs are slices of the input.

use bytes::Bytes;
use core::net::IpAddr;
use num_bigint::BigInt;

use crate::limits::NESTING_MAX;
use crate::types::CqlType;
use crate::value::validate::{Parts, accepts_empty, read_duration, validate_scalar};
use crate::value::{Value, ValueError};

impl Value {
    /// Reads a value of a type.
    ///
    /// # Errors
    /// The same as `validate`.
    pub fn decode(cql_type: &CqlType, bytes: &Bytes) -> Result<Value, ValueError> {
        decode_within(cql_type, bytes, NESTING_MAX)
    }
}

fn decode_within(cql_type: &CqlType, bytes: &Bytes, levels: usize) -> Result<Value, ValueError> {
    let inner = levels.checked_sub(1).ok_or(ValueError::TooDeep { limit: NESTING_MAX })?;
    match cql_type {
        CqlType::Frozen(frozen) => decode_within(frozen.unfrozen(), bytes, levels),
        CqlType::List(element) => decode_elements("list", element, bytes, inner).map(Value::List),
        CqlType::Set(element) => decode_elements("set", element, bytes, inner).map(Value::Set),
        CqlType::Map(pair) => {
            let mut parts = Parts::new("map", bytes);
            let count = parts.count(8)?;
            let mut entries = Vec::with_capacity(count);
            for _ in 0..count {
                let key = decode_within(&pair.0, &bytes.slice_ref(parts.present()?), inner)?;
                entries.push((key, decode_within(&pair.1, &bytes.slice_ref(parts.present()?), inner)?));
            }
            parts.end()?;
            Ok(Value::Map(entries))
        }
        CqlType::Tuple(elements) => decode_fields("tuple", elements.iter(), bytes, inner).map(Value::Tuple),
        CqlType::Udt(udt) => {
            let types = udt.fields.iter().map(|field| &field.cql_type);
            decode_fields("user-defined type", types, bytes, inner).map(Value::Udt)
        }
        CqlType::Vector(vector) => {
            let mut parts = Parts::new("vector", bytes);
            let fixed = parts.vector_layout(vector)?;
            let mut elements = Vec::new();
            for _ in 0..vector.dimensions {
                let element = bytes.slice_ref(parts.vector_element(fixed)?);
                elements.push(decode_within(&vector.element, &element, inner)?);
            }
            parts.end()?;
            Ok(Value::Vector(elements))
        }
        scalar => decode_scalar(scalar, bytes),
    }
}

fn decode_elements(
    what: &'static str,
    element: &CqlType,
    bytes: &Bytes,
    levels: usize,
) -> Result<Vec<Value>, ValueError> {
    let mut parts = Parts::new(what, bytes);
    let count = parts.count(4)?;
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(decode_within(element, &bytes.slice_ref(parts.present()?), levels)?);
    }
    parts.end()?;
    Ok(elements)
}

fn decode_fields<'a>(
    what: &'static str,
    types: impl Iterator<Item = &'a CqlType>,
    bytes: &Bytes,
    levels: usize,
) -> Result<Vec<Option<Value>>, ValueError> {
    let mut parts = Parts::new(what, bytes);
    let mut fields = Vec::new();
    for cql_type in types {
        if parts.rest.is_empty() {
            break;
        }
        let field = parts.next()?;
        fields.push(field.map(|field| decode_within(cql_type, &bytes.slice_ref(field), levels)).transpose()?);
    }
    parts.end()?;
    Ok(fields)
}

fn decode_scalar(cql_type: &CqlType, bytes: &Bytes) -> Result<Value, ValueError> {
    validate_scalar(cql_type, bytes)?;
    match cql_type {
        CqlType::Ascii => return text(bytes).map(Value::Ascii),
        CqlType::Text => return text(bytes).map(Value::Text),
        CqlType::Blob => return Ok(Value::Blob(bytes.clone())),
        CqlType::Custom(_) => return Ok(Value::Custom(bytes.clone())),
        _ if bytes.is_empty() && accepts_empty(cql_type) => return Ok(Value::Empty),
        _ => {}
    }
    // The lengths were checked above; a wrong one would give zeros, never a panic.
    Ok(match cql_type {
        CqlType::BigInt => Value::BigInt(i64::from_be_bytes(array(bytes))),
        CqlType::Boolean => Value::Boolean(bytes.first().is_some_and(|&byte| byte != 0)),
        CqlType::Counter => Value::Counter(i64::from_be_bytes(array(bytes))),
        CqlType::Decimal => {
            let (scale, unscaled) = bytes.split_at_checked(4).unwrap_or_default();
            Value::Decimal { unscaled: BigInt::from_signed_bytes_be(unscaled), scale: i32::from_be_bytes(array(scale)) }
        }
        CqlType::Double => Value::Double(f64::from_be_bytes(array(bytes))),
        CqlType::Float => Value::Float(f32::from_be_bytes(array(bytes))),
        CqlType::Int => Value::Int(i32::from_be_bytes(array(bytes))),
        CqlType::Timestamp => Value::Timestamp(i64::from_be_bytes(array(bytes))),
        CqlType::Uuid => Value::Uuid(array(bytes)),
        CqlType::VarInt => Value::VarInt(BigInt::from_signed_bytes_be(bytes)),
        CqlType::TimeUuid => Value::TimeUuid(array(bytes)),
        CqlType::Inet if bytes.len() == 4 => Value::Inet(IpAddr::from(array::<4>(bytes))),
        CqlType::Inet => Value::Inet(IpAddr::from(array::<16>(bytes))),
        CqlType::Date => Value::Date(u32::from_be_bytes(array(bytes))),
        CqlType::Time => Value::Time(i64::from_be_bytes(array(bytes))),
        CqlType::SmallInt => Value::SmallInt(i16::from_be_bytes(array(bytes))),
        CqlType::TinyInt => Value::TinyInt(i8::from_be_bytes(array(bytes))),
        CqlType::Duration => {
            let (months, days, nanoseconds) = read_duration(bytes)?;
            Value::Duration { months, days, nanoseconds }
        }
        _ => Value::Custom(bytes.clone()),
    })
}

fn text(bytes: &[u8]) -> Result<String, ValueError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ValueError::NotUtf8 { offset: error.valid_up_to() })?;
    Ok(text.to_owned())
}

fn array<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    bytes.first_chunk::<LENGTH>().copied().unwrap_or([0; LENGTH])
}
