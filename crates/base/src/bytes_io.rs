//! Cursors over bytes for our own formats: little-endian numbers, LEB128 varints, length-prefixed slices. Reading is
//! zero-copy and bounded by the input; it never panics on what a peer or a disk wrote.

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// The input ended, or a length in it points beyond its end, or a varint does not fit: the offset says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortInput {
    pub offset: usize,
}

impl fmt::Display for ShortInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed or short input at byte {}", self.offset)
    }
}

impl std::error::Error for ShortInput {}

pub struct ByteReader {
    bytes: Bytes,
    offset: usize,
}

macro_rules! fixed {
    ($($read:ident $write:ident $type:ty),*) => {
        impl ByteReader {
            $(pub fn $read(&mut self) -> Result<$type, ShortInput> {
                let slice = self.slice(size_of::<$type>())?;
                let mut array = [0u8; size_of::<$type>()];
                array.copy_from_slice(slice);
                Ok(<$type>::from_le_bytes(array))
            })*
        }
        impl ByteWriter {
            $(pub fn $write(&mut self, value: $type) {
                self.bytes.put_slice(&value.to_le_bytes());
            })*
        }
    };
}
fixed!(u8 put_u8 u8, u16 put_u16 u16, u32 put_u32 u32, u64 put_u64 u64, i64 put_i64 i64, u128 put_u128 u128);

impl ByteReader {
    pub fn new(bytes: Bytes) -> Self {
        ByteReader { bytes, offset: 0 }
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], ShortInput> {
        if length > self.remaining() {
            return Err(ShortInput { offset: self.offset });
        }
        let start = self.offset;
        self.offset += length;
        Ok(&self.bytes[start..start + length])
    }

    /// The next `length` bytes, sharing the input's memory.
    pub fn bytes(&mut self, length: usize) -> Result<Bytes, ShortInput> {
        if length > self.remaining() {
            return Err(ShortInput { offset: self.offset });
        }
        let start = self.offset;
        self.offset += length;
        Ok(self.bytes.slice(start..start + length))
    }

    pub fn rest(&mut self) -> Bytes {
        let start = self.offset;
        self.offset = self.bytes.len();
        self.bytes.slice(start..)
    }

    pub fn varint(&mut self) -> Result<u64, ShortInput> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ShortInput { offset: start })
    }

    /// Zig-zag coded.
    pub fn signed_varint(&mut self) -> Result<i64, ShortInput> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint length and so many bytes.
    pub fn prefixed(&mut self) -> Result<Bytes, ShortInput> {
        let start = self.offset;
        let length = usize::try_from(self.varint()?).map_err(|_| ShortInput { offset: start })?;
        self.bytes(length)
    }

    pub fn prefixed_str(&mut self) -> Result<String, ShortInput> {
        let start = self.offset;
        String::from_utf8(self.prefixed()?.to_vec()).map_err(|_| ShortInput { offset: start })
    }

    /// A count of items of at least one byte each: never more than the bytes left, so it may size an allocation.
    pub fn count(&mut self) -> Result<usize, ShortInput> {
        let start = self.offset;
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => Err(ShortInput { offset: start }),
        }
    }

    /// All was read.
    pub fn end(&self) -> Result<(), ShortInput> {
        if self.is_empty() { Ok(()) } else { Err(ShortInput { offset: self.offset }) }
    }
}

#[derive(Default)]
pub struct ByteWriter {
    bytes: BytesMut,
}

impl ByteWriter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(capacity: usize) -> Self {
        ByteWriter { bytes: BytesMut::with_capacity(capacity) }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn put_slice(&mut self, slice: &[u8]) {
        self.bytes.put_slice(slice);
    }

    pub fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    pub fn put_signed_varint(&mut self, value: i64) {
        self.put_varint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub fn put_prefixed(&mut self, slice: &[u8]) {
        self.put_varint(slice.len() as u64);
        self.put_slice(slice);
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = ByteWriter::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        for number in numbers {
            writer.put_varint(number);
            writer.put_signed_varint(number as i64);
        }
        writer.put_u16(7);
        writer.put_prefixed("schön".as_bytes());
        let bytes = writer.freeze();
        let mut reader = ByteReader::new(bytes.clone());
        for number in numbers {
            assert_eq!(reader.varint(), Ok(number));
            assert_eq!(reader.signed_varint(), Ok(number as i64));
        }
        assert_eq!(reader.u16(), Ok(7));
        assert_eq!(reader.prefixed_str().as_deref(), Ok("schön"));
        assert_eq!(reader.end(), Ok(()));
        // Cut anywhere, some read fails, none panics.
        for cut in 0..bytes.len() {
            let mut reader = ByteReader::new(bytes.slice(..cut));
            let mut failed = false;
            for _ in numbers {
                failed |= reader.varint().is_err() || reader.signed_varint().is_err();
            }
            failed |= reader.u16().is_err() || reader.prefixed().is_err();
            assert!(failed, "cut at {cut}");
        }
    }

    #[test]
    fn lengths_beyond_the_input_and_endless_varints_are_refused() {
        assert_eq!(ByteReader::new(Bytes::from_static(&[0xff; 12])).varint(), Err(ShortInput { offset: 0 }));
        assert_eq!(ByteReader::new(Bytes::from_static(&[5, 1, 2])).prefixed(), Err(ShortInput { offset: 1 }));
        assert_eq!(ByteReader::new(Bytes::from_static(&[5, 1, 2])).count(), Err(ShortInput { offset: 0 }));
    }
}
