//! Byte-comparable encodings: the order of the bytes is the order of CQL, and a value knows its end.
//!
//! A component is a header (1: an empty value, 2: a value) and a body by type; for a descending column every byte of
//! it is inverted. No component is a prefix of another, so components can be put one after the other, and the keys
//! that begin with some of them are the range from these to [`holon_store::prefix_end`].
//!
//! ```text
//! integers, date, time, timestamp   big-endian, sign flipped where there is one
//! float, double                     IEEE bits, made monotonic; NaN last
//! text, ascii, blob, inet, custom   bytes, 0 as 0 255, ended by 0 1
//! uuid                              version, then time first (version 1) or as it is
//! timeuuid                          time first, then the rest as signed bytes
//! varint                            sign and length (3 bytes), then the number
//! decimal                           sign, exponent, digits from 1 to 10, ended by 0; equal numbers have equal bytes
//! list, set, map                    each element after a 1, ended by 0
//! tuple                             each field after a 1, null is a 0; all fields of the type
//! user type                         each field after a 2, null is a 1; nulls at the end are left out, ended by 0
//! vector                            its elements
//! ```
//!
//! A user type may get more fields: what was written before has nulls for them, and has to keep its bytes.
//!
//! Numbers come back in their shortest form: a decimal `1.50` in a key reads as `1.5`, since it is the same key.

use super::number::{Decimal, minimal_varint};
use super::{collection, uuids};
use bytes::Bytes;
use holon_cql::CqlType;
use num_bigint::BigInt;

const EMPTY: u8 = 1;
const PRESENT: u8 = 2;

/// Appends one component. The value must be valid for its type ([`holon_cql::value::validate`]).
pub fn encode(cql_type: &CqlType, value: &[u8], descending: bool, out: &mut Vec<u8>) {
    let start = out.len();
    if value.is_empty() && !is_self_delimiting_when_empty(cql_type) {
        out.push(EMPTY);
    } else {
        out.push(PRESENT);
        encode_body(cql_type.unfrozen(), value, out);
    }
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn is_self_delimiting_when_empty(cql_type: &CqlType) -> bool {
    matches!(cql_type, CqlType::Text | CqlType::Ascii | CqlType::Blob | CqlType::Custom(_))
}

/// One component alone.
pub fn encoded(cql_type: &CqlType, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 4);
    encode(cql_type, value, false, &mut out);
    out
}

fn flip<const N: usize>(value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(value);
    if let Some(first) = out.get_mut(start) {
        *first ^= 0x80;
    }
    debug_assert_eq!(value.len(), N, "validated before");
}

fn encode_body(cql_type: &CqlType, value: &[u8], out: &mut Vec<u8>) {
    match cql_type {
        CqlType::TinyInt => flip::<1>(value, out),
        CqlType::SmallInt => flip::<2>(value, out),
        CqlType::Int => flip::<4>(value, out),
        CqlType::BigInt | CqlType::Counter | CqlType::Timestamp | CqlType::Time => flip::<8>(value, out),
        CqlType::Boolean => out.push(u8::from(value.first().is_some_and(|byte| *byte != 0))),
        CqlType::Date => out.extend_from_slice(value),
        CqlType::Float => {
            let bits = value.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let bits = if f32::from_bits(bits).is_nan() { f32::NAN.to_bits() & 0x7fff_ffff } else { bits };
            let ordered = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
            out.extend(ordered.to_be_bytes());
        }
        CqlType::Double => {
            let bits = value.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let bits = if f64::from_bits(bits).is_nan() { f64::NAN.to_bits() & (u64::MAX >> 1) } else { bits };
            let ordered = if bits >> 63 == 1 { !bits } else { bits | (1 << 63) };
            out.extend(ordered.to_be_bytes());
        }
        CqlType::Uuid => out.extend(uuids::uuid_to_ordered(uuids::from_bytes(value).unwrap_or(0))),
        CqlType::TimeUuid => out.extend(uuids::time_uuid_to_ordered(uuids::from_bytes(value).unwrap_or(0))),
        CqlType::VarInt => encode_varint(value, out),
        CqlType::Decimal => encode_decimal(value, out),
        CqlType::List(element) | CqlType::Set(element) => {
            for element_value in collection::elements(value) {
                out.push(1);
                encode(element, element_value, false, out);
            }
            out.push(0);
        }
        CqlType::Map(pair) => {
            for (index, part) in collection::map_parts(value).enumerate() {
                if index % 2 == 0 {
                    out.push(1);
                }
                encode(if index % 2 == 0 { &pair.0 } else { &pair.1 }, part, false, out);
            }
            out.push(0);
        }
        CqlType::Tuple(types) => encode_fields(types.iter(), value, out),
        CqlType::Udt(udt) => encode_user_type(udt.fields.iter().map(|field| &field.cql_type), value, out),
        CqlType::Vector(vector) => {
            for element in collection::vector_elements(vector, value) {
                encode(&vector.element, element, false, out);
            }
        }
        _ => encode_escaped(value, out),
    }
}

fn encode_fields<'a>(types: impl Iterator<Item = &'a CqlType>, value: &[u8], out: &mut Vec<u8>) {
    let mut fields = collection::fields(value);
    for field_type in types {
        match fields.next().flatten() {
            Some(field) => {
                out.push(1);
                encode(field_type, field, false, out);
            }
            None => out.push(0),
        }
    }
}

fn encode_user_type<'a>(types: impl Iterator<Item = &'a CqlType>, value: &[u8], out: &mut Vec<u8>) {
    let mut nulls = 0;
    for (field, field_type) in collection::fields(value).zip(types) {
        match field {
            Some(field) => {
                out.extend(std::iter::repeat_n(1, std::mem::take(&mut nulls)));
                out.push(2);
                encode(field_type, field, false, out);
            }
            None => nulls += 1,
        }
    }
    out.push(0);
}

fn encode_escaped(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        out.extend_from_slice(&rest[..=zero]);
        out.push(0xff);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend([0, 1]);
}

fn encode_varint(value: &[u8], out: &mut Vec<u8>) {
    let value = minimal_varint(value);
    let negative = value.first().is_some_and(|byte| byte & 0x80 != 0);
    // A serialized value is shorter than a frame of 16 MiB, so three bytes hold its length.
    let length = (value.len() as u32).min(0x00ff_ffff);
    let ordered = if negative { !length } else { length };
    out.push(if negative { 1 } else { 2 });
    out.extend_from_slice(&ordered.to_be_bytes()[1..]);
    out.extend_from_slice(value);
}

fn encode_decimal(value: &[u8], out: &mut Vec<u8>) {
    let decimal = Decimal::decode(value).unwrap_or(Decimal::from_big(BigInt::from(0)));
    let (sign, exponent, digits) = decimal.parts();
    out.push(match sign {
        -1 => 1,
        0 => 2,
        _ => 3,
    });
    if sign == 0 {
        return;
    }
    let start = out.len();
    out.extend((exponent.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    out.extend(digits.iter().map(|digit| digit + 1));
    out.push(0);
    if sign < 0 {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Reads components one after the other.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    mask: u8,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { bytes, at: 0, mask: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The serialized value of the next component; `None` if the bytes are not what [`encode`] makes.
    pub fn next(&mut self, cql_type: &CqlType, descending: bool) -> Option<Bytes> {
        let outer = self.mask;
        self.mask ^= if descending { 0xff } else { 0 };
        let mut out = Vec::new();
        let result = self.component(cql_type, &mut out);
        self.mask = outer;
        result.map(|()| out.into())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte ^ self.mask)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut array = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        array.iter_mut().for_each(|byte| *byte ^= self.mask);
        Some(array)
    }

    fn component(&mut self, cql_type: &CqlType, out: &mut Vec<u8>) -> Option<()> {
        match self.byte()? {
            EMPTY => Some(()),
            PRESENT => self.body(cql_type.unfrozen(), out),
            _ => None,
        }
    }

    fn flipped<const N: usize>(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let mut array = self.array::<N>()?;
        array[0] ^= 0x80;
        out.extend(array);
        Some(())
    }

    fn body(&mut self, cql_type: &CqlType, out: &mut Vec<u8>) -> Option<()> {
        match cql_type {
            CqlType::TinyInt => self.flipped::<1>(out)?,
            CqlType::SmallInt => self.flipped::<2>(out)?,
            CqlType::Int => self.flipped::<4>(out)?,
            CqlType::BigInt | CqlType::Counter | CqlType::Timestamp | CqlType::Time => self.flipped::<8>(out)?,
            CqlType::Boolean => out.push(self.byte()?),
            CqlType::Date => out.extend(self.array::<4>()?),
            CqlType::Float => {
                let ordered = u32::from_be_bytes(self.array()?);
                let bits = if ordered >> 31 == 1 { ordered & 0x7fff_ffff } else { !ordered };
                out.extend(bits.to_be_bytes());
            }
            CqlType::Double => {
                let ordered = u64::from_be_bytes(self.array()?);
                let bits = if ordered >> 63 == 1 { ordered & (u64::MAX >> 1) } else { !ordered };
                out.extend(bits.to_be_bytes());
            }
            CqlType::Uuid => out.extend(uuids::uuid_from_ordered(self.array()?).to_be_bytes()),
            CqlType::TimeUuid => out.extend(uuids::time_uuid_from_ordered(self.array()?).to_be_bytes()),
            CqlType::VarInt => self.varint(out)?,
            CqlType::Decimal => self.decimal(out)?,
            CqlType::List(element) | CqlType::Set(element) => self.collection(&[element], out)?,
            CqlType::Map(pair) => self.collection(&[&pair.0, &pair.1], out)?,
            CqlType::Tuple(types) => self.fields(types.iter(), out)?,
            CqlType::Udt(udt) => self.user_type(udt.fields.iter().map(|field| &field.cql_type), out)?,
            CqlType::Vector(vector) => {
                let mut elements = Vec::new();
                for _ in 0..vector.dimensions {
                    let mut element = Vec::new();
                    self.component(&vector.element, &mut element)?;
                    elements.push(Bytes::from(element));
                }
                out.extend(collection::encode_vector(vector, &elements));
            }
            _ => self.escaped(out)?,
        }
        Some(())
    }

    fn escaped(&mut self, out: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.byte()? {
                0 => match self.byte()? {
                    0xff => out.push(0),
                    1 => return Some(()),
                    _ => return None,
                },
                byte => out.push(byte),
            }
        }
    }

    fn varint(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let negative = self.byte()? == 1;
        let [a, b, c] = self.array::<3>()?;
        let ordered = u32::from_be_bytes([if negative { 0xff } else { 0 }, a, b, c]);
        let length = if negative { !ordered } else { ordered } as usize;
        let value = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        out.extend(value.iter().map(|byte| byte ^ self.mask));
        Some(())
    }

    fn decimal(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let sign = self.byte()?;
        if sign == 2 {
            out.extend(Decimal::from_big(BigInt::from(0)).encode());
            return Some(());
        }
        let negative = sign == 1;
        let outer = self.mask;
        self.mask ^= if negative { 0xff } else { 0 };
        let exponent = (u64::from_be_bytes(self.array()?) ^ (1 << 63)).cast_signed();
        let mut text = String::from(if negative { "-" } else { "" });
        let mut digits = 0i64;
        loop {
            match self.byte()? {
                0 => break,
                digit => text.push(char::from(b'0' + (digit - 1).min(9))),
            }
            digits += 1;
        }
        self.mask = outer;
        // Whole numbers of a usual size are written out; the rest keeps its exponent.
        let padding = (exponent - digits).clamp(0, 64);
        text.extend(std::iter::repeat_n('0', padding as usize));
        let scale = i32::try_from(digits + padding - exponent).ok()?;
        out.extend(Decimal { unscaled: text.parse().ok()?, scale }.encode());
        Some(())
    }

    fn collection(&mut self, types: &[&CqlType], out: &mut Vec<u8>) -> Option<()> {
        let count_at = out.len();
        out.extend([0; 4]);
        let mut count = 0i32;
        while self.byte()? == 1 {
            for cql_type in types {
                self.length_prefixed(cql_type, out)?;
            }
            count += 1;
        }
        out.get_mut(count_at..count_at + 4)?.copy_from_slice(&count.to_be_bytes());
        Some(())
    }

    fn length_prefixed(&mut self, cql_type: &CqlType, out: &mut Vec<u8>) -> Option<()> {
        let at = out.len();
        out.extend([0; 4]);
        self.component(cql_type, out)?;
        let length = i32::try_from(out.len() - at - 4).ok()?;
        out.get_mut(at..at + 4)?.copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn user_type<'t>(&mut self, types: impl Iterator<Item = &'t CqlType>, out: &mut Vec<u8>) -> Option<()> {
        for field_type in types {
            match self.byte()? {
                0 => return Some(()),
                1 => out.extend((-1i32).to_be_bytes()),
                _ => self.length_prefixed(field_type, out)?,
            }
        }
        // The end: a type loses no fields.
        (self.byte()? == 0).then_some(())
    }

    fn fields<'t>(&mut self, types: impl Iterator<Item = &'t CqlType>, out: &mut Vec<u8>) -> Option<()> {
        for field_type in types {
            if self.byte()? == 1 {
                self.length_prefixed(field_type, out)?;
            } else {
                out.extend((-1i32).to_be_bytes());
            }
        }
        Some(())
    }
}
