//! The notations of section 3: a zero-copy reader over the body of an envelope, and a writer.
//!
//! Byte strings are slices of the body; names and texts are copied because they are short. A count is compared with the
//! bytes that are left before memory is taken for its elements.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;

use crate::consistency::Consistency;
use crate::error::CqlError;
use crate::frame::Version;

/// A [value]: what a client binds to a marker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BoundValue {
    /// Deletes the cell.
    Null,
    /// Leaves the cell as it is (v4 and later).
    Unset,
    /// The serialized value, possibly empty, which is neither of the above.
    Value(Bytes),
}

impl BoundValue {
    /// A value of these bytes.
    pub fn from_slice(bytes: &[u8]) -> BoundValue {
        BoundValue::Value(Bytes::copy_from_slice(bytes))
    }
}

/// A [bytes map]: the custom payload.
pub type BytesMap = BTreeMap<String, Option<Bytes>>;

/// Reads notations from the front of a body.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    offset: usize,
}

impl Reader {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, offset: 0 }
    }

    /// Bytes from the start of the body.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not yet read.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// All bytes not yet read.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// The next `length` bytes, not copied.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, CqlError> {
        self.need(length, what)?;
        self.offset += length;
        Ok(self.bytes.split_to(length))
    }

    fn need(&self, needed: usize, what: &'static str) -> Result<(), CqlError> {
        let left = self.bytes.len();
        if left < needed {
            return Err(CqlError::Truncated { what, offset: self.offset, needed, left });
        }
        Ok(())
    }

    /// Refuses `count` elements of at least `bytes_each` if they cannot be in the bytes left.
    pub fn check_count(&self, count: u64, bytes_each: usize, what: &'static str) -> Result<usize, CqlError> {
        let left = self.bytes.len();
        let too_large = CqlError::CountTooLarge { what, offset: self.offset, count, left };
        let count = usize::try_from(count).map_err(|_| too_large.clone())?;
        if count.saturating_mul(bytes_each) > left { Err(too_large) } else { Ok(count) }
    }

    /// [byte]
    pub fn byte(&mut self, what: &'static str) -> Result<u8, CqlError> {
        self.need(1, what)?;
        self.offset += 1;
        Ok(self.bytes.get_u8())
    }

    /// [short]
    pub fn short(&mut self, what: &'static str) -> Result<u16, CqlError> {
        self.need(2, what)?;
        self.offset += 2;
        Ok(self.bytes.get_u16())
    }

    /// [int]
    pub fn int(&mut self, what: &'static str) -> Result<i32, CqlError> {
        self.need(4, what)?;
        self.offset += 4;
        Ok(self.bytes.get_i32())
    }

    /// [long]
    pub fn long(&mut self, what: &'static str) -> Result<i64, CqlError> {
        self.need(8, what)?;
        self.offset += 8;
        Ok(self.bytes.get_i64())
    }

    /// [uuid]
    pub fn uuid(&mut self, what: &'static str) -> Result<[u8; 16], CqlError> {
        self.need(16, what)?;
        self.offset += 16;
        let mut uuid = [0; 16];
        self.bytes.copy_to_slice(&mut uuid);
        Ok(uuid)
    }

    /// [string]
    pub fn string(&mut self, what: &'static str) -> Result<String, CqlError> {
        let length = self.short(what)?;
        self.text(usize::from(length), what)
    }

    /// [long string]
    pub fn long_string(&mut self, what: &'static str) -> Result<String, CqlError> {
        let offset = self.offset;
        let length = self.int(what)?;
        let length = usize::try_from(length).map_err(|_| CqlError::NegativeLength {
            what,
            offset,
            length: i64::from(length),
        })?;
        self.text(length, what)
    }

    fn text(&mut self, length: usize, what: &'static str) -> Result<String, CqlError> {
        let offset = self.offset;
        let bytes = self.take(length, what)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(CqlError::NotUtf8 { what, offset: offset + error.valid_up_to() }),
        }
    }

    /// [string list]
    pub fn string_list(&mut self, what: &'static str) -> Result<Vec<String>, CqlError> {
        let count = self.short(what)?;
        let count = self.check_count(u64::from(count), 2, what)?;
        (0..count).map(|_| self.string(what)).collect()
    }

    /// [bytes]: `None` is null (any negative length).
    pub fn bytes(&mut self, what: &'static str) -> Result<Option<Bytes>, CqlError> {
        let length = self.int(what)?;
        match usize::try_from(length) {
            Ok(length) => self.take(length, what).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// [value]: in v3 any negative length is null; later -1 is null, -2 is unset and the rest is an error.
    pub fn value(&mut self, version: Version, what: &'static str) -> Result<BoundValue, CqlError> {
        let offset = self.offset;
        let length = self.int(what)?;
        match usize::try_from(length) {
            Ok(length) => self.take(length, what).map(BoundValue::Value),
            Err(_) if version == Version::V3 || length == -1 => Ok(BoundValue::Null),
            Err(_) if length == -2 => Ok(BoundValue::Unset),
            Err(_) => Err(CqlError::NegativeLength { what, offset, length: i64::from(length) }),
        }
    }

    /// [short bytes]
    pub fn short_bytes(&mut self, what: &'static str) -> Result<Bytes, CqlError> {
        let length = self.short(what)?;
        self.take(usize::from(length), what)
    }

    /// [inetaddr]
    pub fn inet_address(&mut self, what: &'static str) -> Result<IpAddr, CqlError> {
        let offset = self.offset;
        let length = self.byte(what)?;
        let bytes = self.take(usize::from(length), what)?;
        if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_ref()) {
            return Ok(IpAddr::from(v4));
        }
        match <[u8; 16]>::try_from(bytes.as_ref()) {
            Ok(v6) => Ok(IpAddr::from(v6)),
            Err(_) => {
                let value = i64::from(length);
                Err(CqlError::UnknownValue { what, offset, value, expected: "an address length of 4 or 16" })
            }
        }
    }

    /// [inet]
    pub fn inet(&mut self, what: &'static str) -> Result<SocketAddr, CqlError> {
        let address = self.inet_address(what)?;
        let offset = self.offset;
        let port = self.int(what)?;
        let port = u16::try_from(port).map_err(|_| {
            let value = i64::from(port);
            CqlError::UnknownValue { what, offset, value, expected: "a port between 0 and 65535" }
        })?;
        Ok(SocketAddr::new(address, port))
    }

    /// [consistency]
    pub fn consistency(&mut self, what: &'static str) -> Result<Consistency, CqlError> {
        let offset = self.offset;
        let code = self.short(what)?;
        Consistency::from_code(code).ok_or(CqlError::UnknownValue {
            what,
            offset,
            value: i64::from(code),
            expected: "a consistency level between 0x0000 and 0x000a",
        })
    }

    /// [string map]; of equal keys the last one counts.
    pub fn string_map(&mut self, what: &'static str) -> Result<BTreeMap<String, String>, CqlError> {
        let count = self.short(what)?;
        let count = self.check_count(u64::from(count), 4, what)?;
        (0..count).map(|_| Ok((self.string(what)?, self.string(what)?))).collect()
    }

    /// [string multimap]
    pub fn string_multimap(&mut self, what: &'static str) -> Result<BTreeMap<String, Vec<String>>, CqlError> {
        let count = self.short(what)?;
        let count = self.check_count(u64::from(count), 4, what)?;
        (0..count).map(|_| Ok((self.string(what)?, self.string_list(what)?))).collect()
    }

    /// [bytes map]
    pub fn bytes_map(&mut self, what: &'static str) -> Result<BytesMap, CqlError> {
        let count = self.short(what)?;
        let count = self.check_count(u64::from(count), 6, what)?;
        (0..count).map(|_| Ok((self.string(what)?, self.bytes(what)?))).collect()
    }
}

/// Appends notations to a buffer.
///
/// Functions that can meet something too long for its length field return an error and have written nothing of it; the
/// encoder then drops the whole message.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    /// A writer at the end of `out`.
    pub fn new(out: &'a mut BytesMut) -> Writer<'a> {
        Writer { out }
    }

    /// The buffer behind it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.out
    }

    /// [byte]
    pub fn byte(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    /// [short]
    pub fn short(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    /// [int]
    pub fn int(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// [long]
    pub fn long(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// [uuid]
    pub fn uuid(&mut self, value: &[u8; 16]) {
        self.out.put_slice(value);
    }

    /// A count or length as [short].
    pub fn count(&mut self, count: usize, what: &'static str) -> Result<(), CqlError> {
        let value = u16::try_from(count).map_err(|_| too_long(what, count, u64::from(u16::MAX)))?;
        self.short(value);
        Ok(())
    }

    /// A count or length as [int].
    pub fn int_count(&mut self, count: usize, what: &'static str) -> Result<(), CqlError> {
        let value = i32::try_from(count).map_err(|_| too_long(what, count, i32::MAX as u64))?;
        self.int(value);
        Ok(())
    }

    /// [string]
    pub fn string(&mut self, value: &str, what: &'static str) -> Result<(), CqlError> {
        self.short_bytes(value.as_bytes(), what)
    }

    /// [long string]
    pub fn long_string(&mut self, value: &str, what: &'static str) -> Result<(), CqlError> {
        self.bytes(Some(value.as_bytes()), what)
    }

    /// [string] of a text for people, cut at a character if it is longer than `length_max` bytes.
    pub fn shortened(&mut self, text: &str, length_max: usize) {
        let length_max = length_max.min(usize::from(u16::MAX));
        let end = (0..=length_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let text = text.get(..end).unwrap_or_default();
        self.short(text.len() as u16);
        self.out.put_slice(text.as_bytes());
    }

    /// [string list]
    pub fn string_list<S: AsRef<str>>(&mut self, values: &[S], what: &'static str) -> Result<(), CqlError> {
        self.count(values.len(), what)?;
        values.iter().try_for_each(|value| self.string(value.as_ref(), what))
    }

    /// [bytes]
    pub fn bytes(&mut self, value: Option<&[u8]>, what: &'static str) -> Result<(), CqlError> {
        let Some(value) = value else {
            self.int(-1);
            return Ok(());
        };
        self.int_count(value.len(), what)?;
        self.out.put_slice(value);
        Ok(())
    }

    /// [value]
    pub fn value(&mut self, value: &BoundValue, version: Version, what: &'static str) -> Result<(), CqlError> {
        match value {
            BoundValue::Null => self.int(-1),
            BoundValue::Unset if version < Version::V4 => {
                return Err(CqlError::NeedsVersion { what: "unset value", needed: Version::V4, version });
            }
            BoundValue::Unset => self.int(-2),
            BoundValue::Value(bytes) => self.bytes(Some(bytes), what)?,
        }
        Ok(())
    }

    /// [short bytes]
    pub fn short_bytes(&mut self, value: &[u8], what: &'static str) -> Result<(), CqlError> {
        self.count(value.len(), what)?;
        self.out.put_slice(value);
        Ok(())
    }

    /// [inetaddr]
    pub fn inet_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.byte(4);
                self.out.put_slice(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.byte(16);
                self.out.put_slice(&v6.octets());
            }
        }
    }

    /// [inet]
    pub fn inet(&mut self, address: SocketAddr) {
        self.inet_address(address.ip());
        self.int(i32::from(address.port()));
    }

    /// [consistency]
    pub fn consistency(&mut self, consistency: Consistency) {
        self.short(consistency.code());
    }

    /// [string map]
    pub fn string_map(&mut self, map: &BTreeMap<String, String>, what: &'static str) -> Result<(), CqlError> {
        self.count(map.len(), what)?;
        map.iter().try_for_each(|(key, value)| {
            self.string(key, what)?;
            self.string(value, what)
        })
    }

    /// [string multimap]
    pub fn string_multimap(&mut self, map: &BTreeMap<String, Vec<String>>, what: &'static str) -> Result<(), CqlError> {
        self.count(map.len(), what)?;
        map.iter().try_for_each(|(key, values)| {
            self.string(key, what)?;
            self.string_list(values, what)
        })
    }

    /// [bytes map]
    pub fn bytes_map(&mut self, map: &BytesMap, what: &'static str) -> Result<(), CqlError> {
        self.count(map.len(), what)?;
        map.iter().try_for_each(|(key, value)| {
            self.string(key, what)?;
            self.bytes(value.as_deref(), what)
        })
    }
}

fn too_long(what: &'static str, length: usize, limit: u64) -> CqlError {
    CqlError::TooLong { what, length: length as u64, limit }
}
