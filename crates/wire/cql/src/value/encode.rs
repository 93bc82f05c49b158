//! Values to serialized bytes.

use bytes::{BufMut, Bytes, BytesMut};
use core::net::IpAddr;

use crate::limits::NESTING_MAX;
use crate::types::CqlType;
use crate::value::{NANOSECONDS_PER_DAY, Value, ValueError, accepts_empty, vint};

impl Value {
    /// Appends the serialized form of a value of a type, without a length.
    ///
    /// # Errors
    /// A value that is not one of the type. What was appended before that stays.
    pub fn encode(&self, cql_type: &CqlType, out: &mut BytesMut) -> Result<(), ValueError> {
        encode_within(self, cql_type, out, NESTING_MAX)
    }

    /// The serialized form as bytes of its own.
    ///
    /// # Errors
    /// A value that is not one of the type.
    pub fn to_bytes(&self, cql_type: &CqlType) -> Result<Bytes, ValueError> {
        let mut out = BytesMut::new();
        self.encode(cql_type, &mut out)?;
        Ok(out.freeze())
    }
}

fn encode_within(value: &Value, cql_type: &CqlType, out: &mut BytesMut, levels: usize) -> Result<(), ValueError> {
    let inner = levels.checked_sub(1).ok_or(ValueError::TooDeep { limit: NESTING_MAX })?;
    match (value, cql_type.unfrozen()) {
        (Value::List(elements), CqlType::List(element)) | (Value::Set(elements), CqlType::Set(element)) => {
            put_count(elements.len(), out)?;
            elements.iter().try_for_each(|value| put_part(Some(value), element, out, inner))
        }
        (Value::Map(entries), CqlType::Map(pair)) => {
            put_count(entries.len(), out)?;
            entries.iter().try_for_each(|(key, value)| {
                put_part(Some(key), &pair.0, out, inner)?;
                put_part(Some(value), &pair.1, out, inner)
            })
        }
        (Value::Tuple(fields), CqlType::Tuple(types)) => {
            check_fields("tuple", fields.len(), types.len())?;
            fields
                .iter()
                .zip(types.iter())
                .try_for_each(|(field, cql_type)| put_part(field.as_ref(), cql_type, out, inner))
        }
        (Value::Udt(fields), CqlType::Udt(udt)) => {
            check_fields("user-defined type", fields.len(), udt.fields.len())?;
            fields
                .iter()
                .zip(&udt.fields)
                .try_for_each(|(field, of_type)| put_part(field.as_ref(), &of_type.cql_type, out, inner))
        }
        (Value::Vector(elements), CqlType::Vector(vector)) => {
            let (expected, got) = (vector.dimensions as usize, elements.len());
            if expected != got {
                return Err(ValueError::Dimensions { expected, got });
            }
            let fixed = vector.element.vector_element_length();
            elements.iter().try_for_each(|value| put_vector_element(value, &vector.element, fixed, out, inner))
        }
        (Value::Empty, other) if accepts_empty(other) => Ok(()),
        (value, scalar) => encode_scalar(value, scalar, out),
    }
}

fn encode_scalar(value: &Value, cql_type: &CqlType, out: &mut BytesMut) -> Result<(), ValueError> {
    match (value, cql_type) {
        (Value::Ascii(text), CqlType::Ascii) => {
            if let Some((offset, byte)) = text.bytes().enumerate().find(|(_, byte)| !byte.is_ascii()) {
                return Err(ValueError::NotAscii { byte, offset });
            }
            out.put_slice(text.as_bytes());
        }
        (Value::Text(text), CqlType::Text) => out.put_slice(text.as_bytes()),
        (Value::Blob(bytes), CqlType::Blob) | (Value::Custom(bytes), CqlType::Custom(_)) => out.put_slice(bytes),
        (Value::BigInt(value), CqlType::BigInt)
        | (Value::Counter(value), CqlType::Counter)
        | (Value::Timestamp(value), CqlType::Timestamp) => out.put_i64(*value),
        (Value::Boolean(value), CqlType::Boolean) => out.put_u8(u8::from(*value)),
        (Value::Decimal { unscaled, scale }, CqlType::Decimal) => {
            out.put_i32(*scale);
            out.put_slice(&unscaled.to_signed_bytes_be());
        }
        (Value::Double(value), CqlType::Double) => out.put_f64(*value),
        (Value::Float(value), CqlType::Float) => out.put_f32(*value),
        (Value::Int(value), CqlType::Int) => out.put_i32(*value),
        (Value::Uuid(uuid), CqlType::Uuid) => out.put_slice(uuid),
        (Value::TimeUuid(uuid), CqlType::TimeUuid) => {
            let version = uuid[6] >> 4;
            if version != 1 {
                return Err(ValueError::NotTimeUuid { version });
            }
            out.put_slice(uuid);
        }
        (Value::VarInt(value), CqlType::VarInt) => out.put_slice(&value.to_signed_bytes_be()),
        (Value::Inet(IpAddr::V4(address)), CqlType::Inet) => out.put_slice(&address.octets()),
        (Value::Inet(IpAddr::V6(address)), CqlType::Inet) => out.put_slice(&address.octets()),
        (Value::Date(days), CqlType::Date) => out.put_u32(*days),
        (&Value::Time(nanoseconds), CqlType::Time) => {
            if !(0..NANOSECONDS_PER_DAY).contains(&nanoseconds) {
                return Err(ValueError::TimeRange { nanoseconds });
            }
            out.put_i64(nanoseconds);
        }
        (Value::SmallInt(value), CqlType::SmallInt) => out.put_i16(*value),
        (Value::TinyInt(value), CqlType::TinyInt) => out.put_i8(*value),
        (&Value::Duration { months, days, nanoseconds }, CqlType::Duration) => {
            let parts = [i64::from(months), i64::from(days), nanoseconds];
            if parts.iter().any(|&part| part < 0) && parts.iter().any(|&part| part > 0) {
                let (months, days) = (i64::from(months), i64::from(days));
                return Err(ValueError::DurationSigns { months, days, nanoseconds });
            }
            parts.into_iter().for_each(|part| vint::write_signed(part, out));
        }
        (value, cql_type) => {
            return Err(ValueError::Mismatch { cql_type: cql_type.to_string(), got: value.kind() });
        }
    }
    Ok(())
}

fn put_count(count: usize, out: &mut BytesMut) -> Result<(), ValueError> {
    out.put_i32(i32::try_from(count).map_err(|_| ValueError::TooLong { length: count })?);
    Ok(())
}

fn check_fields(what: &'static str, got: usize, expected: usize) -> Result<(), ValueError> {
    if got > expected { Err(ValueError::TooManyElements { what, expected, got }) } else { Ok(()) }
}

/// Appends a [bytes].
fn put_part(value: Option<&Value>, cql_type: &CqlType, out: &mut BytesMut, levels: usize) -> Result<(), ValueError> {
    let start = out.len();
    out.put_i32(-1);
    let Some(value) = value else { return Ok(()) };
    encode_within(value, cql_type, out, levels)?;
    let length = out.len().saturating_sub(start + 4);
    let prefix = i32::try_from(length).map_err(|_| ValueError::TooLong { length })?;
    if let Some(bytes) = out.get_mut(start..start + 4) {
        bytes.copy_from_slice(&prefix.to_be_bytes());
    }
    Ok(())
}

fn put_vector_element(
    value: &Value,
    cql_type: &CqlType,
    fixed: Option<usize>,
    out: &mut BytesMut,
    levels: usize,
) -> Result<(), ValueError> {
    let Some(expected) = fixed else {
        let mut element = BytesMut::new();
        encode_within(value, cql_type, &mut element, levels)?;
        vint::write_unsigned(element.len() as u64, out);
        out.put_slice(&element);
        return Ok(());
    };
    let start = out.len();
    encode_within(value, cql_type, out, levels)?;
    match out.len().saturating_sub(start) {
        length if length == expected => Ok(()),
        // An empty value has no place among elements of one length.
        _ => Err(ValueError::Null { what: "vector" }),
    }
}
